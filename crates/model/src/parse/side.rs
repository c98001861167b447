//! The side file: what another balancer's file cannot say (capacity, peak, intent, accepted findings), in the words
//! of evenkeel.toml, and the same from single flags.
//!
//! Pools and backends go by the names that they have in the other file, so here a name may be any text. Reading
//! checks forms; whether a name exists is known only when the facts are put on a [`Setup`] by [`Side::apply`]. Both
//! keep the rule of the house: with an error nothing is used, and every error is shown at once.

use std::ops::Range;

use toml::de::DeTable;

use super::reader::{Reader, Section};
use super::reference::sub;
use super::typed::Limits;
use super::{BACKENDS_MAX, POOLS_MAX, TEXT_MAX, document, keys, policy, pool, too_long, too_many};
use crate::config::{Intent, NPlusOne, Objective};
use crate::finding::{Finding, Origin};
use crate::policy::{Policy, Waiver};
use crate::setup::Setup;
use crate::units::Ratio;

mod apply;
mod flag;

pub use flag::FlagError;

pub(super) const KEYS: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000_000,
    outside: "the spread of a hash could not be judged by it",
};
pub(super) const SHARE: Limits<Ratio> = Limits {
    min: Ratio::from_percent(0),
    max: Ratio::from_percent(100),
    outside: "no key can have less than nothing or more than everything",
};

/// What is known about the pools of a [`Setup`] beside its own file.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// What is wrong with the file itself, sorted by position. With an error among it nothing is applied.
    pub findings: Vec<Finding>,
    origin: Origin,
    pools: Vec<PoolFacts>,
    waivers: Vec<Waiver>,
    flags: Vec<flag::Flag>,
}

/// `[pool.NAME]`.
#[derive(Debug, Clone, Default)]
struct PoolFacts {
    name: String,
    path: String,
    intent: Option<Intent>,
    peak_rps: Option<f64>,
    headroom: Option<Ratio>,
    tolerance: Option<Ratio>,
    min_healthy: Option<u32>,
    n_plus_one: Option<NPlusOne>,
    objective: Option<Objective>,
    keys: Option<u32>,
    top_key: Option<Ratio>,
    policy: Policy,
    each: BackendFacts,
    backends: Vec<BackendFacts>,
}

/// `[pool.NAME.backend.NAME]` and `[pool.NAME.each]`.
#[derive(Debug, Clone, Default)]
struct BackendFacts {
    name: String,
    path: String,
    capacity_rps: Option<f64>,
    zone: Option<String>,
    version: Option<String>,
}

/// Reads a side file. `file` is the name that findings carry.
pub fn side(text: &str, file: Option<&str>) -> Side {
    let mut reader = Reader::default();
    let mut side = Side::default();
    if text.len() > TEXT_MAX {
        reader.error("", 0..0, too_long(text.len()));
    } else if let Some(table) = document(&mut reader, text) {
        read(&mut reader, &table, &mut side);
    }
    let (findings, spans) = reader.into_findings(text, file);
    side.findings = findings;
    side.origin = Origin::of(file, text, spans);
    side
}

impl Side {
    /// A capacity as a flag gives it: `600` for every backend, `POOL=600`, `POOL/BACKEND=600`, requests per second.
    /// It counts before what the file says; of two flags the later one counts.
    pub fn capacity(&mut self, text: &str) -> Result<(), FlagError> {
        self.flags.push(flag::Flag::capacity(text)?);
        Ok(())
    }

    /// A peak as a flag gives it: `900` for every pool (of one that gets a part of a route, that part of it),
    /// `POOL=900`, requests per second.
    pub fn peak_rps(&mut self, text: &str) -> Result<(), FlagError> {
        self.flags.push(flag::Flag::peak_rps(text)?);
        Ok(())
    }

