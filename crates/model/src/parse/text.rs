//! Texts with a form of their own: addresses, hosts, paths, statuses.
//!
//! What is accepted here ends up in request heads and socket calls, so each form is narrow on purpose.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::typed::Expected;
use crate::config::Address;

/// Longest path of a Unix socket: `sun_path` holds 108 bytes with its end mark (unix(7)).
const UNIX_PATH_MAX: usize = 107;

/// Longest host name (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;

/// Longest request path of a check or a route.
const PATH_MAX: usize = 1_024;

/// `127.0.0.1:8080`, `[::1]:8080` or `unix:/path`.
pub(super) fn address(text: &str) -> Result<Address, Expected> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') || path.len() > UNIX_PATH_MAX || path.contains('\0') {
            return Err(Expected::new(
                format!("`unix:` with an absolute path of at most {UNIX_PATH_MAX} bytes"),
                "write `unix:/run/shop.sock`",
            ));
        }
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    socket(text).map(Address::Tcp)
}

/// IP and port; names are resolved for members only.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Expected> {
    text.parse()
        .map_err(|_not_an_address| Expected::new("an IP address with a port", socket_fix(text)))
}

fn socket_fix(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return format!(
            "leave the scheme and the path out: \"{}\"",
            super::reader::clip(host)
        );
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let example = SocketAddr::new(ip, 8080);
        return format!("add the port: \"{example}\"");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let port = port
        .parse::<u16>()
        .map_or_else(|_no_port| "8080".to_owned(), |port| port.to_string());
    if host == "localhost" {
        return format!("write \"127.0.0.1:{port}\": names are not resolved here");
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return format!("put brackets around the IPv6 address: \"[{host}]:{port}\"");
    }
    if host.bytes().any(|b| b.is_ascii_alphabetic()) {
        return format!(
            "write the IP address behind `{host}`, such as \"10.0.0.5:{port}\"; names are resolved for members of a pool: `[pool.NAME.members]` with `dns = \"{host}:{port}\"`",
            host = super::reader::clip(host)
        );
    }
    "write \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/path\"".to_owned()
}

/// A host, exact or `*.example.com`, in lower case.
pub(super) fn host(text: &str) -> Result<String, Expected> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let bracketed = lower
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_ipv6 = bracketed.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    if lower.len() <= HOST_MAX && (is_ipv6 || name.split('.').all(label)) {
        return Ok(lower);
    }
    Err(Expected::new(
        "a host name such as \"shop.example.com\" or \"*.example.com\"",
        "leave scheme, port and path out",
    ))
}

/// A name that stands in the certificate of a server, in lower case, or an IP address.
pub(super) fn server_name(text: &str) -> Result<String, Expected> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let is_label = |label: &str| !label.starts_with('-') && !label.ends_with('-');
    let is_name = |name: &String| {
        let last = name.rsplit('.').next().unwrap_or_default();
        name.split('.').all(is_label)
            && !name.contains(['*', '['])
            && !last.bytes().all(|b| b.is_ascii_digit())
    };
    host(text).ok().filter(is_name).ok_or_else(|| {
        Expected::new(
            "a host name such as \"shop.internal\", or an IP address",
            "write the name that stands in the certificate, without scheme, port and `*`",
        )
    })
}

/// A path without a query.
pub(super) fn path(text: &str) -> Result<String, Expected> {
    let path = request_path(text)?;
    if path.contains('?') {
        return Err(Expected::new(
            "a path without a query",
            "leave everything from `?` on out",
        ));
    }
    Ok(path)
}

/// Whole path segments from the start. A slash at the end says nothing more and is dropped.
pub(super) fn path_prefix(text: &str) -> Result<String, Expected> {
    let path = path(text)?;
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    })
}

/// What stands in a request line after the method.
pub(super) fn request_path(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if text.starts_with('/') && visible && text.len() <= PATH_MAX {
        return Ok(text.to_owned());
    }
    let fix = if visible && !text.starts_with('/') && text.len() < PATH_MAX {
        format!("write \"/{}\"", super::reader::clip(text))
    } else {
        "write a path such as \"/healthz\" and percent-encode other characters".to_owned()
    };
    Err(Expected::new(
        format!("a path that starts with `/`, without spaces and `#`, at most {PATH_MAX} bytes"),
        fix,
    ))
}

/// A value of the Host header.
pub(super) fn host_header(text: &str) -> Result<String, Expected> {
    if text.len() <= HOST_MAX + ":65535".len() && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        "a host, with a port if need be",
        "write \"shop.example.com\"",
    ))
}

/// The name of a cookie (a token, RFC 6265 section 4.1.1).
pub(super) fn cookie_name(text: &str) -> Result<String, Expected> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.len() <= 128 && text.bytes().all(token) {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        "the name of a cookie, at most 128 bytes",
        "write only its name, such as \"sid\"",
    ))
}

/// The name of a header (a token, RFC 9110 section 5.1) in lower case.
pub(super) fn header_name(text: &str) -> Result<String, Expected> {
    cookie_name(text)
        .map(|name| name.to_ascii_lowercase())
        .map_err(|_not_a_token| {
            Expected::new(
                "the name of a header, at most 128 bytes",
                "write only its name, such as \"x-user\"",
            )
        })
}

/// The name of a query parameter as it stands in a request.
pub(super) fn query_name(text: &str) -> Result<String, Expected> {
    let allowed = |b: u8| b.is_ascii_graphic() && !b"&=#?".contains(&b);
    if text.len() <= 128 && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        "the name of a query parameter, at most 128 bytes",
        "write only its name as it is sent, such as \"user\"",
    ))
}

/// A webhook's address.
pub(super) fn url(text: &str) -> Result<String, Expected> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or("");
    if !host.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        "an http or https URL",
        "write \"https://hooks.example.com/evenkeel\"",
    ))
}

/// `200` or `200-399`, both ends included.
pub(super) fn statuses(text: &str) -> Result<(u16, u16), Expected> {
    let status = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|code| (100..=599).contains(code))
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (status(low), status(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(Expected::new(
            "a status or a range of them from 100 to 599",
            "write `200` or \"200-399\"",
        )),
    }
}
