//! haproxy.cfg.
//!
//! Follows HAProxy 2.6 (Debian 12): its way of cutting lines, its defaults and what it refuses. Later series differ in
//! two things that change shares: from 3.3 on a backend without `balance` draws at random instead of taking turns, and
//! servers can be known to a hash by name (`hash-key`).
//!
//! Defaults that are filled in: `mode tcp`, `balance roundrobin`, weight 1, no timeout, 3 retries of failed connections,
//! checks every 2 s with rise 2 and fall 3, `timeout queue` as `timeout connect`.
//!
//! Paths of values, placed where the value stands, also when that is a `defaults` section:
//! - `connections_max`, `files_max`, `admin.address`: `maxconn`, `ulimit-n` and `stats socket` of `global`;
//! - `frontend.NAME` (`listen.NAME.bind` for a `listen`): `.timeout.client`, `.timeout.head`, `.timeout.idle`,
//!   `.connections_max`, and `.route.N`, one for each rule, in the order in which they are tried; the same routes stand
//!   for every address, and `.bind.N` is the place of the second and each further one;
//! - `backend.NAME`, `listen.NAME`: `.algorithm`, `.sticky`, `.health` with `.interval`, `.timeout`, `.rise`, `.fall`,
//!   `.ejection`, `.timeout.connect`, `.timeout.response`, `.timeout.idle`, `.timeout.queue`, `.timeout.keep`, `.retry`,
//!   `.retry.attempts`, `.allbackups`;
//! - `<pool>.server.NAME`: `.weight`, `.in_flight_max`, `.queue_max`, `.slow_start`, `.tls`, `.backup`, `.disabled`,
//!   `.health` where it differs from the pool's;
//! - `<section>.line.N`: what a finding of the reader is about.
//!
//! Limits: an idle connection to a server is taken to be kept for `pool-purge-delay`, after which HAProxy closes half of
//! them; `fastinter` and `downinter` are read and not judged; a check's timeout is `timeout check`, without what
//! connecting takes; a queue of a single server (`maxqueue`) bounds only who must go there. Rules that refuse
//! on a condition which is not a host, a path, a port or TLS are taken to protect, and to route nothing. A cookie that
//! several servers share counts as sticky all the same.

use evenkeel_model::setup::Setup;

use crate::book::Book;

mod acl;
mod asides;
mod balance;
mod build;
mod check;
mod condition;
mod desk;
mod front;
mod inherited;
mod keys;
mod lexer;
mod member;
mod names;
mod pool;
mod probed;
mod probing;
mod proxy;
mod reader;
mod rules;
mod server;
mod sticky;

/// Lines that are looked at to tell whose file it is.
const LOOKED_AT: usize = 2_000;

/// Whether a text looks like it: a line that begins a section the way only HAProxy does.
pub(crate) fn looks_like(text: &str) -> bool {
    text.lines().take(LOOKED_AT).any(|line| {
        let mut words = line.split_ascii_whitespace();
        let is_name = |word: &str| !word.contains(['{', '=', ':', ';', '"']);
        match (words.next(), words.next()) {
            (Some("global" | "defaults"), None) => true,
            (Some("frontend" | "backend" | "listen" | "defaults"), Some(name)) => {
                is_name(name) && !line.trim_end().ends_with([';', '{'])
            }
            _ => false,
        }
    })
}

/// Reads the source with that index.
#[expect(clippy::unnecessary_wraps, reason = "the readers have one shape")]
pub(crate) fn read(book: &mut Book<'_>, source: usize) -> Option<Setup> {
    let text = book.text(source);
    let whole = reader::read(book, source, &text);
    Some(build::setup(book, source, &whole))
}
