//! SLW: how a backend comes back.

use std::time::Duration;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool, Role};

use crate::rule::{Rule, Subject, Words, number};
use crate::rules::fold::{Fault, told};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[SLOW_START];

/// SLW-01.
const SLOW_START: Rule = Rule {
    id: "SLW-01",
    title: "a slow start has something that drives it",
    severity: Severity::Warning,
    limit: None,
    text: "\
A slow start begins when a check finds a backend up again, so there must be a check. HAProxy moves the
weight only at each check: the interval must be a good deal shorter than the ramp, a fifth of it here.

Why: without it the setting stands in the file and does nothing, or the ramp is a single step, and a cold
backend meets its full share.

Example: `slowstart 5s` with `inter 10s`: full share at the first good check.",
    check: check_slow_start,
};

/// Steps that a ramp should have.
const STEPS_MIN: f64 = 5.0;

fn check_slow_start(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.setup.pools.iter();
    let faults = pools.filter_map(|pool| check_slow_start_of(subject, pool));
    told(subject, "SLW-01", faults.collect())
}

fn check_slow_start_of<'p>(subject: &Subject<'_>, pool: &'p Pool) -> Option<Fault<'p>> {
    let slow = pool.backends.iter().filter(|b| b.role != Role::Disabled);
    let mut slow = slow.filter_map(|b| Some((b, b.slow_start.filter(|ramp| !ramp.is_zero())?)));
    let words = |backend: &Backend, ramp: Duration| {
        let (message, effect) = match pool.check_of(backend) {
            None => (
                "no check drives it".to_owned(),
                "it gets its full share at once".to_owned(),
            ),
            Some(check) => {
                let steps = ramp.as_secs_f64() / check.interval.as_secs_f64().max(1e-3);
                if subject.setup.balancer != Balancer::Haproxy || steps >= STEPS_MIN {
                    return None;
                }
                let interval = number(check.interval.as_secs_f64());
                let steps = steps.floor().max(1.0);
                (
                    format!("it is checked every {interval} s only"),
                    format!(
                        "its share grows in {steps} step(s) of {} %",
                        number(100.0 / steps)
                    ),
                )
            }
        };
        Some(Words {
            message: format!(
                "`{}` of pool `{}` should warm up over {} s, but {message}",
                backend.name,
                pool.name,
                number(ramp.as_secs_f64())
            ),
            effect: format!("when `{}` comes back, {effect}", backend.name),
            fix: "check at least every fifth of the slow start".to_owned(),
        })
    };
    let (backend, words) =
        slow.find_map(|(backend, ramp)| Some((backend, words(backend, ramp)?)))?;
    Some(Fault {
        pool,
        severity: Severity::Warning,
        at: backend.path.clone(),
        kind: pool.check_of(backend).is_some().to_string(),
        magnitude: 0.0,
        words,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_model::finding::Severity;
    use evenkeel_model::setup::{Balancer, CheckKind, Health, Setup};

    use crate::rules::probe::{pool, says, setup, severities};

    /// A ramp of 60 s and a check every so many seconds; 0: no check.
    fn ramp(balancer: Balancer, interval: u64) -> Setup {
        let mut pool = pool("app", 2);
        pool.backends[1].slow_start = Some(Duration::from_secs(60));
        pool.health = (interval > 0).then(|| Health {
            path: String::new(),
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        });
        setup(balancer, vec![pool])
    }

    #[test]
    fn a_slow_start_needs_checks_that_are_a_good_deal_shorter() {
        let warned = |balancer, interval| {
            let found = says(&ramp(balancer, interval), "SLW-01");
            severities(&found) == [Severity::Warning]
        };
        assert!(warned(Balancer::Haproxy, 0) && warned(Balancer::Envoy, 0));
        assert!(warned(Balancer::Haproxy, 13) && !warned(Balancer::Haproxy, 12));
        assert!(!warned(Balancer::Envoy, 13));
        let found = says(&ramp(Balancer::Haproxy, 30), "SLW-01");
        assert!(
            found[0]
                .effect
                .ends_with("its share grows in 2 step(s) of 50 %")
        );
    }

    #[test]
    fn without_a_slow_start_there_is_nothing_to_drive() {
        let mut plain = ramp(Balancer::Haproxy, 30);
        plain.pools[0].backends[1].slow_start = None;
        assert!(says(&plain, "SLW-01").is_empty());
    }
}
