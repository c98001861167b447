//! Whom a hash gives everything to when its key is the same for every request.
//!
//! nginx hashes with CRC-32 and nothing else, so the backend can be named: `hash KEY` takes the upper half of it modulo
//! the sum of all weights and hashes again where that server is out; `hash KEY consistent` takes the next point of the
//! ring. HAProxy lets the file choose the function and Envoy hashes what a set-up does not hold: there one backend gets
//! everything too, and which one is not known. Limits: nginx gives up after 21 attempts and goes on in turn, and takes an
//! empty key for none; both are not known here.

use evenkeel_model::setup::{Backend, HashTable, Pool, Role};

use super::digest::crc32_update;
use super::ring;
use crate::estimate::Budget;

/// Attempts of nginx before it goes on in turn.
const NGINX_TRIES: u32 = 21;

/// The index of the one of `members` that gets every request; `None`: not known.
pub(super) fn winner(
    table: HashTable,
    value: &str,
    pool: &Pool,
    members: &[&Backend],
    budget: &mut Budget,
) -> Option<usize> {
    if value.is_empty() {
        return None;
    }
    match table {
        HashTable::NginxModulo => nginx_modulo(value, pool, members),
        HashTable::NginxRing => {
            let hash = !crc32_update(!0, value.as_bytes());
            ring::owner(hash, members, budget)
        }
        HashTable::HaproxyMap
        | HashTable::HaproxyRing
        | HashTable::EnvoyRing { .. }
        | HashTable::EnvoyMaglev { .. }
        // A key of Evenkeel is a value of the request, never one that the file holds.
        | HashTable::EvenkeelRing
        | HashTable::EvenkeelMaglev
        | HashTable::EvenkeelRendezvous => None,
    }
}

/// Servers that are down keep their part of the sum, and who falls on one is hashed again.
fn nginx_modulo(value: &str, pool: &Pool, members: &[&Backend]) -> Option<usize> {
    let peers = pool.backends.iter().filter(|b| b.role != Role::Backup);
    let total: u64 = peers.clone().map(|b| u64::from(b.weight)).sum();
    let mut sum = 0u64;
    for rehash in 0..NGINX_TRIES {
        let mut crc = !0;
        if rehash > 0 {
            crc = crc32_update(crc, rehash.to_string().as_bytes());
        }
        let crc = !crc32_update(crc, value.as_bytes());
        sum += u64::from((crc >> 16) & 0x7fff);
        let mut place = sum.checked_rem(total)?;
        let peer = peers.clone().find(|peer| {
            let weight = u64::from(peer.weight);
            let is_it = place < weight;
            place = place.saturating_sub(weight);
            is_it
        })?;
        let found = members.iter().position(|member| member.name == peer.name);
        if found.is_some() {
            return found;
        }
    }
    None
}
