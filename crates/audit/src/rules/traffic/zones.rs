//! TRF-10: whether each zone gets what it can carry.

use std::collections::BTreeMap;

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool, Role};

use super::EPSILON;
use super::spread::is_off;
use crate::rule::{Limit, Rule, Subject, Words, percent};

/// How far the share of a zone may be from its part of the capacity.
const DEVIATION: Limit = Limit {
    default: 0.1,
    unit: "relative deviation of a zone's share from its part of the capacity, 0.1 is 10 %",
};

/// TRF-10.
pub(super) const ZONES: Rule = Rule {
    id: "TRF-10",
    title: "each zone gets the part of the traffic that it has of the capacity",
    severity: Severity::Warning,
    limit: Some(DEVIATION),
    text: "\
In a pool of two zones or more, with every active backend in a zone and with a capacity: the summed
share of a zone may differ from its part of the capacity by at most 10 %, relative to that part. That the
peak survives the loss of a zone is CAP-03.

Why: each backend can be within its tolerance while all of one zone are at the same end of it. The zone is
then the part of the pool that fails first, and all of it at once.

Not judged: no capacities, a backend without a zone, a pool that is `zone_aware` (its instances together
give each zone its part), or a pool that TRF-01 speaks about already.

Example: zones a and b with three backends of 600 rps each; weights 23 in a and 20 in b give zone a
53.5 % instead of 50 %: 7 %, within the limit. With 27 it is 57.4 %, 15 % too much.",
    check: check_zones,
};

fn check_zones(subject: &Subject<'_>) -> Vec<Finding> {
    let judged = subject
        .pools()
        .filter(|(pool, forecast)| !is_off(subject, pool, forecast));
    judged
        .filter_map(|(pool, forecast)| check_zones_of(subject, pool, forecast))
        .collect()
}

/// Share and capacity of a zone.
#[derive(Default)]
struct Zone {
    share: f64,
    capacity: f64,
}

fn check_zones_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Option<Finding> {
    // What one instance sends is uneven by design; together they give each zone its part.
    if pool.place.locality.is_some() {
        return None;
    }
    let takes_part = |b: &Backend| b.role == Role::Active && b.weight > 0;
    let mut zones: BTreeMap<&str, Zone> = BTreeMap::new();
    for (backend, f) in pool.backends.iter().zip(&forecast.backends) {
        if !takes_part(backend) {
            continue;
        }
        let zone = zones.entry(backend.zone.as_deref()?).or_default();
        zone.share += f.expected_share?;
        zone.capacity += backend.capacity_rps?;
    }
    if zones.len() < 2 {
        return None;
    }
    let total: f64 = zones.values().map(|zone| zone.capacity).sum();
    let off = |zone: &Zone| (zone.share * total / zone.capacity - 1.0).abs();
    let (name, zone) = zones.iter().max_by(|a, b| off(a.1).total_cmp(&off(b.1)))?;
    let limit = DEVIATION.of("TRF-10", pool);
    if off(zone) <= limit + EPSILON {
        return None;
    }
    let part = zone.capacity / total;
    let words = Words {
        message: format!(
            "zone `{name}` of pool `{}` has {} of the capacity but will get {} of the requests; \
             the limit is {} off",
            pool.name,
            percent(part),
            percent(zone.share),
            percent(limit)
        ),
        effect: format!(
            "its backends carry {} {} than those of the other zones on average, all of them at once",
            percent(off(zone)),
            if zone.share > part { "more" } else { "less" }
        ),
        fix: "put the weights in the proportion of the capacities".to_owned(),
    };
    let place = (pool.path.as_str(), pool.path.as_str());
    Some(subject.finding("TRF-10", Severity::Warning, place, off(zone), words))
}
