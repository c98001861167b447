//! A pick for a request whose snapshot is no longer the newest.
//!
//! A picker belongs to the pool and follows the newest snapshot; a request keeps the one that it began with. A further
//! try may so come after the pool has got other members, and the picker's places are then not those of the request.
//! Members are the same by name: who is new is passed over, and who is gone is not in the picker any more.

use std::collections::BTreeMap;

use evenkeel_balance::{Ask, Load, Pick, Picker, Why};
use evenkeel_model::ids::Name;

use crate::state::PoolView;

/// Chooses a member of `pool` as the request knows it; `load` and `ask` speak of its places.
pub(crate) fn pick(pool: &PoolView, load: &impl Load, ask: Ask<'_>) -> Option<Pick> {
    let mut picker = pool.pool.picker.borrow_mut();
    if pool.pool.epoch.get() == pool.state.epoch {
        return picker.pick(load, ask);
    }
    let mine = pool.state.members.iter().enumerate();
    let mine: BTreeMap<&Name, usize> = mine.map(|(index, m)| (&m.name, index)).collect();
    let places: Vec<Option<usize>> = picker
        .members()
        .iter()
        .map(|member| mine.get(&member.name).copied())
        .collect();
    let passed_over = |place: &Option<usize>| place.is_none_or(|p| ask.tried.contains(&p));
    let tried: Vec<usize> = (0..places.len())
        .filter(|index| places.get(*index).is_none_or(passed_over))
        .collect();
    let load = Turned {
        load,
        places: &places,
    };
    let is_retry = !ask.tried.is_empty();
    let bound = ask.bound.and_then(|bound| {
        let is_bound = |place: &Option<usize>| *place == Some(bound);
        places.iter().position(is_bound)
    });
    let ask = Ask {
        tried: &tried,
        bound,
        ..ask
    };
    let pick = picker.pick(&load, ask)?;
    Some(Pick {
        member: load.place(pick.member)?,
        // Who failed this request may be gone from the picker; the pick is a further try all the same.
        why: if is_retry { Why::Retry } else { pick.why },
    })
}

/// The place that member `index` of `pool`, as a request knows it, has in the picker now.
pub(crate) fn place_now(pool: &PoolView, picker: &Picker, index: usize) -> Option<usize> {
    if pool.pool.epoch.get() == pool.state.epoch {
        return Some(index);
    }
    let name = &pool.state.members.get(index)?.name;
    picker.members().iter().position(|m| &m.name == name)
}

/// The load by the places of the picker.
struct Turned<'a, L> {
    load: &'a L,
    /// The request's place of each member of the picker.
    places: &'a [Option<usize>],
}

impl<L> Turned<'_, L> {
    fn place(&self, member: usize) -> Option<usize> {
        self.places.get(member).copied().flatten()
    }
}

impl<L: Load> Load for Turned<'_, L> {
    fn in_flight(&self, member: usize) -> u32 {
        self.place(member)
            .map_or(0, |place| self.load.in_flight(place))
    }

    fn limit(&self, member: usize) -> Option<u32> {
        self.place(member).and_then(|place| self.load.limit(place))
    }

    fn workers(&self) -> u32 {
        self.load.workers()
    }
}
