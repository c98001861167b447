//! Subsets: which backends of a large pool this instance uses at all.
//!
//! With many instances and many backends every instance would hold connections to every backend. Under a subset each uses
//! `size` of them. Backends are dealt like cards: a deck is all backends in an order that the deck's number decides, and
//! instance `lb-7` takes the seventh hand of `size` cards from endless decks, one after the other. So instances that are
//! numbered in a row have every backend equally often, give or take one where a hand falls into two decks. A name without
//! a number at its end gets the first hand of a deck of its own, which is even by chance only (like rendezvous hashing).
//!
//! The hand is the start of an order of all backends. Of this order the first `size` that can serve are used: who is out
//! is replaced by the next, who comes back takes its place again, and never is a pool that has `min_healthy` backends
//! left with fewer. The decks of instances differ, so what one backend leaves falls to different ones.
//!
//! Limits: every instance still checks the health of every backend. A backend that joins or leaves the pool shifts a hand
//! by as many cards as there were decks before it; see the property test.

use std::collections::BTreeMap;

use evenkeel_model::config::Subset;

use crate::digest::{nth, xxh64};

/// Seed of the decks.
const SEED: u64 = 5;
/// Digits of an instance's number that count.
const DIGITS_MAX: usize = 6;

/// The indices of `names` in the order in which `instance` wants them; its hand of `size` comes first.
pub fn order(instance: &str, size: usize, names: &[&str]) -> Vec<usize> {
    let (family, number) = numbered(instance);
    let (first, skip) = match number {
        Some(number) => {
            let card = number * size.max(1);
            let count = names.len().max(1);
            (card / count, card % count)
        }
        None => (0, 0),
    };
    let seed = xxh64(family.as_bytes(), SEED);
    let deck = |number: usize| deck(nth(seed, number as u64), names);
    let mut order = deck(first).split_off(skip);
    let mut is_taken = vec![false; names.len()];
    for index in &order {
        if let Some(taken) = is_taken.get_mut(*index) {
            *taken = true;
        }
    }
    if skip > 0 {
        let fresh = deck(first + 1).into_iter();
        order.extend(fresh.filter(|index| is_taken.get(*index) == Some(&false)));
    }
    order
}

/// A backend as subsets see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat<'a> {
    /// Its name: all that decides its place in a deck.
    pub name: &'a str,
    /// Its level of priority.
    pub level: u32,
    /// Whether it has weight. Who has none is outside of all subsets, and left alone.
    pub takes_part: bool,
    /// Whether it can serve now.
    pub can: bool,
}

