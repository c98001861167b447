//! A configuration as it lies on disk or comes on standard input, with words that help where it cannot be read.
//!
//! Bytes, because whether they must be text is for the reader of that balancer to say.

use std::io::ErrorKind;
use std::path::Path;

use evenkeel_control::source::{self, Cause, ReadError};

use crate::exit::{Exit, coded};

/// Reads a file; `-` is standard input.
pub(crate) fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = if path == Path::new("-") {
        source::bytes_from(std::io::stdin(), Path::new("standard input"))
    } else {
        source::bytes(path)
    };
    bytes.map_err(|error| unread(&error))
}

/// Reads a file that must be text, such as an evenkeel.toml.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    as_text(path, bytes(path)?)
}

/// The bytes of the file at `path` as text.
pub(crate) fn as_text(path: &Path, bytes: Vec<u8>) -> anyhow::Result<String> {
    source::text(path, bytes).map_err(|error| unread(&error))
}

fn unread(error: &ReadError) -> anyhow::Error {
    let (why, fix) = words(&error.cause);
    // A name is the user's, and may hold what would write lines of its own.
    let name = crate::render::name(&error.path);
    coded(
        Exit::Invalid,
        format!(
            "cannot read the configuration `{name}`: {why}\n  effect: nothing was judged or changed\n  fix: {fix}"
        ),
    )
}

/// Why it cannot be read, and what to do.
fn words(cause: &Cause) -> (String, &'static str) {
    let (why, fix) = match cause {
        Cause::System { kind, text } => match kind {
            ErrorKind::NotFound => (
                "there is no such file",
                "name a file that exists, or `-` for standard input",
            ),
            ErrorKind::PermissionDenied => (
                "this user may not read it",
                "let this user read it, or run the command as a user who may",
            ),
            ErrorKind::IsADirectory => (
                "it is a directory",
                "name the main file in it, such as haproxy.cfg or nginx.conf",
            ),
            _ => (text.as_str(), "see what the system says of it"),
        },
        Cause::Pipe => (
            "it is a named pipe",
            "write `-` and hand the text over on standard input",
        ),
        Cause::TooLarge => {
            let fix = "split it into files that it includes";
            return (cause.to_string(), fix);
        }
        Cause::NotText(_) => return (cause.to_string(), "save it as UTF-8"),
    };
    (why.to_owned(), fix)
}
