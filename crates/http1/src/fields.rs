//! The fields of one head as offsets, and what `Connection` says about them.
//!
//! Offsets and not slices so that the table can be kept and reused beside the buffer it speaks of.
//! The table also remembers which lines are handed on; they are copied in runs, not one by one.

use crate::names::{self, Known};
use crate::syntax;

/// Members of `Connection` looked at, over all its lines; a head with more is refused as malformed.
const OPTIONS_MAX: usize = 64;

/// A range of the head's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes meant; empty if `buf` is not the buffer that was parsed.
    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The same as text, for ranges that were checked to be ASCII.
    pub(crate) fn text(self, buf: &[u8]) -> &str {
        std::str::from_utf8(self.of(buf)).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// End of the line, CRLF included.
    pub(crate) line_end: u32,
    pub(crate) known: Known,
    /// Whether the line is handed on as it came.
    pub(crate) keep: bool,
}

/// A line that does not end with CRLF, or does not start where the last one ended.
#[derive(Debug)]
pub(crate) struct BareLineEnd;

#[derive(Debug, Default)]
pub(crate) struct Fields {
    list: Vec<Field>,
}

/// What all `Connection` lines say together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    pub(crate) too_many: bool,
}

impl Fields {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Field> {
        self.list.iter_mut()
    }

    /// Takes over what httparse found in `src` between `start` (first byte behind the first line)
    /// and `end` (first byte behind the head), and proves that every line ends with CRLF, which
    /// httparse does not ask for.
    pub(crate) fn fill(
        &mut self,
        headers: &[httparse::Header<'_>],
        src: &[u8],
        start: usize,
        end: usize,
    ) -> Result<(), BareLineEnd> {
        self.list.clear();
        let base = src.as_ptr().addr();
        let mut line = start;
        for header in headers {
            let name = header.name.as_ptr().addr().wrapping_sub(base);
            let name_end = name + header.name.len();
            // An empty value has no address worth trusting.
            let value = if header.value.is_empty() {
                name_end + 1
            } else {
                header.value.as_ptr().addr().wrapping_sub(base)
            };
            let value_end = value + header.value.len();
            let mut at = value_end;
            while let Some(b' ' | b'\t') = src.get(at) {
                at += 1;
            }
            if name != line || src.get(at..at + 2) != Some(b"\r\n") {
                return Err(BareLineEnd);
            }
            line = at + 2;
            self.list.push(Field {
                name: Span::new(name, name_end),
                value: Span::new(value, value_end),
                line_end: line as u32,
                known: names::classify(header.name.as_bytes()),
                keep: true,
            });
        }
        if src.get(line..end) == Some(b"\r\n") {
            Ok(())
        } else {
            Err(BareLineEnd)
        }
    }

    /// Reads every `Connection` line and marks the fields it lists as not handed on.
    pub(crate) fn apply_connection(&mut self, buf: &[u8]) -> Connection {
        let mut said = Connection::default();
        let mut seen = 0;
        for at in 0..self.list.len() {
            let Some(field) = self.list.get(at).copied() else {
                break;
            };
            if field.known != Known::Connection {
                continue;
            }
            for option in syntax::members(field.value.of(buf)) {
                seen += 1;
                if seen > OPTIONS_MAX {
                    said.too_many = true;
                    return said;
                }
                if option.eq_ignore_ascii_case(b"close") {
                    said.close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    said.keep_alive = true;
                } else if names::may_be_listed(option) {
                    said.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    self.drop_named(option, buf);
                }
            }
        }
        said
    }

    fn drop_named(&mut self, name: &[u8], buf: &[u8]) {
        for field in &mut self.list {
            if field.known != Known::Connection && field.name.of(buf).eq_ignore_ascii_case(name) {
                field.keep = false;
                // A listed forwarding field is not evidence either: it is not appended to.
                field.known = Known::Other;
            }
        }
    }

    /// Appends the lines that are handed on, except those named in `strip`.
    pub(crate) fn write_kept(&self, out: &mut Vec<u8>, buf: &[u8], strip: &[&str]) {
        let mut run = Span::default();
        for field in &self.list {
            let keep = field.keep
                && !strip
                    .iter()
                    .any(|s| s.as_bytes().eq_ignore_ascii_case(field.name.of(buf)));
            if !keep {
                continue;
            }
            if run.end == field.name.start {
                run.end = field.line_end;
            } else {
                out.extend_from_slice(run.of(buf));
                run = Span {
                    start: field.name.start,
                    end: field.line_end,
                };
            }
        }
        out.extend_from_slice(run.of(buf));
    }

    /// Name and value of every field, in order, as received.
    pub(crate) fn pairs<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.list
            .iter()
            .map(move |f| (f.name.text(buf), f.value.of(buf)))
    }

    /// Places of the values of one field, in order.
    pub(crate) fn spans(&self, name: &str, buf: &[u8]) -> impl Iterator<Item = Span> {
        self.list
            .iter()
            .filter(move |f| f.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
            .map(|f| f.value)
    }

    /// Values of one field, in order.
    pub(crate) fn values<'a>(
        &'a self,
        buf: &'a [u8],
        name: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.list
            .iter()
            .filter(move |f| f.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
            .map(move |f| f.value.of(buf))
    }
}
