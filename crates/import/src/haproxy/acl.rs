//! `acl` and the conditions of rules: which hosts and paths they come to, where that can be told from the file.
//!
//! A condition is an OR of ANDs of possibly negated ACLs. Tests of the host, of the server name in TLS and of the path
//! against values in the file become hosts and prefixes of routes, those of TLS and of the port are answered for each
//! address of the frontend; whatever else takes part stays as written, and the route is taken to match sometimes.

use std::collections::BTreeMap;

use evenkeel_model::setup::Touches;

use crate::haproxy::balance::call;
use crate::haproxy::desk::{Desk, quote};
use crate::haproxy::lexer::Word;

/// Most routes that one rule may come to; beyond it its condition stays as written.
const ALTERNATIVES_MAX: usize = 64;

/// One test that an ACL may pass by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// The host or the server name in TLS; exact, or `*.example.com`.
    Host(String),
    /// The beginning of the path.
    Prefix(String),
    /// The whole path.
    Path(String),
    /// What the address decides that the client came to.
    Local(Local),
    Always,
    Never,
    Other,
}

/// A test that one address of a frontend passes or fails for all its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// Whether it terminates TLS.
    Tls(bool),
    /// Whether its port is among these, first and last, or not.
    Port(u16, u16, bool),
}

impl Local {
    const fn negated(self) -> Self {
        match self {
            Self::Tls(is_tls) => Self::Tls(!is_tls),
            Self::Port(low, high, is_in) => Self::Port(low, high, !is_in),
        }
    }
}

/// The ACLs of a proxy: several lines with one name are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Acls(BTreeMap<String, Vec<Test>>);

/// When a route matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct When {
    pub(super) host: Option<String>,
    pub(super) path_prefix: Option<String>,
    /// What else must hold, as written.
    pub(super) condition: Option<String>,
    /// What must hold of the address that the client came to; all of it.
    pub(super) locals: Vec<Local>,
    /// The words that `locals` were taken from.
    pub(super) locals_written: String,
}

impl When {
    /// Whether every request matches.
    pub(super) fn is_always(&self) -> bool {
        *self == Self::default()
    }

    /// This at an address for which `passes` answers; `None`: no request that comes there matches.
    pub(super) fn at(&self, passes: impl Fn(Local) -> Option<bool>) -> Option<Self> {
        let mut when = Self {
            locals: Vec::new(),
            locals_written: String::new(),
            ..self.clone()
        };
        for local in &self.locals {
            match passes(*local) {
                Some(true) => {}
                Some(false) => return None,
                None => when.condition = Some(self.locals_written.clone()),
            }
        }
        Some(when)
    }
}

/// One ACL of a condition.
struct Term<'a> {
    is_negated: bool,
    tests: std::borrow::Cow<'a, [Test]>,
}

impl Term<'_> {
    fn negated(self) -> Self {
        Self {
            is_negated: !self.is_negated,
            ..self
        }
    }
}

impl Acls {
    /// Reads `acl NAME TEST...`.
    pub(super) fn declare(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let [_, name, test @ ..] = words else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`acl` needs a name and a test".to_owned());
            return;
        };
        if test.is_empty() {
            let message = format!("acl `{}` tests nothing", quote(&words[1..2]));
            desk.refuse(&name.range, message);
            return;
        }
        let declared = self.0.entry(name.text.clone()).or_default();
        declared.extend(tests(test));
    }

    /// When a rule with these words (`if ...`, `unless ...`, or none) matches; one entry per route. Empty: never.
    pub(super) fn when(&self, desk: &mut Desk<'_, '_>, words: &[Word]) -> Vec<When> {
        let Some((first, rest)) = words.split_first() else {
            return vec![When::default()];
        };
        let as_written = || {
            vec![When {
                condition: Some(quote(words)),
                ..When::default()
            }]
        };
        let is_unless = match first.text.as_str() {
            "if" => false,
            "unless" => true,
            _ => {
                let message = format!("`{}` is neither `if` nor `unless`", quote(&words[..1]));
                desk.refuse(&first.range, message);
                return Vec::new();
            }
        };
        if rest.is_empty() {
            // Accepted, and never true in 2.6; whoever wrote it meant something else.
            desk.gap(words, Touches::Routing);
            return as_written();
        }
        let Some(mut conjunctions) = self.terms(desk, rest) else {
            return Vec::new();
        };
        if is_unless {
            let Some(opposite) = opposite(conjunctions) else {
                return as_written();
            };
            conjunctions = opposite;
        }
        let written = quote(if is_unless { words } else { rest });
        let mut routes = Vec::new();
        for terms in &conjunctions {
            routes.extend(conjunction(terms, &written));
            if routes.len() > ALTERNATIVES_MAX {
                return as_written();
            }
        }
        routes
    }

    /// The condition as alternatives of terms; `None`, with a finding, where HAProxy refuses it.
    fn terms<'a>(&'a self, desk: &mut Desk<'_, '_>, words: &[Word]) -> Option<Vec<Vec<Term<'a>>>> {
        let mut all = vec![Vec::new()];
        let (mut at, mut is_negated) = (0, false);
        while let Some(word) = words.get(at) {
            at += 1;
            let mut text = word.text.as_str();
            if matches!(text, "or" | "OR" | "||") {
                all.push(Vec::new());
                continue;
            }
            while let Some(rest) = text.strip_prefix('!') {
                is_negated = !is_negated;
                text = rest;
            }
            let tests: std::borrow::Cow<'a, [Test]> = if text.is_empty() {
                continue;
            } else if text == "{" {
                let rest = words.get(at..).unwrap_or_default();
                let Some(end) = rest.iter().position(|word| word.text == "}") else {
                    desk.refuse(&word.range, "`{` is not closed by `}`".to_owned());
                    return None;
                };
                at += end + 1;
                tests(&rest[..end]).into()
            } else if let Some(tests) = self.0.get(text) {
                tests.as_slice().into()
            } else if let Some(test) = predefined(text) {
                vec![test].into()
            } else if word.is_unknown {
                vec![Test::Other].into()
            } else {
                let message = format!(
                    "there is no acl `{}` before this line",
                    quote(std::slice::from_ref(word))
                );
                desk.refuse(&word.range, message);
                return None;
            };
            if let Some(last) = all.last_mut() {
                last.push(Term { is_negated, tests });
            }
            is_negated = false;
        }
        Some(all)
    }
}

