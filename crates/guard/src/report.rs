//! The guard's knowledge as a [`GuardView`].

use std::time::Duration;

use evenkeel_balance::reason::{self, Crowd};
use evenkeel_balance::roster::waits;
use evenkeel_balance::{FailOpen, Member, Standing};
use evenkeel_detect::sequence::{ALPHA_STATUS, interval};
use evenkeel_diagnose::{BackendWindow, Window};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::tally::Latency;

use crate::change::Kind;
use crate::counts::Cell;
use crate::event::MemberFact;
use crate::evidence::window;
use crate::state::Inner;
use crate::verify::{HELD_AFTER, Phase};
use crate::view::{
    BackendView, GuardView, HealthView, HotKeyView, PoolView, Status, Verdict, VerifyingView,
};
use crate::watch::{ENOUGH, PoolWatch, WINDOW};

/// Part of the requests of a backend that others answered first, from which on it is told.
const HEDGED_TOLD: f64 = 0.02;

impl Inner {
    pub(crate) fn view(&self, now: Mono, wall: Wall) -> GuardView {
        let at = |deadline: Mono| wall.plus(deadline.since(now));
        let incident = self.desk.worst().map(|record| record.id);
        let open_first = |done: bool| {
            let cases = self.desk.cases.iter().rev().map(|case| &case.record);
            cases
                .filter(move |r| evenkeel_incident::lifecycle::is_open(r.status) != done)
                .cloned()
        };
        let target = self
            .targets
            .last()
            .map_or(self.running.record.id, |t| t.record.id);
        let pools = self.running.config.pools.iter();
        GuardView {
            at: wall,
            revision: self.running.record.id,
            hash: self.running.record.hash,
            revision_state: self.running.record.state,
            state: self.status(),
            verified: target,
            incident,
            incidents: open_first(false).chain(open_first(true)).collect(),
            revisions: self.records.iter().cloned().collect(),
            deployments: self.deployments.records(),
            rollouts: self.rollout_views(),
            verifying: self.verifying(),
            confirm_by: self.confirm_by.map(at),
            keep_until: self.keep_until.map(at),
            next_page: self.next_page(),
            drift: self.drift.clone(),
            edited: self.edited.as_ref().map(|drift| drift.what.clone()),
            drains: self.drains.view(),
            drain_changes: self.drains.changes(),
            journal_ok: self.ledger.is_ok(),
            journal_waiting: self.ledger.waiting(),
            journal_dropped: self.ledger.dropped(),
            hold: self.hold.reason(now),
            audit: self.audits.last,
            audit_next: Some(at(self.audits.due)),
            drill: self.drill,
            pools: pools
                .filter_map(|pool| self.pools.get(&pool.name))
                .map(|watch| self.pool_view(watch, now))
                .collect(),
        }
    }

    fn status(&self) -> Status {
        let rolling = self
            .change
            .as_ref()
            .is_some_and(|c| matches!(c.kind, Kind::Rollback(_)));
        if rolling {
            return Status::RollingBack;
        }
        if self.desk.worst().is_some() {
            return Status::Incident;
        }
        match (&self.phase, &self.change) {
            (_, Some(_)) | (Phase::Verifying(_), _) => Status::Verifying,
            (Phase::Held(_), _) => Status::Held,
            (Phase::Settled, None) if self.drift.is_some() || self.edited.is_some() => {
                Status::Drift
            }
            (Phase::Settled, None) => Status::Ok,
        }
    }

    fn verifying(&self) -> Option<VerifyingView> {
        let (Phase::Verifying(verifying) | Phase::Held(verifying)) = &self.phase else {
            return None;
        };
        let since = self.wall_of(verifying.since);
        Some(VerifyingView {
            revision: self.running.record.id,
            since,
            until: since.plus(HELD_AFTER),
            missing: self.missing(verifying),
        })
    }

    fn next_page(
        &self,
    ) -> Option<(
        evenkeel_model::ids::IncidentId,
        evenkeel_model::ids::Name,
        Wall,
    )> {
        let due = self.desk.cases.iter().filter_map(|case| {
            let state = &case.record.escalation;
            let level = state.levels.get(state.paged)?;
            Some((case.record.id, level.name.clone(), state.next_at?))
        });
        due.min_by_key(|(_, _, at)| *at)
    }

