//! `[[expect]]`: requests whose way is known.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::edits::new_host;
use super::keys;
use super::reader::{Found, Reader, Report, Section, clip};
use super::reference::reference;
use super::route::{FIELDS_MAX, method, one_of, value_text};
use super::typed::{Expected, Limits};
use super::{EXPECTATIONS_MAX, text, too_many};
use crate::config::{Expectation, Outcome, Sent};
use crate::ids::Name;

/// What the balancer answers itself.
pub(super) const STATUS: Limits<u32> = Limits {
    min: 200,
    max: 599,
    outside: "the balancer answers nothing else by itself where it decides who gets a request",
};

/// Reads `[[expect]]` of `root`, the file.
pub(super) fn read(
    reader: &mut Reader,
    root: &Section<'_>,
    listeners: &BTreeSet<Name>,
    pools: &BTreeSet<Name>,
) -> Vec<Expectation> {
    let mut elements = root.elements(reader, "expect");
    if elements.len() > EXPECTATIONS_MAX {
        let span = elements
            .get(EXPECTATIONS_MAX)
            .map_or(0..0, |(_, value)| value.span());
        let report = too_many("expectations", EXPECTATIONS_MAX, elements.len());
        reader.error("expect", span, report);
        elements.truncate(EXPECTATIONS_MAX);
    }
    elements
        .into_iter()
        .filter_map(|(path, value)| {
            let s = reader.section(path, value, &keys::EXPECT)?;
            expectation(reader, &s, listeners, pools)
        })
        .collect()
}

fn expectation(
    reader: &mut Reader,
    s: &Section<'_>,
    listeners: &BTreeSet<Name>,
    pools: &BTreeSet<Name>,
) -> Option<Expectation> {
    let effect = "there would be nothing to compare";
    s.require(
        reader,
        "request",
        effect,
        "request = \"GET https://shop.example/cart\"",
    );
    let only = listeners.first().filter(|_| listeners.len() == 1);
    if only.is_none() {
        let effect = "with several listeners it is not known where the request comes in";
        s.require(reader, "listener", effect, "listener = \"web\"");
    }
    let listener = if s.has("listener") {
        reference(reader, s, "listener", "listener", listeners)
    } else {
        only.cloned()
    };
    let request = s.read(reader, "request", request);
    let headers = headers(reader, s);
    let pool = reference(reader, s, "pool", "pool", pools);
    let status = s.integer(reader, "status", &STATUS);
    let redirect = s.read(reader, "redirect", location);
    for other in ["status", "redirect"] {
        one_of(reader, s, &["pool", other], "where the request must go");
    }
    if !["pool", "status", "redirect"].iter().any(|key| s.has(key)) {
        s.require(reader, "pool", effect, "pool = \"shop\"");
    }
    let sent = sent(reader, s);
    let answer = match (
        redirect,
        status.and_then(|status| u16::try_from(status).ok()),
    ) {
        (Some(to), status) => Some(Outcome::Redirect { to, status }),
        (None, None) => None,
        (None, Some(404)) => Some(Outcome::NoRoute),
        (None, Some(400)) => Some(Outcome::Ambiguous),
        (None, Some(status)) => Some(Outcome::Status(status)),
    };
    let (method, url) = request?;
    Some(Expectation {
        listener: listener?,
        method,
        url,
        headers,
        outcome: pool.map(Outcome::Pool).or(answer)?,
        sent,
    })
}

fn sent(reader: &mut Reader, s: &Section<'_>) -> Sent {
    let sent = Sent {
        path: s.read(reader, "path_sent", text::path),
        host: s.read(reader, "host_sent", new_host),
    };
    for key in ["path_sent", "host_sent"] {
        let Some(found) = s.get(reader, key).filter(|_| !s.has("pool")) else {
            continue;
        };
        let report = Report {
            id: "CFG-07",
            message: format!("`{}` stands beside no `pool`", found.path),
            effect: "no backend is meant to see the request".to_owned(),
            fix: format!("add `pool = \"shop\"`, or remove `{key}`"),
        };
        reader.error(&found.path, found.span, report);
    }
    sent
}

/// `https://shop.example/cart`, `/cart`.
fn location(text: &str) -> Result<String, Expected> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .or_else(|| text.strip_prefix('/'));
    if rest.is_some() && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        "a URL, or a path on the same host",
        "write \"https://shop.example/cart\" or \"/cart\"",
    ))
}

/// `GET https://shop.example/cart?id=1`, `GET /cart`.
fn request(text: &str) -> Result<(String, String), Expected> {
    let example = "write \"GET https://shop.example/cart\" or \"GET /cart\"";
    let Some((method_text, url)) = text.split_once(' ') else {
        return Err(Expected::new("a method, a space and a URL", example));
    };
    let method = method(method_text)?;
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return text::request_path(url).map(|target| (method, target));
    };
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if name.starts_with('*') || !is_port {
        return Err(Expected::new("a URL with the host of one request", example));
    }
    text::host(name)?;
    match target {
        "" => {}
        target if target.starts_with('?') => {
            let fix = format!("write \"{method} {}\"", clip(&url.replacen('?', "/?", 1)));
            return Err(Expected::new("a URL with a path", fix));
        }
        target => drop(text::request_path(target)?),
    }
    Ok((method, url.to_owned()))
}

/// Names of header fields with their values.
fn headers(reader: &mut Reader, s: &Section<'_>) -> Vec<(String, String)> {
    let given = s.named_freely(reader, "headers");
    if let Some((_, span, path, _)) = given.get(FIELDS_MAX) {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "a request names at most {FIELDS_MAX} headers, got {}",
                given.len()
            ),
            effect: "the file is not used".to_owned(),
            fix: "leave out what no route looks at".to_owned(),
        };
        reader.error(path, span.clone(), report);
        return Vec::new();
    }
    let mut headers: Vec<(String, String)> = Vec::with_capacity(given.len());
    for (text, span, path, value) in given {
        let name = text::header_name(text).and_then(|name| match name.as_str() {
            "host" => Err(Expected::new(
                "a header other than Host",
                "write the host into the URL of `request`",
            )),
            _ if headers.iter().any(|(known, _)| *known == name) => Err(Expected::new(
                "a name that is not in the table yet",
                "keep one of them",
            )),
            _ => Ok(name),
        });
        let name = match name {
            Ok(name) => name,
            Err(expected) => {
                let value = &DeValue::String(text.into());
                reader.wrong(&Found { path, span, value }, expected.what, expected.fix);
                continue;
            }
        };
        let found = Found {
            path,
            span: value.span(),
            value: value.get_ref(),
        };
        let read = match found.value {
            DeValue::String(text) => value_text(text),
            _ => Err(Expected::new("a text", "put the value in quotes")),
        };
        match read {
            Ok(value) => headers.push((name, value)),
            Err(expected) => reader.wrong(&found, expected.what, expected.fix),
        }
    }
    headers.sort();
    headers
}
