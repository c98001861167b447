//! Which route a request takes: first match wins, in file order.
//!
//! Matching works on what the client sent. Where another server could read the path so that another route would take
//! it ([`reading`]), the request is [`Found::Ambiguous`]: a backend must not be reached by a rule that was not meant
//! for it. Costs O(routes of the listener) and no allocation, unless the path has bytes that are read in several ways
//! and some route of the listener looks at paths.
//!
//! The data plane, the audit and the command line all ask this table, so what is told is what happens.

use std::collections::BTreeMap;

use evenkeel_model::config::{
    CompiledPattern, Config, Field, Matcher, PathMatch, Pattern, Target, ValueMatch,
};
use evenkeel_model::ids::Name;
use evenkeel_model::setup::Setup;

mod reading;

/// A request as far as routes look at it.
pub trait Request {
    /// As in the Host header: a port, capitals and one trailing dot do not matter.
    fn host(&self) -> Option<&str>;
    /// As sent.
    fn method(&self) -> &str;
    /// As sent, without a query.
    fn path(&self) -> &str;
    /// As sent, without its `?`.
    fn query(&self) -> Option<&str>;
    /// Whether `is` holds for the value of any header field called `name` (lower case).
    fn any_field(&self, name: &str, is: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A request that nobody sent: of a simulation, of an expectation, of a test.
#[derive(Debug, Clone, Copy)]
pub struct Example<'a> {
    /// As in the Host header; `None`: it has none.
    pub host: Option<&'a str>,
    /// In capitals.
    pub method: &'a str,
    /// Without a query.
    pub path: &'a str,
    /// Without its `?`.
    pub query: Option<&'a str>,
    /// Header fields, names in lower case.
    pub fields: &'a [(&'a str, &'a str)],
}

impl<'a> Example<'a> {
    /// A GET of `target`, a path with or without a query, without header fields.
    pub fn get(host: Option<&'a str>, target: &'a str) -> Self {
        let target = target.split('#').next().unwrap_or(target);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Self {
            host,
            method: "GET",
            path,
            query,
            fields: &[],
        }
    }
}

impl Request for Example<'_> {
    fn host(&self) -> Option<&str> {
        self.host
    }

    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        self.query
    }

    fn any_field(&self, name: &str, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut mine = self.fields.iter().filter(|(field, _)| *field == name);
        mine.any(|(_, value)| is(value.as_bytes()))
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// By this route.
    Route {
        /// Its place in the configuration.
        route: usize,
        /// The place of its pool.
        pool: usize,
    },
    /// By this route, which the balancer answers itself.
    Answer {
        /// Its place in the configuration.
        route: usize,
    },
    /// No route takes it.
    Nothing,
    /// Read differently, the path would lead elsewhere.
    Ambiguous,
}

/// What a request lacks for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss<'t> {
    /// Another host.
    Host,
    /// Another path.
    Path,
    /// Another method.
    Method,
    /// This header has not the value that is asked for.
    Header(&'t str),
    /// The same of a cookie.
    Cookie(&'t str),
    /// The same of a parameter of the query.
    Query(&'t str),
}

/// The routes of a configuration, compiled.
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// By name.
    listeners: Vec<(String, Routes)>,
}

/// The routes of one listener.
#[derive(Debug, Clone)]
struct Routes {
    /// In file order.
    entries: Vec<Entry>,
    /// Whether any of them looks at the path.
    by_path: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    host: Host,
    path: Path,
    /// Boxed: most routes have none.
    rest: Option<Box<Rest>>,
    /// `None`: answered without one.
    pool: Option<usize>,
    route: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Exact(String),
    /// `.example.com` of `*.example.com`.
    Suffix(String),
}

#[derive(Debug, Clone)]
enum Path {
    /// Without its trailing slash; empty matches every path.
    Prefix(Literal),
    Exact(Literal),
    Regex(CompiledPattern),
    /// What the parser refuses.
    Never,
}

/// A path of the configuration.
#[derive(Debug, Clone)]
struct Literal {
    text: String,
    /// Its own readings, where they differ: a rule that is written with escapes means them.
    readings: Vec<String>,
}

/// What a route asks for besides host and path.
#[derive(Debug, Clone)]
struct Rest {
    methods: Vec<String>,
    headers: Vec<(String, Value)>,
    cookies: Vec<(String, Value)>,
    query: Vec<(String, Value)>,
}

#[derive(Debug, Clone)]
enum Value {
    Exact(String),
    Prefix(String),
    Regex(CompiledPattern),
    Present,
    Absent,
    Never,
}

/// A path in one of its readings.
#[derive(Debug, Clone, Copy)]
struct Read<'a> {
    path: &'a str,
    /// The place of the reading; `None`: as sent.
    reading: Option<usize>,
}

