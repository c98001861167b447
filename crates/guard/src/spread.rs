//! Shares within a pool whose total may be right: those of each worker, and those of each zone.
//!
//! Every worker picks by itself. One whose picks stray is made up for by the others as far as the pool's total shows, and
//! its clients are not; so each worker is held against what the configuration implies, like the pool. A worker that goes
//! on picking by an epoch that is over has a table that nobody else has. A zone whose backends all stray a little, each
//! within its tolerance, strays by as much; its sum says so sooner.
//!
//! Round robin's bound is not used here: a backend passed over at a limit, by a retry or because it never answered breaks
//! it for a good reason, and the share test allows a tenth. Counts that vary less than chance only make it quieter.
//!
//! Limits: nothing is said of workers where load or a key decides, nor beyond [`CELLS_MAX`] backends times workers. That one worker
//! has more connections than another is no fault of a share.

use std::collections::BTreeMap;

use evenkeel_detect::arl::Arl;
use evenkeel_detect::share::{self, ShareEvidence, ShareTest};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Pool;
use evenkeel_model::ids::{Name, WorkerId};

use crate::view::Verdict;
use crate::watch::{ENOUGH, FIDELITY_TOLERANCE, budget};

/// Parts of the pool's false-alarm budget.
pub(crate) const PART_ZONES: f64 = 0.1;
pub(crate) const PART_WORKERS: f64 = 0.1;
/// Backends times workers up to which each worker is tested: 2 % of a core at most.
const CELLS_MAX: usize = 10_000;
/// Seconds in a row with picks by an epoch that is over before it is a fault: a worker that hung hands over what is old at
/// once.
const STALE_SECONDS: u32 = 5;

/// The tests of one epoch.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Spread {
    zones: Option<Zones>,
    workers: Workers,
    stale: BTreeMap<WorkerId, Stale>,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Zones {
    names: Vec<Option<Name>>,
    /// Which of the zones each backend is in.
    places: Vec<usize>,
    test: ShareTest,
    said: Option<ShareEvidence>,
}

#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct Workers {
    theta: Vec<f64>,
    /// Of all workers together.
    budget: Option<Arl>,
    since: Mono,
    tests: BTreeMap<WorkerId, Option<(ShareTest, Option<ShareEvidence>)>>,
}

/// Picks of a worker by epochs that are over, in seconds without a break.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
struct Stale {
    seconds: u32,
    picks: u64,
}

/// One part that strays.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strayed {
    /// In one line, with numbers.
    pub(crate) title: String,
    /// Sample and threshold.
    pub(crate) detail: String,
    /// When it began.
    pub(crate) onset: Option<evenkeel_detect::onset::Onset>,
}

impl Spread {
    /// Tests of `pool` that begin `now`, of the workers that `before` knew; `expected` and `intended` as the pool's own.
    pub(crate) fn new(
        pool: &Pool,
        expected: Option<&[f64]>,
        intended: &[f64],
        before: &Self,
        now: Mono,
    ) -> Self {
        let mut workers = Workers {
            theta: expected.unwrap_or_default().to_vec(),
            budget: Some(budget(pool, PART_WORKERS)),
            since: now,
            tests: before.workers.tests.keys().map(|id| (*id, None)).collect(),
        };
        workers.begin();
        Self {
            zones: expected.and_then(|_| Zones::new(pool, intended, now)),
            workers,
            stale: BTreeMap::new(),
        }
    }

    /// Takes the free picks of a second: by backend, and by worker and backend.
    pub(crate) fn tick(
        &mut self,
        free: &[u64],
        by_worker: &BTreeMap<WorkerId, Vec<u64>>,
        now: Mono,
    ) {
        if let Some(zones) = &mut self.zones {
            zones.tick(free, now);
        }
        self.workers.tick(by_worker, now);
    }

    /// Takes the free picks of a second that each worker made by an epoch that is over.
    pub(crate) fn tick_stale(&mut self, picks: &BTreeMap<WorkerId, u64>) {
        self.stale.retain(|id, _| picks.contains_key(id));
        for (id, picks) in picks {
            let stale = self.stale.entry(*id).or_default();
            stale.seconds = stale.seconds.saturating_add(1);
            stale.picks = stale.picks.saturating_add(*picks);
        }
    }

    /// The verdict on the backend at `index` as one of its zone or of a worker, and why.
    pub(crate) fn verdict(&self, index: usize) -> Option<(Verdict, String)> {
        let zones = self.zones.as_ref();
        let by_zone = zones.and_then(|zones| {
            let place = *zones.places.get(index)?;
            let (verdict, reason) = outside(zones.said.as_ref()?, place)?;
            Some((verdict, format!("{} {reason}", zones.name(place))))
        });
        let by_worker = || {
            self.workers.said().find_map(|(id, said)| {
                let (verdict, reason) = outside(said, index)?;
                Some((
                    verdict,
                    format!("of the picks of worker {} it {reason}", id.0),
                ))
            })
        };
        by_zone.or_else(by_worker)
    }

