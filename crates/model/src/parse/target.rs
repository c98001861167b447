//! What becomes of the requests of a route: `pool`, `redirect` or `respond`.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use toml::de::DeValue;

use super::keys;
use super::reader::{Found, Reader, Report, Section};
use super::reference::{reference, sub};
use super::route::{FIELDS_MAX, one_of, value_text};
use super::text;
use super::typed::{Expected, Limits};
use crate::config::{Answer, NewPath, PathMatch, Redirect, Respond, Scheme, Target};
use crate::ids::Name;

/// Longest body of a fixed answer.
const BODY_MAX: usize = 16 << 10;
/// Longest query of a redirect.
const QUERY_MAX: usize = 1_024;

pub(super) const REDIRECT_STATUS: Limits<u32> = Limits {
    min: 301,
    max: 308,
    outside: "no client would go elsewhere",
};
pub(super) const RESPOND_STATUS: Limits<u32> = Limits {
    min: 200,
    max: 599,
    outside: "no client could read it as an answer",
};
pub(super) const PORT: Limits<u32> = Limits {
    min: 1,
    max: 65_535,
    outside: "there is no such port",
};

/// What decides how an answer goes through a connection is written by who sends it, never by a file.
const OWN_FIELDS: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "location",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-evenkeel-error",
    "x-request-id",
];

