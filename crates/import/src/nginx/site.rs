//! `server` of `http`: its names, where it listens, its locations in the order in which nginx decides between them.
//!
//! nginx takes an exact location, else the longest prefix; unless that prefix is `^~`, the first regular expression
//! that matches comes before it. A route list is tried from the top, so it starts with exact paths, then `^~` prefixes
//! (and what lies below them) from the longest, then regular expressions, then the other prefixes from the longest.
//!
//! Limits: a regular expression within a prefix location is tried for all of that prefix, longer prefixes included.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Route, Touches};

use crate::nginx::ROUTES_MAX;
use crate::nginx::access;
use crate::nginx::content::{Case, Content, Found};
use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::scope::Scope;
use crate::nginx::tree::Directive;
use crate::nginx::vars::Locals;

/// How often a location may hand on to another by `try_files`.
const HANDED_ON_MAX: usize = 4;

/// Most locations and answers that are looked through to follow `try_files`; the rest are gaps.
const SEARCHED_MAX: usize = 5_000_000;

/// How a location compares the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
    /// `^~`.
    Strong,
    Regex,
    Named,
}

/// One location.
struct Location<'t> {
    kind: Kind,
    /// The path or expression; the sign of an expression before it.
    pattern: String,
    /// The prefix location around a regular expression.
    outer: Option<String>,
    path: String,
    directive: &'t Directive,
    scope: Scope<'t>,
    /// What is set around it.
    locals: Rc<Locals>,
}

/// A server with its routes, before listeners and hosts are known.
pub(super) struct Site<'t> {
    pub(super) path: String,
    pub(super) names: Vec<&'t Word>,
    pub(super) listens: Vec<&'t Directive>,
    pub(super) scope: Scope<'t>,
    /// Without listener and host.
    pub(super) routes: Vec<Route>,
}

/// Reads a `server` block.
pub(super) fn read<'t>(
    reader: &mut Reader<'_, '_>,
    directive: &'t Directive,
    outer: &Scope<'t>,
    number: usize,
) -> Site<'t> {
    let path = format!("server.{number}");
    reader.place_directive(&path, directive);
    let block = directive.inner();
    let scope = outer.with(reader, block);
    let mut content = Content {
        block,
        scope: scope.clone(),
        locals: Locals::default(),
        path: path.clone(),
    };
    let found = content.find(reader, true);
    let mut places = Places {
        path: path.clone(),
        locations: Vec::new(),
        routes: Vec::new(),
        room: ROUTES_MAX.saturating_sub(reader.site_routes),
        answers: BTreeMap::new(),
        taken: BTreeMap::new(),
        named: BTreeMap::new(),
    };
    for case in &found.early {
        places.route(&path, None, case.clone());
    }
    if found.is_answered {
        places.route(&path, None, Case::bare(None));
        never_passed(reader, block, &path);
    } else {
        places.collect(reader, block, &scope, &Rc::new(content.locals), None);
        places.order(reader);
        // What no location matches is served from the root directory.
        let is_root = |r: &Route| r.path_prefix.as_deref() == Some("/") && r.condition.is_none();
        if !places.routes.iter().any(is_root) {
            places.route(&path, None, Case::bare(None));
        }
    }
    reader.site_routes += places.routes.len();
    if places.room == 0 {
        reader.too_many_routes(&path);
    }
    let named = |name: &'static str| block.iter().filter(move |d| d.name() == name);
    Site {
        path,
        names: named("server_name").flat_map(Directive::args).collect(),
        listens: named("listen").collect(),
        scope,
        routes: places.routes,
    }
}

/// A `return` of the server comes before any location is looked for.
fn never_passed(reader: &mut Reader<'_, '_>, block: &[Directive], path: &str) {
    let locations = block.iter().filter(|d| d.name() == "location");
    let passing = locations.filter(|location| passes_within(location)).count();
    let answer = block.iter().find(|d| d.name() == "return");
    let Some(answer) = answer.filter(|_| passing > 0) else {
        return;
    };
    let path = format!("{path}.return");
    reader.place_directive(&path, answer);
    let message = format!(
        "`{}` answers every request of the server before its locations are looked at",
        answer.brief()
    );
    let effect = match passing {
        1 => "the location that passes requests on gets none of them".to_owned(),
        count => format!("the {count} locations that pass requests on get none of them"),
    };
    let fix = "move `return` into a location, or remove the locations";
    reader.accepted(true, &path, message, effect, fix);
}

/// Whether a block passes requests on. Calls itself as deep as blocks nest, which is bounded.
fn passes_within(directive: &Directive) -> bool {
    let mut inner = directive.inner().iter();
    inner.any(|d| d.name().ends_with("_pass") || passes_within(d))
}

