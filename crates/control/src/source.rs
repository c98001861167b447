//! CONFIG, the file: a proposal, never the truth. It is read at the start, on SIGHUP, and looked at every few
//! seconds so that a difference to what runs is shown as drift.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel_guard::DriftFact;
use evenkeel_model::finding::Severity;
use evenkeel_model::record::ContentHash;
use evenkeel_model::{canonical, parse};

use crate::certificates::Disk;

/// Largest configuration that is read.
pub const SIZE_MAX: u64 = 16 << 20;

/// That a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the configuration `{}`: {cause}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub cause: Cause,
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The system refused.
    #[error("{text}")]
    System {
        /// By what.
        kind: ErrorKind,
        /// What it said.
        text: String,
    },
    /// Opening it would wait for somebody who writes.
    #[error("it is a named pipe; write `-` and hand the text over on standard input")]
    Pipe,
    /// It is beyond [`SIZE_MAX`].
    #[error("it is larger than {SIZE_MAX} bytes, the most that is read")]
    TooLarge,
    /// It is no text from this byte on.
    #[error("byte {0} is not UTF-8")]
    NotText(usize),
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        Self::System {
            kind: error.kind(),
            text: error.to_string(),
        }
    }
}

/// Reads a configuration file of bounded size that must be text.
pub fn read(path: &Path) -> Result<String, ReadError> {
    text(path, bytes(path)?)
}

/// Reads a configuration file of bounded size, without waiting for one that never comes.
pub fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Opening a named pipe that nobody writes to would wait for ever. Those of a shell's `<(...)` have a writer.
    let is_pipe = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
    if is_pipe && !path.starts_with("/dev") && !path.starts_with("/proc") {
        return Err(failed(path, Cause::Pipe));
    }
    match fs::File::open(path) {
        Ok(file) => bytes_from(file, path),
        Err(error) => Err(failed(path, error.into())),
    }
}

/// Reads a configuration of bounded size from `input`, which is called `path` in errors.
pub fn bytes_from(input: impl Read, path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    // The size that the system tells is not asked: a device or a pipe has none.
    let done = input.take(SIZE_MAX + 1).read_to_end(&mut bytes);
    done.map_err(|error| failed(path, error.into()))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(failed(path, Cause::TooLarge));
    }
    Ok(bytes)
}

/// `bytes`, which came from `path`, as text.
pub fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ReadError> {
    let text = String::from_utf8(bytes);
    text.map_err(|error| failed(path, Cause::NotText(error.utf8_error().valid_up_to())))
}

fn failed(path: &Path, cause: Cause) -> ReadError {
    ReadError {
        path: path.to_owned(),
        cause,
    }
}

/// The file and what was last seen of it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    disk: Arc<Disk>,
    /// The files of TLS that it names.
    files: Vec<PathBuf>,
    stamp: Option<(SystemTime, u64)>,
    file_stamps: Vec<Option<(SystemTime, u64)>>,
    content: Result<ContentHash, DriftFact>,
}

impl Source {
    pub(crate) fn new(path: PathBuf, disk: Arc<Disk>) -> Self {
        let missing = DriftFact {
            detail: "not read yet".to_owned(),
            errors: 0,
            running: false,
        };
        let mut source = Self {
            path,
            disk,
            files: Vec::new(),
            stamp: None,
            file_stamps: Vec::new(),
            content: Err(missing),
        };
        source.look();
        source
    }

    /// Looks at the file again when its time or size changed, or that of a file of TLS that it names; returns whether the
    /// content of either changed.
    pub(crate) fn look(&mut self) -> bool {
        let meta = fs::metadata(&self.path).ok();
        // A pipe was read once; opening it again could wait for ever for somebody who writes.
        if meta.as_ref().is_some_and(|meta| meta.file_type().is_fifo()) {
            return false;
        }
        let stamp = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        let same_files = self.disk.stamps(&self.files) == self.file_stamps;
        if stamp.is_some() && stamp == self.stamp && same_files {
            return false;
        }
        self.stamp = stamp;
        let content = self.parse();
        let changed = content != self.content;
        self.content = content;
        changed
    }

    /// What differs from the running content; `None`: the same.
    pub(crate) fn drift(&self, running: ContentHash) -> Option<DriftFact> {
        let path = self.path.display();
        match &self.content {
            Ok(hash) if *hash == running => None,
            Ok(_) => Some(DriftFact {
                detail: format!(
                    "`{path}` differs from the running revision; see what with `evenkeel plan {path}`, make it run with `evenkeel apply {path}`"
                ),
                errors: 0,
                running: false,
            }),
            Err(fact) => Some(fact.clone()),
        }
    }

    fn parse(&mut self) -> Result<ContentHash, DriftFact> {
        let text = read(&self.path).map_err(|error| DriftFact {
            detail: error.to_string(),
            errors: 1,
            running: false,
        })?;
        let declared = parse::parse(&text, None).config;
        let files =
            declared.map(|config| config.tls_files().into_iter().map(Path::to_owned).collect());
        self.files = files.unwrap_or_default();
        // Before they are read: what changes meanwhile is seen the next time.
        self.file_stamps = self.disk.stamps(&self.files);
        let findings = match self.disk.seal(&text, self.path.to_str()) {
            Ok(sealed) => {
                let parsed = parse::parse(&sealed.text, self.path.to_str());
                if let Some(config) = parsed.config {
                    return Ok(canonical::content_hash(&config));
                }
                parsed.findings
            }
            Err(unsealable) => unsealable.findings,
        };
        let path = self.path.display();
        let errors: Vec<_> = findings
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .collect();
        let first = errors.first().map_or("", |f| f.message.as_str());
        Err(DriftFact {
            detail: format!(
                "`{path}` is invalid ({} errors, first: {first}); the running revision goes on; see `evenkeel check {path}`",
                errors.len()
            ),
            errors: u32::try_from(errors.len()).unwrap_or(u32::MAX),
            running: false,
        })
    }
}
