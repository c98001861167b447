//! TRF-15: a selection that gives everything to one backend, whatever the weights say.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, HashKey, Pool, Selection};

use crate::rule::{Rule, Subject, Words, percent, rate};
use crate::rules::fold::serving;

/// TRF-15.
pub(super) const ONE_KEY: Rule = Rule {
    id: "TRF-15",
    title: "requests differ in what chooses their backend",
    severity: Severity::Error,
    limit: None,
    text: "\
A hash of a value that is the same for every request, or a binding to such a value, sends everything to one
backend: an error. So does `balance first` of HAProxy where the first backend has no limit of requests at
once: it never overflows, and those after it only take over when it is out, a warning.

Why: the others look ready, their checks pass, and the pool has the capacity of a single backend. A missing
`$` makes it: nginx takes `hash remote_addr` for a word, not for the client's address.

Limits: a hash with a bound on the load (`hash-balance-factor`) passes the surplus on and is not judged.

Example: `hash request_uri consistent;` instead of `hash $request_uri consistent;` on four servers: one of
them gets 100 %, three get nothing. `stick on str(x)` in a haproxy.cfg does the same.",
    check: check_one_key,
};

fn check_one_key(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.pools();
    pools
        .filter_map(|(pool, forecast)| check_one_key_of(subject, pool, forecast))
        .collect()
}

/// Why one backend of `pool` gets everything.
enum Why<'p> {
    /// The hash has the same key for every request.
    Hash(&'p str),
    /// Every request shows the key of the same binding.
    Bound(&'p str),
    /// The first in file order never overflows.
    First,
}

fn why(pool: &Pool) -> Option<Why<'_>> {
    if let Some(sticky) = pool.sticky.as_ref().filter(|sticky| sticky.one_key) {
        return Some(Why::Bound(&sticky.by));
    }
    if let Some(what) = pool.one_unknown_key() {
        return Some(Why::Hash(what));
    }
    match &pool.selection {
        Selection::Hash(hash) => match &hash.key {
            HashKey::Constant(value) if hash.balance_factor.is_none() => Some(Why::Hash(value)),
            _ => None,
        },
        Selection::First => {
            let first = serving(pool).next()?;
            first.in_flight_max.is_none().then_some(Why::First)
        }
        _ => None,
    }
}

/// Whether one backend of `pool` gets everything by a fault of its selection: what follows from it is then not told apart.
pub(in crate::rules) fn is_one_key(pool: &Pool) -> bool {
    serving(pool).nth(1).is_some() && why(pool).is_some_and(|why| !matches!(why, Why::First))
}

fn check_one_key_of(
    subject: &Subject<'_>,
    pool: &Pool,
    forecast: &PoolForecast,
) -> Option<Finding> {
    let count = serving(pool).count();
    let why = why(pool).filter(|_| count > 1)?;
    let name = &pool.name;
    let all = |b: &&evenkeel_forecast::BackendForecast| b.expected_share.is_some_and(|s| s > 0.5);
    let winner = forecast.backends.iter().find(all);
    let who = winner.map_or_else(|| "one backend".to_owned(), |b| format!("`{}`", b.name));
    let load = forecast.rps.map_or_else(String::new, |rps| {
        let used = winner.and_then(|b| b.utilisation);
        let used = used.map_or_else(String::new, |used| {
            format!(", {} of its capacity", percent(used))
        });
        format!(", {} at the peak{used}", rate(rps))
    });
    let (severity, message, fix) = match why {
        Why::Hash(value) => (
            Severity::Error,
            format!(
                "every request to pool `{name}` has the same key, `{value}`, so {who} gets all"
            ),
            match subject.setup.balancer {
                Balancer::Nginx if pool.one_unknown_key().is_none() => format!(
                    "hash a variable: `${value}` if that is what was meant, or `$remote_addr`"
                ),
                _ => "hash something that differs between requests or clients".to_owned(),
            },
        ),
        Why::Bound(by) => (
            Severity::Error,
            format!(
                "every request to pool `{name}` shows the same key, `{by}`, so all are bound to {who}"
            ),
            "bind by something that differs between clients: a cookie or the address".to_owned(),
        ),
        Why::First => (
            Severity::Warning,
            format!(
                "pool `{name}` fills its backends in order, and {who} has no limit, so it gets all"
            ),
            "give the backends a limit (`maxconn`), or choose by load".to_owned(),
        ),
    };
    let words = Words {
        message,
        effect: format!(
            "{who} carries 100 % of the requests{load}; the other {} get none",
            count - 1
        ),
        fix,
    };
    let at = match &pool.sticky {
        Some(sticky) if sticky.one_key => sticky.path.clone(),
        _ => format!("{}.selection", pool.path),
    };
    let place = (pool.path.as_str(), at.as_str());
    Some(subject.finding("TRF-15", severity, place, 0.0, words))
}

