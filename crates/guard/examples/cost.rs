//! What one step costs: `cargo run --release -p evenkeel-guard --example cost`. Prints microseconds per event kind
//! for pools of several sizes; the bound is 1 ms at 1,000 backends.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_guard::{
    Action, Boot, EpochFact, Event, Guard, MemberFact, PoolVitals, Restorable, Settings,
};
use evenkeel_model::canonical::content_hash;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::Config;
use evenkeel_model::ids::{Epoch, Name, RevisionId, WorkerId};
use evenkeel_model::parse::parse;
use evenkeel_model::record::{RevisionRecord, RevisionState};
use evenkeel_model::rng::Rng;
use evenkeel_model::sketch::{ClientSketch, Frequent};
use evenkeel_model::tally::{BackendTally, EpochTally, PoolTally, Tally, Vitals};

/// Seconds that are simulated per size.
const SECONDS: u64 = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "backends  alarm  tally mean/max us  tick mean/max us  view us"
    )?;
    for size in [3usize, 100, 1_000] {
        for alarm in [false, true] {
            let line = measure(size, alarm).ok_or("the configuration did not parse")?;
            writeln!(out, "{size:>8}  {alarm:<5}  {line}")?;
        }
    }
    Ok(())
}

fn config(size: usize) -> Option<Config> {
    let mut text = "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"shop\"\n[pool.shop]\nalgorithm = \"random\"\n".to_owned();
    for i in 0..size {
        let (high, low) = (i / 250, i % 250 + 1);
        text = format!(
            "{text}[pool.shop.backend.b{i}]\naddress = \"10.0.{high}.{low}:80\"\ncapacity_rps = 600\n"
        );
    }
    parse(&text, None).config
}

fn boot(config: &Arc<Config>) -> Option<(Guard, Name)> {
    let pool = config.pools.first()?;
    let members = pool.backends.iter().map(|b| MemberFact {
        name: b.name.clone(),
        weight: b.weight,
        eligible: true,
        drained: false,
        why: String::new(),
    });
    let record = RevisionRecord {
        id: RevisionId(1),
        parent: None,
        hash: content_hash(config),
        text: Arc::from(""),
        author: String::new(),
        reason: String::new(),
        state: RevisionState::Verified,
        at: Wall(0),
        forced: false,
        confirm_by: None,
        keep_until: None,
        incident: None,
    };
    let boot = Boot {
        workers: 1,
        running: Restorable {
            record,
            config: Arc::clone(config),
        },
        targets: Vec::new(),
        revisions: Vec::new(),
        next_revision: 2,
        next_incident: 1,
        next_deployment: 1,
        incidents: Vec::new(),
        quarantine: Vec::new(),
        deployments: Vec::new(),
        rollouts: Vec::new(),
        drains: Vec::new(),
        rollbacks: Vec::new(),
        epochs: vec![EpochFact {
            pool: pool.name.clone(),
            epoch: Epoch(1),
            revision: RevisionId(1),
            members: members.collect(),
            is_passing: false,
        }],
        journal_ok: true,
        last_audit: None,
    };
    let mut guard = Guard::new(Settings::default());
    guard.step(Event::Booted(Box::new(boot)), Mono::ZERO, Wall(0));
    Some((guard, pool.name.clone()))
}

fn measure(size: usize, alarm: bool) -> Option<String> {
    let config = Arc::new(config(size)?);
    let (mut guard, pool) = boot(&config)?;
    let mut rng = Rng::new(1);
    let mut backends = vec![BackendTally::default(); size];
    let (mut tally_us, mut tick_us) = (Vec::new(), Vec::new());
    for second in 1..=SECONDS {
        let now = Mono::from_secs(second);
        let wall = Wall(second * 1_000);
        for (index, backend) in backends.iter_mut().enumerate() {
            let hot = alarm && index == 0 && second > SECONDS / 2;
            let picks = 20 + rng.below(20) + if hot { 2_000 } else { 0 };
            backend.picks_free += picks;
            backend.outcomes.ok += picks;
            for _ in 0..20 {
                backend.latency.record(1_000 + rng.below(100_000));
            }
        }
        let tally = Tally {
            worker: WorkerId(0),
            at: now,
            pools: vec![PoolTally {
                pool: pool.clone(),
                epochs: vec![EpochTally {
                    epoch: Epoch(1),
                    backends: backends.clone(),
                }],
                clients: ClientSketch::default(),
                frequent: Frequent::default(),
                keys: Frequent::default(),
                unpicked: 0,
                waits: evenkeel_model::tally::Waits::default(),
            }],
            routes: Vec::new(),
        };
        let vitals = vec![PoolVitals {
            pool: pool.clone(),
            backends: vec![Vitals::default(); size],
        }];
        tally_us.push(timed(&mut guard, Event::Tally(tally), now, wall));
        timed(&mut guard, Event::Vitals(vitals), now, wall);
        tick_us.push(timed(&mut guard, Event::Tick, now, wall));
    }
    let start = clock();
    let view = guard.view(Mono::from_secs(SECONDS), Wall(SECONDS * 1_000));
    let view_us = clock().saturating_sub(start).as_micros();
    let open = view.is_some_and(|v| v.incident.is_some());
    Some(format!(
        "{:>10} {:>8}  {:>9} {:>7}  {view_us:>7}  incident {open}",
        mean(&tally_us),
        tally_us.iter().max()?,
        mean(&tick_us),
        tick_us.iter().max()?,
    ))
}

fn mean(values: &[u128]) -> u128 {
    values.iter().sum::<u128>() / values.len().max(1) as u128
}

fn timed(guard: &mut Guard, event: Event, now: Mono, wall: Wall) -> u128 {
    let start = clock();
    let actions = guard.step(event, now, wall);
    let took = clock().saturating_sub(start).as_micros();
    for action in actions {
        if let Action::Commit { token, .. } = action {
            let result = Ok(());
            guard.step(Event::Committed { token, result }, now, wall);
        }
    }
    took
}

/// Time of this process. The library has no clock; measuring it needs one.
#[expect(
    clippy::disallowed_methods,
    reason = "an example that measures time reads the clock; the library never does"
)]
fn clock() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
