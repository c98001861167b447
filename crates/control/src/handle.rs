//! What everybody else holds of a running instance: the present to read, commands to give, the journal to ask.
//!
//! Reading never waits for the loop: the present is published once a second and after every change. A command goes
//! through a bounded queue and is answered once; a full queue and a stopping instance are errors, never a hang.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_forecast::Facts;
use evenkeel_guard::{
    DeployCommand, DeployVerb, DeploymentReport, Event, GuardView, IncidentCommand, IncidentVerb,
    Outcome, Proposal, RequestId, Restorable, RollbackCommand,
};
use evenkeel_journal::{Read, ReadError};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Address, Config};
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::parse;
use evenkeel_model::record::Told;
use evenkeel_model::tally::RouteKey;
use evenkeel_proxy::SpanCounts;
use evenkeel_proxy::tls::{Dials, Handshakes};
use evenkeel_proxy::{
    Hedges, Http2Counts, OverloadView, Probes, RefusedHeaders, Traffic, TunnelCounts,
};
use tokio::sync::{mpsc, oneshot};

use crate::certificates::Disk;
use crate::counters::{PoolCounters, WorkerCounters};
use crate::facts::RouteCounter;
use crate::judge::{Judged, judge_sealed};
use crate::members::Looks;
use crate::series::Series;
use crate::token::Tokens;

/// Commands that may wait for the loop.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Longest wait for the answer to a command.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Judging again when the running revision moved meanwhile.
const JUDGED_AGAIN_MAX: u32 = 3;

/// The present.
#[derive(Debug, Clone)]
pub struct Published {
    /// What the guard knows; `None` until it booted.
    pub view: Option<GuardView>,
    /// What runs.
    pub config: Arc<Config>,
    /// The same with the weights that deployments give it.
    pub balanced: Arc<Config>,
    /// Totals by pool, in no order.
    pub pools: Vec<(Name, PoolCounters)>,
    /// Totals by route, in no order.
    pub routes: Vec<RouteCounter>,
    /// Totals by worker.
    pub workers: Vec<(u16, WorkerCounters)>,
    /// The last minutes.
    pub series: Series,
    /// Live facts for a forecast.
    pub facts: Facts,
    /// Where each listener really listens.
    pub addresses: Vec<(Name, Address)>,
    /// Client connections open.
    pub connections: u32,
    /// Lines of the access log dropped.
    pub access_log_lost: u64,
    /// What became of spans, where they were ever asked for.
    pub spans: Option<SpanCounts>,
    /// Requests refused by the rate limit of a route, of those that have one.
    pub rate_limited: Vec<(Arc<RouteKey>, u64)>,
    /// What became of second tries, by pool that hedges.
    pub hedges: Vec<(Name, Hedges)>,
    /// What became of handshakes, by listener that speaks TLS.
    pub handshakes: Vec<(Name, Handshakes)>,
    /// What became of handshakes, by pool and backend that is spoken to by TLS.
    pub dials: Vec<(Name, Name, Dials)>,
    /// What became of probes, by pool that sends them.
    pub probes: Vec<(Name, Probes)>,
    /// Tunnels, by pool and backend that ever had one.
    pub tunnels: Vec<(Name, Name, TunnelCounts)>,
    /// What passed by routes, backends and queues.
    pub traffic: Traffic,
    /// What became of looks for members, by pool that finds some.
    pub looks: Vec<(Name, Looks)>,
    /// Connections refused because of how they began, where a listener asks for PROXY protocol headers.
    pub refused_headers: Option<RefusedHeaders>,
    /// Clients that speak HTTP/2, where a listener lets them.
    pub http2: Option<Http2Counts>,
    /// What overload protection sees and did.
    pub overload: OverloadView,
    /// When the process started.
    pub started_at: Wall,
}

