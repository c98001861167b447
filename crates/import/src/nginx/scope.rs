//! Which value of an inherited directive holds where: the innermost of `http`, `server` and `location` that sets it.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::nginx::access::PROOFS;
use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::tree::Directive;

/// Inherited directives with one value. What precedes `_` in the second list is the protocol to the backend.
const SINGLE: &[&str] = &[
    "client_body_timeout",
    "client_header_timeout",
    "fastcgi_keep_conn",
    "health_check_timeout",
    "keepalive_timeout",
    "preread_timeout",
    "proxy_http_version",
    "proxy_ssl",
    "proxy_timeout",
    "send_timeout",
];
const BY_PROTOCOL: &[&str] = &[
    "_connect_timeout",
    "_next_upstream",
    "_next_upstream_timeout",
    "_next_upstream_tries",
    "_read_timeout",
    "_send_timeout",
    "_ssl_verify",
];
/// Protocols to a backend.
pub(super) const PROTOCOLS: &[&str] = &["proxy", "fastcgi", "uwsgi", "scgi", "grpc", "memcached"];
/// Inherited directives of which a level may hold several; an inner level replaces them all.
const SEVERAL: &[&str] = &["error_page", "proxy_set_header"];

/// Under this name the rules of access of a level are kept, both sorts in file order.
const ACCESS: &str = "allow and deny";

/// Whether a directive is read through its scope.
pub(super) fn is_inherited(name: &str) -> bool {
    is_single(name) || SEVERAL.contains(&name)
}

/// Whether a directive decides who is let in.
fn is_of_access(name: &str) -> bool {
    matches!(name, "allow" | "deny" | "satisfy") || PROOFS.contains(&name)
}

fn is_single(name: &str) -> bool {
    let by_protocol = |protocol: &&str| {
        let rest = name.strip_prefix(*protocol);
        rest.is_some_and(|rest| BY_PROTOCOL.contains(&rest))
    };
    SINGLE.contains(&name) || PROTOCOLS.iter().any(by_protocol)
}

/// The levels around a place, outermost first.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope<'t> {
    levels: Vec<Rc<BTreeMap<&'t str, Vec<&'t Directive>>>>,
}

impl<'t> Scope<'t> {
    /// This scope with one more level within it. A directive that stands there twice is an error, as in nginx.
    pub(super) fn with(&self, reader: &mut Reader<'_, '_>, level: &'t [Directive]) -> Self {
        let mut held: BTreeMap<&str, Vec<&Directive>> = BTreeMap::new();
        let is_held = |d: &&Directive| is_inherited(d.name()) || is_of_access(d.name());
        for directive in level.iter().filter(is_held) {
            let name = match directive.name() {
                "allow" | "deny" => ACCESS,
                name => name,
            };
            let earlier = held.entry(name).or_default();
            if is_single(name) && !earlier.is_empty() {
                let message = format!("`{name}` stands twice in one block");
                reader.refuse_at(directive, message, "keep the one that is meant");
            }
            earlier.push(directive);
        }
        let mut levels = self.levels.clone();
        levels.push(Rc::new(held));
        Self { levels }
    }

    /// The directive called `name` that holds here.
    pub(super) fn get(&self, name: &str) -> Option<&'t Directive> {
        self.all(name).last().copied()
    }

    /// Every directive called `name` that holds here.
    pub(super) fn all(&self, name: &str) -> &[&'t Directive] {
        let mut inner_first = self.levels.iter().rev();
        inner_first
            .find_map(|level| level.get(name))
            .map_or(&[], Vec::as_slice)
    }

    /// The rules of access that hold here, in file order.
    pub(super) fn access(&self) -> &[&'t Directive] {
        self.all(ACCESS)
    }

    /// The first argument of the directive called `name`.
    pub(super) fn word(&self, name: &str) -> Option<&'t Word> {
        self.get(name)
            .and_then(|directive| directive.args().first())
    }
}
