//! The append-only record: revisions, deployments, incidents, timeline.
//!
//! The journal is the source of truth of an instance. Entries handed over together are appended in one
//! transaction or not at all, each chained to its predecessor by SHA-256, so that a post-mortem can be
//! trusted. The embedded store is SQLite ([`SqliteJournal`]); [`MemoryJournal`] is the same record without
//! a disk, for simulations. The wire form of an entry (JSON) is owned by this room alone.
//!
//! Limits: one process per directory; one writer; a hundred thousand timeline lines kept per read.

mod chain;
mod memory;
mod sqlite;
mod state;
mod way_back;
mod wire;
mod writer;

use std::path::PathBuf;

use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{
    DeploymentRecord, Entry, IncidentRecord, RevisionRecord, RolloutRecord, TimelineEvent,
};

pub use memory::MemoryJournal;
pub use sqlite::{SqliteJournal, SqliteReader};
pub use state::State;
pub use way_back::WayBack;
pub use writer::{QUEUE_MAX, QueueFull, Submission, Writer};

/// What can be appended to.
pub trait Append: Send {
    /// Appends all of `entries` or none, durably: when it returns, kill -9 and a power cut keep them.
    fn append(&mut self, entries: &[Entry], recorded_at: Wall) -> Result<(), AppendError>;
}

/// What can be read from while somebody else appends.
pub trait Read: Send {
    /// What an instance needs to start: newest revisions, quarantine, open incidents, next ids.
    fn state(&self) -> Result<State, ReadError>;
    /// The newest `limit` revisions, newest first.
    fn revisions(&self, limit: usize) -> Result<Vec<RevisionRecord>, ReadError>;
    /// One revision as it now stands.
    fn revision(&self, id: RevisionId) -> Result<Option<RevisionRecord>, ReadError>;
    /// The newest `limit` incidents, newest first.
    fn incidents(&self, limit: usize) -> Result<Vec<IncidentRecord>, ReadError>;
    /// One incident as it now stands.
    fn incident(&self, id: IncidentId) -> Result<Option<IncidentRecord>, ReadError>;
    /// The newest `limit` deployments that were carried out, newest first, each as it now stands.
    fn rollouts(&self, limit: usize) -> Result<Vec<RolloutRecord>, ReadError>;
    /// The newest `limit` deployments, newest first.
    fn deployments(&self, limit: usize) -> Result<Vec<DeploymentRecord>, ReadError>;
    /// The newest `limit` lines of the timeline, oldest of them first; of one incident or of all.
    fn timeline(
        &self,
        incident: Option<IncidentId>,
        limit: usize,
    ) -> Result<Vec<Recorded<TimelineEvent>>, ReadError>;
}

/// Something in the journal with its place and the moment it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<T> {
    /// Place in the journal, growing.
    pub seq: u64,
    /// When it was written down; it may have happened earlier.
    pub recorded_at: Wall,
    /// What was written.
    pub value: T,
}

/// Why a journal cannot be opened. Nothing is ever deleted or overwritten by a failed open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer Evenkeel.
    #[error("the journal `{}` has schema {found}, this version knows up to {known}; nothing was changed; start the newer version, or point --data at another directory", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// Not readable as a journal.
    #[error("the journal `{}` is damaged: {what}; nothing was changed; move the file aside (keep it for the record) and start again, or restore a copy", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another instance runs on the same directory.
    #[error("the data directory `{}` is in use by another evenkeel{}; stop it, or give this one its own --data", path.display(), pid.as_ref().map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process, where known.
        pid: Option<String>,
    },
    /// The directory or the file cannot be used.
    #[error("cannot use the data directory `{}`: {why}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space is left.
    #[error("the disk is full")]
    DiskFull,
    /// The disk or the database failed.
    #[error("the journal cannot be written: {0}")]
    Io(String),
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk or the database failed.
    #[error("the journal cannot be read: {0}")]
    Io(String),
    /// An entry is not what this version wrote.
    #[error("entry {seq} of the journal cannot be understood: {what}")]
    Entry {
        /// Its place.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The hash chain is broken: an entry was changed or removed.
    #[error(
        "entry {seq} of the journal does not follow from its predecessor; the record was changed outside evenkeel"
    )]
    Chain {
        /// The first entry that does not fit.
        seq: u64,
    },
}
