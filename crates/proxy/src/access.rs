//! The access log: one JSON object a line, written by a thread of its own.
//!
//! Workers collect lines in a buffer and hand it over whole, so a request costs no channel operation and no system
//! call. A slow disk fills the bounded channel, and then lines are dropped and counted: the data plane never waits
//! for a log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// A worker hands its lines over when they are this many bytes, or at the next beat.
const BATCH: usize = 32 * 1024;
/// Batches that may wait for the writer (about 4 MiB).
const BATCHES_WAITING: usize = 128;

/// Why the access log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the access log `{}` cannot be opened: {source}", path.display())]
pub struct AccessLogError {
    /// The configured path.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The writer's side.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sender: Option<SyncSender<Batch>>,
    lost: Arc<AtomicU64>,
    /// Set when the file is to be opened anew, because it was renamed.
    reopen: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A worker's side.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    batch: Batch,
    sender: SyncSender<Batch>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

impl AccessLog {
    /// Opens `path` for appending, `-` for standard output, and starts the writer.
    pub(crate) fn open(path: &Path) -> Result<Self, AccessLogError> {
        let error = |source| AccessLogError {
            path: path.to_owned(),
            source,
        };
        let output = if path == Path::new("-") {
            Output::Standard(io::stdout())
        } else {
            Output::File(path.to_owned(), open_append(path).map_err(error)?)
        };
        let (sender, receiver) = sync_channel(BATCHES_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let reopen = Arc::new(AtomicBool::new(false));
        let (counter, asked) = (Arc::clone(&lost), Arc::clone(&reopen));
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_batches(&receiver, output, &counter, &asked))
            .map_err(error)?;
        Ok(Self {
            sender: Some(sender),
            lost,
            reopen,
            thread: Some(thread),
        })
    }

    /// Has the file opened anew under its name. Lines that wait already go there too.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        if let Some(sender) = &self.sender {
            // Where the queue is full the writer is awake, and sees it with its next batch.
            drop(sender.try_send(Batch::default()));
        }
    }

    /// A buffer for one worker.
    pub(crate) fn buffer(&self) -> Option<LogBuffer> {
        Some(LogBuffer {
            batch: Batch::default(),
            sender: self.sender.clone()?,
            lost: Arc::clone(&self.lost),
        })
    }

    /// Lines dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over is written. Every [`LogBuffer`] must be gone by then.
    pub(crate) fn close(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the access log writer died");
        }
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Where lines go.
#[derive(Debug)]
enum Output {
    Standard(io::Stdout),
    File(PathBuf, File),
}

impl Output {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.write_all(text).and_then(|()| output.flush()),
            Self::File(_, file) => file.write_all(text),
        }
    }

    /// Where the name cannot be opened, the file that is open stays: better lines in the wrong place than none.
    fn reopen(&mut self) {
        if let Self::File(path, file) = self {
            match open_append(path) {
                Ok(new) => *file = new,
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "the access log cannot be opened anew; lines go on into the file that was open");
                }
            }
        }
    }
}

fn write_batches(
    receiver: &Receiver<Batch>,
    mut output: Output,
    lost: &AtomicU64,
    reopen: &AtomicBool,
) {
    while let Ok(batch) = receiver.recv() {
        if reopen.swap(false, Ordering::Relaxed) {
            output.reopen();
        }
        if let Err(error) = output.write(&batch.text) {
            // A full disk must not stop traffic; the lines are lost and said to be.
            lost.fetch_add(batch.lines, Ordering::Relaxed);
            tracing::warn!(%error, "cannot write the access log");
        }
    }
}

impl LogBuffer {
    /// Adds a line that `write` writes, without its line end.
    pub(crate) fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.batch.text);
        self.batch.text.push(b'\n');
        self.batch.lines += 1;
        if self.batch.text.len() >= BATCH {
            self.hand_over();
        }
    }

    /// Hands the collected lines to the writer, or drops and counts them when it is behind.
    pub(crate) fn hand_over(&mut self) {
        if self.batch.lines == 0 {
            return;
        }
        let next = Vec::with_capacity(self.batch.text.len().min(2 * BATCH));
        let batch = std::mem::replace(
            &mut self.batch,
            Batch {
                text: next,
                lines: 0,
            },
        );
        let lines = batch.lines;
        if self.sender.try_send(batch).is_err() {
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Writes `,"key":`.
fn key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Writes `,"key":"value"` with the value escaped; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn text_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    out.push(b'"');
    for chunk in value.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                0..=0x1f | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Writes `,"key":number`.
pub(crate) fn number_field(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(format!(",\"{key}\":{value}").as_bytes());
}

/// Writes `,"key":milliseconds` with three decimals.
pub(crate) fn ms_field(out: &mut Vec<u8>, key: &str, value: std::time::Duration) {
    let us = value.as_micros();
    out.extend_from_slice(format!(",\"{key}\":{}.{:03}", us / 1_000, us % 1_000).as_bytes());
}

/// Writes `,"key":null`.
pub(crate) fn null_field(out: &mut Vec<u8>, name: &str) {
    key(out, name);
    out.extend_from_slice(b"null");
}

/// RFC 3339 in UTC with milliseconds (days to civil date after Howard Hinnant, `chrono`-compatible algorithms).
pub(crate) fn rfc3339(wall_ms: u64) -> String {
    let (seconds, ms) = (wall_ms / 1_000, wall_ms % 1_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::{AccessLog, rfc3339, text_field};

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(1_795_363_199_999), "2026-11-22T15:59:59.999Z");
    }

    #[test]
    fn text_is_escaped_so_that_a_client_cannot_forge_a_line() {
        let mut out = Vec::new();
        text_field(&mut out, "path", b"/a\"b\\c\n\xff");
        let expected = ",\"path\":\"/a\\\"b\\\\c\\u000a\u{fffd}\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn lines_reach_the_file_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = AccessLog::open(&path).unwrap();
        let mut buffer = log.buffer().unwrap();
        for n in 0..10_000 {
            buffer.line(|out| out.extend_from_slice(format!("{n}").as_bytes()));
            if n % 1_000 == 0 {
                buffer.hand_over();
            }
        }
        drop(buffer);
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(lines.len() as u64 + log.lost(), 10_000);
        assert!(lines.is_sorted());
    }
}
