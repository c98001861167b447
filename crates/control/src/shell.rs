//! The loop of the control plane: a closed set of inputs, one guard, actions carried out in order.
//!
//! One thread, one task decides. What takes time (forecast, audit, journal, webhooks) happens elsewhere and comes
//! back as an input. The data plane is told by swapping a snapshot and never asked to wait.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_guard::recording::Recorder;
use evenkeel_guard::{Action, EpochFact, Event, Guard, Outcome, RequestId, Token};
use evenkeel_journal::{AppendError, Submission, Writer};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Config;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::Entry;
use evenkeel_model::tally::Tally;
use evenkeel_notify::Notifier;
use evenkeel_proxy::Proxy;
use evenkeel_proxy::check::{CheckResult, Checker};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::boot::{Prepared, StartError};

use crate::certificates::Disk;
use crate::clock::{self, Clock};
use crate::counters::Counters;
use crate::facts::{Seen, forecast_load};
use crate::fleet::Fleet;
use crate::handle::{Command, Handle, Published};
use crate::judge::judge;
use crate::members::{Answer, Finder};
use crate::recordings::Recordings;
use crate::series::Series;
use crate::service::{self, Service};
use crate::source::Source;

mod members;
mod second;
mod standing;
mod start;

/// Inputs from the rooms around that may wait.
const INPUTS_MAX: usize = 4_096;
/// After a check result the next ones gather for so long.
const CHECKS_GATHER: Duration = Duration::from_millis(20);
/// Tallies that may wait: 64 workers, a minute.
const TALLIES_MAX: usize = 4_096;

/// Something that came back from elsewhere.
#[derive(Debug)]
enum Input {
    Committed {
        token: Token,
        result: Result<(), AppendError>,
    },
    Probed {
        result: Result<(), AppendError>,
    },
    Guard(Event),
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Client connections that the drain deadline cut off.
    pub cut_off: u32,
}

/// Serves until SIGTERM, SIGINT or `stop`; `admin` serves page, API and metrics meanwhile.
pub async fn run<F>(
    prepared: Prepared,
    stop: impl Future<Output = ()>,
    admin: impl FnOnce(Handle, tokio::net::TcpListener) -> F,
) -> Result<Ended, StartError>
where
    F: Future<Output = ()>,
{
    let admin_socket = prepared.admin.try_clone().map_err(StartError::Thread)?;
    let admin_socket =
        tokio::net::TcpListener::from_std(admin_socket).map_err(StartError::Thread)?;
    let mut prepared = prepared;
    prepared.find_members().await;
    let (mut shell, handle, mut inboxes) = Shell::start(prepared)?;
    let mut signals = Signals::new().map_err(StartError::Thread)?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let serve_admin = admin(handle.clone(), admin_socket);
    tokio::pin!(stop, serve_admin);
    shell.boot();
    service::ready();
    let mut admin_ended = false;
    let mut checks_from = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = signals.term.recv() => break,
            _ = signals.int.recv() => break,
            _ = signals.hup.recv() => shell.reload(&handle, "SIGHUP"),
            _ = signals.usr1.recv() => shell.proxy.reopen_access_log(),
            Some(input) = inboxes.inputs.recv() => shell.input(input),
            Some(command) = inboxes.commands.recv() => shell.command(command),
            Some(tally) = inboxes.tallies.recv() => shell.tally(tally),
            Some(result) = results(&mut inboxes.checks, checks_from) => {
                shell.checked(&result);
                while let Ok(result) = inboxes.checks.try_recv() {
                    shell.checked(&result);
                }
                checks_from = tokio::time::Instant::now() + CHECKS_GATHER;
            }
            Some(answer) = inboxes.members.recv() => shell.found(answer),
            Some(event) = inboxes.proxy.recv() => shell.proxy_event(&event),
            _ = second.tick() => shell.tick(&handle),
            () = &mut serve_admin, if !admin_ended => {
                tracing::error!("the admin server ended; traffic goes on");
                admin_ended = true;
            }
        }
    }
    service::stopping();
    Ok(shell.end().await)
}

/// The next check result, not before `from`: a thousand checks a second do not wake the loop a thousand times.
async fn results(
    checks: &mut mpsc::Receiver<CheckResult>,
    from: tokio::time::Instant,
) -> Option<CheckResult> {
    tokio::time::sleep_until(from).await;
    checks.recv().await
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }
}

struct Inboxes {
    inputs: mpsc::Receiver<Input>,
    commands: mpsc::Receiver<Command>,
    tallies: mpsc::Receiver<Tally>,
    checks: mpsc::Receiver<CheckResult>,
    members: mpsc::Receiver<Answer>,
    proxy: mpsc::Receiver<evenkeel_proxy::Event>,
}