impl RouteTable {
    /// Compiles the routes of `config`. Routes whose pool or listener does not exist (the parser refuses them)
    /// match nothing.
    pub fn new(config: &Config) -> Self {
        let pool_of = |pool: &Name| config.pools.iter().position(|p| p.name == *pool);
        let routes = config.routes.iter().enumerate();
        let entries = routes.filter_map(|(index, route)| {
            let pool = match &route.target {
                Target::Pool(name) => Some(pool_of(name)?),
                Target::Answer(_) => None,
            };
            let entry = Entry::new(route.host.as_deref(), &route.matcher, pool, index);
            Some((route.listener.as_str(), entry))
        });
        Self::compiled(config.listeners.iter().map(|l| l.name.as_str()), entries)
    }

    /// The same from what a configuration sets up. Of other balancers' files, whose conditions are not evaluated, it
    /// has no route.
    pub fn of_setup(setup: &Setup) -> Self {
        let pools: BTreeMap<&str, usize> = setup
            .pools
            .iter()
            .enumerate()
            .map(|(index, pool)| (pool.name.as_str(), index))
            .collect();
        let routes = setup.routes.iter().enumerate();
        let entries = routes.filter_map(|(index, route)| {
            let matcher = route.matcher.as_ref()?;
            let pool = match (&route.answer, route.targets.first()) {
                (Some(_), _) => None,
                (None, Some((pool, _))) => Some(*pools.get(pool.as_str())?),
                (None, None) => return None,
            };
            let entry = Entry::new(route.host.as_deref(), matcher, pool, index);
            Some((route.listener.as_str(), entry))
        });
        Self::compiled(setup.listeners.iter().map(|l| l.name.as_str()), entries)
    }

    fn compiled<'n>(
        listeners: impl Iterator<Item = &'n str>,
        entries: impl Iterator<Item = (&'n str, Entry)>,
    ) -> Self {
        let mut by_listener: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
        for (listener, entry) in entries {
            by_listener.entry(listener).or_default().push(entry);
        }
        let mut routes = |name: &'n str| {
            let entries = by_listener.remove(name).unwrap_or_default();
            (name.to_owned(), Routes::new(entries))
        };
        Self {
            listeners: listeners.map(&mut routes).collect(),
        }
    }

    /// The index of a listener for [`RouteTable::find`]: its place in the configuration.
    pub fn listener(&self, name: &str) -> Option<usize> {
        self.listeners
            .iter()
            .position(|(listener, _)| listener == name)
    }

    /// Where `request` goes that came in on a listener, by its index.
    pub fn find(&self, listener: usize, request: &impl Request) -> Found {
        let Some((_, routes)) = self.listeners.get(listener) else {
            return Found::Nothing;
        };
        let path = request.path();
        let host = request.host().map_or("", bare_host);
        let as_sent = Read {
            path,
            reading: None,
        };
        let found = routes.first(host, as_sent, request);
        if routes.other_reading(host, found, request).is_some() {
            return Found::Ambiguous;
        }
        found.map_or(Found::Nothing, |entry| {
            let route = entry.route;
            match entry.pool {
                Some(pool) => Found::Route { route, pool },
                None => Found::Answer { route },
            }
        })
    }
}

/// Why a request goes where it goes.
impl RouteTable {
    /// What `request` lacks for the route at this place in the configuration; `None`: it lacks nothing, or the listener
    /// has no such route.
    pub fn miss(&self, listener: usize, request: &impl Request, route: usize) -> Option<Miss<'_>> {
        let (_, routes) = self.listeners.get(listener)?;
        let place = routes.entries.binary_search_by_key(&route, |e| e.route);
        let entry = routes.entries.get(place.ok()?)?;
        let host = request.host().map_or("", bare_host);
        let as_sent = Read {
            path: request.path(),
            reading: None,
        };
        entry.miss(host, as_sent, request)
    }

    /// Why `request` is [`Found::Ambiguous`]: the route of the path as sent, another reading of the path, its route.
    pub fn ambiguity(
        &self,
        listener: usize,
        request: &impl Request,
    ) -> Option<(Option<usize>, String, Option<usize>)> {
        let (_, routes) = self.listeners.get(listener)?;
        let host = request.host().map_or("", bare_host);
        let as_sent = Read {
            path: request.path(),
            reading: None,
        };
        let found = routes.first(host, as_sent, request);
        let (path, other) = routes.other_reading(host, found, request)?;
        let route = |entry: Option<&Entry>| entry.map(|entry| entry.route);
        Some((route(found), path, route(other)))
    }
}

