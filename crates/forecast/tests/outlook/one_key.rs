//! A key that is the same for every request: one backend gets everything. Who it is was measured on nginx 1.22.1.

use evenkeel_forecast::{Facts, Method, PoolForecast, forecast};
use evenkeel_model::setup::{Hash, HashKey, HashTable, Pool, Role, Selection, Sticky, Wait};

use crate::{backend, pool, setup};

/// The servers were 127.0.0.1:18471 to 18474.
const FIRST_PORT: usize = 18_471;

fn hash(key: &str, table: HashTable) -> Selection {
    Selection::Hash(Hash {
        key: HashKey::Constant(key.to_owned()),
        table,
        balance_factor: None,
    })
}

fn servers(key: &str, table: HashTable, weights: [u32; 4], down: &[usize]) -> Pool {
    let mut pool = pool(&hash(key, table), &weights, Some(100.0));
    for (number, backend) in pool.backends.iter_mut().enumerate() {
        backend.identity = format!("127.0.0.1:{}", FIRST_PORT + number);
        if down.contains(&number) {
            backend.role = Role::Disabled;
        }
    }
    pool
}

fn forecast_of(pool: Pool) -> (PoolForecast, Vec<String>) {
    let mut forecast = forecast(&setup(pool), &Facts::default());
    (forecast.pools.remove(0), forecast.notes)
}

#[test]
fn nginx_sends_everything_to_the_server_that_was_measured() {
    // Even weights, weights 5 3 1 1, then the same with 0 and 1, with 0 and 2 down.
    let measured = [
        ("x", [0, 0, 2, 1], [0, 0, 3, 3]),
        ("shop", [2, 0, 2, 3], [1, 0, 2, 1]),
        ("everything", [2, 1, 2, 1], [3, 3, 3, 3]),
        ("k1", [2, 1, 2, 1], [0, 0, 3, 1]),
        ("k7", [1, 0, 3, 1], [2, 2, 2, 1]),
    ];
    let set_ups: [([u32; 4], &[usize]); 4] = [
        ([1, 1, 1, 1], &[]),
        ([5, 3, 1, 1], &[]),
        ([1, 1, 1, 1], &[0, 1]),
        ([5, 3, 1, 1], &[0, 2]),
    ];
    for (key, modulo, ring) in measured {
        for (table, winners) in [
            (HashTable::NginxModulo, modulo),
            (HashTable::NginxRing, ring),
        ] {
            for ((weights, down), winner) in set_ups.iter().zip(winners) {
                let (found, notes) = forecast_of(servers(key, table, *weights, down));
                assert_eq!(found.method, Method::Table);
                for (number, backend) in found.backends.iter().enumerate() {
                    let share = if number == winner { 1.0 } else { 0.0 };
                    assert_eq!(
                        (
                            backend.expected_share,
                            backend.share_low,
                            backend.share_high
                        ),
                        (Some(share), Some(share), Some(share)),
                        "{key} {table:?} {weights:?} {down:?}: b{number}"
                    );
                }
                let wanted = format!("same key `{key}`, so `b{winner}` gets everything");
                assert!(notes.iter().any(|note| note.contains(&wanted)), "{notes:?}");
            }
        }
    }
}

#[test]
fn where_the_hash_is_not_known_no_share_is_invented_and_the_note_says_that_one_gets_all() {
    let ring = HashTable::EnvoyRing {
        min: 1_024,
        max: 8_388_608,
        murmur: false,
    };
    for table in [HashTable::HaproxyMap, HashTable::HaproxyRing, ring] {
        let (found, notes) = forecast_of(servers("x", table, [1; 4], &[]));
        assert_eq!(found.method, Method::Unknown);
        assert!(found.backends.iter().all(|b| b.expected_share.is_none()));
        assert!(
            notes
                .iter()
                .any(|note| note.contains("one of them gets everything")),
            "{notes:?}"
        );
    }
    let (empty, _) = forecast_of(servers("", HashTable::NginxModulo, [1; 4], &[]));
    assert_eq!(empty.method, Method::Unknown);
}

#[test]
fn a_binding_to_one_key_gives_one_backend_everything() {
    let bound = |weights: &[u32]| {
        let sticky = Sticky {
            path: "pool.p.stick".to_owned(),
            by: "str(x)".to_owned(),
            lasts: Wait::Endless,
            one_key: true,
        };
        Pool {
            sticky: Some(sticky),
            ..pool(&Selection::ByWeight, weights, Some(100.0))
        }
    };
    let (found, notes) = forecast_of(bound(&[1, 1, 1]));
    assert_eq!(found.method, Method::Unknown);
    assert!(
        notes
            .iter()
            .any(|note| note.contains("bound to one backend")),
        "{notes:?}"
    );
    let (alone, _) = forecast_of(Pool {
        backends: vec![backend(0, 1, None, false)],
        ..bound(&[1])
    });
    assert_eq!(alone.backends[0].expected_share, Some(1.0));
}

#[test]
fn of_a_key_that_never_changes_and_whose_value_is_not_known_nobody_is_named() {
    let of = |keys| {
        let key = HashKey::Other("$hostname".to_owned());
        let selection = Selection::Hash(Hash {
            key,
            table: HashTable::NginxModulo,
            balance_factor: None,
        });
        let mut pool = pool(&selection, &[1, 1], Some(100.0));
        pool.keys = keys;
        forecast_of(pool)
    };
    let (found, notes) = of(Some(1));
    assert_eq!(found.method, Method::Unknown);
    assert!(found.backends.iter().all(|b| b.expected_share.is_none()));
    let wanted = "same key `$hostname`, so one backend gets all, which one is not known";
    assert!(notes.iter().any(|note| note.contains(wanted)), "{notes:?}");
    let (found, notes) = of(None);
    assert!(found.backends.iter().all(|b| b.expected_share.is_some()));
    assert!(!notes.iter().any(|note| note.contains("same key")));
}
