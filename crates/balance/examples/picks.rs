//! What one pick costs: `cargo xtask bench picks` runs this for each algorithm and size, plainly and under callgrind.
//! `cargo run --release -p evenkeel-balance --example picks ROW BACKENDS PICKS ROUNDS` prints nanoseconds per pick of the
//! fastest round; without arguments the names of the rows.
//!
//! The pool has weights 1 to 3, 0 to 3 requests in flight at each backend, counted on a cache line of its own as in
//! the proxy, and answer times that were learnt before. Nobody is at a limit. Picks with a key hash 8 bytes first.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement: it reads the clock and prints"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use evenkeel_balance::{Ask, How, Load, Member, Picker, Spec, digest};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Choices};
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

/// A count as far from the next one as in the proxy.
#[repr(align(128))]
struct Gauge(u32);

struct Gauges {
    each: Vec<Gauge>,
    total: u64,
}

impl Load for Gauges {
    fn in_flight(&self, member: usize) -> u32 {
        self.each[member].0
    }

    fn total(&self, _: usize) -> u64 {
        self.total
    }
}

fn rows() -> Vec<(String, Spec)> {
    let mut rows = Vec::new();
    for algorithm in Algorithm::ALL {
        let spec = Spec::from(*algorithm);
        rows.push((algorithm.as_str().to_owned(), spec.clone()));
        if *algorithm == Algorithm::LeastRequest {
            let choices = Choices::All;
            rows.push(("least_request-all".to_owned(), Spec { choices, ..spec }));
        } else if *algorithm == Algorithm::Maglev {
            let bounded_load = Some(1.25);
            let spec = Spec {
                bounded_load,
                ..spec
            };
            rows.push(("maglev-bounded".to_owned(), spec));
        }
    }
    rows
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [row, backends, picks, rounds] = arguments.as_slice() else {
        for (name, _) in rows() {
            println!("{name}");
        }
        return;
    };
    let (_, spec) = rows().into_iter().find(|(name, _)| name == row).unwrap();
    let is_keyed = spec.algorithm.is_hash();
    let members: Vec<Member> = (0..backends.parse::<u32>().unwrap())
        .map(|i| Member {
            name: Name::new(&format!("web-{i}")).unwrap(),
            weight: 1 + i % 3,
            eligible: true,
        })
        .collect();
    let mut rng = Rng::new(1);
    let each: Vec<Gauge> = members.iter().map(|_| Gauge(rng.below(4) as u32)).collect();
    let total = each.iter().map(|gauge| u64::from(gauge.0)).sum();
    let load = Gauges { each, total };
    let mut picker = Picker::new(spec, &members, rng.fork(0));
    let mut now = Mono::ZERO;
    for round in 0..3u64 {
        for member in 0..members.len() {
            now = now.plus(Duration::from_nanos(100));
            let took = Duration::from_micros(5_000 + 1_000 * round + rng.below(2_000));
            picker.answered(member, now, took, How::Good);
        }
    }
    let picks: u64 = picks.parse().unwrap();
    let rounds: u32 = rounds.parse().unwrap();
    let mut fastest = f64::INFINITY;
    for _ in 0..rounds {
        let from = Instant::now();
        measured(&mut picker, &load, (picks, is_keyed), &mut now);
        fastest = fastest.min(from.elapsed().as_nanos() as f64 / picks as f64);
    }
    println!("{fastest:.1}");
}

/// Under this name callgrind finds what to count.
#[inline(never)]
fn measured(picker: &mut Picker, load: &Gauges, (picks, is_keyed): (u64, bool), now: &mut Mono) {
    for n in 0..picks {
        *now = now.plus(Duration::from_nanos(100));
        let ask = Ask {
            now: *now,
            key: is_keyed.then(|| digest::key(&(n ^ now.0).to_le_bytes())),
            ..Ask::default()
        };
        black_box(picker.pick(load, black_box(ask)));
    }
}
