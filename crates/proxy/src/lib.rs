//! The data plane: listeners, workers, upstream pools, timers, tallies.
