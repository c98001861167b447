//! A set-up of another balancer, written as an evenkeel.toml with the same spread, and what could not come along.
//!
//! The text never claims more than it does. A backend whose address is a host name, a backup, a disabled server and a
//! route with a further condition have no counterpart in this version: they stand in the text as comments and in the
//! list of losses, each with what it means for traffic and what to do instead. Where [`Loss::touches`] names no pool, the
//! shares within every pool are those of the original.
//!
//! Limits: names are resolved only by [`Addresses`]; TLS, TCP and anything that was a gap for the reader stay behind.

mod address;
mod edge;
mod failure;
mod names;
mod paper;
mod pool;
mod protocol;
mod terms;

use std::collections::BTreeMap;
use std::net::IpAddr;

use evenkeel_model::finding::Origin;
use evenkeel_model::setup::{Setup, Touches};

use crate::{Aside, AsideKind};
use names::Names;
use paper::Paper;

/// Addresses by host name, as a person gave them.
pub type Addresses = BTreeMap<String, IpAddr>;

/// What became of a set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The evenkeel.toml; `None` when nothing of it could be served: no HTTP listener with a route to a pool.
    pub text: Option<String>,
    /// What did not come along: the asides by kind, then in the order of the set-up.
    pub losses: Vec<Loss>,
    /// Names that Evenkeel does not accept, with those that stand in their place.
    pub renamed: Vec<Renamed>,
}

/// Something that did not come along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Configuration path in the original, placed by its origin.
    pub path: String,
    /// What it is, lower case, with its value.
    pub what: String,
    /// Why it could not be carried over.
    pub why: String,
    /// What that does to traffic.
    pub consequence: String,
    /// What to do instead.
    pub alternative: String,
    /// What differs from the original because of it.
    pub touches: Touches,
    /// Set where it is something done to requests besides spreading them.
    pub aside: Option<AsideKind>,
}

/// A name that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Renamed {
    /// What it names: `listener`, `pool`, `backend of POOL`, `zone`, `version`.
    pub kind: String,
    /// In the original.
    pub from: String,
    /// In the text.
    pub to: String,
}

/// Writes `setup` as an evenkeel.toml, with what did not come along. `origin` tells what was stated, rather than taken by
/// default; `asides`, what the original does to requests besides spreading them; protection is told before all.
pub fn carry(setup: &Setup, origin: &Origin, asides: &[Aside], addresses: &Addresses) -> Carried {
    let mut work = Work {
        setup,
        origin,
        asides,
        addresses,
        losses: Vec::new(),
        names: Names::default(),
    };
    work.asides();
    for gap in &setup.gaps {
        work.loss(
            &gap.path,
            gap.touches.clone(),
            format!("`{}`", gap.what),
            "it is not understood",
            "what it does is missing",
            "read it and decide by hand",
        );
    }
    let pools = work.pools();
    let edge = work.edge(&pools);
    let (pools, idle): (Vec<_>, Vec<_>) = pools.into_iter().partition(|p| edge.leads_to(&p.name));
    for pool in &idle {
        work.unreached(&pool.original);
    }
    work.losses.sort_by_key(|loss| rank(loss.aside));
    let is_open = |loss: &&Loss| loss.aside == Some(AsideKind::Access);
    let open: Vec<&Loss> = work.losses.iter().filter(is_open).collect();
    let text = (!edge.routes.is_empty()).then(|| {
        let mut paper = Paper::default();
        paper.remark(&format!(
            "Carried over from a configuration of {}. `evenkeel check` judges this file.",
            setup.balancer.title()
        ));
        if !open.is_empty() {
            paper.remark("NOT PROTECTED: the following of the original does not come along");
            for rule in &open {
                paper.remark(&format!("  {}", rule.what));
            }
        }
        paper.remark("Comments with `left out` name what has no counterpart here.");
        edge.write(&mut paper);
        for pool in &pools {
            pool.write(&mut paper);
        }
        for pool in &idle {
            paper.blank();
            paper.remark(&format!(
                "left out: pool `{}`: no route leads to it",
                pool.original
            ));
        }
        paper.text()
    });
    Carried {
        text,
        losses: work.losses,
        renamed: work.names.renamed,
    }
}

/// Asides first, those that protect before all.
const fn rank(kind: Option<AsideKind>) -> u8 {
    match kind {
        Some(AsideKind::Access) => 0,
        Some(AsideKind::Protocol) => 1,
        Some(AsideKind::Rewrite) => 2,
        None => 3,
    }
}

/// A set-up being carried over.
pub(crate) struct Work<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) origin: &'a Origin,
    pub(crate) asides: &'a [Aside],
    pub(crate) addresses: &'a Addresses,
    losses: Vec<Loss>,
    pub(crate) names: Names,
}

impl Work<'_> {
    /// Tells the asides, the same one once.
    fn asides(&mut self) {
        let mut told: BTreeMap<(u8, &str), (&Aside, usize)> = BTreeMap::new();
        for aside in self.asides.iter().filter(|a| !protocol::comes_along(a)) {
            told.entry((rank(Some(aside.kind)), aside.what.as_str()))
                .or_insert((aside, 0))
                .1 += 1;
        }
        for (aside, count) in told.into_values() {
            let what = match count {
                1 => format!("`{}`", aside.what),
                n => format!("`{}` ({n} times)", aside.what),
            };
            let (why, consequence, alternative) = match aside.kind {
                AsideKind::Access => (
                    "Evenkeel controls no access",
                    "NOT PROTECTED: who was kept out reaches the backends",
                    "keep this rule in front of Evenkeel, or in the backends, before it takes traffic",
                ),
                AsideKind::Protocol => (
                    "Evenkeel speaks plain HTTP/1 to clients and backends",
                    "requests that need this protocol fail",
                    "keep this part where it is; or remove the line if nobody speaks it, and import again",
                ),
                AsideKind::Rewrite => (
                    "Evenkeel changes no requests or responses",
                    "they pass unchanged",
                    "do it in front of Evenkeel or in the backends",
                ),
            };
            self.loss(
                &aside.path,
                Touches::Routing,
                what,
                why,
                consequence,
                alternative,
            );
            self.told_as(aside.kind);
        }
    }

    /// Marks what was told last as something done to requests besides spreading them.
    pub(crate) fn told_as(&mut self, kind: AsideKind) {
        if let Some(loss) = self.losses.last_mut() {
            loss.aside = Some(kind);
        }
    }

    /// A pool that no route of the text leads to would only look as if it served.
    fn unreached(&mut self, pool: &str) {
        let path = self.setup.pool(pool).map_or("", |pool| pool.path.as_str());
        self.loss(
            path,
            Touches::Pool(pool.to_owned()),
            format!("pool `{pool}`"),
            "no route that was carried over leads to it",
            "it is left out",
            "see what became of the routes to it",
        );
    }

    pub(crate) fn loss(
        &mut self,
        path: &str,
        touches: Touches,
        what: impl Into<String>,
        why: &str,
        consequence: &str,
        alternative: &str,
    ) {
        self.losses.push(Loss {
            path: path.to_owned(),
            what: what.into(),
            why: why.to_owned(),
            consequence: consequence.to_owned(),
            alternative: alternative.to_owned(),
            touches,
            aside: None,
        });
    }
}

#[cfg(test)]
mod tests;
