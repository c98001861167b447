//! DRF: what a change loses or inflates without saying so.

use std::collections::BTreeMap;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Listener, Pool, Role, Setup, Wait};

use crate::rule::{Rule, Running, Subject, Words, number};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[SAFETY, SIZE];

/// Growth from one revision to the next that is taken for a fault of whatever made the file.
const GROWTH_MAX: f64 = 2.0;

/// Smaller set-ups than this may grow as they like.
const ENTRIES_JUDGED_MIN: usize = 100;

/// DRF-04.
const SAFETY: Rule = Rule {
    id: "DRF-04",
    title: "a change removes no setting that keeps traffic safe",
    severity: Severity::Warning,
    limit: None,
    text: "\
Compares each pool and listener with what runs and names what is gone or lowered: health checks, the floor
`min_healthy`, retry budgets, limits, timeouts that become endless, outlier ejection, verification of
certificates, and the facts that the capacity rules judge by (`peak_rps`, `capacity_rps`).

Why: removing a line looks like tidying up, nothing fails that day, and the default that takes its place is
rarely the safe value. In Seoul in November 2018 a fleet lost its minimum of healthy hosts that way.

Judged only against something that runs (`plan`, `apply`). Values that change but stay are not judged here.

Example: `[pool.shop.health]` is deleted while its path is being moved elsewhere.",
    check: check_safety,
};

fn check_safety(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(Running { setup: before, .. }) = subject.running else {
        return Vec::new();
    };
    let pools: BTreeMap<&str, &Pool> = before.pools.iter().map(|p| (&*p.name, p)).collect();
    let listeners: BTreeMap<&str, &Listener> =
        before.listeners.iter().map(|l| (&*l.name, l)).collect();
    let mut findings = Vec::new();
    for listener in &subject.setup.listeners {
        if let Some(before) = listeners.get(listener.name.as_str()) {
            let what = format!("listener `{}`", listener.name);
            let lost = lost_by_listener(before, listener);
            findings.extend(lost_finding(subject, &what, &listener.path, &lost));
        }
    }
    for pool in &subject.setup.pools {
        if let Some(before) = pools.get(pool.name.as_str()) {
            let what = format!("pool `{}`", pool.name);
            let lost = lost_by_pool(before, pool);
            findings.extend(lost_finding(subject, &what, &pool.path, &lost));
        }
    }
    findings
}

/// What is gone, and what its absence does.
struct Lost {
    what: String,
    effect: &'static str,
}

fn lost_finding(subject: &Subject<'_>, of: &str, path: &str, lost: &[Lost]) -> Option<Finding> {
    let first = lost.first()?;
    let all: Vec<&str> = lost.iter().map(|lost| lost.what.as_str()).collect();
    let words = Words {
        message: format!("this change takes from {of}: {}", all.join(", ")),
        effect: first.effect.to_owned(),
        fix: "put it back, or say in the reason of the change why it goes".to_owned(),
    };
    let magnitude = lost.len() as f64;
    Some(subject.finding("DRF-04", Severity::Warning, (path, path), magnitude, words))
}

fn endless(name: &str, before: Wait, after: Wait) -> Option<Lost> {
    let was = before.duration().filter(|_| after == Wait::Endless)?;
    Some(Lost {
        what: format!("{name} of {} s", number(was.as_secs_f64())),
        effect: "what hangs there is held for ever, and uses up connections one by one",
    })
}

fn lost_by_listener(before: &Listener, after: &Listener) -> Vec<Lost> {
    let limit = before
        .connections_max
        .filter(|_| after.connections_max.is_none());
    let limit = limit.map(|limit| Lost {
        what: format!("its limit of {limit} connections"),
        effect: "a flood of connections is limited by memory only",
    });
    let timeouts = [
        endless(
            "the request timeout",
            before.head_timeout,
            after.head_timeout,
        ),
        endless(
            "the client timeout",
            before.client_timeout,
            after.client_timeout,
        ),
        endless("the idle timeout", before.idle_timeout, after.idle_timeout),
    ];
    timeouts.into_iter().flatten().chain(limit).collect()
}

