//! Addresses as other balancers write them, as Evenkeel's: an IP address with a port, or a Unix socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel_model::setup::Balancer;

use super::Addresses;

/// Longest path of a Unix socket, as the parser accepts it.
const UNIX_PATH_MAX: usize = 107;

/// Why an address could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stays {
    /// It is a host name, and nobody gave its address.
    Name(String),
    /// Anything else.
    Form,
}

/// Where clients connect: `127.0.0.1:80`, `*:80`, `:80`, `80`, `[::]:80`, `unix:/path`, `/path`.
pub(super) fn listen(text: &str, addresses: &Addresses) -> Result<String, Stays> {
    let text = family(text);
    if let Some(path) = unix(text) {
        return path;
    }
    if let Some(port) = port(text) {
        return Ok(socket(Ipv4Addr::UNSPECIFIED.into(), port));
    }
    let (host, port_text) = text.rsplit_once(':').ok_or(Stays::Form)?;
    let port = port(port_text).ok_or(Stays::Form)?;
    if matches!(host, "" | "*") {
        return Ok(socket(Ipv4Addr::UNSPECIFIED.into(), port));
    }
    if host == "::" {
        return Ok(socket(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    reach(host, port, addresses)
}

/// Where a backend is reached.
pub(super) fn backend(
    text: &str,
    balancer: Balancer,
    addresses: &Addresses,
) -> Result<String, Stays> {
    let text = family(text);
    if let Some(path) = unix(text) {
        return path;
    }
    let bare = text.parse::<IpAddr>().is_ok() || !text.contains(':');
    let (host, port_text) = match text.rsplit_once(':') {
        Some((host, port)) if !bare => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port_text {
        Some(text) => port(text).filter(|port| *port > 0).ok_or(Stays::Form)?,
        // nginx takes port 80 where none stands; the others need one.
        None if balancer == Balancer::Nginx => 80,
        None => return Err(Stays::Form),
    };
    reach(host, port, addresses)
}

fn reach(host: &str, port: u16, addresses: &Addresses) -> Result<String, Stays> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = plain.parse::<IpAddr>() {
        return Ok(socket(ip, port));
    }
    if let Some(ip) = addresses.get(host) {
        return Ok(socket(*ip, port));
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(socket(Ipv4Addr::LOCALHOST.into(), port));
    }
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    Err(if is_name {
        Stays::Name(host.to_owned())
    } else {
        Stays::Form
    })
}

fn socket(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// HAProxy's `ipv4@`, `ipv6@` and `unix@` in front.
fn family(text: &str) -> &str {
    let prefixes = ["ipv4@", "ipv6@", "tcp4@", "tcp6@", "tcp@"];
    prefixes
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text)
}

fn unix(text: &str) -> Option<Result<String, Stays>> {
    let path = ["unix@", "unix:"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .or_else(|| text.starts_with('/').then_some(text))?;
    let fits = path.starts_with('/') && path.len() <= UNIX_PATH_MAX && !path.contains(['\0', ':']);
    Some(fits.then(|| format!("unix:{path}")).ok_or(Stays::Form))
}
