//! Zones: how much of an instance's requests its own zone takes, and where the rest goes.
//!
//! Requests stay in the zone that they come in at as far as the backends there can carry them beside those of the other
//! zones. A zone that has 20 % of what can serve and 25 % of what comes in keeps four fifths of it; the rest goes to the
//! zones that have more than they need, in proportion to what they have over. Every instance reckons so from the same
//! facts, so each zone gets exactly its part of what can serve, whoever is out, without the instances telling each other
//! anything (the property test runs them all). Nothing switches: a backend that falls out moves its part and no more.
//!
//! Below `min_healthy` backends in a zone the preference for it ends in proportion, too: of `h` out of `m` needed, `h / m`
//! of what comes in prefers the zone and the rest is spread like that of a zone without backends.
//!
//! Limits: it knows weights and health, not load. Origins that are not said are taken to be alike; where they are not,
//! the zone with more than its part of the instances' traffic is overloaded by as much, hence `origin`.

use std::collections::BTreeMap;

use evenkeel_model::config::Locality;

/// Parts below this are nothing: an error of rounding.
const SLIVER: f64 = 1e-9;

/// One zone of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zone {
    /// How much comes in there, relative to the others.
    pub origin: f64,
    /// Weight that can serve.
    pub able: f64,
    /// Backends that can serve; less than whole ones while they start slowly.
    pub healthy: f64,
}

/// The part (0..=1) of the requests of an instance in zone `local` that each zone takes. They sum to 1, or are all 0 when
/// nobody can serve.
///
/// With `c` the zone's part of what can serve and `p` its part of what comes in, every zone keeps `min(f p, c)`, where
/// `f` is 1 unless fewer than `min_healthy` serve there. What is left of the traffic, of this zone and of all others,
/// goes to what is left of the backends.
pub fn parts(zones: &[Zone], local: usize, min_healthy: u32) -> Vec<f64> {
    let able: f64 = zones.iter().map(|zone| zone.able).sum();
    if able <= 0.0 {
        return vec![0.0; zones.len()];
    }
    let origins: f64 = zones.iter().map(|zone| zone.origin).sum();
    let serves = |zone: &Zone| zone.able / able;
    let comes = |zone: &Zone| {
        if origins > 0.0 {
            zone.origin / origins
        } else {
            0.0
        }
    };
    let prefers = |zone: &Zone| (zone.healthy / f64::from(min_healthy.max(1))).clamp(0.0, 1.0);
    let keeps = |zone: &Zone| (prefers(zone) * comes(zone)).min(serves(zone));
    let kept = zones.get(local).map_or(0.0, |zone| {
        if comes(zone) > 0.0 {
            keeps(zone) / comes(zone)
        } else if zone.able > 0.0 {
            // Said to bring nothing, so whatever it brings takes nobody's place.
            prefers(zone)
        } else {
            0.0
        }
    });
    let spare = |zone: &Zone| (serves(zone) - keeps(zone)).max(0.0);
    let spares: f64 = zones.iter().map(spare).sum();
    let share = |(index, zone): (usize, &Zone)| {
        let rest = if spares > SLIVER {
            spare(zone) / spares
        } else {
            serves(zone)
        };
        let own = if index == local { kept } else { 0.0 };
        own + (1.0 - kept) * rest
    };
    let parts = zones.iter().enumerate().map(share);
    let mut parts: Vec<f64> = parts.map(|p| if p > SLIVER { p } else { 0.0 }).collect();
    let sum: f64 = parts.iter().sum();
    for part in &mut parts {
        *part /= sum;
    }
    parts
}

/// A backend as zones see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot<'a> {
    /// Where it stands.
    pub zone: Option<&'a str>,
    /// Its weight when it can serve, else 0.
    pub able: f64,
    /// Whether it can serve, 0 to 1: less than 1 while it starts slowly.
    pub healthy: f64,
}

/// What the zones of a pool are to an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Origins<'a> {
    local: &'a str,
    by_zone: BTreeMap<&'a str, f64>,
}

impl<'a> Origins<'a> {
    /// How much comes in where. `homes`: the zones of the backends that take traffic on a usual day, up or down: where
    /// there are backends there are taken to be instances, unless an origin says otherwise.
    pub fn new(locality: &'a Locality, homes: impl IntoIterator<Item = &'a str>) -> Self {
        let local = locality.zone.as_str();
        let said: BTreeMap<&str, f64> = locality
            .origins
            .iter()
            .map(|(zone, origin)| (zone.as_str(), origin.as_f64()))
            .collect();
        let mut by_zone: BTreeMap<&str, f64> = homes.into_iter().map(|zone| (zone, 0.0)).collect();
        by_zone.insert(local, 0.0);
        by_zone.retain(|zone, _| !said.contains_key(zone));
        let left = (1.0 - said.values().sum::<f64>()).max(0.0);
        let alike = left / by_zone.len().max(1) as f64;
        for origin in by_zone.values_mut() {
            *origin = alike;
        }
        by_zone.extend(said);
        Self { local, by_zone }
    }