/// None of `conjunctions` holds, where that can be said as simply; `None`: as they are written.
fn opposite(conjunctions: Vec<Vec<Term<'_>>>) -> Option<Vec<Vec<Term<'_>>>> {
    if conjunctions.iter().all(|terms| terms.len() == 1) {
        return Some(vec![
            conjunctions
                .into_iter()
                .flatten()
                .map(Term::negated)
                .collect(),
        ]);
    }
    let mut all = conjunctions;
    let only = all.pop().filter(|_| all.is_empty())?;
    Some(only.into_iter().map(|term| vec![term.negated()]).collect())
}

/// The routes of terms that must all hold.
fn conjunction(terms: &[Term<'_>], written: &str) -> Vec<When> {
    let mut routes = vec![When::default()];
    let mut is_partly = false;
    for term in terms {
        let is_always = term.tests.contains(&Test::Always);
        let is_never = term.tests.iter().all(|test| *test == Test::Never);
        if is_always || is_never {
            if is_always == term.is_negated {
                return Vec::new();
            }
            continue;
        }
        if let (true, Some(locals)) = (term.is_negated, locals(&term.tests)) {
            for route in &mut routes {
                route.locals.extend(locals.iter().map(|l| l.negated()));
                written.clone_into(&mut route.locals_written);
            }
            continue;
        }
        let count = routes.len() * term.tests.len();
        if term.is_negated || term.tests.contains(&Test::Other) || count > ALTERNATIVES_MAX {
            is_partly = true;
            continue;
        }
        let mut product = Vec::with_capacity(count);
        for route in &routes {
            for test in term.tests.iter().filter(|test| **test != Test::Never) {
                product.push(narrowed(route, test, written));
            }
        }
        routes = product;
    }
    if is_partly {
        for route in &mut routes {
            route.condition = Some(written.to_owned());
        }
    }
    routes
}

/// The tests where all of them are about the address.
fn locals(tests: &[Test]) -> Option<Vec<Local>> {
    let locals = tests.iter().filter(|test| **test != Test::Never);
    locals
        .map(|test| match test {
            Test::Local(local) => Some(*local),
            _ => None,
        })
        .collect()
}

fn narrowed(route: &When, test: &Test, written: &str) -> When {
    let mut route = route.clone();
    match test {
        Test::Host(host) if route.host.is_none() => route.host = Some(host.clone()),
        Test::Prefix(prefix) if route.path_prefix.is_none() => {
            route.path_prefix = Some(prefix.clone());
        }
        Test::Path(path) if route.path_prefix.is_none() => {
            route.path_prefix = Some(path.clone());
            route.condition = Some(format!("the path is `{path}`"));
        }
        Test::Local(local) => {
            route.locals.push(*local);
            written.clone_into(&mut route.locals_written);
        }
        _ => route.condition = Some(written.to_owned()),
    }
    route
}

/// The ACLs that need no declaration.
fn predefined(name: &str) -> Option<Test> {
    let known = [
        "HTTP",
        "HTTP_1.0",
        "HTTP_1.1",
        "HTTP_2.0",
        "HTTP_3.0",
        "HTTP_CONTENT",
        "HTTP_URL_ABS",
        "HTTP_URL_SLASH",
        "HTTP_URL_STAR",
        "LOCALHOST",
        "METH_CONNECT",
        "METH_DELETE",
        "METH_GET",
        "METH_HEAD",
        "METH_OPTIONS",
        "METH_POST",
        "METH_PUT",
        "METH_TRACE",
        "RDP_COOKIE",
        "REQ_CONTENT",
        "WAIT_END",
    ];
    match name {
        "TRUE" => Some(Test::Always),
        "FALSE" => Some(Test::Never),
        _ => known.contains(&name).then_some(Test::Other),
    }
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Host,
    Path,
}

/// The tests of `CRITERION [flags] VALUE...`.
fn tests(words: &[Word]) -> Vec<Test> {
    let other = vec![Test::Other];
    let Some((criterion, mut rest)) = words.split_first() else {
        return other;
    };
    match criterion.text.as_str() {
        "always_true" => return vec![Test::Always],
        "always_false" => return vec![Test::Never],
        _ => {}
    }
    if let Some(tests) = local_tests(&criterion.text, rest) {
        return tests;
    }
    let Some((subject, mut how)) = subject(&criterion.text) else {
        return other;
    };
    let mut ignores_case = criterion.text.ends_with(",lower");
    while let Some(flag) = rest.first().and_then(|word| word.text.strip_prefix('-')) {
        match (flag, rest.get(1)) {
            ("i", _) => {
                ignores_case = true;
                rest = &rest[1..];
            }
            ("-", _) => {
                rest = &rest[1..];
                break;
            }
            ("m", Some(method)) => {
                how.clone_from(&method.text);
                rest = &rest[2..];
            }
            // `-f FILE` among them: the values are not in this file.
            _ => return other,
        }
    }
    if rest.is_empty() || rest.iter().any(|word| word.is_unknown) {
        return other;
    }
    let test = |word: &Word| match (subject, how.as_str()) {
        (Subject::Host, "str") => Test::Host(word.text.to_ascii_lowercase()),
        (Subject::Host, "end") if word.text.starts_with('.') => {
            Test::Host(format!("*{}", word.text.to_ascii_lowercase()))
        }
        // A prefix of a route is compared letter by letter. One in lower case with `-i` is taken as it stands, for paths
        // are written in lower case; one with capitals would miss most of what it matches.
        (Subject::Path, _) if ignores_case && has_capitals(&word.text) => Test::Other,
        (Subject::Path, "beg") => Test::Prefix(word.text.clone()),
        (Subject::Path, "str") => Test::Path(word.text.clone()),
        _ => Test::Other,
    };
    rest.iter().map(test).collect()
}

/// The tests of `ssl_fc` and `dst_port [eq|ge|gt|le|lt] VALUE...`; `None`: none of these, or spelt in another way.
fn local_tests(criterion: &str, words: &[Word]) -> Option<Vec<Test>> {
    match (criterion, words) {
        ("ssl_fc", []) => return Some(vec![Test::Local(Local::Tls(true))]),
        ("dst_port", [_, ..]) if words.iter().all(|word| !word.is_unknown) => {}
        _ => return None,
    }
    let (operator, values) = match words {
        [first, rest @ ..] if matches!(first.text.as_str(), "eq" | "ge" | "gt" | "le" | "lt") => {
            (first.text.as_str(), rest)
        }
        _ => ("eq", words),
    };
    let ports = values.iter().map(|word| {
        let (low, high) = word
            .text
            .split_once(':')
            .unwrap_or((&word.text, &word.text));
        let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
        let (low, high) = match operator {
            "eq" => (low, high),
            _ if low != high => return None,
            "ge" => (low, u16::MAX),
            "gt" => (low.checked_add(1)?, u16::MAX),
            "le" => (0, high),
            _ => (0, high.checked_sub(1)?),
        };
        Some(Test::Local(Local::Port(low, high, true)))
    });
    let ports: Option<Vec<Test>> = ports.collect();
    ports.filter(|ports| !ports.is_empty())
}

fn has_capitals(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_uppercase())
}

/// What a criterion compares and how.
fn subject(criterion: &str) -> Option<(Subject, String)> {
    let converters = criterion.split_once(',').map_or("", |(_, rest)| rest);
    if !matches!(
        converters,
        "" | "lower"
            | "field(1,:)"
            | "field(1,:),lower"
            | "host_only"
            | "host_only,lower"
            | "lower,field(1,:)"
    ) {
        return None;
    }
    let plain = criterion.split(',').next().unwrap_or(criterion);
    let (name, argument) = call(plain);
    let is_host = argument.is_some_and(|argument| argument.eq_ignore_ascii_case("host"));
    let (subject, how) = match name {
        "hdr" | "req.hdr" | "req.fhdr" | "hdr_str" if is_host => (Subject::Host, "str"),
        "hdr_end" | "req.hdr_end" if is_host => (Subject::Host, "end"),
        "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" => (Subject::Host, "str"),
        "ssl_fc_sni_end" | "req_ssl_sni_end" | "req.ssl_sni_end" => (Subject::Host, "end"),
        "path" => (Subject::Path, "str"),
        "path_beg" => (Subject::Path, "beg"),
        _ => return None,
    };
    Some((subject, how.to_owned()))
}
