//! Routes: what a request must be, and where it goes then.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::keys::{self, VALUE};
use super::reader::{Found, Reader, Report, Section};
use super::reference::{reference, sub};
use super::typed::{Expected, Limits};
use super::{PATTERNS_MAX, ROUTES_MAX, affinity, edits, target, text, too_many, upgrade};
use crate::config::{
    Field, Matcher, PathEdit, PathMatch, Pattern, PatternError, Priority, RateLimit, Route,
    ValueMatch,
};
use crate::ids::Name;
use crate::tally::RouteKey;

/// Longest list of methods, and most headers, cookies or parameters that one route names.
pub(super) const FIELDS_MAX: usize = 16;

/// Longest method (that of the reader of requests) and longest value.
const METHOD_MAX: usize = 32;
const VALUE_MAX: usize = 1_024;

pub(super) const RATE: Limits<f64> = Limits {
    min: 0.001,
    max: 1e6,
    outside: "nobody would ever be served, or nobody ever refused",
};
pub(super) const BURST: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000,
    outside: "no request would ever be served, or none ever refused",
};

/// Reads `[[route]]` of `root`, the file.
pub(super) fn read(
    reader: &mut Reader,
    root: &Section<'_>,
    listeners: &BTreeSet<Name>,
    pools: &BTreeSet<Name>,
) -> Vec<Route> {
    let mut elements = root.elements(reader, "route");
    if elements.len() > ROUTES_MAX {
        let span = elements
            .get(ROUTES_MAX)
            .map_or(0..0, |(_, value)| value.span());
        reader.error(
            "route",
            span,
            too_many("routes", ROUTES_MAX, elements.len()),
        );
        elements.truncate(ROUTES_MAX);
    }
    let mut seen = BTreeSet::new();
    let mut routes = Vec::with_capacity(elements.len());
    for (path, value) in elements {
        let Some(section) = reader.section(path, value, &keys::ROUTE) else {
            continue;
        };
        let effect = "the route would lead nowhere";
        section.require(reader, "listener", effect, "listener = \"web\"");
        let listener = reference(reader, &section, "listener", "listener", listeners);
        let host = section.read(reader, "host", text::host);
        let matcher = matcher(reader, &section);
        let target = target::read(reader, &section, pools, &matcher.path);
        let edits = edits::read(reader, &section, &matcher.path, target.as_ref());
        let rate_limit = rate_limit(reader, &section);
        let words = Priority::ALL.iter().map(|p| (p.as_str(), *p));
        let priority = section.choice(reader, "priority", &words.collect::<Vec<_>>());
        let upgrades = upgrade::read(reader, &section);
        let (Some(listener), Some(target)) = (listener, target) else {
            continue;
        };
        let route = Route {
            listener,
            host,
            matcher,
            target,
            edits,
            rate_limit,
            priority: priority.unwrap_or_default(),
            upgrades,
        };
        if !seen.insert(RouteKey::of(&route)) {
            shadowed(reader, &section);
        }
        routes.push(route);
    }
    patterns_bounded(reader, root, &routes);
    routes
}

fn rate_limit(reader: &mut Reader, route: &Section<'_>) -> Option<RateLimit> {
    let s = sub(reader, route, "rate_limit", &keys::RATE_LIMIT)?;
    s.require(reader, "rps", "nothing would be limited", "rps = 100");
    let rps = s.number(reader, "rps", &RATE);
    let burst = s.integer(reader, "burst", &BURST);
    let by = affinity::key(reader, &s, "by", "nobody would have a rate of their own");
    let rps = rps?;
    Some(RateLimit {
        rps,
        burst: burst.unwrap_or((rps.ceil() as u32).max(1)),
        by,
    })
}

fn shadowed(reader: &mut Reader, section: &Section<'_>) {
    let report = Report {
        id: "CFG-07",
        message: format!(
            "`{}` has the listener, host, path and conditions of an earlier route",
            section.path
        ),
        effect: "the first match wins: this route never gets a request".to_owned(),
        fix: "remove it or change what it matches".to_owned(),
    };
    reader.warning(&section.path, section.span.clone(), report);
}

fn matcher(reader: &mut Reader, s: &Section<'_>) -> Matcher {
    Matcher {
        path: path(reader, s),
        methods: methods(reader, s),
        headers: fields(reader, s, "headers", text::header_name),
        cookies: fields(reader, s, "cookies", text::cookie_name),
        query: fields(reader, s, "query", text::query_name),
    }
}

