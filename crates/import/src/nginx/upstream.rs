//! `upstream`: servers with their parameters, the method of selection, kept connections, shared state.
//!
//! Effective values as in nginx 1.22: weight 1, `max_fails` 1 within 10 s (never in a group of a single server, which
//! nginx always uses), no limit of connections, everything per worker unless there is a `zone`. nginx reads the block
//! from top to bottom and so does this: the last method wins, a method after `keepalive` undoes it, and `backup` is
//! refused only below a method that knows no backups. Parameters of the commercial edition are understood.

use std::time::Duration;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{
    Among, Backend, Cost, Fallback, Hash, HashKey, HashTable, LeastLoaded, Passive, Pool, Role,
    Selection, Sticky, Tie, Touches, Wait,
};

use crate::BACKENDS_MAX;
use crate::nginx::address::Address;
use crate::nginx::keys::{self, Variety};
use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::pools::Draft;
use crate::nginx::tree::Directive;
use crate::nginx::value;

/// How long `keepalive` keeps a connection.
const KEEP: Duration = Duration::from_secs(60);
/// `fail_timeout`.
const WINDOW: Duration = Duration::from_secs(10);
/// Directives of the block that decide nothing about the spread.
const HARMLESS: &[&str] = &[
    "keepalive_requests",
    "keepalive_time",
    "ntlm",
    "resolver",
    "resolver_timeout",
];
/// Methods of selection.
const METHODS: &[&str] = &["least_conn", "ip_hash", "hash", "random", "least_time"];

/// A group while its block is read.
struct Group<'t> {
    name: &'t str,
    is_http: bool,
    path: String,
    draft: Draft,
    /// The method in effect.
    method: Option<&'t Directive>,
    keepalive: Option<&'t Directive>,
    is_kept: bool,
    keep_timeout: Duration,
    has_zone: bool,
    /// Servers by how often each name occurs, for unique names.
    seen: std::collections::BTreeMap<String, u32>,
    by_name: usize,
    /// Whether the servers stand elsewhere or are made by code.
    is_open: bool,
}

/// Reads an `upstream` block.
pub(super) fn read(reader: &mut Reader<'_, '_>, directive: &Directive, is_http: bool) {
    let [name] = directive.args() else {
        let message = format!("`upstream` takes one name, got {}", directive.args().len());
        reader.refuse_at(directive, message, "write `upstream NAME { .. }`");
        return;
    };
    if directive.block.is_none() {
        reader.refuse_at(
            directive,
            "`upstream` has no block".to_owned(),
            "write `{ .. }`",
        );
        return;
    }
    let kind = if is_http {
        "upstream"
    } else {
        "stream.upstream"
    };
    let unique = reader.pools.unique(&name.text);
    let path = format!("{kind}.{}", path_segment(&unique));
    reader.place_directive(&path, directive);
    let mut pool = Pool::blank(&unique, &path);
    pool.is_http = is_http;
    pool.queue_max = Some(0);
    pool.timeouts.queue = Wait::For(Duration::ZERO);
    let mut group = Group {
        name: &name.text,
        is_http,
        path,
        draft: Draft::new(pool),
        method: None,
        keepalive: None,
        is_kept: false,
        keep_timeout: KEEP,
        has_zone: false,
        seen: std::collections::BTreeMap::new(),
        by_name: 0,
        is_open: false,
    };
    for inner in directive.inner() {
        group.directive(reader, inner);
    }
    group.finish(reader, directive);
}

impl<'t> Group<'t> {
    fn directive(&mut self, reader: &mut Reader<'_, '_>, inner: &'t Directive) {
        match inner.name() {
            "server" => self.server(reader, inner),
            name if METHODS.contains(&name) => self.method(reader, inner),
            "keepalive" => {
                if value::count(inner.arg(0)).is_none_or(|count| count == 0) {
                    let message =
                        format!("`keepalive` takes a count above 0, got `{}`", inner.arg(0));
                    reader.refuse_at(inner, message, "write a whole number");
                }
                reader.place_directive(&format!("{}.timeout.keep", self.path), inner);
                self.keepalive = Some(inner);
                self.is_kept = true;
            }
            "keepalive_timeout" => match value::time(inner.arg(0)) {
                Some(time) => self.keep_timeout = time,
                None => refuse_time(reader, inner),
            },
            "zone" => self.has_zone = true,
            "sticky" => self.sticky(reader, inner),
            "queue" => self.queue(reader, inner),
            "state" => {
                self.is_open = true;
                self.pool_gap(reader, inner);
            }
            name if HARMLESS.contains(&name) => {}
            name if name.starts_with("balancer_by_lua") || name == "fair" => {
                self.draft.pool.selection = Selection::Other(inner.brief());
                self.pool_gap(reader, inner);
            }
            // Active checks of other builds.
            name if name.starts_with("check") => {
                reader.gap(&self.path, inner, Touches::Resilience);
            }
            _ => self.pool_gap(reader, inner),
        }
    }

