//! What a route changes in the heads that pass: `rewrite`, `request_headers`, `response_headers`.
//!
//! What is read here ends up in heads, so names and values are those that a head can hold, and what frames a message
//! or is written by the balancer itself cannot be named.

use toml::de::DeValue;

use super::keys::{self, Table};
use super::reader::{Found, Reader, Report, Section, clip, list};
use super::reference::sub;
use super::route::{FIELDS_MAX, one_of, pattern, value_text};
use super::suggest::suggestion;
use super::text;
use super::typed::Expected;
use crate::config::{
    BadPath, Edits, FieldEdits, PathEdit, PathMatch, Pattern, Target, Template, TemplateError,
    Variable, check_path,
};

/// Which way a head goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the backend.
    Request,
    /// From a backend to the client.
    Response,
    /// From the balancer to the client.
    Answer,
}

/// Written anew for each connection, both ways.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Reads all three; `path` is what the route takes, `target` what becomes of it.
pub(super) fn read(
    reader: &mut Reader,
    route: &Section<'_>,
    path: &PathMatch,
    target: Option<&Target>,
) -> Edits {
    let is_answer = target.is_some_and(|target| target.answer().is_some());
    let mut edits = Edits::default();
    if let Some(s) = sub(reader, route, "rewrite", &keys::REWRITE) {
        edits.path = new_path(reader, &s, path);
        edits.host = s.read(reader, "host", new_host);
        if !keys::REWRITE.names().any(|key| s.has(key)) {
            let effect = "nothing would be rewritten";
            s.require(reader, "path", effect, "path = \"/\"");
        }
    }
    let way = if is_answer {
        Way::Answer
    } else {
        Way::Response
    };
    edits.request = fields(
        reader,
        route,
        "request_headers",
        &keys::REQUEST_HEADERS,
        Way::Request,
    );
    edits.response = fields(
        reader,
        route,
        "response_headers",
        &keys::RESPONSE_HEADERS,
        way,
    );
    for key in ["rewrite", "request_headers"] {
        let Some(found) = route.get(reader, key).filter(|_| is_answer) else {
            continue;
        };
        let report = Report {
            id: "CFG-07",
            message: format!("`{}` has `{key}` and leads to no pool", route.path),
            effect: "no backend would see what it changes".to_owned(),
            fix: format!("remove `{key}`"),
        };
        reader.error(&found.path, found.span, report);
    }
    edits
}

fn new_path(reader: &mut Reader, s: &Section<'_>, taken: &PathMatch) -> Option<PathEdit> {
    let keys = ["path", "strip_prefix", "replace_prefix", "regex"];
    one_of(reader, s, &keys, "the new path");
    let whole = s.read(reader, "path", sent_path);
    let strip = s.read(reader, "strip_prefix", text::path_prefix);
    let replace = s.read(reader, "replace_prefix", |text| {
        sent_path(text).and_then(|path| text::path_prefix(&path))
    });
    let regex = s.read(reader, "regex", pattern);
    for (key, other) in [("regex", "to"), ("to", "regex")] {
        if s.has(key) && !s.has(other) {
            let effect = "it is not known what becomes of which path";
            let example = match other {
                "to" => "to = \"/people/$1\"",
                _ => "regex = \"/user/([0-9]+)\"",
            };
            s.require(reader, other, effect, example);
        }
    }
    let to = s.read(reader, "to", |text| new_text(text, regex.as_ref()));
    if s.has("replace_prefix") && !matches!(taken, PathMatch::Prefix(_)) {
        let fix = "give the route a `path_prefix`, or name what is taken away in `strip_prefix`";
        unfit(
            reader,
            s,
            "replace_prefix",
            "a prefix that the route does not have",
            fix,
        );
    }
    if strip
        .as_deref()
        .is_some_and(|strip| !may_begin(taken, strip))
    {
        let fix = "write a `strip_prefix` that the paths of the route begin with";
        unfit(
            reader,
            s,
            "strip_prefix",
            "what no path of the route begins with",
            fix,
        );
    }
    let regex = regex.zip(to);
    whole
        .map(PathEdit::Whole)
        .or(strip.map(PathEdit::Strip))
        .or(replace.map(PathEdit::Replace))
        .or(regex.map(|(pattern, to)| PathEdit::Regex { pattern, to }))
}

