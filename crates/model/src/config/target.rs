//! Where a route leads: to a pool, or to an answer of the balancer's own.

use std::num::NonZeroU16;

use crate::ids::Name;

/// What becomes of the requests of a route.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Target {
    /// They go to this pool.
    Pool(Name),
    /// They are answered here; no backend sees them.
    Answer(Answer),
}

/// An answer of the balancer's own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Answer {
    /// `redirect = { ... }`.
    Redirect(Redirect),
    /// `respond = { ... }`.
    Respond(Respond),
}

/// Another place that the client is sent to. What is `None` stays as it is in the request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Redirect {
    /// One of [`Redirect::STATUSES`].
    pub status: u16,
    /// Its scheme.
    pub scheme: Option<Scheme>,
    /// Its host, lower case.
    pub host: Option<String>,
    /// Its port; `None`: that of the scheme, once scheme or host is said.
    pub port: Option<NonZeroU16>,
    /// Its path.
    pub path: Option<NewPath>,
    /// Its query without the `?`; empty: none.
    pub query: Option<String>,
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Another path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NewPath {
    /// This one, whatever was asked for.
    Whole(String),
    /// The one asked for, with this in the place of the route's prefix. Without its trailing slash; `/`: nothing.
    Prefix(String),
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Respond {
    /// 200 to 599; no redirect.
    pub status: u16,
    /// Its body.
    pub body: String,
    /// What the body is.
    pub content_type: String,
    /// Further header fields, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
}

impl Target {
    /// The pool; `None`: no backend sees the requests.
    pub const fn pool(&self) -> Option<&Name> {
        match self {
            Self::Pool(name) => Some(name),
            Self::Answer(_) => None,
        }
    }

    /// The answer; `None`: a pool gives it.
    pub const fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Pool(_) => None,
            Self::Answer(answer) => Some(answer),
        }
    }
}

impl Answer {
    /// Its status.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Redirect(redirect) => redirect.status,
            Self::Respond(respond) => respond.status,
        }
    }
}

impl Redirect {
    /// The statuses that send a client elsewhere.
    pub const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
    /// What a redirect has that names none: browsers keep a permanent one, and no rollback reaches them.
    pub const STATUS_DEFAULT: u16 = 302;
}

impl Scheme {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL need not name.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Respond {
    /// What the body is where nothing is said.
    pub const CONTENT_TYPE_DEFAULT: &'static str = "text/plain; charset=utf-8";

    /// Whether an answer with this status has no body.
    pub const fn is_bodiless(status: u16) -> bool {
        matches!(status, 204 | 205 | 304)
    }
}
