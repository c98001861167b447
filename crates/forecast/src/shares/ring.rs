//! Hash tables as the balancers build them: which part of the hashes falls on each backend.
//!
//! HAProxy (`hash-type consistent`): 16 points per unit of weight at the avalanche of `id x 4096 + n`; a request goes to
//! the nearer of the two points around it. nginx (`hash KEY consistent`): 160 points per unit of weight, a chain of
//! CRC-32 over host, zero byte, port; to the next point. Envoy `RING_HASH`: points at a hash of `address_n`, as many
//! as its smallest and largest ring allow; to the next point. Envoy `MAGLEV`: each backend in turn takes its next free
//! place. The parts are exact for hashes that spread evenly.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_balance::hash::{KeyTable, Seat};
use evenkeel_model::config::Algorithm;
use evenkeel_model::setup::{Backend, HashTable};

use crate::estimate::Budget;

use super::digest::{avalanche, crc32_update, murmur2, xxh64};

/// HAProxy's points per unit of weight, and the room that each server's points have in the numbering.
const HAPROXY_POINTS: u64 = 16;
const HAPROXY_ROOM: u32 = 4_096;
/// nginx's points per unit of weight.
const NGINX_POINTS: u64 = 160;

/// Points of a ring that are walked for the price of one that is built.
const WALK: u64 = 4;
/// Envoy's largest Maglev table.
const MAGLEV_MAX: u64 = 5_000_011;

/// A ring of points on 32 bits that was built before: where a backend's points lie does not depend on the others, so one
/// ring answers for every choice of its backends.
#[derive(Debug)]
pub(crate) struct Ring {
    table: HashTable,
    /// Identity and weight of every backend on it.
    owners: Vec<(String, u32)>,
    /// Place on the ring in the upper half, owner in the lower; ascending.
    points: Vec<u64>,
}

impl Ring {
    /// Nothing built yet.
    pub(crate) const fn none() -> Self {
        Self {
            table: HashTable::HaproxyMap,
            owners: Vec::new(),
            points: Vec::new(),
        }
    }

    /// Whether it answers for all of `members`.
    fn holds(&self, table: HashTable, members: &[&Backend]) -> bool {
        let mut owners = self.owners.iter();
        self.table == table
            && members
                .iter()
                .all(|b| owners.any(|(id, weight)| *id == b.identity && *weight == b.weight))
    }

    fn build(table: HashTable, members: &[&Backend]) -> Self {
        let mut points = match table {
            HashTable::HaproxyRing => haproxy_points(members),
            _ => nginx_points(members),
        };
        points.sort_unstable();
        Self {
            table,
            owners: members
                .iter()
                .map(|b| (b.identity.clone(), b.weight))
                .collect(),
            points,
        }
    }

    /// The points of `members` with their indices there. Both are in file order, so one walk finds the owners.
    fn of(&self, members: &[&Backend]) -> Vec<(u64, u32)> {
        let mut index_of = vec![u32::MAX; self.owners.len()];
        let mut places = index_of.iter_mut().zip(&self.owners);
        for (index, backend) in (0u32..).zip(members) {
            let found = places
                .find(|(_, (id, weight))| *id == backend.identity && *weight == backend.weight);
            if let Some((place, _)) = found {
                *place = index;
            }
        }
        let owner = |point: &u64| {
            index_of
                .get((*point & u64::from(u32::MAX)) as usize)
                .copied()
        };
        let points = self
            .points
            .iter()
            .map(|point| (point >> 32, owner(point).unwrap_or(u32::MAX)));
        points.filter(|(_, index)| *index != u32::MAX).collect()
    }
}

/// What building `table` costs, in points of a small ring; 0 for what needs no table.
fn cost(table: HashTable, members: &[&Backend]) -> u64 {
    match table {
        HashTable::EnvoyRing { .. } | HashTable::EvenkeelRendezvous => {
            points(table, members).saturating_mul(4)
        }
        HashTable::EnvoyMaglev { .. } | HashTable::EvenkeelMaglev => {
            points(table, members).saturating_mul(2)
        }
        _ => points(table, members),
    }
}

/// Points (or places) of `table`; 0 for what needs no table.
pub(super) fn points(table: HashTable, members: &[&Backend]) -> u64 {
    let weight: u64 = members.iter().map(|b| u64::from(b.weight)).sum();
    match table {
        HashTable::HaproxyMap | HashTable::NginxModulo => 0,
        HashTable::HaproxyRing => weight * HAPROXY_POINTS,
        HashTable::NginxRing => weight * NGINX_POINTS,
        HashTable::EnvoyRing { min, max, .. } => envoy_scale(members, min, max).ceil() as u64,
        HashTable::EnvoyMaglev { size } => size.max(members.len() as u64),
        HashTable::EvenkeelRing | HashTable::EvenkeelMaglev | HashTable::EvenkeelRendezvous => {
            KeyTable::places_of(members.len())
        }
    }
}

