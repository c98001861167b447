//! Random events in random order: whatever happens, the promises of the loop hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_guard::recording::{Recorder, replay};
use evenkeel_guard::{
    Action, Boot, DrainCommand, EpochFact, Event, Guard, HealthFact, IncidentCommand, IncidentVerb,
    MemberFact, Outcome, Proposal, RequestId, Restorable, RollbackCommand, Settings, Token,
    UndrainCommand,
};
use evenkeel_model::canonical::content_hash;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::Config;
use evenkeel_model::ids::{Epoch, IncidentId, RevisionId, WorkerId};
use evenkeel_model::record::{ContentHash, Entry, RevisionState};
use evenkeel_model::sketch::{ClientSketch, Frequent};
use evenkeel_model::tally::{BackendTally, EpochTally, PoolTally, Tally};
use proptest::prelude::*;

use crate::world::{START, boot_of, name, record, shop};

/// One random happening.
#[derive(Debug, Clone)]
enum Act {
    Propose {
        weights: usize,
        force: bool,
        confirm: bool,
        keep: bool,
        stale: bool,
    },
    Rollback,
    Confirm,
    Answer {
        which: usize,
        ok: bool,
    },
    Swap {
        ok: bool,
    },
    Seconds {
        count: u8,
        load: [u16; 3],
    },
    Health {
        backend: usize,
        up: bool,
    },
    Step {
        by_s: i64,
    },
    Journal {
        ok: bool,
    },
    Incident {
        id: u64,
        verb: u8,
    },
    Workers {
        count: u16,
    },
    Drain {
        backend: usize,
        seconds: u8,
        force: bool,
    },
    Undrain {
        backend: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let flag = any::<bool>;
    prop_oneof![
        4 => (0..WEIGHTS.len(), flag(), flag(), flag(), prop::bool::weighted(0.1))
            .prop_map(|(weights, force, confirm, keep, stale)| Act::Propose { weights, force, confirm, keep, stale }),
        2 => Just(Act::Rollback),
        2 => Just(Act::Confirm),
        8 => (0..4usize, prop::bool::weighted(0.85)).prop_map(|(which, ok)| Act::Answer { which, ok }),
        6 => prop::bool::weighted(0.9).prop_map(|ok| Act::Swap { ok }),
        8 => (1..30u8, [0..900u16, 0..900, 0..900]).prop_map(|(count, load)| Act::Seconds { count, load }),
        2 => (0..3usize, flag()).prop_map(|(backend, up)| Act::Health { backend, up }),
        1 => (-5_000..5_000i64).prop_map(|by_s| Act::Step { by_s }),
        1 => flag().prop_map(|ok| Act::Journal { ok }),
        2 => (0..4u64, 0..6u8).prop_map(|(id, verb)| Act::Incident { id, verb }),
        1 => (1..3u16).prop_map(|count| Act::Workers { count }),
        2 => (0..3usize, 1..60u8, flag()).prop_map(|(backend, seconds, force)| Act::Drain { backend, seconds, force }),
        2 => (0..3usize).prop_map(|backend| Act::Undrain { backend }),
    ]
}

const WEIGHTS: [[u32; 3]; 5] = [[1, 1, 1], [10, 1, 1], [11, 10, 10], [1, 10, 1], [0, 1, 1]];

/// A shell that does what it is told, late and with failures, and checks the promises.
struct Shell {
    guard: Guard,
    recorder: Recorder,
    now: u64,
    wall: Wall,
    epoch: u64,
    running: RevisionId,
    config: Arc<Config>,
    picks: [u64; 3],
    commits: Vec<(Token, Vec<Entry>)>,
    /// Revisions whose change entry was acknowledged by the journal.
    written: BTreeSet<RevisionId>,
    swap: Option<(RevisionId, Arc<Config>)>,
    verified: BTreeSet<RevisionId>,
    quarantine: BTreeSet<ContentHash>,
    hashes: BTreeMap<RevisionId, ContentHash>,
    asked: u64,
    answered: BTreeSet<u64>,
    forced: BTreeSet<ContentHash>,
}

impl Shell {
    fn new() -> Self {
        let config = Arc::new(shop(WEIGHTS[0], "round_robin", ""));
        let running = Restorable {
            record: record(1, &config, RevisionState::Verified),
            config: Arc::clone(&config),
        };
        let mut shell = Self {
            guard: Guard::new(Settings::default()),
            recorder: Recorder::default(),
            now: 0,
            wall: START,
            epoch: 1,
            running: RevisionId(1),
            picks: [0; 3],
            commits: Vec::new(),
            written: BTreeSet::new(),
            swap: None,
            verified: BTreeSet::from([RevisionId(1)]),
            quarantine: BTreeSet::new(),
            hashes: BTreeMap::from([(RevisionId(1), running.record.hash)]),
            asked: 0,
            answered: BTreeSet::new(),
            forced: BTreeSet::new(),
            config,
        };
        let boot = Boot {
            epochs: shell.epochs(),
            ..boot_of(running)
        };
        shell.step(Event::Booted(Box::new(boot)));
        shell
    }

