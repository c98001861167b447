//! TRF-05, TRF-07: who is in a pool.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Backups, Pool, Role, Touches};

use super::{active, address, loops, reach, routes};
use crate::rule::{Rule, Subject, Words, percent};
use crate::rules::fold::{Fault, is_literal, told};

/// TRF-05.
pub(super) const MEMBERS: Rule = Rule {
    id: "TRF-05",
    title: "the pool has somebody to send a request to, and a second one",
    severity: Severity::Error,
    limit: None,
    text: "\
A pool with no backend, or whose backends are all disabled or of weight 0, has nobody to send a request
to: an error. So is a pool that consists of backups of which only the first takes over: the others
stand by while one carries everything. A pool that no request reaches loses nothing and gets a warning.
A pool whose members the file does not hold (service discovery) is not judged.
A pool with a single backend that can take traffic works, but its next restart is an outage: a warning,
an info for an address that stands in an nginx `proxy_pass`. Of a pool that no request reaches TRF-16 speaks.

Why: `weight = 0` on each backend, or `backup` copied to every line, is valid to most balancers.

Example: two backends, one with `weight = 0`: the warning names the one that carries everything. In a
haproxy.cfg, three servers marked `backup` without `option allbackups`: the first gets 100 %.",
    check: check_members,
};

fn check_members(subject: &Subject<'_>) -> Vec<Finding> {
    let reached = routes::reached(subject.setup);
    let is_told = !subject.setup.listeners.is_empty() && reach::is_sure(subject.setup);
    let gaps = subject.setup.gaps.iter();
    let discovered: BTreeSet<&str> = gaps
        .filter_map(|gap| match &gap.touches {
            Touches::Pool(pool) => Some(pool.as_str()),
            Touches::Routing | Touches::Resilience => None,
        })
        .collect();
    let pools = subject.setup.pools.iter();
    let spoken = pools.filter_map(|pool| {
        if pool.backends.is_empty() && discovered.contains(pool.name.as_str()) {
            return None;
        }
        let (severity, words) = judge_members(pool)?;
        let is_idle = !reached.contains(pool.name.as_str());
        let (severity, words) = match severity {
            Severity::Error if is_idle => {
                let effect = "none today: no request reaches the pool".to_owned();
                (Severity::Warning, Words { effect, ..words })
            }
            // TRF-16 says that nothing reaches it; who is in it does not matter then.
            _ if is_idle && is_told => return None,
            Severity::Warning if is_literal(subject.setup, pool) => (Severity::Info, words),
            _ => (severity, words),
        };
        Some(Fault {
            pool,
            severity,
            at: pool.path.clone(),
            // Errors are told one by one: each is a pool without traffic.
            kind: match severity {
                Severity::Error => pool.name.clone(),
                _ => "few".to_owned(),
            },
            magnitude: 0.0,
            words,
        })
    });
    told(subject, "TRF-05", spoken.collect())
}

fn judge_members(pool: &Pool) -> Option<(Severity, Words)> {
    let able: Vec<&Backend> = active(pool).filter(|b| b.weight > 0).collect();
    let backups = pool
        .backends
        .iter()
        .filter(|b| b.role == Role::Backup && b.weight > 0);
    let backups: Vec<&Backend> = backups.collect();
    match (able.as_slice(), backups.as_slice()) {
        ([], []) => Some((Severity::Error, nobody(pool))),
        ([], [first, ..]) => Some(backups_only(pool, first, backups.len())),
        ([only], []) => Some((Severity::Warning, one(pool, only))),
        _ => None,
    }
}

fn nobody(pool: &Pool) -> Words {
    let name = &pool.name;
    let message = if pool.backends.is_empty() {
        format!("pool `{name}` has no backend")
    } else if pool.backends.iter().all(|b| b.role == Role::Disabled) {
        format!("every backend of pool `{name}` is disabled")
    } else if pool.backends.iter().all(|b| b.weight == 0) {
        format!("every backend of pool `{name}` has weight 0")
    } else {
        format!("every backend of pool `{name}` is disabled or has weight 0")
    };
    Words {
        message,
        effect: "every request to the pool is answered 503 (by nginx 502)".to_owned(),
        fix: "give at least two backends a weight above 0, and enable them".to_owned(),
    }
}

