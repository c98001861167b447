//! One worker that does not do what the others do, while the pool's total looks right.

use evenkeel_guard::{Status, Verdict};
use evenkeel_model::tally::{EpochTally, Tally};

use crate::world::{World, shop};

fn epochs(tally: &mut Tally) -> impl Iterator<Item = &mut EpochTally> {
    tally.pools.iter_mut().flat_map(|pool| &mut pool.epochs)
}

/// Of what it picked, worker 0 gives web-1 half and web-2 a sixth; worker 1 does the reverse.
fn mirrored(tally: &mut Tally) {
    let first = usize::from(tally.worker.0);
    for epoch in epochs(tally) {
        let all: u64 = epoch.backends.iter().map(|b| b.picks_free).sum();
        epoch.backends[first].picks_free = all / 2;
        epoch.backends[1 - first].picks_free = all / 6;
        epoch.backends[2].picks_free = all / 3;
    }
}

/// Worker 1 counts all that it picks under the first epoch.
fn of_yesterday(tally: &mut Tally) {
    if tally.worker.0 == 1 {
        for epoch in epochs(tally).filter(|epoch| epoch.epoch.0 == 2) {
            epoch.epoch.0 = 1;
        }
    }
}

#[test]
fn workers_that_stray_in_opposite_ways_are_named_although_the_total_is_right() {
    for algorithm in ["round_robin", "random"] {
        let mut world = World::new(1, 300.0, shop([1, 1, 1], algorithm, ""));
        world.bend = Some(mirrored);
        let seen = world.run_until(60, |w| w.view().incident.is_some());
        assert!(seen.is_some(), "{algorithm}");
        let title = world.incidents()[0].title.clone();
        assert!(
            title.contains("worker 0 gives web-1 of pool `shop` "),
            "{title}"
        );
        let web1 = world.view().pools[0].backends[0].clone();
        assert_eq!(web1.verdict, Verdict::Over, "{}", web1.reason);
        assert!(
            web1.reason.starts_with("of the picks of worker 0 it gets "),
            "{}",
            web1.reason
        );
        assert!(web1.observed_share.unwrap() < 0.37, "{web1:?}");
        // No revision is to blame, and nothing that can be undone.
        assert!(world.swaps.is_empty());
    }
}

#[test]
fn a_worker_with_yesterdays_table_is_found_and_one_that_follows_is_fine_again() {
    // Whoever waited in the queue when the table changed still counts under the old one.
    let queue = "max_in_flight = 500\nqueue = { length = 10, timeout = \"20s\" }";
    for (keys, soonest) in [("", 5), (queue, 24)] {
        let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", keys));
        world.run(20);
        world.apply(shop([11, 10, 10], "round_robin", keys));
        world.bend = Some(of_yesterday);
        let seen = world.run_until(40, |w| w.view().incident.is_some());
        let soon = |seconds| (soonest..soonest + 4).contains(&seconds);
        assert!(seen.is_some_and(soon), "{keys}: {seen:?}");
        let title = world.incidents()[0].title.clone();
        assert!(
            title.contains("worker 1 picks for pool `shop` by a table"),
            "{title}"
        );
        world.bend = None;
        let calm = world.run_until(120, |w| w.view().state == Status::Ok);
        assert!(calm.is_some(), "{:#?}", world.view().state);
    }
}
