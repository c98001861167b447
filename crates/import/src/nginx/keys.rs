//! How many values a hash key can have, as far as the file says: one, a few, or any number.
//!
//! Tried on nginx 1.22.1: a key that never changes sends every request to one server, and an empty key is no key at
//! all: such requests are served in turn, with `consistent` or without.
//!
//! Limits: what `set` gives in some places only is taken to be set wherever the pool is used; a variable of a request
//! that is not listed here is taken to have any number of values.

use std::collections::BTreeSet;

use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::tree::Directive;
use crate::nginx::value;
use crate::nginx::vars::{Locals, Part, parts};

/// Most values that are few.
const FEW_MAX: usize = 1_000;
/// Variables of a request with few values, and how many these are in practice.
const FEW: &[(&str, usize)] = &[
    ("http2", 3),
    ("http3", 3),
    ("https", 2),
    // GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    ("request_method", 7),
    ("request_completion", 2),
    ("scheme", 2),
    ("server_protocol", 4),
    ("ssl_client_verify", 3),
    ("ssl_protocol", 5),
    ("ssl_session_reused", 2),
];
/// Variables with one value for a whole process, which does not stand in the file.
const ONE: &[&str] = &["hostname", "nginx_version"];

/// What can be said of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variety {
    /// Always this text.
    One(String),
    /// At most so many texts.
    Few(u32),
    /// No telling.
    Any,
}

/// What the whole of `http` or `stream` says about keys.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    ports: BTreeSet<String>,
    servers: usize,
    /// Every `set`, as if all of them could hold where a key is made.
    sets: Locals,
}

impl Surroundings {
    /// Looks through the directives of `http` or `stream`. Calls itself as deep as blocks nest, which is bounded.
    pub(super) fn look(&mut self, block: &[Directive]) {
        for directive in block {
            match directive.name() {
                "listen" => drop(self.ports.insert(port(directive.arg(0)))),
                "server" if directive.block.is_some() => {
                    self.servers += 1;
                    if !directive.inner().iter().any(|d| d.name() == "listen") {
                        self.ports.insert("80".to_owned());
                    }
                }
                "set" => {
                    // The first is the value, further ones are further values.
                    let name = directive.arg(0).trim_start_matches('$');
                    let is_first = self.sets.is_unset(name);
                    self.sets
                        .set(directive, (!is_first).then_some("another `set`"));
                }
                "upstream" | "map" | "geo" | "split_clients" | "types" => continue,
                _ => {}
            }
            self.look(directive.inner());
        }
    }

    /// How many values the variable `name` can have; `None`: no telling.
    fn values(&self, reader: &Reader<'_, '_>, name: &str) -> Option<Vec<String>> {
        let template = format!("${{{name}}}");
        if let Ok(branches) = reader.variables.expand(&self.sets, &template, false) {
            let texts: BTreeSet<String> = branches.into_iter().map(|b| b.text).collect();
            return Some(texts.into_iter().collect());
        }
        let numbered = |count: usize| (0..count).map(|n| format!("{name} {n}")).collect();
        match name {
            "server_port" => Some(self.ports.iter().cloned().collect()),
            // Two listeners may share an address, so the values are at most these.
            "server_name" if self.servers > 1 => Some(numbered(self.servers)),
            _ if ONE.contains(&name) => Some(numbered(1)),
            _ => {
                let few = FEW.iter().find(|(known, _)| *known == name);
                few.map(|(_, count)| numbered(*count))
            }
        }
    }
}

/// What can be said of the key in `word`.
pub(super) fn variety(reader: &Reader<'_, '_>, word: &Word) -> Variety {
    let mut count = 1_usize;
    let mut text = String::new();
    for part in parts(&word.text) {
        let values = match part {
            Part::Text(literal) => vec![literal.to_owned()],
            Part::Variable(name) => match reader.surroundings.values(reader, name) {
                Some(values) => values,
                None => return Variety::Any,
            },
        };
        count = count.saturating_mul(values.len().max(1));
        if let [only] = values.as_slice() {
            text.push_str(only);
        }
    }
    match u32::try_from(count) {
        Ok(1) => Variety::One(text),
        Ok(few) if count <= FEW_MAX => Variety::Few(few),
        _ => Variety::Any,
    }
}

/// The port of a `listen`.
fn port(listen: &str) -> String {
    let last = listen.rsplit(':').next().unwrap_or(listen);
    let port = value::port(last).map(|port| port.to_string());
    port.unwrap_or_else(|| "80".to_owned())
}