fn backups_only(pool: &Pool, first: &Backend, count: usize) -> (Severity, Words) {
    let name = &pool.name;
    let (severity, effect) = match pool.failover.backups {
        Backups::First => (
            Severity::Error,
            format!(
                "`{}` gets 100 % of the requests, the others none",
                first.name
            ),
        ),
        Backups::All => (
            Severity::Warning,
            "all of them share the traffic at once, and nothing is left to take over".to_owned(),
        ),
    };
    let words = Words {
        message: if active(pool).next().is_none() {
            format!("pool `{name}` has backups only ({count}), no active backend")
        } else {
            format!(
                "no active backend of pool `{name}` takes traffic, only its backups ({count}) do"
            )
        },
        effect,
        fix: "make those active that should carry the traffic".to_owned(),
    };
    (severity, words)
}

fn one(pool: &Pool, only: &Backend) -> Words {
    Words {
        message: format!(
            "pool `{}` sends everything to one backend, `{}`",
            pool.name, only.name
        ),
        effect: format!(
            "while `{}` restarts or fails, every request to the pool fails",
            only.name
        ),
        fix: "add a second backend with a weight above 0".to_owned(),
    }
}

/// TRF-07.
pub(super) const DUPLICATE: Rule = Rule {
    id: "TRF-07",
    title: "no address twice in a pool",
    severity: Severity::Error,
    limit: None,
    text: "\
Two backends of one pool must not have the same address. Names are not resolved, but one address in two
spellings is the same (`[::ffff:10.0.0.2]:80`, `unix:/run/./a.sock`). Disabled backends do not count, and a
backup that repeats an active backend is a warning. Nor may a backend be at the address of a listener whose
own routes lead to it: a request then goes round until a limit stops it, an error, or a warning where every
such route has a further condition, which can end it.

Servers that one `server-template` makes of a name are not compared: each gets an address of its own by it.

Why: the server behind it silently gets both shares, health and capacity are counted twice, and taking
one of the two out changes nothing. It is what copying a block and forgetting one line makes.

Example: three backends of which two are 127.0.0.1:8081: that server gets 66.7 % of the requests.",
    check: check_duplicates,
};

fn check_duplicates(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.setup.pools.iter();
    let twice = pools.filter_map(|pool| check_duplicates_of(subject, pool));
    twice.chain(loops::check(subject)).collect()
}

/// One finding a pool, at the first duplicate, with the number of the others.
fn check_duplicates_of(subject: &Subject<'_>, pool: &Pool) -> Option<Finding> {
    let mut by_address: BTreeMap<String, Vec<&Backend>> = BTreeMap::new();
    let line = |b: &Backend| subject.origin.spans.get(&b.path);
    for backend in pool.backends.iter().filter(|b| b.role != Role::Disabled) {
        let same = by_address
            .entry(address::plain(&backend.address))
            .or_default();
        // What a template makes of a name differs, what it makes of an address does not.
        let is_of_template = !address::is_literal(&backend.address)
            && same
                .last()
                .is_some_and(|last| line(backend).is_some() && line(last) == line(backend));
        if !is_of_template {
            same.push(backend);
        }
    }
    by_address.retain(|_, same| same.len() > 1);
    let weight = |b: &Backend| match b.role {
        Role::Active => f64::from(b.weight),
        Role::Backup | Role::Disabled => 0.0,
    };
    let total: f64 = pool.backends.iter().map(weight).sum();
    let share = |same: &[&Backend]| {
        let mine: f64 = same.iter().map(|b| weight(b)).sum();
        if total > 0.0 { mine / total } else { 0.0 }
    };
    let is_active_twice =
        |same: &[&Backend]| same.iter().filter(|b| b.role == Role::Active).count() > 1;
    let worst = by_address.values().max_by(|a, b| {
        (is_active_twice(a), share(a))
            .partial_cmp(&(is_active_twice(b), share(b)))
            .unwrap_or(std::cmp::Ordering::Equal)
    })?;
    let (first, second) = (worst.first()?, worst.get(1)?);
    let others = by_address.len() - 1;
    let more = match others {
        0 => String::new(),
        n => format!("; so have {n} more addresses of the pool"),
    };
    let (severity, effect) = if is_active_twice(worst) {
        let share = percent(share(worst));
        let effect = format!(
            "one server gets {share} of the weight of the pool under {} names",
            worst.len()
        );
        (Severity::Error, effect)
    } else {
        let effect = format!(
            "when `{}` fails, what should take over fails with it",
            first.name
        );
        (Severity::Warning, effect)
    };
    let words = Words {
        message: format!(
            "`{}` of pool `{}` has the address of `{}`, {}{more}",
            second.name, pool.name, first.name, second.address
        ),
        effect,
        fix: format!("give `{}` its own address, or remove it", second.name),
    };
    let excess: usize = by_address.values().map(|same| same.len() - 1).sum();
    let magnitude = excess as f64 + share(worst);
    let at = format!("{}.address", second.path);
    Some(subject.finding("TRF-07", severity, (&pool.path, &at), magnitude, words))
}
