//! TRF-04, TRF-14: backends that take no traffic now, and what happens when they should.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Backups, Balancer, Pool, Role};

use super::has_intent;
use crate::rule::{Rule, Subject, Words, percent, rate};

/// TRF-04.
pub(super) const DRAINED: Rule = Rule {
    id: "TRF-04",
    title: "no backend is drained without an end",
    severity: Severity::Warning,
    limit: None,
    text: "\
A backend of weight 0 gets no new requests, for as long as the file stays as it is. A file carries neither
who drained it, nor why, nor until when. Where a session sticks to its backend, bound clients still reach
it. A pool in which everybody has weight 0 is the matter of TRF-05. An info where TRF-01 judges the shares
and names the backend already. A version of which every backend has weight 0 while another version serves
is left out: it waits for its deployment.

Why: a drain for an hour of maintenance stays for months, and the capacity that the pool is planned with
is not there on the day that it is needed.

Example: one of three equal servers with `weight 0`: the others carry 50 % each instead of 33.3 %.",
    check: check_drained,
};

fn check_drained(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.setup.pools.iter();
    pools
        .filter_map(|pool| check_drained_of(subject, pool))
        .collect()
}

fn check_drained_of(subject: &Subject<'_>, pool: &Pool) -> Option<Finding> {
    let waits = pool.versions_that_wait();
    let takes_part = pool.backends.iter().enumerate().filter(|(index, backend)| {
        backend.role == Role::Active && waits.get(*index) != Some(&true)
    });
    let takes_part: Vec<&Backend> = takes_part.map(|(_, backend)| backend).collect();
    let count = takes_part.len();
    let drained: Vec<&Backend> = takes_part.into_iter().filter(|b| b.weight == 0).collect();
    let first = drained.first()?;
    let left = count - drained.len();
    if left == 0 {
        return None;
    }
    // Envoy passes over a locality that has no weight where localities are weighed.
    let is_of_locality = subject.setup.balancer == Balancer::Envoy && first.weight_path.is_none();
    let message = match drained.len() {
        1 if is_of_locality => format!(
            "`{}` of pool `{}` gets nothing: its locality has no weight",
            first.name, pool.name
        ),
        n if is_of_locality => format!(
            "`{}` and {} more of pool `{}` get nothing: their locality has no weight",
            first.name,
            n - 1,
            pool.name
        ),
        1 => format!(
            "`{}` of pool `{}` has weight 0: a drain without an end",
            first.name, pool.name
        ),
        n => format!(
            "`{}` and {} more of pool `{}` have weight 0: a drain without an end",
            first.name,
            n - 1,
            pool.name
        ),
    };
    let bound = pool.sticky.as_ref().map_or_else(String::new, |sticky| {
        format!(", while clients bound by `{}` still reach it", sticky.by)
    });
    let words = Words {
        message,
        effect: format!(
            "{left} of {count} backends carry all, {} more each than if all {count} did{bound}",
            percent(drained.len() as f64 / left as f64)
        ),
        fix: if is_of_locality {
            "give the locality a `load_balancing_weight`, or remove it".to_owned()
        } else {
            "bring it back, or remove it from the pool".to_owned()
        },
    };
    let severity = if has_intent(subject.setup, pool) {
        Severity::Info
    } else {
        Severity::Warning
    };
    let at = first.weight_path.as_ref().unwrap_or(&first.path);
    let magnitude = drained.len() as f64;
    Some(subject.finding("TRF-04", severity, (&pool.path, at), magnitude, words))
}

/// TRF-14.
pub(super) const BACKUPS: Rule = Rule {
    id: "TRF-14",
    title: "the backups that take over can carry the load",
    severity: Severity::Warning,
    limit: None,
    text: "\
Who takes over when no active backend is left is the balancer's choice: HAProxy sends everything to the
first backup that is up unless `option allbackups` is set; nginx spreads it over all. With a peak and
capacities known, those that take over must carry the peak. Without, several backups of which only the
first is used are a warning where it would stand in for more than one.

Why: the others look like strength in the file and stand by, while one server meets the load of the pool.

Example: four active servers and three backups, without `option allbackups`: when the four are out, one
server gets what four carried.",
    check: check_backups,
};

fn check_backups(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .filter_map(|(pool, forecast)| check_backups_of(subject, pool, forecast))
        .collect()
}

fn check_backups_of(
    subject: &Subject<'_>,
    pool: &Pool,
    forecast: &PoolForecast,
) -> Option<Finding> {
    let takes_part = |role: Role| {
        let backends = pool.backends.iter();
        backends.filter(move |b| b.role == role && b.weight > 0)
    };
    let active = takes_part(Role::Active).count();
    let backups: Vec<&Backend> = takes_part(Role::Backup).collect();
    let first = backups.first()?;
    if active == 0 {
        return None;
    }
    let effective: &[&Backend] = match pool.failover.backups {
        Backups::First => backups.get(..1)?,
        Backups::All => &backups,
    };
    let capacity: Option<f64> = effective.iter().map(|b| b.capacity_rps).sum();
    let used = forecast
        .rps
        .zip(capacity)
        .map(|(rps, capacity)| (rps / capacity, rps, capacity));
    let who = match effective.len() {
        1 => format!("backup `{}`", first.name),
        n => format!("the {n} backups"),
    };
    let words = match used {
        Some((used, rps, capacity)) if used > 1.0 => Words {
            message: format!(
                "{who} of pool `{}` would be used at {} when no active backend is left",
                pool.name,
                percent(used)
            ),
            effect: format!(
                "{} of {} at the peak queue up or fail then",
                rate(rps - capacity),
                rate(rps)
            ),
            fix: "add backups, or let all of them take over at once".to_owned(),
        },
        None if effective.len() < backups.len() && active > 1 => Words {
            message: format!(
                "only the first of {} backups of pool `{}` takes over, {who}",
                backups.len(),
                pool.name
            ),
            effect: format!(
                "when no active backend is left it gets alone what {active} carried; {} stand by",
                backups.len() - 1
            ),
            fix: "let all of them take over at once (HAProxy: `option allbackups`)".to_owned(),
        },
        _ => return None,
    };
    let magnitude = used.map_or(0.0, |(used, ..)| used);
    let place = (pool.path.as_str(), first.path.as_str());
    Some(subject.finding("TRF-14", Severity::Warning, place, magnitude, words))
}
