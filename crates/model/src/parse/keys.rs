//! Every table and key of a file, once: the reader takes the names that it knows from here, and the JSON Schema for
//! editors is printed from the same lists, so that the two cannot drift apart.
//!
//! A [`Kind`] says what a value looks like, with the range that the reader enforces. What it cannot say (a reference
//! that must exist, an address that clashes) is left to the reader.

use std::time::Duration;

use super::typed::Limits;
use crate::units::{ByteSize, Ratio};

mod file;
mod pool;
mod side;
mod tls;

pub(super) use file::{
    ADMIN, AUDIT, DRILLS, EXPECT, LEVEL, LISTENER, OVERLOAD, PROXY_PROTOCOL, RATE_LIMIT, RECEIVER,
    REDIRECT, REQUEST_HEADERS, RESPOND, RESPONSE_HEADERS, REWRITE, ROUTE, TOKEN, TRACING, VALUE,
    WAIVER, WEBHOOK,
};
pub(super) use pool::{
    ADAPTIVE, BACKEND, EJECTION, HASH, HEALTH, HEDGE, MEMBER, MEMBER_LIST, MEMBERS, OBJECTIVE,
    POOL, POOL_AUDIT, POOL_ZONE, PROBE, QUEUE, REMEDIES, REPORTED, RETRY, SESSION, STICKY, SUBSET,
};
pub(super) use side::{SIDE_AUDIT, SIDE_BACKEND, SIDE_POOL};
pub(super) use tls::{BACKEND_TLS, CERTIFICATE_FILES, SEEN_FILE, TLS, TLS_CLIENT};

pub use file::FILE;
pub use side::SIDE;

/// One table of a file.
#[derive(Debug)]
pub struct Table {
    /// What it is about.
    pub about: &'static str,
    /// Its keys in the order of the documentation.
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Whether the table is wrong without it.
    pub is_required: bool,
    /// The value that counts when it is left out, as TOML; `None`: there is none, or it depends.
    pub default: Option<&'static str>,
    /// What it means, in one line.
    pub about: &'static str,
}

/// What a value looks like.
#[derive(Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number in this range.
    Whole(u32, u32),
    /// A whole number in this range, or one of these words.
    WholeOr(u32, u32, &'static [&'static str]),
    /// A number in this range.
    Number(f64, f64),
    /// A duration with its unit in this range.
    Duration(Duration, Duration),
    /// A percentage in this range.
    Ratio(Ratio, Ratio),
    /// A size with its unit in this range.
    Size(ByteSize, ByteSize),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of these words, each at most once.
    Choices(&'static [&'static str]),
    /// A text; an example of it.
    Text(&'static str),
    /// A text that may be empty; an example of it.
    AnyText(&'static str),
    /// Names of a request's parts with the text that each is.
    Headers,
    /// A list of texts; an example of one.
    Texts(&'static str),
    /// Names of a request's parts with the text that each must be, or with a table that says more.
    Values(&'static Table),
    /// A list, not empty, each element a text such as this or a table.
    TextsOr(&'static str, &'static Table),
    /// A name of a thing.
    Name,
    /// A list of names of things.
    Names,
    /// A list of protocols as `Upgrade` names them.
    Protocols,
    /// A status, or two with a dash.
    Statuses,
    /// A day, as a text or as TOML has it.
    Day,
    /// The id of a rule of the audit.
    Rule,
    /// A severity by rule.
    Severities,
    /// A number by rule, for the rules that have a limit.
    Limits,
    /// A table.
    Table(&'static Table),
    /// Tables that a person names.
    Named(&'static Table),
    /// Tables with the names that things have in another balancer's file.
    NamedFreely(&'static Table),
    /// A list of tables.
    List(&'static Table),
}

impl Table {
    /// The names of its keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// Whether it has a key called `name`.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }
}

impl Key {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            is_required: false,
            default: None,
            about,
        }
    }

    const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

impl Kind {
    const fn whole(limits: &Limits<u32>) -> Self {
        Self::Whole(limits.min, limits.max)
    }

    const fn number(limits: &Limits<f64>) -> Self {
        Self::Number(limits.min, limits.max)
    }

    const fn duration(limits: &Limits<Duration>) -> Self {
        Self::Duration(limits.min, limits.max)
    }

    const fn ratio(limits: &Limits<Ratio>) -> Self {
        Self::Ratio(limits.min, limits.max)
    }

    const fn size(limits: &Limits<ByteSize>) -> Self {
        Self::Size(limits.min, limits.max)
    }
}

#[cfg(test)]
mod tests;