    fn epochs(&self) -> Vec<EpochFact> {
        let backends = self.config.pools[0].backends.iter();
        vec![EpochFact {
            pool: name("shop"),
            epoch: Epoch(self.epoch),
            revision: self.running,
            members: backends
                .map(|b| MemberFact {
                    name: b.name.clone(),
                    weight: b.weight,
                    eligible: true,
                    drained: false,
                    why: String::new(),
                })
                .collect(),
            is_passing: false,
        }]
    }

    fn step(&mut self, event: Event) {
        let (now, wall) = (Mono::from_secs(self.now), self.wall);
        let actions = self.recorder.step(&mut self.guard, event, now, wall);
        for action in actions {
            self.take(action);
        }
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Commit { token, entries } => {
                for entry in &entries {
                    if let Entry::Quarantine { hash, .. } = entry {
                        self.quarantine.insert(*hash);
                        self.forced.remove(hash);
                    }
                }
                self.commits.push((token, entries));
            }
            Action::Swap {
                revision, config, ..
            } => {
                assert!(self.swap.is_none(), "two changes in flight");
                assert!(
                    self.written.contains(&revision) || self.verified.contains(&revision),
                    "{revision} was swapped without the journal"
                );
                let hash = content_hash(&config);
                assert!(
                    !self.quarantine.contains(&hash) || self.forced.contains(&hash),
                    "quarantined content came back"
                );
                self.hashes.insert(revision, hash);
                self.swap = Some((revision, config));
            }
            Action::Reply { request, outcome } => {
                assert!(self.answered.insert(request.0), "answered twice");
                if let Outcome::Applied { parent, .. } = *outcome {
                    assert_ne!(parent, self.running, "the parent ran before");
                }
            }
            Action::RequestAudit { token, .. } => {
                let findings = Vec::new();
                self.step(Event::Audited { token, findings });
            }
            Action::Drain { .. }
            | Action::Overlay { .. }
            | Action::Ramp { .. }
            | Action::Undrain { .. }
            | Action::RequestForecast { .. }
            | Action::Notify { .. } => {}
        }
    }

