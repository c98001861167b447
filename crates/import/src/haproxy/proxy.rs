//! What `defaults`, `frontend`, `backend` and `listen` say, line by line.
//!
//! A proxy starts with a copy of its `defaults` and overrides it. Nothing is concluded here: what the lines come to
//! together is worked out when the whole file is read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use evenkeel_model::setup::{Touches, Wait};

use crate::BACKENDS_MAX;
use crate::haproxy::acl::{Acls, When};
use crate::haproxy::asides;
use crate::haproxy::balance::{self, Balance, Hashing};
use crate::haproxy::check::Checking;
use crate::haproxy::desk::{At, Desk, quote};
use crate::haproxy::lexer::Word;
use crate::haproxy::names;
use crate::haproxy::server::{self, Server};

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

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Defaults,
    Frontend,
    Backend,
    Listen,
}

impl Kind {
    pub(super) const fn has_front(self) -> bool {
        matches!(self, Self::Frontend | Self::Listen)
    }

    pub(super) const fn has_back(self) -> bool {
        matches!(self, Self::Backend | Self::Listen)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Defaults => "defaults",
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Listen => "listen",
        }
    }
}

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

/// A rule that ends the search for a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) range: Range<usize>,
    pub(super) whens: Vec<When>,
    /// `None`: answered without a backend.
    pub(super) target: Option<At<String>>,
}

/// `stick on` and `stick match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stick {
    pub(super) by: String,
    /// Another proxy's table.
    pub(super) table: Option<At<String>>,
}

/// One proxy section.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `backend.app`.
    pub(super) path: String,
    pub(super) header: Range<usize>,
    pub(super) inherited: Inherited,
    /// Addresses.
    pub(super) binds: Vec<At<String>>,
    pub(super) is_tls: bool,
    pub(super) acls: Acls,
    /// Answers of `http-request`, which come before every `use_backend`.
    pub(super) answers: Vec<Rule>,
    pub(super) rules: Vec<Rule>,
    /// Routes that the answers and rules come to.
    pub(super) alternatives: usize,
    /// Lines that change what the rules look at.
    pub(super) rewrites: Vec<Word>,
    pub(super) servers: Vec<Server>,
    pub(super) use_servers: Vec<At<String>>,
    pub(super) sticks: Vec<At<Stick>>,
    /// `stick-table` with its `expire`.
    pub(super) table: Option<At<Wait>>,
    pub(super) dispatch: Option<At<String>>,
    /// Whether it answers by itself (`stats`, a rule without a condition, an error page).
    pub(super) is_answering: bool,
    /// Whether a rule without a condition answers everything.
    pub(super) answers_all: bool,
    /// Whether `http-request disable-l7-retry` keeps some requests from being repeated.
    pub(super) spares_some: bool,
}

