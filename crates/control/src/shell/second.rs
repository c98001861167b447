//! What the loop does once a second, and what it publishes: the present, its history, drift, a journal that recovers.

use std::sync::Arc;

use evenkeel_forecast::Facts;
use evenkeel_guard::rollout::overlay::percent;
use evenkeel_guard::{Event, GuardView, Outcome, PoolVitals};
use evenkeel_journal::Submission;
use evenkeel_model::finding::Severity;
use evenkeel_model::record::{Entry, EventSource, RevisionState, TimelineEvent};

use super::{Input, Shell, hand_over};
use crate::clock::wall;
use crate::handle::{Apply, Handle, Published};
use crate::series::Marker;
use crate::service::Reloading;
use crate::source;

/// Seconds between two looks at the file CONFIG.
const LOOK_EVERY: u64 = 2;
/// Seconds between two attempts to write after the journal failed.
const PROBE_EVERY: u64 = 2;

impl Shell {
    /// While the journal fails, tries now and then whether it takes an entry again.
    fn probe_journal(&mut self) {
        if self.journal_ok || self.probing || !self.ticks.is_multiple_of(PROBE_EVERY) {
            return;
        }
        let at = wall();
        let event = TimelineEvent {
            incident: None,
            at,
            source: EventSource::Controller,
            kind: "journal.recovered".to_owned(),
            actor: "journal".to_owned(),
            subject: String::new(),
            text: "the journal takes entries again".to_owned(),
        };
        let inputs = self.inputs.clone();
        let submission = Submission {
            entries: vec![Entry::Event(event)],
            at,
            done: Box::new(move |result| hand_over(&inputs, Input::Probed { result })),
        };
        self.probing = self.writer.submit(submission).is_ok();
    }

    pub(super) fn tick(&mut self, handle: &Handle) {
        self.ticks += 1;
        if let Some(by_ms) = self.clock.step() {
            tracing::warn!(by_ms, "the wall clock was stepped");
            self.step(Event::ClockStep { by_ms });
        }
        let vitals = self.proxy.vitals();
        let at = self.at();
        for (pool, backends) in &vitals {
            self.fleet.reported(&self.config, (pool, backends), at);
        }
        let vitals = vitals.into_iter().map(|(pool, backends)| PoolVitals {
            pool,
            backends: backends.into_iter().map(|(_, vitals)| vitals).collect(),
        });
        let vitals = vitals.collect();
        self.step(Event::Vitals(vitals));
        self.look_at_backends();
        self.step(Event::Tick);
        self.move_held_members();
        self.probe_journal();
        if self.ticks.is_multiple_of(LOOK_EVERY) {
            let changed = self.source.look();
            self.look_for_drift(changed);
            if changed && self.config.watch {
                self.reload(handle, "watch");
            }
        }
        if std::mem::take(&mut self.adopt) {
            self.reload(handle, "run --adopt");
        }
        let view = self.guard.view(self.clock.mono(), wall());
        if let Some(view) = &view {
            self.seen.take(view, &mut self.counters.recent);
            self.series.take(view);
            self.service.show(view);
        }
        self.publish_view(view);
    }

    /// Tells the guard about a difference between CONFIG and what runs, when that changed.
    pub(super) fn look_for_drift(&mut self, changed: bool) {
        let Some(running) = self.published.load().view.as_ref().map(|view| view.hash) else {
            return;
        };
        let drift = self.source.drift(running);
        if changed || drift.is_some() != self.drift_known {
            self.drift_known = drift.is_some();
            if let Some(drift) = &drift {
                tracing::warn!(detail = drift.detail, "drift");
            }
            self.step(Event::Drift(drift));
        }
    }

    /// Applies CONFIG without force.
    pub(super) fn reload(&self, handle: &Handle, why: &'static str) {
        let (handle, path) = (handle.clone(), self.source.path.clone());
        let told = Reloading::begin();
        drop(tokio::spawn(async move {
            // Whatever becomes of it.
            let _told = told;
            let text = match source::read(&path) {
                Ok(text) => text,
                Err(error) => {
                    tracing::error!(%error, why, "not applied");
                    return;
                }
            };
            let apply = Apply {
                text,
                file: path.to_str().map(str::to_owned),
                base: None,
                author: why.to_owned(),
                reason: format!("{why}: {}", path.display()),
                force: false,
                confirm_within: None,
                keep: None,
            };
            report(why, handle.apply(apply).await);
        }));
    }

