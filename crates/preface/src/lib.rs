//! The PROXY protocol, versions 1 and 2: the header by which a proxy in front says, before the first byte of a
//! connection, who its client is. Specification: `proxy-protocol.txt` of HAProxy, 2020/03/05.
//!
//! [`read`] is asked again with every piece that arrives and says how many bytes more belong to the header for sure.
//! Who reads no more than that never holds a byte of what follows, so the reader of what follows (TLS, HTTP) can take
//! the socket as it is. The price is a few short reads per connection, of which only this protocol pays.
//!
//! Strict where two readers could read differently: numbers have no leading zeros, lines end with CR LF, a value that the
//! specification does not assign is refused. Lenient where it asks for that: what is no stream over IPv4 or IPv6 says
//! nothing about the client. Extensions (TLVs) are walked and skipped, except for the checksum, which is verified;
//! [`HEADER_MAX`] bounds them.

mod checksum;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use v1::LINE_MAX;

/// Longest header of version 2, with its extensions. The specification asks for 536 at least.
pub const HEADER_MAX: usize = 4_096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The client of the proxy in front, as that one sees it.
    Client(SocketAddr),
    /// Nothing (`UNKNOWN`, `LOCAL`, no stream over IP): the proxy in front speaks for itself, as in a check of its own.
    Nothing,
}

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// At least so many bytes more belong to it; never 0.
    Need(usize),
    /// It is whole.
    Done {
        /// What it says.
        told: Told,
        /// Its length in bytes; what follows is not part of it.
        length: usize,
    },
}

/// Why a connection does not begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It begins with something else.
    #[error("it begins with neither form of a PROXY protocol header")]
    NoHeader,
    /// Version 1: the line is longer than any that is well formed.
    #[error("the line is longer than {LINE_MAX} bytes")]
    LineTooLong,
    /// Version 1: not the parts that belong into the line, or a part with another spelling than the one that it has.
    #[error("the line does not have the form of version 1")]
    Line,
    /// Version 2: a version, command, family or transport that is not assigned.
    #[error("the version, command, family or transport is not assigned")]
    Unassigned,
    /// Version 2: longer than [`HEADER_MAX`].
    #[error("the header is longer than {HEADER_MAX} bytes")]
    TooLong,
    /// Version 2: the addresses or an extension reach beyond the end of the header.
    #[error("the addresses or an extension reach beyond the end of the header")]
    Cut,
    /// Version 2: the checksum is another one.
    #[error("the checksum does not fit")]
    Checksum,
}

/// Reads the header at the start of `bytes`.
pub fn read(bytes: &[u8]) -> Result<Step, Refusal> {
    if bytes.is_empty() {
        return Ok(Step::Need(v1::LINE_MIN));
    }
    if begins(bytes, &v2::SIGNATURE) {
        v2::read(bytes)
    } else if begins(bytes, v1::START) {
        v1::read(bytes)
    } else {
        Err(Refusal::NoHeader)
    }
}

/// Whether `bytes` begins with `start`, as far as it goes.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}
