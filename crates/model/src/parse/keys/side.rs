//! The side file: what another balancer's file cannot say about its pools.

use super::super::side::{KEYS, SHARE};
use super::file::WAIVER;
use super::pool::{
    CAPACITY, HEADROOM_KEY, INTENT, MIN_HEALTHY_KEY, N_PLUS_ONE, OBJECTIVE_KEY, PEAK_RPS,
    POOL_AUDIT_KEY, TOLERANCE_KEY, VERSION, ZONE,
};
use super::{Key, Kind, Table};

/// The whole side file.
pub static SIDE: Table = Table {
    about: "What is known about the pools of another balancer's configuration.",
    keys: &[
        Key::new(
            "pool",
            Kind::NamedFreely(&SIDE_POOL),
            "By the name that the pool has there.",
        ),
        Key::new("audit", Kind::Table(&SIDE_AUDIT), "Accepted findings."),
    ],
};

pub(in super::super) static SIDE_POOL: Table = Table {
    about: "What is known about one pool.",
    keys: &[
        INTENT,
        PEAK_RPS,
        HEADROOM_KEY,
        TOLERANCE_KEY,
        MIN_HEALTHY_KEY,
        N_PLUS_ONE,
        OBJECTIVE_KEY,
        Key::new(
            "keys",
            Kind::whole(&KEYS),
            "Distinct hash keys (clients, cookies, paths) in a minute.",
        ),
        Key::new(
            "top_key",
            Kind::ratio(&SHARE),
            "Share of the requests that the most frequent hash key has.",
        ),
        POOL_AUDIT_KEY,
        Key::new(
            "each",
            Kind::Table(&SIDE_BACKEND),
            "What holds for every backend that is not named.",
        ),
        Key::new(
            "backend",
            Kind::NamedFreely(&SIDE_BACKEND),
            "By the name that the backend has there.",
        ),
    ],
};

pub(in super::super) static SIDE_BACKEND: Table = Table {
    about: "What is known about a backend.",
    keys: &[CAPACITY, ZONE, VERSION],
};

pub(in super::super) static SIDE_AUDIT: Table = Table {
    about: "Accepted findings.",
    keys: &[Key::new(
        "waiver",
        Kind::List(&WAIVER),
        "Findings that are accepted for a while.",
    )],
};