struct Places<'t> {
    path: String,
    locations: Vec<Location<'t>>,
    routes: Vec<Route>,
    /// How many routes more are taken.
    room: usize,
    /// What each location answers with, as far as it is known.
    answers: BTreeMap<usize, Rc<Vec<Case>>>,
    /// How often each pattern occurs.
    taken: BTreeMap<String, usize>,
    /// Named locations, by name.
    named: BTreeMap<String, usize>,
}

impl<'t> Places<'t> {
    fn route(&mut self, path: &str, prefix: Option<&str>, case: Case) {
        if self.room == 0 {
            return;
        }
        self.room -= 1;
        self.routes.push(Route {
            path: path.to_owned(),
            listener: String::new(),
            host: None,
            path_prefix: prefix.map(str::to_owned),
            whole_segments: false,
            condition: case.condition,
            matcher: None,
            answer: None,
            edits: evenkeel_model::config::Edits::default(),
            targets: case.targets,
        });
    }

    /// Notes the locations of a block and of the locations in it.
    fn collect(
        &mut self,
        reader: &mut Reader<'_, '_>,
        block: &'t [Directive],
        scope: &Scope<'t>,
        locals: &Rc<Locals>,
        outer: Option<&str>,
    ) {
        for directive in block.iter().filter(|d| d.name() == "location") {
            let Some((kind, pattern)) = pattern(directive) else {
                let message = format!("`{}` is no location", directive.brief());
                reader.refuse_at(
                    directive,
                    message,
                    "write `location [=|^~|~|~*] PATH { .. }`",
                );
                continue;
            };
            let is_path = matches!(kind, Kind::Exact | Kind::Prefix | Kind::Strong);
            if let Some(outer) = outer.filter(|outer| is_path && !pattern.starts_with(*outer)) {
                let message = format!("location `{pattern}` is outside location `{outer}`");
                reader.refuse_at(directive, message, "move it out");
                continue;
            }
            let key = key(kind, &pattern);
            let (count, path) = named(&self.path, &key, &mut self.taken);
            if count > 1 && kind != Kind::Regex {
                let message = format!("there is a second location `{key}`");
                reader.refuse_at(directive, message, "keep the one that is meant");
                continue;
            }
            reader.place_directive(&path, directive);
            let inner = scope.with(reader, directive.inner());
            let mut own = Locals::within(locals);
            for set in directive.inner().iter().filter(|d| d.name() == "set") {
                own.set(set, None);
            }
            if kind == Kind::Named {
                self.named.insert(pattern.clone(), self.locations.len());
            }
            self.locations.push(Location {
                kind,
                pattern: pattern.clone(),
                outer: outer.filter(|_| kind == Kind::Regex).map(str::to_owned),
                path,
                directive,
                scope: inner.clone(),
                locals: Rc::clone(locals),
            });
            let below = if kind == Kind::Prefix || kind == Kind::Strong {
                Some(pattern.as_str())
            } else {
                outer
            };
            self.collect(reader, directive.inner(), &inner, &Rc::new(own), below);
        }
    }

    /// Makes the routes of all locations.
    fn order(&mut self, reader: &mut Reader<'_, '_>) {
        let cases: Vec<Rc<Vec<Case>>> = (0..self.locations.len())
            .map(|index| self.cases(reader, index, 0))
            .collect();
        let of_kind = |kind: Kind| {
            let all = self.locations.iter().enumerate();
            all.filter(move |(_, l)| l.kind == kind)
                .map(|(index, _)| index)
        };
        let exact: Vec<usize> = of_kind(Kind::Exact).collect();
        let nested =
            of_kind(Kind::Regex).filter(|i| self.at(*i).is_some_and(|l| l.outer.is_some()));
        let flat = of_kind(Kind::Regex).filter(|i| self.at(*i).is_some_and(|l| l.outer.is_none()));
        let nested: Vec<usize> = nested.collect();
        let flat: Vec<usize> = flat.collect();
        let mut prefixes: Vec<usize> = of_kind(Kind::Prefix).chain(of_kind(Kind::Strong)).collect();
        prefixes.sort_by_key(|index| {
            let length = self.at(*index).map_or(0, |l| l.pattern.len());
            (std::cmp::Reverse(length), *index)
        });
        let strong: BTreeSet<String> = of_kind(Kind::Strong)
            .filter_map(|index| self.at(index).map(|l| l.pattern.clone()))
            .collect();
        let is_below = |pattern: &str| {
            let starts = (0..=pattern.len()).filter_map(|end| pattern.get(..end));
            starts.into_iter().any(|start| strong.contains(start))
        };
        let is_first = |index: &usize| self.at(*index).is_some_and(|l| is_below(&l.pattern));
        let (first, rest): (Vec<usize>, Vec<usize>) = prefixes.into_iter().partition(is_first);
        for index in exact.into_iter().chain(nested) {
            self.routes_of(index, &cases, None);
        }
        for index in first {
            let plain = self.at(index).filter(|l| l.kind == Kind::Prefix);
            if let Some(prefix) = plain.map(|l| l.pattern.clone()) {
                // Each makes a route at least, so the loops end with the room for routes.
                for expression in flat.iter().take(self.room) {
                    self.routes_of(*expression, &cases, Some(&prefix));
                }
            }
            self.routes_of(index, &cases, None);
        }
        for index in flat.into_iter().chain(rest) {
            self.routes_of(index, &cases, None);
        }
    }

