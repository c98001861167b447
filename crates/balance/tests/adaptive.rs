//! The limit that is found out, in front of a simulated backend: a number of slots, an unbounded queue before them.
//!
//! What the limit lets through comes at random times (Poisson). What it does not is refused at once, which is the hard
//! case: with a queue in the balancer a free slot never waits for the next arrival.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use evenkeel_balance::How;
use evenkeel_balance::adaptive::{Limiter, START, Ticket};
use evenkeel_model::clock::Mono;
use evenkeel_model::rng::Rng;

/// Requests that a backend could serve while it is measured; before that it has two thirds as many to settle.
const MEASURED: f64 = 24_000.0;

/// How long a slot works on a request, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Fixed,
    Exponential,
    /// Sigma 1.
    LogNormal,
    /// 200 ms in one of ten.
    TwoKinds,
}

const ALL: [Service; 4] = [
    Service::Fixed,
    Service::Exponential,
    Service::LogNormal,
    Service::TwoKinds,
];

impl Service {
    fn mean(self) -> f64 {
        if self == Self::TwoKinds { 29.0 } else { 10.0 }
    }

    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Exponential => rng.exponential(10.0),
            Self::LogNormal => {
                let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * rng.unit()).cos();
                10.0 * (normal - 0.5).exp()
            }
            Self::TwoKinds if rng.below(10) == 0 => 200.0,
            Self::Fixed | Self::TwoKinds => 10.0,
        }
    }
}

/// Who says how many may be in flight.
enum Limit {
    Found(Box<Limiter>),
    Fixed(u32),
}

#[derive(Debug, Clone, Copy)]
struct Job {
    since: u64,
    ticket: Option<Ticket>,
}

/// What came of a stretch of time.
#[derive(Debug, Default)]
struct Seen {
    /// Part of the slots that was busy.
    busy: f64,
    refused: u64,
    took_ms: Vec<f64>,
    limits: f64,
}

impl Seen {
    fn p99(&mut self) -> f64 {
        self.took_ms.sort_by(f64::total_cmp);
        self.took_ms[self.took_ms.len() * 99 / 100]
    }

    fn limit(&self) -> f64 {
        self.limits / self.took_ms.len() as f64
    }
}

struct Station {
    slots: usize,
    service: Service,
    slower: f64,
    rng: Rng,
    now: u64,
    limit: Limit,
    jobs: Vec<Job>,
    /// When it ends, and which job.
    work: BinaryHeap<Reverse<(u64, usize)>>,
    queue: VecDeque<usize>,
}

impl Station {
    fn new(slots: usize, service: Service, limit: Limit, seed: u64) -> Self {
        Self {
            slots,
            service,
            slower: 1.0,
            rng: Rng::new(seed),
            now: 0,
            limit,
            jobs: Vec::new(),
            work: BinaryHeap::new(),
            queue: VecDeque::new(),
        }
    }

    fn finding(slots: usize, service: Service, seed: u64) -> Self {
        let limit = Limit::Found(Box::default());
        Self::new(slots, service, limit, seed)
    }

    /// Requests a second that it can serve.
    fn capacity(&self) -> f64 {
        self.slots as f64 * 1_000.0 / (self.service.mean() * self.slower)
    }

    fn arrives(&mut self) -> bool {
        let held = (self.work.len() + self.queue.len()) as u32;
        let ticket = match &mut self.limit {
            Limit::Found(limiter) if held < limiter.level() => limiter.begun(held + 1),
            Limit::Fixed(most) if held < *most => None,
            Limit::Found(_) | Limit::Fixed(_) => return false,
        };
        let since = self.now;
        self.jobs.push(Job { since, ticket });
        self.queue.push_back(self.jobs.len() - 1);
        self.work_on();
        true
    }

    fn work_on(&mut self) {
        while self.work.len() < self.slots {
            let Some(job) = self.queue.pop_front() else {
                return;
            };
            let ms = self.service.draw(&mut self.rng) * self.slower;
            let ends = self.now + (ms * 1e6) as u64;
            self.work.push(Reverse((ends, job)));
        }
    }

    /// Ends the job; the limit then.
    fn ends(&mut self, job: usize, seen: &mut Seen) {
        self.work.pop();
        self.work_on();
        let Job { since, ticket } = self.jobs[job];
        let took = Duration::from_nanos(self.now - since);
        seen.took_ms.push(took.as_secs_f64() * 1e3);
        seen.limits += match &mut self.limit {
            Limit::Found(limiter) => {
                match ticket {
                    Some(ticket) => limiter.ended(Mono(self.now), ticket, took, How::Good),
                    None => limiter.turned(Mono(self.now)),
                };
                f64::from(limiter.limit())
            }
            Limit::Fixed(most) => f64::from(*most),
        };
    }

    /// Runs so long with so many requests a second.
    fn run(&mut self, seconds: f64, rps: f64) -> Seen {
        let (began, mut seen) = (self.now, Seen::default());
        let end = began + (seconds * 1e9) as u64;
        let mut busy_ns = 0.0;
        let mut next = self.now + (self.rng.exponential(1e9 / rps)) as u64;
        loop {
            let done = self.work.peek().map(|Reverse(done)| *done);
            let at = done.map_or(next, |(at, _)| at.min(next)).min(end);
            busy_ns += (at - self.now) as f64 * self.work.len() as f64;
            self.now = at;
            match done {
                _ if at == end => break,
                Some((ends, job)) if ends == at => self.ends(job, &mut seen),
                _ => {
                    seen.refused += u64::from(!self.arrives());
                    next = at + (self.rng.exponential(1e9 / rps)) as u64;
                }
            }
        }
        seen.busy = busy_ns / (end - began) as f64 / self.slots as f64;
        seen
    }

