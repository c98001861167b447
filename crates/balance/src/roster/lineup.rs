//! From the standings to effective weights, and the words for why they are as they are.

use std::collections::BTreeMap;

use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Backend, Locality, Place, Pool};
use evenkeel_model::ids::Name;

use super::{At, Roster, Stand, step_of, steps_of};
use crate::levels::{Grain, Level, parts};
use crate::member::{FailOpen, Member, Standing, standings_to_eligible, unit};
use crate::subset;
use crate::zones::{Origins, Spot};

/// How the reason of a backend begins that only waits for the levels before its own.
pub const STANDBY: &str = "standby";
/// The reason of a backend that could take traffic, but this instance uses others.
pub const NOT_IN_SUBSET: &str = "not in this instance's subset";
/// How the reason of a backend begins that joined a running pool and was not found up yet.
pub const UNSEEN: &str = "waits for its first good check";
/// What the reason of a backend says whose weight follows what backends report.
pub const REPORTED_LOAD: &str = "reported load";
/// Shares that differ by less than this part are the same.
const SAME: f64 = 1e-9;

/// Who takes which part of a pool's traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct Lineup {
    /// One per backend in file order, with effective weights. They are the declared ones unless [`Self::whys`] says why
    /// not.
    pub members: Vec<Member>,
    /// Why each backend gets what it gets, in file order, the weightiest reason first. Empty: by its declared weight alone.
    pub whys: Vec<String>,
    /// Whom a person drained, in file order. Such a one may be eligible still, with weight 0: for clients that are bound to
    /// it.
    pub drained: Vec<bool>,
    /// Whether backends that are not healthy had to be used.
    pub fail_open: FailOpen,
    /// Whether it cannot stay so: a slow start is under way, or the pool fails open.
    pub is_passing: bool,
}

impl Lineup {
    /// Whether the same backends take the same parts, as evidence sees it: it says of each by which weight, and whether
    /// by a reason at all.
    pub(super) fn is_same_traffic(&self, other: &Self) -> bool {
        let said =
            |lineup: &Self| -> Vec<bool> { lineup.whys.iter().map(String::is_empty).collect() };
        let taken = |lineup: &Self| -> Vec<(Name, u32, bool)> {
            let members = lineup.members.iter();
            let taken = members.map(|m| (m.name.clone(), m.effective_weight(), m.eligible));
            taken.collect()
        };
        (self.is_passing, self.fail_open) == (other.is_passing, other.fail_open)
            && self.drained == other.drained
            && said(self) == said(other)
            && taken(self) == taken(other)
    }

    /// Says of everybody who is in why the weights are others than the file gives; nothing when `reason` is empty.
    pub(super) fn explain(&mut self, reason: &str) {
        if reason.is_empty() {
            return;
        }
        let standing = self.members.iter().zip(&self.drained);
        let said = self.whys.iter_mut().zip(standing);
        for (why, _) in said.filter(|(_, (member, drained))| member.eligible && !**drained) {
            match why.as_str() {
                "" => reason.clone_into(why),
                _ => *why = format!("{why}; {reason}"),
            }
        }
    }
}

