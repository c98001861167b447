//! A swap among 10,000 backends in 100 pools, counted in steps: one backend or route that a turn of the worker handles.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use evenkeel_balance::effective_members;
use evenkeel_model::ids::{Epoch, RevisionId, WorkerId};
use tokio::sync::mpsc;

use crate::gauge::Gauges;
use crate::handle::{Published, Shared};
use crate::snapshot::{PoolRuntime, Snapshot};
use crate::state::Worker;

const POOLS: usize = 100;
const BACKENDS: usize = 100;
/// Steps that one turn may take.
const STEPS_MAX: u64 = 4 * BACKENDS as u64;

/// Pools that `round` tells apart by their weights and every second one by its addresses too.
fn snapshot(round: usize, pools: usize, gauges: &Gauges) -> Snapshot {
    let mut text = "[listener.web]\naddress = \"127.0.0.1:8080\"\n".to_owned();
    for pool in 0..pools {
        let route = format!("listener = \"web\"\npath_prefix = \"/{pool}\"\npool = \"p-{pool}\"");
        write!(text, "[[route]]\n{route}\n[pool.p-{pool}]\n").unwrap();
        for backend in 0..BACKENDS {
            let net = if pool % 2 == 0 { 0 } else { round };
            let address = format!("10.{net}.{pool}.{backend}:80");
            let weight = 1 + (backend + round) % 3;
            let name = format!("pool.p-{pool}.backend.b-{backend}");
            write!(
                text,
                "[{name}]\naddress = \"{address}\"\nweight = {weight}\n"
            )
            .unwrap();
        }
    }
    let config = evenkeel_model::parse::parse(&text, None).config.unwrap();
    let facts = config.pools.iter().map(|pool| PoolRuntime {
        epoch: Epoch(round as u64),
        members: effective_members(pool, |_| true).0,
        drained: Vec::new(),
    });
    let facts = facts.collect();
    Snapshot::new(RevisionId(round as u64), Arc::new(config), facts, gauges).unwrap()
}

fn worker(snapshot: Snapshot) -> (Worker, Arc<Shared>) {
    let shared = Arc::new(Shared::of_test(
        snapshot,
        mpsc::channel(1).0,
        mpsc::channel(1).0,
    ));
    let worker = Worker::new(WorkerId(0), 1, Arc::clone(&shared), None, None);
    (worker, shared)
}

fn swap(shared: &Shared, snapshot: Snapshot) {
    shared.published.store(Arc::new(Published {
        snapshot,
        sockets: Vec::new(),
    }));
    shared.generation.fetch_add(1, Ordering::Release);
}

/// Steps that `turn` takes.
fn steps(worker: &Worker, turn: impl FnOnce()) -> u64 {
    let before = worker.steps.get();
    turn();
    worker.steps.get() - before
}

/// Catches up to the end; the turns it took, none of them above the limit.
fn catch_up(worker: &Worker) -> u64 {
    let mut turns = 0;
    while worker.is_behind() {
        let taken = steps(worker, || worker.catch_up());
        assert!(taken <= STEPS_MAX, "turn {turns} took {taken} steps");
        turns += 1;
        assert!(turns < 10 * POOLS as u64, "it never ends");
    }
    turns
}

#[test]
fn no_turn_of_a_swap_among_ten_thousand_backends_takes_more_than_four_times_a_pool() {
    let gauges = Gauges::default();
    let (worker, shared) = worker(snapshot(0, POOLS, &gauges));
    catch_up(&worker);
    for round in 1..4 {
        // A request that began before and ends long after.
        let held = worker.view();
        swap(&shared, snapshot(round, POOLS, &gauges));
        // The first request after the swap finds its own pool as it should be, the worst one last.
        let taken = steps(&worker, || {
            let view = worker.view();
            let pool = worker.pool(&view, POOLS - 1).unwrap();
            assert_eq!(pool.pool.picker.borrow().members(), pool.state.members);
            assert_eq!(pool.state.epoch, Epoch(round as u64));
        });
        assert!(taken <= STEPS_MAX, "the request took {taken} steps");
        let before = worker.steps.get();
        catch_up(&worker);
        assert!(
            worker.steps.get() - before >= (POOLS * BACKENDS) as u64,
            "something was left out"
        );
        let view = worker.view();
        for (cell, state) in view.pools.iter().zip(&view.published.snapshot.pools) {
            let pool = cell.get().unwrap();
            assert_eq!(pool.pool.picker.borrow().members(), state.members);
            assert_eq!(pool.pool.epoch.get(), state.epoch);
        }
        assert_eq!(worker.origins.borrow().len(), POOLS * BACKENDS);
        // The end of the request does not take down the whole view in its turn either.
        assert!(!worker.is_behind());
        let old = Rc::downgrade(&held);
        drop(held);
        assert!(worker.is_behind() && catch_up(&worker) >= POOLS as u64);
        assert!(old.upgrade().is_none());
    }
}

#[test]
fn pools_and_origins_that_are_gone_are_forgotten() {
    let gauges = Gauges::default();
    let (worker, shared) = worker(snapshot(0, 3, &gauges));
    catch_up(&worker);
    let origin = {
        let view = worker.view();
        Rc::clone(&worker.pool(&view, 2).unwrap().origins[0])
    };
    swap(&shared, snapshot(0, 2, &gauges));
    drop(worker.view());
    catch_up(&worker);
    assert_eq!(worker.pools.borrow().len(), 2);
    assert_eq!(worker.origins.borrow().len(), 2 * BACKENDS);
    assert!(origin.is_retired() && Rc::strong_count(&origin) == 1);
}

#[test]
fn a_swap_in_the_middle_of_catching_up_begins_anew() {
    let gauges = Gauges::default();
    let (worker, shared) = worker(snapshot(0, 4, &gauges));
    catch_up(&worker);
    for round in 1..6 {
        swap(&shared, snapshot(round, 4, &gauges));
        drop(worker.view());
        worker.catch_up();
        worker.catch_up();
    }
    catch_up(&worker);
    let view = worker.view();
    let now = Instant::now();
    worker.send_tally(now);
    assert!(
        view.pools
            .iter()
            .all(|cell| { cell.get().is_some_and(|pool| pool.state.epoch == Epoch(5)) })
    );
    assert_eq!(worker.origins.borrow().len(), 4 * BACKENDS);
}
