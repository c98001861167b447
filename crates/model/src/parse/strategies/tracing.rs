//! Strategies for `[tracing]`.

use proptest::prelude::*;

use crate::config::Tracing;
use crate::units::Ratio;

pub(super) fn tracing() -> impl Strategy<Value = Tracing> {
    let named = ("[a-z]{1,9}", "[a-zA-Z .\u{e4}\"\\-]{1,20}");
    let rest = (0u32..=1_000_000, any::<bool>());
    (named, rest).prop_map(|((host, service_name), (ppm, follow))| Tracing {
        endpoint: format!("http://{host}:4318/v1/traces"),
        service_name,
        sample: Ratio::from_ppm(ppm),
        follow,
    })
}
