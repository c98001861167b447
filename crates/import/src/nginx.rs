//! nginx.conf: defaults and behaviour of nginx 1.22.1 as Debian 12 ships it.
//!
//! Paths that a value of the file is placed at, and that rules may ask for (`origin.declares`):
//!
//! | path | directive |
//! |---|---|
//! | `workers`, `connections_max`, `files_max` | `worker_processes`, `worker_connections`, `worker_rlimit_nofile` |
//! | `listener."*:80"` | the first `listen` for it; `.timeout.head`, `.timeout.client`, `.timeout.idle`: `client_header_timeout`, `client_body_timeout`, `keepalive_timeout` (`stream`: `preread_timeout`, `proxy_timeout`) of its default server |
//! | `server.N`, `server.N.location."/x"`, `stream.server.N` | a route: `server` by number from 0, its `location` |
//! | `upstream.NAME`, `stream.upstream.NAME` | a pool: `upstream` |
//! | `proxy_pass."host:port"`, `fastcgi_pass."unix:/x"` and so on | a pool of one backend: the first directive that passes to it |
//! | POOL`.algorithm` | `least_conn`, `ip_hash`, `hash`, `random`, `least_time` |
//! | POOL`.sticky`, `.queue`, `.timeout.queue`, `.health`, `.health.interval`, `.rise`, `.fall`, `.path` | `sticky`, `queue`, `health_check` of the commercial edition |
//! | POOL`.timeout.connect`, `.timeout.response`, `.timeout.idle` | `proxy_connect_timeout`, `proxy_read_timeout` (twice), and their like |
//! | POOL`.timeout.keep` | `keepalive` |
//! | POOL`.retry`, `.retry.attempts`, `.retry.timeout` | `proxy_next_upstream`, `.._tries`, `.._timeout` |
//! | POOL`.server."host:port"` | a backend: `server`; a repetition ends with `#2` |
//! | BACKEND`.weight`, `.max_fails`, `.fail_timeout`, `.in_flight_max`, `.role`, `.slow_start` | `weight=`, `max_fails=`, `fail_timeout=`, `max_conns=`, `backup` or `down`, `slow_start=` |
//! | BACKEND`.tls` | `proxy_ssl_verify` |
//!
//! Tried on nginx 1.22.1: when no server is left requests are refused (502), there is no last try of all; when all
//! active servers are out the backups share by weight; `random two` keeps the second of two draws unless it has more in
//! flight per weight, so that at low load a heavy server gets less than a light one; a method below `keepalive` undoes
//! it; a second method replaces the first; `max_conns` and failures are counted per worker without `zone`.
//! From 1.29 on connections to backends are kept without `keepalive` and with HTTP/1.1; here they are not.
//!
//! An `include` is handed to [`crate::Files`] as written; nginx takes it relative to the directory of the main file.
//! Files of media types and protocol parameters that come with nginx are not opened. A file without `http` and `stream`
//! that holds `server` or `upstream` is read as if `http` included it: so are most files that people have.
//!
//! Limits: conditions and regular expressions are carried, not evaluated; names are taken as one address each; code
//! (Lua, JavaScript) is a gap; third-party modules are known as far as they do not touch the spread.

use evenkeel_model::setup::{Balancer, Setup, Touches};

use crate::book::Book;
use crate::nginx::notes::Reader;
use crate::nginx::tree::Directive;

mod access;
mod address;
mod asides;
mod checks;
mod content;
mod http;
mod keys;
mod lex;
mod limits;
mod names;
mod notes;
mod passing;
mod pools;
mod scope;
mod site;
mod stream;
mod tree;
mod upstream;
mod value;
mod vars;

/// Most routes over all listeners and hosts.
const ROUTES_MAX: usize = 200_000;
/// So much of a text is looked at to recognise it, bytes.
const LOOK_MAX: usize = 256 << 10;
/// `worker_connections`.
const CONNECTIONS: u64 = 512;