impl Roster {
    /// The lineup at this moment; what time brings comes with [`Roster::tick`] first.
    pub fn lineup(&self, pool: &Pool, at: At) -> Lineup {
        let stands = self.stands_of(pool);
        let weights: Vec<u32> = pool.backends.iter().map(|b| b.weight).collect();
        let standings: Vec<Standing> = stands.iter().copied().map(standing).collect();
        let (able, fail_open) = standings_to_eligible(&weights, &standings);
        let chosen = chosen(pool, &able, fail_open);
        let shares = self.shares(pool, (&able, &chosen), fail_open);
        // A drained one takes nothing, but while it is well whoever is bound to it: nobody's session is taken away.
        let drained: Vec<bool> = stands.iter().map(|s| *s == Stand::Drained).collect();
        let keeps_bound =
            |index: usize| drained.get(index) == Some(&true) && self.keeps_bound(pool, index);
        let takes = |index: usize| shares.of(index) > 0.0;
        // A backend of weight 0 stays eligible: it takes no free pick, but whoever is bound to it. So does one in another
        // zone, whose clients come in here.
        let is_bound = |index: usize| {
            let level = pool.backends.get(index).map_or(0, |b| b.priority);
            let is_sticky = pool.affinity.sticky.is_some() && pool.place != Place::default();
            is_sticky && shares.parts.get(&level).is_some_and(|part| *part > 0.0)
        };
        let eligible = |index: usize| {
            let can = able.get(index).copied().unwrap_or(false);
            let takes = weights.get(index) == Some(&0) || takes(index) || is_bound(index);
            (can && takes) || keeps_bound(index)
        };
        let shaped = !shares.follow(&weights, takes);
        let shape = shaped.then(|| Shape::of(&weights, &shares));
        let members = pool.backends.iter().enumerate().map(|(index, backend)| {
            let weight = match &shape {
                Some(shape) if takes(index) => shape.weight(backend.weight, shares.of(index)),
                // Only for those who are bound to it.
                _ if eligible(index) && !takes(index) => 0,
                _ => backend.weight,
            };
            Member {
                name: backend.name.clone(),
                weight,
                eligible: eligible(index),
            }
        });
        let members: Vec<Member> = members.collect();
        let whys = (0..members.len()).map(|index| {
            let can = eligible(index);
            let stand = stands.get(index).copied().unwrap_or(Stand::Up);
            self.why(pool, index, (stand, can, shaped, fail_open), &shares, at)
        });
        let warming = |m: &Member| m.effective_weight() > 0 && self.warmth(pool, &m.name) < 1.0;
        Lineup {
            is_passing: fail_open == FailOpen::Yes || (shaped && members.iter().any(warming)),
            whys: whys.collect(),
            members,
            drained,
            fail_open,
        }
    }

    /// How every backend stands. Where all are new or drained, the new ones take traffic as after a start.
    fn stands_of(&self, pool: &Pool) -> Vec<Stand> {
        let stand = |index| self.stand(pool, index);
        let mut stands: Vec<Stand> = (0..pool.backends.len()).map(stand).collect();
        let has_weight = |(b, stand): (&Backend, &Stand)| (b.weight > 0).then_some(*stand);
        let mut able = pool.backends.iter().zip(&stands).filter_map(has_weight);
        if able.all(|stand| matches!(stand, Stand::Unseen | Stand::Drained)) {
            for stand in stands.iter_mut().filter(|s| **s == Stand::Unseen) {
                *stand = Stand::Up;
            }
        }
        stands
    }

    /// Whether clients that a cookie binds to this drained backend still reach it: it must be well.
    fn keeps_bound(&self, pool: &Pool, index: usize) -> bool {
        let backend = pool.backends.get(index);
        let seat = backend.and_then(|backend| self.seats.get(&backend.name));
        pool.affinity.sticky.is_some() && seat.is_some_and(|seat| seat.is_well(pool))
    }

    /// Weight and warmth of each backend that `able` says can take traffic.
    fn amounts(&self, pool: &Pool, able: &[bool], fail_open: FailOpen) -> Vec<f64> {
        let amount = |(index, backend): (usize, &Backend)| {
            if able.get(index) != Some(&true) {
                return 0.0;
            }
            // A pool that fails open has no time for slow starts: nobody knows who is well.
            let warmth = match fail_open {
                FailOpen::Yes => 1.0,
                _ => self.warmth(pool, &backend.name),
            };
            f64::from(backend.weight) * warmth
        };
        pool.backends.iter().enumerate().map(amount).collect()
    }

