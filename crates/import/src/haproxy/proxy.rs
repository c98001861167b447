//! What `defaults`, `frontend`, `backend` and `listen` say, line by line.
//!
//! A proxy starts with a copy of its `defaults` and overrides it. Nothing is concluded here: what the lines come to
//! together is worked out when the whole file is read.

use std::collections::BTreeMap;
use std::ops::Range;

use evenkeel_model::setup::{Touches, Wait};

use crate::BACKENDS_MAX;
use crate::haproxy::acl::{Acls, Local, When};
use crate::haproxy::asides;
use crate::haproxy::desk::{At, Desk, quote};
use crate::haproxy::inherited::Inherited;
use crate::haproxy::keys::{self, Variety};
use crate::haproxy::lexer::Word;
use crate::haproxy::names;
use crate::haproxy::server::{self, Server};

/// Lines by which a section answers some requests itself.
const ANSWERING: [&str; 6] = [
    "stats",
    "monitor-uri",
    "errorfile",
    "errorloc",
    "errorloc302",
    "errorloc303",
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

/// When a rule is looked at, in the order of HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// `tcp-request connection`.
    Connection,
    /// `tcp-request session`.
    Session,
    /// `tcp-request content`.
    Content,
    /// `http-request`.
    Request,
    /// `stats uri`.
    Stats,
    /// `redirect`.
    Redirect,
    /// `use_backend`.
    Switch,
}

impl Stage {
    /// Whether it is passed over in `mode tcp`.
    pub(super) const fn needs_http(self) -> bool {
        matches!(self, Self::Request | Self::Stats | Self::Redirect)
    }
}

/// What lets requests past the rest of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pass {
    /// As written.
    pub(super) written: String,
    pub(super) is_always: bool,
}

/// A rule that ends the search for a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) stage: Stage,
    pub(super) range: Range<usize>,
    pub(super) whens: Vec<When>,
    /// `None`: answered without a backend.
    pub(super) target: Option<At<String>>,
}

/// `stick on` and `stick match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stick {
    pub(super) by: String,
    pub(super) variety: Variety,
    /// Another proxy's table.
    pub(super) table: Option<At<String>>,
}

/// One address of `bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    /// As written, one of a list.
    pub(super) address: At<String>,
    pub(super) is_tls: bool,
    /// Whether the PROXY protocol says which port the client came to.
    pub(super) is_told_port: bool,
}

impl Bind {
    /// First and last port; `None`: it has none, as a socket in the file system.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        let (_, ports) = self.address.value.rsplit_once(':')?;
        let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
        Some((low.parse().ok()?, high.parse().ok()?))
    }

    /// Whether a test holds for all who come to this address; `None`: for some, or no telling.
    pub(super) fn passes(&self, local: Local) -> Option<bool> {
        match local {
            Local::Tls(is_tls) => Some(self.is_tls == is_tls),
            Local::Port(low, high, is_in) => {
                let (first, last) = self.ports().filter(|_| !self.is_told_port)?;
                if first >= low && last <= high {
                    Some(is_in)
                } else if last < low || first > high {
                    Some(!is_in)
                } else {
                    None
                }
            }
        }
    }
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
    pub(super) binds: Vec<Bind>,
    pub(super) acls: Acls,
    /// What answers without a server, which comes before every `use_backend`; of a backend: what answers everything.
    pub(super) answers: Vec<Rule>,
    pub(super) rules: Vec<Rule>,
    /// What lets requests past later answers, by stage.
    pub(super) passes: BTreeMap<Stage, Pass>,
    /// Routes that the answers and rules come to.
    pub(super) alternatives: usize,
    /// Whether a `use_backend` takes the name of the backend from the request.
    pub(super) is_led_by_request: bool,
    /// Lines that change what the rules look at.
    pub(super) rewrites: Vec<Word>,
    pub(super) servers: Vec<Server>,
    pub(super) use_servers: Vec<At<String>>,
    pub(super) sticks: Vec<At<Stick>>,
    /// `stick-table` with its `expire`.
    pub(super) table: Option<At<Wait>>,
    pub(super) dispatch: Option<At<String>>,
    /// Whether it answers by itself (`stats`, an error page), on purpose.
    pub(super) is_answering: bool,
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
            acls: Acls::default(),
            answers: Vec::new(),
            passes: BTreeMap::new(),
            rules: Vec::new(),
            alternatives: 0,
            is_led_by_request: false,
            rewrites: Vec::new(),
            servers: Vec::new(),
            use_servers: Vec::new(),
            sticks: Vec::new(),
            table: None,
            dispatch: None,
            is_answering: false,
            spares_some: false,
        }
    }

    /// The rule by which no request that comes to this backend reaches a server.
    pub(super) fn answers_all(&self) -> Option<&Range<usize>> {
        let stats = self.inherited.stats.as_ref();
        let stats = stats.filter(|uri| self.inherited.is_http && matches!(&*uri.value, "" | "/"));
        let mut answers = self.answers.iter();
        let by_rule = answers.find(|rule| {
            (self.inherited.is_http || !rule.stage.needs_http())
                && rule.whens.iter().any(When::is_always)
        });
        by_rule
            .map(|rule| &rule.range)
            .or(stats.map(|uri| &uri.range))
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
            self.inherited.checking.connects |= matches!(name, "tcp-check" | "http-check")
                && word.get(1).is_some_and(|word| word.text == "connect");
            asides::note(desk, word);
            self.is_answering |= ANSWERING.contains(&name);
        }
        if name == "option" {
            self.option(desk, word, is_negated);
            return;
        }
        let is_read = self.inherited.read(desk, word, &touches)
            || self.read_back(desk, word, most)
            || self.read_front(desk, word);
        if !is_read && !names::is_harmless_in_proxy(name) {
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
        let range = words.first().zip(words.last());
        let range = range.map_or(0..0, |(a, b)| a.range.start..b.range.end);
        let because = "the requests decide how many of them meet its condition";
        desk.unknowable(&quote(words), &range, because, self.touches());
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
            variety: keys::variety(by),
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