    /// The part (0..=1) of this instance's requests that each zone takes when the backends stand like this: [`parts`].
    /// Backends in no zone are a zone that nothing comes in at.
    pub fn split(
        &self,
        spots: impl IntoIterator<Item = Spot<'a>>,
        min_healthy: u32,
    ) -> BTreeMap<Option<&'a str>, f64> {
        let zone = |origin: f64| Zone {
            origin,
            able: 0.0,
            healthy: 0.0,
        };
        let known = self.by_zone.iter();
        let mut zones: BTreeMap<Option<&str>, Zone> = known
            .map(|(name, origin)| (Some(*name), zone(*origin)))
            .collect();
        for spot in spots {
            let place = zones.entry(spot.zone).or_insert(zone(0.0));
            place.able += spot.able;
            place.healthy += spot.healthy;
        }
        let local = zones.keys().position(|name| *name == Some(self.local));
        let list: Vec<Zone> = zones.values().copied().collect();
        let parts = parts(&list, local.unwrap_or(usize::MAX), min_healthy);
        zones.into_keys().zip(parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Origins, Spot, Zone, parts};
    use evenkeel_model::config::Locality;
    use evenkeel_model::ids::Name;
    use evenkeel_model::units::Ratio;
    use proptest::prelude::*;

    fn zone(origin: f64, healthy: u32) -> Zone {
        Zone {
            origin,
            able: f64::from(healthy),
            healthy: f64::from(healthy),
        }
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn a_zone_that_can_carry_its_own_takes_all_of_it_and_a_smaller_one_its_part() {
        let even = [zone(1.0, 4), zone(1.0, 4), zone(1.0, 4)];
        assert!(close(&parts(&even, 1, 1), &[0.0, 1.0, 0.0]));
        // 4/4/3: the small zone has 3/11 for a third, the two others have 1/33 over each.
        let small = [zone(1.0, 4), zone(1.0, 4), zone(1.0, 3)];
        let spill = 1.0 - 9.0 / 11.0;
        let expected = [spill / 2.0, spill / 2.0, 9.0 / 11.0];
        assert!(close(&parts(&small, 2, 1), &expected));
        assert!(close(&parts(&small, 0, 1), &[1.0, 0.0, 0.0]));
        // An instance where there are no backends.
        let away = [zone(1.0, 2), zone(1.0, 2), zone(1.0, 0)];
        assert!(close(&parts(&away, 2, 1), &[0.5, 0.5, 0.0]));
        assert_eq!(parts(&[zone(1.0, 0), zone(1.0, 0)], 0, 1), [0.0, 0.0]);
    }

    #[test]
    fn below_min_healthy_the_preference_ends_in_proportion() {
        let zones = |home: u32| [zone(1.0, home), zone(1.0, 8)];
        // Four of four needed: the preference is whole, and they keep a third of all, two thirds of what comes in.
        assert!((parts(&zones(4), 0, 4)[0] - 2.0 / 3.0).abs() < 1e-9);
        let without: Vec<f64> = (0..=4).map(|home| parts(&zones(home), 0, 1)[0]).collect();
        let with: Vec<f64> = (0..=4).map(|home| parts(&zones(home), 0, 16)[0]).collect();
        assert!(with.iter().zip(&without).all(|(a, b)| a <= b));
        // By weight alone it would be a ninth.
        assert!(with[1] > 1.0 / 9.0 && with[1] < without[1], "{with:?}");
    }

    /// Zones with what comes in, weight and count of those that can serve.
    fn zones() -> impl Strategy<Value = Vec<Zone>> {
        let zone = (0u32..20, 0u32..12, 1u32..9).prop_map(|(origin, healthy, weight)| Zone {
            origin: f64::from(origin),
            able: f64::from(healthy * weight),
            healthy: f64::from(healthy),
        });
        prop::collection::vec(zone, 1..7)
    }

    proptest! {
        #[test]
        fn parts_sum_to_one_and_nobody_who_cannot_serve_takes_any(
            zones in zones(), local: prop::sample::Index, min_healthy in 1u32..9,
        ) {
            let parts = parts(&zones, local.index(zones.len()), min_healthy);
            let able: f64 = zones.iter().map(|zone| zone.able).sum();
            let sum: f64 = parts.iter().sum();
            prop_assert!((sum - if able > 0.0 { 1.0 } else { 0.0 }).abs() < 1e-9, "{parts:?}");
            for (part, zone) in parts.iter().zip(&zones) {
                prop_assert!(*part >= 0.0 && (*part <= 0.0 || zone.able > 0.0));
            }
        }

        #[test]
        fn when_every_instance_reckons_so_each_zone_gets_its_part_of_what_can_serve(
            zones in zones(), min_healthy in 1u32..9,
        ) {
            let able: f64 = zones.iter().map(|zone| zone.able).sum();
            let origins: f64 = zones.iter().map(|zone| zone.origin).sum();
            prop_assume!(able > 0.0 && origins > 0.0);
            let mut loads = vec![0.0; zones.len()];
            for (local, zone) in zones.iter().enumerate() {
                for (load, part) in loads.iter_mut().zip(parts(&zones, local, min_healthy)) {
                    *load += zone.origin / origins * part;
                }
            }
            for (load, zone) in loads.iter().zip(&zones) {
                prop_assert!((load - zone.able / able).abs() < 1e-6, "{loads:?} {zones:?}");
            }
        }

        #[test]
        fn a_backend_more_at_home_never_takes_less_home_and_moves_no_cliff(
            zones in zones(), local: prop::sample::Index, min_healthy in 1u32..9,
        ) {
            let local = local.index(zones.len());
            let able: f64 = zones.iter().map(|zone| zone.able).sum();
            prop_assume!(able > 0.0);
            let weight = 1.0;
            let mut more = zones.clone();
            more[local].able += weight;
            more[local].healthy += weight;
            let before = parts(&zones, local, min_healthy)[local];
            let after = parts(&more, local, min_healthy)[local];
            prop_assert!(after >= before - 1e-9, "{before} {after}");
            // In small steps the way there has no jump: what moves is in proportion to what came.
            let origins: f64 = zones.iter().map(|zone| zone.origin).sum();
            let comes = if origins > 0.0 { zones[local].origin / origins } else { 0.0 };
            prop_assume!(comes > 0.0);
            let mut last = before;
            for step in 1..=100u32 {
                let mut way = zones.clone();
                way[local].able += weight * f64::from(step) / 100.0;
                way[local].healthy += weight * f64::from(step) / 100.0;
                let now = parts(&way, local, min_healthy)[local];
                let most = 0.01 * weight / able / comes + 0.01 + 1e-9;
                prop_assert!((now - last).abs() <= 3.0 * most, "{last} {now}");
                last = now;
            }
        }

        #[test]
        fn a_zone_that_is_lost_falls_to_the_others(zones in zones(), local: prop::sample::Index) {
            let local = local.index(zones.len());
            let mut lost = zones;
            (lost[local].able, lost[local].healthy) = (0.0, 0.0);
            prop_assume!(lost.iter().any(|zone| zone.able > 0.0));
            let parts = parts(&lost, local, 1);
            prop_assert!(parts[local] <= 0.0 && (parts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn origins_that_are_not_said_are_alike_and_backends_in_no_zone_belong_to_nobody() {
        let name = |text: &str| Name::new(text).unwrap();
        let locality = Locality {
            zone: name("a"),
            origins: vec![(name("b"), Ratio::from_percent(60))],
        };
        let spot = |zone| Spot {
            zone,
            able: 1.0,
            healthy: 1.0,
        };
        let origins = Origins::new(&locality, ["a", "b", "c"]);
        let split = origins.split([Some("a"), Some("b"), Some("c"), None].map(spot), 1);
        // A fifth comes in at a, which has a quarter; so has c, and b is short.
        assert_eq!(split.get(&Some("a")), Some(&1.0));
        assert_eq!(split.len(), 4);
        let locality = Locality {
            zone: name("b"),
            ..locality
        };
        let origins = Origins::new(&locality, ["a", "b", "c"]);
        let split = origins.split([Some("a"), Some("b"), Some("c"), None].map(spot), 1);
        let part = |zone| split.get(&zone).copied().unwrap_or(0.0);
        // b keeps 25 of its 60, the 35 left go to what is left: 5, 5 and the 25 of nobody.
        assert!((part(Some("b")) - 25.0 / 60.0).abs() < 1e-9);
        assert!((part(None) / part(Some("a")) - 5.0).abs() < 1e-9);
    }
}
