//! The embedded store: one SQLite file in WAL mode, one table of entries, nothing updated in place.
//!
//! `synchronous = FULL`: an append that returned survives a power cut. The directory is locked by a lock
//! file for the life of the process, so that two instances never write one record.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{
    DeploymentRecord, Entry, IncidentRecord, RevisionRecord, RolloutRecord, TimelineEvent,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use crate::{Append, AppendError, OpenError, Read, ReadError, Recorded, State, chain, wire};

/// Schema written by this version.
const SCHEMA: i64 = 1;
/// File of the record inside the data directory.
const FILE: &str = "journal.db";
/// Entries that [`SqliteJournal::open`] checks from the end of the chain.
const CHECKED_AT_OPEN: u64 = 10_000;

const CREATE: &str = "
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  recorded_at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  ref INTEGER,
  body TEXT NOT NULL,
  prev_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX entry_by_ref ON entry (kind, ref, seq);
CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER entry_is_never_removed BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
PRAGMA user_version = 1;
";

/// The writing end.
#[derive(Debug)]
pub struct SqliteJournal {
    connection: Connection,
    path: PathBuf,
    last_seq: u64,
    last_hash: [u8; 32],
    /// Held, not read: the lock lives as long as the file is open.
    _lock: File,
}

impl SqliteJournal {
    /// Opens or creates the record in `dir` (made with mode 0700 when missing).
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io = |path: &Path, why: &dyn std::fmt::Display| OpenError::Io {
            path: path.to_owned(),
            why: why.to_string(),
        };
        if !dir.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|error| io(dir, &error))?;
        }
        let lock = lock(dir)?;
        let path = dir.join(FILE);
        let connection = Connection::open(&path).map_err(|error| classify(&path, &error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(|error| io(&path, &error))?;
        prepare(&connection, &path)?;
        let (last_seq, last_hash) = tail(&connection).map_err(|error| classify(&path, &error))?;
        verify(&connection, last_seq.saturating_sub(CHECKED_AT_OPEN)).map_err(|error| {
            OpenError::Corrupt {
                path: path.clone(),
                what: error.to_string(),
            }
        })?;
        Ok(Self {
            connection,
            path,
            last_seq,
            last_hash,
            _lock: lock,
        })
    }

    /// A reading end on the same file.
    pub fn reader(&self) -> Result<SqliteReader, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)
            .and_then(|c| {
                c.busy_timeout(std::time::Duration::from_secs(2))
                    .map(|()| c)
            })
            .map_err(|error| classify(&self.path, &error))?;
        Ok(SqliteReader {
            connection: Mutex::new(connection),
        })
    }

    /// Limits the file to `pages` pages of 4 KiB: the way a test fills the disk.
    pub fn limit_pages(&self, pages: u32) -> Result<(), AppendError> {
        self.connection
            .pragma_update(None, "max_page_count", pages)
            .map_err(|error| append_error(&error))
    }

    fn insert(
        &self,
        entries: &[Entry],
        recorded_at: Wall,
    ) -> Result<(u64, [u8; 32]), rusqlite::Error> {
        let (mut seq, mut prev) = (self.last_seq, self.last_hash);
        let transaction = self.connection.unchecked_transaction()?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO entry (seq, recorded_at, kind, ref, body, prev_hash, hash) VALUES (?,?,?,?,?,?,?)",
            )?;
            for entry in entries {
                seq += 1;
                let wire = wire::encode(entry);
                let hash = chain::hash(&prev, seq, recorded_at.0, wire.kind, &wire.body);
                statement.execute(params![
                    seq as i64,
                    recorded_at.0 as i64,
                    wire.kind,
                    wire.reference.map(|r| r as i64),
                    wire.body,
                    prev,
                    hash
                ])?;
                prev = hash;
            }
        }
        transaction.commit()?;
        Ok((seq, prev))
    }
}

impl Drop for SqliteJournal {
    /// A clean end leaves the whole record in one file, so that a copy of that file is a copy of the record.
    fn drop(&mut self) {
        // What cannot be moved over now stays beside it and is read from there by the next start.
        let moved = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        drop(moved);
    }
}

impl Append for SqliteJournal {
    fn append(&mut self, entries: &[Entry], recorded_at: Wall) -> Result<(), AppendError> {
        let (seq, hash) = self
            .insert(entries, recorded_at)
            .map_err(|error| append_error(&error))?;
        self.last_seq = seq;
        self.last_hash = hash;
        Ok(())
    }
}

/// The reading end; its own connection, so that a read never waits for an append.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Mutex<Connection>,
}

impl SqliteReader {
    /// Walks the whole chain; the error names the first entry that does not fit.
    pub fn verify(&self) -> Result<(), ReadError> {
        verify(&self.lock(), 0)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Recorded<Entry>>, ReadError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).map_err(|e| read_error(&e))?;
        let rows = statement
            .query_map(values, |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                ))
            })
            .map_err(|e| read_error(&e))?;
        let mut entries = Vec::new();
        for row in rows {
            let (seq, recorded_at, kind, body) = row.map_err(|e| read_error(&e))?;
            let seq = seq as u64;
            let value =
                wire::decode(&kind, &body).map_err(|what| ReadError::Entry { seq, what })?;
            entries.push(Recorded {
                seq,
                recorded_at: Wall(recorded_at as u64),
                value,
            });
        }
        Ok(entries)
    }
}

