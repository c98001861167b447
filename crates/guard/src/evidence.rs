//! What a diagnosis is made from, taken from the counts and the guard's own memory.
//!
//! Windows are rows of seconds mapped by backend name onto the running configuration, so that a revision that
//! added or removed backends does not mix them up. Limits: the quiet stretch before is at most two minutes.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_balance::roster::{is_unseen, waits};
use evenkeel_diagnose::{
    BackendWindow, ChangeFact, ChangedPath, DeploymentFact, EpochFact, Evidence, HotKey, LastTries,
    LeftFact, Onset, OutFact, OutReason, TOLD_EARLY, Window,
};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Health;
use evenkeel_model::diff::diff;
use evenkeel_model::ids::{DeploymentId, Epoch, Name};
use evenkeel_model::tally::Outcomes;

use crate::counts::{Cell, Row};
use crate::deployed::Deployed;
use crate::desk::Case;
use crate::epoch::EpochInfo;
use crate::flaps::WITHIN;
use crate::state::Inner;
use crate::watch::PoolWatch;

/// Longest and shortest quiet stretch before the onset.
const BEFORE: (Duration, Duration) = (Duration::from_mins(2), Duration::from_secs(10));
/// What a backend did last before it went out; few checks take less than that.
const LAST_TRIES: Duration = Duration::from_secs(1);
/// Tries that say something.
const TRIES_MIN: u64 = 5;
/// By then a new member has been checked.
const JOINS_WITHIN: Duration = Duration::from_secs(15);
/// Changes that are looked at.
const CHANGES_WITHIN: Duration = Duration::from_mins(30);
/// Deployments of which it is known what they did before an incident.
const SERVED_MAX: usize = 8;
/// Members that left so long ago are not thought of any more.
const LEFT_WITHIN: Duration = Duration::from_mins(10);
/// Deployments that are looked at.
const DEPLOYMENTS_WITHIN: Duration = Duration::from_hours(6);

impl Inner {
    /// The facts about `pool` around the onset of `case`.
    pub(crate) fn evidence(&self, pool: &Name, case: &Case) -> Option<Evidence> {
        let watch = self.pools.get(pool)?;
        let onset = Onset {
            lo: case.onset.lo,
            best: case.onset.best,
            hi: case.onset.hi,
        };
        let after = window(watch, onset.best, self.now)?;
        Some(Evidence {
            pool: watch.pool.clone(),
            revision: self.running.record.id,
            now: self.now,
            onset,
            before: case.before.clone(),
            epochs: epochs(watch, after.from),
            after,
            changes: self.changes(onset.lo),
            deployments: self.deployments_of(pool, case),
            out: out(watch, onset.lo, self.now),
            clients: case.clients.clone(),
            hot: hot(watch, onset.best),
            drift: self.edited.clone(),
            unlisted: watch.discovery.unlisted(),
            left: left(watch, self.now),
        })
    }

    /// A stretch of quiet that ends before `onset`. It never changes, so it is looked for once per incident.
    pub(crate) fn quiet_before(&self, pool: &Name, onset: Mono) -> Option<Window> {
        let watch = self.pools.get(pool)?;
        let before = window(watch, onset.minus(BEFORE.0), onset)?;
        (before.to.since(before.from) >= BEFORE.1).then_some(before)
    }

    fn changes(&self, onset: Mono) -> Vec<ChangeFact> {
        let recent = |at: Mono| self.now.since(at) <= CHANGES_WITHIN;
        let swaps = self
            .swaps
            .iter()
            .filter(|s| recent(s.at) && s.undone_at.is_none_or(|undone| undone >= onset));
        swaps
            .map(|swap| ChangeFact {
                id: swap.id,
                at: swap.at,
                before: swap.before.clone(),
                after: swap.after.clone(),
                paths: swap.paths.clone(),
                automatic_rollback: swap.automatic,
            })
            .collect()
    }

    fn deployments_of(&self, pool: &Name, case: &Case) -> Vec<DeploymentFact> {
        let served = |id| case.served.iter().find(|(of, _)| *of == id);
        self.recent_deployments(pool)
            .map(|d| {
                let (at, until) = self.reached(d);
                DeploymentFact {
                    record: d.record.clone(),
                    at,
                    until,
                    quiet: served(d.record.id).map(|(_, window)| window.clone()),
                }
            })
            .collect()
    }

