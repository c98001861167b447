//! The one thread that appends. The control loop hands entries over and goes on; the answer comes back
//! through the submission's own callback. The queue is bounded: a slow disk refuses, it never grows memory.

use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use evenkeel_model::clock::Wall;
use evenkeel_model::record::Entry;

use crate::{Append, AppendError};

/// Submissions that may wait for the disk.
pub const QUEUE_MAX: usize = 1_024;

/// Entries to append together, and whom to tell.
pub struct Submission {
    /// The entries.
    pub entries: Vec<Entry>,
    /// When they were handed over.
    pub at: Wall,
    /// Called on the writer's thread with the outcome.
    pub done: Box<dyn FnOnce(Result<(), AppendError>) + Send>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("entries", &self.entries.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// The queue is full or the writer is gone; the submission was not taken and `done` was not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{QUEUE_MAX} submissions already wait for the disk")]
pub struct QueueFull;

/// Handle of the writer thread. Dropping it lets the thread finish what is queued and waits for it.
#[derive(Debug)]
pub struct Writer {
    sender: Option<SyncSender<Submission>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread over `journal`.
    pub fn start(mut journal: Box<dyn Append>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel::<Submission>(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            for submission in receiver {
                let outcome = journal.append(&submission.entries, submission.at);
                if let Err(error) = &outcome {
                    tracing::error!(%error, entries = submission.entries.len(), "journal not written");
                }
                (submission.done)(outcome);
            }
        })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Queues a submission.
    pub fn submit(&self, submission: Submission) -> Result<(), QueueFull> {
        let Some(sender) = &self.sender else {
            return Err(QueueFull);
        };
        sender.try_send(submission).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => QueueFull,
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}
