//! Reads haproxy.cfg from the first line to the last: blocks, sections, `global` and `defaults`.
//!
//! One pass, line by line, so that a file of any length needs memory only for what it sets up. A line that cannot be
//! read is reported and the next one is read, so that all errors come at once; after as many as are shown it stops.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::Touches;

use crate::book::Book;
use crate::haproxy::asides;
use crate::haproxy::condition::{Blocks, Outcome};
use crate::haproxy::desk::{At, Desk, quote, shorten};
use crate::haproxy::inherited::Inherited;
use crate::haproxy::lexer::{self, Word};
use crate::haproxy::names;
use crate::haproxy::proxy::{Kind, Proxy};
use crate::{BACKENDS_MAX, FINDINGS_MAX};

/// Most proxies, and most named `defaults`.
const PROXIES_MAX: usize = 20_000;
/// Most routes.
const ROUTES_MAX: usize = 100_000;
/// Longest name, bytes; names stand in the path of every value.
const NAME_MAX: usize = 256;
/// Most variables that a file may set; later ones are unknown.
const VARIABLES_MAX: usize = 1_000;

/// All that the file says.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) global: Global,
    pub(super) proxies: Vec<Proxy>,
    /// Names of `resolvers` sections.
    pub(super) resolvers: BTreeSet<String>,
}

/// What `global` says.
#[derive(Debug, Default)]
pub(super) struct Global {
    pub(super) maxconn: Option<At<u64>>,
    pub(super) files_max: Option<At<u64>>,
    pub(super) admin: Option<At<String>>,
    /// Whether servers are not verified unless they say so.
    pub(super) trusts_servers: bool,
}

/// The section that is being read.
enum Section {
    None,
    Global,
    Proxy(Box<Proxy>),
    /// One that has nothing to do with the spread.
    Other,
}

struct Reader<'b, 'f> {
    desk: Desk<'b, 'f>,
    /// Number of the line, from 1.
    number: usize,
    variables: BTreeMap<String, String>,
    blocks: Blocks,
    section: Section,
    /// The latest `defaults`.
    defaults: Inherited,
    named: BTreeMap<String, Inherited>,
    servers: usize,
    routes: usize,
    whole: Whole,
    /// Whether the file is not UTF-8.
    is_torn: bool,
    /// Set once a bound is passed, which ends the reading.
    is_full: bool,
}

/// Reads `text`, the source with that index.
pub(super) fn read(book: &mut Book<'_>, source: usize, text: &str) -> Whole {
    let is_torn = book.is_torn(source);
    let mut reader = Reader {
        is_torn,
        desk: Desk {
            book,
            source,
            section: String::new(),
            errors: 0,
            gaps: 0,
        },
        number: 0,
        variables: BTreeMap::new(),
        blocks: Blocks::default(),
        section: Section::None,
        defaults: Inherited::default(),
        named: BTreeMap::new(),
        servers: 0,
        routes: 0,
        whole: Whole::default(),
        is_full: false,
    };
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        reader.number += 1;
        reader.line(line, offset);
        offset += line.len();
        reader.is_full |= reader.desk.errors > FINDINGS_MAX;
        if reader.is_full {
            break;
        }
    }
    let end = offset.saturating_sub(1)..offset;
    if !reader.is_full && !text.is_empty() && !text.ends_with('\n') {
        let message = "the last line has no line end, so HAProxy takes the file for truncated";
        reader.desk.unreadable(&end, message.to_owned());
    }
    if !reader.is_full && !reader.blocks.is_closed() {
        let message = "an `.if` is not closed by `.endif`".to_owned();
        reader.desk.unreadable(&end, message);
    }
    reader.finish();
    reader.whole
}

impl Reader<'_, '_> {
    fn line(&mut self, text: &str, offset: usize) {
        let words = {
            let (line, section) = (self.number, &self.section);
            let lookup = |name: &str| match name {
                ".LINE" => Some(line.to_string()),
                ".SECTION" => Some(match section {
                    Section::Proxy(proxy) => proxy.name.clone(),
                    Section::Global => "global".to_owned(),
                    Section::None | Section::Other => return None,
                }),
                name => self.variables.get(name).cloned(),
            };
            lexer::words(text, offset, lookup)
        };
        let words = match words {
            Ok(words) => words,
            // HAProxy cuts lines into words before it looks whether they are in effect.
            Err(broken) => {
                self.desk.unreadable(&broken.range, broken.message);
                return;
            }
        };
        let Some(first) = words.first() else {
            return;
        };
        if first.text.starts_with('.') {
            self.directive(&words);
        } else if self.blocks.is_taken() {
            if self.is_torn(&words) {
                return;
            }
            if names::SECTIONS.contains(&first.text.as_str()) {
                self.header(&words);
            } else {
                self.body(&words);
            }
        }
    }

