//! The scenarios that ship with the program.

/// A shipped scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../scenarios/", $name, ".toml")) }),+]
    };
}

/// Every shipped scenario.
pub const fn shipped() -> &'static [Shipped] {
    SHIPPED
}

const SHIPPED: &[Shipped] = shipped![
    "weight-typo",
    "algorithm-ignores-weights",
    "wrong-health-path",
    "failing-check-off",
    "limit-too-low",
    "timeout-too-short",
    "bad-version-one-of-three",
    "bad-version-everywhere",
    "slow-backend",
    "failing-backend",
    "sinkhole",
    "sinkhole-ejected",
    "hanging-backend",
    "refusing-backend",
    "shared-dependency-slow",
    "network-zone",
    "edit-outside",
    "edit-put-right",
    "surge-above-capacity",
    "surge-within-capacity",
    "planned-shift",
    "keep-alive-noise",
    "poison-client",
    "hot-key",
    "sticky-after-scale-out",
    "drain-too-many",
    "drain-forgotten",
    "planned-drain",
    "slower-backend-load-aware",
    "health-flapping",
    "one-restart",
    "retry-storm",
    "retry-storm-capped",
    "no-retry-budget",
    "stale-dns",
    "member-never-added",
    "planned-members",
    "stale-push",
    "canary-bad-version",
    "canary-good",
    "dependency-after-deployment",
    "two-fail-at-once",
    "backends-taken-out",
    "members-dropped",
    "check-too-strict",
];
