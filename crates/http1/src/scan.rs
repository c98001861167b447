//! Where a head may start and end in a growing buffer, without parsing it anew at every byte.
//!
//! A peer that sends one byte at a time would otherwise cost a full parse per byte. The first
//! attempt always parses, so that garbage is refused at once; later ones only when an end of head
//! arrived, the buffer doubled, or the limit is reached.

/// What was already looked at of a head that is not complete.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Progress {
    tried: usize,
}

impl Progress {
    /// Whether a parse of `window` can say more than the last one did.
    pub(crate) fn worth_parsing(self, window: &[u8], full: bool) -> bool {
        if self.tried == 0 || window.len() < self.tried || full {
            return true;
        }
        window.len() >= self.tried.saturating_mul(2)
            || has_head_end(
                window
                    .get(self.tried.saturating_sub(3)..)
                    .unwrap_or_default(),
            )
    }

    pub(crate) fn tried(&mut self, window: &[u8]) {
        self.tried = window.len();
    }

    pub(crate) fn reset(&mut self) {
        self.tried = 0;
    }
}

/// Whether an empty line is in `bytes`, ended by CRLF or by LF alone (which the parser refuses).
fn has_head_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&b| b == b'\n') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return true;
        }
    }
    false
}

/// What stands before a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// The line starts after this many bytes.
    Line(usize),
    NeedMore,
    BareLineEnd,
    BlankLines,
}

/// Skips at most one CRLF (RFC 9112 2.2 asks for at least one; old clients send it after a body).
pub(crate) fn lead(buf: &[u8]) -> Lead {
    match buf {
        [] | [b'\r'] | [b'\r', b'\n'] => Lead::NeedMore,
        [b'\r', b'\n', b'\r' | b'\n', ..] => Lead::BlankLines,
        [b'\r', b'\n', ..] => Lead::Line(2),
        [b'\r' | b'\n', ..] => Lead::BareLineEnd,
        _ => Lead::Line(0),
    }
}

/// A first line whose version the tokenizer does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OddVersion {
    /// The line is not complete yet.
    NeedMore,
    /// HTTP/1.2 to HTTP/1.9; the minor digit stands here.
    Minor(usize),
    /// Another major version.
    Major,
    Malformed,
}

/// Looks at the version at the end of the request line that starts at `start`.
pub(crate) fn odd_version(buf: &[u8], start: usize) -> OddVersion {
    let line = buf.get(start..).unwrap_or_default();
    let Some(end) = line.iter().position(|&b| b == b'\n') else {
        return OddVersion::NeedMore;
    };
    let line = line.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let word = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
    match word {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {
            OddVersion::Minor(start + line.len() - 1)
        }
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'1'] => OddVersion::Malformed,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => OddVersion::Major,
        _ => OddVersion::Malformed,
    }
}