    /// Whether the line holds bytes that are no text where they decide something; then it is not read.
    fn is_torn(&mut self, words: &[Word]) -> bool {
        let torn = words.iter().find(|word| word.text.contains('\u{fffd}'));
        let Some(torn) = torn.filter(|_| self.is_torn) else {
            return false;
        };
        let first = words.first().map_or("", |word| word.text.as_str());
        let decides = names::SECTIONS.contains(&first)
            || match &self.section {
                Section::None => true,
                Section::Other => false,
                Section::Global => !names::is_harmless_global(first),
                Section::Proxy(_) => first == "stats" || !names::is_harmless_in_proxy(first),
            };
        if decides {
            let message = format!("the line of `{}` is not UTF-8 here", quote(&words[..1]));
            self.desk.unreadable(&torn.range, message);
        }
        decides
    }

    fn directive(&mut self, words: &[Word]) {
        let Some((first, rest)) = words.split_first() else {
            return;
        };
        match first.text.as_str() {
            name @ (".if" | ".elif" | ".else" | ".endif") => {
                let is_known = rest.iter().all(|word| !word.is_unknown);
                let condition: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
                let condition = is_known.then(|| condition.join(" "));
                match self
                    .blocks
                    .directive(name, condition.as_deref(), &self.variables)
                {
                    Outcome::Fine => {}
                    Outcome::Unknown => self.desk.gap(words, Touches::Routing),
                    Outcome::Wrong(message) => self.desk.unreadable(&first.range, message),
                }
            }
            ".diag" | ".notice" | ".warning" => {}
            ".alert" if self.blocks.is_taken() => {
                let message = format!("`{}` stops HAProxy", quote(words));
                self.desk.refuse(&first.range, message);
            }
            _ if self.blocks.is_taken() => self.desk.gap(words, Touches::Routing),
            _ => {}
        }
    }

    /// The first line of a section.
    fn header(&mut self, words: &[Word]) {
        self.finish();
        let Some((first, rest)) = words.split_first() else {
            return;
        };
        let kind = match first.text.as_str() {
            "global" => {
                self.section = Section::Global;
                "global".clone_into(&mut self.desk.section);
                return;
            }
            "defaults" => Kind::Defaults,
            "frontend" => Kind::Frontend,
            "backend" => Kind::Backend,
            "listen" => Kind::Listen,
            other => {
                if let ("resolvers", Some(name)) = (other, rest.first())
                    && self.whole.resolvers.len() < PROXIES_MAX
                {
                    self.whole.resolvers.insert(shorten(&name.text));
                }
                self.section = Section::Other;
                other.clone_into(&mut self.desk.section);
                asides::note(&mut self.desk, words);
                return;
            }
        };
        let (name, from) = match rest {
            [from, base, ..] if kind == Kind::Defaults && from.text == "from" => (None, Some(base)),
            [name, from, base, ..] if from.text == "from" => (Some(name), Some(base)),
            [name, extra, ..] if matches!(kind, Kind::Listen | Kind::Frontend) => {
                let message = format!("`{}` has a word too many", quote(words));
                self.desk.refuse(&extra.range, message);
                (Some(name), None)
            }
            [name, ..] => (Some(name), None),
            [] => (None, None),
        };
        let range = first.range.start..name.map_or(first.range.end, |name| name.range.end);
        let name = self.name(kind, name, &range);
        let inherited = self.base(kind, from);
        let path = if name.is_empty() {
            kind.as_str().to_owned()
        } else {
            format!("{}.{}", kind.as_str(), path_segment(&name))
        };
        self.desk.section.clone_from(&path);
        self.desk.place(&path, &range);
        if self.whole.proxies.len() >= PROXIES_MAX || self.named.len() >= PROXIES_MAX {
            let message = format!("there are more than {PROXIES_MAX} sections");
            self.desk.too_much(&range, message);
            self.is_full = true;
        }
        let proxy = Proxy::new(kind, &name, path, range, inherited);
        self.section = Section::Proxy(Box::new(proxy));
    }

    fn name(&mut self, kind: Kind, word: Option<&Word>, range: &Range<usize>) -> String {
        let Some(word) = word else {
            if kind != Kind::Defaults {
                let message = format!("`{}` needs a name", kind.as_str());
                self.desk.refuse(range, message);
            }
            return String::new();
        };
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if word.text.len() > NAME_MAX {
            let message = format!("a name has more than {NAME_MAX} bytes");
            self.desk.too_much(&word.range, message);
            return shorten(&word.text);
        }
        if word.is_unknown {
            self.desk.gap(std::slice::from_ref(word), Touches::Routing);
        } else if let Some(bad) = word.text.chars().find(|c| !is_fine(*c)) {
            let message = format!("`{}` is not allowed in a name", bad.escape_default());
            self.desk.refuse(&word.range, message);
        }
        word.text.clone()
    }

