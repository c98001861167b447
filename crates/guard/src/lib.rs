//! The control loop, sans-io: events in, actions out.