/// Newest entry of each thing of one kind.
const NEWEST_OF_EACH: &str = "SELECT seq, recorded_at, kind, body FROM entry WHERE seq IN
  (SELECT max(seq) FROM entry WHERE kind = ?1 GROUP BY ref ORDER BY ref DESC LIMIT ?2) ORDER BY seq";
/// Every entry that moves one of the newest revisions.
const REVISIONS: &str = "SELECT seq, recorded_at, kind, body FROM entry
  WHERE kind IN ('revision', 'revision_state', 'confirm_by') AND ref > (SELECT coalesce(max(ref), 0) FROM entry WHERE kind = 'revision') - ?1
  ORDER BY seq";
const QUARANTINE: &str = "SELECT seq, recorded_at, kind, body FROM entry WHERE kind IN ('quarantine', 'release') ORDER BY seq";
/// A drain lasts a day at most, so an old entry has no say any more.
const DRAINS: &str = "SELECT * FROM (SELECT seq, recorded_at, kind, body FROM entry
  WHERE kind IN ('drain', 'drain_end') ORDER BY seq DESC LIMIT ?1) ORDER BY seq";
const LAST_AUDIT: &str = "SELECT seq, recorded_at, kind, body FROM entry
  WHERE seq = (SELECT max(seq) FROM entry WHERE kind = 'audit')";

/// Revisions, incidents, recorded deployments and those carried out that are taken into the state at boot.
const STATE_REVISIONS: i64 = 1_000;
const STATE_OTHERS: i64 = 200;
/// Beginnings and ends of drains taken into the state at boot.
const STATE_DRAINS: i64 = 10_000;

impl Read for SqliteReader {
    fn state(&self) -> Result<State, ReadError> {
        let mut state = State::default();
        let parts = [
            self.entries(REVISIONS, &[&STATE_REVISIONS])?,
            self.entries(QUARANTINE, &[])?,
            self.entries(NEWEST_OF_EACH, &[&"incident", &STATE_OTHERS])?,
            self.entries(NEWEST_OF_EACH, &[&"deployment", &STATE_OTHERS])?,
            self.entries(NEWEST_OF_EACH, &[&"rollout", &STATE_OTHERS])?,
            self.entries(DRAINS, &[&STATE_DRAINS])?,
            self.entries(LAST_AUDIT, &[])?,
        ];
        for entry in parts.iter().flatten() {
            state.fold(&entry.value);
        }
        // A verified revision older than the newest thousand still is what boots.
        if state.verified().is_none()
            && let Some(id) = self.newest_verified()?
            && let Some(record) = self.revision(id)?
        {
            state.revisions.insert(id, record);
        }
        Ok(state)
    }

    fn revisions(&self, limit: usize) -> Result<Vec<RevisionRecord>, ReadError> {
        let mut state = State::default();
        for entry in self.entries(REVISIONS, &[&(limit as i64)])? {
            state.fold(&entry.value);
        }
        Ok(state.revisions.into_values().rev().collect())
    }

    fn revision(&self, id: RevisionId) -> Result<Option<RevisionRecord>, ReadError> {
        let mut state = State::default();
        let sql = "SELECT seq, recorded_at, kind, body FROM entry
          WHERE kind IN ('revision', 'revision_state', 'confirm_by') AND ref = ?1 ORDER BY seq";
        for entry in self.entries(sql, &[&(id.0 as i64)])? {
            state.fold(&entry.value);
        }
        Ok(state.revisions.remove(&id))
    }

    fn incidents(&self, limit: usize) -> Result<Vec<IncidentRecord>, ReadError> {
        let mut state = State::default();
        for entry in self.entries(NEWEST_OF_EACH, &[&"incident", &(limit as i64)])? {
            state.fold(&entry.value);
        }
        Ok(state.incidents.into_values().rev().collect())
    }

    fn incident(&self, id: IncidentId) -> Result<Option<IncidentRecord>, ReadError> {
        let sql = "SELECT seq, recorded_at, kind, body FROM entry WHERE kind = 'incident' AND ref = ?1 ORDER BY seq DESC LIMIT 1";
        let mut state = State::default();
        for entry in self.entries(sql, &[&(id.0 as i64)])? {
            state.fold(&entry.value);
        }
        Ok(state.incidents.remove(&id))
    }

    fn rollouts(&self, limit: usize) -> Result<Vec<RolloutRecord>, ReadError> {
        let entries = self.entries(NEWEST_OF_EACH, &[&"rollout", &(limit as i64)])?;
        let records = entries.into_iter().rev().map(|entry| entry.value);
        let rollout = |entry| match entry {
            Entry::Rollout(record) => Some(*record),
            _ => None,
        };
        Ok(records.filter_map(rollout).collect())
    }