    fn pool_view(&self, watch: &PoolWatch, now: Mono) -> PoolView {
        let frame = Frame::of(watch, self.now);
        let seen = &frame.seen;
        let mut latency = Latency::default();
        let (mut picks, mut failed, mut harmed, mut finished) = (0, 0, 0, 0);
        for backend in &seen.backends {
            latency.add(&backend.latency);
            picks += backend.picks();
            failed += backend.outcomes.failed();
            harmed += backend.harmed;
            finished += backend.finished();
        }
        let enough = picks >= ENOUGH;
        let per_second = |count: u64| count as f64 / seen.length().as_secs_f64();
        let backends = (0..watch.pool.backends.len())
            .filter_map(|index| self.backend_view((watch, &frame), index, enough, now));
        let (p50_ms, p99_ms) = quantiles(&latency, enough);
        let hot_key = watch.hot_key().and_then(|(hot, index)| {
            let backend = watch.pool.backends.get(index)?;
            Some(HotKeyView {
                part: hot.part,
                backend: backend.name.clone(),
            })
        });
        PoolView {
            members: Self::members_view(watch),
            hot_key,
            name: watch.pool.name.clone(),
            algorithm: watch.pool.algorithm,
            intent: watch.pool.intent,
            epoch: watch.epoch().map(|e| e.fact.epoch),
            rps: enough.then(|| per_second(picks)),
            refused_rps: per_second(seen.unpicked),
            error_rate: rate(failed, finished, enough),
            harmed_rate: rate(harmed, finished, enough),
            p50_ms,
            p99_ms,
            objective_met: watch.objective_missed_by_any().map(|missed| !missed),
            incident: self.desk.open_of(&watch.pool.name).map(|c| c.record.id),
            backends: backends.collect(),
        }
    }

    fn backend_view(
        &self,
        (watch, frame): (&PoolWatch, &Frame<'_>),
        index: usize,
        enough: bool,
        now: Mono,
    ) -> Option<BackendView> {
        let backend = watch.pool.backends.get(index)?;
        let cell = frame.cells.get(index)?;
        let seen = frame.seen.backends.get(index)?;
        let (picks, free, trials) = (frame.picks, frame.free, frame.trials);
        let hits = frame.totals.get(index).copied().unwrap_or(0);
        let ci = (trials > 0).then(|| interval(hits, trials, ALPHA_STATUS));
        let verdict = watch.verdicts.get(index).copied().unwrap_or_default();
        let rps = enough.then(|| seen.picks() as f64 / frame.seen.length().as_secs_f64());
        let told = watch.vitals.get(index);
        let (p50_ms, p99_ms) = quantiles(&seen.latency, enough);
        let health = watch.health.get(&backend.name);
        let member = watch.epoch().and_then(|e| e.fact.members.get(index));
        // Of a drained backend without a check nothing is known.
        let told_up = member.filter(|m| !m.drained).map(|m| m.eligible);
        let up = health.map_or(told_up, |h| Some(h.up));
        Some(BackendView {
            name: backend.name.clone(),
            weight: self.declared_weight(watch, index).unwrap_or(backend.weight),
            capacity_rps: backend.capacity_rps,
            zone: backend.zone.clone(),
            version: backend.version.clone(),
            intended_share: watch.intended.get(index).copied(),
            expected_share: watch.shown_shares().and_then(|e| e.get(index)).copied(),
            observed_share: if watch.key_parts.is_some() {
                frame
                    .is_enough()
                    .then(|| cell.picks() as f64 / picks as f64)
            } else {
                (free >= ENOUGH).then(|| f64::from(cell.free) / free as f64)
            },
            ci_low: ci.map(|ci| ci.lo),
            ci_high: ci.map(|ci| ci.hi),
            verdict: self.overlaid(verdict),
            reason: self.why((watch, frame), index, verdict, now),
            rps,
            utilisation: rps.and_then(|r| Some(r / backend.capacity_rps?)),
            p50_ms,
            p99_ms,
            error_rate: rate(seen.outcomes.failed(), seen.finished(), enough),
            in_flight: told.map(|v| v.in_flight),
            in_flight_limit: told.and_then(|v| v.limit),
            cpu: told.and_then(|v| v.cpu),
            memory: told.and_then(|v| v.memory),
            health: match up {
                Some(true) => HealthView::Up,
                Some(false) => HealthView::Down,
                None => HealthView::Unknown,
            },
            health_detail: health.map_or_else(String::new, |h| h.detail.clone()),
        })
    }

    /// What the running text gives the backend; a deployment may have replaced it.
    fn declared_weight(&self, watch: &PoolWatch, index: usize) -> Option<u32> {
        let pool = self.running.config.pool(watch.pool.name.as_str())?;
        Some(pool.backends.get(index)?.weight)
    }

    /// A kept revision is explained, not judged.
    const fn overlaid(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Ok if self.keep_until.is_some() => Verdict::Explained,
            other => other,
        }
    }

