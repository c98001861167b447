//! What to write for a key that is no typo: a word of another balancer, or a key of another table.
//!
//! People come with the words of HAProxy, nginx and Envoy, and put a key one table too high. The list of the keys of a
//! table does not help them; the place where theirs belongs does. Limits: single words, no translation of values
//! (`evenkeel import` does that); nothing is said of a key that belongs in more than [`PLACES_MAX`] places.

use super::keys::{FILE, Kind, Table};
use super::reader::list;

/// Places that are named for one key.
const PLACES_MAX: usize = 3;

const POOL: &str = "a group of servers is a pool: `[pool.NAME]`, with `[pool.NAME.backend.SERVER]` for each server";
const SERVER: &str =
    "give each server a table of its own: `[pool.NAME.backend.SERVER]` with `address`";
const ALGORITHM: &str = "write `algorithm` in `[pool.NAME]`: `evenkeel explain algorithms`";
const LISTENER: &str = "where clients connect is a listener: `[listener.NAME]` with `address`";
const ROUTE: &str = "a route leads to a pool: `[[route]]` with `listener` and `pool`";
const LIMIT: &str =
    "write `max_in_flight` in `[pool.NAME]`: requests at once at each of its backends";
const CHECK: &str = "write a table `[pool.NAME.health]` with `path`";
const EJECTION: &str =
    "write a table `[pool.NAME.ejection]`: `consecutive` failures, out for `time`";

const TLS: &str = "write a table `[pool.NAME.tls]` with `ca` and `name` for TLS to backends";

/// Words of HAProxy, nginx and Envoy.
const WORDS: &[(&[&str], &str)] = &[
    (&["upstream", "cluster", "clusters", "backends"], POOL),
    (&["server", "servers", "endpoint", "endpoints"], SERVER),
    (
        &[
            "balance",
            "lb_policy",
            "load_balancing",
            "least_conn",
            "ip_hash",
        ],
        ALGORITHM,
    ),
    (&["frontend", "bind", "listen"], LISTENER),
    (
        &["default_backend", "use_backend", "proxy_pass", "location"],
        ROUTE,
    ),
    (&["maxconn", "max_conns", "max_requests"], LIMIT),
    (
        &["check", "httpchk", "health_check", "health_checks"],
        CHECK,
    ),
    (
        &["max_fails", "fail_timeout", "outlier_detection"],
        EJECTION,
    ),
    (
        &[
            "ssl",
            "verify",
            "verifyhost",
            "ca-file",
            "sni",
            "proxy_ssl_verify",
            "proxy_ssl_name",
            "proxy_ssl_trusted_certificate",
            "trusted_ca",
            "upstream_tls_context",
        ],
        TLS,
    ),
];

/// What to write in place of `key`, which the table `known` of a configuration does not have; `None`: nothing is known
/// of it.
pub(super) fn hint(key: &str, known: &Table) -> Option<String> {
    let mut places = Places {
        key,
        known,
        is_ours: false,
        found: Vec::new(),
    };
    places.walk(&FILE, "", "");
    if !places.is_ours {
        return None; // a side file, or a list of members
    }
    let lower = key.to_ascii_lowercase().replace('-', "_");
    let word = WORDS
        .iter()
        .find(|(words, _)| words.contains(&lower.as_str()));
    if let Some((_, fix)) = word {
        return Some((*fix).to_owned());
    }
    if FILE.knows(key) {
        return Some(format!(
            "`{key}` belongs at the top of the file, before the first table"
        ));
    }
    let found: Vec<&str> = places.found.iter().map(String::as_str).collect();
    let is_clear = (1..=PLACES_MAX).contains(&found.len());
    is_clear.then(|| format!("`{key}` belongs in {}", list(&found)))
}

/// The tables of a configuration that have a key.
struct Places<'a> {
    key: &'a str,
    known: &'a Table,
    /// Whether `known` is one of them all.
    is_ours: bool,
    found: Vec<String>,
}

impl Places<'_> {
    fn walk(&mut self, table: &'static Table, path: &str, header: &str) {
        self.is_ours |= std::ptr::eq(table, self.known);
        for key in table.keys {
            if key.name == self.key {
                self.found.push(header.to_owned());
            }
            let child = if path.is_empty() {
                key.name.to_owned()
            } else {
                format!("{path}.{}", key.name)
            };
            match key.kind {
                Kind::Table(inner) => self.walk(inner, &child, &format!("[{child}]")),
                Kind::Named(inner) | Kind::NamedFreely(inner) => {
                    let named = format!("{child}.NAME");
                    self.walk(inner, &named, &format!("[{named}]"));
                }
                Kind::List(inner) => self.walk(inner, &child, &format!("[[{child}]]")),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WORDS, hint};
    use crate::parse::keys::{FILE, MEMBER_LIST, POOL};

    #[test]
    fn a_word_of_another_balancer_and_a_key_in_the_wrong_place_are_put_right() {
        for (key, table, part) in [
            ("balance", &POOL, "`algorithm`"),
            ("server", &POOL, "[pool.NAME.backend.SERVER]"),
            ("upstream", &FILE, "[pool.NAME]"),
            ("MaxConn", &POOL, "max_in_flight"),
            (
                "weight",
                &POOL,
                "`weight` belongs in `[pool.NAME.backend.NAME]`",
            ),
            ("path_prefix", &POOL, "belongs in `[[route]]`"),
            ("zone_aware", &FILE, "belongs in `[pool.NAME]`"),
            ("workers", &POOL, "at the top of the file"),
        ] {
            let hint = hint(key, table).unwrap();
            assert!(hint.contains(part), "{key}: {hint}");
        }
        assert_eq!(hint("frobnicate", &POOL), None);
        assert_eq!(hint("weight", &MEMBER_LIST), None, "not of this file");
    }

    #[test]
    fn no_word_of_others_is_a_key_of_ours() {
        let words = || WORDS.iter().flat_map(|(words, _)| words.iter());
        let is_ours = |word: &&&str| POOL.knows(word) || FILE.knows(word);
        assert_eq!(words().find(is_ours), None);
    }
}