/// Whether any path that the route takes begins with these segments.
fn may_begin(taken: &PathMatch, strip: &str) -> bool {
    let under = |path: &str, start: &str| {
        let rest = path.strip_prefix(start.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match taken {
        PathMatch::Prefix(path) => under(path, strip) || under(strip, path),
        PathMatch::Exact(path) => under(path, strip),
        PathMatch::Regex(_) => true,
    }
}

fn unfit(reader: &mut Reader, s: &Section<'_>, key: &str, what: &str, fix: &str) {
    let span = s.get(reader, key).map_or(0..0, |found| found.span);
    let report = Report {
        id: "CFG-07",
        message: format!("`{}` is {what}", s.child_path(key)),
        effect: "no path would be rewritten by it".to_owned(),
        fix: fix.to_owned(),
    };
    reader.error(&s.child_path(key), span, report);
}

/// A path that can be sent as it is.
fn sent_path(text: &str) -> Result<String, Expected> {
    let path = text::path(text)?;
    sound(&path).map(|()| path)
}

fn sound(path: &str) -> Result<(), Expected> {
    check_path(path).map_err(|bad| match bad {
        BadPath::Syntax => Expected::new(
            "a path as it is sent, without `<`, `>`, `` ` `` and `\\`",
            "percent-encode other characters",
        ),
        BadPath::Dots => Expected::new(
            "a path whose segments every server reads in one way",
            "write the path that is meant, without `.` and `..`",
        ),
    })
}

/// The `to` beside a pattern.
fn new_text(text: &str, pattern: Option<&Pattern>) -> Result<String, Expected> {
    if !text.starts_with('/') {
        let fix = format!("write \"/{}\"; slashes at its start become one", clip(text));
        return Err(Expected::new("a path that starts with `/`", fix));
    }
    let groups = pattern.map_or(9, Pattern::groups).min(9);
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('$') => plain.push('$'),
            Some(digit @ '1'..='9') if digit.to_digit(10).is_some_and(|n| n as usize <= groups) => {
                // Nothing there yet may be all that makes a segment of dots, or of an escape.
                plain.push('x');
            }
            _ => {
                let what = match groups {
                    0 => "a path without `$1`, as the pattern has no group".to_owned(),
                    1 => "a path with `$1` for what the group took".to_owned(),
                    n => format!("a path with `$1` to `${n}` for what the groups took"),
                };
                let fix = "put what you want to keep of the path in parentheses in `regex`, and write `$$` for a \
                           dollar sign";
                return Err(Expected::new(what, fix));
            }
        }
        rest = chars.as_str();
    }
    plain.push_str(rest);
    sent_path(&plain).map(|_sound| text.to_owned())
}

/// A host, with a port or without.
pub(super) fn new_host(text: &str) -> Result<String, Expected> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let host = text::host(name).ok().filter(|host| !host.starts_with('*'));
    match (host, port) {
        (Some(host), None) => Ok(host),
        (Some(host), Some(port)) if is_port(port) => Ok(format!("{host}:{port}")),
        _ => Err(Expected::new(
            "one host, with a port if need be",
            "write the host that the backend goes by, such as \"shop.internal\" or \"shop.internal:8080\"",
        )),
    }
}

fn fields(
    reader: &mut Reader,
    route: &Section<'_>,
    key: &str,
    known: &Table,
    way: Way,
) -> FieldEdits {
    let Some(s) = sub(reader, route, key, known) else {
        return FieldEdits::default();
    };
    if !known.names().any(|key| s.has(key)) {
        let effect = "nothing would be changed";
        s.require(reader, "set", effect, "set = { x-name = \"value\" }");
    }
    let mut seen = Vec::new();
    FieldEdits {
        set: values(reader, &s, "set", way, &mut seen),
        add: values(reader, &s, "add", way, &mut seen),
        remove: names(reader, &s, way, &mut seen),
    }
}

