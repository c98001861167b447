//! A pool whose picks keys decide: shown, explained, verified by harm alone.

use evenkeel_guard::Verdict;
use evenkeel_model::record::RevisionState;

use crate::world::{World, shop};

const HASH: &str = "hash = { header = \"x-user\" }\nbounded_load = 1.5";

#[test]
fn a_change_to_a_hash_is_verified_without_a_free_pick_and_its_shares_are_explained() {
    for algorithm in ["ring_hash", "maglev", "rendezvous"] {
        let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
        world.run(12);
        world.apply(shop([1, 1, 1], algorithm, HASH));
        world.run(30);
        assert_eq!(world.state_of(2), RevisionState::Verified, "{algorithm}");
        assert!(world.incidents().is_empty());
        let view = world.view();
        let backends = &view.pools[0].backends;
        for backend in backends {
            let (expected, observed) = (backend.expected_share, backend.observed_share);
            assert!((expected.unwrap() - 0.333).abs() < 0.02, "{expected:?}");
            assert!((observed.unwrap() - 0.333).abs() < 0.1, "{observed:?}");
            assert_eq!(
                (backend.ci_low, backend.verdict),
                (None, Verdict::Explained)
            );
            let reason = &backend.reason;
            assert!(reason.starts_with("hash of header x-user: 3"), "{reason}");
            assert!(
                reason.contains("% of the key space, at most 1.5 times"),
                "{reason}"
            );
        }
    }
}
