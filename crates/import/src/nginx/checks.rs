//! `health_check` of the commercial edition: its parameters and defaults as nginx documents them.
//!
//! Limits: `match` blocks are carried by name; the check is that of the pool, although it stands in a `location`.

use std::time::Duration;

use evenkeel_model::setup::{CheckKind, Health};

use crate::nginx::notes::Reader;
use crate::nginx::tree::Directive;
use crate::nginx::value;

/// Gives `pool` the check that `check` describes.
pub(super) fn health(
    reader: &mut Reader<'_, '_>,
    pool: &str,
    check: &Directive,
    is_http: bool,
    timeout: Option<Duration>,
) {
    let Some(index) = reader.pools.by_name(pool) else {
        return;
    };
    let path = format!("{}.health", reader.pools.path(index));
    reader.place_directive(&path, check);
    let mut uri = "/".to_owned();
    let mut special = None;
    let mut health = Health {
        path: path.clone(),
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(5),
        timeout: timeout.unwrap_or(Duration::from_secs(if is_http { 60 } else { 5 })),
        rise: 1,
        fall: 1,
    };
    for word in check.args() {
        let (key, text) = word.text.split_once('=').unwrap_or((&word.text, ""));
        let count = || value::count(text).and_then(|count| u32::try_from(count).ok());
        let key_path = match key {
            "interval" => value::time(text)
                .map(|time| health.interval = time)
                .map(|()| "interval"),
            "fails" => count().map(|fall| health.fall = fall).map(|()| "fall"),
            "passes" => count().map(|rise| health.rise = rise).map(|()| "rise"),
            "uri" => {
                text.clone_into(&mut uri);
                Some("path")
            }
            "match" | "type" | "udp" => {
                special = Some(word.text.clone());
                Some("kind")
            }
            "jitter" | "port" | "mandatory" | "persistent" | "keepalive_time" => Some("other"),
            _ => None,
        };
        if let Some(key) = key_path {
            reader.place(&format!("{path}.{key}"), word);
        } else {
            let message = format!("`health_check` takes no `{}`", word.text);
            reader.refuse(word, message, "see the parameters that nginx documents");
        }
    }
    let expect = (200, 399);
    health.kind = match special {
        Some(special) => CheckKind::Other(special),
        None if is_http => CheckKind::Http { path: uri, expect },
        None => CheckKind::Tcp,
    };
    let message = "`health_check` is known to the commercial edition only".to_owned();
    let effect = "nginx without it refuses to start";
    reader.inform(
        &path,
        message,
        effect,
        "nothing to do on the commercial edition",
    );
    reader.pools.check(index, health);
}