impl Published {
    /// Before the first tick.
    pub(crate) fn starting(
        config: Arc<Config>,
        addresses: Vec<(Name, Address)>,
        started_at: Wall,
    ) -> Self {
        Self {
            view: None,
            balanced: Arc::clone(&config),
            config,
            pools: Vec::new(),
            routes: Vec::new(),
            workers: Vec::new(),
            series: Series::default(),
            facts: Facts::default(),
            addresses,
            connections: 0,
            access_log_lost: 0,
            spans: None,
            rate_limited: Vec::new(),
            hedges: Vec::new(),
            handshakes: Vec::new(),
            dials: Vec::new(),
            probes: Vec::new(),
            tunnels: Vec::new(),
            traffic: Traffic::default(),
            looks: Vec::new(),
            refused_headers: None,
            http2: None,
            overload: OverloadView::default(),
            started_at,
        }
    }
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too many commands wait.
    #[error("{COMMANDS_MAX} commands already wait; try again")]
    Busy,
    /// The instance is stopping.
    #[error("the instance is stopping")]
    Stopping,
    /// No answer in time; it may still be carried out.
    #[error("no answer within {} s; look at `evenkeel status` before trying again", ANSWER_MAX.as_secs())]
    Late,
    /// There is no such revision, or it cannot run here.
    #[error("{0}")]
    Unknown(String),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(String),
}

/// `apply`.
#[derive(Debug, Clone)]
pub struct Apply {
    /// The text.
    pub text: String,
    /// Name of the file, for findings.
    pub file: Option<String>,
    /// `--base`.
    pub base: Option<RevisionId>,
    /// By whom.
    pub author: String,
    /// Why.
    pub reason: String,
    /// `--force`.
    pub force: bool,
    /// `--confirm-within`.
    pub confirm_within: Option<Duration>,
    /// `--keep`.
    pub keep: Option<Duration>,
}

/// What came of an apply: how the text was judged, and what the guard said if it came that far.
#[derive(Debug)]
pub struct Applied {
    /// Findings, forecast, difference.
    pub judged: Judged,
    /// `None`: the text is no configuration.
    pub outcome: Option<Outcome>,
}

/// `deploy record`.
#[derive(Debug, Clone)]
pub struct DeploymentCommand {
    /// The pool.
    pub pool: Name,
    /// The version.
    pub version: Name,
    /// The backends it reached; empty: all.
    pub backends: Vec<Name>,
    /// When; `None`: now.
    pub at: Option<Wall>,
    /// What is said of it.
    pub told: Told,
    /// Who tells.
    pub author: String,
    /// In words.
    pub note: String,
    /// The name of the message, unique for the author: what it tells is recorded once.
    pub message: Option<String>,
}

/// A person's word on an incident.
pub type IncidentAction = IncidentVerb;

/// The journal, to be read.
pub type Reading = Arc<Mutex<Box<dyn Read>>>;

