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
        Some(Self {
            host: Host::new(route.host.as_deref()),
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

#[cfg(test)]
mod tests {
    use super::{Entry, Host, RouteTable, bare_host};
    use evenkeel_model::ids::Name;
    use proptest::prelude::*;

    /// A table of one listener; the pool index is the route index.
    fn table(routes: &[(Option<&str>, &str)]) -> RouteTable {
        let entries = routes
            .iter()
            .enumerate()
            .map(|(index, (host, prefix))| Entry {
                host: Host::new(*host),
                prefix: prefix.trim_end_matches('/').to_owned(),
                pool: index,
                route: index,
            })
            .collect();
        RouteTable {
            listeners: vec![(Name::new("web").unwrap(), entries)],
        }
    }

    #[test]
    fn a_prefix_matches_whole_segments() {
        let table = table(&[(None, "/cart"), (None, "/api/"), (None, "/")]);
        let route = |path| table.route("web", None, path);
        assert_eq!(route("/cart"), Some(0));
        assert_eq!(route("/cart/"), Some(0));
        assert_eq!(route("/cart/x?y=/z"), Some(0));
        assert_eq!(route("/cart?id=1"), Some(0));
        assert_eq!(route("/cartoon"), Some(2));
        assert_eq!(route("/api"), Some(1));
        assert_eq!(route("/API"), Some(2));
        assert_eq!(route("/"), Some(2));
    }

    #[test]
    fn the_first_match_wins_and_no_match_is_none() {
        let table = table(&[(None, "/a"), (None, "/a/b")]);
        assert_eq!(table.route("web", None, "/a/b"), Some(0));
        assert_eq!(table.route("web", None, "/c"), None);
        assert_eq!(table.route("other", None, "/a"), None);
    }

    #[test]
    fn a_host_matches_without_case_port_or_final_dot() {
        let table = table(&[
            (Some("shop.example.com"), "/"),
            (Some("*.example.com"), "/"),
            (Some("[::1]"), "/"),
        ]);
        let route = |host| table.route("web", Some(host), "/");
        assert_eq!(route("Shop.Example.COM:8080"), Some(0));
        assert_eq!(route("shop.example.com."), Some(0));
        assert_eq!(route("a.b.example.com"), Some(1));
        assert_eq!(route("example.com"), None);
        assert_eq!(route(".example.com"), None);
        assert_eq!(route("notexample.com"), None);
        assert_eq!(route("[::1]:80"), Some(2));
        assert_eq!(
            table.route("web", None, "/"),
            None,
            "no host, only host routes"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_matched_without_a_panic(host in "\\PC{0,20}", path in "\\PC{0,20}") {
            let table = table(&[(Some("*.é.example"), "/a"), (Some("x"), "/é"), (None, "/")]);
            let found = table.route("web", Some(&host), &path);
            // The last route takes every path and host.
            prop_assert!(found.is_some());
            prop_assert!(host.contains(bare_host(&host)));
        }
    }
}
