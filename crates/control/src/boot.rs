//! From a directory and a file to a running data plane: what boots, by the source-of-truth rules.
//!
//! The journal is the truth, CONFIG a proposal. An empty journal takes CONFIG as its baseline r1, after an audit.
//! Otherwise the last verified revision boots, whatever CONFIG says; a difference is shown as drift. Everything that
//! can fail (journal, configuration, listeners, tokens) fails here, before a request is served, with its own error.

use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_forecast::Facts;
use evenkeel_guard::{Boot, Restorable};
use evenkeel_journal::{
    Append as _, AppendError, OpenError, Read, ReadError, SqliteJournal, State, WayBack,
};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Address, Config};
use evenkeel_model::finding::{Finding, Origin};
use evenkeel_model::ids::RevisionId;
use evenkeel_model::parse;
use evenkeel_model::record::{Entry, RevisionRecord, RevisionState};
use evenkeel_proxy::{BindError, Bound, Inherited, Proxy};

use crate::certificates::{Disk, Missing};
use crate::clock::{self, Clock};
use crate::judge::{Judged, judge_sealed};
use crate::source::{self, Source};
use crate::token::{TokenError, Tokens};

/// How an instance is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// CONFIG.
    pub config: PathBuf,
    /// `--data`.
    pub data: PathBuf,
    /// Author of what this start does (the user who ran it).
    pub author: String,
    /// `--force --reason`: run a baseline with audit errors.
    pub force: Option<String>,
    /// `--adopt`: apply CONFIG as a guarded change after boot.
    pub adopt: bool,
    /// An isolated instance of a drill: its incidents are marked.
    pub drill: bool,
    /// Longest wait for requests in flight at the end.
    pub drain: std::time::Duration,
    /// Seed of every random choice that is not a secret.
    pub seed: u64,
}