    /// The settings that a section starts with.
    fn base(&mut self, kind: Kind, from: Option<&Word>) -> Inherited {
        match from {
            Some(from) => self.named.get(&from.text).cloned().unwrap_or_else(|| {
                let message = format!(
                    "there is no `defaults {}` before this line",
                    shorten(&from.text)
                );
                self.desk.refuse(&from.range, message);
                Inherited::default()
            }),
            None if kind == Kind::Defaults => Inherited::default(),
            None => self.defaults.clone(),
        }
    }

    /// Puts the section away.
    fn finish(&mut self) {
        self.desk.section.clear();
        if let Section::Proxy(proxy) = std::mem::replace(&mut self.section, Section::None) {
            if proxy.kind == Kind::Defaults {
                self.defaults = proxy.inherited.clone();
                if !proxy.name.is_empty() {
                    self.named.insert(proxy.name, proxy.inherited);
                }
            } else {
                self.whole.proxies.push(*proxy);
            }
        }
    }

    fn body(&mut self, words: &[Word]) {
        match &mut self.section {
            Section::None => {
                let range = words.first().map_or(0..0, |word| word.range.clone());
                let message = format!("`{}` stands before every section", quote(words));
                self.desk.unreadable(&range, message);
            }
            Section::Other => {}
            Section::Global => self.global(words),
            Section::Proxy(proxy) => {
                let (before, routes) = (proxy.servers.len(), proxy.alternatives);
                proxy.read(
                    &mut self.desk,
                    words,
                    BACKENDS_MAX.saturating_sub(self.servers),
                );
                self.servers += proxy.servers.len() - before;
                self.routes += proxy.alternatives - routes;
                let added = proxy.servers.get(before..).unwrap_or_default();
                if self.routes > ROUTES_MAX {
                    let range = words.first().map_or(0..0, |word| word.range.clone());
                    let message = format!("there are more than {ROUTES_MAX} routes");
                    self.desk.too_much(&range, message);
                    self.is_full = true;
                } else if self.servers > BACKENDS_MAX {
                    self.is_full = true;
                } else if let Some(long) = added.iter().find(|server| server.name.len() > NAME_MAX)
                {
                    let message = format!("a name has more than {NAME_MAX} bytes");
                    self.desk.too_much(&long.range, message);
                    self.is_full = true;
                }
                let is_member = words
                    .first()
                    .is_some_and(|word| word.text.starts_with("server"));
                self.is_full |= is_member && self.servers >= BACKENDS_MAX && added.is_empty();
            }
        }
    }

    fn global(&mut self, words: &[Word]) {
        let (first, rest) = match words {
            [no, first, rest @ ..] if matches!(no.text.as_str(), "no" | "default") => (first, rest),
            [first, rest @ ..] => (first, rest),
            [] => return,
        };
        let natural = |n: At<i64>| At::new(u64::try_from(n.value).unwrap_or(0), n.range);
        match first.text.as_str() {
            "maxconn" => {
                let most = self.desk.number(words, &Touches::Resilience).map(natural);
                self.whole.global.maxconn = most.filter(|most| most.value > 0);
            }
            "ulimit-n" | "fd-hard-limit" => {
                let most = self.desk.number(words, &Touches::Resilience).map(natural);
                self.whole.global.files_max = most.filter(|most| most.value > 0);
            }
            "nbproc" => {
                let count = self.desk.number(words, &Touches::Routing);
                if let Some(count) = count.filter(|count| count.value > 1) {
                    let message = "`nbproc` was removed in HAProxy 2.5".to_owned();
                    self.desk.refuse(&count.range, message);
                }
            }
            "maxconnrate" | "maxsessrate" | "maxsslrate" | "maxsslconn" => {
                self.desk.gap(words, Touches::Resilience);
            }
            "ssl-server-verify" => {
                self.whole.global.trusts_servers =
                    rest.first().is_some_and(|word| word.text == "none");
            }
            "stats" => {
                let is_admin = rest
                    .windows(2)
                    .any(|pair| pair[0].text == "level" && pair[1].text == "admin");
                if let ([what, address, ..], true) = (rest, is_admin)
                    && what.text == "socket"
                {
                    let at = At::new(address.text.clone(), address.range.clone());
                    self.whole.global.admin = Some(at);
                }
            }
            "setenv" | "presetenv" => {
                if let [name, value, ..] = rest {
                    let is_new = !self.variables.contains_key(&name.text);
                    if value.is_unknown || (is_new && self.variables.len() >= VARIABLES_MAX) {
                        self.variables.remove(&name.text);
                    } else if is_new || first.text == "setenv" {
                        self.variables.insert(name.text.clone(), value.text.clone());
                    }
                }
            }
            "resetenv" => self.variables.clear(),
            "unsetenv" => {
                for name in rest {
                    self.variables.remove(&name.text);
                }
            }
            name if names::is_harmless_global(name) => {}
            _ => self.desk.gap(words, Touches::Resilience),
        }
    }
}
