//! Version 2: 16 bytes of signature, command, family and length, then addresses and extensions (TLVs).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::checksum::crc32c;
use crate::{HEADER_MAX, Refusal, Step, Told};

/// What a header begins with: no other protocol does.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the length of the rest.
const FIXED: usize = 16;
/// Type and length of an extension.
const TLV_HEAD: usize = 3;
/// The extension that carries a CRC-32C of the whole header.
const TYPE_CRC32C: u8 = 0x03;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Reads the header at the start of `bytes`, of which all that there is of [`SIGNATURE`] has been seen.
pub(crate) fn read(bytes: &[u8]) -> Result<Step, Refusal> {
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Step::Need(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let addresses = address_length(command, family)?;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_MAX {
        return Err(Refusal::TooLong);
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(Step::Need(length - bytes.len()));
    };
    let told = match command {
        PROXY => {
            let rest = header.get(FIXED..).unwrap_or_default();
            extensions(header, FIXED + addresses)?;
            client(family, rest)
        }
        _ => Told::Nothing,
    };
    Ok(Step::Done { told, length })
}

/// The length of the addresses of a family, if everything in these two bytes is assigned.
fn address_length(command: u8, family: u8) -> Result<usize, Refusal> {
    let is_assigned = matches!(command, LOCAL | PROXY) && matches!(family & 0x0f, 0..=2);
    match family >> 4 {
        _ if !is_assigned => Err(Refusal::Unassigned),
        0 => Ok(0),
        1 => Ok(12),
        2 => Ok(36),
        3 => Ok(216),
        _ => Err(Refusal::Unassigned),
    }
}

/// The source of a stream over IP.
fn client(family: u8, addresses: &[u8]) -> Told {
    let port = |at: usize| {
        let bytes = addresses.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    match family {
        0x11 => addresses.first_chunk::<4>().map_or(Told::Nothing, |ip| {
            Told::Client(SocketAddr::new(Ipv4Addr::from(*ip).into(), port(8)))
        }),
        0x21 => addresses.first_chunk::<16>().map_or(Told::Nothing, |ip| {
            Told::Client(SocketAddr::new(Ipv6Addr::from(*ip).into(), port(32)))
        }),
        _ => Told::Nothing,
    }
}

/// Walks the extensions, which begin at `at`.
fn extensions(header: &[u8], mut at: usize) -> Result<(), Refusal> {
    while at != header.len() {
        let rest = header.get(at..).ok_or(Refusal::Cut)?;
        let [kind, high, low] = *rest.first_chunk::<TLV_HEAD>().ok_or(Refusal::Cut)?;
        let value = at + TLV_HEAD;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        let content = header.get(value..end).ok_or(Refusal::Cut)?;
        if kind == TYPE_CRC32C && !fits(header, value, content) {
            return Err(Refusal::Checksum);
        }
        at = end;
    }
    Ok(())
}

/// Whether the checksum that stands at `at` is that of the header with zeros in its place.
fn fits(header: &[u8], at: usize, content: &[u8]) -> bool {
    let Ok(told) = <[u8; 4]>::try_from(content) else {
        return false;
    };
    let bytes = header.iter().enumerate();
    let blanked = bytes.map(|(i, byte)| if (at..at + 4).contains(&i) { 0 } else { *byte });
    crc32c(blanked) == u32::from_be_bytes(told)
}