/// Reads it; `path`: what the route takes.
pub(super) fn read(
    reader: &mut Reader,
    route: &Section<'_>,
    pools: &BTreeSet<Name>,
    path: &PathMatch,
) -> Option<Target> {
    let keys = ["pool", "redirect", "respond"];
    one_of(reader, route, &keys, "what becomes of its requests");
    if !keys.iter().any(|key| route.has(key)) {
        nothing(reader, route);
    }
    let pool = reference(reader, route, "pool", "pool", pools);
    let redirect =
        sub(reader, route, "redirect", &keys::REDIRECT).and_then(|s| redirect(reader, &s, path));
    let respond = sub(reader, route, "respond", &keys::RESPOND).and_then(|s| respond(reader, &s));
    let answer = redirect
        .map(Answer::Redirect)
        .or(respond.map(Answer::Respond));
    if route.has("upgrade") && !route.has("pool") {
        let found = route.get(reader, "upgrade")?;
        let report = Report {
            id: "CFG-07",
            message: format!("`{}` has `upgrade` and leads to no pool", route.path),
            effect: "nobody is there whom a request could be upgraded with".to_owned(),
            fix: "remove `upgrade`".to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
    pool.map(Target::Pool).or(answer.map(Target::Answer))
}

fn nothing(reader: &mut Reader, route: &Section<'_>) {
    let report = Report {
        id: "CFG-04",
        message: format!(
            "`{}` has none of `pool`, `redirect` and `respond`",
            route.path
        ),
        effect: "the route would lead nowhere".to_owned(),
        fix: "add `pool = \"shop\"`, `redirect = { scheme = \"https\" }` or `respond = { status = 404 }`"
            .to_owned(),
    };
    reader.error(&route.child_path("pool"), route.span.clone(), report);
}

fn redirect(reader: &mut Reader, s: &Section<'_>, path: &PathMatch) -> Option<Redirect> {
    let status = match s.integer(reader, "status", &REDIRECT_STATUS) {
        Some(status) => redirect_status(reader, s, status)?,
        None if s.has("status") => return None,
        None => Redirect::STATUS_DEFAULT,
    };
    let words = Scheme::ALL.iter().map(|scheme| (scheme.as_str(), *scheme));
    let scheme = s.choice(reader, "scheme", &words.collect::<Vec<_>>());
    let host = s.read(reader, "host", one_host);
    let port = s.integer(reader, "port", &PORT);
    let port = port.and_then(|port| NonZeroU16::new(u16::try_from(port).ok()?));
    one_of(reader, s, &["path", "replace_prefix"], "the new path");
    let whole = s.read(reader, "path", text::path);
    let prefix = s.read(reader, "replace_prefix", text::path_prefix);
    if s.has("replace_prefix") && !matches!(path, PathMatch::Prefix(_)) {
        let found = s.get(reader, "replace_prefix")?;
        let report = Report {
            id: "CFG-07",
            message: format!(
                "`{}` replaces a prefix that the route does not have",
                found.path
            ),
            effect: "it is not known which part of a path it stands for".to_owned(),
            fix: "give the route a `path_prefix`, or write the whole `path` of the redirect"
                .to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
    let query = whole_text(reader, s, "query", query);
    if !["scheme", "host", "port", "path", "replace_prefix", "query"]
        .iter()
        .any(|key| s.has(key))
    {
        let effect = "every client would be sent where it came from, again and again";
        s.require(reader, "host", effect, "host = \"www.example.com\"");
    }
    Some(Redirect {
        status,
        scheme,
        host,
        port,
        path: whole.map(NewPath::Whole).or(prefix.map(NewPath::Prefix)),
        query,
    })
}

fn redirect_status(reader: &mut Reader, s: &Section<'_>, status: u32) -> Option<u16> {
    let known = Redirect::STATUSES.into_iter();
    let known = known.clone().find(|known| u32::from(*known) == status);
    if known.is_none() {
        let found = s.get(reader, "status")?;
        let fix = "write `status = 302`, or 308 where it is for ever and no method may change";
        reader.wrong(&found, "301, 302, 303, 307 or 308", fix.to_owned());
    }
    known
}

fn one_host(text: &str) -> Result<String, Expected> {
    let host = text::host(text)?;
    if host.starts_with('*') {
        return Err(Expected::new(
            "one host",
            "write the host to send clients to, such as \"www.example.com\"",
        ));
    }
    Ok(host)
}

fn query(text: &str) -> Result<String, Expected> {
    let is_sent = |b: u8| b.is_ascii_graphic() && !b"#<>".contains(&b);
    if text.len() <= QUERY_MAX && text.bytes().all(is_sent) && !text.starts_with('?') {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        format!("a query without its `?`, without spaces and `#`, at most {QUERY_MAX} bytes"),
        "write it as it is sent, such as \"from=old\", or \"\" for none",
    ))
}

fn respond(reader: &mut Reader, s: &Section<'_>) -> Option<Respond> {
    let effect = "it is not known what the answer is";
    s.require(reader, "status", effect, "status = 404");
    let status = s.integer(reader, "status", &RESPOND_STATUS);
    let status = status.and_then(|status| u16::try_from(status).ok());
    let body = whole_text(reader, s, "body", body).unwrap_or_default();
    let content_type = s.read(reader, "content_type", content_type);
    let headers = headers(reader, s);
    let status = status?;
    if Redirect::STATUSES.contains(&status) {
        let found = s.get(reader, "status")?;
        let fix = format!("write `redirect = {{ status = {status}, path = \"/\" }}`");
        reader.wrong(&found, "a status that sends nobody elsewhere", fix);
    }
    for key in ["body", "content_type"] {
        if Respond::is_bodiless(status) && s.has(key) {
            let found = s.get(reader, key)?;
            let report = Report {
                id: "CFG-07",
                message: format!(
                    "`{}`: an answer with status {status} has no body",
                    found.path
                ),
                effect: "it would never be sent".to_owned(),
                fix: format!("remove `{key}`, or write `status = 200`"),
            };
            reader.error(&found.path, found.span, report);
        }
    }
    Some(Respond {
        status,
        body,
        content_type: content_type.unwrap_or_else(|| Respond::CONTENT_TYPE_DEFAULT.to_owned()),
        headers,
    })
}

/// A text that may be empty.
fn whole_text<T>(
    reader: &mut Reader,
    s: &Section<'_>,
    key: &str,
    read: impl Fn(&str) -> Result<T, Expected>,
) -> Option<T> {
    let found = s.get(reader, key)?;
    let value = match found.value {
        DeValue::String(text) => read(text),
        _ => Err(Expected::new(
            "a text",
            format!("put it in quotes: `{key} = \"...\"`"),
        )),
    };
    match value {
        Ok(value) => Some(value),
        Err(expected) => {
            reader.wrong(&found, expected.what, expected.fix);
            None
        }
    }
}

fn body(text: &str) -> Result<String, Expected> {
    if text.len() <= BODY_MAX {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        format!("a text of at most {} KiB", BODY_MAX >> 10),
        "leave pages to a server, and keep to a sentence here",
    ))
}

fn content_type(text: &str) -> Result<String, Expected> {
    if text.contains('/') && text.is_ascii() {
        return value_text(text);
    }
    Err(Expected::new(
        "a type with a subtype",
        "write it as it is sent, such as \"text/html; charset=utf-8\"",
    ))
}

/// Names of header fields with their values.
fn headers(reader: &mut Reader, s: &Section<'_>) -> Vec<(String, String)> {
    let given = s.named_freely(reader, "headers");
    if let Some((_, span, path, _)) = given.get(FIELDS_MAX) {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "an answer has at most {FIELDS_MAX} headers, got {}",
                given.len()
            ),
            effect: "the file is not used".to_owned(),
            fix: "leave out what no client looks at".to_owned(),
        };
        reader.error(path, span.clone(), report);
        return Vec::new();
    }
    let mut headers: Vec<(String, String)> = Vec::with_capacity(given.len());
    for (text, span, path, value) in given {
        let name = field_name(text, &headers);
        let found = Found {
            path: path.clone(),
            span: value.span(),
            value: value.get_ref(),
        };
        let value = match found.value {
            DeValue::String(text) if text.is_ascii() => value_text(text),
            _ => Err(Expected::new("a text in ASCII", "put the value in quotes")),
        };
        match (name, value) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(expected), _) => {
                let value = &DeValue::String(text.into());
                reader.wrong(&Found { path, span, value }, expected.what, expected.fix);
            }
            (_, Err(expected)) => reader.wrong(&found, expected.what, expected.fix),
        }
    }
    headers.sort();
    headers
}

fn field_name(text: &str, known: &[(String, String)]) -> Result<String, Expected> {
    let name = text::header_name(text)?;
    if OWN_FIELDS.contains(&name.as_str()) {
        let fix = match name.as_str() {
            "content-type" => "write it as `content_type` beside `status`",
            "location" => "write `redirect` in place of `respond`",
            _ => "remove it",
        };
        return Err(Expected::new(
            "a header that the balancer does not write by itself",
            fix,
        ));
    }
    if known.iter().any(|(known, _)| *known == name) {
        return Err(Expected::new(
            "a name that is not in the table yet",
            "keep one of them",
        ));
    }
    Ok(name)
}