    /// From when to when backends got it: at the step that runs of one that is carried out, else as told.
    fn reached(&self, deployed: &Deployed) -> (Mono, Mono) {
        let of = &deployed.record;
        match self.rollouts.step_since(&of.pool, of.id) {
            Some(step) => (step, step),
            None => (deployed.at, deployed.until(self.now)),
        }
    }

    fn recent_deployments<'a>(
        &'a self,
        pool: &'a Name,
    ) -> impl DoubleEndedIterator<Item = &'a Deployed> {
        let all = self.deployments.of(pool);
        let recent = all.filter(|d| self.now.since(d.until(self.now)) <= DEPLOYMENTS_WITHIN);
        recent.filter(|d| !self.rollouts.is_cleared(pool, d.record.id))
    }

    /// What `pool` did between each of the latest deployments and `onset`; as [`Self::quiet_before`].
    pub(crate) fn served_before(&self, pool: &Name, onset: Mono) -> Vec<(DeploymentId, Window)> {
        let Some(watch) = self.pools.get(pool) else {
            return Vec::new();
        };
        let latest = self.recent_deployments(pool).rev().take(SERVED_MAX);
        let served = latest.filter_map(|d| {
            let (_, over) = self.reached(d);
            // A row holds the second that ended with it.
            let from = over.plus(TOLD_EARLY + Duration::from_secs(1));
            let from = from.max(onset.minus(BEFORE.0));
            Some((d.record.id, window(watch, from, onset)?))
        });
        served.collect()
    }
}

/// The paths that differ between two configurations, once per swap.
pub(crate) fn paths(
    before: &evenkeel_model::config::Config,
    after: &evenkeel_model::config::Config,
) -> Vec<ChangedPath> {
    let changes = diff(before, after).into_iter();
    changes
        .map(|change| ChangedPath {
            path: change.path,
            before: change.before,
            after: change.after,
        })
        .collect()
}

/// The rows that ended after `from` and not after `to`, whatever epoch they were counted in; `None` without any.
pub(crate) fn window(watch: &PoolWatch, from: Mono, to: Mono) -> Option<Window> {
    let rows = watch.counts.rows().iter();
    let rows: Vec<&Row> = rows.filter(|r| r.at > from && r.at <= to).collect();
    let (first, last) = (rows.first()?, rows.last()?);
    let size = watch.pool.backends.len();
    let begin = first.at.minus(Duration::from_secs(1));
    let mut sums = vec![Cell::default(); size];
    let (mut unpicked, mut elsewhere) = (0, 0);
    let mut places = (None, Vec::new());
    for row in &rows {
        unpicked += u64::from(row.unpicked);
        if places.0 != Some(row.epoch) {
            places = (Some(row.epoch), places_of(watch, row));
        }
        for (cell, place) in row.cells.iter().zip(&places.1) {
            match place.and_then(|p| sums.get_mut(p)) {
                Some(sum) => sum.add(cell),
                None => elsewhere += u64::from(cell.free) + u64::from(cell.forced),
            }
        }
        for late in &row.late_failures {
            let place = place_of(watch, late.epoch, late.place);
            if let Some(sum) = place.and_then(|p| sums.get_mut(p)) {
                sum.add(&late.cell);
            }
        }
    }
    let latency = watch.counts.latency_between(begin, last.at, size);
    let backends = sums.iter().zip(latency);
    Some(Window {
        from: begin,
        to: last.at,
        backends: backends
            .map(|(cell, latency)| BackendWindow {
                picks_free: u64::from(cell.free),
                picks_forced: u64::from(cell.forced),
                picks_retry: u64::from(cell.retry),
                outcomes: Outcomes {
                    ok: u64::from(cell.ok),
                    client_error: u64::from(cell.client_error),
                    server_error: u64::from(cell.server_error),
                    connect_failed: u64::from(cell.connect_failed),
                    reset: u64::from(cell.reset),
                    timeout: u64::from(cell.timeout),
                    client_abort: 0,
                    cancelled: u64::from(cell.cancelled),
                },
                harmed: u64::from(cell.harmed),
                latency,
                in_flight: f64::from(cell.in_flight) / rows.len() as f64,
            })
            .collect(),
        unpicked,
        elsewhere,
    })
}

