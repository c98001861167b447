//! Who the client is, as told to the backend: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`.
//!
//! The text is made once per client connection; a request only adds its host to it. What a client
//! says about itself in these fields is dropped unless the listener stands behind a trusted proxy.

use std::net::IpAddr;

use crate::request::Version;

/// What to do with forwarding fields that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Drop them: anybody can write them. Right for a listener at the edge.
    #[default]
    Replace,
    /// Append to `X-Forwarded-For` and `Forwarded`, keep `X-Forwarded-Proto` and `-Host` if
    /// given. Only right behind a proxy that replaces them itself.
    Append,
}

/// How the client reached the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn text(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Forwarding text of one client connection.
#[derive(Debug, Clone)]
pub struct ClientFields {
    pub(crate) trust: Trust,
    pub(crate) scheme: Scheme,
    /// The address as in `X-Forwarded-For`; empty for a Unix socket.
    pub(crate) address: String,
    /// `for=..;proto=..`
    pub(crate) element: String,
    pub(crate) via_10: String,
    pub(crate) via_11: String,
    /// All lines that do not depend on the request, for a client that sent none of them.
    pub(crate) block: String,
}

impl ClientFields {
    /// `client` is the peer's address, `None` for a Unix socket; `pseudonym` is the name in `Via`
    /// (a token; other bytes are left out).
    pub fn new(
        client: Option<IpAddr>,
        scheme: Scheme,
        trust: Trust,
        pseudonym: &str,
    ) -> ClientFields {
        let canonical = client.map(|ip| ip.to_canonical());
        let address = canonical.map(|ip| ip.to_string()).unwrap_or_default();
        let node = match canonical {
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            None => "unknown".to_owned(),
        };
        let proto = scheme.text();
        let name: String = pseudonym
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
            .collect();
        let for_line = if address.is_empty() {
            String::new()
        } else {
            format!("X-Forwarded-For: {address}\r\n")
        };
        let element = format!("for={node};proto={proto}");
        ClientFields {
            trust,
            scheme,
            block: format!("{for_line}X-Forwarded-Proto: {proto}\r\nForwarded: {element}"),
            element,
            address,
            via_10: format!("Via: 1.0 {name}\r\n"),
            via_11: format!("Via: 1.1 {name}\r\n"),
        }
    }

    /// The same client, whose requests come by HTTP/2 and are written in the form of HTTP/1.1 for who reads them here.
    pub fn over_http2(mut self) -> ClientFields {
        self.via_11 = self.via_11.replace("Via: 1.1 ", "Via: 2.0 ");
        self
    }

    /// The address as in `X-Forwarded-For`; empty for a Unix socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How the client reached the listener.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn via(&self, received: Version) -> &str {
        match received {
            Version::Http10 => &self.via_10,
            Version::Http11 => &self.via_11,
        }
    }
}