fn lost_by_pool(before: &Pool, after: &Pool) -> Vec<Lost> {
    let mut lost = Vec::new();
    let mut gone = |is_gone: bool, what: String, effect: &'static str| {
        if is_gone {
            lost.push(Lost { what, effect });
        }
    };
    let unchecked = |pool: &Pool| {
        let serving = pool.backends.iter().filter(|b| b.role != Role::Disabled);
        serving.filter(|b| pool.check_of(b).is_none()).count()
    };
    let (was, is) = (unchecked(before), unchecked(after));
    gone(
        is > was && is == after.backends.len(),
        "its health check".to_owned(),
        "a dead backend keeps its share until somebody notices",
    );
    gone(
        is > was && is < after.backends.len(),
        format!("the health check of {} backends", is.saturating_sub(was)),
        "a dead backend among them keeps its share until somebody notices",
    );
    let (was, is) = (before.min_healthy, after.min_healthy);
    gone(
        was.is_some() && is.unwrap_or(0) < was.unwrap_or(0),
        match (was, is) {
            (Some(was), Some(is)) => format!("`min_healthy` (from {was} to {is})"),
            _ => "`min_healthy`".to_owned(),
        },
        "actions may leave fewer live backends than before",
    );
    gone(
        before.retry.budget.is_some() && after.retry.budget.is_none(),
        "the retry budget".to_owned(),
        "retries multiply the load when backends fail",
    );
    gone(
        before.queue_max.is_some() && after.queue_max.is_none(),
        "the limit of the queue".to_owned(),
        "requests wait without end when the pool is full",
    );
    gone(
        before.ejection.is_some() && after.ejection.is_none(),
        "outlier ejection".to_owned(),
        "a backend that fails requests but passes checks keeps its share",
    );
    lost.extend(lost_timeouts(before, after));
    lost.extend(lost_by_backends(before, after));
    lost.extend(lost_facts(before, after));
    lost
}

fn lost_timeouts(before: &Pool, after: &Pool) -> impl Iterator<Item = Lost> {
    let (before, after) = (before.timeouts, after.timeouts);
    let timeouts = [
        endless("the connect timeout", before.connect, after.connect),
        endless("the response timeout", before.response, after.response),
        endless("the idle timeout", before.idle, after.idle),
        endless(
            "the timeout of the whole request",
            before.request,
            after.request,
        ),
    ];
    timeouts.into_iter().flatten()
}

/// What backends lose that are in both.
fn lost_by_backends(before: &Pool, after: &Pool) -> Vec<Lost> {
    let known: BTreeMap<&str, &Backend> = before.backends.iter().map(|b| (&*b.name, b)).collect();
    let both = after.backends.iter();
    let both = both.filter_map(|b| Some((*known.get(b.name.as_str())?, b)));
    let (mut limits, mut verified, mut passive) = (0_usize, 0_usize, 0_usize);
    for (before, after) in both {
        limits += usize::from(before.in_flight_max.is_some() && after.in_flight_max.is_none());
        verified +=
            usize::from(before.tls_verified == Some(true) && after.tls_verified != Some(true));
        let counts = |b: &Backend| b.passive.is_some_and(|passive| passive.failures > 0);
        passive += usize::from(counts(before) && !counts(after));
    }
    let of = |count: usize, what: &str, effect: &'static str| {
        (count > 0).then(|| Lost {
            what: format!("{what} of {count} backends"),
            effect,
        })
    };
    let lost = [
        of(
            limits,
            "the limit of requests at once",
            "a slow backend is given ever more requests",
        ),
        of(
            verified,
            "verification of the certificate",
            "anybody on the way can answer for it",
        ),
        of(
            passive,
            "the count of failures",
            "a failing backend keeps its share",
        ),
    ];
    lost.into_iter().flatten().collect()
}

/// What the capacity rules judge by.
fn lost_facts(before: &Pool, after: &Pool) -> Option<Lost> {
    let declares = |pool: &Pool| {
        !pool.backends.is_empty() && pool.backends.iter().all(|b| b.capacity_rps.is_some())
    };
    let peak = before.peak_rps.is_some() && after.peak_rps.is_none();
    let capacities = declares(before) && !declares(after);
    let what = match (peak, capacities) {
        (true, true) => "`peak_rps` and `capacity_rps`",
        (true, false) => "`peak_rps`",
        (false, true) => "`capacity_rps`",
        (false, false) => return None,
    };
    Some(Lost {
        what: what.to_owned(),
        effect: "an overload by this or a later change would not be foreseen",
    })
}

/// DRF-05.
const SIZE: Rule = Rule {
    id: "DRF-05",
    title: "a change does not multiply the size of the set-up",
    severity: Severity::Warning,
    limit: None,
    text: "\
Compares the number of routes and backends with what runs: more than twice as many at once, from 100 on, is
a warning. That a file stays within what the data plane can hold is checked by its reader (CFG-06).

Why: files are made by programs. In November 2025 a file of features at Cloudflare doubled because a query
returned its rows twice, and met a limit in the program that read it.

Judged only against something that runs (`plan`, `apply`).

Example: a generator lists each of 300 backends once per zone: 900.",
    check: check_size,
};