    fn at(&self, index: usize) -> Option<&Location<'t>> {
        self.locations.get(index)
    }

    fn routes_of(&mut self, index: usize, cases: &[Rc<Vec<Case>>], within: Option<&str>) {
        if self.room == 0 {
            return;
        }
        let (Some(location), Some(cases)) = (self.locations.get(index), cases.get(index)) else {
            return;
        };
        let path = location.path.clone();
        let (prefix, condition) = match location.kind {
            Kind::Exact => {
                let condition = format!("path = {}", location.pattern);
                (Some(location.pattern.clone()), Some(condition))
            }
            Kind::Prefix | Kind::Strong => (Some(location.pattern.clone()), None),
            Kind::Regex => {
                let prefix = within.or(location.outer.as_deref()).map(str::to_owned);
                (prefix, Some(format!("path {}", location.pattern)))
            }
            Kind::Named => return,
        };
        for case in cases.iter().take(self.room) {
            let case = case.clone().within(condition.as_deref());
            self.route(&path, prefix.as_deref(), case);
        }
    }

    /// What a location answers with.
    fn cases(
        &mut self,
        reader: &mut Reader<'_, '_>,
        index: usize,
        handed_on: usize,
    ) -> Rc<Vec<Case>> {
        if let Some(known) = self.answers.get(&index) {
            return Rc::clone(known);
        }
        let Some(location) = self.at(index) else {
            return Rc::new(vec![Case::bare(None)]);
        };
        let mut content = Content {
            block: location.directive.inner(),
            scope: location.scope.clone(),
            locals: Locals::within(&location.locals),
            path: location.path.clone(),
        };
        let mut found = content.find(reader, true);
        let mut cases = std::mem::take(&mut found.early);
        let is_internal = content.block.iter().any(|d| d.name() == "internal");
        if let Some(tried) = found.tried.filter(|_| !found.is_answered) {
            cases.extend(self.tried(reader, &content, tried, handed_on));
        }
        if found.tried.is_none() || found.is_answered || passes(&found) {
            cases.extend(content.answer(reader, &found, true));
        } else {
            cases.push(Case::bare(None));
        }
        cases = access::apply(&access::refused(&content.scope), cases);
        if is_internal {
            let within = |case: Case| case.within(Some("the request comes from within"));
            cases = cases.into_iter().map(within).collect();
        }
        let cases = Rc::new(cases);
        self.answers.insert(index, Rc::clone(&cases));
        cases
    }

    /// Where a request goes whose file is not there.
    fn tried(
        &mut self,
        reader: &mut Reader<'_, '_>,
        content: &Content<'t>,
        tried: &Directive,
        handed_on: usize,
    ) -> Vec<Case> {
        let Some((last, files)) = tried
            .args()
            .split_last()
            .filter(|(_, files)| !files.is_empty())
        else {
            let message = "`try_files` takes a file and a fall-back".to_owned();
            reader.refuse_at(tried, message, "write `try_files FILE .. URI`");
            return Vec::new();
        };
        if last.text.starts_with('=') {
            return Vec::new();
        }
        let target = if last.text.starts_with('@') {
            self.named.get(&last.text).copied().ok_or(Unknown::Missing)
        } else {
            self.find(reader, &last.text)
        };
        let target = match target {
            Ok(target) if handed_on < HANDED_ON_MAX && reader.searched < SEARCHED_MAX => target,
            Err(Unknown::Missing) => {
                let message = format!("there is no location `{}`", last.text);
                let path = format!("{}.try_files", content.path);
                reader.place(&path, last);
                let effect = "requests whose file is not there are answered with 500";
                reader.warn(
                    &path,
                    message,
                    effect,
                    "add the location, or correct the name",
                );
                return Vec::new();
            }
            Err(Unknown::Static) => return Vec::new(),
            Ok(_) | Err(Unknown::Unclear) => {
                reader.gap(&content.path, tried, Touches::Routing);
                return Vec::new();
            }
        };
        let files: Vec<&str> = files.iter().map(|word| word.text.as_str()).collect();
        let when = format!("no file for {}", files.join(" "));
        let cases = self.cases(reader, target, handed_on + 1);
        reader.searched += cases.len();
        if cases.iter().all(|case| case.targets.is_empty()) {
            return Vec::new();
        }
        let cases = cases.iter().map(|case| case.clone().within(Some(&when)));
        cases.collect()
    }

    /// The location that a fall-back of `try_files` leads to.
    fn find(&self, reader: &mut Reader<'_, '_>, uri: &str) -> Result<usize, Unknown> {
        reader.searched += self.locations.len();
        if reader.searched > SEARCHED_MAX {
            return Err(Unknown::Unclear);
        }
        let path = uri.split(['?', '$']).next().unwrap_or("");
        if path.is_empty() || uri.get(path.len()..).is_some_and(|rest| rest.contains('/')) {
            return Err(Unknown::Unclear);
        }
        let all = || self.locations.iter().enumerate();
        let exact = all().find(|(_, l)| l.kind == Kind::Exact && l.pattern == path);
        if let Some((index, _)) = exact {
            return Ok(index);
        }
        let is_prefix = |l: &Location<'_>| matches!(l.kind, Kind::Prefix | Kind::Strong);
        let prefix = all()
            .filter(|(_, l)| is_prefix(l) && path.starts_with(&l.pattern))
            .max_by_key(|(_, l)| l.pattern.len());
        if prefix.is_none_or(|(_, l)| l.kind != Kind::Strong) {
            let extension = path.rsplit_once('.').map(|(_, extension)| extension);
            for (index, location) in all().filter(|(_, l)| l.kind == Kind::Regex) {
                match matches_extension(&location.pattern, extension) {
                    Some(true) => return Ok(index),
                    Some(false) => {}
                    None => return Err(Unknown::Unclear),
                }
            }
        }
        prefix.map(|(index, _)| index).ok_or(Unknown::Static)
    }
}