/// The part (0..1) of all hashes that falls on each member; `None`: there is no table, weights decide, or the budget
/// does not reach for it.
pub(super) fn parts(
    table: HashTable,
    members: &[&Backend],
    budget: &mut Budget,
) -> Option<Vec<f64>> {
    match table {
        // Evenkeel's own are built by `own`, which knows who is not among the members.
        HashTable::HaproxyMap
        | HashTable::NginxModulo
        | HashTable::EvenkeelRing
        | HashTable::EvenkeelMaglev
        | HashTable::EvenkeelRendezvous => None,
        HashTable::HaproxyRing | HashTable::NginxRing => {
            if !budget.ring.holds(table, members) {
                if !budget.take_points(cost(table, members)) {
                    return None;
                }
                budget.ring = Ring::build(table, members);
            } else if !budget.take_points(budget.ring.points.len() as u64 / WALK) {
                return None;
            }
            let points = budget.ring.of(members);
            Some(if table == HashTable::HaproxyRing {
                nearest(points, members.len())
            } else {
                nginx_parts(points, members)
            })
        }
        HashTable::EnvoyRing { min, max, murmur } => {
            if !budget.take_points(cost(table, members)) {
                return None;
            }
            let points = envoy_points(members, min, max, murmur);
            Some(following(points, members.len(), u64::MAX))
        }
        HashTable::EnvoyMaglev { size } => {
            if !budget.take_points(cost(table, members)) {
                return None;
            }
            Some(maglev(members, size))
        }
    }
}

/// The same for Evenkeel's own tables, by the code that runs: `members` take traffic, `all` are those of the pool.
pub(super) fn own(
    table: HashTable,
    all: &[Backend],
    members: &[&Backend],
    budget: &mut Budget,
) -> Option<Vec<f64>> {
    let algorithm = match table {
        HashTable::EvenkeelRing => Algorithm::RingHash,
        HashTable::EvenkeelMaglev => Algorithm::Maglev,
        HashTable::EvenkeelRendezvous => Algorithm::Rendezvous,
        _ => return None,
    };
    if !budget.take_points(cost(table, members)) {
        return None;
    }
    let within: BTreeSet<&str> = members.iter().map(|b| b.name.as_str()).collect();
    let seats: Vec<Seat<'_>> = all
        .iter()
        .map(|b| Seat {
            name: &b.name,
            weight: b.weight,
            full: b.weight,
            eligible: within.contains(b.name.as_str()),
        })
        .collect();
    let parts = KeyTable::new(algorithm, &seats)?.parts();
    let of = all
        .iter()
        .zip(parts)
        .filter(|(b, _)| within.contains(b.name.as_str()));
    Some(of.map(|(_, part)| part).collect())
}

/// Whose the point of nginx's ring is that takes `hash`; `None`: servers share a name and take turns, or the budget does
/// not reach for the ring.
pub(super) fn owner(hash: u32, members: &[&Backend], budget: &mut Budget) -> Option<usize> {
    let table = HashTable::NginxRing;
    let names: BTreeSet<&str> = members.iter().map(|b| b.identity.as_str()).collect();
    if names.len() < members.len() || !budget.take_points(cost(table, members)) {
        return None;
    }
    let mut points = nginx_points(members);
    points.sort_unstable();
    let next = points.partition_point(|point| point >> 32 < u64::from(hash));
    let point = points.get(next).or(points.first())?;
    usize::try_from(point & u64::from(u32::MAX)).ok()
}

/// A place on the ring and whose it is.
type Point = (u64, u32);

fn haproxy_points(members: &[&Backend]) -> Vec<u64> {
    let mut points = Vec::new();
    for (member, backend) in (0u32..).zip(members) {
        // The numeric id; a name that is none cannot be placed and gets the id of its place in the file.
        let id = backend.identity.parse().unwrap_or(member + 1);
        let count = u64::from(backend.weight) * HAPROXY_POINTS;
        for node in 0..count.min(u64::from(HAPROXY_ROOM)) as u32 {
            let key = avalanche(u32::wrapping_mul(id, HAPROXY_ROOM).wrapping_add(node));
            points.push(u64::from(key) << 32 | u64::from(member));
        }
    }
    points
}

