//! Why a backend has its share: what decides is named, also where several things do.

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_guard::Verdict;
use evenkeel_model::tally::Tally;

use crate::world::{World, shop};

#[test]
fn a_backend_at_its_limit_says_so_and_the_others_name_it() {
    says_so_under("max_in_flight = 8");
}

#[test]
fn so_it_does_at_a_limit_that_was_found_out() {
    says_so_under("adaptive = { max = 8 }");
}

fn says_so_under(limit: &str) {
    let more = format!("{limit}\nresponse_timeout = \"10s\"");
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", &more));
    world.run(12);
    let slow = Fault {
        slow_factor: 10.0,
        ..Fault::default()
    };
    world.fault("web-1", slow);
    world.run(15);
    let view = world.view();
    let backends = &view.pools[0].backends;
    let reason = |index: usize| backends[index].reason.as_str();
    assert!(reason(0).contains(" its limit, "), "{}", reason(0));
    assert!(
        reason(0).contains("of 8 requests in flight"),
        "{}",
        reason(0)
    );
    for other in [1, 2] {
        assert!(
            reason(other).contains("takes what web-1 cannot, at the limit of 8"),
            "{}",
            reason(other)
        );
    }
    assert!(backends.iter().all(|b| b.verdict == Verdict::Explained));
}

#[test]
fn a_backend_above_its_planned_limit_says_so_before_anybody_is_harmed() {
    // A third each, of 600; 80 % are planned.
    for (rate, is_said) in [(1_650.0, true), (1_200.0, false)] {
        let mut world = World::new(1, rate, shop([1, 1, 1], "round_robin", ""));
        world.run(20);
        let pool = &world.view().pools[0];
        for backend in &pool.backends {
            let says = backend.reason.contains("of its capacity, above the 80 %");
            assert_eq!(says, is_said, "{rate}: {}", backend.reason);
        }
        assert_eq!(pool.objective_met, Some(true));
    }
}

/// Another backend answers half of what the first one of a pool would have.
fn half_overtaken(tally: &mut Tally) {
    let epochs = tally.pools.iter_mut().flat_map(|pool| &mut pool.epochs);
    for first in epochs.filter_map(|epoch| epoch.backends.first_mut()) {
        let outcomes = &mut first.outcomes;
        outcomes.cancelled = outcomes.ok / 2;
        outcomes.ok -= outcomes.cancelled;
    }
}

#[test]
fn a_backend_whose_requests_others_answer_first_says_so() {
    for (hedge, is_said) in [("hedge = { after = \"50ms\" }", true), ("", false)] {
        let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", hedge));
        world.bend = Some(half_overtaken);
        world.run(20);
        let backends = &world.view().pools[0].backends;
        let says = |index: usize| {
            let reason: &str = &backends[index].reason;
            reason.contains("% of its requests were answered by another backend first")
        };
        assert_eq!(
            (says(0), says(1)),
            (is_said, false),
            "{}",
            backends[0].reason
        );
    }
}

#[test]
fn another_reason_of_one_that_is_out_takes_no_evidence_away() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.take_out(&["web-3"]);
    world.run(60);
    for second in 0..30 {
        world.retell(&format!("waits, status 50{}", second % 10));
        world.run(1);
    }
    let backends = world.view().pools[0].backends.clone();
    assert!(
        backends[2].reason.contains("status 509"),
        "{}",
        backends[2].reason
    );
    for backend in &backends[..2] {
        assert_eq!(backend.verdict, Verdict::Ok, "{}", backend.reason);
    }
}

#[test]
fn rates_go_on_over_a_change_and_what_is_refused_is_a_rate_too() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.run(20);
    world.apply(shop([11, 10, 10], "round_robin", ""));
    world.run(1);
    let pool = &world.view().pools[0];
    let rps = pool.rps.unwrap();
    assert!((270.0..=330.0).contains(&rps), "{rps}");
    assert!(pool.refused_rps <= 0.0, "{}", pool.refused_rps);
    assert!(pool.backends[0].rps.is_some() && pool.p99_ms.is_some());
    // Of 300 a second at 20 ms each six are under way; three of them find room.
    let tight = shop([1, 1, 1], "round_robin", "max_in_flight_total = 3");
    let mut world = World::new(1, 300.0, tight);
    world.run(12);
    let pool = &world.view().pools[0];
    let (rps, refused) = (pool.rps.unwrap(), pool.refused_rps);
    assert!(refused > 60.0, "{refused} refused, {rps} served");
    assert!(
        (270.0..=330.0).contains(&(rps + refused)),
        "{rps} and {refused}"
    );
}