/// Whether the instance of `subset` uses each of `seats`. Every level is dealt by itself.
pub fn of_levels(subset: &Subset, seats: &[Seat<'_>]) -> Vec<bool> {
    let mut used: Vec<bool> = seats.iter().map(|seat| !seat.takes_part).collect();
    let mut levels: BTreeMap<u32, Vec<(usize, Seat<'_>)>> = BTreeMap::new();
    for (index, seat) in seats.iter().enumerate().filter(|(_, seat)| seat.takes_part) {
        levels.entry(seat.level).or_default().push((index, *seat));
    }
    for level in levels.values() {
        let names: Vec<&str> = level.iter().map(|(_, seat)| seat.name).collect();
        let can = |index: usize| level.get(index).is_some_and(|(_, seat)| seat.can);
        let chosen = chosen(subset.instance.as_str(), subset.size as usize, &names, can);
        for ((index, _), is_chosen) in level.iter().zip(chosen) {
            if let Some(used) = used.get_mut(*index) {
                *used = is_chosen;
            }
        }
    }
    used
}

/// Whether `instance` uses each of `names`: the first `size` of its order that `can` serve. Who cannot is in it as far as
/// it would be the next.
pub fn chosen(
    instance: &str,
    size: usize,
    names: &[&str],
    can: impl Fn(usize) -> bool,
) -> Vec<bool> {
    let mut chosen = vec![false; names.len()];
    let mut left = size;
    for index in order(instance, size, names) {
        if left == 0 {
            break;
        }
        if let Some(is_chosen) = chosen.get_mut(index) {
            *is_chosen = true;
        }
        left -= usize::from(can(index));
    }
    chosen
}

/// The name without the number at its end, and the number.
fn numbered(instance: &str) -> (&str, Option<usize>) {
    let family = instance.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = instance.get(family.len()..).unwrap_or_default();
    let number = Some(digits)
        .filter(|digits| digits.len() <= DIGITS_MAX)
        .and_then(|digits| digits.parse().ok());
    match number {
        Some(number) => (family, Some(number)),
        None => (instance, None),
    }
}

/// All backends in the order that `seed` and their names decide.
fn deck(seed: u64, names: &[&str]) -> Vec<usize> {
    let mut cards: Vec<(u64, &str, usize)> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (xxh64(name.as_bytes(), seed), *name, index))
        .collect();
    cards.sort_unstable();
    cards.into_iter().map(|(.., index)| index).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{chosen, numbered, order};
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("web-{index}")).collect()
    }

    fn refs(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    /// Names of those that are used.
    fn used(
        instance: &str,
        size: usize,
        names: &[String],
        can: impl Fn(&str) -> bool,
    ) -> BTreeSet<String> {
        let chosen = chosen(instance, size, &refs(names), |index| can(&names[index]));
        let pairs = names.iter().zip(chosen);
        pairs
            .filter(|(name, is)| *is && can(name))
            .map(|(name, _)| name.clone())
            .collect()
    }

    #[test]
    fn the_number_at_the_end_of_a_name_is_its_turn() {
        assert_eq!(numbered("lb-7"), ("lb-", Some(7)));
        assert_eq!(numbered("edge.012"), ("edge.", Some(12)));
        assert_eq!(numbered("lb"), ("lb", None));
        assert_eq!(numbered("lb-20260101000000"), ("lb-20260101000000", None));
    }

    proptest! {
        #[test]
        fn an_order_has_every_backend_once_whatever_the_order_of_the_file(
            count in 0usize..60, size in 1usize..70, number in 0usize..100, turn in 0usize..60,
        ) {
            let names = names(count);
            let instance = format!("lb-{number}");
            let mine = order(&instance, size, &refs(&names));
            let all: BTreeSet<usize> = mine.iter().copied().collect();
            prop_assert!(all.len() == count && mine.len() == count);
            let mut turned = names.clone();
            turned.rotate_left(turn.min(count));
            let theirs = order(&instance, size, &refs(&turned));
            prop_assert!(mine.iter().zip(&theirs).all(|(a, b)| names[*a] == turned[*b]));
        }

        #[test]
        fn instances_in_a_row_have_every_backend_equally_often(
            count in 1usize..120, size in 1usize..30, instances in 1usize..60, from in 0usize..50,
        ) {
            let size = size.min(count);
            let names = names(count);
            let mut counts = vec![0u32; count];
            for number in from..from + instances {
                let chosen = chosen(&format!("lb-{number}"), size, &refs(&names), |_| true);
                prop_assert_eq!(chosen.iter().filter(|is| **is).count(), size);
                counts.iter_mut().zip(chosen).for_each(|(count, is)| *count += u32::from(is));
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            if count % size == 0 {
                // No hand falls into two decks: the first and the last deck are dealt in part.
                prop_assert!(most - least <= 2 && (from * size % count > 0 || most - least <= 1));
            } else {
                // The first and the last deck are dealt in part, and who is dealt twice in a hand makes room once.
                let decks = 1 + (instances * size / count) as u32;
                prop_assert!(most - least <= 2 + decks, "{least} {most}");
            }
        }

        #[test]
        fn who_is_out_is_replaced_by_one_and_takes_its_place_again(
            count in 2usize..80, size in 1usize..30, number in 0usize..40, out in 0usize..80,
        ) {
            let names = names(count);
            let instance = format!("lb-{number}");
            let gone = names[out % count].clone();
            let before = used(&instance, size, &names, |_| true);
            let after = used(&instance, size, &names, |name| name != gone);
            prop_assert_eq!(after.len(), size.min(count - 1));
            let lost: Vec<_> = before.difference(&after).collect();
            prop_assert!(lost.is_empty() || (lost.len() == 1 && *lost[0] == gone));
            prop_assert!(after.difference(&before).count() <= 1);
        }

        #[test]
        fn a_backend_that_leaves_the_pool_shifts_a_hand_by_the_decks_before_it(
            count in 10usize..80, size in 1usize..10, number in 0usize..30, out in 0usize..80,
        ) {
            let names = names(count);
            let instance = format!("lb-{number}");
            let mut fewer = names.clone();
            fewer.remove(out % count);
            let before = used(&instance, size, &names, |_| true);
            let after = used(&instance, size, &fewer, |_| true);
            let decks = number * size / count;
            let same_deck = decks == number * size / (count - 1) && (number + 1) * size <= (decks + 1) * (count - 1);
            if same_deck {
                prop_assert!(before.difference(&after).count() <= decks + 1);
            }
        }

        #[test]
        fn names_without_a_number_differ_and_move_one_at_most(
            count in 10usize..80, size in 1usize..10, out in 0usize..80, name in "[a-z]{1,8}",
        ) {
            let names = names(count);
            let mut fewer = names.clone();
            fewer.remove(out % count);
            let before = used(&name, size, &names, |_| true);
            let after = used(&name, size, &fewer, |_| true);
            prop_assert!(before.difference(&after).count() <= 1);
        }
    }
}
