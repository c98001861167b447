//! Recordings of incidents in the data directory: written beside the loop, one file for each, the newest kept.
//!
//! They hold everything that the guard was told, configurations with their secrets included, so only the owner may
//! read them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use evenkeel_model::ids::IncidentId;

/// Recordings that are kept.
const KEPT: usize = 32;
/// Recordings that may wait to be written.
const WAITING: usize = 4;
/// How their names end.
const ENDING: &str = "recording";

/// Where the recording of an incident is, or would be.
pub fn path(data: &Path, incident: IncidentId) -> PathBuf {
    directory(data).join(format!("{incident}.{ENDING}"))
}

fn directory(data: &Path) -> PathBuf {
    data.join("recordings")
}

/// Writes them.
#[derive(Debug)]
pub(crate) struct Recordings {
    to: Option<SyncSender<(IncidentId, Vec<u8>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Recordings {
    pub(crate) fn start(data: &Path) -> io::Result<Self> {
        let (to, from) = sync_channel::<(IncidentId, Vec<u8>)>(WAITING);
        let data = data.to_owned();
        let thread = std::thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(move || {
                while let Ok((incident, bytes)) = from.recv() {
                    if let Err(error) = write(&data, incident, &bytes) {
                        tracing::warn!(%incident, %error, "the recording of an incident was not written");
                    }
                }
            })?;
        Ok(Self {
            to: Some(to),
            thread: Some(thread),
        })
    }

    /// Has a recording written; the loop does not wait for the disk.
    pub(crate) fn keep(&self, incident: IncidentId, bytes: Vec<u8>) {
        let sent = self.to.as_ref().map(|to| to.try_send((incident, bytes)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) = sent {
            tracing::warn!(%incident, "the recording of an incident was not written: the disk is too slow");
        }
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the last recordings may not be written");
        }
    }
}

fn write(data: &Path, incident: IncidentId, bytes: &[u8]) -> io::Result<()> {
    let directory = directory(data);
    fs::create_dir_all(&directory)?;
    let whole = path(data, incident);
    let part = whole.with_extension("part");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&part, &whole)?;
    forget_oldest(&directory)
}

fn forget_oldest(directory: &Path) -> io::Result<()> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        let id = stem.and_then(|stem| stem.parse::<IncidentId>().ok());
        if file.extension().is_some_and(|e| e == ENDING)
            && let Some(id) = id
        {
            all.push((id, file));
        }
    }
    all.sort_unstable();
    let over = all.len().saturating_sub(KEPT);
    all.iter()
        .take(over)
        .try_for_each(|(_, file)| fs::remove_file(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{IncidentId, Recordings, fs, io, path, write};

    #[test]
    fn the_newest_are_kept_whole_and_only_for_their_owner() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let recordings = Recordings::start(place.path())?;
        for n in 1..=40 {
            write(place.path(), IncidentId(n), b"old")?;
        }
        recordings.keep(IncidentId(40), b"new".to_vec());
        drop(recordings);
        let last = path(place.path(), IncidentId(40));
        assert_eq!(fs::read(&last)?, b"new");
        assert_eq!(fs::metadata(&last)?.permissions().mode() & 0o777, 0o600);
        assert!(!path(place.path(), IncidentId(8)).exists());
        assert!(path(place.path(), IncidentId(9)).exists());
        Ok(())
    }
}