/// The table under `key`: names with their values.
fn values(
    reader: &mut Reader,
    s: &Section<'_>,
    key: &str,
    way: Way,
    seen: &mut Vec<String>,
) -> Vec<(String, Template)> {
    let given = s.named_freely(reader, key);
    if let Some((_, span, path, _)) = given.get(FIELDS_MAX) {
        too_many(reader, path, span.clone(), given.len());
        return Vec::new();
    }
    let mut fields = Vec::with_capacity(given.len());
    for (text, span, path, value) in given {
        let name = match name(text, way, seen) {
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
        match template(found.value) {
            Ok(template) => fields.push((name, template)),
            Err(expected) => reader.wrong(&found, expected.what, expected.fix),
        }
    }
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn names(reader: &mut Reader, s: &Section<'_>, way: Way, seen: &mut Vec<String>) -> Vec<String> {
    let Some(found) = s.get(reader, "remove") else {
        return Vec::new();
    };
    let DeValue::Array(array) = found.value else {
        let fix = "write `remove = [\"x-name\"]`".to_owned();
        reader.wrong(&found, "a list of names", fix);
        return Vec::new();
    };
    if array.len() > FIELDS_MAX {
        too_many(reader, &found.path, found.span.clone(), array.len());
        return Vec::new();
    }
    let mut names = Vec::with_capacity(array.len());
    for (index, item) in array.iter().enumerate() {
        let element = Found {
            path: format!("{}.{index}", found.path),
            span: item.span(),
            value: item.get_ref(),
        };
        let text = match element.value {
            DeValue::String(text) => text.as_ref(),
            _ => "",
        };
        match name(text, way, seen) {
            Ok(name) => names.push(name),
            Err(expected) => reader.wrong(&element, expected.what, expected.fix),
        }
    }
    names.sort();
    names
}

fn too_many(reader: &mut Reader, path: &str, span: std::ops::Range<usize>, count: usize) {
    let report = Report {
        id: "CFG-06",
        message: format!("at most {FIELDS_MAX} header fields are named at once, got {count}"),
        effect: "the file is not used".to_owned(),
        fix: "leave out what nobody looks at".to_owned(),
    };
    reader.error(path, span, report);
}

fn name(text: &str, way: Way, seen: &mut Vec<String>) -> Result<String, Expected> {
    let name = match text {
        "" => Err(Expected::new(
            "the name of a header",
            "write its name, such as \"x-user\"",
        )),
        text => text::header_name(text),
    }?;
    // Gateways cannot tell `_` from `-`, so what looks like one of them is one.
    if let Some(fix) = instead(&name.replace('_', "-"), way) {
        return Err(Expected::new("a header that a route may change", fix));
    }
    if seen.contains(&name) {
        return Err(Expected::new(
            "a name that stands once in `set`, `add` and `remove`",
            "keep one of them: `set` replaces what is there",
        ));
    }
    seen.push(name.clone());
    Ok(name)
}

/// What to do where `name` cannot be changed.
fn instead(name: &str, way: Way) -> Option<&'static str> {
    if FRAMING.contains(&name) {
        return Some("remove it: how a message is framed is written anew for each connection");
    }
    let fix = match (name, way) {
        ("upgrade", _) => "name the protocol in `upgrade` of the route",
        ("via", _) => "remove it: it says who passed the message on",
        ("x-request-id", Way::Request) => {
            "remove it, or send it under another name: `set = { x-trace = \"{request_id}\" }`"
        }
        ("x-request-id", _) => "remove it: it is in every answer",
        ("host", Way::Request) => "write `rewrite = { host = \"shop.internal\" }`",
        ("forwarded" | "x-forwarded-for", Way::Request) => {
            "remove it: it says what the listener saw; send it under another name: `set = { x-client = \"{client_ip}\" }`"
        }
        ("x-forwarded-host", Way::Request) => {
            "remove it: it says what the client named; send it under another name: `set = { x-host = \"{host}\" }`"
        }
        ("x-forwarded-proto", Way::Request) => {
            "remove it: it says how the client came; send it under another name: `set = { x-scheme = \"{scheme}\" }`"
        }
        ("http2-settings" | "max-forwards" | "proxy" | "proxy-authorization", Way::Request) => {
            "remove it: it is meant for the balancer, and never passed on as it came"
        }
        ("x-evenkeel-error", Way::Response | Way::Answer) => {
            "remove it: it tells answers of the balancer from those of backends"
        }
        ("content-type", Way::Answer) => "write it as `content_type` of `respond`",
        ("location", Way::Answer) => "write it as `redirect`",
        _ => return None,
    };
    Some(fix)
}

fn template(value: &DeValue<'_>) -> Result<Template, Expected> {
    let text = match value {
        DeValue::String(text) if text.is_empty() => {
            return Err(Expected::new(
                "a text that is not empty",
                "put the name into `remove` where nothing shall be sent",
            ));
        }
        DeValue::String(text) if text.is_ascii() => value_text(text)?,
        _ => return Err(Expected::new("a text in ASCII", "put the value in quotes")),
    };
    Template::new(&text).map_err(|error| match error {
        TemplateError::Brace => Expected::new(
            "a text whose braces hold a name",
            "write `{{` and `}}` for braces that are sent",
        ),
        TemplateError::Unknown(name) => {
            let known = Variable::ALL.map(Variable::as_str);
            let fix = match suggestion(&name, known) {
                Some(word) => format!("did you mean `{{{word}}}`?"),
                None => format!(
                    "write one of them, or `{{{{{}}}}}` for braces that are sent",
                    clip(&name)
                ),
            };
            Expected::new(
                format!("a text with no name in braces but {}", list(&known)),
                fix,
            )
        }
    })
}
