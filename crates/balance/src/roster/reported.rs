//! Weights by the load that backends report with their responses (ORCA): a factor on the declared weight of each.
//!
//! Once a period each backend that answered enough is taken to carry so many good answers per utilisation, and the factors
//! go half the way (in ratio) to where all would be utilised alike. Half, because a report may be a period old, and whole
//! steps on old reports swing. They are put in force together, and only when one of them is off by more than a twentieth
//! and more than its count of answers may stray, because each set of weights is an epoch.
//!
//! Bounds: no factor leaves what is declared, none more than doubles or halves in a period, and the sum of the weights of
//! a level (in a zone) stays what it was. Whoever does not report goes to its declared weight, within the same bounds.
//!
//! Failing is quick and takes little CPU, so idleness counts for nothing where it may come of failing. What a backend
//! fails beyond its part of the group's failures is remembered ([`Excess`], a cumulative sum), and until as many good tries
//! have made up for it, its factor does not rise; from a few failures on it sinks, down to 1: the reports never give it
//! more than it would have without. A period without a failure proves nothing, and here it changes little. Responses of
//! 4xx are held against a backend in the same way, for themselves: they may be the clients' doing, but then all see them.
//!
//! Limits: what other balancers send to the same backends is in the utilisation, but not in the answers that are counted
//! here. The factors still end where all are utilised alike, only not at once.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Backend, Pool, Reported, ReportedSignal};
use evenkeel_model::ids::Name;
use evenkeel_model::tally::{Outcomes, Vitals};

use super::lineup::REPORTED_LOAD;
use super::{At, Roster, Seat, Stand, Turn, What};

/// Tries in a period below which a backend's factor stays: the ratio would be chance.
const ENOUGH: u64 = 20;
/// Utilisation below this counts as this: who is idle says nothing of what it can carry.
const LOAD_MIN: f64 = 0.05;
/// Factors are put in force when one of them is off by more than this.
const APART: f64 = 0.05;
/// A factor grows or shrinks at most by this in a period.
const STEP: f64 = 2.0;
/// Part of tries that a backend may fail beyond its part of the group's failures and nothing of it is remembered.
const WORSE: f64 = 0.01;
/// So may this part of the group's failures: the more all fail, the more one strays by chance.
const STRAYS: f64 = 0.5;
/// Failures too many from which on a factor does not rise.
const HELD: f64 = 1.0;
/// Failures too many from which on a factor above 1 sinks.
const SINKS: f64 = 3.0;
/// Failures too many that are remembered at most, so that a backend that is well again is believed some day.
const REMEMBERED: f64 = 10.0;
/// A period may end this much early: the second that ends it does not come on the dot.
const SLACK: Duration = Duration::from_millis(100);
/// Halvings after which the sum of the weights is what it was.
const HALVINGS: u32 = 80;

/// What reports say of one backend.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// In force.
    factor: f64,
    /// Where the factor is going.
    aim: f64,
    /// The utilisation that the factor in force stands on; `None`: nothing is reported.
    seen: Option<f64>,
    /// When a report was there last.
    reported_at: Option<Mono>,
    /// Of the period under way.
    tries: Tries,
    /// Failures that were too many.
    failed: Excess,
    /// Responses of 4xx that were too many.
    refused: Excess,
    /// Sum and count of the utilisation of each of its seconds.
    used: (f64, u32),
}

/// How tries ended.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    fine: u64,
    /// 4xx: the backend worked for them, but may have been the only one to answer so.
    refused: u64,
    failed: u64,
}

/// What a backend failed beyond its part of the group's failures: grows by one with each, and shrinks by what is allowed
/// with every try.
#[derive(Debug, Clone, Copy, Default)]
struct Excess(f64);

