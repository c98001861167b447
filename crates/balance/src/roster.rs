//! Who of a pool takes traffic now, with which weight, and why: the runtime standing of every backend.
//!
//! One [`Roster`] per pool holds what a configuration does not say: health (rise and fall), passive ejection, drains with
//! their deadlines, slow start, and from these and the levels of priority the [`Lineup`]: effective weights, reasons, and
//! whether they will change by themselves. It is kept over revisions by the backends' names; a backend whose address
//! changed starts over, its drain excepted. A member that discovery adds to a pool that serves already takes traffic after
//! its first good check: a list may be wrong, and those that are there can wait for it.
//!
//! Pure: the moment comes in, nothing is told to anybody. The control shell and the simulation run this same code.
//!
//! Limits: a slow start moves in at most [`STEPS_MAX`] steps, at most one a second, because each set of effective weights
//! is an epoch of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{Address, Pool};
use evenkeel_model::ids::Name;

use crate::health::{HealthState, Transition};
use ejection::{Record, Window};
use reported::Load;

mod ejection;
mod lineup;
mod reported;
mod rosters;

pub use lineup::{
    Lineup, NOT_IN_SUBSET, REPORTED_LOAD, STANDBY, UNSEEN, follows_reports, is_unseen, waits,
};
pub use rosters::{Change, Rosters, Round};

/// Steps of a slow start at most.
pub const STEPS_MAX: u32 = 10;
/// A slow start steps at most this often.
const STEP_MIN: Duration = Duration::from_secs(1);
/// From so many backends on the slow starts of a pool under a hash rest between steps: so many times [`STEP_MIN`] as this
/// goes into their number.
const RESTS_FROM: usize = 1_000;
/// Part of its weight that a backend has at once when it comes back: it never starves, however low the rate.
pub const WARM_FROM: f64 = 0.1;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// What durations are measured by.
    pub mono: Mono,
    /// What is told to people.
    pub wall: Wall,
}

impl At {
    /// What the wall clock will show at `then`.
    fn wall_at(self, then: Mono) -> Wall {
        self.wall.plus(then.since(self.mono))
    }
}

/// Something happened to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The backend.
    pub backend: Name,
    /// What.
    pub what: What,
    /// In words.
    pub detail: String,
    /// Whether it changes who takes traffic or with which weight.
    pub moves_traffic: bool,
}

/// What happened to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Its check found it up: for the first time or again.
    Up,
    /// Its check found it down.
    Down,
    /// The first check since it joined was not good: it goes on waiting for one that is.
    Waits,
    /// Its answers took it out for a while.
    Ejected,
    /// Its ejection is over.
    Returned,
    /// A person's drain began.
    Drained,
    /// The drain is over: by its deadline or a person.
    Undrained,
    /// Its slow start took a step.
    Warmer,
    /// What backends report gave it another weight.
    Weighed,
}

/// A drain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Drain {
    until: Mono,
    reason: String,
}

/// What is known of one backend.
#[derive(Debug, Clone)]
struct Seat {
    address: Address,
    health: HealthState,
    /// Whether it waits for its first good check: it joined a pool that served without it.
    is_unseen: bool,
    /// What the last check said.
    detail: String,
    drain: Option<Drain>,
    /// Since when it warms up, and the step that was told last.
    warm: Option<(Mono, u32)>,
    record: Record,
    window: Window,
    load: Load,
}

impl Seat {
    fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            health: HealthState::new(),
            is_unseen: false,
            detail: String::new(),
            drain: None,
            warm: None,
            record: Record::default(),
            window: Window::default(),
            load: Load::default(),
        }
    }
}

/// How a backend stands, the strongest reason first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Drained,
    Down,
    /// No check has found it up yet.
    Unseen,
    Ejected,
    Up,
}

/// The runtime standing of the backends of one pool.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    seats: BTreeMap<Name, Seat>,
    /// When a slow start stepped last.
    stepped: Option<Mono>,
    /// Since when reported load is gathered for the next weights.
    period_from: Option<Mono>,
    /// Whether a configuration came before: nobody is new to a roster that is new itself.
    is_set: bool,
}

