//! What `defaults` hands on to the sections that follow: mode, balance, timeouts, retries, checks, cookies, limits.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_model::setup::{Touches, Wait};

use crate::haproxy::balance::{self, Balance, Hashing};
use crate::haproxy::check::Checking;
use crate::haproxy::desk::{At, Desk, quote};
use crate::haproxy::lexer::Word;
use crate::haproxy::server;

/// The names of timeouts; those that nothing here needs are checked all the same.
const TIMEOUTS: [&str; 14] = [
    "check",
    "client",
    "client-fin",
    "client-hs",
    "connect",
    "http-keep-alive",
    "http-request",
    "queue",
    "server",
    "server-fin",
    "tarpit",
    "tunnel",
    "con",
    "srv",
];

/// Where statistics are shown without `stats uri`.
const STATS_URI: &str = "/haproxy?stats";

/// What `defaults` can set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Inherited {
    /// Whether `mode http`; `mode tcp` is the default.
    pub(super) is_http: bool,
    pub(super) balance: Option<At<Balance>>,
    pub(super) hashing: Hashing,
    pub(super) timeouts: BTreeMap<&'static str, At<Duration>>,
    pub(super) retries: Option<At<u32>>,
    pub(super) retry_on: Option<At<RetryOn>>,
    pub(super) cookie: Option<At<Cookie>>,
    pub(super) allbackups: Option<At<()>>,
    pub(super) maxconn: Option<At<u64>>,
    pub(super) checking: Checking,
    pub(super) server: server::Settings,
    /// Whether connections to servers are closed after each response.
    pub(super) closes: bool,
    pub(super) disabled: bool,
    pub(super) default_backend: Option<At<String>>,
    pub(super) state_file: Option<At<()>>,
    pub(super) prefer_last: Option<At<()>>,
    pub(super) rdp_cookie: Option<At<()>>,
    /// Prefix of the addresses that show statistics.
    pub(super) stats: Option<At<String>>,
}

/// What `retry-on` adds to failed connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryOn {
    Never,
    BeforeSent,
    AfterSent,
}

/// `cookie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) name: String,
    pub(super) lasts: Wait,
    /// Whether values are made from addresses rather than named on the servers.
    pub(super) is_dynamic: bool,
}

impl Inherited {
    /// Reads a line that `defaults` may hold as well; `false`: it is none.
    pub(super) fn read(
        &mut self,
        desk: &mut Desk<'_, '_>,
        words: &[Word],
        touches: &Touches,
    ) -> bool {
        let Some(first) = words.first() else {
            return true;
        };
        match first.text.as_str() {
            "mode" => self.mode(desk, words),
            "balance" => self.balance = balance::balance(desk, words).or(self.balance.take()),
            "hash-type" => {
                self.hashing.table = balance::hash_type(desk, words).or(self.hashing.table.take());
            }
            "hash-balance-factor" => self.hashing.factor = balance::factor(desk, words),
            "timeout" => self.timeout(desk, words),
            "contimeout" | "clitimeout" | "srvtimeout" => {
                let message = format!("`{}` was removed in HAProxy 2.1", first.text);
                desk.refuse(&first.range, message);
            }
            "retries" => {
                let retries = desk.number(words, &Touches::Resilience);
                self.retries = retries
                    .map(|n| At::new(u32::try_from(n.value.max(0)).unwrap_or(u32::MAX), n.range));
            }
            "retry-on" => self.retry_on(desk, words),
            "cookie" => self.cookie(desk, words),
            "maxconn" => {
                let most = desk.number(words, &Touches::Resilience);
                self.maxconn = most
                    .map(|n| At::new(u64::try_from(n.value).unwrap_or(0), n.range))
                    .filter(|most| most.value > 0);
            }
            // The load at which `minconn` becomes `maxconn`; a server with `minconn` is a gap already.
            "fullconn" => drop(desk.number(words, &Touches::Resilience)),
            "http-check" => self.checking.http_check(desk, words),
            // Bytes to send and to expect; that it is a check by connection is what counts.
            "tcp-check" => {}
            "default-server" => {
                let mut id = None;
                let rest = words.get(1..).unwrap_or_default();
                self.server.read(desk, rest, touches, &mut id);
            }
            "default_backend" => self.default_backend(desk, words),
            "disabled" => self.disabled = true,
            "enabled" => self.disabled = false,
            "load-server-state-from-file" => {
                let from = words.get(1).filter(|word| word.text != "none");
                self.state_file = from.map(|word| At::new((), word.range.clone()));
            }
            "stats" => self.stats(words),
            "rate-limit" => desk.gap(words, Touches::Resilience),
            "persist" => self.rdp_cookie = Some(At::new((), first.range.clone())),
            _ => return false,
        }
        true
    }

