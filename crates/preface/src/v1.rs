//! Version 1: one line of text, `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443` and CR LF.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::{Refusal, Step, Told};

/// What a line begins with.
pub(crate) const START: &[u8] = b"PROXY ";
/// Longest line, CR LF included.
pub const LINE_MAX: usize = 107;
/// `PROXY UNKNOWN` and CR LF: no line is shorter.
pub(crate) const LINE_MIN: usize = 15;
/// Blanks of a line with addresses.
const BLANKS: usize = 5;

/// Reads the line at the start of `bytes`, of which all that there is of [`START`] has been seen.
pub(crate) fn read(bytes: &[u8]) -> Result<Step, Refusal> {
    let line = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let Some(cr) = line.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
        return need(line);
    };
    match (line.get(cr), line.get(cr + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) => return need(line),
        _ => return Err(Refusal::Line),
    }
    let text = line.get(START.len()..cr).unwrap_or_default();
    let told = parts(text).ok_or(Refusal::Line)?;
    let length = cr + 2;
    Ok(Step::Done { told, length })
}

/// The fewest bytes with which the line could end.
fn need(line: &[u8]) -> Result<Step, Refusal> {
    if line.len() < LINE_MIN {
        return Ok(Step::Need(LINE_MIN - line.len()));
    }
    if line.len() >= LINE_MAX {
        return Err(Refusal::LineTooLong);
    }
    if line.ends_with(b"\r") {
        return Ok(Step::Need(1));
    }
    let blanks = line.split(|b| *b == b' ').skip(1).count();
    let is_unknown = line.starts_with(b"PROXY UNKNOWN");
    // Each part that is still to come is a blank and one byte at least.
    let parts = if is_unknown {
        0
    } else {
        BLANKS.saturating_sub(blanks)
    };
    Ok(Step::Need((2 * parts + 2).min(LINE_MAX - line.len())))
}

fn parts(text: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(' ');
    let client = match parts.next()? {
        // What follows is to be ignored.
        "UNKNOWN" => return Some(Told::Nothing),
        "TCP4" => ends::<Ipv4Addr>(&mut parts)?,
        "TCP6" => ends::<Ipv6Addr>(&mut parts)?,
        _ => return None,
    };
    parts.next().is_none().then_some(Told::Client(client))
}

/// Source and destination; the source is what is asked for, the destination must be well formed.
fn ends<'a, A: FromStr + Into<IpAddr>>(
    parts: &mut impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let source: A = parts.next()?.parse().ok()?;
    let _destination: A = parts.next()?.parse().ok()?;
    let source_port = port(parts.next()?)?;
    let _destination_port = port(parts.next()?)?;
    Some(SocketAddr::new(source.into(), source_port))
}

fn port(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}