/// A question to the loop.
pub(crate) struct Command {
    pub(crate) make: Box<dyn FnOnce(RequestId) -> Event + Send>,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

/// A handle on a running instance.
#[derive(Clone)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) published: Arc<ArcSwap<Published>>,
    pub(crate) reader: Reading,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) data: Arc<PathBuf>,
    pub(crate) disk: Arc<Disk>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// The present.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// What the guard knows; `None` until it booted.
    pub fn view(&self) -> Option<GuardView> {
        self.published.load().view.clone()
    }

    /// Admin tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The data directory.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// Asks the journal.
    pub fn read<T>(
        &self,
        ask: impl FnOnce(&dyn Read) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&**reader)
    }

    /// Judges a text against what runs; nothing is changed.
    pub async fn plan(
        &self,
        text: String,
        file: Option<String>,
    ) -> Result<(RevisionId, Judged), CommandError> {
        let published = self.published();
        let revision = published.view.as_ref().map(|view| view.revision);
        let running = Arc::clone(&published.config);
        let disk = Arc::clone(&self.disk);
        let work = move || {
            let now = crate::clock::wall();
            judge_sealed(
                &disk,
                &text,
                file.as_deref(),
                Some(&running),
                &published.facts,
                now,
            )
        };
        let judged = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| CommandError::Unknown(error.to_string()))?;
        revision
            .map(|revision| (revision, judged))
            .ok_or(CommandError::Busy)
    }

    /// Applies a text as a guarded change.
    pub async fn apply(&self, apply: Apply) -> Result<Applied, CommandError> {
        for _ in 0..JUDGED_AGAIN_MAX {
            let (judged_against, judged) =
                self.plan(apply.text.clone(), apply.file.clone()).await?;
            let (Some(config), Some(hash)) = (judged.config.clone(), judged.hash) else {
                return Ok(Applied {
                    judged,
                    outcome: None,
                });
            };
            let proposal = Proposal {
                request: RequestId(0),
                config,
                text: Arc::clone(&judged.text),
                hash,
                findings: judged.findings.clone(),
                blocking: judged.blocking.clone(),
                judged_against,
                base: apply.base,
                author: apply.author.clone(),
                reason: apply.reason.clone(),
                force: apply.force,
                confirm_within: apply.confirm_within,
                keep: apply.keep,
            };
            let outcome = self
                .ask(move |request| {
                    Event::Propose(Box::new(Proposal {
                        request,
                        ..proposal
                    }))
                })
                .await?;
            let moved = apply.base.is_none()
                && matches!(&outcome, Outcome::Refused(refusal) if refusal.findings.iter().any(|f| f.id == "CHG-01"));
            if !moved {
                return Ok(Applied {
                    judged,
                    outcome: Some(outcome),
                });
            }
        }
        Err(CommandError::Busy)
    }

    /// Goes back to an earlier revision.
    pub async fn rollback(
        &self,
        to: Option<RevisionId>,
        author: String,
        reason: String,
        force: bool,
    ) -> Result<Outcome, CommandError> {
        let to = match to {
            None => None,
            Some(id) => Some(self.restorable(id)?),
        };
        self.ask(move |request| {
            Event::Rollback(Box::new(RollbackCommand {
                request,
                to,
                author,
                reason,
                force,
            }))
        })
        .await
    }

    /// Confirms a revision.
    pub async fn confirm(
        &self,
        revision: Option<RevisionId>,
        author: String,
    ) -> Result<Outcome, CommandError> {
        self.ask(move |request| Event::Confirm {
            request,
            revision,
            author,
        })
        .await
    }

    /// Starts, moves on or aborts the deployment of a pool.
    pub async fn deploy(
        &self,
        pool: &str,
        (author, reason): (String, String),
        verb: DeployVerb,
    ) -> Result<Outcome, CommandError> {
        let pool = self.pool_name(pool)?;
        self.ask(move |request| {
            Event::Deploy(Box::new(DeployCommand {
                request,
                pool,
                author,
                reason,
                verb,
            }))
        })
        .await
    }

    /// Records a deployment.
    pub async fn record(&self, command: DeploymentCommand) -> Result<Outcome, CommandError> {
        let DeploymentCommand {
            pool,
            version,
            backends,
            at,
            told,
            author,
            note,
            message,
        } = command;
        self.ask(move |request| {
            let report = DeploymentReport {
                request,
                pool,
                version,
                backends,
                at,
                told,
                author,
                note,
                message,
            };
            Event::DeploymentSeen(Box::new(report))
        })
        .await
    }

    /// Carries out a person's word on an incident.
    pub async fn incident(
        &self,
        incident: IncidentId,
        author: String,
        verb: IncidentAction,
    ) -> Result<Outcome, CommandError> {
        self.ask(move |request| {
            Event::Incident(IncidentCommand {
                request,
                incident,
                author,
                verb,
            })
        })
        .await
    }

    /// A revision of the journal, ready to run.
    pub fn restorable(&self, id: RevisionId) -> Result<Restorable, CommandError> {
        let record = self
            .read(|journal| journal.revision(id))
            .map_err(|error| CommandError::Journal(error.to_string()))?
            .ok_or_else(|| {
                CommandError::Unknown(format!("there is no revision {id}; see `evenkeel history`"))
            })?;
        let config = parse::parse(&record.text, None).config.ok_or_else(|| {
            CommandError::Unknown(format!("revision {id} is not valid for this version"))
        })?;
        Ok(Restorable {
            record,
            config: Arc::new(config),
        })
    }

    pub(crate) async fn ask(
        &self,
        make: impl FnOnce(RequestId) -> Event + Send + 'static,
    ) -> Result<Outcome, CommandError> {
        let (answer, outcome) = oneshot::channel();
        let command = Command {
            make: Box::new(make),
            answer,
        };
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommandError::Busy,
                mpsc::error::TrySendError::Closed(_) => CommandError::Stopping,
            })?;
        match tokio::time::timeout(ANSWER_MAX, outcome).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_dropped)) => Err(CommandError::Stopping),
            Err(_elapsed) => Err(CommandError::Late),
        }
    }
}