struct Shell {
    clock: Clock,
    guard: Guard,
    recorder: Recorder,
    recordings: Recordings,
    fleet: Fleet,
    disk: Arc<Disk>,
    proxy: Proxy,
    checks: Checker,
    members: Finder,
    writer: Writer,
    notifier: Notifier,
    admin: std::net::SocketAddr,
    inputs: mpsc::Sender<Input>,
    published: Arc<ArcSwap<Published>>,
    config: Arc<Config>,
    revision: RevisionId,
    boot: Option<Box<evenkeel_guard::Boot>>,
    source: Source,
    adopt: bool,
    drain: Duration,
    counters: Counters,
    series: Series,
    seen: Seen,
    waiting: BTreeMap<RequestId, oneshot::Sender<Outcome>>,
    next_request: u64,
    journal_ok: bool,
    probing: bool,
    ticks: u64,
    service: Service,
    drift_known: bool,
    started_at: Wall,
}

impl Shell {
    fn boot(&mut self) {
        if let Some(boot) = self.boot.take() {
            self.step(Event::Booted(boot));
            self.publish();
            self.look_for_drift(true);
            self.publish();
        }
    }

    /// Lets the guard decide on one event and carries out what it says, and what follows from that, in order.
    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (now, wall) = (self.clock.mono(), clock::wall());
            let actions = self.recorder.step(&mut self.guard, event, now, wall);
            self.keep_recordings();
            for action in actions {
                if let Some(answer) = self.carry_out(action) {
                    events.push_back(answer);
                }
            }
        }
    }

    /// What the guard was told is written beside each incident that changed.
    fn keep_recordings(&mut self) {
        for incident in self.recorder.take_changed() {
            self.recordings.keep(incident, self.recorder.recording());
        }
    }

    /// Carries out one action; some are answered at once.
    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Commit { token, entries } => self.commit(token, entries),
            Action::Swap {
                revision, config, ..
            } => Some(self.swap(revision, config)),
            Action::Drain {
                pool,
                backend,
                until,
                reason,
            } => {
                self.drain(&pool, &backend, until, &reason);
                None
            }
            Action::Undrain { pool, backend } => {
                self.undrain(&pool, &backend);
                None
            }
            Action::Overlay { deployment } => {
                self.follow(*deployment);
                None
            }
            Action::Ramp { ramp } => {
                self.come_in(ramp.map(|ramp| *ramp));
                None
            }
            Action::RequestForecast {
                token,
                config,
                pools,
            } => {
                let inputs = self.inputs.clone();
                drop(tokio::task::spawn_blocking(move || {
                    let pools = forecast_load(&config, &pools);
                    hand_over(&inputs, Input::Guard(Event::ForecastReady { token, pools }));
                }));
                None
            }
            Action::RequestAudit { token, text, .. } => {
                let (inputs, facts) = (self.inputs.clone(), self.facts());
                drop(tokio::task::spawn_blocking(move || {
                    let findings = judge(&text, None, None, &facts, clock::wall()).findings;
                    hand_over(&inputs, Input::Guard(Event::Audited { token, findings }));
                }));
                None
            }
            Action::Notify { receivers, notice } => {
                for receiver in &receivers {
                    self.notifier.send(receiver, &notice);
                }
                None
            }
            Action::Reply { request, outcome } => {
                if let Some(answer) = self.waiting.remove(&request)
                    && answer.send(*outcome).is_err()
                {
                    tracing::debug!(?request, "whoever asked is gone");
                }
                self.publish();
                None
            }
        }
    }

    fn commit(&mut self, token: Token, entries: Vec<Entry>) -> Option<Event> {
        for entry in &entries {
            self.mark(entry);
            self.seen.way_back.fold(entry);
        }
        let inputs = self.inputs.clone();
        let submission = Submission {
            entries,
            at: clock::wall(),
            done: Box::new(move |result| hand_over(&inputs, Input::Committed { token, result })),
        };
        match self.writer.submit(submission) {
            Ok(()) => None,
            Err(error) => Some(Event::Committed {
                token,
                result: Err(error.to_string()),
            }),
        }
    }

    fn swap(&mut self, revision: RevisionId, config: Arc<Config>) -> Event {
        // Of a revision of before this process the certificates may not be in memory yet.
        self.disk.fetch(&config);
        let outcome = self
            .fleet
            .snapshot(revision, &config, true, self.at())
            .map_err(|error| error.to_string())
            .and_then(|(snapshot, epochs)| {
                name_epochs(&mut self.counters, &epochs);
                self.proxy
                    .swap(snapshot)
                    .map(|()| epochs)
                    .map_err(|error| error.to_string())
            });
        match outcome {
            Ok(epochs) => {
                tracing::info!(%revision, "revision swapped in");
                self.checks.update(Arc::clone(&config));
                if config_receivers_differ(&self.config, &config) {
                    self.notifier = notifier(&config, self.admin, &self.inputs);
                }
                self.config = config;
                self.members.update(&self.config);
                self.seen.lead(&self.config);
                self.revision = revision;
                Event::Swapped { revision, epochs }
            }
            Err(why) => {
                tracing::error!(%revision, why, "revision not swapped in; the one before goes on");
                self.fleet.withdraw();
                Event::SwapFailed { revision, why }
            }
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Committed { token, result } => {
                self.journal_says(result.as_ref().err());
                self.step(Event::Committed {
                    token,
                    result: result.map_err(|e| e.to_string()),
                });
            }
            Input::Probed { result } => {
                self.probing = false;
                self.journal_says(result.as_ref().err());
            }
            Input::Guard(event) => self.step(event),
        }
    }

    /// Tells the guard when the journal fails and when it is back.
    fn journal_says(&mut self, error: Option<&AppendError>) {
        let ok = error.is_none();
        if ok != self.journal_ok {
            self.journal_ok = ok;
            let detail = error.map(ToString::to_string).unwrap_or_default();
            if ok {
                tracing::info!("the journal takes entries again");
            }
            self.step(Event::Journal { ok, detail });
        }
    }

    fn command(&mut self, command: Command) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.waiting.insert(request, command.answer);
        self.step((command.make)(request));
        self.publish();
    }

    fn tally(&mut self, tally: Tally) {
        self.counters.add(&tally);
        self.seen.take_tally(&tally);
        self.fleet.counted(&self.config, &tally);
        self.step(Event::Tally(tally));
    }

    fn checked(&mut self, result: &CheckResult) {
        let config = Arc::clone(&self.config);
        let change = self.fleet.observe(&config, result, self.at());
        self.changed(change.as_slice());
    }

    #[expect(
        clippy::unused_self,
        reason = "the data plane logs its events itself; this is where a reaction belongs"
    )]
    fn proxy_event(&mut self, event: &evenkeel_proxy::Event) {
        tracing::debug!(?event, "data plane");
    }

    /// Drains the data plane, then writes what the journal still has to take.
    async fn end(self) -> Ended {
        tracing::info!(within_s = self.drain.as_secs(), "draining");
        drop(self.checks);
        self.proxy.drain(self.drain);
        let proxy = self.proxy;
        let report = tokio::task::spawn_blocking(move || proxy.join())
            .await
            .unwrap_or_default();
        let (writer, notifier, recordings) = (self.writer, self.notifier, self.recordings);
        let last = tokio::task::spawn_blocking(move || {
            drop(notifier);
            drop(writer);
            drop(recordings);
        });
        if last.await.is_err() {
            tracing::error!("the journal's last entries may not be written");
        }
        Ended {
            cut_off: report.cut_off,
        }
    }
}