/// Index in the running configuration of each backend of the row's epoch.
fn places_of(watch: &PoolWatch, row: &Row) -> Vec<Option<usize>> {
    let known = watch.epochs.iter().find(|e| e.fact.epoch == row.epoch);
    let current = watch.epoch().map(|e| &e.fact.members);
    match (known, current) {
        (Some(info), Some(current)) => {
            let at = |i: usize, name: &Name| {
                let same = current.get(i).is_some_and(|m| m.name == *name);
                let found = || current.iter().position(|m| m.name == *name);
                if same { Some(i) } else { found() }
            };
            let members = info.fact.members.iter().enumerate();
            members.map(|(i, m)| at(i, &m.name)).collect()
        }
        // Forgotten epochs had the same backends as far as is known.
        _ => (0..row.cells.len()).map(Some).collect(),
    }
}

/// Where the backend at `place` of an older epoch stands now.
fn place_of(watch: &PoolWatch, epoch: Epoch, place: usize) -> Option<usize> {
    let old = watch.epochs.iter().find(|e| e.fact.epoch == epoch)?;
    let name = &old.fact.members.get(place)?.name;
    let now = &watch.epoch()?.fact.members;
    let same = now.get(place).is_some_and(|m| m.name == *name);
    same.then_some(place)
        .or_else(|| now.iter().position(|m| m.name == *name))
}

/// The epochs that overlap the time since `from`.
fn epochs(watch: &PoolWatch, from: Mono) -> Vec<EpochFact> {
    let end_of = |index: usize| watch.epochs.get(index + 1).map(|next| next.from);
    let overlaps = |index: usize| end_of(index).is_none_or(|end| end >= from);
    let epochs = watch.epochs.iter().enumerate();
    epochs
        .filter(|(index, _)| overlaps(*index))
        .map(|(_, info)| epoch_fact(watch, info, from))
        .collect()
}

fn epoch_fact(watch: &PoolWatch, info: &EpochInfo, from: Mono) -> EpochFact {
    let mut picks = vec![0u64; info.fact.members.len()];
    let rows = watch.counts.rows().iter();
    for row in rows.filter(|r| r.epoch == info.fact.epoch && r.at > from) {
        for (sum, cell) in picks.iter_mut().zip(&row.cells) {
            *sum += u64::from(cell.free);
        }
    }
    EpochFact {
        epoch: info.fact.epoch,
        revision: info.fact.revision,
        algorithm: info.algorithm,
        from: info.from,
        members: info.members.clone(),
        declared: info.declared.clone(),
        comes_in: info.comes_in,
        picks_free: picks,
    }
}

/// Backends that take no traffic, or did not since the onset.
fn out(watch: &PoolWatch, onset: Mono, now: Mono) -> Vec<OutFact> {
    let Some(info) = watch.epoch() else {
        return Vec::new();
    };
    let mut facts = Vec::new();
    for (place, member) in info.fact.members.iter().enumerate() {
        let health = watch.health.get(&member.name);
        let down = health.is_some_and(|h| !h.up);
        let fell = health.is_some_and(|h| h.downs.back().is_some_and(|at| *at >= onset));
        let found = watch.pool.backends.get(place).is_some_and(|b| b.discovered);
        let never_up = found && health.is_some_and(|h| !h.up && !h.was_up);
        let unseen = (is_unseen(&member.why) || never_up).then(|| joined_at(watch, &member.name));
        // Who has just joined has not had the time to be checked.
        let joins = unseen.is_some_and(|since| now.since(since) < JOINS_WITHIN);
        if (member.is_in() || waits(&member.why) || joins) && !down && !fell {
            continue;
        }
        let (reason, since) = match (health, unseen) {
            (_, Some(since)) => (OutReason::NeverIn, since),
            (Some(health), _) if down || fell => (OutReason::Health, health.since),
            _ if member.drained => (OutReason::Drain, drained_since(watch, &member.name)),
            _ if member.why.contains("health") => (OutReason::Health, info.from),
            _ => (OutReason::Membership, info.from),
        };
        let recent = |at: &&Mono| now.since(**at) <= WITHIN;
        let flips = health.map_or(0, |h| h.thrown.iter().filter(recent).count());
        let said = health.map(|h| h.detail.clone()).filter(|d| !d.is_empty());
        facts.push(OutFact {
            backend: member.name.clone(),
            reason,
            since,
            flips: u32::try_from(flips).unwrap_or(u32::MAX),
            last: match health.and_then(|h| h.downs.back()) {
                Some(at) if reason == OutReason::Health => last_tries(watch, place, *at),
                _ => LastTries::Well,
            },
            detail: said.unwrap_or_else(|| member.why.clone()),
        });
    }
    facts
}

