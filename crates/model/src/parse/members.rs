//! `[pool.NAME.members]`, and the file of `[[member]]` tables that it may name.
//!
//! The list goes through the same reader as the configuration, so a slip in it is told with line, effect and fix, and a
//! list with an error is not used at all: the members found before stay. Limits: names are not resolved here.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Found, Reader, Report, Section, clip};
use super::reference::sub;
use super::typed::{Expected, Limits};
use super::{TEXT_MAX, document, keys, pool, text, too_long, too_many};
use crate::config::{Backend, Intent, Members, MembersSource};
use crate::finding::Finding;
use crate::ids::Name;

/// Most members of one pool.
pub const MEMBERS_MAX: usize = 10_000;

pub(super) const TTL: Limits<Duration> = Limits {
    min: Duration::from_millis(100),
    max: pool::HOUR,
    outside: "the server of names would be flooded, or a member that is gone would be kept for ever",
};

/// A list of members as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The members in file order; present exactly when no finding is an error.
    pub members: Option<Vec<Backend>>,
    /// Everything that is wrong, sorted by position.
    pub findings: Vec<Finding>,
}

/// Reads `[pool.NAME.members]` of the pool `s`.
pub(super) fn read(reader: &mut Reader, s: &Section<'_>) -> Option<Members> {
    let s = sub(reader, s, "members", &keys::MEMBERS)?;
    let file = s.path(reader, "file").map(MembersSource::File);
    let dns = s.read(reader, "dns", host_and_port);
    let srv = s.read(reader, "srv", service).map(MembersSource::Srv);
    let resolver = s.read(reader, "resolver", text::socket);
    if let Some(socket) = resolver
        && socket.port() == 0
        && let Some(found) = s.get(reader, "resolver")
    {
        let fix = "write the port of the DNS server, usually 53".to_owned();
        reader.wrong(&found, "an address with a port above 0", fix);
    }
    let ttl_min = s.duration(reader, "ttl_min", &TTL);
    let ttl_max = s.duration(reader, "ttl_max", &TTL);
    sources(reader, &s);
    if s.has("file") {
        for key in ["resolver", "ttl_min", "ttl_max"] {
            if let Some(found) = s.get(reader, key) {
                no_use(reader, &found);
            }
        }
    }
    let ttl_min = ttl_min.unwrap_or(Members::TTL_MIN.min(ttl_max.unwrap_or(Members::TTL_MIN)));
    let ttl_max = ttl_max.unwrap_or(Members::TTL_MAX.max(ttl_min));
    if ttl_min > ttl_max
        && let Some(found) = s.get(reader, "ttl_min")
    {
        let fix = "write a `ttl_min` that is not above `ttl_max`".to_owned();
        reader.wrong(&found, "at most `ttl_max`", fix);
    }
    Some(Members {
        source: file.or(dns).or(srv)?,
        resolver,
        ttl_min,
        ttl_max,
    })
}

/// Exactly one of the sources must be named.
fn sources(reader: &mut Reader, s: &Section<'_>) {
    const SOURCES: [&str; 3] = ["file", "dns", "srv"];
    let named: Vec<&str> = SOURCES.into_iter().filter(|key| s.has(key)).collect();
    let (id, message) = match named.as_slice() {
        [_] => return,
        [] => ("CFG-04", format!("`{}` names no source", s.path)),
        [first, second, ..] => (
            "CFG-06",
            format!("`{}` names two sources, `{first}` and `{second}`", s.path),
        ),
    };
    let report = Report {
        id,
        message,
        effect: "it is not known where the members of the pool are found".to_owned(),
        fix: "write one of `file = \"members.toml\"`, `dns = \"web.internal:8080\"` and `srv = \"_http._tcp.web.internal\"`"
            .to_owned(),
    };
    reader.error(&s.path, s.span.clone(), report);
}

fn no_use(reader: &mut Reader, found: &Found<'_>) {
    let report = Report {
        id: "CFG-06",
        message: format!(
            "`{}` says how DNS is asked, but the members come from a file",
            found.path
        ),
        effect: "the key would do nothing".to_owned(),
        fix: "take the key out, or name `dns` or `srv`".to_owned(),
    };
    reader.error(&found.path, found.span.clone(), report);
}

