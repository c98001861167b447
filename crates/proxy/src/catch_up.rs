//! What a swap leaves a worker to do, in parts that are no larger than one pool: pools that no request has asked for yet,
//! origins that nobody names any more, and the views of before, whose end would else fall on whoever held one last.
//!
//! The worker's own loop calls [`Worker::catch_up`] until nothing is left, and lets requests have their turns in between.

use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::rc::Rc;

use evenkeel_model::ids::Name;

use crate::state::{PoolView, View, Worker};
use crate::upstream::Place;

/// Origins that one part looks at, at most.
const ORIGINS_AT_ONCE: usize = 64;

/// What is left.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    left: Left,
    /// Views of before that a request may still hold.
    old: VecDeque<Rc<View>>,
    /// Pools of views that nobody holds.
    passing: Vec<Rc<PoolView>>,
}

#[derive(Debug, Default)]
enum Left {
    /// Pools from this place on.
    Pools(usize),
    /// Pools and origins that are gone: the origins after this one.
    Gone(Option<Place>),
    #[default]
    Nothing,
}

impl CatchUp {
    /// Begins anew for a newer view in the place of `old`.
    pub(crate) fn begin(&mut self, old: Rc<View>) {
        self.left = Left::Pools(0);
        self.old.push_back(old);
    }

    /// Whether a part can be done now.
    fn is_behind(&self) -> bool {
        let is_free = |view: &Rc<View>| Rc::strong_count(view) == 1;
        !matches!(self.left, Left::Nothing)
            || !self.passing.is_empty()
            || self.old.iter().any(is_free)
    }
}

impl Worker {
    /// Whether there is something to catch up with.
    pub(crate) fn is_behind(&self) -> bool {
        self.catching_up.borrow().is_behind()
    }

    /// Does the next part.
    pub(crate) fn catch_up(&self) {
        let left = std::mem::take(&mut self.catching_up.borrow_mut().left);
        let left = match left {
            Left::Pools(next) => {
                let view = Rc::clone(&self.view.borrow());
                if self.pool(&view, next).is_some() {
                    Left::Pools(next + 1)
                } else {
                    self.forget_pools(&view);
                    Left::Gone(None)
                }
            }
            Left::Gone(after) => self.retire_some(after),
            Left::Nothing => {
                self.end_old();
                Left::Nothing
            }
        };
        self.catching_up.borrow_mut().left = left;
    }

    /// Drops what was counted in pools that are gone.
    fn forget_pools(&self, view: &View) {
        let states = &view.published.snapshot.pools;
        let mut pools = self.pools.borrow_mut();
        self.step(pools.len());
        if pools.len() > states.len() {
            let named: BTreeSet<&Name> = states.iter().map(|state| &state.pool.name).collect();
            pools.retain(|name, _| named.contains(name));
        }
    }

    /// Retires origins that the newest view does not name; what is left after some of them.
    fn retire_some(&self, after: Option<Place>) -> Left {
        let mut origins = self.origins.borrow_mut();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let part: Vec<_> = origins
            .range((from, Bound::Unbounded))
            .take(ORIGINS_AT_ONCE)
            .map(|(place, origin)| (place.clone(), Rc::clone(origin)))
            .collect();
        self.step(part.len());
        for (place, origin) in &part {
            if origin.generation() != self.generation.get() {
                origin.retire();
                origins.remove(place);
            }
        }
        let last = part.last().filter(|_| part.len() == ORIGINS_AT_ONCE);
        last.map_or(Left::Nothing, |(place, _)| Left::Gone(Some(place.clone())))
    }

    /// Ends one pool of the views that nobody holds any more.
    fn end_old(&self) {
        let mut catching_up = self.catching_up.borrow_mut();
        if let Some(pool) = catching_up.passing.pop() {
            self.step(pool.origins.len());
            return;
        }
        for _ in 0..catching_up.old.len() {
            let Some(view) = catching_up.old.pop_front() else {
                return;
            };
            match Rc::try_unwrap(view) {
                Ok(view) => {
                    let pools = view.pools.into_iter();
                    catching_up.passing = pools.filter_map(OnceCell::into_inner).collect();
                    return;
                }
                Err(held) => catching_up.old.push_back(held),
            }
        }
    }
}

#[cfg(test)]
mod tests;
