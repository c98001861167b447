//! A change of protocol on the same connection (RFC 9110 7.8): what is asked for and what may be passed on.
//!
//! Exactly one protocol goes to the backend, in the client's spelling, and only a 101 that names just that one makes a
//! tunnel. Another version of HTTP is never passed on: behind a tunnel the requests of one client would go to one
//! backend unseen, past every route and limit.

use crate::request::RequestHead;
use crate::syntax;

/// Protocols that a client may list; of a longer list only these are looked at.
const OFFERS_MAX: usize = 16;

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `text` is the name of a protocol as `Upgrade` has it: a token, or two with a slash (`websocket`,
/// `SPDY/3.1`).
pub fn is_protocol(text: &str) -> bool {
    let mut parts = text.split('/');
    let good = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
    parts.by_ref().take(2).all(good) && parts.next().is_none()
}

/// Whether a protocol of this name may be passed on at all: HTTP itself and TLS may not, under no name.
pub fn may_tunnel(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    let never = ["h2c", "h2", "h3", "http", "tls"];
    !never.iter().any(|other| other.eq_ignore_ascii_case(name))
}

impl RequestHead {
    /// The first protocol that the client asks for and that `allows` lets through, as the client wrote it. `None`
    /// where it asks for none: the request is then one like any other.
    pub fn upgrade_to<'a>(&self, buf: &'a [u8], allows: impl Fn(&str) -> bool) -> Option<&'a str> {
        if !self.upgrade {
            return None;
        }
        let lines = self.fields.spans("upgrade", buf).map(|span| span.of(buf));
        let offers = lines.flat_map(syntax::members).take(OFFERS_MAX);
        offers
            .filter_map(|offer| std::str::from_utf8(offer).ok())
            .find(|offer| is_protocol(offer) && may_tunnel(offer) && allows(offer))
    }
}

/// Whether `named` is `offered` and nothing else.
pub(crate) fn names_only<'a>(mut named: impl Iterator<Item = &'a [u8]>, offered: &str) -> bool {
    let is_first = |name: &[u8]| name.eq_ignore_ascii_case(offered.as_bytes());
    named.next().is_some_and(is_first) && named.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{is_protocol, may_tunnel};

    #[test]
    fn a_protocol_is_a_token_with_at_most_one_version() {
        for good in ["websocket", "SPDY/3.1", "tcp", "x-y_z"] {
            assert!(is_protocol(good), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a/b/c", "a b", "a,b", "a\r\nb", "\u{e9}",
        ] {
            assert!(!is_protocol(bad), "{bad}");
        }
    }

    #[test]
    fn no_other_http_may_be_tunnelled_to() {
        for never in ["h2c", "H2C", "HTTP/2.0", "http/1.1", "TLS/1.0", "h2", "h3"] {
            assert!(!may_tunnel(never), "{never}");
        }
        assert!(may_tunnel("websocket") && may_tunnel("httpx"));
    }
}