    /// Why this backend has its share, in words.
    fn why(
        &self,
        (watch, frame): (&PoolWatch, &Frame<'_>),
        index: usize,
        verdict: Verdict,
        now: Mono,
    ) -> String {
        let mut text = share_reason(watch, frame, index);
        let name = watch.pool.backends.get(index).map(|b| &b.name);
        if let Some(held) = name.and_then(|name| watch.discovery.reason(name, now)) {
            text = format!("{held}; {text}");
        }
        if let Some(ramp) = watch.ramp() {
            text = format!("{text}; {}", ramp.in_words());
        }
        if let Some(at) = self.keep_until {
            let left = at.since(now).as_secs();
            text = format!("{text}; kept against the tests for {left} s more (--keep)");
        }
        let share = |said: &Option<evenkeel_detect::share::ShareEvidence>| {
            let evidence = said.as_ref().filter(|e| e.alarm)?;
            evidence.backends.get(index).map(|b| b.reason.to_string())
        };
        let said = match verdict {
            Verdict::Over | Verdict::Under => {
                let part = || watch.spread.verdict(index).map(|(_, why)| why);
                let pool = share(&watch.said.intent).or_else(|| share(&watch.said.fidelity));
                pool.or_else(part)
            }
            _ => None,
        };
        if let Some((hot, _)) = watch.hot_key().filter(|(_, owner)| *owner == index) {
            let percent = hot.part * 100.0;
            text = format!(
                "one key of this backend brings {percent:.0} % of the requests with a key; {text}"
            );
        }
        if let Some(hedged) = hedged_away(watch, frame, index) {
            text = format!("{hedged}; {text}");
        }
        if let Some(limit) = watch.limit_reason(index) {
            text = format!("{limit}; {text}");
        }
        if let Some(above) = above_plan(watch, frame, index) {
            text = format!("{above}; {text}");
        }
        if let Some(withheld) = &watch.client_rule.withheld {
            text = format!("{text}; {withheld}");
        }
        let by_load = watch.said.load.as_ref().and_then(|l| l.get(index));
        if let Some(more) = said.or_else(|| by_load.map(ToString::to_string)) {
            text = format!("{more}; {text}");
        }
        if verdict == Verdict::Unknown {
            let picks = watch.judged_picks();
            text = format!("{text}; {picks} picks so far, {ENOUGH} are needed");
        }
        text
    }
}

/// What the rows of a pool have in common, taken once for all of its backends.
struct Frame<'a> {
    /// The last seconds of the epoch, by backend, and how many: what shares are judged by.
    cells: Vec<Cell>,
    seconds: usize,
    /// The last seconds in whatever epoch they were counted: what users saw.
    seen: Window,
    picks: u64,
    free: u64,
    /// Free picks of the epoch by backend, and what the interval of a share stands on.
    totals: &'a [u64],
    trials: u64,
    members: Vec<Member>,
    crowd: Crowd,
    fail_open: FailOpen,
}

impl<'a> Frame<'a> {
    fn of(watch: &'a PoolWatch, now: Mono) -> Self {
        let (cells, seconds) = watch.counts.window(WINDOW);
        let from = now.minus(Duration::from_secs(WINDOW as u64));
        let totals = watch.counts.totals();
        let told = watch.epoch().map_or(&[][..], |info| &info.fact.members);
        let member = |m: &MemberFact| Member {
            name: m.name.clone(),
            // Who only waits for others is not out.
            weight: if waits(&m.why) { 0 } else { m.weight },
            eligible: m.eligible,
        };
        let members: Vec<Member> = told.iter().map(member).collect();
        let is_down = |m: &Member| is_down(watch, m);
        let open = members.iter().any(|m| m.eligible) && members.iter().all(is_down);
        Self {
            picks: cells.iter().map(Cell::picks).sum(),
            free: cells.iter().map(|c| u64::from(c.free)).sum(),
            trials: match watch.key_parts {
                Some(_) => 0,
                None => totals.iter().sum(),
            },
            totals,
            cells,
            seconds,
            seen: window(watch, from, now).unwrap_or_else(|| nothing(watch, now)),
            crowd: Crowd::of(&members),
            fail_open: if open { FailOpen::Yes } else { FailOpen::No },
            members,
        }
    }