impl Excess {
    /// A period in which `bad` of `tries` ended badly, and `all_bad` of `all` in the whole group. What all suffer at the
    /// same time is nobody's excess.
    fn take(&mut self, (bad, tries): (u64, u64), (all_bad, all): (u64, u64)) {
        let rest = (all - tries) as f64;
        if rest < 1.0 {
            return;
        }
        let (bad, tries, all) = (bad as f64, tries as f64, all as f64);
        let usual = all_bad as f64 / all;
        let allowed = tries * (usual + (WORSE + STRAYS * usual) * rest / all);
        self.0 = (self.0 + bad - allowed).clamp(0.0, REMEMBERED);
    }
}

/// What a period says of one backend.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// What it carries per utilisation and declared weight, and by which part that may stray by chance.
    Strength(f64, f64),
    /// Too little to tell.
    Little,
    /// It does not report.
    Nothing,
}

/// One backend while its level is looked at.
struct Side {
    name: Name,
    weight: f64,
    aim: f64,
    bounds: (f64, f64),
    said: Said,
    /// Whether what it has above its declared weight is taken from it.
    sinks: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            factor: 1.0,
            aim: 1.0,
            seen: None,
            reported_at: None,
            tries: Tries::default(),
            failed: Excess::default(),
            refused: Excess::default(),
            used: (0.0, 0),
        }
    }
}

impl Tries {
    const fn all(self) -> u64 {
        self.fine + self.refused + self.failed
    }

    const fn answered(self) -> u64 {
        self.fine + self.refused
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            fine: self.fine + other.fine,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
        }
    }

    fn failed_part(self) -> f64 {
        self.failed as f64 / self.all().max(1) as f64
    }
}

impl Load {
    /// Adds what ended.
    pub(super) const fn count(&mut self, more: &Outcomes) {
        self.tries.fine += more.ok;
        self.tries.refused += more.client_error;
        self.tries.failed += more.server_error + more.connect_failed + more.reset + more.timeout;
    }

    /// Takes over what is declared now.
    pub(super) fn configure(&mut self, reported: Option<&Reported>) {
        let Some(reported) = reported else {
            *self = Self::default();
            return;
        };
        self.factor = self.factor.clamp(reported.min, reported.max);
        self.aim = self.aim.clamp(reported.min, reported.max);
    }

    fn second(&mut self, utilisation: Option<f64>, reported_at: Mono) {
        if let Some(utilisation) = utilisation {
            self.used = (self.used.0 + utilisation, self.used.1 + 1);
            self.reported_at = Some(reported_at);
        }
    }

    /// Whether it fails so much more than the others that its factor does not rise.
    fn is_held(&self) -> bool {
        self.failed.0.max(self.refused.0) >= HELD
    }

    /// What keeps its factor from rising, in words.
    fn held_by(&self) -> &'static str {
        match self.is_held() {
            true if self.failed.0 >= HELD => " and no more while it fails more than the others",
            true => " and no more while it answers more 4xx than the others",
            false => "",
        }
    }

    /// The mean utilisation of the period.
    fn utilisation(&self) -> Option<f64> {
        let (sum, count) = self.used;
        (count > 0).then(|| sum / f64::from(count))
    }

    fn said(&self, reported: &Reported, weight: f64, now: Mono) -> Said {
        let is_fresh = |at| now.since(at) <= reported.stale_after;
        if !self.reported_at.is_some_and(is_fresh) {
            return Said::Nothing;
        }
        match self.utilisation() {
            Some(utilisation) if self.tries.all() >= ENOUGH => {
                let load = utilisation + reported.error_penalty * self.tries.failed_part();
                let answered = self.tries.answered() as f64;
                let chance = 3.0 / answered.max(1.0).sqrt();
                Said::Strength(answered / load.max(LOAD_MIN) / weight, chance)
            }
            _ => Said::Little,
        }
    }
}

