//! When the guard takes no automatic action: evidence is missing or the clocks are in doubt.
//!
//! Hold on a missing tally of any worker for three ticks, after a clock step, after a restart. Holding stops
//! automatic rollback and verification; alarms and pages go on, since saying nothing would be worse.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::ids::WorkerId;

/// A worker without a tally for longer than this holds: three ticks and half a tick of slack.
const TALLY_MISSING_AFTER: Duration = Duration::from_millis(3_500);
/// Hold after a clock step.
const STEP_HOLD: Duration = Duration::from_secs(10);
/// Hold after a restart.
const RESTART_HOLD: Duration = Duration::from_secs(10);

/// Hold after a worker came back: the window of rates.
const BACK_HOLD: Duration = Duration::from_secs(10);

/// What is known of the evidence's sources.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Hold {
    started_at: Mono,
    workers: u16,
    seen: BTreeMap<WorkerId, Mono>,
    /// Up to when each worker's counts are known.
    counted: BTreeMap<WorkerId, Mono>,
    stepped_at: Option<Mono>,
    missing_at: Option<Mono>,
}

impl Hold {
    pub(crate) const fn new(workers: u16, now: Mono) -> Self {
        Self {
            started_at: now,
            workers,
            seen: BTreeMap::new(),
            counted: BTreeMap::new(),
            stepped_at: None,
            missing_at: None,
        }
    }

    /// A worker reported what it had counted by `at`. `false`: that, or something newer, is known already, and counted
    /// again it would be evidence of what never happened.
    pub(crate) fn seen(&mut self, worker: WorkerId, at: Mono, now: Mono) -> bool {
        let known = self.counted.entry(worker).or_default();
        let is_news = at > *known;
        *known = at.max(*known);
        if is_news && worker.0 < self.workers {
            self.seen.insert(worker, now);
        }
        is_news
    }

    /// So many workers must report from now on.
    pub(crate) fn workers_changed(&mut self, workers: u16, now: Mono) {
        for id in self.workers..workers {
            self.seen.insert(WorkerId(id), now);
        }
        self.workers = workers;
        self.seen.retain(|id, _| id.0 < workers);
        self.counted.retain(|id, _| id.0 < workers);
    }

    /// The wall clock stepped.
    pub(crate) const fn stepped(&mut self, now: Mono) {
        self.stepped_at = Some(now);
    }

    /// Once a tick. A worker that comes back hands over everything at once: rates are wrong for a window.
    pub(crate) fn tick(&mut self, now: Mono) {
        if !self.missing(now).is_empty() {
            self.missing_at = Some(now);
        }
    }

    /// The workers that have not reported in time.
    pub(crate) fn missing(&self, now: Mono) -> Vec<u16> {
        (0..self.workers)
            .filter(|id| {
                self.seen
                    .get(&WorkerId(*id))
                    .is_none_or(|at| now.since(*at) > TALLY_MISSING_AFTER)
            })
            .collect()
    }

    /// Why nothing is done by itself; `None`: go on.
    pub(crate) fn reason(&self, now: Mono) -> Option<String> {
        if now.since(self.started_at) < RESTART_HOLD {
            return Some("restarted less than 10 s ago".to_owned());
        }
        if self.stepped_at.is_some_and(|at| now.since(at) < STEP_HOLD) {
            return Some("the wall clock stepped less than 10 s ago".to_owned());
        }
        let missing = self.missing(now);
        let Some(first) = missing.first() else {
            let back = self.missing_at.filter(|at| now.since(*at) < BACK_HOLD);
            return back.map(|_| "a worker was silent less than 10 s ago".to_owned());
        };
        Some(match missing.len() {
            1 => format!("worker {first} has not reported for 3 s"),
            n => format!("{n} workers have not reported for 3 s"),
        })
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::clock::Mono;
    use evenkeel_model::ids::WorkerId;

    use super::Hold;

    /// A guard of two workers that report every second until `silent_from` of worker 1.
    fn run(silent_from: u64, back_at: u64, until: u64) -> Hold {
        let mut hold = Hold::new(2, Mono::ZERO);
        for s in 1..=until {
            let now = Mono::from_secs(s);
            hold.seen(WorkerId(0), now, now);
            if s < silent_from || s >= back_at {
                hold.seen(WorkerId(1), now, now);
            }
            hold.tick(now);
        }
        hold
    }

    #[test]
    fn a_start_holds_for_ten_seconds() {
        let hold = run(100, 100, 9);
        assert!(hold.reason(Mono::from_secs(9)).is_some());
        let hold = run(100, 100, 10);
        assert_eq!(hold.reason(Mono::from_secs(10)), None);
    }

    #[test]
    fn three_missing_tallies_hold_and_so_does_the_window_after_them() {
        let hold = run(21, 100, 23);
        assert_eq!(hold.reason(Mono::from_secs(23)), None);
        let hold = run(21, 100, 24);
        assert!(hold.reason(Mono::from_secs(24)).is_some());
        let hold = run(21, 30, 38);
        assert!(hold.reason(Mono::from_secs(38)).is_some());
        let hold = run(21, 30, 39);
        assert_eq!(hold.reason(Mono::from_secs(39)), None);
    }

    #[test]
    fn what_comes_again_or_late_is_no_news_and_no_sign_of_life() {
        let mut hold = run(21, 100, 23);
        let late = Mono::from_secs(24);
        assert!(!hold.seen(WorkerId(1), Mono::from_secs(20), late));
        assert!(!hold.seen(WorkerId(1), Mono::from_secs(19), late));
        assert_eq!(hold.missing(late), [1]);
        assert!(hold.seen(WorkerId(1), Mono::from_secs(21), late));
        assert_eq!(hold.missing(late), [0u16; 0]);
    }

    #[test]
    fn a_clock_step_holds_for_ten_seconds_and_unknown_workers_do_not_count() {
        let mut hold = run(100, 100, 30);
        hold.seen(WorkerId(7), Mono::from_secs(30), Mono::from_secs(30));
        hold.stepped(Mono::from_secs(30));
        assert!(hold.reason(Mono::from_secs(32)).is_some());
        let mut hold = run(100, 100, 40);
        hold.stepped(Mono::from_secs(30));
        assert_eq!(hold.reason(Mono::from_secs(40)), None);
        hold.workers_changed(1, Mono::from_secs(40));
        assert_eq!(hold.missing(Mono::from_secs(40)), [0u16; 0]);
    }
}
