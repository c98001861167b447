//! Character classes and small grammars (RFC 9110 5.6, RFC 3986), as tables where they are hot.

use crate::limits::LENGTH_DIGITS_MAX;

const PATH: u8 = 1;
const QUERY: u8 = 2;
const HOST: u8 = 4;
const METHOD: u8 = 8;

/// What each byte may be part of. `%` is in path and query; the escape behind it is checked apart.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0x21u8;
    while byte < 0x7f {
        // Browsers send `{ } | ^ [ ] "` raw in places where RFC 3986 wants them escaped. `#` starts a
        // fragment. `<`, `>` and back-ticks are refused by hyper, `\` is a `/` to some backends.
        let mut class = match byte {
            b'#' | b'<' | b'>' => 0,
            b'"' => PATH,
            b'`' | b'\\' => QUERY,
            _ => PATH | QUERY,
        };
        if byte.is_ascii_alphanumeric() {
            class |= HOST;
        }
        if byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_') {
            class |= METHOD;
        }
        if matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        table[byte as usize] = class;
        byte += 1;
    }
    table
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&b| CLASS[usize::from(b)] & class != 0)
}

/// The methods forwarded here: upper case as every registered one, which is what nginx takes too.
pub(crate) fn is_method(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, METHOD)
}

/// What is wrong with a path or query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathFault {
    Byte,
    Fragment,
    Escape,
}

/// Checks path and query and finds where the path ends (at `?` or at the end).
pub(crate) fn check_path(bytes: &[u8]) -> Result<usize, PathFault> {
    let mut path_end = bytes.len();
    let mut class = PATH;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if CLASS[usize::from(byte)] & class == 0 {
            return Err(if byte == b'#' {
                PathFault::Fragment
            } else {
                PathFault::Byte
            });
        }
        if byte == b'%' {
            match (bytes.get(at + 1), bytes.get(at + 2)) {
                (Some(b'0'), Some(b'0')) => return Err(PathFault::Escape),
                (Some(h), Some(l)) if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => at += 2,
                _ => return Err(PathFault::Escape),
            }
        } else if byte == b'?' && class == PATH {
            path_end = at;
            class = QUERY;
        }
        at += 1;
    }
    Ok(path_end)
}

/// Checks `host [":" port]` and returns where the host ends. Empty hosts are refused: no http URI
/// has one (RFC 9110 4.2.1).
pub(crate) fn check_authority(bytes: &[u8]) -> Option<usize> {
    let host_end = if bytes.first() == Some(&b'[') {
        let close = bytes.iter().position(|&b| b == b']')?;
        let literal = std::str::from_utf8(bytes.get(1..close)?).ok()?;
        literal.parse::<std::net::Ipv6Addr>().ok()?;
        close + 1
    } else {
        let end = bytes
            .iter()
            .position(|&b| CLASS[usize::from(b)] & HOST == 0)
            .unwrap_or(bytes.len());
        if end == 0 {
            return None;
        }
        end
    };
    let rest = bytes.get(host_end..)?;
    let Some((&first, port)) = rest.split_first() else {
        return Some(host_end);
    };
    let number = port.iter().try_fold(0u32, |n, &b| {
        let n = n * 10 + u32::from(b.is_ascii_digit().then(|| b - b'0')?);
        (n <= 65_535).then_some(n)
    });
    (first == b':' && port.len() <= 5 && number.is_some()).then_some(host_end)
}

/// A decimal number of 1 to 18 digits, nothing else: no sign, blank, list or point.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    bytes.iter().try_fold(0u64, |n, &b| {
        b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0'))
    })
}

/// Members of a comma-separated list without the blanks around them; empty members stay visible.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim)
}

/// Without SP and TAB at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
