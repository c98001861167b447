//! Simulation of Figure 7 of the Prequal paper (NSDI '24) with the shipped balancers, and of one slow backend of ten.
//! `cargo run --release -p evenkeel-forecast --example figure7`, with the begin of a name for those rows alone; the
//! tables stand in docs/balancing.md.
//!
//! From the paper: 100 servers, work normal with standard deviation = mean cut off at 0, a time-out of 5 s, load in parts
//! of what the servers are promised. Derived from its numbers: 80 ms of work in the median and 6.5 cores per server;
//! servers share their cores among their requests, at most one core each. Assumed, because the paper has real
//! machines: Poisson arrivals, and neighbours that change after 10 s in the mean: seven machines of ten have 1 to 2
//! times what was promised to give, two have 0.7 to 1 of it, one 0.4 to 0.7. A probe is answered after half a
//! millisecond, with what the server holds then; reports come with the answers that are no failures.

#![expect(clippy::print_stdout, reason = "an example that prints a table")]
#![expect(clippy::indexing_slicing, reason = "indices of this file's own tables")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use evenkeel_balance::{Ask, How, Load, Member, Picker, Spec};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Choices};
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

const TIMEOUT: f64 = 5.0;
const WORK_MEDIAN: f64 = 0.08;
/// Mean of a normal with standard deviation = mean, cut off at 0, over its parameter.
const WORK_MEAN: f64 = WORK_MEDIAN * 1.0833;
const CORES: f64 = 6.5;
const WARM: f64 = 15.0;
const SECONDS: f64 = 60.0;
/// From sending a probe to its answer.
const PROBE_TAKES: f64 = 0.000_5;
/// What a server says of itself, and when.
#[derive(Clone, Copy, Default)]
struct Told {
    in_answers: bool,
    /// Probes per request.
    probes: f64,
}

/// Where the cores of a server go.
#[derive(Clone, Copy, PartialEq)]
enum Neighbours {
    /// As in the module.
    Changing,
    /// None; the first server works at a quarter of the speed of the others.
    OneSlow,
}

struct Case {
    servers: usize,
    /// Balancers that know only their own requests, and workers of each.
    instances: usize,
    workers: usize,
    /// Of what the servers are promised.
    load: f64,
    neighbours: Neighbours,
}

struct Job {
    server: usize,
    instance: usize,
    worker: usize,
    at: f64,
    is_live: bool,
}

struct Server {
    cores: f64,
    /// Speed of a core.
    speed: f64,
    /// Work done per request so far.
    done: f64,
    counted_at: f64,
    jobs: BinaryHeap<Reverse<(u64, usize)>>,
    held: usize,
    generation: u64,
}

impl Server {
    fn rate(&self) -> f64 {
        (self.cores / self.held.max(1) as f64).min(1.0) * self.speed
    }

    fn advance(&mut self, now: f64) {
        self.done += (now - self.counted_at) * self.rate();
        self.counted_at = now;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Done(usize, u64),
    Neighbours(usize),
    TimeOut(usize),
    /// Instance, worker, server.
    Probed(usize, usize, usize),
}

struct Instance {
    pickers: Vec<Picker>,
    in_flight: Vec<u32>,
}

struct Seen<'a>(&'a [u32], u32);

impl Load for Seen<'_> {
    fn in_flight(&self, member: usize) -> u32 {
        self.0[member]
    }

    fn workers(&self) -> u32 {
        self.1
    }
}

