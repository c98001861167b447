//! A configuration as it lies on disk or comes on standard input: of bounded size, never waited for, and with words that
//! help where it cannot be read.
//!
//! Bytes, because whether they must be text is for the reader of that balancer to say.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use evenkeel_control::source::SIZE_MAX;

use crate::exit::{Exit, coded};

/// Reads a file; `-` is standard input.
pub(crate) fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        return all(std::io::stdin(), Path::new("standard input"));
    }
    // Opening a named pipe that nobody writes to would wait for ever. Those of a shell's `<(...)` have a writer.
    let is_pipe = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
    if is_pipe && !path.starts_with("/dev") && !path.starts_with("/proc") {
        let fix = "write `-` and hand the text over on standard input";
        return Err(unread(path, "it is a named pipe", fix));
    }
    let file = fs::File::open(path).map_err(|error| failed(path, &error))?;
    all(file, path)
}

/// Reads a file that must be text, such as an evenkeel.toml.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    as_text(path, bytes(path)?)
}

/// The bytes of the file at `path` as text.
pub(crate) fn as_text(path: &Path, bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let fix = "save it as UTF-8";
        unread(path, &format!("byte {at} is not UTF-8"), fix)
    })
}

fn all(input: impl Read, path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The size that the system tells is not asked: a device or a pipe has none.
    let mut input = input.take(SIZE_MAX + 1);
    input
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, &error))?;
    if bytes.len() as u64 > SIZE_MAX {
        let why = format!("it is larger than {SIZE_MAX} bytes, the most that is read");
        return Err(unread(path, &why, "split it into files that it includes"));
    }
    Ok(bytes)
}

fn failed(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let (why, fix) = match error.kind() {
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
        _ => return unread(path, &error.to_string(), "see what the system says of it"),
    };
    unread(path, why, fix)
}

fn unread(path: &Path, why: &str, fix: &str) -> anyhow::Error {
    // A name is the user's, and may hold what would write lines of its own.
    let name = crate::render::name(path);
    coded(
        Exit::Invalid,
        format!(
            "cannot read the configuration `{name}`: {why}\n  effect: nothing was judged or changed\n  fix: {fix}"
        ),
    )
}
