//! What runs is not what the journal says: an edit that bypassed the guard, or an old revision that was pushed.
//!
//! The shell may tell ([`crate::Event::Drift`]); otherwise each epoch shows names and weights, which are compared with the
//! journalled revision. Limits: an algorithm, a limit or a timeout changed outside the journal does not show in an
//! epoch unless an old revision was pushed that is known; the picks can still give an algorithm away (room `diagnose`).

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_detect::onset::Onset;
use evenkeel_diagnose::Drift;
use evenkeel_model::blame::Mechanism;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Pool;
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::record::EventSource;

use crate::alarm::{Alarm, AlarmKind};
use crate::event::{DriftFact, EpochFact, MemberFact};
use crate::state::Inner;
use crate::watch::PoolWatch;

/// A difference that lasts no longer is a swap under way.
const LASTS: Duration = Duration::from_secs(2);

/// How an epoch differs from `pool` as journalled in `running`; `None`: it does not. `old`: the pool in the revision that
/// the epoch says it runs.
pub(crate) fn of_epoch(
    pool: &Pool,
    fact: &EpochFact,
    running: RevisionId,
    old: Option<&Pool>,
) -> Option<Drift> {
    let found = difference(pool, fact, running);
    let pushed = (fact.revision != running).then_some(fact.revision);
    let Some(revision) = pushed else {
        return found;
    };
    let told = format!(
        "pool `{}` runs {revision}, the journal says {running}",
        pool.name
    );
    Some(match found {
        Some(drift) => Drift {
            what: format!("{told}: {}", drift.what),
            pushed,
            ..drift
        },
        None => Drift {
            what: told,
            mechanism: old.map_or(Mechanism::None, |old| differs_by(old, pool)),
            pushed,
        },
    })
}

fn difference(pool: &Pool, fact: &EpochFact, running: RevisionId) -> Option<Drift> {
    let name = &pool.name;
    // What stands in another place is no difference.
    let says: BTreeMap<&Name, u32> = pool.backends.iter().map(|b| (&b.name, b.weight)).collect();
    let strange = fact.members.iter().find(|m| !says.contains_key(&m.name));
    let (mechanism, what) = if let Some(member) = strange {
        (
            Mechanism::Membership,
            format!(
                "`{name}` runs {}, {running} has no such backend",
                member.name
            ),
        )
    } else if pool.backends.len() != fact.members.len() {
        let (says, runs) = (pool.backends.len(), fact.members.len());
        (
            Mechanism::Membership,
            format!("`{name}` runs {runs} backends, {running} says {says}"),
        )
    } else {
        // Slow start and the like shape weights too, and say so.
        let weight = |member: &MemberFact| says.get(&member.name).copied();
        let members = fact.members.iter().filter(|m| m.why.is_empty());
        let mut pairs = members.filter_map(|m| Some((m, weight(m)?)));
        let (member, weight) = pairs.find(|(member, weight)| member.weight != *weight)?;
        (
            Mechanism::Weight,
            format!(
                "`{name}/{}` runs with weight {}, {running} says {weight}",
                member.name, member.weight
            ),
        )
    };
    Some(Drift {
        what,
        mechanism,
        pushed: None,
    })
}

/// What differs between two revisions of a pool whose epochs look alike.
fn differs_by(old: &Pool, new: &Pool) -> Mechanism {
    let timeouts = |pool: &Pool| {
        [
            pool.connect_timeout,
            pool.response_timeout,
            pool.request_timeout,
            pool.idle_timeout,
        ]
    };
    if old.algorithm != new.algorithm {
        Mechanism::Algorithm
    } else if old.health != new.health {
        Mechanism::HealthCheck
    } else if old.max_in_flight != new.max_in_flight {
        Mechanism::Limit
    } else if timeouts(old) != timeouts(new) {
        Mechanism::Timeout
    } else if old.retry != new.retry {
        Mechanism::Retry
    } else if old.tls != new.tls {
        Mechanism::Tls
    } else {
        Mechanism::None
    }
}

impl PoolWatch {
    /// What an epoch showed of drift.
    pub(crate) fn drifts(&mut self, drift: Option<Drift>, now: Mono) {
        let since = self.drift.as_ref().map_or(now, |(_, since)| *since);
        self.drift = drift.map(|drift| (drift, since));
    }

