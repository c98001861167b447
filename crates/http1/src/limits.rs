//! Bounds of one message. Every length that a peer chooses is held against one of these.

/// Bytes that a method may have; longer ones are refused with 501.
pub(crate) const METHOD_MAX: usize = 32;
/// Upper end of [`Limits::fields_max`]: the parser's table on the stack has this many rows.
pub(crate) const FIELDS_MAX: usize = 100;
/// Fields that one trailer section may have.
pub(crate) const TRAILERS_MAX: usize = 32;
/// Bytes of chunk extensions that one body may carry in total; they cost work and mean nothing.
pub(crate) const EXTENSIONS_MAX: usize = 16 * 1024;
/// Chunk sizes stay below this: larger ones only occur in attacks on integer arithmetic.
pub(crate) const CHUNK_MAX: u64 = 1 << 60;
/// Digits a `Content-Length` may have: 18 always fit a `u64`.
pub(crate) const LENGTH_DIGITS_MAX: usize = 18;

/// What one connection accepts. The defaults are those of the peers (16 KiB heads, 100 fields).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from the first byte of the request or status line to its empty line.
    /// Offsets are kept in 32 bits: values above 16 MiB count as 16 MiB.
    pub head_max: usize,
    /// Fields of a head; at most 100 whatever is set here.
    pub fields_max: usize,
    /// Bytes of a request target.
    pub target_max: usize,
    /// Bytes of one chunk-size line, extensions included, line end not.
    pub chunk_line_max: usize,
    /// Bytes of a trailer section.
    pub trailer_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_max: 16 * 1024,
            fields_max: FIELDS_MAX,
            target_max: 8 * 1024,
            chunk_line_max: 4 * 1024,
            trailer_max: 8 * 1024,
        }
    }
}

impl Limits {
    /// The head bound in effect.
    pub(crate) fn head_bound(&self) -> usize {
        self.head_max.min(16 * 1024 * 1024)
    }
}