    /// What is seen at `load` times the capacity, once it has settled.
    fn settled(&mut self, load: f64) -> Seen {
        let (rps, seconds) = (load * self.capacity(), MEASURED / self.capacity());
        self.run(seconds * 2.0 / 3.0, rps);
        self.run(seconds, rps)
    }
}

/// What a limit of twice the slots, known beforehand, makes of the same requests.
fn known(slots: usize, service: Service, load: f64) -> Seen {
    let limit = Limit::Fixed(2 * slots as u32);
    Station::new(slots, service, limit, 1).settled(load)
}

#[test]
fn under_overload_the_slots_stay_busy_and_the_wait_stays_short() {
    println!("service      slots  load  kept  known  limit  p99 ms  known");
    for service in ALL {
        for slots in [4, 16, 64] {
            for load in [0.5, 1.0, 2.0, 5.0] {
                let mut seen = Station::finding(slots, service, 1).settled(load);
                let mut known = known(slots, service, load);
                let part = |seen: &Seen| seen.busy / load.min(1.0);
                let (kept, kept_known) = (part(&seen), part(&known));
                let (p99, p99_known, limit) = (seen.p99(), known.p99(), seen.limit());
                println!(
                    "{:12} {slots:5} {load:5} {kept:5.3}  {kept_known:5.3}  {limit:5.1}  {p99:6.0}  {p99_known:5.0}",
                    format!("{service:?}")
                );
                let at = format!("{service:?} {slots} {load}: {kept:.3}, {p99:.0} ms");
                if load > 1.0 {
                    assert!(kept >= 0.95, "{at}");
                    assert!(p99 <= 1.6 * p99_known, "{at}, known {p99_known:.0} ms");
                } else {
                    assert!(kept >= 0.9 * kept_known, "{at}, known {kept_known:.3}");
                }
            }
        }
    }
}

#[test]
fn without_a_limit_the_same_overload_makes_everybody_wait() {
    let mut open = Station::new(16, Service::Exponential, Limit::Fixed(u32::MAX), 1).settled(5.0);
    let mut found = Station::finding(16, Service::Exponential, 1).settled(5.0);
    let (open, found) = (open.p99(), found.p99());
    println!("p99 at 5 times the capacity: {open:.0} ms without a limit, {found:.0} ms with it");
    assert!(open > 100.0 * found);
}

#[test]
fn thirty_seconds_after_a_backend_slows_down_or_speeds_up_its_slots_are_busy_again() {
    println!("service      slots   4x slower  limit   as before  limit");
    for service in ALL {
        for slots in [4, 16, 64] {
            let mut station = Station::finding(slots, service, 2);
            station.settled(3.0);
            // As many requests as before: 12 times of what it can do now.
            let rps = 3.0 * station.capacity();
            station.slower = 4.0;
            station.run(30.0, rps);
            let slow = station.run(60.0, rps);
            station.slower = 1.0;
            station.run(30.0, rps);
            let fast = station.run(30.0, rps);
            println!(
                "{:12} {slots:5}   {:9.3}  {:5.1}   {:9.3}  {:5.1}",
                format!("{service:?}"),
                slow.busy,
                slow.limit(),
                fast.busy,
                fast.limit()
            );
            for seen in [slow, fast] {
                assert!(seen.busy >= 0.9, "{service:?} {slots}: {:.3}", seen.busy);
                assert!(seen.limit() <= 4.0 * slots as f64 + 12.0);
            }
        }
    }
}

#[test]
fn slots_that_are_lost_cost_requests_their_place_and_slots_that_are_back_are_used() {
    for service in ALL {
        let mut station = Station::finding(64, service, 3);
        let rps = 3.0 * station.capacity();
        let whole = station.run(30.0, rps).limit();
        station.slots = 16;
        station.run(60.0, rps);
        let few = station.run(30.0, rps);
        station.slots = 64;
        station.run(30.0, rps);
        let again = station.run(30.0, rps);
        assert!(
            few.limit() <= 0.6 * whole,
            "{service:?}: {} of {whole}",
            few.limit()
        );
        assert!(few.busy >= 0.95 && again.busy >= 0.95, "{service:?}");
    }
}

#[test]
fn few_requests_are_never_refused_and_teach_nothing() {
    for service in ALL {
        let mut station = Station::finding(4, service, 4);
        let seen = station.run(3_600.0, 1.0);
        assert_eq!(seen.refused, 0, "{service:?}");
        assert!((seen.limit() - f64::from(START)).abs() < 1e-9);
    }
}

#[test]
fn a_load_that_comes_and_goes_is_served_as_if_the_limit_had_been_known() {
    for service in ALL {
        for slots in [4, 16] {
            let bursts = |mut station: Station| {
                let rps = station.capacity();
                let mut refused = 0;
                for n in 0..80 {
                    let high = station.run(0.5, 5.0 * rps);
                    let low = station.run(1.5, 0.2 * rps);
                    refused += if n < 20 {
                        0
                    } else {
                        high.refused + low.refused
                    };
                }
                refused as f64
            };
            let found = bursts(Station::finding(slots, service, 5));
            let fixed = Limit::Fixed(2 * slots as u32);
            let known = bursts(Station::new(slots, service, fixed, 5));
            println!("{service:?} {slots}: {found} refused, {known} if known");
            assert!(
                found <= 1.06 * known,
                "{service:?} {slots}: {found} of {known}"
            );
        }
    }
}
