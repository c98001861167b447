//! Requests whose way is known beforehand, so that a change of the routes can be held against them.

use crate::ids::Name;

/// `[[expect]]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Expectation {
    /// Where the request comes in.
    pub listener: Name,
    /// Its method.
    pub method: String,
    /// Its path with or without a query, behind `http://HOST` or `https://HOST` where it has a host.
    pub url: String,
    /// Its header fields besides Host, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// What must become of it.
    pub outcome: Outcome,
    /// What the backend must see of it, where a pool is the outcome.
    pub sent: Sent,
}

/// What a backend must see of a request. `None`: anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Sent {
    /// The path without its query.
    pub path: Option<String>,
    /// The host, lower case, with its port if it has one.
    pub host: Option<String>,
}

/// Where a request must go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// To this pool.
    Pool(Name),
    /// To no pool: 404, no route takes it.
    NoRoute,
    /// To no pool: 400, its path can be read in two ways.
    Ambiguous,
    /// To no pool: its route answers with this status.
    Status(u16),
    /// To no pool: its route sends the client elsewhere.
    Redirect {
        /// Where to: a URL, or a path on the same host.
        to: String,
        /// With this status; `None`: with any.
        status: Option<u16>,
    },
}

impl Expectation {
    /// Host with its port as the client names it; `None`: it names none.
    pub fn host(&self) -> Option<&str> {
        let (_, rest) = self
            .url
            .split_once("://")
            .filter(|_| !self.url.starts_with('/'))?;
        rest.split(['/', '?']).next()
    }

    /// Path and query, as they stand in the request line.
    pub fn target(&self) -> &str {
        let Some(host) = self.host() else {
            return &self.url;
        };
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        match rest.get(host.len()..).unwrap_or_default() {
            "" => "/",
            target => target,
        }
    }
}

impl Outcome {
    /// The status that the balancer answers with; `None`: a pool answers, or any status will do.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Pool(_) => None,
            Self::NoRoute => Some(404),
            Self::Ambiguous => Some(400),
            Self::Status(status) => Some(*status),
            Self::Redirect { status, .. } => *status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expectation, Outcome, Sent};
    use crate::ids::Name;

    #[test]
    fn host_and_target_are_parts_of_the_url() {
        let parts = |url: &str| {
            let expectation = Expectation {
                listener: Name::new("web").unwrap(),
                method: "GET".to_owned(),
                url: url.to_owned(),
                headers: Vec::new(),
                outcome: Outcome::NoRoute,
                sent: Sent::default(),
            };
            let host = expectation.host().map(str::to_owned);
            (host, expectation.target().to_owned())
        };
        let is = |host: Option<&str>, target: &str| (host.map(str::to_owned), target.to_owned());
        assert_eq!(parts("/a?b=http://c"), is(None, "/a?b=http://c"));
        assert_eq!(
            parts("https://a.test:8443/x?y"),
            is(Some("a.test:8443"), "/x?y")
        );
        assert_eq!(parts("http://a.test"), is(Some("a.test"), "/"));
    }
}