#[cfg(test)]
mod tests {
    use evenkeel_model::setup::{
        Balancer, Hash, HashKey, HashTable, Pool, Selection, Setup, Sticky, Wait,
    };

    use crate::rules::probe::{heads, pool, says, setup};

    fn with(count: usize, edit: impl Fn(&mut Pool)) -> Setup {
        let mut app = pool("app", count);
        app.peak_rps = Some(900.0);
        edit(&mut app);
        setup(Balancer::Nginx, vec![app])
    }

    fn hash(key: HashKey, balance_factor: Option<f64>) -> impl Fn(&mut Pool) {
        move |pool| {
            pool.selection = Selection::Hash(Hash {
                key: key.clone(),
                table: HashTable::NginxModulo,
                balance_factor,
            });
        }
    }

    #[test]
    fn a_hash_of_one_value_is_an_error_that_names_who_gets_everything() {
        let word = || HashKey::Constant("remote_addr".to_owned());
        let found = says(&with(3, hash(word(), None)), "TRF-15");
        assert_eq!(heads(&found), ["error backend.app"]);
        let effect = &found[0].effect;
        assert!(
            effect.contains("carries 100 % of the requests, 900 rps at the peak"),
            "{effect}"
        );
        assert!(
            effect.starts_with("`s") && effect.ends_with("the other 2 get none"),
            "{effect}"
        );
        assert!(found[0].fix.contains("`$remote_addr`"));
        assert!(says(&with(1, hash(word(), None)), "TRF-15").is_empty());
        assert!(says(&with(3, hash(word(), Some(1.25))), "TRF-15").is_empty());
        assert!(says(&with(3, hash(HashKey::ClientAddress, None)), "TRF-15").is_empty());
        // What follows from it is not told as another fault of the table.
        assert!(says(&with(3, hash(word(), None)), "TRF-12").is_empty());
    }

    #[test]
    fn a_key_that_never_changes_and_is_not_known_gives_all_to_one_that_nobody_can_name() {
        let known = |keys| {
            with(3, |pool| {
                hash(HashKey::Other("$hostname".to_owned()), None)(pool);
                pool.keys = keys;
            })
        };
        let found = says(&known(Some(1)), "TRF-15");
        assert_eq!(heads(&found), ["error backend.app"]);
        let [message, effect] = [&found[0].message, &found[0].effect];
        assert!(message.contains("`$hostname`"), "{message}");
        assert!(effect.starts_with("one backend carries 100 %"), "{effect}");
        assert!(says(&known(None), "TRF-15").is_empty());
        assert!(says(&known(Some(1)), "TRF-12").is_empty());
    }

    #[test]
    fn a_binding_to_one_key_is_an_error_and_one_by_client_is_none() {
        let bound = |one_key| {
            with(3, |pool| {
                pool.sticky = Some(Sticky {
                    path: "backend.app.stick".to_owned(),
                    by: "str(x)".to_owned(),
                    lasts: Wait::Endless,
                    one_key,
                });
            })
        };
        assert_eq!(heads(&says(&bound(true), "TRF-15")), ["error backend.app"]);
        assert!(says(&bound(false), "TRF-15").is_empty());
    }

    #[test]
    fn the_first_in_order_without_a_limit_gets_all_and_with_one_it_overflows() {
        let first = |limit| {
            with(3, |pool| {
                pool.selection = Selection::First;
                pool.backends[0].in_flight_max = limit;
            })
        };
        assert_eq!(
            heads(&says(&first(None), "TRF-15")),
            ["warning backend.app"]
        );
        assert!(says(&first(Some(100)), "TRF-15").is_empty());
    }
}