/// Members that discovery took away lately.
fn left(watch: &PoolWatch, now: Mono) -> Vec<LeftFact> {
    if watch.pool.members.is_none() {
        return Vec::new();
    }
    let is_here = |name: &Name| watch.pool.backends.iter().any(|b| b.name == *name);
    let mut left: Vec<LeftFact> = Vec::new();
    let epochs = watch.epochs.iter();
    for (before, after) in epochs.clone().zip(epochs.skip(1)) {
        let stayed: BTreeSet<&Name> = after.members.iter().map(|m| &m.name).collect();
        let gone = before.members.iter().filter(|m| !stayed.contains(&m.name));
        for member in gone.filter(|m| !is_here(&m.name) && now.since(after.from) <= LEFT_WITHIN) {
            left.retain(|one| one.member.name != member.name);
            let member = Member {
                eligible: true,
                ..member.clone()
            };
            let since = after.from;
            left.push(LeftFact { member, since });
        }
    }
    left
}

/// The key that has been hot since the onset.
fn hot(watch: &PoolWatch, onset: Mono) -> Option<HotKey> {
    let (hot, place) = watch.hot_key_since(onset)?;
    Some(HotKey {
        hash: hot.key,
        part: hot.part,
        backend: watch.pool.backends.get(place)?.name.clone(),
    })
}

/// The start of the first of the last epochs in a row in which it was there.
fn joined_at(watch: &PoolWatch, backend: &Name) -> Mono {
    let has_it = |info: &&EpochInfo| info.fact.members.iter().any(|m| m.name == *backend);
    let since = watch.epochs.iter().rev().take_while(has_it).last();
    since.map_or(Mono::ZERO, |info| info.from)
}

/// What came of the last tries at the backend at `place`, which went out `at`.
fn last_tries(watch: &PoolWatch, place: usize, at: Mono) -> LastTries {
    let since = |length: Duration| {
        let rows = watch.counts.rows().iter();
        let rows = rows.filter(|row| row.at > at.minus(length) && row.at <= at);
        let here = rows.filter(|row| place_of(watch, row.epoch, place) == Some(place));
        here.filter_map(|row| row.cells.get(place))
            .fold(Cell::default(), |mut sum, cell| {
                sum.add(cell);
                sum
            })
    };
    let last = since(LAST_TRIES);
    let refused = u64::from(last.connect_failed);
    if refused > 0 && refused * 10 >= last.ended() * 9 {
        return LastTries::Refused;
    }
    // Its check failed that long before it took the backend out.
    let check = watch.pool.health.as_ref();
    let lead = check.map_or(Duration::ZERO, Health::acts_within);
    let last = since(lead.max(LAST_TRIES));
    // Who is waited for until the timeout is slow.
    let timeouts = u64::from(last.timeout);
    let failed = last.failed().saturating_sub(timeouts);
    let (picks, slow) = (last.picks(), u64::from(last.slow) + timeouts);
    let held = picks.saturating_sub(last.ended() + u64::from(last.cancelled));
    if picks < TRIES_MIN || (failed + slow + held) * 2 < picks {
        LastTries::Well
    } else if (slow + held) * 4 >= picks.saturating_sub(failed).max(TRIES_MIN) {
        // Who is slow fills up and then fails; the first of these seconds may have been well.
        LastTries::Slow
    } else {
        LastTries::Failed
    }
}

/// The start of the first of the last epochs in a row in which it is drained.
fn drained_since(watch: &PoolWatch, backend: &Name) -> Mono {
    let is_drained = |info: &&EpochInfo| drained(info).any(|name| name == backend);
    let since = watch.epochs.iter().rev().take_while(is_drained).last();
    since.map_or(Mono::ZERO, |info| info.from)
}

/// When the last epoch began that had other members than the one before it, or drained others.
pub(crate) fn members_moved(watch: &PoolWatch) -> Option<Mono> {
    let epochs = watch.epochs.iter();
    let pairs = epochs.clone().zip(epochs.skip(1)).rev();
    let names = |info: &'_ EpochInfo| -> Vec<Name> {
        let members = info.fact.members.iter();
        members.map(|member| member.name.clone()).collect()
    };
    let mut moved = pairs.filter(|(before, after)| {
        !drained(before).eq(drained(after)) || names(before) != names(after)
    });
    moved.next().map(|(_, after)| after.from)
}

fn drained(info: &EpochInfo) -> impl Iterator<Item = &Name> {
    let members = info.fact.members.iter().filter(|member| member.drained);
    members.map(|member| &member.name)
}