impl Roster {
    /// Takes over what is declared: forgets who is gone, welcomes who is new. A backend that joins a pool that runs
    /// already starts slowly, where the pool says so; one that was discovered waits for its first good check, if the pool
    /// checks and has others.
    pub fn configure(&mut self, pool: &Pool, at: At) {
        self.seats
            .retain(|name, _| pool.backend(name.as_str()).is_some());
        let has_others = self.is_set && !self.seats.is_empty() && pool.health.is_some();
        for backend in &pool.backends {
            let known = self.seats.get(&backend.name);
            if known.is_some_and(|seat| seat.address == backend.address) {
                continue;
            }
            let mut seat = Seat::new(&backend.address);
            seat.drain = known.and_then(|seat| seat.drain.clone());
            seat.is_unseen = has_others && backend.discovered;
            if self.is_set && !seat.is_unseen && pool.slow_start.is_some() {
                seat.warm = Some((at.mono, 0));
            }
            self.seats.insert(backend.name.clone(), seat);
        }
        if pool.health.is_none() {
            self.seats.values_mut().for_each(|s| s.is_unseen = false);
        }
        if pool.ejection.is_none() {
            for seat in self.seats.values_mut() {
                seat.record = Record::default();
                seat.window = Window::default();
            }
        }
        if pool.slow_start.is_none() {
            self.seats.values_mut().for_each(|seat| seat.warm = None);
        }
        let reported = pool.reported.as_ref();
        let loads = self.seats.values_mut().map(|seat| &mut seat.load);
        loads.for_each(|load| load.configure(reported));
        self.period_from = self.period_from.filter(|_| reported.is_some());
        self.is_set = true;
    }

    /// Whether the checks of `backend` have taken it out.
    pub(crate) fn is_checked_down(&self, backend: &Name) -> bool {
        self.seats
            .get(backend)
            .is_some_and(|seat| !seat.health.is_up())
    }

    /// Takes in a check result; returns the turn that it completes. The first result counts as one where it is good or
    /// awaited, though it moves no traffic.
    pub fn checked(
        &mut self,
        pool: &Pool,
        backend: &Name,
        (ok, detail): (bool, &str),
        at: At,
    ) -> Option<Turn> {
        let health = pool.health.as_ref()?;
        let seat = self.seats.get_mut(backend)?;
        let was_known = seat.health.is_known();
        let transition = if ok && std::mem::take(&mut seat.is_unseen) {
            seat.health = HealthState::good();
            Some(Transition::Up)
        } else {
            seat.health.observe(ok, health.rise, health.fall)
        };
        detail.clone_into(&mut seat.detail);
        let waits = seat.is_unseen && !was_known && transition.is_none();
        if transition.is_none() && (was_known || !ok) && !waits {
            return None;
        }
        if transition == Some(Transition::Up) {
            seat.begin_warm(pool, at);
            seat.window = Window::default();
        }
        Some(Turn {
            backend: backend.clone(),
            what: match seat.health.is_up() {
                true if waits => What::Waits,
                true => What::Up,
                false => What::Down,
            },
            detail: detail.to_owned(),
            moves_traffic: transition.is_some(),
        })
    }

    /// Takes `backend` out until `until`, or moves the end of its drain; `None`: it is not known. Whether it may be
    /// drained is for the caller to judge.
    pub fn drain(&mut self, backend: &Name, until: Mono, reason: &str) -> Option<Turn> {
        let seat = self.seats.get_mut(backend)?;
        let moves_traffic = seat.drain.is_none();
        seat.drain = Some(Drain {
            until,
            reason: reason.to_owned(),
        });
        Some(Turn {
            backend: backend.clone(),
            what: What::Drained,
            detail: reason.to_owned(),
            moves_traffic,
        })
    }

    /// The drains that are under way.
    pub(super) fn drains(&self) -> impl Iterator<Item = (&Name, Mono, &str)> {
        let of = |(name, seat)| {
            let (name, seat): (&Name, &Seat) = (name, seat);
            let drain = seat.drain.as_ref()?;
            Some((name, drain.until, drain.reason.as_str()))
        };
        self.seats.iter().filter_map(of)
    }

    /// Ends the drain of `backend`; `None`: it is not drained.
    pub fn undrain(&mut self, pool: &Pool, backend: &Name, at: At) -> Option<Turn> {
        let seat = self.seats.get_mut(backend)?;
        seat.drain.take()?;
        seat.begin_warm(pool, at);
        seat.window = Window::default();
        Some(Turn {
            backend: backend.clone(),
            what: What::Undrained,
            detail: "takes traffic again".to_owned(),
            moves_traffic: true,
        })
    }