impl Routes {
    fn new(entries: Vec<Entry>) -> Self {
        let looks = |entry: &Entry| !entry.path.takes_all();
        Self {
            by_path: entries.iter().any(looks),
            entries,
        }
    }

    fn first(&self, host: &str, path: Read<'_>, request: &impl Request) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.matches(host, path, request))
    }

    /// A reading of the path that leads elsewhere than `found`, with where it leads.
    fn other_reading(
        &self,
        host: &str,
        found: Option<&Entry>,
        request: &impl Request,
    ) -> Option<(String, Option<&Entry>)> {
        if !self.by_path || reading::is_plain(request.path()) {
            return None;
        }
        self.read_again(host, found, request)
    }

    #[cold]
    fn read_again(
        &self,
        host: &str,
        found: Option<&Entry>,
        request: &impl Request,
    ) -> Option<(String, Option<&Entry>)> {
        let sent = request.path();
        reading::all(sent).enumerate().find_map(|(index, path)| {
            if path == sent {
                return None;
            }
            let read = Read {
                path: &path,
                reading: Some(index),
            };
            let other = self.first(host, read, request);
            let is_other = other.map(|entry| entry.route) != found.map(|entry| entry.route);
            is_other.then_some((path, other))
        })
    }
}

impl Entry {
    fn new(host: Option<&str>, matcher: &Matcher, pool: Option<usize>, route: usize) -> Self {
        Self {
            host: Host::new(host),
            path: Path::new(&matcher.path),
            rest: (!matcher.is_path_only()).then(|| Box::new(Rest::new(matcher))),
            pool,
            route,
        }
    }

    fn matches(&self, host: &str, path: Read<'_>, request: &impl Request) -> bool {
        self.miss(host, path, request).is_none()
    }

    /// The first thing that `request` lacks.
    fn miss(&self, host: &str, path: Read<'_>, request: &impl Request) -> Option<Miss<'_>> {
        if !self.host.matches(host) {
            return Some(Miss::Host);
        }
        if !self.path.matches(path) {
            return Some(Miss::Path);
        }
        self.rest.as_ref()?.miss(request)
    }
}

impl Path {
    fn new(path: &PathMatch) -> Self {
        match path {
            PathMatch::Prefix(prefix) => Self::Prefix(Literal::new(prefix.trim_end_matches('/'))),
            PathMatch::Exact(path) => Self::Exact(Literal::new(path)),
            PathMatch::Regex(pattern) => pattern.compile().map_or(Self::Never, Self::Regex),
        }
    }

    fn takes_all(&self) -> bool {
        matches!(self, Self::Prefix(prefix) if prefix.text.is_empty())
    }

    fn matches(&self, path: Read<'_>) -> bool {
        match self {
            Self::Prefix(prefix) => prefix.any(path.reading, |prefix| {
                path.path.strip_prefix(prefix).is_some_and(|rest| {
                    prefix.is_empty() || rest.is_empty() || rest.starts_with('/')
                })
            }),
            Self::Exact(exact) => exact.any(path.reading, |exact| path.path == exact),
            Self::Regex(pattern) => pattern.is_match(path.path.as_bytes()),
            Self::Never => false,
        }
    }
}

impl Literal {
    fn new(text: &str) -> Self {
        let is_plain = text.is_empty() || reading::is_plain(text);
        Self {
            text: text.to_owned(),
            readings: if is_plain {
                Vec::new()
            } else {
                reading::all(text).collect()
            },
        }
    }

