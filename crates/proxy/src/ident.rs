//! Who a request is from and what it is called.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::ops::Range;

use evenkeel_balance::digest;
use evenkeel_http1::RequestHead;
use evenkeel_model::config::{HashKey, Session};

use crate::stream::Peer;

/// Name of the request id header, lower case.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// A longer id of a client is replaced.
const REQUEST_ID_MAX: usize = 128;

/// The id of a request: the client's when it is sane, else our own, 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// Where it stands in the request head.
    Given(Range<usize>),
    Own([u8; 32]),
}

impl RequestId {
    /// Our own: random per process, then unique in the process.
    pub(crate) fn own(prefix: u64, number: u64) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let whole = (u128::from(prefix) << 64) | u128::from(number);
        let mut text = [b'0'; 32];
        for (index, digit) in text.iter_mut().enumerate() {
            let nibble = (whole >> (124 - 4 * index)) & 0xf;
            *digit = HEX.get(nibble as usize).copied().unwrap_or(b'0');
        }
        Self::Own(text)
    }

    /// The id as it is sent and logged.
    pub(crate) fn bytes<'a>(&'a self, head: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Given(range) => head.get(range.clone()).unwrap_or_default(),
            Self::Own(text) => text,
        }
    }
}

/// Whether a client's id may be passed on: short, and nothing that could break a log or a header.
pub(crate) fn is_sane_id(id: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:=+/@".contains(b);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(allowed)
}

/// Keyed hash of the user behind a request: the session cookie's value where the pool names one and the request has
/// it, else the client's address.
pub(crate) fn client_hash<'a>(
    keys: &RandomState,
    session: &Session,
    cookies: impl Iterator<Item = &'a [u8]>,
    peer: Peer,
) -> u64 {
    if let Session::Cookie(name) = session {
        for header in cookies {
            if let Some(value) = cookie(header, name.as_bytes()) {
                return keys.hash_one((1u8, value));
            }
        }
    }
    match peer {
        Peer::Ip(ip) => keys.hash_one((2u8, ip)),
        Peer::Unix => keys.hash_one(3u8),
    }
}

/// What the hash of a pool knows a request by; `None`: the request has no such value, or an empty one.
pub(crate) fn hash_key(key: &HashKey, head: &RequestHead, text: &[u8], peer: Peer) -> Option<u64> {
    let value = match key {
        HashKey::Header(name) => head.field(text, name)?,
        HashKey::Cookie(name) => {
            let mut cookies = head.values(text, "cookie");
            cookies.find_map(|header| cookie(header, name.as_bytes()))?
        }
        HashKey::Query(name) => parameter(head.query(text)?, name)?.as_bytes(),
        HashKey::Path => head.path(text).as_bytes(),
        HashKey::ClientAddress => {
            return match peer {
                Peer::Ip(IpAddr::V4(ip)) => Some(digest::key(&ip.octets())),
                Peer::Ip(IpAddr::V6(ip)) => Some(digest::key(&ip.octets())),
                Peer::Unix => None,
            };
        }
    };
    (!value.is_empty()).then(|| digest::key(value))
}

/// The value of parameter `name` in a query.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The value of cookie `name` in a Cookie header.
pub(crate) fn cookie<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header.split(|b| *b == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        (!value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::{RequestId, client_hash, is_sane_id};
    use crate::stream::Peer;
    use evenkeel_model::config::Session;
    use std::hash::RandomState;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn own_ids_are_hexadecimal_and_differ() {
        let id = RequestId::own(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(id.bytes(&[]), b"0123456789abcdeffedcba9876543210");
        assert_ne!(RequestId::own(1, 2), RequestId::own(1, 3));
    }

    #[test]
    fn an_id_that_could_break_a_log_is_not_taken_over() {
        assert!(is_sane_id(b"abc-123_4.5:6=/+@"));
        let long = [b'a'; 129];
        for id in [&b""[..], b"a b", b"a\"", b"a\\", b"\xc3\xa4", &long] {
            assert!(!is_sane_id(id), "{id:?}");
        }
    }

    #[test]
    fn a_user_is_the_session_cookie_and_else_the_address() {
        let keys = RandomState::new();
        let sid = Session::Cookie("sid".to_owned());
        let peer = |n| Peer::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
        let hash = |cookie: &'static str, n| {
            client_hash(&keys, &sid, [cookie.as_bytes()].into_iter(), peer(n))
        };
        assert_eq!(hash("a=1; sid=x", 1), hash("sid=x; b=2", 2));
        assert_ne!(hash("sid=x", 1), hash("sid=y", 1));
        assert_ne!(hash("xsid=x", 1), hash("xsid=x", 2));
        assert_eq!(hash("other=1", 1), hash("sid=", 1));
        let address = Session::ClientAddress;
        let by_address = |n| client_hash(&keys, &address, std::iter::empty(), peer(n));
        assert_eq!(by_address(1), by_address(1));
        assert_ne!(by_address(1), by_address(2));
    }
}