    fn deployments(&self, limit: usize) -> Result<Vec<DeploymentRecord>, ReadError> {
        let mut state = State::default();
        for entry in self.entries(NEWEST_OF_EACH, &[&"deployment", &(limit as i64)])? {
            state.fold(&entry.value);
        }
        Ok(state.deployments.into_values().rev().collect())
    }

    fn timeline(
        &self,
        incident: Option<IncidentId>,
        limit: usize,
    ) -> Result<Vec<Recorded<TimelineEvent>>, ReadError> {
        let limit = limit as i64;
        let entries = match incident {
            Some(id) => self.entries(
                "SELECT * FROM (SELECT seq, recorded_at, kind, body FROM entry WHERE kind = 'event' AND ref = ?1 ORDER BY seq DESC LIMIT ?2) ORDER BY seq",
                &[&(id.0 as i64), &limit],
            )?,
            None => self.entries(
                "SELECT * FROM (SELECT seq, recorded_at, kind, body FROM entry WHERE kind = 'event' ORDER BY seq DESC LIMIT ?1) ORDER BY seq",
                &[&limit],
            )?,
        };
        Ok(entries
            .into_iter()
            .filter_map(
                |Recorded {
                     seq,
                     recorded_at,
                     value,
                 }| match value {
                    Entry::Event(value) => Some(Recorded {
                        seq,
                        recorded_at,
                        value,
                    }),
                    _ => None,
                },
            )
            .collect())
    }
}

impl SqliteReader {
    fn newest_verified(&self) -> Result<Option<RevisionId>, ReadError> {
        let sql = "SELECT seq, recorded_at, kind, body FROM entry WHERE kind IN ('revision', 'revision_state') ORDER BY seq";
        let mut state = State::default();
        for entry in self.entries(sql, &[])? {
            state.fold(&entry.value);
        }
        Ok(state.verified().map(|record| record.id))
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |error: std::io::Error| OpenError::Io {
        path: path.clone(),
        why: error.to_string(),
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            return Err(OpenError::Locked {
                path: dir.to_owned(),
                pid: known.then(|| pid.trim().to_owned()),
            });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    // The pid is a courtesy to whoever meets the lock; a full disk must not keep the instance from starting.
    if file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .is_err()
    {
        tracing::warn!(path = %path.display(), "cannot write the pid into the lock file");
    }
    Ok(file)
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let classify = |error: rusqlite::Error| classify(path, &error);
    connection
        .busy_timeout(std::time::Duration::from_secs(2))
        .map_err(classify)?;
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(classify)?;
    if found > SCHEMA {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: SCHEMA,
        });
    }
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(classify)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(classify)?;
    if found == 0 {
        connection
            .execute_batch(&format!("BEGIN; {CREATE} COMMIT;"))
            .map_err(classify)?;
    }
    let check: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(classify)?;
    if check == "ok" {
        Ok(())
    } else {
        Err(OpenError::Corrupt {
            path: path.to_owned(),
            what: check,
        })
    }
}

fn tail(connection: &Connection) -> Result<(u64, [u8; 32]), rusqlite::Error> {
    let last = connection
        .query_row(
            "SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, [u8; 32]>(1)?)),
        )
        .optional()?;
    Ok(last.unwrap_or((0, chain::GENESIS)))
}

/// Checks every entry after `from`: gapless, each hash right, each chained to the one before.
fn verify(connection: &Connection, from: u64) -> Result<(), ReadError> {
    let mut statement = connection
        .prepare("SELECT seq, recorded_at, kind, body, prev_hash, hash FROM entry WHERE seq > ?1 ORDER BY seq")
        .map_err(|e| read_error(&e))?;
    let mut rows = statement.query([from as i64]).map_err(|e| read_error(&e))?;
    let mut expected: Option<([u8; 32], u64)> = (from == 0).then_some((chain::GENESIS, 0));
    while let Some(row) = rows.next().map_err(|e| read_error(&e))? {
        let read = || -> Result<_, rusqlite::Error> {
            let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (kind, body): (String, String) = (row.get(2)?, row.get(3)?);
            let (prev, hash): ([u8; 32], [u8; 32]) = (row.get(4)?, row.get(5)?);
            Ok((seq as u64, at as u64, kind, body, prev, hash))
        };
        let (seq, at, kind, body, prev, hash) = read().map_err(|e| read_error(&e))?;
        let follows = expected.is_none_or(|(last, at)| last == prev && seq == at + 1);
        if !follows || chain::hash(&prev, seq, at, &kind, &body) != hash {
            return Err(ReadError::Chain { seq });
        }
        expected = Some((hash, seq));
    }
    Ok(())
}

fn classify(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Corrupt {
            path,
            what: "it is not a SQLite file".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt {
            path,
            what: error.to_string(),
        },
        Some(ErrorCode::DiskFull) => OpenError::Io {
            path,
            why: "the disk is full".to_owned(),
        },
        _ => OpenError::Io {
            path,
            why: error.to_string(),
        },
    }
}

fn append_error(error: &rusqlite::Error) -> AppendError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => AppendError::DiskFull,
        _ => AppendError::Io(error.to_string()),
    }
}

fn read_error(error: &rusqlite::Error) -> ReadError {
    ReadError::Io(error.to_string())
}