/// Why a fall-back leads to no location.
enum Unknown {
    /// The name is not there.
    Missing,
    /// A file of the root directory.
    Static,
    /// It depends on an expression or a variable.
    Unclear,
}

fn passes(found: &Found<'_>) -> bool {
    Content::passes(found)
}

/// Whether an expression that asks for an ending such as `\.php$` is for `extension`; `None`: no telling.
fn matches_extension(pattern: &str, extension: Option<&str>) -> Option<bool> {
    let (_, ending) = pattern.split_once("\\.")?;
    let ending = ending.trim_start_matches(['(', '?', ':']);
    let end = ending.find(['$', ')', '(']).unwrap_or(ending.len());
    let endings = ending.get(..end)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '|';
    if !pattern.contains('$') || endings.is_empty() || !endings.chars().all(is_plain) {
        return None;
    }
    Some(extension.is_some_and(|extension| endings.split('|').any(|one| one == extension)))
}

/// What a location is known by in its server.
fn key(kind: Kind, pattern: &str) -> String {
    match kind {
        Kind::Exact => format!("= {pattern}"),
        _ => pattern.to_owned(),
    }
}

/// How often `key` has occurred in the server at `path`, this time included, and the path of this location.
fn named(path: &str, key: &str, taken: &mut BTreeMap<String, usize>) -> (usize, String) {
    let count = taken.entry(key.to_owned()).or_insert(0);
    *count += 1;
    let name = match *count {
        1 => key.to_owned(),
        number => format!("{key}#{number}"),
    };
    (*count, format!("{path}.location.{}", path_segment(&name)))
}

/// The path of the next location of the server at `server`, in file order: the same that its routes have.
pub(super) fn path_of(
    directive: &Directive,
    server: &str,
    taken: &mut BTreeMap<String, usize>,
) -> Option<String> {
    let (kind, pattern) = pattern(directive)?;
    Some(named(server, &key(kind, &pattern), taken).1)
}

/// Kind and pattern of a location.
fn pattern(directive: &Directive) -> Option<(Kind, String)> {
    const SIGNS: &[(&str, Kind)] = &[
        ("=", Kind::Exact),
        ("^~", Kind::Strong),
        ("~*", Kind::Regex),
        ("~", Kind::Regex),
        ("@", Kind::Named),
    ];
    directive.block.as_ref()?;
    let of = |sign: &str, kind: Kind, rest: &str| match kind {
        Kind::Regex => (kind, format!("{sign} {rest}")),
        Kind::Named => (kind, format!("@{rest}")),
        _ => (kind, rest.to_owned()),
    };
    match directive.args() {
        [one] => {
            let signed = SIGNS.iter().find_map(|(sign, kind)| {
                let rest = one.text.strip_prefix(sign)?;
                Some(of(sign, *kind, rest))
            });
            Some(signed.unwrap_or_else(|| (Kind::Prefix, one.text.clone())))
        }
        [sign, path] => {
            let signed = SIGNS.iter().find(|(known, _)| *known == sign.text);
            signed
                .filter(|(_, kind)| *kind != Kind::Named)
                .map(|(sign, kind)| of(sign, *kind, &path.text))
        }
        _ => None,
    }
}