impl Roster {
    /// Takes in what the backends report, once a second.
    pub(super) fn reported<'v>(
        &mut self,
        pool: &Pool,
        vitals: impl IntoIterator<Item = (&'v Name, &'v Vitals)>,
        at: At,
    ) {
        let Some(reported) = &pool.reported else {
            return;
        };
        for (name, vitals) in vitals {
            if let Some(seat) = self.seats.get_mut(name) {
                let utilisation = match reported.signal {
                    ReportedSignal::Cpu => vitals.cpu,
                    ReportedSignal::Application => vitals.application,
                };
                seat.load.second(utilisation, at.mono.minus(vitals.age));
            }
        }
    }

    fn factor(&self, name: &Name) -> f64 {
        self.seats.get(name).map_or(1.0, |seat| seat.load.factor)
    }

    /// `amounts` of weight with the factors of reported load; each level (in a zone) keeps its sum.
    pub(super) fn weighed(&self, pool: &Pool, amounts: &[f64]) -> Vec<f64> {
        if pool.reported.is_none() {
            return amounts.to_vec();
        }
        let mut sums: BTreeMap<Group<'_>, (f64, f64)> = BTreeMap::new();
        for (backend, amount) in pool.backends.iter().zip(amounts) {
            let (plain, weighed) = sums.entry(group(pool, backend)).or_default();
            *plain += amount;
            *weighed += amount * self.factor(&backend.name);
        }
        let weigh = |(backend, amount): (&Backend, &f64)| match sums.get(&group(pool, backend)) {
            Some((plain, weighed)) if *weighed > 0.0 => {
                amount * self.factor(&backend.name) * plain / weighed
            }
            _ => *amount,
        };
        pool.backends.iter().zip(amounts).map(weigh).collect()
    }

    /// What reported load does to the share of a backend, by how much.
    pub(super) fn by_reports(&self, pool: &Pool, name: &Name) -> Option<(f64, String)> {
        let seat = self.seats.get(name).filter(|_| pool.reported.is_some())?;
        let load = &seat.load;
        let factor = load.factor;
        let text = match load.seen {
            Some(seen) => format!(
                "{REPORTED_LOAD}: {:.0} % utilised, {factor:.2} times its weight{}",
                seen * 100.0,
                load.held_by()
            ),
            None if (factor - 1.0).abs() > 1e-9 => {
                format!("{REPORTED_LOAD}: none any more, {factor:.2} times its weight")
            }
            None => format!("{REPORTED_LOAD}: none, so its declared weight"),
        };
        Some(((1.0 - factor).abs(), text))
    }

    /// When the period under way ends.
    pub(super) fn period_ends(&self, pool: &Pool) -> Option<Mono> {
        Some(self.period_from?.plus(pool.reported?.period))
    }

    /// Ends the period when it is over: new factors, where they are other ones.
    pub(super) fn weigh(&mut self, pool: &Pool, at: At) -> Vec<Turn> {
        let Some(reported) = &pool.reported else {
            return Vec::new();
        };
        let from = *self.period_from.get_or_insert(at.mono);
        if at.mono.since(from) + SLACK < reported.period {
            return Vec::new();
        }
        self.period_from = Some(at.mono);
        let mut groups: BTreeMap<Group<'_>, Vec<Side>> = BTreeMap::new();
        for (index, backend) in pool.backends.iter().enumerate() {
            // Who is out keeps its factor until it is back.
            let takes = backend.weight > 0 && self.stand(pool, index) == Stand::Up;
            if let Some(seat) = self.seats.get(&backend.name).filter(|_| takes) {
                let side = Side::new(&backend.name, backend.weight, seat, reported, at.mono);
                let group = groups.entry(group(pool, backend));
                group.or_default().push(side);
            }
        }
        let mut turns = Vec::new();
        for (_, mut group) in groups {
            self.hold_back(&mut group);
            settle(&mut group);
            turns.extend(self.put_in_force(&group));
        }
        for seat in self.seats.values_mut() {
            (seat.load.tries, seat.load.used) = (Tries::default(), (0.0, 0));
        }
        turns
    }

    /// Whoever fails more than the others of its group gets no larger factor, and loses what it has above 1.
    fn hold_back(&mut self, group: &mut [Side]) {
        let tries = |side: &Side| self.seats.get(&side.name).map(|seat| seat.load.tries);
        let tries = group.iter().filter_map(tries);
        let all = tries.fold(Tries::default(), Tries::plus);
        for side in group {
            let Some(seat) = self.seats.get_mut(&side.name) else {
                continue;
            };
            let load = &mut seat.load;
            let (mine, group) = (load.tries, all.all());
            load.failed
                .take((mine.failed, mine.all()), (all.failed, group));
            load.refused
                .take((mine.refused, mine.all()), (all.refused, group));
            side.sinks = load.failed.0.max(load.refused.0) >= SINKS && load.factor > 1.0;
            let (lo, hi) = side.bounds;
            let hi = match load.factor {
                factor if side.sinks => (factor / STEP).max(1.0),
                factor if load.is_held() => factor.min(hi),
                _ => hi,
            };
            side.bounds = (lo.min(hi), hi);
        }
    }

    /// Puts the aims of a group in force where one of them is far enough from the factor that is.
    fn put_in_force(&mut self, group: &[Side]) -> Vec<Turn> {
        let mut is_apart = false;
        for side in group {
            if let Some(seat) = self.seats.get_mut(&side.name) {
                seat.load.aim = side.aim;
                let off = (side.aim / seat.load.factor - 1.0).abs();
                is_apart |= match side.said {
                    _ if side.sinks => off > APART,
                    Said::Strength(_, chance) => off > APART.max(chance),
                    Said::Nothing => off > 1e-9,
                    Said::Little => false,
                };
            }
        }
        let mut turns = Vec::new();
        for side in group.iter().filter(|_| is_apart) {
            let Some(seat) = self.seats.get_mut(&side.name) else {
                continue;
            };
            let load = &mut seat.load;
            load.factor = side.aim;
            match side.said {
                Said::Strength(..) => load.seen = load.utilisation(),
                Said::Nothing => load.seen = None,
                Said::Little => {}
            }
            turns.push(Turn {
                backend: side.name.clone(),
                what: What::Weighed,
                detail: format!("reported load: {:.2} times its weight", load.factor),
                moves_traffic: true,
            });
        }
        turns
    }
}