    fn pool_gap(&self, reader: &mut Reader<'_, '_>, directive: &Directive) {
        let touches = Touches::Pool(self.draft.pool.name.clone());
        reader.gap(&self.path, directive, touches);
    }

    fn server(&mut self, reader: &mut Reader<'_, '_>, inner: &'t Directive) {
        let Some(word) = inner.args().first() else {
            reader.refuse_at(inner, "`server` names no address".to_owned(), "name one");
            return;
        };
        let port_default = if self.is_http { 80 } else { 0 };
        let address = match Address::parse(&word.text, port_default) {
            Ok(address) => address,
            Err(reason) => {
                reader.refuse(word, reason, "write `host:port` or `unix:/path`");
                return;
            }
        };
        reader.pools.backends += 1;
        if reader.pools.backends > BACKENDS_MAX {
            if reader.pools.backends == BACKENDS_MAX + 1 {
                let message = format!("more than {BACKENDS_MAX} servers");
                reader.refuse(word, message, "check a part of the groups by itself");
            }
            return;
        }
        let count = self.seen.entry(word.text.clone()).or_insert(0);
        *count += 1;
        let name = match *count {
            1 => word.text.clone(),
            number => format!("{}#{number}", word.text),
        };
        let path = format!("{}.server.{}", self.path, path_segment(&name));
        reader.place(&path, word);
        self.by_name += usize::from(address.is_name());
        let mut backend = Backend::blank(&name, &path, &address.full());
        backend.identity.clone_from(&word.text);
        let mut passive = Passive {
            failures: 1,
            window: WINDOW,
        };
        for parameter in inner.args().iter().skip(1) {
            self.parameter(reader, inner, parameter, &mut backend, &mut passive);
        }
        // Within no time nothing is counted, as with `max_fails=0`.
        if passive.window.is_zero() {
            passive.failures = 0;
        }
        backend.passive = Some(passive);
        self.draft.pool.backends.push(backend);
    }

