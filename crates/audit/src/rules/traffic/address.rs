//! Addresses as they are compared: one spelling for each, without resolving names.

use std::net::{IpAddr, SocketAddr};

/// `address` in its plain spelling: an IPv4 address within IPv6 as itself, a name in lower case, a path without `.`
/// and empty segments (`..` stays: links may lie on the way).
pub(super) fn plain(address: &str) -> String {
    if let Some(address) = parsed(address) {
        return address.to_string();
    }
    match address.split_once('/') {
        Some((scheme, path)) if is_socket(scheme) => {
            let segments = path.split('/').filter(|s| !s.is_empty() && *s != ".");
            let mut plain = scheme.to_ascii_lowercase();
            for segment in segments {
                plain.push('/');
                plain.push_str(segment);
            }
            plain
        }
        Some(_) => address.to_owned(),
        None => address.to_ascii_lowercase(),
    }
}

/// Whether what stands before the first `/` makes the rest a path of a socket.
fn is_socket(scheme: &str) -> bool {
    scheme.is_empty() || matches!(scheme.to_ascii_lowercase().as_str(), "unix:" | "unix@")
}

/// Whether it is an IP address, with or without a port, and not a name.
pub(super) fn is_literal(address: &str) -> bool {
    parsed(address).is_some() || address.parse::<IpAddr>().is_ok()
}

/// IP address and port.
pub(super) fn parsed(address: &str) -> Option<SocketAddr> {
    let address: SocketAddr = address.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::{is_literal, plain};

    #[test]
    fn one_address_in_two_spellings_is_the_same_and_two_are_two() {
        for (one, other) in [
            ("[::ffff:10.0.0.2]:80", "10.0.0.2:80"),
            ("[2001:db8:0::1]:80", "[2001:db8::1]:80"),
            ("unix:/run/./a.sock", "unix:/run/a.sock"),
            ("unix:/run//a.sock", "unix:/run/a.sock"),
            ("App.Internal:80", "app.internal:80"),
        ] {
            assert_eq!(plain(one), plain(other), "{one}");
        }
        for (one, other) in [
            ("10.0.0.2:80", "10.0.0.2:81"),
            ("unix:/run/a.sock", "unix:/run/A.sock"),
            ("unix:/run/x/../a.sock", "unix:/run/a.sock"),
        ] {
            assert_ne!(plain(one), plain(other), "{one}");
        }
        assert!(is_literal("127.0.0.1:80") && is_literal("::1") && !is_literal("app:80"));
    }
}