    /// Every line of `stats` but those for a socket turns them on.
    fn stats(&mut self, words: &[Word]) {
        let Some(range) = words.first().map(|word| word.range.clone()) else {
            return;
        };
        match words {
            [_, what, uri, ..] if what.text == "uri" => {
                let range = range.start..uri.range.end;
                self.stats = Some(At::new(uri.text.clone(), range));
            }
            _ => {
                let default = || At::new(STATS_URI.to_owned(), range);
                self.stats.get_or_insert_with(default);
            }
        }
    }

    fn default_backend(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let name = words.get(1);
        if words.len() != 2 {
            let range = words.last().map_or(0..0, |word| word.range.clone());
            let message = format!("`{}` must name one backend", quote(words));
            desk.refuse(&range, message);
        }
        let name = name.filter(|name| {
            if name.is_unknown {
                desk.gap(words, Touches::Routing);
            }
            !name.is_unknown
        });
        self.default_backend = name.map(|name| At::new(name.text.clone(), name.range.clone()));
    }

    fn mode(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        match words.get(1).map(|word| word.text.as_str()) {
            Some("http") => self.is_http = true,
            Some("tcp") => self.is_http = false,
            Some("log" | "spop" | "health") => desk.gap(words, Touches::Routing),
            _ if words.iter().any(|word| word.is_unknown) => desk.gap(words, Touches::Routing),
            _ => {
                let range = words.last().map_or(0..0, |word| word.range.clone());
                let message = format!("`{}` is no mode of HAProxy", quote(words));
                desk.refuse(&range, message);
            }
        }
    }

    fn timeout(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let Some(word) = words.get(1) else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`timeout` names none".to_owned());
            return;
        };
        let Some(name) = TIMEOUTS.into_iter().find(|name| *name == word.text) else {
            let message = format!("`{}` is no timeout of HAProxy", quote(&words[..2]));
            desk.refuse(&word.range, message);
            return;
        };
        let label = Word {
            text: format!("timeout {name}"),
            ..word.clone()
        };
        let labelled: Vec<Word> = std::iter::once(label)
            .chain(words.get(2).cloned())
            .collect();
        if let Some(time) = desk.time(&labelled) {
            // 0 is how HAProxy writes "without an end"; the place is kept, for the value is declared.
            self.timeouts.insert(name, time);
        }
        if let Some(extra) = words.get(3) {
            let message = format!("`{}` has a word too many", quote(&words[..4]));
            desk.refuse(&extra.range, message);
        }
    }

    fn retry_on(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let mut on = RetryOn::BeforeSent;
        for word in words.iter().skip(1) {
            match word.text.as_str() {
                "none" => on = RetryOn::Never,
                "conn-failure" | "0rtt-rejected" => {}
                "empty-response"
                | "junk-response"
                | "response-timeout"
                | "all-retryable-errors"
                | "401"
                | "403"
                | "404"
                | "408"
                | "421"
                | "425"
                | "429"
                | "500"
                | "501"
                | "502"
                | "503"
                | "504" => on = RetryOn::AfterSent,
                _ if word.is_unknown => desk.gap(words, Touches::Resilience),
                _ => {
                    let message = format!(
                        "`retry-on` knows no `{}`",
                        quote(std::slice::from_ref(word))
                    );
                    desk.refuse(&word.range, message);
                }
            }
        }
        let range = words.first().zip(words.last());
        let range = range.map_or(0..0, |(a, b)| a.range.start..b.range.end);
        self.retry_on = Some(At::new(on, range));
    }

    fn cookie(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let Some(name) = words.get(1) else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`cookie` has no name".to_owned());
            return;
        };
        let mut cookie = Cookie {
            name: name.text.clone(),
            lasts: Wait::Endless,
            is_dynamic: false,
        };
        let mut rest = words.get(2..).unwrap_or_default();
        while let Some(word) = rest.first() {
            let used = match word.text.as_str() {
                "rewrite" | "insert" | "prefix" | "indirect" | "nocache" | "postonly"
                | "preserve" | "httponly" | "secure" => 1,
                "dynamic" => {
                    cookie.is_dynamic = true;
                    1
                }
                "domain" | "attr" => 2,
                "maxidle" | "maxlife" => {
                    if let Some(time) = desk.time(rest) {
                        // A number without a unit is seconds here.
                        let is_bare = rest
                            .get(1)
                            .is_some_and(|w| w.text.bytes().all(|b| b.is_ascii_digit()));
                        let time = if is_bare {
                            time.value * 1_000
                        } else {
                            time.value
                        };
                        let shorter = cookie
                            .lasts
                            .duration()
                            .map_or(time, |other| other.min(time));
                        cookie.lasts = Wait::For(shorter);
                    }
                    2
                }
                _ => {
                    desk.gap(words, Touches::Resilience);
                    1
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        self.cookie = Some(At::new(cookie, name.range.clone()));
    }
}