    /// The zones above the threshold of their test.
    pub(crate) fn zones(&self, pool: &Name) -> Option<Strayed> {
        let zones = self.zones.as_ref()?;
        let said = zones.said.as_ref().filter(|said| said.alarm)?;
        let (place, shares) = worst(said)?;
        let zone = zones.name(place);
        Some(strayed(
            said,
            "zone",
            |shown| {
                format!(
                    "{zone} of pool `{pool}` gets {shown} of the traffic, intended {}",
                    percent(shares)
                )
            },
            place,
        ))
    }

    /// The first worker whose picks stray or go by an epoch that is over.
    pub(crate) fn workers(&self, pool: &Pool) -> Option<Strayed> {
        let stale = self.stale.iter();
        let mut stale = stale.filter(|(_, s)| s.seconds >= STALE_SECONDS && s.picks >= ENOUGH);
        if let Some((id, stale)) = stale.next() {
            return Some(Strayed {
                title: format!(
                    "worker {} picks for pool `{}` by a table that is no longer in force",
                    id.0, pool.name
                ),
                detail: format!("{} picks in {} s", stale.picks, stale.seconds),
                onset: None,
            });
        }
        let (id, said) = self.workers.said().find(|(_, said)| said.alarm)?;
        let (index, expected) = worst(said)?;
        let name = &pool.backends.get(index)?.name;
        Some(strayed(
            said,
            "worker",
            |shown| {
                format!(
                    "worker {} gives {name} of pool `{}` {shown} of its picks, its configuration {}",
                    id.0,
                    pool.name,
                    percent(expected)
                )
            },
            index,
        ))
    }
}

impl Zones {
    /// `None` where zones say nothing that backends do not: fewer than two, or as many as backends.
    fn new(pool: &Pool, intended: &[f64], now: Mono) -> Option<Self> {
        let mut names: Vec<Option<Name>> = Vec::new();
        let place = |backend: &evenkeel_model::config::Backend| {
            let found = names.iter().position(|name| *name == backend.zone);
            found.unwrap_or_else(|| {
                names.push(backend.zone.clone());
                names.len() - 1
            })
        };
        let places: Vec<usize> = pool.backends.iter().map(place).collect();
        if names.len() < 2 || names.len() == places.len() {
            return None;
        }
        let mut theta = vec![0.0; names.len()];
        for (place, share) in places.iter().zip(intended) {
            if let Some(sum) = theta.get_mut(*place) {
                *sum += share;
            }
        }
        let budget = budget(pool, PART_ZONES);
        Some(Self {
            test: ShareTest::new(&theta, pool.tolerance.as_f64(), budget, now).ok()?,
            names,
            places,
            said: None,
        })
    }

    fn tick(&mut self, free: &[u64], now: Mono) {
        let mut sums = vec![0; self.names.len()];
        for (place, picks) in self.places.iter().zip(free) {
            if let Some(sum) = sums.get_mut(*place) {
                *sum += picks;
            }
        }
        self.said = Some(self.test.tick(&sums, now));
    }

    fn name(&self, place: usize) -> String {
        match self.names.get(place).and_then(Option::as_ref) {
            Some(name) => format!("zone {name}"),
            None => "what is in no zone".to_owned(),
        }
    }
}

impl Workers {
    /// Tests for all workers that are known: each has as much of the budget as any other.
    fn begin(&mut self) {
        let size = self.tests.len();
        let tested = size > 1 && size.saturating_mul(self.theta.len()) <= CELLS_MAX;
        let each = self.budget.and_then(|all| all.part(1.0 / size as f64).ok());
        for test in self.tests.values_mut() {
            let new = each.filter(|_| tested).and_then(|budget| {
                ShareTest::new(&self.theta, FIDELITY_TOLERANCE, budget, self.since).ok()
            });
            *test = new.map(|test| (test, None));
        }
    }

    fn tick(&mut self, by_worker: &BTreeMap<WorkerId, Vec<u64>>, now: Mono) {
        if by_worker.keys().any(|id| !self.tests.contains_key(id)) {
            self.tests.extend(by_worker.keys().map(|id| (*id, None)));
            self.since = now;
            self.begin();
            return;
        }
        for (id, picks) in by_worker {
            if let Some(Some((test, said))) = self.tests.get_mut(id) {
                *said = Some(test.tick(picks, now));
            }
        }
    }

    fn said(&self) -> impl Iterator<Item = (WorkerId, &ShareEvidence)> {
        let tests = self.tests.iter();
        tests.filter_map(|(id, test)| Some((*id, test.as_ref()?.1.as_ref()?)))
    }
}