/// Level, and zone where zones matter: what reports move traffic within.
type Group<'p> = (u32, Option<&'p Name>);

fn group<'p>(pool: &Pool, backend: &'p Backend) -> Group<'p> {
    let is_local = pool.place.locality.is_some();
    (backend.priority, backend.zone.as_ref().filter(|_| is_local))
}

impl Side {
    fn new(name: &Name, weight: u32, seat: &Seat, reported: &Reported, now: Mono) -> Self {
        let weight = f64::from(weight);
        let load = &seat.load;
        let within = |factor: f64| factor.clamp(reported.min, reported.max);
        Self {
            name: name.clone(),
            weight,
            aim: load.aim,
            bounds: (within(load.factor / STEP), within(load.factor * STEP)),
            said: load.said(reported, weight, now),
            sinks: false,
        }
    }

    /// Its next aim where `scale` times what it carries is its due.
    fn next(&self, scale: f64) -> f64 {
        let (lo, hi) = self.bounds;
        let aim = match self.said {
            Said::Strength(strength, _) => (self.aim * strength * scale).sqrt(),
            Said::Little => self.aim,
            Said::Nothing => 1.0,
        };
        aim.clamp(lo, hi)
    }
}

/// The next aims of a group, whose weights add up to the declared ones as far as the bounds allow.
fn settle(group: &mut [Side]) {
    let strengths = group.iter().filter_map(|side| match side.said {
        Said::Strength(strength, _) => Some(strength),
        _ => None,
    });
    let strongest = strengths.fold(0.0, f64::max);
    let mut scale = 1.0;
    if strongest > 0.0 {
        let declared: f64 = group.iter().map(|side| side.weight).sum();
        let sum = |scale: f64| -> f64 { group.iter().map(|s| s.weight * s.next(scale)).sum() };
        // By the powers of two: the sum grows with the scale.
        let (mut low, mut high) = (-64.0f64, 64.0f64);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if sum(middle.exp2() / strongest) < declared {
                low = middle;
            } else {
                high = middle;
            }
        }
        scale = high.exp2() / strongest;
    }
    for side in group {
        side.aim = side.next(scale);
    }
}