fn name_epochs(counters: &mut Counters, epochs: &[EpochFact]) {
    for fact in epochs {
        let names = fact
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect();
        counters.epoch(&fact.pool, fact.epoch, names);
    }
}

/// Hands an input to the loop from whatever thread. A full inbox makes another thread wait; the loop itself (a notice
/// that cannot even be queued) must not wait for itself.
fn hand_over(inputs: &mpsc::Sender<Input>, input: Input) {
    match inputs.try_send(input) {
        Ok(()) => {}
        Err(TrySendError::Full(input)) if tokio::runtime::Handle::try_current().is_err() => {
            if inputs.blocking_send(input).is_err() {
                tracing::debug!("the loop has ended");
            }
        }
        Err(TrySendError::Full(input)) => {
            tracing::error!(
                ?input,
                "the loop is {INPUTS_MAX} inputs behind; one was dropped"
            );
        }
        Err(TrySendError::Closed(_)) => tracing::debug!("the loop has ended"),
    }
}

fn config_receivers_differ(a: &Config, b: &Config) -> bool {
    a.receivers != b.receivers
}

/// `admin` is where the API really is, for the links: the configuration may leave the port to the system.
fn notifier(
    config: &Config,
    admin: std::net::SocketAddr,
    inputs: &mpsc::Sender<Input>,
) -> Notifier {
    let inputs = inputs.clone();
    Notifier::start(
        &config.receivers,
        &format!("http://{admin}"),
        move |attempt| {
            let event = Event::NoticeSent {
                incident: attempt.incident,
                level: attempt.level,
                receiver: attempt.receiver,
                ok: attempt.ok,
                detail: attempt.detail,
            };
            hand_over(&inputs, Input::Guard(event));
        },
    )
}
