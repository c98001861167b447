//! The table of Maglev, with weights.
//!
//! Each backend has a permutation of the slots, made from two hashes of its name, and takes its next free slot when it
//! is its turn. The turns are interleaved evenly in proportion to weight, and each backend takes exactly its part of the
//! slots, to one. (Turns by name break ties, so the order in the file does not matter.)
//!
//! When somebody leaves or comes, every other backend's turns shift, so besides the keys that have to move about one in
//! a hundred of the others moves too: that is the price of the exact parts. Backends with less than one slot's weight
//! may get none.

use std::cmp::Reverse;

use super::{Bits, Seat};
use crate::digest::{below, xxh64};

/// Seeds of the first slot and of the step.
const SEEDS: (u64, u64) = (2, 3);
/// A slot without an owner.
const FREE: u32 = u32::MAX;

struct Row {
    owner: u32,
    next: u64,
    step: u64,
    quota: u64,
}

impl Row {
    /// The next slot of its permutation.
    fn advance(&mut self, size: u64) -> u64 {
        let at = self.next;
        self.next += self.step;
        if self.next >= size {
            self.next -= size;
        }
        at
    }
}

/// Owner by slot; `size` is a prime.
pub(super) fn slots(seats: &[Seat<'_>], size: u64) -> Vec<u32> {
    let mut rows = rows(seats, size);
    if rows.is_empty() {
        return Vec::new();
    }
    let mut slots = vec![FREE; size as usize];
    let mut taken = Bits::new(size);
    for (_, place) in turns(&rows, size) {
        let Some(row) = rows.get_mut(place as usize) else {
            continue;
        };
        // There is a free slot: the quotas add up to the size, and a permutation passes every slot.
        let passed = (0..size).map(|_| row.advance(size));
        let mut free = passed.skip_while(|at| taken.has(*at));
        if let Some(at) = free.next() {
            taken.set(at);
            if let Some(slot) = slots.get_mut(at as usize) {
                *slot = row.owner;
            }
        }
    }
    slots
}

/// When each row takes a slot, as a part of the whole filling, with its place: in order. Turns are spread evenly over the
/// filling, so they are put where they belong to within a few, and sorted there.
fn turns(rows: &[Row], size: u64) -> Vec<(f64, u32)> {
    let bucket = |at: f64| ((at * size as f64) as usize).min(size as usize - 1);
    let all = || {
        let of_row = |(place, row): (u32, &Row)| {
            let all = 2.0 * row.quota as f64;
            (0..row.quota).map(move |n| ((2 * n + 1) as f64 / all, place))
        };
        (0u32..).zip(rows).flat_map(of_row)
    };
    let mut ends = vec![0u32; size as usize];
    for (at, _) in all() {
        if let Some(count) = ends.get_mut(bucket(at)) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for end in &mut ends {
        // Where the bucket begins; each turn put in moves it on.
        let count = std::mem::replace(end, sum);
        sum += count;
    }
    let mut turns = vec![(0.0, 0u32); sum as usize];
    for turn in all() {
        if let Some(end) = ends.get_mut(bucket(turn.0)) {
            if let Some(place) = turns.get_mut(*end as usize) {
                *place = turn;
            }
            *end += 1;
        }
    }
    let mut from = 0;
    for end in ends {
        if let Some(bucket) = turns.get_mut(from..end as usize) {
            bucket.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        from = end as usize;
    }
    turns
}

/// Who takes traffic, by name, with the slots that each is to take: its part by weight, the rest of the divisions by
/// largest remainder.
fn rows(seats: &[Seat<'_>], size: u64) -> Vec<Row> {
    let weight = |seat: &Seat<'_>| u128::from(seat.effective_weight());
    let total: u128 = seats.iter().map(weight).sum();
    let mut order: Vec<(u32, &Seat<'_>)> = (0u32..)
        .zip(seats)
        .filter(|(_, seat)| weight(seat) > 0)
        .collect();
    order.sort_by_key(|(_, seat)| seat.name);
    let part = |seat: &Seat<'_>| weight(seat) * u128::from(size);
    let mut rows: Vec<Row> = order
        .iter()
        .map(|(owner, seat)| Row {
            owner: *owner,
            next: below(xxh64(seat.name.as_bytes(), SEEDS.0), size),
            step: below(xxh64(seat.name.as_bytes(), SEEDS.1), size - 1) + 1,
            quota: (part(seat) / total) as u64,
        })
        .collect();
    let given: u64 = rows.iter().map(|row| row.quota).sum();
    let mut rests: Vec<(Reverse<u128>, usize)> = order
        .iter()
        .enumerate()
        .map(|(place, (_, seat))| (Reverse(part(seat) % total), place))
        .collect();
    rests.sort_unstable();
    for (_, place) in rests.iter().take(size.saturating_sub(given) as usize) {
        if let Some(row) = rows.get_mut(*place) {
            row.quota += 1;
        }
    }
    rows
}