/// Whether a text looks like it: a line opens one of nginx's blocks, or sets something of the main level.
pub(crate) fn looks_like(text: &str) -> bool {
    const BLOCKS: &[&str] = &["http", "events", "server", "upstream", "location", "stream"];
    const MAIN: &[&str] = &[
        "worker_processes",
        "worker_connections",
        "load_module",
        "proxy_pass",
    ];
    let mut end = text.len().min(LOOK_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let start = text.get(..end).unwrap_or("");
    start.lines().any(|line| {
        let line = line.split('#').next().unwrap_or("").trim();
        let name_end = line.find(|c: char| c.is_whitespace() || c == '{');
        let (name, rest) = line.split_at(name_end.unwrap_or(line.len()));
        let is_block = BLOCKS.contains(&name) && rest.contains('{');
        is_block || (MAIN.contains(&name) && rest.ends_with(';'))
    })
}

/// Reads the source with that index.
pub(crate) fn read(book: &mut Book<'_>, source: usize) -> Option<Setup> {
    let tree = tree::read(book, source)?;
    let mut reader = Reader::new(book);
    let mut setup = Setup::blank(Balancer::Nginx);
    main(&mut reader, &tree, &mut setup);
    asides::note(reader.book, &tree);
    reader.book.note_torn();
    setup.pools = pools::finish(&mut reader);
    setup.listeners = reader.listeners;
    setup.routes = reader.routes;
    Some(setup)
}

fn main(reader: &mut Reader<'_, '_>, tree: &[Directive], setup: &mut Setup) {
    let has = |names: &[&str]| tree.iter().any(|d| names.contains(&d.name()));
    if !has(&["http", "stream", "events"]) && has(&["server", "upstream"]) {
        let message = "there is no `http` block".to_owned();
        let effect = "the file is read as a part of `http`, with the defaults of nginx around it";
        let fix = "check the main file, if what is around it matters";
        reader.inform("", message, effect, fix);
        setup.workers = None;
        http::read(reader, tree);
        return;
    }
    let mut workers = Some(1);
    let mut connections = CONNECTIONS;
    let mut files = None;
    for directive in tree {
        match directive.name() {
            "worker_processes" => {
                reader.place_directive("workers", directive);
                workers = worker_processes(reader, directive);
            }
            "worker_rlimit_nofile" => {
                reader.place_directive("files_max", directive);
                files = number(reader, directive);
            }
            "events" => {
                for inner in directive.inner() {
                    if inner.name() == "worker_connections" {
                        reader.place_directive("connections_max", inner);
                        connections = number(reader, inner).unwrap_or(CONNECTIONS);
                    } else if !names::is_harmless(inner.name()) {
                        reader.gap("events", inner, Touches::Resilience);
                    }
                }
            }
            "http" => http::read(reader, directive.inner()),
            "stream" => stream::read(reader, directive.inner()),
            "server" | "upstream" | "location" => {
                let message = format!("`{}` is not allowed outside `http`", directive.name());
                reader.refuse_at(directive, message, "move it into `http`");
            }
            name if names::is_harmless(name) => {}
            _ => reader.gap("", directive, Touches::Routing),
        }
    }
    setup.workers = workers;
    // Both hold for one worker; of how many cores a machine has nothing stands in the file.
    if let Some(workers) = workers {
        let all = |each: u64| each.saturating_mul(u64::from(workers));
        setup.connections_max = Some(all(connections));
        setup.files_max = files.map(all);
    }
}

fn worker_processes(reader: &mut Reader<'_, '_>, directive: &Directive) -> Option<u32> {
    if directive.arg(0) == "auto" {
        return None;
    }
    let workers = number(reader, directive).and_then(|count| u32::try_from(count).ok());
    Some(workers.unwrap_or(1))
}

fn number(reader: &mut Reader<'_, '_>, directive: &Directive) -> Option<u64> {
    let count = value::count(directive.arg(0)).filter(|count| *count > 0);
    if count.is_none() {
        let name = directive.name();
        let message = format!(
            "`{name}` must be a count above 0, got `{}`",
            directive.arg(0)
        );
        reader.refuse_at(directive, message, "write a whole number");
    }
    count
}