    /// Whether it says anything at all.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.waivers.is_empty() && self.flags.is_empty()
    }

    /// Puts the facts on `setup` and their places into `origin`, and says what is wrong: the file's own findings,
    /// then names that `setup` does not have. With an error among them nothing is changed.
    ///
    /// A pool whose intent nobody stated, here or in its file, is spread by capacity from then on when every active
    /// backend has one, as in evenkeel.toml.
    pub fn apply(&self, setup: &mut Setup, origin: &mut Origin) -> Vec<Finding> {
        apply::apply(self, setup, origin)
    }
}

fn read(reader: &mut Reader, table: &DeTable<'_>, side: &mut Side) {
    let root = reader.root(table, &keys::SIDE);
    let mut pools = root.named_freely(reader, "pool");
    bound(
        reader,
        "pool",
        "pools",
        POOLS_MAX,
        &mut pools,
        |(_, span, ..)| span.clone(),
    );
    let mut budget = BACKENDS_MAX;
    for (name, _, path, value) in pools {
        let Some(section) = reader.section(path, value, &keys::SIDE_POOL) else {
            continue;
        };
        side.pools
            .push(pool_facts(reader, name, &section, &mut budget));
    }
    if let Some(audit) = sub(reader, &root, "audit", &keys::SIDE_AUDIT) {
        side.waivers = policy::waivers(reader, &audit, None);
    }
}

fn pool_facts(reader: &mut Reader, name: &str, s: &Section<'_>, budget: &mut usize) -> PoolFacts {
    let intents: Vec<_> = Intent::ALL.iter().map(|i| (i.as_str(), *i)).collect();
    let refusals = [("warn", NPlusOne::Warn), ("refuse", NPlusOne::Refuse)];
    let mut backends = s.named_freely(reader, "backend");
    let path = s.child_path("backend");
    bound(
        reader,
        &path,
        "backends",
        *budget,
        &mut backends,
        |(_, span, ..)| span.clone(),
    );
    *budget -= backends.len();
    let mut facts = Vec::with_capacity(backends.len());
    for (name, _, path, value) in backends {
        if let Some(s) = reader.section(path, value, &keys::SIDE_BACKEND) {
            facts.push(backend_facts(reader, name, &s));
        }
    }
    let each = sub(reader, s, "each", &keys::SIDE_BACKEND);
    PoolFacts {
        name: name.to_owned(),
        path: s.path.clone(),
        intent: s.choice(reader, "intent", &intents),
        peak_rps: s.number(reader, "peak_rps", &pool::RPS),
        headroom: s.ratio(reader, "headroom", &pool::HEADROOM),
        tolerance: s.ratio(reader, "tolerance", &pool::TOLERANCE),
        min_healthy: s.integer(reader, "min_healthy", &pool::MIN_HEALTHY),
        n_plus_one: s.choice(reader, "n_plus_one", &refusals),
        objective: s.has("objective").then(|| pool::objective(reader, s)),
        keys: s.integer(reader, "keys", &KEYS),
        top_key: s.ratio(reader, "top_key", &SHARE),
        policy: policy::of_pool(reader, s),
        each: each.map_or_else(BackendFacts::default, |s| backend_facts(reader, "", &s)),
        backends: facts,
    }
}

fn backend_facts(reader: &mut Reader, name: &str, s: &Section<'_>) -> BackendFacts {
    BackendFacts {
        name: name.to_owned(),
        path: s.path.clone(),
        capacity_rps: s.number(reader, "capacity_rps", &pool::RPS),
        zone: s.name(reader, "zone").map(|name| name.to_string()),
        version: s.name(reader, "version").map(|name| name.to_string()),
    }
}

/// Cuts `found` at `limit`, with a finding.
fn bound<T>(
    reader: &mut Reader,
    path: &str,
    what: &str,
    limit: usize,
    found: &mut Vec<T>,
    span: impl Fn(&T) -> Range<usize>,
) {
    if let Some(first) = found.get(limit) {
        let at = span(first);
        reader.error(path, at, too_many(what, limit, found.len()));
        found.truncate(limit);
    }
}

#[cfg(test)]
mod tests;
