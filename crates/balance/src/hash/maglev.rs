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
use std::collections::BinaryHeap;

use super::Seat;
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
    taken: u64,
}

/// Owner by slot; `size` is a prime.
pub(super) fn slots(seats: &[Seat<'_>], size: u64) -> Vec<u32> {
    let mut rows = rows(seats, size);
    if rows.is_empty() {
        return Vec::new();
    }
    let mut slots = vec![FREE; size as usize];
    let mut turns: BinaryHeap<Reverse<(u64, usize)>> = rows
        .iter()
        .enumerate()
        .filter_map(|(place, row)| turn(row, place))
        .collect();
    while let Some(Reverse((_, place))) = turns.pop() {
        let Some(row) = rows.get_mut(place) else {
            continue;
        };
        // There is a free slot: the quotas add up to the size, and a permutation passes every slot.
        for _ in 0..size {
            let at = row.next;
            row.next = (row.next + row.step) % size;
            if let Some(slot) = slots.get_mut(at as usize).filter(|slot| **slot == FREE) {
                *slot = row.owner;
                break;
            }
        }
        row.taken += 1;
        turns.extend(turn(row, place));
    }
    slots
}

/// When a row takes its next slot, as a part of the whole filling; `None`: it has all of its slots.
fn turn(row: &Row, place: usize) -> Option<Reverse<(u64, usize)>> {
    let at = (2 * row.taken + 1) as f64 / (2 * row.quota) as f64;
    // The bits of positive floats are in order.
    (row.taken < row.quota).then(|| Reverse((at.to_bits(), place)))
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
            taken: 0,
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