    /// Whether `is` holds for it as written, or in the same reading as the path.
    fn any(&self, reading: Option<usize>, is: impl Fn(&str) -> bool) -> bool {
        let read = || self.readings.get(reading?);
        is(&self.text) || read().is_some_and(|text| is(text))
    }
}

impl Rest {
    fn new(matcher: &Matcher) -> Self {
        let compiled = |fields: &[Field]| {
            let value = |field: &Field| (field.name.clone(), Value::new(&field.value));
            fields.iter().map(value).collect()
        };
        Self {
            methods: matcher.methods.clone(),
            headers: compiled(&matcher.headers),
            cookies: compiled(&matcher.cookies),
            query: compiled(&matcher.query),
        }
    }

    /// The first thing that `request` lacks.
    fn miss(&self, request: &impl Request) -> Option<Miss<'_>> {
        if !self.methods.is_empty() && !self.methods.iter().any(|m| m == request.method()) {
            return Some(Miss::Method);
        }
        let header = self
            .headers
            .iter()
            .find(|(name, value)| !value.holds(|is| request.any_field(name, &mut |text| is(text))));
        if let Some((name, _)) = header {
            return Some(Miss::Header(name));
        }
        let cookie = self.cookies.iter().find(|(name, value)| {
            !value.holds(|is| {
                request.any_field("cookie", &mut |field| {
                    any_cookie(field, name.as_bytes(), is)
                })
            })
        });
        if let Some((name, _)) = cookie {
            return Some(Miss::Cookie(name));
        }
        let query = request.query().unwrap_or("");
        let mut parameters = self.query.iter();
        let parameter =
            parameters.find(|(name, value)| !value.holds(|is| any_parameter(query, name, is)));
        parameter.map(|(name, _)| Miss::Query(name))
    }
}

impl Value {
    fn new(value: &ValueMatch) -> Self {
        let run = |pattern: &Pattern| pattern.compile().map_or(Self::Never, Self::Regex);
        match value {
            ValueMatch::Exact(text) => Self::Exact(text.clone()),
            ValueMatch::Prefix(text) => Self::Prefix(text.clone()),
            ValueMatch::Regex(pattern) => run(pattern),
            ValueMatch::Present => Self::Present,
            ValueMatch::Absent => Self::Absent,
        }
    }

    /// Whether it holds for a request in which `any` says whether some value fits.
    fn holds(&self, any: impl Fn(&dyn Fn(&[u8]) -> bool) -> bool) -> bool {
        match self {
            Self::Exact(text) => any(&|value| value == text.as_bytes()),
            Self::Prefix(text) => any(&|value| value.starts_with(text.as_bytes())),
            Self::Regex(pattern) => any(&|value| pattern.is_match(value)),
            Self::Present => any(&|_value| true),
            Self::Absent => !any(&|_value| true),
            Self::Never => false,
        }
    }
}

/// Whether `is` holds for any cookie called `name` in a Cookie header.
fn any_cookie(header: &[u8], name: &[u8], is: &dyn Fn(&[u8]) -> bool) -> bool {
    header.split(|b| *b == b';').any(|pair| {
        let value = pair.trim_ascii().strip_prefix(name);
        value
            .and_then(|rest| rest.strip_prefix(b"="))
            .is_some_and(is)
    })
}

/// Whether `is` holds for any parameter called `name`, as sent; one without `=` is empty.
fn any_parameter(query: &str, name: &str, is: &dyn Fn(&[u8]) -> bool) -> bool {
    query.split('&').any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key == name && is(value.as_bytes())
    })
}

impl Host {
    fn new(host: Option<&str>) -> Self {
        match host.map(bare_host) {
            None => Self::Any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => Self::Suffix(suffix.to_ascii_lowercase()),
                None => Self::Exact(host.to_ascii_lowercase()),
            },
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => host.eq_ignore_ascii_case(exact),
            Self::Suffix(suffix) => {
                // Longer than the suffix: `*.example.com` needs a label in front of the dot.
                host.len() > suffix.len()
                    && host
                        .as_bytes()
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
            }
        }
    }
}

/// The host without port and without one trailing dot. `[::1]:80` is `[::1]`.
pub(crate) fn bare_host(host: &str) -> &str {
    let host = host.trim_matches([' ', '\t']);
    let end = if host.starts_with('[') {
        host.find(']').map_or(host.len(), |i| i + 1)
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let bare = host.get(..end).unwrap_or(host);
    bare.strip_suffix('.').unwrap_or(bare)
}

#[cfg(test)]
mod tests;
