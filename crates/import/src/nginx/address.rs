//! Where a backend is reached: `host`, `host:port`, `[v6]:port`, `unix:/path`, with or without a scheme.

use std::net::IpAddr;

use crate::nginx::value;

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Host as written, in brackets for IPv6; `unix:/path` for a socket.
    pub(super) host: String,
    /// Port where one is written.
    pub(super) port: Option<u16>,
    /// Port where none is written; 0: one must be written.
    pub(super) port_default: u16,
}

impl Address {
    /// Reads `text`; the error says in words what is wrong.
    pub(super) fn parse(text: &str, port_default: u16) -> Result<Self, String> {
        if text.len() > "unix:".len() && text.starts_with("unix:") {
            return Ok(Self {
                host: text.to_owned(),
                port: None,
                port_default: 0,
            });
        }
        if text.contains("://") {
            return Err(format!("`{text}` has a scheme, where a host is expected"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let Some((inner, behind)) = rest.split_once(']') else {
                    return Err(format!("`{text}` has no `]`"));
                };
                if !matches!(inner.parse(), Ok(IpAddr::V6(_))) {
                    return Err(format!("`{inner}` is no IPv6 address"));
                }
                let host = text.get(..inner.len() + 2).unwrap_or(text);
                match behind.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if behind.is_empty() => (host, None),
                    None => return Err(format!("`{behind}` follows the address")),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() || host.contains('/') {
            return Err(format!("`{text}` names no host"));
        }
        let port = match port {
            None => None,
            Some(port) => Some(
                value::port(port).ok_or_else(|| format!("`{port}` is no port from 1 to 65535"))?,
            ),
        };
        if port.is_none() && port_default == 0 {
            return Err(format!("`{text}` names no port"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            port_default,
        })
    }

    /// With its port, the default where none is written.
    pub(super) fn full(&self) -> String {
        if self.is_unix() {
            return self.host.clone();
        }
        format!("{}:{}", self.host, self.port.unwrap_or(self.port_default))
    }

    pub(super) fn is_unix(&self) -> bool {
        self.host.starts_with("unix:")
    }

    /// Whether it is a name that stands for as many servers as it has addresses.
    pub(super) fn is_name(&self) -> bool {
        !self.is_unix() && !self.host.starts_with('[') && self.host.parse::<IpAddr>().is_err()
    }
}

/// A target such as `http://app:8080/uri`, by protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    /// Whether TLS is spoken to it.
    pub(super) is_tls: bool,
}

impl Target {
    /// Reads what `protocol`_pass names. The error says in words what is wrong.
    pub(super) fn parse(protocol: &str, is_http: bool, text: &str) -> Result<Self, String> {
        let is_scheme = |scheme: &str| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let (schemes, plain_port): (&[(&str, bool, u16)], u16) = match protocol {
            "proxy" if is_http => (&[("http://", false, 80), ("https://", true, 443)], 0),
            "grpc" => (&[("grpc://", false, 80), ("grpcs://", true, 443)], 80),
            "uwsgi" => (&[("uwsgi://", false, 0), ("suwsgi://", true, 0)], 0),
            _ => (&[], 0),
        };
        let found = schemes.iter().find(|(scheme, ..)| is_scheme(scheme));
        let (rest, is_tls, port) = match found {
            Some((scheme, is_tls, port)) => {
                (text.get(scheme.len()..).unwrap_or(""), *is_tls, *port)
            }
            None if protocol == "proxy" && is_http => {
                return Err(format!(
                    "`{text}` starts with neither `http://` nor `https://`"
                ));
            }
            None => (text, false, plain_port),
        };
        let authority = match rest.strip_prefix("unix:") {
            // A URI may follow a socket behind a colon.
            Some(socket) => {
                let length = socket.find(':').unwrap_or(socket.len());
                rest.get(.."unix:".len() + length).unwrap_or(rest)
            }
            None => rest.split(['/', '?']).next().unwrap_or(rest),
        };
        // A name alone may be a group, which needs no port: whether it does is the caller's to see.
        let is_bare = !authority.starts_with(['[', ':']) && !authority.contains(':');
        let address = if is_bare && !authority.is_empty() {
            Address {
                host: authority.to_owned(),
                port: None,
                port_default: port,
            }
        } else {
            Address::parse(authority, port)?
        };
        Ok(Self { address, is_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Target};

    #[test]
    fn addresses_keep_what_is_written_and_know_the_default_port() {
        let full = |text| Address::parse(text, 80).map(|address| address.full());
        assert_eq!(full("10.0.0.1").as_deref(), Ok("10.0.0.1:80"));
        assert_eq!(full("[::1]:81").as_deref(), Ok("[::1]:81"));
        assert_eq!(full("unix:/run/a.sock").as_deref(), Ok("unix:/run/a.sock"));
        for wrong in [
            "http://a", "a:0", "a:x", ":80", "[::1", "[a]:80", "a:70000", "",
        ] {
            assert!(full(wrong).is_err(), "{wrong}");
        }
        assert!(Address::parse("a", 0).is_err());
    }

    #[test]
    fn targets_end_where_the_uri_starts() {
        let full = |protocol, text| {
            Target::parse(protocol, true, text).map(|t| (t.address.full(), t.is_tls))
        };
        let is = |full: &str, tls| Ok((full.to_owned(), tls));
        assert_eq!(full("proxy", "https://a/b?c"), is("a:443", true));
        assert_eq!(
            full("proxy", "http://unix:/a.sock:/b"),
            is("unix:/a.sock", false)
        );
        assert_eq!(full("grpc", "a:1"), is("a:1", false));
        assert_eq!(full("fastcgi", "unix:/a.sock"), is("unix:/a.sock", false));
        assert!(full("proxy", "a:80").is_err());
    }
}
