//! A route in the canonical form: what it takes, what becomes of it, what is changed on the way.

use super::{headers_text, list, number, quote};
use crate::config::{
    Answer, Edits, FieldEdits, HashKey, NewPath, PathEdit, Priority, Redirect, Respond, Route,
    Target, Template, Upgrades,
};

/// Its keys with their values as TOML, in the order of the documentation.
pub(super) fn entries(route: &Route) -> Vec<(&'static str, String)> {
    let mut entries = vec![("listener", quote(route.listener.as_str()))];
    if let Some(host) = &route.host {
        entries.push(("host", quote(host)));
    }
    entries.extend(route.matcher.entries());
    entries.extend(target_entries(&route.target));
    entries.extend(edit_entries(&route.edits));
    if let Some(limit) = &route.rate_limit {
        entries.push(("rate_limit.rps", number(limit.rps)));
        entries.push(("rate_limit.burst", limit.burst.to_string()));
        entries.extend(limit.by.as_ref().map(by_entry));
    }
    if route.priority != Priority::default() {
        entries.push(("priority", quote(route.priority.as_str())));
    }
    if route.upgrades != Upgrades::default() {
        let names = route.upgrades.0.iter().map(|name| quote(name));
        entries.push(("upgrade", list(names)));
    }
    entries
}

fn by_entry(key: &HashKey) -> (&'static str, String) {
    match key {
        HashKey::Header(name) => ("rate_limit.by.header", quote(name)),
        HashKey::Cookie(name) => ("rate_limit.by.cookie", quote(name)),
        HashKey::Query(name) => ("rate_limit.by.query", quote(name)),
        HashKey::Path => ("rate_limit.by.path", true.to_string()),
        HashKey::ClientAddress => ("rate_limit.by.client_address", true.to_string()),
    }
}

fn target_entries(target: &Target) -> Vec<(&'static str, String)> {
    match target {
        Target::Pool(pool) => vec![("pool", quote(pool.as_str()))],
        Target::Answer(Answer::Redirect(redirect)) => redirect_entries(redirect),
        Target::Answer(Answer::Respond(respond)) => {
            let mut entries = vec![
                ("respond.status", respond.status.to_string()),
                ("respond.body", quote(&respond.body)),
                ("respond.content_type", quote(&respond.content_type)),
            ];
            if Respond::is_bodiless(respond.status) {
                entries.truncate(1);
            }
            if !respond.headers.is_empty() {
                entries.push(("respond.headers", headers_text(&respond.headers)));
            }
            entries
        }
    }
}

fn redirect_entries(redirect: &Redirect) -> Vec<(&'static str, String)> {
    let mut entries = vec![("redirect.status", redirect.status.to_string())];
    let scheme = redirect.scheme.map(|scheme| quote(scheme.as_str()));
    entries.extend(scheme.map(|scheme| ("redirect.scheme", scheme)));
    let host = redirect.host.as_deref();
    entries.extend(host.map(|host| ("redirect.host", quote(host))));
    entries.extend(
        redirect
            .port
            .map(|port| ("redirect.port", port.to_string())),
    );
    entries.extend(redirect.path.as_ref().map(|path| match path {
        NewPath::Whole(path) => ("redirect.path", quote(path)),
        NewPath::Prefix(prefix) => ("redirect.replace_prefix", quote(prefix)),
    }));
    let query = redirect.query.as_deref();
    entries.extend(query.map(|query| ("redirect.query", quote(query))));
    entries
}

/// Nothing where nothing is changed, so that hashes stay.
fn edit_entries(edits: &Edits) -> Vec<(&'static str, String)> {
    let mut entries = match &edits.path {
        None => Vec::new(),
        Some(PathEdit::Whole(path)) => vec![("rewrite.path", quote(path))],
        Some(PathEdit::Strip(prefix)) => vec![("rewrite.strip_prefix", quote(prefix))],
        Some(PathEdit::Replace(prefix)) => vec![("rewrite.replace_prefix", quote(prefix))],
        Some(PathEdit::Regex { pattern, to }) => vec![
            ("rewrite.regex", quote(pattern.as_str())),
            ("rewrite.to", quote(to)),
        ],
    };
    let host = edits.host.as_deref();
    entries.extend(host.map(|host| ("rewrite.host", quote(host))));
    let request = [
        "request_headers.set",
        "request_headers.add",
        "request_headers.remove",
    ];
    let response = [
        "response_headers.set",
        "response_headers.add",
        "response_headers.remove",
    ];
    for (keys, fields) in [(request, &edits.request), (response, &edits.response)] {
        entries.extend(field_entries(keys, fields));
    }
    entries
}

fn field_entries(
    [set, add, remove]: [&'static str; 3],
    fields: &FieldEdits,
) -> Vec<(&'static str, String)> {
    let mut entries = Vec::new();
    for (key, values) in [(set, &fields.set), (add, &fields.add)] {
        if !values.is_empty() {
            let text = |(name, value): &(String, Template)| (name.clone(), value.to_string());
            let values: Vec<_> = values.iter().map(text).collect();
            entries.push((key, headers_text(&values)));
        }
    }
    if !fields.remove.is_empty() {
        let names = fields.remove.iter().map(|name| quote(name));
        entries.push((remove, list(names)));
    }
    entries
}
