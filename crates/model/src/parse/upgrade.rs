//! `upgrade` of a route: the protocols that its requests may be upgraded to.

use toml::de::DeValue;

use super::reader::{Found, Reader, Report, Section, clip};
use super::suggest::suggestion;
use crate::config::Upgrades;

/// Protocols that one route may name.
const PROTOCOLS_MAX: usize = 8;
const NAME_MAX: usize = 64;
/// Protocols that people mean by something near.
const KNOWN: [&str; 1] = [Upgrades::DEFAULT];
/// What an upgrade may never lead to, by the part before the version.
const NEVER: [&str; 5] = ["h2c", "h2", "h3", "http", "tls"];

/// Reads the list; the default where there is none.
pub(super) fn read(reader: &mut Reader, section: &Section<'_>) -> Upgrades {
    let Some(found) = section.get(reader, "upgrade") else {
        return Upgrades::default();
    };
    let expected = format!("a list of at most {PROTOCOLS_MAX} protocols");
    let fix = "write `upgrade = [\"websocket\"]`, or `upgrade = []` to pass none on";
    let DeValue::Array(array) = found.value else {
        reader.wrong(&found, expected, fix.to_owned());
        return Upgrades::default();
    };
    if array.len() > PROTOCOLS_MAX {
        reader.wrong(&found, expected, fix.to_owned());
        return Upgrades::default();
    }
    let mut names: Vec<String> = Vec::with_capacity(array.len());
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
        let name = text.to_ascii_lowercase();
        if !is_protocol(&name) {
            let fix = "write it as `Upgrade` has it, such as \"websocket\" or \"spdy/3.1\"";
            reader.wrong(&element, "the name of a protocol", fix.to_owned());
        } else if is_http(&name) {
            never(reader, &element, text);
        } else if names.contains(&name) {
            let fix = "remove it from the list".to_owned();
            reader.wrong(&element, "a protocol that is not in the list yet", fix);
        } else {
            unusual(reader, &element, &name);
            names.push(name);
        }
    }
    Upgrades(names)
}

fn is_protocol(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let part = |part: &str| !part.is_empty() && part.bytes().all(token);
    name.len() <= NAME_MAX && name.split('/').count() <= 2 && name.split('/').all(part)
}

fn is_http(name: &str) -> bool {
    let kind = name.split('/').next().unwrap_or_default();
    NEVER.contains(&kind)
}

fn never(reader: &mut Reader, element: &Found<'_>, text: &str) {
    let report = Report {
        id: "CFG-06",
        message: format!("`{}`: \"{}\" is never passed on", element.path, clip(text)),
        effect: "requests inside the tunnel would pass every route, limit and check unseen"
            .to_owned(),
        fix: "remove it; clients go on over HTTP/1.1".to_owned(),
    };
    reader.error(&element.path, element.span.clone(), report);
}

/// A name that is nearly a known one would pass nothing on that anybody asks for.
fn unusual(reader: &mut Reader, element: &Found<'_>, name: &str) {
    if KNOWN.contains(&name) {
        return;
    }
    if let Some(word) = suggestion(name, KNOWN) {
        let report = Report {
            id: "CFG-06",
            message: format!("`{}` is \"{name}\"", element.path),
            effect: "clients that ask for another protocol are not upgraded".to_owned(),
            fix: format!("did you mean \"{word}\"?"),
        };
        reader.warning(&element.path, element.span.clone(), report);
    }
}
