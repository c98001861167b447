//! Arbitrary valid configurations for property tests.