/// Why an instance does not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// CONFIG cannot be read and the journal is empty.
    #[error(transparent)]
    Source(#[from] source::ReadError),
    /// CONFIG cannot be the baseline.
    #[error("the configuration cannot be the first revision: {} findings refuse it", judged.blocking.len())]
    Config {
        /// What was found.
        judged: Box<Judged>,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The baseline cannot be written.
    #[error("the first revision cannot be journalled: {0}")]
    Append(#[from] AppendError),
    /// The text of the revision to boot is not a configuration for this version.
    #[error("revision {revision} of the journal is not valid for this version: {first}")]
    Revision {
        /// The revision.
        revision: RevisionId,
        /// The first error.
        first: String,
        /// All of them.
        findings: Vec<Finding>,
        /// Where they stand.
        origin: Box<Origin>,
    },
    /// A file of TLS.
    #[error(transparent)]
    Certificate(#[from] Missing),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin address cannot be bound.
    #[error("the admin address `{address}` cannot be used: {why}")]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        why: String,
    },
    /// A token file.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The data plane.
    #[error(transparent)]
    Proxy(#[from] evenkeel_proxy::StartError),
    /// A thread of the control plane.
    #[error("the control plane cannot start: {0}")]
    Thread(std::io::Error),
}

/// Everything bound and decided; nothing serves yet.
pub struct Prepared {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) journal: SqliteJournal,
    pub(crate) reader: Box<dyn Read>,
    pub(crate) boot: Boot,
    pub(crate) way_back: WayBack,
    pub(crate) source: Source,
    pub(crate) disk: Arc<Disk>,
    pub(crate) bound: Bound,
    pub(crate) admin: std::net::TcpListener,
    pub(crate) tokens: Tokens,
    /// What a person should know, a line each.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("running", &self.boot.running.record.id)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// Looks for the members of pools that find theirs, before anybody is served.
    pub(crate) async fn find_members(&mut self) {
        crate::members::first(&mut self.boot.running.config).await;
        for target in &mut self.boot.targets {
            Arc::make_mut(&mut target.config).take_members(&self.boot.running.config);
        }
    }

    /// Where page, API and metrics will be.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.local_addr().ok()
    }

    /// Where each listener will be.
    pub fn addresses(&self) -> Vec<(evenkeel_model::ids::Name, Address)> {
        self.bound.addresses()
    }
}

/// Opens the journal, decides what runs, and binds every socket.
pub fn prepare(options: Options) -> Result<Prepared, StartError> {
    prepare_beside(options, &Inherited::default())
}

/// The same where some sockets are bound already, by whoever started this process.
pub fn prepare_beside(options: Options, inherited: &Inherited) -> Result<Prepared, StartError> {
    let clock = Clock::start();
    let disk = Arc::new(Disk::beside(&options.config));
    let mut journal = SqliteJournal::open(&options.data)?;
    let reader: Box<dyn Read> = Box::new(journal.reader()?);
    let state = reader.state()?;
    let mut notes = Vec::new();
    let revisions: Vec<RevisionRecord> = state.revisions.values().cloned().collect();
    let running = match evenkeel_guard::boot::select(&revisions) {
        Some(id) => restore(&state, id)?,
        None => baseline(&options, &disk, &mut journal, &state, clock::wall())?,
    };
    notes.extend(disk.boot(&running.config)?);
    let source = Source::new(options.config.clone(), Arc::clone(&disk));
    if let Some(drift) = source.drift(running.record.hash) {
        notes.push(format!(
            "drift: {}; running {}",
            drift.detail, running.record.id
        ));
    }
    let bound = Proxy::bind_beside(&running.config, inherited)?;
    let address = running.config.admin.address;
    let admin = bind_admin(address, inherited)?;
    notes.extend(waiting(&running.config, inherited));
    let tokens = Tokens::load(&options.data, &running.config.admin)?;
    let state = reader.state()?;
    let boot = boot_event(&state, running, &mut notes);
    Ok(Prepared {
        options,
        clock,
        journal,
        reader,
        boot,
        way_back: state.way_back,
        source,
        disk,
        bound,
        admin,
        tokens,
        notes,
    })
}

/// A line for each socket that was passed and that nothing listens on.
fn waiting(config: &Config, inherited: &Inherited) -> Vec<String> {
    let admin = Address::Tcp(config.admin.address);
    let is_used = |address: &&Address| {
        **address == admin || config.listeners.iter().any(|l| l.address == **address)
    };
    let waiting = inherited.addresses().filter(|address| !is_used(address));
    let line = |address| {
        format!(
            "the service manager passed a socket at {address}, and no listener has this address: connections to it wait until one has"
        )
    };
    waiting.map(line).collect()
}

fn bind_admin(
    address: std::net::SocketAddr,
    inherited: &Inherited,
) -> Result<std::net::TcpListener, StartError> {
    let bind = || {
        let listener = match inherited.at(&Address::Tcp(address)) {
            Some(socket) => socket?.into(),
            None => std::net::TcpListener::bind(address)?,
        };
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: std::io::Error| StartError::Admin {
        address,
        why: error.to_string(),
    })
}

/// A revision of the journal with its text parsed.
fn restore(state: &State, id: RevisionId) -> Result<Restorable, StartError> {
    let record = state.revisions.get(&id).cloned();
    let record = record.ok_or_else(|| ReadError::Io(format!("revision {id} is missing")))?;
    let parsed = parse::parse(&record.text, None);
    match parsed.config {
        Some(config) => Ok(Restorable {
            record,
            config: Arc::new(config),
        }),
        None => Err(StartError::Revision {
            revision: id,
            first: parsed
                .findings
                .first()
                .map(|f| f.message.clone())
                .unwrap_or_default(),
            findings: parsed.findings,
            origin: Box::new(parsed.origin),
        }),
    }
}

/// CONFIG as the first revision that can run.
fn baseline(
    options: &Options,
    disk: &Disk,
    journal: &mut SqliteJournal,
    state: &State,
    at: Wall,
) -> Result<Restorable, StartError> {
    let text = source::read(&options.config)?;
    let name = options.config.to_str();
    let judged = judge_sealed(disk, &text, name, None, &Facts::default(), at);
    let refused = !judged.blocking.is_empty() && options.force.is_none();
    let (Some(config), Some(hash), false) = (judged.config.clone(), judged.hash, refused) else {
        return Err(StartError::Config {
            judged: Box::new(judged),
        });
    };
    let newest = state.revisions.keys().next_back().map_or(0, |id| id.0);
    let record = RevisionRecord {
        id: RevisionId(newest + 1),
        parent: None,
        hash,
        text: Arc::clone(&judged.text),
        author: options.author.clone(),
        reason: options
            .force
            .clone()
            .unwrap_or_else(|| "first start".to_owned()),
        state: RevisionState::Verified,
        at,
        forced: options.force.is_some() && !judged.blocking.is_empty(),
        confirm_by: None,
        keep_until: None,
        incident: None,
    };
    journal.append(&[Entry::Revision(record.clone())], at)?;
    Ok(Restorable { record, config })
}

fn boot_event(state: &State, running: Restorable, notes: &mut Vec<String>) -> Boot {
    let revisions: Vec<RevisionRecord> = state.revisions.values().cloned().collect();
    let mut targets = Vec::new();
    for id in evenkeel_guard::boot::targets(&revisions, running.record.id) {
        match restore(state, id) {
            Ok(target) => targets.push(target),
            Err(error) => notes.push(format!("{error}; it is no rollback target")),
        }
    }
    let next = |newest: Option<u64>| newest.unwrap_or(0) + 1;
    Boot {
        workers: 0,
        running,
        targets,
        revisions,
        next_revision: next(state.revisions.keys().next_back().map(|id| id.0)),
        next_incident: next(state.incidents.keys().next_back().map(|id| id.0)),
        next_deployment: next(state.deployments.keys().next_back().map(|id| id.0)),
        incidents: state.open_incidents().cloned().collect(),
        quarantine: state
            .quarantine
            .iter()
            .map(|(hash, incident)| (*hash, *incident))
            .collect(),
        deployments: state.deployments.values().cloned().collect(),
        rollouts: state.rollouts.values().cloned().collect(),
        drains: state.drains.values().cloned().collect(),
        rollbacks: rollbacks(state),
        epochs: Vec::new(),
        journal_ok: true,
        last_audit: state.last_audit.clone(),
    }
}

/// Automatic rollbacks that the incidents tell of, oldest first.
fn rollbacks(state: &State) -> Vec<(evenkeel_model::ids::Name, Wall)> {
    let mut rollbacks = Vec::new();
    for incident in state.incidents.values() {
        let Some(pool) = &incident.pool else { continue };
        for action in incident
            .actions
            .iter()
            .filter(|a| a.kind == "rollback" && a.outcome == "done")
        {
            rollbacks.push((pool.clone(), action.at));
        }
    }
    rollbacks.sort_by_key(|(_, at)| *at);
    rollbacks
}

/// The running configuration's address of everything, for whoever prints it.
pub fn summary(config: &Config) -> String {
    format!(
        "{} listeners, {} routes, {} pools, {} backends",
        config.listeners.len(),
        config.routes.len(),
        config.pools.len(),
        config
            .pools
            .iter()
            .map(|pool| pool.backends.len())
            .sum::<usize>()
    )
}
