//! Which pool a request goes to: first match wins, in file order.
//!
//! Matching works on what the client sent: the path is neither decoded nor are `.` and `..` resolved, because a
//! backend that reads it otherwise would be reached by a rule that was not meant for it. Rooms that parse
//! requests refuse what is ambiguous before it comes here. Routing costs O(routes of the listener), no allocation.

use evenkeel_model::config::{Config, Route};
use evenkeel_model::ids::Name;

/// The routes of a configuration, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    listeners: Vec<(Name, Vec<Entry>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: Host,
    /// Without its trailing slash; empty matches every path.
    prefix: String,
    pool: usize,
    route: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Exact(String),
    /// `.example.com` of `*.example.com`.
    Suffix(String),
}

impl RouteTable {
    /// Compiles the routes of `config`. Routes whose pool or listener does not exist (the parser refuses them)
    /// match nothing.
    pub fn new(config: &Config) -> Self {
        let entries = |listener: &Name| {
            config
                .routes
                .iter()
                .enumerate()
                .filter(|(_, route)| route.listener == *listener)
                .filter_map(|(index, route)| Entry::new(config, index, route))
                .collect()
        };
        let listeners = config
            .listeners
            .iter()
            .map(|listener| (listener.name.clone(), entries(&listener.name)))
            .collect();
        Self { listeners }
    }

    /// The index of a listener for [`RouteTable::route_at`]: its place in the configuration.
    pub fn listener(&self, name: &str) -> Option<usize> {
        self.listeners
            .iter()
            .position(|(listener, _)| *listener == *name)
    }

    /// The pool index (file order) for a request that came in on the listener called `listener`.
    /// `host` as in the Host header (a port, capitals and one trailing dot do not matter), `path` as in the
    /// request line (a query does not matter). `None`: no route.
    pub fn route(&self, listener: &str, host: Option<&str>, path: &str) -> Option<usize> {
        self.route_at(self.listener(listener)?, host, path)
            .map(|(pool, _)| pool)
    }

    /// The same by the listener's index; returns pool index and route index.
    pub fn route_at(
        &self,
        listener: usize,
        host: Option<&str>,
        path: &str,
    ) -> Option<(usize, usize)> {
        let (_, entries) = self.listeners.get(listener)?;
        let host = host.map_or("", bare_host);
        let path = path.split(['?', '#']).next().unwrap_or(path);
        entries
            .iter()
            .find(|entry| entry.host.matches(host) && entry.matches_path(path))
            .map(|entry| (entry.pool, entry.route))
    }
}

impl Entry {
    fn new(config: &Config, index: usize, route: &Route) -> Option<Self> {
        let pool = config
            .pools
            .iter()
            .position(|pool| pool.name == route.pool)?;
        let host = match route.host.as_deref().map(bare_host) {
            None => Host::Any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => Host::Suffix(suffix.to_ascii_lowercase()),
                None => Host::Exact(host.to_ascii_lowercase()),
            },
        };
        Some(Self {
            host,
            prefix: route.path_prefix.trim_end_matches('/').to_owned(),
            pool,
            route: index,
        })
    }

    fn matches_path(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| self.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

impl Host {
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
fn bare_host(host: &str) -> &str {
    let host = host.trim_matches([' ', '\t']);
    let end = if host.starts_with('[') {
        host.find(']').map_or(host.len(), |i| i + 1)
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let bare = host.get(..end).unwrap_or(host);
    bare.strip_suffix('.').unwrap_or(bare)
}