    /// Whether what runs differs from the journal, and not only for a moment.
    pub(crate) fn is_drifting(&self) -> bool {
        let now = self.counts.last().map(|row| row.at);
        let since = self.drift.as_ref().map(|(_, since)| *since);
        now.zip(since)
            .is_some_and(|(now, since)| now.since(since) >= LASTS)
    }

    pub(crate) fn drift_alarm(&self) -> Option<Alarm> {
        let (drift, since) = self.drift.as_ref().filter(|_| self.is_drifting())?;
        Some(Alarm {
            kind: AlarmKind::Drift,
            onset: Onset {
                lo: since.minus(Duration::from_secs(1)),
                best: *since,
                hi: *since,
            },
            title: drift.what.clone(),
            detail: "what runs is compared with the journal at each epoch".to_owned(),
        })
    }
}

impl Inner {
    /// The shell says whether CONFIG, or what runs, differs from the running revision.
    pub(crate) fn drifted(&mut self, drift: Option<DriftFact>) {
        if drift != self.drift {
            let (kind, text) = match &drift {
                Some(drift) => ("config.drift", drift.detail.clone()),
                None => ("config.drift_over", "no drift any more".to_owned()),
            };
            let line = self.line(EventSource::Controller, kind, "guard", text);
            self.record(vec![line]);
        }
        let told = drift.as_ref().filter(|d| d.running);
        self.edited = told.map(|told| Drift {
            what: told.detail.clone(),
            // What the epochs showed is finer than what the shell tells.
            mechanism: self
                .edited
                .as_ref()
                .map_or(Mechanism::None, |d| d.mechanism),
            pushed: self.edited.as_ref().and_then(|d| d.pushed),
        });
        self.drift = drift;
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::blame::Mechanism;
    use evenkeel_model::config::Pool;
    use evenkeel_model::ids::{Epoch, Name, RevisionId};
    use evenkeel_model::parse::parse;

    use super::of_epoch;
    use crate::event::{EpochFact, MemberFact};

    fn pool() -> Pool {
        let text = "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\n\
                    pool = \"shop\"\n[pool.shop]\n[pool.shop.backend.web-1]\naddress = \"127.0.0.1:8081\"\n\
                    [pool.shop.backend.web-2]\naddress = \"127.0.0.1:8082\"\n";
        let parsed = parse(text, None);
        parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.findings))
            .pools
            .remove(0)
    }

    fn epoch(revision: u64, members: &[(&str, u32, &str)]) -> EpochFact {
        EpochFact {
            pool: Name::new("shop").unwrap(),
            epoch: Epoch(4),
            revision: RevisionId(revision),
            members: members
                .iter()
                .map(|(name, weight, why)| MemberFact {
                    name: Name::new(name).unwrap(),
                    weight: *weight,
                    eligible: true,
                    drained: false,
                    why: (*why).to_owned(),
                })
                .collect(),
            is_passing: false,
        }
    }

    #[test]
    fn an_epoch_shows_what_was_edited_and_which_revision_was_pushed() {
        let of = |fact: &EpochFact| {
            of_epoch(&pool(), fact, RevisionId(7), None).map(|d| (d.mechanism, d.pushed))
        };
        assert_eq!(of(&epoch(7, &[("web-1", 1, ""), ("web-2", 1, "")])), None);
        assert_eq!(of(&epoch(7, &[("web-2", 1, ""), ("web-1", 1, "")])), None);
        let slow_start = [("web-1", 5, "slow start"), ("web-2", 1, "")];
        assert_eq!(of(&epoch(7, &slow_start)), None);
        let heavy = [("web-1", 10, ""), ("web-2", 1, "")];
        assert_eq!(of(&epoch(7, &heavy)), Some((Mechanism::Weight, None)));
        let stale = Some((Mechanism::Weight, Some(RevisionId(3))));
        assert_eq!(of(&epoch(3, &heavy)), stale);
        let level = [("web-1", 1, ""), ("web-2", 1, "")];
        let mut old = pool();
        old.response_timeout *= 2;
        let found = of_epoch(&pool(), &epoch(3, &level), RevisionId(7), Some(&old));
        let found = found.map(|d| (d.mechanism, d.pushed));
        assert_eq!(found, Some((Mechanism::Timeout, Some(RevisionId(3)))));
        let lost = [("web-1", 1, "")];
        assert_eq!(of(&epoch(7, &lost)), Some((Mechanism::Membership, None)));
        let other = [("web-1", 1, ""), ("web-9", 1, "")];
        assert_eq!(of(&epoch(7, &other)), Some((Mechanism::Membership, None)));
    }
}