    pub(super) fn facts(&self) -> Facts {
        let mut facts = self.seen.facts();
        for (pool, backend) in self.guard.drained() {
            facts.drain(pool.as_str(), backend.as_str());
        }
        facts
    }

    pub(super) fn mark(&mut self, entry: &Entry) {
        let marker = match entry {
            Entry::Revision(r) => Some((r.at, "revision", format!("{} by {}", r.id, r.author))),
            Entry::RevisionState {
                id,
                state: RevisionState::RolledBack,
                at,
                ..
            } => Some((*at, "rollback", format!("{id} undone"))),
            Entry::Deployment(d) => {
                let at = d.ended_at.unwrap_or(d.at);
                Some((at, "deploy", format!("{} {}", d.pool, d.version)))
            }
            Entry::Rollout(r) => {
                let share = percent(r.share_ppm);
                let text = format!("{} {} {share} ({})", r.pool, r.version, r.state);
                Some((wall(), "deploy", text))
            }
            Entry::Event(e) if e.kind == "incident.opened" || e.kind == "alert.fired" => Some((
                e.at,
                "incident",
                e.incident.map(|i| i.to_string()).unwrap_or_default(),
            )),
            _ => None,
        };
        if let Some((at, kind, text)) = marker {
            self.series.mark(Marker { at, kind, text });
        }
    }

    pub(super) fn publish(&self) {
        self.publish_view(self.guard.view(self.clock.mono(), wall()));
    }

    fn publish_view(&self, view: Option<GuardView>) {
        let counters = &self.counters;
        self.published.store(Arc::new(Published {
            view,
            config: Arc::clone(&self.config),
            balanced: self.fleet.overlaid(&self.config, self.revision),
            pools: counters
                .pools
                .iter()
                .map(|(name, pool)| (name.clone(), pool.clone()))
                .collect(),
            routes: self.seen.routes(),
            workers: counters
                .workers
                .iter()
                .map(|(id, w)| (id.0, w.clone()))
                .collect(),
            series: self.series.clone(),
            facts: self.facts(),
            addresses: self.proxy.addresses(),
            connections: self.proxy.connections(),
            access_log_lost: self.proxy.access_log_lost(),
            spans: self.proxy.spans(),
            rate_limited: self.proxy.rate_limited(),
            hedges: self.proxy.hedges(),
            handshakes: self.proxy.handshakes(),
            dials: self.proxy.dials(),
            probes: self.proxy.probes(),
            tunnels: self.proxy.tunnels(),
            traffic: self.proxy.traffic(),
            looks: self.members.looks(),
            refused_headers: self.proxy.refused_headers(),
            http2: self.proxy.http2(),
            overload: self.proxy.overload(),
            started_at: self.started_at,
        }));
    }
}

fn report(why: &str, applied: Result<crate::handle::Applied, crate::handle::CommandError>) {
    match applied {
        Ok(applied) => match applied.outcome {
            Some(Outcome::Refused(refusal)) => {
                for finding in &refusal.findings {
                    tracing::error!(
                        id = finding.id,
                        message = finding.message,
                        fix = finding.fix,
                        why,
                        "not applied"
                    );
                }
            }
            Some(outcome) => tracing::info!(?outcome, why, "configuration handed in"),
            None => {
                for finding in applied
                    .judged
                    .findings
                    .iter()
                    .filter(|f| f.severity == Severity::Error)
                {
                    let line = finding.location.as_ref().map(|l| l.line);
                    tracing::error!(
                        id = finding.id,
                        message = finding.message,
                        line,
                        why,
                        "not applied"
                    );
                }
            }
        },
        Err(error) => tracing::error!(%error, why, "not applied"),
    }
}
