//! What serves operators rather than traffic: the admin address and its tokens, receivers, webhooks, escalation.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{Named, Reader, Section};
use super::reference::{bounded, check_reference, sub};
use super::typed::Limits;
use super::{OPERATIONS_MAX, keys, text, too_many};
use crate::config::{Admin, AdminToken, EscalationLevel, Receiver, Role, Webhook};
use crate::ids::Name;

const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7700);
pub(super) const ACK_WITHIN: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: Duration::from_hours(7 * 24),
    outside: "the next level would be paged at once, or never",
};

pub(super) fn admin(reader: &mut Reader, root: &Section<'_>) -> (Admin, Range<usize>) {
    let mut admin = Admin {
        address: ADMIN_DEFAULT,
        tokens: Vec::new(),
    };
    let Some(section) = sub(reader, root, "admin", &keys::ADMIN) else {
        return (admin, 0..0);
    };
    let span = section
        .get(reader, "address")
        .map_or(section.span.clone(), |found| found.span);
    if let Some(address) = section.read(reader, "address", text::socket) {
        admin.address = address;
    }
    for named in bounded(reader, &section, "token", "admin tokens", OPERATIONS_MAX) {
        let Some(section) = reader.section(named.path, named.value, &keys::TOKEN) else {
            continue;
        };
        let effect = "nobody could use the token";
        section.require(reader, "file", effect, "file = \"/etc/evenkeel/ci.token\"");
        section.require(reader, "role", effect, "role = \"read\"");
        let file = section.path(reader, "file");
        let role = section.choice(
            reader,
            "role",
            &[("read", Role::Read), ("operate", Role::Operate)],
        );
        if let (Some(name), Some(file), Some(role)) = (named.name, file, role) {
            admin.tokens.push(AdminToken { name, file, role });
        }
    }
    (admin, span)
}

pub(super) fn receiver(reader: &mut Reader, named: &Named<'_>) -> Option<Receiver> {
    let section = reader.section(named.path.clone(), named.value, &keys::RECEIVER)?;
    let effect = "no notice could be delivered";
    section.require(
        reader,
        "url",
        effect,
        "url = \"https://hooks.example.com/evenkeel\"",
    );
    section.require(
        reader,
        "secret_file",
        effect,
        "secret_file = \"/etc/evenkeel/hook.secret\"",
    );
    let url = section.read(reader, "url", text::url);
    let secret_file = section.path(reader, "secret_file");
    Some(Receiver {
        name: named.name.clone()?,
        url: url?,
        secret_file: secret_file?,
    })
}

pub(super) fn webhook(reader: &mut Reader, named: &Named<'_>) -> Option<Webhook> {
    let section = reader.section(named.path.clone(), named.value, &keys::WEBHOOK)?;
    section.require(
        reader,
        "secret_file",
        "no message could be believed",
        "secret_file = \"/etc/evenkeel/deploys.secret\"",
    );
    let secret_file = section.path(reader, "secret_file");
    Some(Webhook {
        name: named.name.clone()?,
        secret_file: secret_file?,
    })
}

pub(super) fn escalation(
    reader: &mut Reader,
    root: &Section<'_>,
    receivers: &BTreeSet<Name>,
) -> Vec<EscalationLevel> {
    let mut elements = root.elements(reader, "escalation");
    if elements.len() > OPERATIONS_MAX {
        let span = elements
            .get(OPERATIONS_MAX)
            .map_or(0..0, |(_, value)| value.span());
        let count = elements.len();
        reader.error(
            "escalation",
            span,
            too_many("escalation levels", OPERATIONS_MAX, count),
        );
        elements.truncate(OPERATIONS_MAX);
    }
    elements
        .into_iter()
        .filter_map(|(path, value)| escalation_level(reader, path, value, receivers))
        .collect()
}

fn escalation_level(
    reader: &mut Reader,
    path: String,
    value: &Spanned<DeValue<'_>>,
    receivers: &BTreeSet<Name>,
) -> Option<EscalationLevel> {
    let section = reader.section(path, value, &keys::LEVEL)?;
    let effect = "nobody would be paged at this level";
    section.require(reader, "name", effect, "name = \"on-call\"");
    section.require(reader, "notify", effect, "notify = [\"chat\"]");
    let name = section.name(reader, "name");
    let ack_within = section
        .duration(reader, "ack_within", &ACK_WITHIN)
        .unwrap_or(Duration::from_mins(5));
    let found = section.get(reader, "notify")?;
    let DeValue::Array(array) = found.value else {
        reader.wrong(
            &found,
            "a list of receivers",
            "write `notify = [\"chat\"]`".to_owned(),
        );
        return None;
    };
    if array.is_empty() || array.len() > OPERATIONS_MAX {
        let expected = format!("a list of 1 to {OPERATIONS_MAX} receivers");
        reader.wrong(&found, expected, "name those who are paged".to_owned());
    }
    let mut notify = Vec::new();
    for element in array.iter().take(OPERATIONS_MAX) {
        let name = element
            .get_ref()
            .as_str()
            .and_then(|text| Name::new(text).ok());
        match name {
            Some(name) => {
                if check_reference(
                    reader,
                    &found.path,
                    element.span(),
                    "receiver",
                    &name,
                    receivers,
                ) {
                    notify.push(name);
                }
            }
            None => reader.wrong(
                &found,
                "a list of receivers' names",
                "write `notify = [\"chat\"]`".to_owned(),
            ),
        }
    }
    Some(EscalationLevel {
        name: name?,
        notify,
        ack_within,
    })
}