struct World<'a> {
    case: &'a Case,
    told: Told,
    now: f64,
    rng: Rng,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    servers: Vec<Server>,
    instances: Vec<Instance>,
    jobs: Vec<Job>,
    latencies: Vec<f64>,
    timed_out: u64,
    to_first: u64,
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl<'a> World<'a> {
    fn new(case: &'a Case, spec: &Spec, told: Told, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let member = |i: usize| {
            Name::new(&format!("s{i}")).ok().map(|name| Member {
                name,
                weight: 1,
                eligible: true,
            })
        };
        let members: Vec<Member> = (0..case.servers).filter_map(member).collect();
        let instances = (0..case.instances).map(|_| Instance {
            pickers: (0..case.workers)
                .map(|_| Picker::new(spec.clone(), &members, rng.fork(1)))
                .collect(),
            in_flight: vec![0; case.servers],
        });
        let instances = instances.collect();
        let servers = (0..case.servers).map(|i| Server {
            cores: CORES,
            speed: if case.neighbours == Neighbours::OneSlow && i == 0 {
                0.25
            } else {
                1.0
            },
            done: 0.0,
            counted_at: 0.0,
            jobs: BinaryHeap::new(),
            held: 0,
            generation: 0,
        });
        let mut world = Self {
            case,
            told,
            now: 0.0,
            servers: servers.collect(),
            rng,
            events: BinaryHeap::new(),
            instances,
            jobs: Vec::new(),
            latencies: Vec::new(),
            timed_out: 0,
            to_first: 0,
        };
        if case.neighbours == Neighbours::Changing {
            for server in 0..case.servers {
                world.change(server);
            }
        }
        world.add(0.0, Event::Arrival);
        world
    }

    fn add(&mut self, after: f64, event: Event) {
        self.events.push(Reverse((ns(self.now + after) + 1, event)));
    }

    fn run(&mut self) {
        while let Some(Reverse((at, event))) = self.events.pop() {
            self.now = at as f64 / 1e9;
            if self.now > WARM + SECONDS {
                break;
            }
            match event {
                Event::Arrival => self.arrive(),
                Event::Done(server, generation) => self.done(server, generation),
                Event::Neighbours(server) => self.change(server),
                Event::TimeOut(job) => self.end(job, How::Failed),
                Event::Probed(instance, worker, server) => self.report(instance, worker, server),
            }
        }
    }

    fn change(&mut self, server: usize) {
        self.servers[server].advance(self.now);
        let kind = self.rng.unit();
        let part = self.rng.unit();
        self.servers[server].cores = CORES
            * match kind {
                k if k < 0.7 => 1.0 + part,
                k if k < 0.9 => 0.7 + 0.3 * part,
                _ => 0.4 + 0.3 * part,
            };
        let stays = self.rng.exponential(10.0);
        self.add(stays, Event::Neighbours(server));
        self.schedule(server);
    }

    fn arrive(&mut self) {
        let rate = self.case.load * self.case.servers as f64 * CORES / WORK_MEAN;
        let gap = self.rng.exponential(1.0 / rate);
        self.add(gap, Event::Arrival);
        let instance = self.rng.below(self.case.instances as u64) as usize;
        let worker = self.rng.below(self.case.workers as u64) as usize;
        let mine = &mut self.instances[instance];
        let ask = Ask {
            now: Mono(ns(self.now)),
            ..Ask::default()
        };
        let load = Seen(&mine.in_flight, self.case.workers as u32);
        let Some(pick) = mine.pickers[worker].pick(&load, ask) else {
            return;
        };
        let probed = mine.pickers[worker].draw_to_probe(self.told.probes);
        mine.in_flight[pick.member] += 1;
        self.to_first += u64::from(pick.member == 0 && self.now > WARM);
        let server = &mut self.servers[pick.member];
        server.advance(self.now);
        // Box-Muller.
        let radius = (-2.0 * (1.0 - self.rng.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.rng.unit()).cos();
        let work = (WORK_MEDIAN * (1.0 + normal)).max(0.0);
        let job = self.jobs.len();
        server.jobs.push(Reverse((ns(server.done + work), job)));
        server.held += 1;
        self.jobs.push(Job {
            server: pick.member,
            instance,
            worker,
            at: self.now,
            is_live: true,
        });
        for server in probed.members() {
            self.add(PROBE_TAKES, Event::Probed(instance, worker, *server));
        }
        self.add(TIMEOUT, Event::TimeOut(job));
        self.schedule(pick.member);
    }

    fn done(&mut self, server: usize, generation: u64) {
        if self.servers[server].generation != generation {
            return;
        }
        if let Some(Reverse((_, job))) = self.servers[server].jobs.pop() {
            self.end(job, How::Good);
        }
    }

    fn end(&mut self, job: usize, how: How) {
        let (server, at) = (self.jobs[job].server, self.jobs[job].at);
        if !std::mem::replace(&mut self.jobs[job].is_live, false) {
            return;
        }
        self.servers[server].advance(self.now);
        self.servers[server].held -= 1;
        let took = (self.now - at).max(0.0);
        if at > WARM {
            self.latencies.push(took);
            self.timed_out += u64::from(how == How::Failed);
        }
        let (instance, worker) = (self.jobs[job].instance, self.jobs[job].worker);
        let mine = &mut self.instances[instance];
        mine.in_flight[server] -= 1;
        let now = Mono(ns(self.now));
        mine.pickers[worker].answered(server, now, Duration::from_secs_f64(took), how);
        if self.told.in_answers && how == How::Good {
            self.report(instance, worker, server);
        }
        self.schedule(server);
    }

    fn report(&mut self, instance: usize, worker: usize, server: usize) {
        let held = u32::try_from(self.servers[server].held).unwrap_or(u32::MAX);
        let mine = &mut self.instances[instance];
        let (picker, own) = (&mut mine.pickers[worker], mine.in_flight[server]);
        picker.reported(server, Mono(ns(self.now)), held, own);
    }

    fn schedule(&mut self, index: usize) {
        let server = &mut self.servers[index];
        server.generation += 1;
        while let Some(Reverse((_, job))) = server.jobs.peek() {
            if self.jobs[*job].is_live {
                break;
            }
            server.jobs.pop();
        }
        let Some(Reverse((at, _))) = server.jobs.peek() else {
            return;
        };
        let left = (*at as f64 / 1e9 - server.done).max(0.0) / server.rate();
        let event = Event::Done(index, server.generation);
        self.add(left, event);
    }
}