    /// Remembers what the journal now says.
    fn write(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Revision(record) => {
                    self.written.insert(record.id);
                }
                Entry::RevisionState {
                    id,
                    state: RevisionState::Verified | RevisionState::Confirmed,
                    ..
                } => {
                    self.verified.insert(*id);
                }
                _ => {}
            }
        }
    }

    fn request(&mut self) -> RequestId {
        self.asked += 1;
        RequestId(self.asked)
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Propose { .. } => self.propose(act),
            Act::Rollback => {
                let command = RollbackCommand {
                    request: self.request(),
                    to: None,
                    author: "ann".to_owned(),
                    reason: "test".to_owned(),
                    force: true,
                };
                self.step(Event::Rollback(Box::new(command)));
            }
            Act::Confirm => {
                let request = self.request();
                self.step(Event::Confirm {
                    request,
                    revision: None,
                    author: "ann".to_owned(),
                });
            }
            Act::Answer { which, ok } => self.answer(which, ok),
            Act::Swap { ok } => self.finish_swap(ok),
            Act::Seconds { count, load } => self.seconds(count, load),
            Act::Health { backend, up } => self.step(Event::Health(HealthFact {
                by_check: true,
                pool: name("shop"),
                backend: self.config.pools[0].backends[backend].name.clone(),
                up,
                detail: "test".to_owned(),
            })),
            Act::Step { by_s } => {
                let by_ms = by_s * 1_000;
                self.wall = Wall(self.wall.0.saturating_add_signed(by_ms));
                self.step(Event::ClockStep { by_ms });
            }
            Act::Journal { ok } => self.step(Event::Journal {
                ok,
                detail: "test".to_owned(),
            }),
            Act::Incident { id, verb } => self.incident(id, verb),
            Act::Workers { count } => self.step(Event::WorkersChanged { workers: count }),
            Act::Drain {
                backend,
                seconds,
                force,
            } => self.drain(backend, seconds, force),
            Act::Undrain { backend } => self.undrain(backend),
        }
    }

    fn drain(&mut self, backend: usize, seconds: u8, force: bool) {
        let view = self.guard.view(Mono::from_secs(self.now), self.wall);
        let command = DrainCommand {
            request: self.request(),
            pool: name("shop"),
            backend: self.config.pools[0].backends[backend].name.clone(),
            lasts: Duration::from_secs(seconds.into()),
            author: "ann".to_owned(),
            reason: "test".to_owned(),
            force,
            blocking: Vec::new(),
            judged_against: self.running,
            judged_drains: view.map_or(0, |view| view.drain_changes),
        };
        self.step(Event::Drain(Box::new(command)));
    }

    fn undrain(&mut self, backend: usize) {
        let command = UndrainCommand {
            request: self.request(),
            pool: name("shop"),
            backend: self.config.pools[0].backends[backend].name.clone(),
            author: "ann".to_owned(),
            reason: String::new(),
        };
        self.step(Event::Undrain(command));
    }

    fn propose(&mut self, act: &Act) {
        if let Act::Propose {
            weights,
            force,
            confirm,
            keep,
            stale,
        } = *act
        {
            let config = shop(WEIGHTS[weights], "round_robin", "");
            let hash = content_hash(&config);
            if force {
                self.forced.insert(hash);
            }
            let proposal = Proposal {
                request: self.request(),
                config: Arc::new(config),
                text: Arc::from("text"),
                hash,
                findings: Vec::new(),
                blocking: Vec::new(),
                judged_against: if stale { RevisionId(99) } else { self.running },
                base: None,
                author: "ann".to_owned(),
                reason: "test".to_owned(),
                force,
                confirm_within: confirm.then_some(Duration::from_secs(40)),
                keep: keep.then_some(Duration::from_secs(30)),
            };
            self.step(Event::Propose(Box::new(proposal)));
        }
    }

    fn answer(&mut self, which: usize, ok: bool) {
        if self.commits.is_empty() {
            return;
        }
        let (token, entries) = self.commits.remove(which % self.commits.len());
        let result = if ok {
            self.write(&entries);
            Ok(())
        } else {
            Err("disk full".to_owned())
        };
        self.step(Event::Committed { token, result });
    }

    fn finish_swap(&mut self, ok: bool) {
        let Some((revision, config)) = self.swap.take() else {
            return;
        };
        if ok {
            self.running = revision;
            self.config = config;
            self.epoch += 1;
            self.picks = [0; 3];
            let epochs = self.epochs();
            self.step(Event::Swapped { revision, epochs });
        } else {
            let why = "cannot bind".to_owned();
            self.step(Event::SwapFailed { revision, why });
        }
    }

    fn seconds(&mut self, count: u8, load: [u16; 3]) {
        for _ in 0..count {
            self.now += 1;
            self.wall = self.wall.plus(Duration::from_secs(1));
            for (sum, more) in self.picks.iter_mut().zip(load) {
                *sum += u64::from(more);
            }
            let backends = self.picks.iter().map(|picks| {
                let mut tally = BackendTally {
                    picks_free: *picks,
                    ..BackendTally::default()
                };
                tally.outcomes.ok = *picks;
                tally
            });
            let tally = Tally {
                worker: WorkerId(0),
                at: Mono::from_secs(self.now),
                pools: vec![PoolTally {
                    pool: name("shop"),
                    epochs: vec![EpochTally {
                        epoch: Epoch(self.epoch),
                        backends: backends.collect(),
                    }],
                    clients: ClientSketch::default(),
                    frequent: Frequent::default(),
                    keys: Frequent::default(),
                    unpicked: 0,
                    waits: evenkeel_model::tally::Waits::default(),
                }],
                routes: Vec::new(),
            };
            self.step(Event::Tally(tally));
            self.step(Event::Tick);
        }
    }

    fn incident(&mut self, id: u64, verb: u8) {
        let verb = match verb {
            0 => IncidentVerb::Ack,
            1 => IncidentVerb::Note("x".to_owned()),
            2 => IncidentVerb::Escalate,
            3 => IncidentVerb::Resolve("x".to_owned()),
            4 => IncidentVerb::FalseAlarm("x".to_owned()),
            _ => IncidentVerb::Close,
        };
        let request = self.request();
        self.step(Event::Incident(IncidentCommand {
            request,
            incident: IncidentId(id),
            author: "ann".to_owned(),
            verb,
        }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_promises_of_the_loop_hold(acts in prop::collection::vec(act(), 1..80)) {
        let mut shell = Shell::new();
        for act in acts {
            shell.act(&act);
        }
        // Everything that was asked is answered once the world answers.
        for _ in 0..400 {
            shell.answer(0, true);
            shell.finish_swap(true);
        }
        let view = shell.guard.view(Mono::from_secs(shell.now), shell.wall);
        prop_assert_eq!(view.map(|v| v.revision), Some(shell.running));
        prop_assert_eq!(shell.answered.len() as u64, shell.asked);
        // And all of it can be decided again.
        let again = replay(&shell.recorder.recording()).expect("its own recording");
        prop_assert_eq!(again.difference, None);
        prop_assert!(again.events > 0);
    }
}