    /// What time brought: drains and ejections that are over, steps of slow starts, new ejections by what was counted, new
    /// weights by what was reported.
    /// Once a second is enough.
    pub fn tick(&mut self, pool: &Pool, at: At) -> Vec<Turn> {
        let mut turns = Vec::new();
        let over: Vec<Name> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.drain.as_ref().is_some_and(|d| d.until <= at.mono))
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            turns.extend(self.undrain(pool, &name, at).map(|turn| Turn {
                detail: "the drain reached its deadline".to_owned(),
                ..turn
            }));
        }
        turns.extend(self.judge(pool, at));
        turns.extend(self.warm_up(pool, at));
        turns.extend(self.weigh(pool, at));
        turns
    }

    /// The next moment at which something changes by itself.
    pub fn next_change(&self, pool: &Pool) -> Option<Mono> {
        let rested = self.stepped.map(|last| last.plus(rest(pool)));
        let of_seat = |seat: &Seat| {
            let drain = seat.drain.as_ref().map(|d| d.until);
            let warm = pool.slow_start.zip(seat.warm);
            let warm = warm.map(|(over, (from, step))| {
                let step = from.plus(step_of(over) * (step + 1));
                rested.map_or(step, |rested| step.max(rested))
            });
            [drain, warm, seat.record.until()]
                .into_iter()
                .flatten()
                .min()
        };
        let of_seats = self.seats.values().filter_map(of_seat);
        of_seats.chain(self.period_ends(pool)).min()
    }

    fn warm_up(&mut self, pool: &Pool, at: At) -> Vec<Turn> {
        let Some(over) = pool.slow_start else {
            return Vec::new();
        };
        let passed = |last| at.mono.since(last);
        if self.stepped.is_some_and(|last| passed(last) < rest(pool)) {
            return Vec::new();
        }
        let mut turns = Vec::new();
        for (name, seat) in &mut self.seats {
            let Some((from, told)) = seat.warm else {
                continue;
            };
            let passed = at.mono.since(from).as_secs_f64();
            let step = (passed / step_of(over).as_secs_f64() + 1e-9).floor();
            let step = if passed >= over.as_secs_f64() {
                steps_of(over)
            } else {
                (step as u32).min(steps_of(over) - 1)
            };
            if step == told {
                continue;
            }
            seat.warm = (step < steps_of(over)).then_some((from, step));
            turns.push(Turn {
                backend: name.clone(),
                what: What::Warmer,
                detail: format!("slow start at {:.0} %", 100.0 * part_of(step, over)),
                moves_traffic: true,
            });
        }
        if !turns.is_empty() {
            self.stepped = Some(at.mono);
        }
        turns
    }

    /// How the backend at `index` stands.
    fn stand(&self, pool: &Pool, index: usize) -> Stand {
        let backend = pool.backends.get(index);
        let Some(seat) = backend.and_then(|backend| self.seats.get(&backend.name)) else {
            return Stand::Up;
        };
        if seat.drain.is_some() {
            Stand::Drained
        } else if pool.health.is_some() && !seat.health.is_up() {
            Stand::Down
        } else if seat.is_unseen {
            Stand::Unseen
        } else if seat.record.until().is_some() {
            Stand::Ejected
        } else {
            Stand::Up
        }
    }

    /// Whether no check has found this one up since it joined: the rest of the pool is as healthy without it.
    fn is_unseen(&self, name: &Name) -> bool {
        self.seats.get(name).is_some_and(|seat| seat.is_unseen)
    }

    /// Part of its weight that the backend has in its slow start; 1: all of it.
    fn warmth(&self, pool: &Pool, name: &Name) -> f64 {
        let warm = self.seats.get(name).and_then(|seat| seat.warm);
        match (pool.slow_start, warm) {
            (Some(over), Some((_, step))) => part_of(step, over),
            _ => 1.0,
        }
    }
}

impl Seat {
    /// Whether neither its checks nor its answers keep it from traffic.
    fn is_well(&self, pool: &Pool) -> bool {
        let is_checked = pool.health.is_some();
        (!is_checked || self.health.is_up()) && !self.is_unseen && self.record.until().is_none()
    }

    fn begin_warm(&mut self, pool: &Pool, at: At) {
        self.warm = pool.slow_start.map(|_| (at.mono, 0));
    }
}

/// How long the slow starts of a pool rest after a step. Under a hash each step is a new table of keys, which takes a
/// part of a second to build for [`RESTS_FROM`] backends and more.
fn rest(pool: &Pool) -> Duration {
    if !pool.algorithm.is_hash() || pool.backends.len() < RESTS_FROM {
        return Duration::ZERO;
    }
    STEP_MIN * (pool.backends.len() / RESTS_FROM) as u32
}

/// Length of a step of a slow start over this time.
fn step_of(over: Duration) -> Duration {
    (over / STEPS_MAX).max(STEP_MIN).min(over)
}

/// Steps after which a slow start over this time is done.
fn steps_of(over: Duration) -> u32 {
    let steps = over.as_secs_f64() / step_of(over).as_secs_f64().max(1e-9);
    ((steps - 1e-9).ceil() as u32).clamp(1, STEPS_MAX)
}

/// Part of its weight that a backend has after so many steps: straight from [`WARM_FROM`] to 1.
fn part_of(step: u32, over: Duration) -> f64 {
    let way = f64::from(step) / f64::from(steps_of(over));
    WARM_FROM + (1.0 - WARM_FROM) * way.min(1.0)
}

#[cfg(test)]
mod tests;