fn nginx_points(members: &[&Backend]) -> Vec<u64> {
    let mut points = Vec::new();
    for (member, backend) in (0u32..).zip(members) {
        let (host, port) = host_and_port(&backend.identity);
        let base = crc32_update(!0, host.as_bytes());
        let base = crc32_update(crc32_update(base, &[0]), port.as_bytes());
        let mut previous = 0u32;
        for _ in 0..u64::from(backend.weight) * NGINX_POINTS {
            previous = !crc32_update(base, &previous.to_le_bytes());
            points.push(u64::from(previous) << 32 | u64::from(member));
        }
    }
    points
}

/// nginx keeps one of points that fall together, and spreads the hashes of servers with the same name by weight.
fn nginx_parts(mut points: Vec<Point>, members: &[&Backend]) -> Vec<f64> {
    points.dedup_by_key(|point| point.0);
    let parts = following(points, members.len(), u64::from(u32::MAX));
    let mut by_name: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (backend, part) in members.iter().zip(&parts) {
        let sums = by_name.entry(&backend.identity).or_default();
        *sums = (sums.0 + part, sums.1 + f64::from(backend.weight));
    }
    if by_name.len() == members.len() {
        return parts;
    }
    let share = |backend: &&Backend| {
        let (part, weight) = by_name
            .get(backend.identity.as_str())
            .copied()
            .unwrap_or_default();
        part * f64::from(backend.weight) / weight.max(1.0)
    };
    members.iter().map(share).collect()
}

/// The host and the port of nginx's server as written; the port may be empty.
fn host_and_port(server: &str) -> (&str, &str) {
    let is_socket = server
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("unix:"));
    if is_socket {
        return (server.get(5..).unwrap_or_default(), "");
    }
    match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (server, ""),
    }
}

/// Envoy's points per unit of normalised weight: so many that the lightest gets a whole number of points.
fn envoy_scale(members: &[&Backend], min: u64, max: u64) -> f64 {
    let total: f64 = members.iter().map(|b| f64::from(b.weight)).sum();
    let lightest = members.iter().map(|b| b.weight).min().unwrap_or(1).max(1);
    let lightest = f64::from(lightest) / total.max(1.0);
    ((lightest * min as f64).ceil() / lightest).min(max as f64)
}

fn envoy_points(members: &[&Backend], min: u64, max: u64, murmur: bool) -> Vec<Point> {
    let total: f64 = members.iter().map(|b| f64::from(b.weight)).sum();
    let scale = envoy_scale(members, min, max);
    let mut points = Vec::new();
    let mut target = 0.0;
    for (member, backend) in (0u32..).zip(members) {
        target += scale * f64::from(backend.weight) / total.max(1.0);
        let mut number = 0u64;
        let mut text = format!("{}_", backend.identity);
        let stem = text.len();
        while (points.len() as f64) < target {
            text.truncate(stem);
            push_digits(&mut text, number);
            let hash = if murmur {
                murmur2(text.as_bytes())
            } else {
                xxh64(text.as_bytes(), 0)
            };
            points.push((hash, member));
            number += 1;
        }
    }
    points.sort_unstable();
    points
}