fn path(reader: &mut Reader, s: &Section<'_>) -> PathMatch {
    let prefix = s.read(reader, "path_prefix", text::path_prefix);
    let exact = s.read(reader, "path", text::path);
    let regex = s.read(reader, "path_regex", path_pattern);
    one_of(
        reader,
        s,
        &["path_prefix", "path", "path_regex"],
        "which paths it takes",
    );
    let exact = exact.map(PathMatch::Exact);
    exact
        .or(regex.map(PathMatch::Regex))
        .unwrap_or_else(|| PathMatch::Prefix(prefix.unwrap_or_else(|| "/".to_owned())))
}

/// Reports all but the first of `keys` that stand in `s`.
pub(super) fn one_of(reader: &mut Reader, s: &Section<'_>, keys: &[&str], what: &str) {
    let mut there = keys.iter().filter(|key| s.has(key));
    let Some(first) = there.next() else { return };
    for key in there {
        let report = Report {
            id: "CFG-07",
            message: format!("`{}` has both `{first}` and `{key}`", s.path),
            effect: format!("{what} could be read in two ways, so the file is not used"),
            fix: "keep one of them".to_owned(),
        };
        let span = s.get(reader, key).map_or(0..0, |found| found.span);
        reader.error(&s.child_path(key), span, report);
    }
}

fn path_pattern(text: &str) -> Result<Pattern, Expected> {
    let pattern = pattern(text)?;
    // Every path begins with a slash, so a pattern that cannot begin with one takes nothing.
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Expected::new(
            "a pattern of a whole path, which begins with `/`",
            format!("write \"/{}\"", super::reader::clip(text)),
        ));
    }
    Ok(pattern)
}

pub(super) fn pattern(text: &str) -> Result<Pattern, Expected> {
    let bounded = format!(
        "a regular expression of at most {} bytes",
        Pattern::LENGTH_MAX
    );
    if text.len() > Pattern::LENGTH_MAX {
        return Err(Expected::new(bounded, "write a shorter one"));
    }
    Pattern::new(text).map_err(|error| {
        let fix = match &error {
            PatternError::Syntax { at, .. } => format!(
                "put it right at character {at}; there are no look-around, no back-references and no \\p{{…}}, and a \
                 text in single quotes needs no second backslash"
            ),
            PatternError::Size => format!(
                "repeat less: it may take {} KiB",
                Pattern::SIZE_MAX >> 10
            ),
        };
        Expected::new(format!("a regular expression ({error})"), fix)
    })
}

fn methods(reader: &mut Reader, s: &Section<'_>) -> Vec<String> {
    let Some(found) = s.get(reader, "methods") else {
        return Vec::new();
    };
    let expected = format!("a list of 1 to {FIELDS_MAX} methods");
    let list = match found.value {
        DeValue::Array(list) if (1..=FIELDS_MAX).contains(&list.len()) => list,
        _ => {
            reader.wrong(&found, expected, "write `methods = [\"GET\"]`".to_owned());
            return Vec::new();
        }
    };
    let mut methods = BTreeSet::new();
    for (index, item) in list.iter().enumerate() {
        let element = Found {
            path: format!("{}.{index}", found.path),
            span: item.span(),
            value: item.get_ref(),
        };
        let text = match item.get_ref() {
            DeValue::String(text) => text.as_ref(),
            _ => "",
        };
        let wrong = match method(text) {
            Ok(method) if methods.contains(&method) => Expected::new(
                "a method that is not in the list yet",
                "remove it from the list",
            ),
            Ok(method) => {
                methods.insert(method);
                continue;
            }
            Err(expected) => expected,
        };
        reader.wrong(&element, wrong.what, wrong.fix);
    }
    methods.into_iter().collect()
}

/// A method in capitals.
pub(super) fn method(text: &str) -> Result<String, Expected> {
    let is_token = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b);
    if !text.is_empty() && text.len() <= METHOD_MAX && text.bytes().all(is_token) {
        return Ok(text.to_owned());
    }
    let fix = match text.to_ascii_uppercase() {
        upper if upper.bytes().all(is_token) && !upper.is_empty() => {
            format!("write \"{}\"", super::reader::clip(&upper))
        }
        _ => "write \"GET\"".to_owned(),
    };
    Err(Expected::new("a method in capitals", fix))
}