    fn parameter(
        &mut self,
        reader: &mut Reader<'_, '_>,
        server: &Directive,
        word: &Word,
        backend: &mut Backend,
        passive: &mut Passive,
    ) {
        let (key, text) = word.text.split_once('=').unwrap_or((&word.text, ""));
        let count = || value::count(text);
        let small = || count().and_then(|count| u32::try_from(count).ok());
        let place = |reader: &mut Reader<'_, '_>, what: &str| {
            let path = format!("{}.{what}", backend.path);
            reader.place(&path, word);
            path
        };
        let understood = match key {
            "weight" => small().filter(|weight| *weight > 0).map(|weight| {
                backend.weight_path = Some(place(reader, "weight"));
                backend.weight = weight;
            }),
            "max_fails" => small().map(|failures| {
                place(reader, "max_fails");
                passive.failures = failures;
            }),
            "fail_timeout" => value::seconds(text).map(|window| {
                place(reader, "fail_timeout");
                passive.window = window;
            }),
            "max_conns" => count().map(|most| {
                place(reader, "in_flight_max");
                backend.in_flight_max = (most > 0).then_some(most);
            }),
            "slow_start" => value::time(text).map(|time| {
                place(reader, "slow_start");
                backend.slow_start = (!time.is_zero()).then_some(time);
            }),
            "backup" if self.refuses_backup() => None,
            "backup" if word.text == key => {
                place(reader, "role");
                if backend.role == Role::Active {
                    backend.role = Role::Backup;
                }
                Some(())
            }
            "down" | "drain" if word.text == key => {
                place(reader, "role");
                backend.role = Role::Disabled;
                Some(())
            }
            "route" => Some(()),
            "resolve" | "service" => {
                self.is_open = true;
                let touches = Touches::Pool(self.draft.pool.name.clone());
                reader.gap(&backend.path, server, touches);
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            let message = if key == "backup" {
                let method = self.method.map_or("", Directive::name);
                format!("`{method}` knows no `backup`")
            } else {
                format!("`server` takes no `{}`", word.text)
            };
            reader.refuse(word, message, "see the parameters that nginx documents");
        }
    }

    fn refuses_backup(&self) -> bool {
        self.method
            .is_some_and(|method| matches!(method.name(), "ip_hash" | "hash" | "random"))
    }

    fn method(&mut self, reader: &mut Reader<'_, '_>, inner: &'t Directive) {
        let path = format!("{}.algorithm", self.path);
        reader.place_directive(&path, inner);
        if let Some(earlier) = self.method {
            self.draft.pool.fallback = Some(Fallback {
                requested: earlier.brief(),
                reason: format!("`{}` further down replaces it", inner.brief()),
            });
        }
        self.method = Some(inner);
        // nginx hooks `keepalive` onto the method above it; a method below takes its place.
        if self.is_kept {
            self.is_kept = false;
            let message = format!("`keepalive` of `{}` has no effect", self.name);
            let effect = "every request opens a connection to a backend of its own";
            let fix = format!("move `keepalive` below `{}`", inner.name());
            reader.warn(
                &format!("{}.timeout.keep", self.path),
                message,
                effect,
                &fix,
            );
        }
        match selection(inner) {
            Ok(mut selection) => {
                self.key(reader, inner, &mut selection);
                if matches!(selection, Selection::Other(_)) {
                    self.pool_gap(reader, inner);
                }
                self.draft.pool.selection = selection;
            }
            Err(reason) => reader.refuse_at(inner, reason, "see the parameters nginx documents"),
        }
    }

    /// What the file says about the values of the key.
    fn key(&mut self, reader: &mut Reader<'_, '_>, inner: &Directive, selection: &mut Selection) {
        // A method further down replaces this one.
        self.draft.pool.keys = None;
        let (Selection::Hash(hash), Some(word)) = (&mut *selection, inner.args().first()) else {
            return;
        };
        match keys::variety(reader, word) {
            Variety::One(value) if value.is_empty() => {
                self.draft.pool.fallback = Some(Fallback {
                    requested: inner.brief(),
                    reason:
                        "its key is always empty, and nginx serves requests without a key in turn"
                            .to_owned(),
                });
                *selection = Selection::ByWeight;
            }
            Variety::One(value) => hash.key = HashKey::Constant(value),
            Variety::Hidden => {
                hash.key = HashKey::Other(word.text.clone());
                self.draft.pool.keys = Some(1);
            }
            Variety::Few(count) => self.draft.pool.keys = Some(count),
            Variety::AtMost(count) => {
                let path = format!("{}.algorithm", self.path);
                let because = format!(
                    "its key has at most {count} values, and the requests decide how many of them come"
                );
                let touches = Touches::Pool(self.draft.pool.name.clone());
                reader
                    .book
                    .unknowable(&path, &inner.brief(), &because, touches);
            }
            Variety::Any => {}
        }
    }

    fn sticky(&mut self, reader: &mut Reader<'_, '_>, inner: &Directive) {
        let path = format!("{}.sticky", self.path);
        reader.place_directive(&path, inner);
        let parameter = |name: &str| {
            let mut words = inner.args().iter().map(|word| word.text.as_str());
            words.find_map(|word| word.strip_prefix(name))
        };
        let (by, time, usual) = match inner.arg(0) {
            "cookie" => (
                format!("cookie {}", inner.arg(1)),
                parameter("expires="),
                Wait::Endless,
            ),
            "route" => (inner.brief(), None, Wait::Endless),
            "learn" => {
                let usual = Wait::For(Duration::from_secs(600));
                (
                    parameter("lookup=").unwrap_or("").to_owned(),
                    parameter("timeout="),
                    usual,
                )
            }
            _ => {
                self.pool_gap(reader, inner);
                return;
            }
        };
        let lasts = time.and_then(value::time).map_or(usual, Wait::For);
        self.draft.pool.sticky = Some(Sticky {
            path,
            by,
            lasts,
            one_key: false,
        });
    }

    fn queue(&mut self, reader: &mut Reader<'_, '_>, inner: &Directive) {
        let Some(most) = value::count(inner.arg(0)) else {
            let message = format!("`queue` takes a count, got `{}`", inner.arg(0));
            reader.refuse_at(inner, message, "write a whole number");
            return;
        };
        let time = inner
            .args()
            .get(1)
            .and_then(|word| word.text.strip_prefix("timeout="));
        let time = time.and_then(value::time).unwrap_or(KEEP);
        reader.place_directive(&format!("{}.queue", self.path), inner);
        reader.place_directive(&format!("{}.timeout.queue", self.path), inner);
        self.draft.pool.queue_max = Some(most);
        self.draft.pool.timeouts.queue = Wait::For(time);
    }

    fn finish(mut self, reader: &mut Reader<'_, '_>, directive: &Directive) {
        let pool = &mut self.draft.pool;
        let all = pool.backends.len();
        let backups = pool
            .backends
            .iter()
            .filter(|b| b.role == Role::Backup)
            .count();
        if all == backups && !self.is_open && reader.pools.backends <= BACKENDS_MAX {
            let what = if all == 0 {
                "no servers"
            } else {
                "only backup servers"
            };
            let message = format!("`upstream {}` has {what}", self.name);
            reader.refuse_at(directive, message, "add a `server` that is no `backup`");
        }
        for backend in &mut pool.backends {
            backend.limit_per_worker = !self.has_zone;
            if all == 1 {
                backend.passive = None;
            }
        }
        if self.by_name > 0 && all > 1 {
            let what = format!("upstream {}", self.name);
            let because = format!(
                "{} of its {all} servers are names, and nginx puts in every address of a name with the full weight; the forecast takes one each",
                self.by_name
            );
            let touches = Touches::Pool(self.draft.pool.name.clone());
            reader.book.unknowable(&self.path, &what, &because, touches);
        }
        self.draft.keep = self.is_kept.then_some(Wait::For(self.keep_timeout));
        if !reader.pools.add_group(self.is_http, self.name, self.draft) {
            let message = format!("there is a second `upstream {}`", self.name);
            reader.refuse_at(directive, message, "rename one of them");
        }
    }
}

fn refuse_time(reader: &mut Reader<'_, '_>, directive: &Directive) {
    let message = format!(
        "`{}` must be a time, got `{}`",
        directive.name(),
        directive.arg(0)
    );
    reader.refuse_at(directive, message, "write a time such as `5s`");
}

/// What a method does; the error says why nginx refuses it.
fn selection(method: &Directive) -> Result<Selection, String> {
    let least = |among, tie| {
        let cost = Cost::PerWeight;
        Selection::LeastLoaded(LeastLoaded { among, cost, tie })
    };
    let words: Vec<&str> = method
        .args()
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    let selection = match (method.name(), words.as_slice()) {
        ("least_conn", []) => least(Among::All, Tie::ByWeight),
        ("random", []) => Selection::ByWeight,
        ("random", ["two"] | ["two", "least_conn"]) => {
            least(Among::DrawnByWeight(2), Tie::LastDrawn)
        }
        ("random", ["two", by]) if by.starts_with("least_time=") => {
            Selection::Other(method.brief())
        }
        ("least_time", ["header" | "last_byte" | "connect" | "first_byte", ..]) => {
            Selection::Other(method.brief())
        }
        ("ip_hash", []) => hash(HashKey::ClientAddress, HashTable::NginxModulo),
        ("hash", [key]) => hash(hash_key(key), HashTable::NginxModulo),
        ("hash", [key, "consistent"]) => hash(hash_key(key), HashTable::NginxRing),
        (name, words) => return Err(format!("`{name}` takes no `{}`", words.join(" "))),
    };
    Ok(selection)
}

fn hash(key: HashKey, table: HashTable) -> Selection {
    Selection::Hash(Hash {
        key,
        table,
        balance_factor: None,
    })
}

fn hash_key(text: &str) -> HashKey {
    let is_name = |name: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty() && name.chars().all(allowed)
    };
    let bare = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let name = bare
        .or_else(|| text.strip_prefix('$'))
        .filter(|name| is_name(name));
    let Some(name) = name else {
        return HashKey::Other(text.to_owned());
    };
    let after = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
    match name {
        "remote_addr" | "binary_remote_addr" => HashKey::ClientAddress,
        "request_uri" | "uri" | "document_uri" => HashKey::Uri,
        _ => after("http_")
            .map(|header| HashKey::Header(header.replace('_', "-")))
            .or_else(|| after("cookie_").map(HashKey::Cookie))
            .or_else(|| after("arg_").map(HashKey::Query))
            .unwrap_or_else(|| HashKey::Other(text.to_owned())),
    }
}