    /// The share of each backend that `able` says can take traffic, by level, weight and warmth.
    fn shares(
        &self,
        pool: &Pool,
        (able, chosen): (&[bool], &[bool]),
        fail_open: FailOpen,
    ) -> Shares {
        let amounts = self.amounts(pool, able, fail_open);
        // Reports move traffic within a level and zone; what each of those takes is by weight.
        let weighed = match fail_open {
            FailOpen::No => self.weighed(pool, &amounts),
            _ => amounts.clone(),
        };
        // Failing open, levels and zones say nothing: all who may be alive share by weight.
        let level_of = |index: usize| match (fail_open, pool.backends.get(index)) {
            (FailOpen::No, Some(backend)) => backend.priority,
            _ => 0,
        };
        // A level covers by all that it has, though an instance may use a subset only.
        let mut levels: BTreeMap<u32, Level> = BTreeMap::new();
        let mut used: BTreeMap<u32, f64> = BTreeMap::new();
        for (index, (backend, amount)) in pool.backends.iter().zip(&amounts).enumerate() {
            let level = levels.entry(level_of(index)).or_insert(Level {
                healthy: 0.0,
                all: 0.0,
            });
            level.healthy += amount;
            if *amount > 0.0 || !self.is_unseen(&backend.name) {
                level.all += f64::from(backend.weight);
            }
            if chosen.get(index) == Some(&true) {
                let amount = weighed.get(index).copied().unwrap_or(0.0);
                *used.entry(level_of(index)).or_default() += amount;
            }
        }
        let list: Vec<Level> = levels.values().copied().collect();
        let parts = parts(&list, pool.overprovisioning, Grain::Exact);
        let parts: BTreeMap<u32, f64> = levels.keys().copied().zip(parts).collect();
        let mut zones = BTreeMap::new();
        if let (Some(locality), FailOpen::No) = (&pool.place.locality, fail_open) {
            zones = self.zones(pool, locality, &amounts);
        }
        let share = |(index, amount): (usize, &f64)| {
            if chosen.get(index) != Some(&true) {
                return 0.0;
            }
            let number = level_of(index);
            let sum = used.get(&number).copied().unwrap_or(0.0);
            let part = parts.get(&number).copied().unwrap_or(0.0);
            let backend = pool.backends.get(index).filter(|_| !zones.is_empty());
            let zone = backend.map(|backend| (number, backend.zone.clone()));
            match zone.and_then(|zone| zones.get(&zone)) {
                Some(zone) if zone.able > 0.0 => part * zone.part * amount / zone.able,
                None if sum > 0.0 => part * amount / sum,
                _ => 0.0,
            }
        };
        Shares {
            by_backend: weighed.iter().enumerate().map(share).collect(),
            parts,
            zones,
            warming: pool
                .backends
                .iter()
                .filter(|backend| self.warmth(pool, &backend.name) < 1.0)
                .map(|backend| backend.name.clone())
                .collect(),
        }
    }

    /// What each zone of each level takes of its traffic, where `amounts` can serve.
    fn zones(&self, pool: &Pool, locality: &Locality, amounts: &[f64]) -> Zones {
        let priority = |backend: &Backend| backend.priority;
        let first = pool.backends.iter().map(priority).min().unwrap_or(0);
        let homes = pool.backends.iter().filter(|b| b.priority == first);
        let homes = homes.filter_map(|b| b.zone.as_ref().map(Name::as_str));
        let origins = Origins::new(locality, homes);
        let mut spots: BTreeMap<u32, Vec<Spot<'_>>> = BTreeMap::new();
        let mut able: BTreeMap<(u32, Option<&str>), f64> = BTreeMap::new();
        for (backend, amount) in pool.backends.iter().zip(amounts) {
            if *amount <= 0.0 && self.is_unseen(&backend.name) {
                continue; // its zone is as healthy without it
            }
            let zone = backend.zone.as_ref().map(Name::as_str);
            let healthy = if *amount > 0.0 {
                self.warmth(pool, &backend.name)
            } else {
                0.0
            };
            let spot = Spot {
                zone,
                able: *amount,
                healthy,
            };
            spots.entry(backend.priority).or_default().push(spot);
            *able.entry((backend.priority, zone)).or_default() += amount;
        }
        let mut parts = BTreeMap::new();
        for (number, spots) in spots {
            let all: f64 = spots.iter().map(|spot| spot.able).sum();
            for (zone, part) in origins.split(spots, pool.min_healthy) {
                let able = able.get(&(number, zone)).copied().unwrap_or(0.0);
                let name = zone.and_then(|zone| Name::new(zone).ok());
                let by_weight = if all > 0.0 { able / all } else { 0.0 };
                let taken = ZonePart {
                    part,
                    able,
                    by_weight,
                };
                parts.insert((number, name), taken);
            }
        }
        parts
    }