impl Proxy {
    pub(super) fn new(
        kind: Kind,
        name: &str,
        path: String,
        header: Range<usize>,
        inherited: Inherited,
    ) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            path,
            header,
            inherited,
            binds: Vec::new(),
            is_tls: false,
            acls: Acls::default(),
            answers: Vec::new(),
            rules: Vec::new(),
            alternatives: 0,
            rewrites: Vec::new(),
            servers: Vec::new(),
            use_servers: Vec::new(),
            sticks: Vec::new(),
            table: None,
            dispatch: None,
            is_answering: false,
            answers_all: false,
            spares_some: false,
        }
    }

    /// Whether no request that comes here reaches a server.
    pub(super) fn is_always_answering(&self) -> bool {
        self.answers_all
    }

    /// What a gap in this section may bend.
    pub(super) fn touches(&self) -> Touches {
        match self.kind {
            Kind::Backend | Kind::Listen => Touches::Pool(self.name.clone()),
            Kind::Frontend | Kind::Defaults => Touches::Routing,
        }
    }

    /// Reads one line. `most`: how many servers may still be added.
    pub(super) fn read(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], most: usize) {
        let (word, is_negated) = match words {
            [no, rest @ ..] if matches!(no.text.as_str(), "no" | "default") => (rest, true),
            words => (words, false),
        };
        let Some(first) = word.first() else {
            return;
        };
        let name = first.text.as_str();
        if is_negated && !matches!(name, "option" | "log") {
            let message = format!("`{}` cannot be negated", quote(&word[..1]));
            desk.refuse(&first.range, message);
            return;
        }
        let touches = self.touches();
        if !is_negated {
            asides::note(desk, word);
        }
        if name == "option" {
            self.option(desk, word, is_negated);
        } else if self.inherited.read(desk, word, &touches)
            || self.read_back(desk, word, most)
            || self.read_front(desk, word)
        {
        } else if names::is_harmless_in_proxy(name) {
            self.is_answering |= matches!(
                name,
                "stats" | "errorfile" | "errorloc" | "errorloc302" | "errorloc303"
            );
        } else {
            desk.gap(word, self.touches());
        }
    }

    fn option(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], is_negated: bool) {
        let Some(word) = words.get(1) else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`option` names nothing".to_owned());
            return;
        };
        let mark = || (!is_negated).then(|| At::new((), word.range.clone()));
        let inherited = &mut self.inherited;
        match word.text.as_str() {
            // Where a retry goes is not judged.
            "redispatch" => {}
            "allbackups" => inherited.allbackups = mark(),
            "prefer-last-server" => inherited.prefer_last = mark(),
            "httpclose" | "http-server-close" | "forceclose" => inherited.closes = !is_negated,
            "http-keep-alive" => inherited.closes = is_negated && inherited.closes,
            "transparent" => {
                let touches = self.touches();
                desk.gap(words, touches);
            }
            name => {
                if !inherited.checking.option(words, is_negated) && !names::is_harmless_option(name)
                {
                    desk.gap(words, Touches::Resilience);
                }
            }
        }
    }

    /// Lines that belong to a backend.
    fn read_back(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], most: usize) -> bool {
        let Some(first) = words.first() else {
            return true;
        };
        let name = first.text.as_str();
        let is_member = matches!(name, "server" | "server-template" | "dispatch");
        if is_member && !self.kind.has_back() {
            let message = format!("`{name}` is not allowed in `{}`", self.kind.as_str());
            desk.refuse(&first.range, message);
            return true;
        }
        match name {
            "server" if most == 0 => {
                let message = format!("there are more than {BACKENDS_MAX} servers");
                desk.too_much(&first.range, message);
            }
            "server" => {
                let server = server::server(
                    desk,
                    words,
                    &self.inherited.server,
                    &self.name,
                    self.servers.is_empty(),
                );
                self.servers.extend(server);
            }
            "server-template" => {
                let servers =
                    server::template(desk, words, &self.inherited.server, &self.name, most);
                self.servers.extend(servers);
            }
            "dispatch" => {
                let to = words.get(1).map_or("", |word| &word.text).to_owned();
                self.dispatch = Some(At::new(to, first.range.clone()));
            }
            "use-server" => self.use_server(desk, words),
            "stick-table" => self.stick_table(desk, words),
            "stick" => self.stick(desk, words),
            "ignore-persist" => desk.gap(words, self.touches()),
            "appsession" => {
                desk.refuse(
                    &first.range,
                    "`appsession` was removed in HAProxy 1.6".to_owned(),
                );
            }
            _ => return false,
        }
        true
    }

    fn use_server(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let condition = words.get(2..).unwrap_or_default();
        if condition.is_empty() {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(
                &range,
                "`use-server` needs a server and a condition".to_owned(),
            );
            return;
        }
        self.acls.when(desk, condition);
        desk.gap(words, self.touches());
        if let Some(server) = words
            .get(1)
            .filter(|word| !word.is_unknown && !word.text.contains('%'))
        {
            self.use_servers
                .push(At::new(server.text.clone(), server.range.clone()));
        }
    }

    fn stick_table(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let range = words.first().map_or(0..0, |word| word.range.clone());
        let expire = words.iter().position(|word| word.text == "expire");
        let lasts = match expire {
            None => Some(Wait::Endless),
            Some(at) => desk.time(&words[at..]).map(|time| Wait::For(time.value)),
        };
        self.table = Some(At::new(lasts.unwrap_or(Wait::Endless), range));
    }

    fn stick(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let [keyword, what, by, rest @ ..] = words else {
            desk.gap(words, self.touches());
            return;
        };
        let is_condition = |word: &Word| matches!(word.text.as_str(), "if" | "unless");
        if let Some(at) = rest.iter().position(is_condition) {
            self.acls.when(desk, &rest[at..]);
            desk.gap(words, self.touches());
        }
        let table = rest.iter().position(|word| word.text == "table");
        let table = table.and_then(|at| rest.get(at + 1));
        let stick = Stick {
            by: quote(std::slice::from_ref(by)),
            table: table.map(|word| At::new(word.text.clone(), word.range.clone())),
        };
        match what.text.as_str() {
            "on" | "match" => self
                .sticks
                .push(At::new(stick, keyword.range.start..by.range.end)),
            // They fill the table; without a match nobody is sent by it.
            "store-request" | "store-response" => {}
            _ => desk.gap(words, self.touches()),
        }
    }
}

impl Inherited {
    /// Reads a line that `defaults` may hold as well; `false`: it is none.
    fn read(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], touches: &Touches) -> bool {
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
            "rate-limit" => desk.gap(words, Touches::Resilience),
            "persist" => self.rdp_cookie = Some(At::new((), first.range.clone())),
            _ => return false,
        }
        true
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
