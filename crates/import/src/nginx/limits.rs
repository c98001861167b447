//! `limit_req` and `limit_conn` by a key that never changes: one bucket for everybody, which is a limit in total.
//!
//! Tried on nginx 1.22.1: with `limit_req_zone x zone=z:1m rate=2r/s` the third request of a second is refused,
//! whoever asks; with an empty key nothing is limited at all.

use std::collections::BTreeMap;

use crate::nginx::keys::{self, Variety};
use crate::nginx::notes::Reader;
use crate::nginx::tree::Directive;

/// Zones whose key never changes: name, key, rate as written.
type Zones<'t> = BTreeMap<(&'static str, &'t str), (String, &'t str)>;

/// Says which limits of `http` or `stream` are for all clients together, and which limit nothing.
pub(super) fn note(reader: &mut Reader<'_, '_>, block: &[Directive]) {
    let mut zones = Zones::new();
    for directive in block {
        let user = match directive.name() {
            "limit_req_zone" => "limit_req",
            "limit_conn_zone" => "limit_conn",
            _ => continue,
        };
        let Some(key) = directive.args().first() else {
            continue;
        };
        let value = |name: &str| {
            let mut words = directive.args().iter();
            words.find_map(|word| word.text.strip_prefix(name))
        };
        let zone = value("zone=").and_then(|zone| zone.split(':').next());
        let text = match keys::variety(reader, key) {
            Variety::One(text) => text,
            Variety::Hidden => key.text.clone(),
            Variety::Few(_) | Variety::AtMost(_) | Variety::Any => continue,
        };
        if let Some(zone) = zone {
            zones.insert((user, zone), (text, value("rate=").unwrap_or("")));
        }
    }
    if !zones.is_empty() {
        uses(reader, block, &zones);
    }
}

/// Calls itself as deep as blocks nest, which is bounded.
fn uses(reader: &mut Reader<'_, '_>, block: &[Directive], zones: &Zones<'_>) {
    for directive in block {
        let user = match directive.name() {
            "limit_req" => Some("limit_req"),
            "limit_conn" => Some("limit_conn"),
            _ => None,
        };
        let first = directive.arg(0);
        let zone = first.strip_prefix("zone=").unwrap_or(first);
        let found = user.and_then(|user| zones.get(&(user, zone)));
        if let Some((key, rate)) = found {
            one(reader, directive, zone, key, rate);
        }
        uses(reader, directive.inner(), zones);
    }
}

fn one(reader: &mut Reader<'_, '_>, directive: &Directive, zone: &str, key: &str, rate: &str) {
    let name = directive.name();
    let (source, range) = directive.place();
    let path = format!("{name}.{source}.{}", range.start);
    reader.place_directive(&path, directive);
    if key.is_empty() {
        let message = format!("`{name}` by zone `{zone}` limits nothing: its key is always empty");
        let effect = "requests without a key are not counted, so all of them pass";
        let fix = "use a key such as `$binary_remote_addr`";
        reader.accepted(true, &path, message, effect.to_owned(), fix);
        return;
    }
    let message = format!(
        "`{name}` by zone `{zone}` is one limit for all clients together: its key is always `{key}`"
    );
    let most = match name {
        "limit_req" => format!("{rate} in total"),
        _ => format!("{} connections in total", directive.arg(1)),
    };
    let effect = format!("{most}; what comes beyond it is refused with 503, whoever asks");
    let fix = "use `$binary_remote_addr`, if each client shall have a limit of its own";
    reader.accepted(false, &path, message, effect, fix);
}