    const fn is_enough(&self) -> bool {
        self.picks >= ENOUGH
    }
}

/// Nothing was counted yet.
fn nothing(watch: &PoolWatch, now: Mono) -> Window {
    Window {
        from: now,
        to: now,
        backends: vec![BackendWindow::default(); watch.pool.backends.len()],
        unpicked: 0,
        elsewhere: 0,
    }
}

fn is_down(watch: &PoolWatch, member: &Member) -> bool {
    watch.health.get(&member.name).is_some_and(|h| !h.up)
}

fn share_reason(watch: &PoolWatch, frame: &Frame<'_>, index: usize) -> String {
    let Some(info) = watch.epoch() else {
        return "no epoch yet".to_owned();
    };
    let pool = &watch.pool;
    let told = info.fact.members.get(index);
    let taken = told.is_some_and(|m| m.eligible && m.weight > 0);
    let text = match told.filter(|m| !m.why.is_empty()) {
        Some(told) => told.why.clone(),
        None => plain_reason(watch, frame, index, taken),
    };
    let text = match pool.affinity.sticky.as_ref().filter(|_| taken) {
        Some(cookie) => format!("{text}; clients with cookie {} stay", cookie.name),
        None => text,
    };
    let part = watch.key_parts.as_ref().and_then(|parts| parts.get(index));
    let keys = part.filter(|_| taken);
    match keys.and_then(|part| reason::keys(&pool.affinity, *part)) {
        Some(keys) => format!("{keys}; {text}"),
        None => text,
    }
}

/// The reason of a backend of which nothing special was told.
fn plain_reason(watch: &PoolWatch, frame: &Frame<'_>, index: usize, taken: bool) -> String {
    let pool = &watch.pool;
    let Some(member) = frame.members.get(index) else {
        return "not a member of the pool".to_owned();
    };
    let standing = if is_down(watch, member) {
        Standing::Down
    } else {
        Standing::Up
    };
    let (crowd, fail_open) = (frame.crowd, frame.fail_open);
    let text = reason::share(pool.algorithm, crowd, member, standing, fail_open);
    let zone = pool.backends.get(index).and_then(|b| b.zone.as_ref());
    let local = pool.place.locality.as_ref().map(|locality| &locality.zone);
    match zone.filter(|zone| taken && Some(*zone) == local) {
        Some(zone) => format!("zone {zone}: local, takes all that comes in there; {text}"),
        None => text,
    }
}

/// That it takes more than it is planned to, which is to be known before it harms anybody.
fn above_plan(watch: &PoolWatch, frame: &Frame<'_>, index: usize) -> Option<String> {
    let utilised = watch.above_plan(index, frame.cells.get(index)?, frame.seconds)?;
    let planned = 1.0 - watch.pool.headroom.as_f64();
    Some(format!(
        "takes {:.0} % of its capacity, above the {:.0} % that are planned",
        utilised * 100.0,
        planned * 100.0
    ))
}

/// That another backend was quicker for some of its requests, of which none is in its response times.
fn hedged_away(watch: &PoolWatch, frame: &Frame<'_>, index: usize) -> Option<String> {
    watch.pool.hedge.as_ref()?;
    let seen = frame.seen.backends.get(index)?;
    let (picks, lost) = (seen.picks(), seen.outcomes.cancelled);
    let part = lost as f64 / picks.max(1) as f64;
    (frame.is_enough() && part >= HEDGED_TOLD).then(|| {
        let percent = (part * 100.0).min(100.0);
        format!(
            "{percent:.0} % of its requests were answered by another backend first (hedged) and are in none of its times"
        )
    })
}

fn rate(hits: u64, of: u64, enough: bool) -> Option<f64> {
    (enough && of > 0).then(|| hits as f64 / of as f64)
}

fn quantiles(latency: &Latency, enough: bool) -> (Option<f64>, Option<f64>) {
    let at = |q: f64| {
        let us = latency.quantile_us(q).filter(|_| enough);
        us.map(|us| us as f64 / 1_000.0)
    };
    (at(0.5), at(0.99))
}