    fn why(
        &self,
        pool: &Pool,
        index: usize,
        (stand, eligible, shaped, fail_open): (Stand, bool, bool, FailOpen),
        shares: &Shares,
        at: At,
    ) -> String {
        let Some(backend) = pool.backends.get(index) else {
            return String::new();
        };
        let seat = self.seats.get(&backend.name);
        let said = seat.map_or("", |seat| seat.detail.as_str());
        let said = match stand {
            Stand::Unseen if said.is_empty() => UNSEEN.to_owned(),
            Stand::Unseen => format!("{UNSEEN}: {said}"),
            _ => said.to_owned(),
        };
        let takes = eligible && stand != Stand::Drained && backend.weight > 0;
        if takes && fail_open == FailOpen::Yes {
            return format!(
                "every health check of the pool fails, so all backends take traffic: {said}"
            );
        }
        match (stand, seat) {
            (Stand::Drained, Some(seat)) => {
                let drain = seat.drain.as_ref();
                let until = drain.map_or(at.mono, |d| d.until);
                let mut text = format!("drained until {}", clock(at.wall_at(until)));
                if let Some(drain) = drain.filter(|drain| !drain.reason.is_empty()) {
                    text = format!("{text}: {}", drain.reason);
                }
                if let Some(cookie) = pool.affinity.sticky.as_ref().filter(|_| eligible) {
                    text = format!("{text}; clients with cookie {} stay", cookie.name);
                }
                return text;
            }
            (Stand::Down, _) => return format!("out by its health check: {said}"),
            (Stand::Unseen, _) => return said,
            (Stand::Ejected, Some(seat)) => {
                let until = seat.record.until().unwrap_or(at.mono);
                let why = seat.record.why();
                return format!("ejected until {}: {why}", clock(at.wall_at(until)));
            }
            _ => {}
        }
        if backend.weight > 0 && shares.of(index) <= 0.0 {
            return standby(pool, backend, shares);
        }
        if !shaped || backend.weight == 0 {
            return String::new();
        }
        self.shape(pool, index, shares, at).join("; ")
    }

    /// What shapes the share of an eligible backend, the largest effect first.
    fn shape(&self, pool: &Pool, index: usize, shares: &Shares, at: At) -> Vec<String> {
        let Some(backend) = pool.backends.get(index) else {
            return Vec::new();
        };
        let mut reasons: Vec<(f64, String)> = Vec::new();
        let warmth = self.warmth(pool, &backend.name);
        let warm = self.seats.get(&backend.name).and_then(|seat| seat.warm);
        if let (Some(over), Some((from, _))) = (pool.slow_start, warm) {
            let end = from.plus(step_of(over) * steps_of(over));
            let text = format!(
                "slow start: {:.0} % of its weight, all of it at {}",
                warmth * 100.0,
                clock(at.wall_at(end))
            );
            reasons.push((1.0 - warmth, text));
        }
        let part = shares.parts.get(&backend.priority).copied().unwrap_or(0.0);
        if shares.parts.values().filter(|part| **part > 0.0).count() > 1 {
            let text = format!(
                "priority {}: too few are healthy, this level takes {:.0} %",
                backend.priority,
                part * 100.0
            );
            reasons.push((1.0 - part, text));
        }
        reasons.extend(by_zone(pool, backend, shares));
        reasons.extend(self.by_reports(pool, &backend.name));
        if let Some(first) = shares.warming.first().filter(|_| warmth >= 1.0) {
            let more = match shares.warming.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            reasons.push((
                0.0,
                format!("carries more while {first}{more} starts slowly"),
            ));
        }
        reasons.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut words: Vec<String> = reasons.into_iter().map(|(_, text)| text).collect();
        words.push(format!(
            "weight {}, {:.1} % of the pool",
            backend.weight,
            shares.of(index) * 100.0
        ));
        words
    }
}

/// Whether a backend that has this reason is well and only waits for others to need it.
pub fn waits(why: &str) -> bool {
    why.starts_with(STANDBY) || why == NOT_IN_SUBSET
}

/// Whether a backend that has this reason joined a running pool and was not found up yet.
pub fn is_unseen(why: &str) -> bool {
    why.starts_with(UNSEEN)
}

/// Whether a backend that has this reason is in a pool whose weights follow what its backends report.
pub fn follows_reports(why: &str) -> bool {
    why.contains(REPORTED_LOAD)
}

/// Who of those that are `able` is in the subset of this instance: all where there is none, and when the pool fails open.
fn chosen(pool: &Pool, able: &[bool], fail_open: FailOpen) -> Vec<bool> {
    let Some(subset) = pool
        .place
        .subset
        .as_ref()
        .filter(|_| fail_open == FailOpen::No)
    else {
        return vec![true; pool.backends.len()];
    };
    let backends = pool.backends.iter();
    let seats = backends.zip(able).map(|(backend, can)| subset::Seat {
        name: backend.name.as_str(),
        level: backend.priority,
        takes_part: backend.weight > 0,
        can: *can,
    });
    let seats: Vec<subset::Seat<'_>> = seats.collect();
    subset::of_levels(subset, &seats)
}

