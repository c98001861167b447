//! How many values a hash key can have, as far as the file says: one, a few, or any number.
//!
//! Tried on nginx 1.22.1: a key that never changes sends every request to one server, and an empty key is no key at
//! all: such requests are served in turn, with `consistent` or without.
//!
//! `$server_name` and `$server_addr` have the values of the servers and of `listen`, and `$proxy_host` is the name of the
//! group itself. A constant whose value does not stand in the file (`$hostname`) is a constant still: one server gets
//! everything, and which one is not known.
//!
//! Limits: what `set` gives in some places only is taken to be set wherever the pool is used; a variable of a request
//! that is not listed here is taken to have any number of values.

use std::collections::BTreeSet;
use std::net::IpAddr;

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
/// Ways to pass a request on that leave `$proxy_host` empty.
const WITHOUT_HOST: &[&str] = &[
    "fastcgi_pass",
    "grpc_pass",
    "memcached_pass",
    "scgi_pass",
    "uwsgi_pass",
];

/// What can be said of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variety {
    /// Always this text.
    One(String),
    /// Always the same text, and which does not stand in the file.
    Hidden,
    /// At most so many texts.
    Few(u32),
    /// At most so many combinations; how many of them come shows only in the requests.
    AtMost(u32),
    /// No telling.
    Any,
}

/// What the whole of `http` or `stream` says about keys.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    ports: BTreeSet<String>,
    schemes: BTreeSet<&'static str>,
    /// Addresses of `listen`; `None` among them: any address of the machine, or a socket.
    addresses: BTreeSet<Option<String>>,
    /// First names of servers; `None` among them: not as it is written.
    servers: BTreeSet<Option<String>>,
    /// Whether some requests are passed on without a `$proxy_host`.
    is_host_unset: bool,
    /// Every `set`, as if all of them could hold where a key is made.
    sets: Locals,
}

impl Surroundings {
    /// Looks through the directives of `http` or `stream`. Calls itself as deep as blocks nest, which is bounded.
    pub(super) fn look(&mut self, block: &[Directive]) {
        for directive in block {
            match directive.name() {
                "listen" => self.listen(directive),
                "ssl" if directive.arg(0) == "on" => drop(self.schemes.insert("https")),
                "server" if directive.block.is_some() => self.server(directive.inner()),
                name if WITHOUT_HOST.contains(&name) => self.is_host_unset = true,
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

    fn listen(&mut self, directive: &Directive) {
        let written = directive.arg(0);
        self.ports.insert(port(written));
        let mut words = directive.args().iter();
        let is_tls = words.any(|word| matches!(word.text.as_str(), "ssl" | "quic"));
        self.schemes.insert(if is_tls { "https" } else { "http" });
        let host = written.rsplit_once(':').map_or(written, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip = host.parse::<IpAddr>().ok();
        let ip = ip.filter(|ip| !ip.is_unspecified() && !written.starts_with("unix:"));
        self.addresses.insert(ip.map(|ip| ip.to_string()));
    }

    fn server(&mut self, block: &[Directive]) {
        let named = |name: &str| block.iter().find(|d| d.name() == name);
        if named("listen").is_none() {
            self.ports.insert("80".to_owned());
            self.schemes.insert("http");
            self.addresses.insert(None);
        }
        let first = named("server_name").map_or("", |names| names.arg(0));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_as_written = !first.starts_with('.') && first.chars().all(is_plain);
        let name = is_as_written.then(|| first.to_ascii_lowercase());
        self.servers.insert(name);
    }

    /// The values that the variable `name` can have, `None` for one that does not stand in the file; `None`: no telling.
    fn values(&self, reader: &Reader<'_, '_>, name: &str) -> Option<Vec<Option<String>>> {
        let template = format!("${{{name}}}");
        if let Ok(branches) = reader.variables.expand(&self.sets, &template, false) {
            let texts: BTreeSet<String> = branches.into_iter().map(|b| b.text).collect();
            return Some(texts.into_iter().map(Some).collect());
        }
        let hidden = |count: usize| vec![None; count];
        match name {
            "server_port" => Some(self.ports.iter().cloned().map(Some).collect()),
            "scheme" if self.schemes.len() == 1 => {
                let schemes = self.schemes.iter();
                Some(schemes.map(|scheme| Some((*scheme).to_owned())).collect())
            }
            "server_addr" if !self.addresses.is_empty() => {
                let is_open = self.addresses.contains(&None);
                (!is_open).then(|| self.addresses.iter().cloned().collect())
            }
            // Two listeners may share an address, so the values are at most these.
            "server_name" if !self.servers.is_empty() => {
                Some(self.servers.iter().cloned().collect())
            }
            "proxy_host" if !self.is_host_unset => Some(hidden(1)),
            _ if ONE.contains(&name) => Some(hidden(1)),
            _ => {
                let few = FEW.iter().find(|(known, _)| *known == name);
                few.map(|(_, count)| hidden(*count))
            }
        }
    }
}

/// What can be said of the key in `word`.
pub(super) fn variety(reader: &Reader<'_, '_>, word: &Word) -> Variety {
    let mut count = 1_usize;
    let mut text = Some(String::new());
    let mut several = 0;
    for part in parts(&word.text) {
        let values = match part {
            Part::Text(literal) => vec![Some(literal.to_owned())],
            Part::Variable(name) => match reader.surroundings.values(reader, name) {
                Some(values) => values,
                None => return Variety::Any,
            },
        };
        count = count.saturating_mul(values.len().max(1));
        if let [only] = values.as_slice() {
            text = text.zip(only.as_deref()).map(|(text, only)| text + only);
        } else {
            several += 1;
        }
    }
    match u32::try_from(count) {
        Ok(1) => text.map_or(Variety::Hidden, Variety::One),
        Ok(few) if count <= FEW_MAX && several == 1 => Variety::Few(few),
        Ok(most) if count <= FEW_MAX => Variety::AtMost(most),
        _ => Variety::Any,
    }
}

/// The port of a `listen`.
fn port(listen: &str) -> String {
    let last = listen.rsplit(':').next().unwrap_or(listen);
    let port = value::port(last).map(|port| port.to_string());
    port.unwrap_or_else(|| "80".to_owned())
}