fn quantile(sorted: &[f64], q: f64) -> String {
    let place = ((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1));
    match sorted.get(place) {
        Some(took) if *took < TIMEOUT - 1e-6 => format!("{:.0}", took * 1e3),
        Some(_) => "TO".to_owned(),
        None => "-".to_owned(),
    }
}

fn table(title: &str, case: &Case) {
    println!(
        "\n{title}\n| algorithm | p50 | p90 | p99 | p99.9 | timed out | to the first |\n|---|---|---|---|---|---|---|"
    );
    let plain = Algorithm::ALL
        .iter()
        .filter(|a| !a.is_hash())
        .map(|a| (a.as_str().to_owned(), Spec::from(*a), Told::default()));
    let more = [
        ("least_request, 3", Choices::Drawn(3)),
        ("least_request, all", Choices::All),
    ];
    let more = more.map(|(name, choices)| {
        let spec = Spec {
            choices,
            ..Spec::from(Algorithm::LeastRequest)
        };
        (name.to_owned(), spec, Told::default())
    });
    let told = [
        ("prequal, reports", true, 0.0),
        ("prequal, 1 probe", false, 1.0),
        ("prequal, 3 probes", false, 3.0),
        ("prequal, reports, 1 probe", true, 1.0),
        ("prequal, reports, 3 probes", true, 3.0),
    ];
    let told = told.map(|(name, in_answers, probes)| {
        let told = Told { in_answers, probes };
        (name.to_owned(), Algorithm::Prequal.into(), told)
    });
    let only = std::env::args().nth(1);
    for (name, spec, told) in plain.chain(more).chain(told) {
        if only.as_ref().is_some_and(|only| !name.starts_with(only)) {
            continue;
        }
        let mut world = World::new(case, &spec, told, 7);
        world.run();
        let all = world.latencies.len().max(1) as f64;
        world.latencies.sort_by(f64::total_cmp);
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| quantile(&world.latencies, q));
        println!(
            "| {name} | {p50} | {p90} | {p99} | {p999} | {:.2} % | {:.2} % |",
            world.timed_out as f64 / all * 100.0,
            world.to_first as f64 / all * 100.0
        );
    }
}

fn main() {
    for load in [0.7, 0.9] {
        let one = Case {
            servers: 100,
            instances: 1,
            workers: 8,
            load,
            neighbours: Neighbours::Changing,
        };
        table(&format!("One balancer of 8 workers, load {load}"), &one);
        let many = Case {
            instances: 100,
            workers: 1,
            ..one
        };
        table(&format!("100 balancers of one worker, load {load}"), &many);
    }
    let slow = Case {
        servers: 10,
        instances: 1,
        workers: 2,
        load: 0.8 * 9.25 / 10.0,
        neighbours: Neighbours::OneSlow,
    };
    table(
        "One of ten at a quarter of the speed, load 0.8 of what is left",
        &slow,
    );
}