/// An intent that what is found can never meet.
pub(super) fn intent_can_be(
    reader: &mut Reader,
    s: &Section<'_>,
    written: Option<Intent>,
    members: Option<&Members>,
) {
    let from_dns = members.is_some_and(|m| !matches!(m.source, MembersSource::File(_)));
    if written != Some(Intent::Capacity) || !from_dns {
        return;
    }
    if let Some(found) = s.get(reader, "intent") {
        let report = Report {
            id: "CFG-06",
            message: format!("`{}` is capacity, but DNS tells no capacity", found.path),
            effect: "the share that the members should get would not be known".to_owned(),
            fix: "write `intent = \"weight\"` or \"even\", or list the members in a file"
                .to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
}

/// `web.internal:8080`.
fn host_and_port(text: &str) -> Result<MembersSource, Expected> {
    let wrong = || {
        Expected::new(
            "a host name with a port",
            format!(
                "write \"{}:8080\"",
                clip(text.split(':').next().unwrap_or("web.internal"))
            ),
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_not_a_port| wrong())?;
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    if port == 0 || is_address {
        return Err(wrong());
    }
    let host = domain(host).ok_or_else(wrong)?;
    Ok(MembersSource::Dns { host, port })
}

/// `_http._tcp.web.internal`.
fn service(text: &str) -> Result<String, Expected> {
    let has_form = |name: &String| {
        let mut labels = name.split('.');
        let mut underlined = || {
            labels
                .next()
                .is_some_and(|l| l.len() > 1 && l.starts_with('_'))
        };
        underlined() && underlined() && labels.next().is_some_and(|label| !label.is_empty())
    };
    domain(text).filter(has_form).ok_or_else(|| {
        Expected::new(
            "a service such as \"_http._tcp.web.internal\"",
            "write `_SERVICE._PROTOCOL.NAME`; for plain addresses of a host use `dns`",
        )
    })
}

/// A domain name in lower case; a dot at its end (no search list) stays.
fn domain(text: &str) -> Option<String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_exact = !bare.starts_with("*.") && !bare.starts_with('[');
    let lower = text::host(bare).ok().filter(|_| is_exact)?;
    Some(if text.ends_with('.') {
        lower + "."
    } else {
        lower
    })
}

/// Reads a file of `[[member]]` tables. `file` is the name that findings carry, `taken` are the names of the pool's
/// own backends, `intent` what the pool wants of its members.
pub fn list_of_members(text: &str, file: Option<&str>, intent: Intent, taken: &[&Name]) -> Listed {
    let mut reader = Reader::default();
    let mut members = Vec::new();
    if text.len() > TEXT_MAX {
        reader.error("", 0..0, too_long(text.len()));
    } else if let Some(table) = document(&mut reader, text) {
        let root = reader.root(&table, &keys::MEMBER_LIST);
        members = listed(&mut reader, &root, intent, taken);
    }
    let is_refused = reader.has_errors();
    let (findings, _) = reader.into_findings(text, file);
    Listed {
        members: (!is_refused).then_some(members),
        findings,
    }
}

fn listed(
    reader: &mut Reader,
    root: &Section<'_>,
    intent: Intent,
    taken: &[&Name],
) -> Vec<Backend> {
    let mut elements = root.elements(reader, "member");
    if elements.len() > MEMBERS_MAX {
        let report = too_many("members", MEMBERS_MAX, elements.len());
        reader.error("member", 0..0, report);
        elements.truncate(MEMBERS_MAX);
    }
    let mut seen: BTreeMap<Name, String> = BTreeMap::new();
    for name in taken {
        seen.insert((*name).clone(), "a backend of the configuration".to_owned());
    }
    let mut members = Vec::with_capacity(elements.len());
    for (index, (_, value)) in elements.into_iter().enumerate() {
        let Some(s) = reader.section(called(index, value.get_ref()), value, &keys::MEMBER) else {
            continue;
        };
        s.require(
            reader,
            "name",
            "it could not be told from the others",
            "name = \"web-1\"",
        );
        if intent == Intent::Capacity {
            let effect = "the share that it should get is not known";
            s.require(reader, "capacity_rps", effect, "capacity_rps = 600");
        }
        let name = s.name(reader, "name");
        if let Some(name) = &name
            && let Some(other) = seen.insert(name.clone(), "another member".to_owned())
            && let Some(found) = s.get(reader, "name")
        {
            let report = Report {
                id: "CFG-07",
                message: format!("a member is called `{name}`, as {other} is"),
                effect: "one of the two would silently win, so the list is not used".to_owned(),
                fix: "give each member a name of its own".to_owned(),
            };
            reader.error(&found.path, found.span, report);
        }
        if let Some(member) = pool::values(reader, &s, name) {
            members.push(Backend {
                discovered: true,
                ..member
            });
        }
    }
    members
}

/// What a member is called in findings: by its name, or counted from 1.
fn called(index: usize, member: &DeValue<'_>) -> String {
    let table = member.as_table();
    let name = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == "name"));
    let name = name.and_then(|(_, value)| value.get_ref().as_str());
    let name = name.and_then(|name| Name::new(name).ok());
    name.map_or_else(
        || format!("member {}", index + 1),
        |name| format!("member {name}"),
    )
}

#[cfg(test)]
mod tests;