fn check_size(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(Running { setup: before, .. }) = subject.running else {
        return Vec::new();
    };
    let backends = |setup: &Setup| -> usize { setup.pools.iter().map(|p| p.backends.len()).sum() };
    let entries = |setup: &Setup| setup.routes.len() + backends(setup);
    let (was, is) = (entries(before), entries(subject.setup));
    let growth = is as f64 / was.max(1) as f64;
    if growth <= GROWTH_MAX || is < ENTRIES_JUDGED_MIN {
        return Vec::new();
    }
    let words = Words {
        message: format!(
            "the set-up grows from {was} to {is} routes and backends in one change; the limit is \
             a factor of {GROWTH_MAX}"
        ),
        effect: format!(
            "health checks and tables grow {} times with it; {} backends take a share that others had",
            number(growth),
            backends(subject.setup).saturating_sub(backends(before))
        ),
        fix: "see whether entries stand twice; if it is meant, do it in two changes".to_owned(),
    };
    vec![subject.finding("DRF-05", Severity::Warning, ("", ""), growth, words)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_forecast::{Facts, forecast};
    use evenkeel_model::clock::Wall;
    use evenkeel_model::finding::{Finding, Origin};
    use evenkeel_model::setup::{Balancer, CheckKind, Health, Pool, Setup, Wait};

    use crate::rules::probe::{pool, says, setup};
    use crate::{Running, Subject, judge_change};

    fn change(from: &Setup, to: &Setup, id: &str) -> Vec<Finding> {
        let facts = Facts::default();
        let verdict = judge_change(&Subject {
            setup: to,
            origin: &Origin::default(),
            forecast: &forecast(to, &facts),
            facts: &facts,
            running: Some(Running {
                setup: from,
                forecast: &forecast(from, &facts),
            }),
            now: Wall(0),
        });
        let findings = verdict.findings.into_iter();
        findings.filter(|finding| finding.id == id).collect()
    }

    /// A pool with everything that can be lost.
    fn safe() -> Setup {
        let mut pool = pool("app", 2);
        pool.health = Some(Health {
            path: String::new(),
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        });
        pool.min_healthy = Some(2);
        pool.peak_rps = Some(100.0);
        pool.retry.budget = Some(0.2);
        for backend in &mut pool.backends {
            backend.in_flight_max = Some(100);
            backend.capacity_rps = Some(100.0);
            backend.tls_verified = Some(true);
        }
        setup(Balancer::Evenkeel, vec![pool])
    }

    #[test]
    fn whatever_keeps_traffic_safe_is_named_when_a_change_removes_it() {
        type Edit = fn(&mut Pool);
        let edits: [(Edit, &str); 8] = [
            (|pool| pool.health = None, "its health check"),
            (
                |pool| pool.min_healthy = Some(1),
                "`min_healthy` (from 2 to 1)",
            ),
            (|pool| pool.retry.budget = None, "the retry budget"),
            (
                |pool| pool.timeouts.connect = Wait::Endless,
                "the connect timeout of 1 s",
            ),
            (
                |pool| pool.backends[0].in_flight_max = None,
                "the limit of requests at once of 1 backends",
            ),
            (
                |pool| pool.backends[0].tls_verified = Some(false),
                "verification of the certificate of 1 backends",
            ),
            (|pool| pool.peak_rps = None, "`peak_rps`"),
            (
                |pool| pool.backends[1].capacity_rps = None,
                "`capacity_rps`",
            ),
        ];
        for (edit, what) in edits {
            let mut after = safe();
            edit(&mut after.pools[0]);
            let found = change(&safe(), &after, "DRF-04");
            let said = found.first().map(|f| f.message.as_str());
            assert_eq!(
                said,
                Some(&*format!("this change takes from pool `app`: {what}"))
            );
            assert!(change(&after, &safe(), "DRF-04").is_empty(), "{what}");
        }
        assert!(change(&safe(), &safe(), "DRF-04").is_empty());
        assert!(says(&safe(), "DRF-04").is_empty());
    }

    #[test]
    fn all_that_a_pool_loses_is_one_finding_and_a_listener_has_its_own() {
        let mut after = safe();
        after.pools[0].health = None;
        after.pools[0].retry.budget = None;
        after.listeners[0].client_timeout = Wait::Endless;
        let found = change(&safe(), &after, "DRF-04");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].path, "frontend.web");
    }

    #[test]
    fn a_change_that_more_than_doubles_a_large_set_up_is_a_warning() {
        let sized = |count: usize| setup(Balancer::Evenkeel, vec![pool("app", count)]);
        let grown = |from: usize, to: usize| !change(&sized(from), &sized(to), "DRF-05").is_empty();
        assert!(grown(50, 101));
        assert!(!grown(50, 100) && !grown(49, 99) && !grown(101, 50));
    }
}