/// The verdict on the part at `index`, when it is named.
fn outside(said: &ShareEvidence, index: usize) -> Option<(Verdict, String)> {
    let part = said.backends.get(index).filter(|_| said.alarm)?;
    let verdict = match part.verdict {
        share::Verdict::Over => Verdict::Over,
        share::Verdict::Under => Verdict::Under,
        share::Verdict::Ok | share::Verdict::Unknown => return None,
    };
    Some((verdict, part.reason.to_string()))
}

/// The part to tell people of, who gets too much before who gets too little, and the share it should have.
fn worst(said: &ShareEvidence) -> Option<(usize, f64)> {
    let parts = said.backends.iter().enumerate();
    let named = parts.filter_map(|(index, part)| match part.reason {
        share::Reason::Outside {
            expected, log_e, ..
        } => Some((index, part.verdict == share::Verdict::Over, log_e, expected)),
        _ => None,
    });
    let worst = named.max_by(|a, b| a.1.cmp(&b.1).then(a.2.total_cmp(&b.2)))?;
    Some((worst.0, worst.3))
}

fn strayed(
    said: &ShareEvidence,
    what: &str,
    title: impl Fn(&str) -> String,
    index: usize,
) -> Strayed {
    let part = said.backends.get(index);
    let shown = part.map_or(0.0, |part| {
        part.share
            .unwrap_or(part.picks as f64 / said.picks.max(1) as f64)
    });
    Strayed {
        title: title(&percent(shown)),
        detail: format!(
            "{what} test: {:.1} nats at a threshold of {:.1} over {} picks",
            said.log_e, said.log_threshold, said.picks
        ),
        onset: said.onset,
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use evenkeel_model::clock::Mono;
    use evenkeel_model::config::Pool;
    use evenkeel_model::ids::WorkerId;
    use evenkeel_model::parse::parse;

    use super::{CELLS_MAX, Spread};
    use crate::view::Verdict;

    /// `size` backends, every other one in zone b.
    fn pool(size: usize) -> Pool {
        let backend = |i: usize| {
            let zone = if i.is_multiple_of(2) { "a" } else { "b" };
            format!(
                "[pool.shop.backend.web-{i}]\naddress = \"127.0.0.1:{}\"\nzone = \"{zone}\"\n",
                8000 + i
            )
        };
        let backends: String = (0..size).map(backend).collect();
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\n\
             pool = \"shop\"\n[pool.shop]\n{backends}"
        );
        let parsed = parse(&text, None);
        let config = parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.findings));
        config.pools[0].clone()
    }

    fn spread(pool: &Pool) -> Spread {
        let even = vec![1.0 / pool.backends.len() as f64; pool.backends.len()];
        Spread::new(pool, Some(&even), &even, &Spread::default(), Mono::ZERO)
    }

    #[test]
    fn a_zone_whose_backends_all_get_more_is_named_with_its_sum() {
        let pool = pool(20);
        let mut spread = spread(&pool);
        for t in 1..=60 {
            // 7 and 3 in place of 5.
            let free: Vec<u64> = (0..20).map(|i| if i % 2 == 0 { 7 } else { 3 }).collect();
            spread.tick(&free, &BTreeMap::new(), Mono::from_secs(t));
        }
        let said = spread.zones(&pool.name).unwrap();
        assert_eq!(
            said.title,
            "zone a of pool `shop` gets 70 % of the traffic, intended 50 %"
        );
        let (verdict, why) = spread.verdict(1).unwrap();
        assert_eq!(verdict, Verdict::Under);
        assert!(
            why.starts_with("zone b gets 30.0%, should get 50.0%"),
            "{why}"
        );
    }

    #[test]
    fn zones_that_say_no_more_than_backends_are_not_tested() {
        let mut spread = spread(&pool(2));
        for t in 1..=60 {
            spread.tick(&[90, 10], &BTreeMap::new(), Mono::from_secs(t));
        }
        assert_eq!(spread.verdict(0), None);
    }

    #[test]
    fn a_sole_worker_is_the_pool_and_too_many_cells_are_not_kept() {
        let one = |id: u16, picks: Vec<u64>| (WorkerId(id), picks);
        for (size, workers, judged) in [
            (4, 1u16, false),
            (4, 2, true),
            (CELLS_MAX / 2 + 1, 2, false),
        ] {
            let pool = pool(size);
            let mut spread = spread(&pool);
            let mut picks = vec![0; size];
            picks[0] = 100;
            for t in 1..=60 {
                let by_worker = (0..workers).map(|id| one(id, picks.clone())).collect();
                spread.tick(&picks, &by_worker, Mono::from_secs(t));
            }
            assert_eq!(
                spread.workers(&pool).is_some(),
                judged,
                "{size} x {workers}"
            );
        }
    }
}