/// The table under `key`: names with what their values must be.
fn fields(
    reader: &mut Reader,
    s: &Section<'_>,
    key: &str,
    name_of: impl Fn(&str) -> Result<String, Expected>,
) -> Vec<Field> {
    let given = s.named_freely(reader, key);
    if let Some((_, span, path, _)) = given.get(FIELDS_MAX) {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` names at most {FIELDS_MAX}, got {}",
                s.child_path(key),
                given.len()
            ),
            effect: "the file is not used".to_owned(),
            fix: "leave out what does not tell requests apart".to_owned(),
        };
        reader.error(path, span.clone(), report);
        return Vec::new();
    }
    let mut fields: Vec<Field> = Vec::with_capacity(given.len());
    for (text, span, path, value) in given {
        let found = Found {
            path: path.clone(),
            span,
            value: &DeValue::String(text.into()),
        };
        let name = match name_of(text) {
            Ok(name) if fields.iter().any(|field| field.name == name) => {
                let fix = "keep one of them".to_owned();
                reader.wrong(&found, "a name that is not in the table yet", fix);
                continue;
            }
            Ok(name) => name,
            Err(expected) => {
                reader.wrong(&found, expected.what, expected.fix);
                continue;
            }
        };
        if let Some(value) = value_match(reader, path, value) {
            fields.push(Field { name, value });
        }
    }
    fields.sort();
    fields
}

fn value_match(
    reader: &mut Reader,
    path: String,
    value: &toml::Spanned<DeValue<'_>>,
) -> Option<ValueMatch> {
    if let DeValue::Table(_) = value.get_ref() {
        let s = reader.section(path, value, &VALUE)?;
        let present = s.boolean(reader, "present");
        let prefix = s.read(reader, "prefix", value_start);
        let regex = s.read(reader, "regex", pattern);
        let keys = ["present", "prefix", "regex"];
        one_of(reader, &s, &keys, "which values it takes");
        if !keys.iter().any(|key| s.has(key)) {
            s.require(
                reader,
                "present",
                "any value would do, or none",
                "present = true",
            );
        }
        let present = present.map(|is| {
            if is {
                ValueMatch::Present
            } else {
                ValueMatch::Absent
            }
        });
        return present
            .or(prefix.map(ValueMatch::Prefix))
            .or(regex.map(ValueMatch::Regex));
    }
    let found = Found {
        path,
        span: value.span(),
        value: value.get_ref(),
    };
    let read = match found.value {
        DeValue::String(text) if !text.is_empty() => value_text(text),
        _ => Err(Expected::new(
            "a text, or a table with one of `present`, `prefix` and `regex`",
            "write the value in quotes, or `{ present = true }`",
        )),
    };
    match read {
        Ok(text) => Some(ValueMatch::Exact(text)),
        Err(expected) => {
            reader.wrong(&found, expected.what, expected.fix);
            None
        }
    }
}

/// What a header, a cookie or a parameter can hold.
pub(super) fn value_text(text: &str) -> Result<String, Expected> {
    if text.trim_end() == text {
        return value_start(text);
    }
    Err(Expected::new(
        "a value without spaces at its end",
        "write the value as it is sent, without the spaces",
    ))
}

/// How a value begins: a space may end it, as in `Bearer `.
fn value_start(text: &str) -> Result<String, Expected> {
    let is_sent = text.trim_start() == text && !text.chars().any(char::is_control);
    if is_sent && text.len() <= VALUE_MAX {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        format!(
            "a value without control characters and spaces before it, at most {VALUE_MAX} bytes"
        ),
        "write the value as it is sent",
    ))
}

/// Patterns are kept compiled for as long as the configuration runs.
fn patterns_bounded(reader: &mut Reader, root: &Section<'_>, routes: &[Route]) {
    let of = |route: &Route| {
        let m = &route.matcher;
        let fields = m.headers.iter().chain(&m.cookies).chain(&m.query);
        let values = fields.filter(|field| matches!(field.value, ValueMatch::Regex(_)));
        let rewrites = matches!(route.edits.path, Some(PathEdit::Regex { .. }));
        let paths = usize::from(matches!(m.path, PathMatch::Regex(_))) + usize::from(rewrites);
        values.count() + paths
    };
    let count: usize = routes.iter().map(of).sum();
    if count > PATTERNS_MAX {
        let span = root.get(reader, "route").map_or(0..0, |found| found.span);
        let report = too_many("regular expressions", PATTERNS_MAX, count);
        reader.error("route", span, report);
    }
}
