//! Each capacity rule where it must speak and where it must be silent.

use std::time::Duration;

use evenkeel_balance::Standing;
use evenkeel_forecast::outlook::{Case, CaseKind};
use evenkeel_forecast::{Facts, PoolFacts, forecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::finding::{Origin, Severity};
use evenkeel_model::setup::{Balancer, Pool, Role, Setup};

use crate::rules::probe::{heads, pool, says, says_of, setup, severities};
use crate::{Subject, audit};

const WARNING: &[Severity] = &[Severity::Warning];
const INFO: &[Severity] = &[Severity::Info];

/// A pool of backends with these capacities, and a peak.
fn sized(peak_rps: f64, capacities: &[f64]) -> Setup {
    let mut pool = pool("app", capacities.len());
    pool.peak_rps = Some(peak_rps);
    for (backend, capacity) in pool.backends.iter_mut().zip(capacities) {
        backend.capacity_rps = Some(*capacity);
    }
    setup(Balancer::Haproxy, vec![pool])
}

fn with(mut setup: Setup, edit: impl FnOnce(&mut Pool)) -> Setup {
    edit(&mut setup.pools[0]);
    setup
}

#[test]
fn many_overloaded_backends_of_one_pool_are_one_finding_with_their_number() {
    // 20 of 24 carry 100 of 110 rps; the four large ones keep the pool as a whole below its limit.
    let mut capacities = vec![110.0; 20];
    capacities.extend([1_000.0; 4]);
    let found = says(&sized(2_400.0, &capacities), "CAP-01");
    assert_eq!(heads(&found), ["error backend.app"]);
    assert!(
        found[0]
            .message
            .ends_with("; 19 more backends of the pool are above it too")
    );
}

#[test]
fn a_pool_that_is_full_as_a_whole_is_one_finding_with_what_is_lost() {
    let found = says(&sized(300.0, &[100.0, 100.0]), "CAP-01");
    assert_eq!(heads(&found), ["error backend.app"]);
    assert!(
        found[0]
            .effect
            .ends_with("33.3 % of all requests queue up or fail at the peak")
    );
    assert!(says(&sized(160.0, &[100.0, 100.0]), "CAP-01").is_empty());
}

#[test]
fn many_pools_that_cannot_be_judged_are_one_info() {
    let pools = |count: usize| (0..count).map(|i| pool(&format!("p{i}"), 2)).collect();
    for balancer in [Balancer::Evenkeel, Balancer::Nginx] {
        for count in [1, 2, 40] {
            let setup = setup(balancer, pools(count));
            assert_eq!(severities(&says(&setup, "CAP-01")), [Severity::Info]);
            assert!(says(&setup, "CAP-02").is_empty(), "said twice");
        }
    }
    let fix = |balancer| says(&setup(balancer, pools(2)), "CAP-01")[0].fix.clone();
    assert!(fix(Balancer::Haproxy).contains("`--peak-rps` and `--capacity`"));
    assert!(fix(Balancer::Evenkeel).contains("`capacity_rps` for every backend"));
}

#[test]
fn the_loss_of_a_zone_is_judged_where_it_has_several_backends() {
    let zoned = |peak: f64| {
        with(sized(peak, &[600.0; 4]), |pool| {
            for (backend, zone) in pool.backends.iter_mut().zip(["a", "a", "b", "b"]) {
                backend.zone = Some(zone.to_owned());
            }
        })
    };
    assert!(says(&zoned(960.0), "CAP-03").is_empty());
    let found = says(&zoned(961.0), "CAP-03");
    assert_eq!(heads(&found), ["warning backend.app"]);
    assert!(found[0].message.starts_with("with zone `a` out"));
    let refuse = with(zoned(961.0), |pool| {
        pool.n_plus_one = evenkeel_model::config::NPlusOne::Refuse;
    });
    assert_eq!(severities(&says(&refuse, "CAP-03")), &[Severity::Error]);
    let single = with(zoned(961.0), |pool| {
        for (i, backend) in pool.backends.iter_mut().enumerate() {
            backend.zone = Some(format!("z{i}"));
        }
    });
    assert!(says(&single, "CAP-03").is_empty());
    let one = with(zoned(961.0), |pool| {
        pool.backends
            .iter_mut()
            .for_each(|b| b.zone = Some("a".to_owned()));
    });
    assert!(says(&one, "CAP-03").is_empty());
}

#[test]
fn a_missing_capacity_beside_declared_ones_is_a_warning() {
    let partly = with(sized(100.0, &[100.0; 3]), |pool| {
        pool.backends[1].capacity_rps = None;
    });
    let found = says(&partly, "CAP-04");
    assert_eq!(heads(&found), ["warning backend.app"]);
    assert!(
        found[0]
            .effect
            .starts_with("the 2 declared capacities judge nothing")
    );
    let idle = with(partly.clone(), |pool| pool.backends[1].role = Role::Backup);
    assert!(says(&idle, "CAP-04").is_empty());
    let none = with(partly, |pool| {
        pool.backends.iter_mut().for_each(|b| b.capacity_rps = None);
    });
    assert!(says(&none, "CAP-04").is_empty());
}

fn drained(names: &[&str]) -> Facts {
    let mut facts = PoolFacts::default();
    for name in names {
        facts
            .standings
            .insert((*name).to_owned(), Standing::Drained);
    }
    let mut all = Facts::default();
    all.pools.insert("app".to_owned(), facts);
    all
}

#[test]
fn drains_in_flight_count_against_the_peak() {
    let setup = sized(800.0, &[300.0; 4]);
    let found = |setup: &Setup, facts: &Facts| says_of(setup, facts, &Origin::default(), "CAP-05");
    assert!(found(&setup, &drained(&[])).is_empty());
    let two = found(&setup, &drained(&["s1", "s2"]));
    assert_eq!(heads(&two), ["warning backend.app"]);
    assert!(two[0].message.contains("the rest would be used at 133.3 %"));
    assert!(found(&sized(700.0, &[300.0; 4]), &drained(&["s1"])).is_empty());
    assert!(found(&sized(1_100.0, &[300.0; 4]), &drained(&["s1"])).is_empty());
    let all = found(&setup, &drained(&["s1", "s2", "s3", "s4"]));
    assert!(all[0].message.contains("nobody is left"));
}

#[test]
fn a_floor_that_cannot_carry_the_peak_is_an_info_by_default_and_a_warning_when_written() {
    let floor = |floor: u32| {
        let setup = sized(900.0, &[600.0; 3]);
        with(setup, |pool| pool.min_healthy = Some(floor))
    };
    assert!(says(&floor(2), "CAP-06").is_empty());
    let found = says(&floor(1), "CAP-06");
    assert_eq!(severities(&found), INFO);
    assert!(found[0].fix.contains("min_healthy = 2"));
    let spans = [("backend.app.min_healthy".to_owned(), 0..1)].into();
    let origin = Origin::of(None, "x", spans);
    let written = says_of(&floor(1), &Facts::default(), &origin, "CAP-06");
    assert_eq!(severities(&written), WARNING);
    assert!(says(&sized(900.0, &[600.0; 3]), "CAP-06").is_empty());
}

#[test]
fn retries_without_a_budget_multiply_the_peak() {
    let retried = |attempts: Option<u32>, budget: Option<f64>, after_sent: bool| {
        with(sized(900.0, &[600.0; 3]), |pool| {
            pool.retry.attempts = attempts;
            pool.retry.budget = budget;
            pool.retry.after_sent = after_sent;
        })
    };
    let found = says(&retried(Some(3), None, true), "CAP-07");
    assert_eq!(heads(&found), ["warning backend.app"]);
    assert!(found[0].effect.starts_with("1800 rps of 3600 rps"));
    // nginx: as many tries as there are backends.
    assert_eq!(
        says(&retried(None, None, true), "CAP-07")[0].magnitude_ppm,
        1_500_000
    );
    assert!(says(&retried(Some(3), Some(0.2), true), "CAP-07").is_empty());
    assert!(says(&retried(Some(3), None, false), "CAP-07").is_empty());
    assert!(says(&retried(Some(1), None, true), "CAP-07").is_empty());
}

/// What `id` says when the forecast has the pools of `other` as its `kind`.
fn with_case(setup: &Setup, kind: CaseKind, other: &Setup, id: &str) -> Vec<Severity> {
    let facts = Facts::default();
    let mut outlook = forecast(setup, &facts);
    outlook.cases.retain(|case| case.case != kind);
    outlook.cases.push(Case {
        case: kind,
        title: String::new(),
        pools: forecast(other, &facts).pools,
    });
    let found = audit(&Subject {
        setup,
        origin: &Origin::default(),
        forecast: &outlook,
        facts: &facts,
        running: None,
        now: Wall(0),
    });
    let of_rule = found.iter().filter(|finding| finding.id == id);
    of_rule.map(|finding| finding.severity).collect()
}

#[test]
fn a_rollback_target_that_cannot_carry_the_present_peak_is_a_warning() {
    let setup = sized(900.0, &[600.0; 4]);
    let target = |capacities: &[f64]| {
        let target = sized(900.0, capacities);
        with_case(&setup, CaseKind::RollbackTarget, &target, "CAP-08")
    };
    assert_eq!(target(&[500.0; 2]), [Severity::Warning]);
    assert_eq!(target(&[600.0; 3]), []);
}

#[test]
fn a_slow_start_does_not_help_when_the_balancer_itself_starts() {
    let slow = with(sized(900.0, &[600.0; 3]), |pool| {
        pool.backends[0].slow_start = Some(Duration::from_secs(60));
    });
    assert_eq!(severities(&says(&slow, "CAP-10")), INFO);
    let cold = sized(900.0, &[200.0; 3]);
    let found = with_case(&slow, CaseKind::Restart, &cold, "CAP-10");
    assert_eq!(found, [Severity::Warning]);
    assert!(says(&sized(900.0, &[600.0; 3]), "CAP-10").is_empty());
}