/// Appends a number in decimal.
fn push_digits(text: &mut String, number: u64) {
    if number >= 10 {
        push_digits(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Each point takes the hashes after the point before it, up to and including its own.
fn following(points: Vec<Point>, members: usize, last: u64) -> Vec<f64> {
    let mut parts = vec![0.0; members];
    let round = last as f64 + 1.0;
    let mut before = points.last().map_or(0.0, |(at, _)| *at as f64 - round);
    for (at, member) in points {
        if let Some(part) = parts.get_mut(member as usize) {
            *part += (at as f64 - before) / round;
        }
        before = at as f64;
    }
    parts
}

/// Each point takes the hashes that it is nearest to, on a ring of 32 bits.
fn nearest(points: Vec<Point>, members: usize) -> Vec<f64> {
    let mut parts = vec![0.0; members];
    let round = f64::from(u32::MAX) + 1.0;
    let Some((last, owner)) = points.last().copied() else {
        return parts;
    };
    let mut before = (last as f64 - round, owner);
    for (at, member) in points {
        let half = (at as f64 - before.0) / 2.0 / round;
        for owner in [before.1, member] {
            if let Some(part) = parts.get_mut(owner as usize) {
                *part += half;
            }
        }
        before = (at as f64, member);
    }
    parts
}

/// Envoy's Maglev: by turns in order of address, each takes the next free place of its own permutation; one of a
/// smaller weight sits out turns.
fn maglev(members: &[&Backend], size: u64) -> Vec<f64> {
    let size = size.clamp(2, MAGLEV_MAX);
    let total: f64 = members.iter().map(|b| f64::from(b.weight)).sum();
    let normalised = |b: &Backend| f64::from(b.weight) / total.max(1.0);
    let heaviest = members.iter().map(|b| normalised(b)).fold(0.0, f64::max);
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| members.get(*index).map(|b| b.identity.as_str()));
    let mut rows: Vec<Row> = order
        .iter()
        .filter_map(|index| members.get(*index).map(|backend| (*index, backend)))
        .map(|(member, backend)| Row {
            member,
            offset: xxh64(backend.identity.as_bytes(), 0) % size,
            skip: xxh64(backend.identity.as_bytes(), 1) % (size - 1) + 1,
            weight: normalised(backend),
            target: 0.0,
            count: 0,
        })
        .collect();
    let mut taken = vec![false; usize::try_from(size).unwrap_or(usize::MAX)];
    let mut left = size;
    let mut turn = 0.0;
    while left > 0 && heaviest > 0.0 {
        turn += 1.0;
        for row in &mut rows {
            if left == 0 {
                break;
            }
            if turn * row.weight < row.target {
                continue;
            }
            row.target += heaviest;
            row.take(&mut taken, size);
            left -= 1;
        }
    }
    let mut parts = vec![0.0; members.len()];
    for row in rows {
        if let Some(part) = parts.get_mut(row.member) {
            *part = row.count as f64 / size as f64;
        }
    }
    parts
}

/// A backend while a Maglev table is filled.
struct Row {
    member: usize,
    /// The place that it looks at next.
    offset: u64,
    skip: u64,
    weight: f64,
    target: f64,
    count: u64,
}

impl Row {
    /// Takes its next free place. There is one: the size is a prime, so a permutation passes every place.
    fn take(&mut self, taken: &mut [bool], size: u64) {
        for _ in 0..size {
            let place = self.offset;
            self.offset = (self.offset + self.skip) % size;
            if let Some(free) = taken.get_mut(place as usize).filter(|taken| !**taken) {
                *free = true;
                self.count += 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::setup::{Backend, HashTable};

    use super::parts;
    use crate::estimate::Budget;

    /// Requests with 40,000 distinct keys over four backends of weight 1, 3, 1, 2 through HAProxy 2.6.12, nginx 1.22.1
    /// and Envoy 1.40; the standard error of a share is about 0.0025.
    const MEASURED: &[(HashTable, [f64; 4])] = &[
        (HashTable::HaproxyRing, [0.1586, 0.4065, 0.1505, 0.2846]),
        (HashTable::NginxRing, [0.1415, 0.4320, 0.1473, 0.2793]),
        (
            HashTable::EnvoyMaglev { size: 65_537 },
            [0.1458, 0.4254, 0.1435, 0.2854],
        ),
        (ring(1_024, false), [0.1587, 0.4071, 0.1570, 0.2772]),
        (ring(64, false), [0.1939, 0.3734, 0.1571, 0.2756]),
        (ring(64, true), [0.2154, 0.3945, 0.1702, 0.2200]),
    ];

    const fn ring(min: u64, murmur: bool) -> HashTable {
        HashTable::EnvoyRing {
            min,
            max: 8_388_608,
            murmur,
        }
    }

    fn backends(table: HashTable) -> Vec<Backend> {
        let weights = [1, 3, 1, 2];
        let backend = |(index, weight): (usize, u32)| {
            let address = format!("127.0.0.1:{}", 19_101 + index);
            let identity = match table {
                HashTable::HaproxyRing => (index + 1).to_string(),
                _ => address.clone(),
            };
            Backend {
                weight,
                identity,
                ..Backend::blank("b", "b", &address)
            }
        };
        weights.into_iter().enumerate().map(backend).collect()
    }

    #[test]
    fn tables_give_the_shares_that_the_real_balancers_gave() {
        for (table, measured) in MEASURED {
            let backends = backends(*table);
            let members: Vec<&Backend> = backends.iter().collect();
            let parts = parts(*table, &members, &mut Budget::full()).unwrap();
            assert!((parts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for (part, measured) in parts.iter().zip(measured) {
                assert!((part - measured).abs() < 0.0085, "{table:?} {parts:?}");
            }
        }
    }

    #[test]
    fn what_is_out_leaves_the_places_of_the_others_alone() {
        for table in [HashTable::HaproxyRing, HashTable::NginxRing] {
            let backends = backends(table);
            let all: Vec<&Backend> = backends.iter().collect();
            let (mut budget, mut fresh) = (Budget::full(), Budget::full());
            let all = parts(table, &all, &mut budget).unwrap();
            let rest: Vec<&Backend> = backends.iter().skip(1).collect();
            let built = parts(table, &rest, &mut fresh).unwrap();
            let rest = parts(table, &rest, &mut budget).unwrap();
            // The ring that was built for all answers as one built for the rest.
            assert_eq!(rest, built);
            assert!(
                rest.iter()
                    .zip(all.iter().skip(1))
                    .all(|(after, before)| after >= before)
            );
        }
    }
}