/// Why a backend that could takes nothing: others come before it.
fn standby(pool: &Pool, backend: &Backend, shares: &Shares) -> String {
    let part = shares.parts.get(&backend.priority).copied().unwrap_or(0.0);
    if pool.place.subset.is_some() && part > 0.0 {
        return NOT_IN_SUBSET.to_owned();
    }
    match (&pool.place.locality, &backend.zone) {
        (Some(locality), Some(zone)) if part > 0.0 => format!(
            "{STANDBY}: zone {zone}, and zone {} carries what comes in there",
            locality.zone
        ),
        _ => format!(
            "{STANDBY}: priority {}, and the levels before it carry the load",
            backend.priority
        ),
    }
}

/// What the zone of a backend does to its share.
fn by_zone(pool: &Pool, backend: &Backend, shares: &Shares) -> Option<(f64, String)> {
    let locality = pool.place.locality.as_ref()?;
    let zone = shares
        .zones
        .get(&(backend.priority, backend.zone.clone()))?;
    let percent = zone.part * 100.0;
    let text = match &backend.zone {
        Some(name) if *name == locality.zone => {
            format!("zone {name}: local, takes {percent:.0} %")
        }
        Some(name) => format!(
            "zone {name}: takes {percent:.0} % of what comes in in zone {}",
            locality.zone
        ),
        None => format!(
            "in no zone: takes {percent:.0} % of what comes in in zone {}",
            locality.zone
        ),
    };
    Some(((zone.part - zone.by_weight).abs(), text))
}

/// What a zone of a level takes.
struct ZonePart {
    /// Part of the traffic of the level.
    part: f64,
    /// Weight that can serve.
    able: f64,
    /// The part that it would take if zones did not matter.
    by_weight: f64,
}

/// By level and zone.
type Zones = BTreeMap<(u32, Option<Name>), ZonePart>;

/// How shares become effective weights. Whoever has the largest share for its weight keeps its declared one, in the unit of
/// [`unit()`], and the others have less: so a table of keys moves the keys of those alone whose part changed.
struct Shape {
    unit: f64,
    /// The largest share per weight.
    most: f64,
}

impl Shape {
    fn of(weights: &[u32], shares: &Shares) -> Self {
        let per_weight = |(index, weight): (usize, &u32)| shares.of(index) / f64::from(*weight);
        let taking = weights.iter().enumerate().filter(|(_, w)| **w > 0);
        Self {
            unit: f64::from(unit(weights.iter().copied())),
            most: taking.map(per_weight).fold(0.0, f64::max),
        }
    }

    fn weight(&self, declared: u32, share: f64) -> u32 {
        (self.unit * share / self.most)
            .round()
            .clamp(1.0, self.unit * f64::from(declared)) as u32
    }
}

/// Shares by backend in file order, and parts by level and zone.
struct Shares {
    by_backend: Vec<f64>,
    parts: BTreeMap<u32, f64>,
    /// Empty where zones do not matter.
    zones: Zones,
    /// Who starts slowly.
    warming: Vec<Name>,
}

impl Shares {
    fn of(&self, index: usize) -> f64 {
        self.by_backend.get(index).copied().unwrap_or(0.0)
    }

    /// Whether they are in the proportion of the weights over those that take any.
    fn follow(&self, weights: &[u32], eligible: impl Fn(usize) -> bool) -> bool {
        let taking = || {
            weights
                .iter()
                .enumerate()
                .filter(|(i, w)| **w > 0 && eligible(*i))
        };
        let total: u64 = taking().map(|(_, weight)| u64::from(*weight)).sum();
        taking().all(|(index, weight)| {
            let by_weight = f64::from(*weight) / total as f64;
            (self.of(index) - by_weight).abs() <= SAME * by_weight
        })
    }
}

const fn standing(stand: Stand) -> Standing {
    match stand {
        Stand::Up => Standing::Up,
        Stand::Down | Stand::Unseen | Stand::Ejected => Standing::Down,
        Stand::Drained => Standing::Drained,
    }
}

/// The time of day, such as `14:03:20 UTC`.
fn clock(wall: Wall) -> String {
    let seconds = wall.0 / 1_000 % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}
