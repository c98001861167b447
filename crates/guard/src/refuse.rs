//! The findings by which the guard refuses a change: `CHG-01` to `CHG-06`, `CHG-08` for a deployment, and `CAP-01` for
//! a rollback or a step of a deployment.

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::record::RolloutRecord;

use crate::action::{Outcome, Refusal};
use crate::rollout::overlay::{Load, percent};

/// `CHG-01`: the base moved.
pub(crate) fn base_moved(expected: RevisionId, running: RevisionId) -> Box<Finding> {
    finding(
        "CHG-01",
        format!("the change was made for {expected}, but {running} runs"),
        "applying it would undo what came in between",
        format!("look at `evenkeel diff {expected} {running}`, then apply again on {running}"),
    )
}

/// `CHG-02`: the content was undone before.
pub(crate) fn quarantined(incident: Option<IncidentId>) -> Box<Finding> {
    let because = incident.map_or_else(String::new, |id| format!(" by incident {id}"));
    finding(
        "CHG-02",
        format!("this content was undone{because} and is in quarantine"),
        "it harmed traffic when it ran",
        "correct it, or apply it with `--force --reason` if the cause was another one",
    )
}

/// `CHG-02` too: forced, but without saying why.
pub(crate) fn force_without_reason() -> Box<Finding> {
    finding(
        "CHG-02",
        "`--force` needs a reason",
        "nobody could tell later why the guard was overridden",
        "add `--reason`",
    )
}

/// `CHG-03`: another change is in flight.
pub(crate) fn in_flight(which: RevisionId, doing: &str) -> Box<Finding> {
    finding(
        "CHG-03",
        format!("{which} is still {doing}"),
        "two changes at once cannot be told apart by their effect",
        "wait for it, `evenkeel confirm` it or `evenkeel rollback` it",
    )
}

/// `CHG-03` of a change that touches what a deployment moves.
pub(crate) fn deployment_moves(record: &RolloutRecord) -> Box<Finding> {
    let RolloutRecord {
        id, pool, version, ..
    } = record;
    finding(
        "CHG-03",
        format!("deployment {id} of {version} moves the traffic of pool `{pool}`"),
        "the effect of both at once could not be told apart",
        format!("wait for it (`evenkeel deploy status`) or `evenkeel deploy abort {pool}`"),
    )
}

/// `CHG-03` of a change that touches a pool whose deployment is being recorded.
pub(crate) fn deployment_starts(pool: &Name) -> Box<Finding> {
    finding(
        "CHG-03",
        format!("a deployment of pool `{pool}` is about to start"),
        "the effect of both at once could not be told apart",
        format!("wait for it (`evenkeel deploy status`) or `evenkeel deploy abort {pool}`"),
    )
}

/// `CHG-08`: a deployment cannot be made.
pub(crate) fn deployment(why: String) -> Box<Finding> {
    finding(
        "CHG-08",
        why,
        "none: no traffic was moved",
        "look at `evenkeel deploy status` and at the versions in `evenkeel status`; `--force` does not override it",
    )
}

/// `CAP-01` of a step of a deployment.
pub(crate) fn step_overloads(
    record: &RolloutRecord,
    load: &Load,
    (rps, limit): (f64, f64),
) -> Box<Finding> {
    let RolloutRecord { pool, version, .. } = record;
    let share = percent(record.share_ppm);
    let Load {
        backend,
        capacity_rps,
        utilisation,
    } = load;
    finding(
        "CAP-01",
        format!(
            "at {share} for {version} `{backend}` of pool `{pool}` would carry {:.1} % of its capacity of {capacity_rps} rps at {rps:.0} rps; the limit is {:.0} %",
            utilisation * 100.0,
            limit * 100.0
        ),
        "requests to it would queue and fail when the load comes",
        format!(
            "add backends of {version}, bring others back, deploy when the load is lower, or `--force --reason TEXT`"
        ),
    )
}

/// `CHG-04`: fewer live backends than `min_healthy`.
pub(crate) fn too_few_live(pool: &str, live: usize, needed: u32) -> Box<Finding> {
    finding(
        "CHG-04",
        format!("pool `{pool}` would have {live} live backends, `min_healthy` is {needed}"),
        "too few backends would carry the whole pool",
        "bring backends back first, or change `min_healthy`; `--force` does not override it",
    )
}

/// `CHG-05`: nobody could take traffic.
pub(crate) fn none_effective(pool: &str) -> Box<Finding> {
    finding(
        "CHG-05",
        format!("pool `{pool}` would have no effective backend"),
        "every request to it would be answered 503",
        "give at least one live backend a weight above 0; `--force` does not override it",
    )
}

/// `CHG-01` of a drain: others came or went meanwhile.
pub(crate) fn drains_moved() -> Box<Finding> {
    finding(
        "CHG-01",
        "another drain came or went while this one was judged",
        "what is left to carry the load is not what it was judged by",
        "look at `evenkeel status`, then try again",
    )
}

/// `CHG-04` of a drain.
pub(crate) fn too_few_left(pool: &Name, backend: &Name, left: usize, needed: u32) -> Box<Finding> {
    let needed = needed.max(1);
    finding(
        "CHG-04",
        format!(
            "without `{backend}` pool `{pool}` would have {left} live backends, {needed} are needed (`min_healthy`)"
        ),
        if left == 0 {
            "every request to it would be answered 503"
        } else {
            "too few backends would carry the whole pool"
        },
        "bring another backend back or add one first, or lower `min_healthy`; `--force` does not override it",
    )
}

/// `CHG-04` of a drain too: nobody to be drained.
pub(crate) fn no_such_backend(pool: &Name, backend: &Name) -> Box<Finding> {
    finding(
        "CHG-04",
        format!("there is no backend `{backend}` in pool `{pool}`"),
        "none: nothing was drained",
        "look at `evenkeel status`",
    )
}

/// `CHG-04` of a drain too: the bound.
pub(crate) fn too_many_drains() -> Box<Finding> {
    finding(
        "CHG-04",
        format!("{} backends are drained already", crate::DRAINS_MAX),
        "nobody can keep track of more",
        "end drains with `evenkeel undrain`, or take backends out of the configuration",
    )
}

/// `CHG-06`: the journal takes no entries.
pub(crate) fn journal(why: &str) -> Box<Finding> {
    finding(
        "CHG-06",
        format!("the journal cannot be written: {why}"),
        "a change that is not recorded could not be undone after a restart; what runs goes on running",
        "free the disk or repair the journal; `--force` does not override it",
    )
}

/// `CAP-01`: a rollback that would overload a backend.
pub(crate) fn overloads(message: String, effect: &str, fix: &str) -> Box<Finding> {
    finding("CAP-01", message, effect, fix)
}

/// The answer to a request that is refused for `reason`; `more` are findings that explain it further.
pub(crate) fn refused(
    reason: Finding,
    more: Vec<Finding>,
    incident: Option<IncidentId>,
) -> Outcome {
    let mut findings = vec![reason];
    findings.extend(more);
    Outcome::Refused(Refusal { findings, incident })
}

fn finding(
    id: &'static str,
    message: impl Into<String>,
    effect: impl Into<String>,
    fix: impl Into<String>,
) -> Box<Finding> {
    Box::new(Finding {
        id,
        severity: Severity::Error,
        message: message.into(),
        effect: effect.into(),
        fix: fix.into(),
        path: String::new(),
        magnitude_ppm: 0,
        file: None,
        location: None,
        waived: None,
        effect_of: None,
    })
}
