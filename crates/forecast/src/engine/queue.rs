//! What happens next: the event heap, the deadlines of tries, and a slab with generations.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What can happen. `try_ref` names a try and the generation of its place, so that an event for a try that is gone
/// is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next request of a stream, unless its rate was changed since (`generation`).
    Arrival { stream: u32, generation: u32 },
    /// A client tries again.
    ClientRetry {
        stream: u32,
        client: u32,
        kind: u16,
        key: u32,
        attempt: u8,
    },
    /// A slot of a backend is done with a try.
    Done(Ref),
    /// A response head reaches the balancer.
    Answer(Ref, u16),
    /// A connection could not be made.
    NoConnection(Ref),
    /// Who waits first for a backend of a pool looks for one.
    Turn { pool: u32, more: bool },
    /// A request has waited for a backend as long as it may.
    WaitedLong(Ref),
}

/// A place in a [`Slab`] and its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ref {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

/// Events by time, then by the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Events {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    added: u64,
}

impl Events {
    pub(crate) fn add(&mut self, at: u64, event: Event) {
        self.added += 1;
        self.heap.push(Reverse((at, self.added, event)));
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((_, _, event))| event)
    }
}

/// Deadlines of tries, nearly always added in order (a constant timeout), which makes a queue cheaper than the heap:
/// most tries are long answered when their deadline comes.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: VecDeque<(u64, Ref)>,
}

impl Deadlines {
    pub(crate) fn add(&mut self, at: u64, try_ref: Ref) {
        if self.queue.back().is_none_or(|(last, _)| *last <= at) {
            self.queue.push_back((at, try_ref));
        } else {
            let place = self.queue.partition_point(|(other, _)| *other <= at);
            self.queue.insert(place, (at, try_ref));
        }
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.queue.front().map(|(at, _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<Ref> {
        self.queue.pop_front().map(|(_, try_ref)| try_ref)
    }
}

/// Values at reused places; a [`Ref`] to a value that is gone finds nothing.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Ref {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let entry = &mut self.places[place as usize];
        entry.1 = Some(value);
        Ref {
            place,
            generation: entry.0,
        }
    }

    pub(crate) fn get(&self, at: Ref) -> Option<&T> {
        self.places
            .get(at.place as usize)
            .filter(|(generation, _)| *generation == at.generation)
            .and_then(|(_, value)| value.as_ref())
    }

    pub(crate) fn get_mut(&mut self, at: Ref) -> Option<&mut T> {
        self.places
            .get_mut(at.place as usize)
            .filter(|(generation, _)| *generation == at.generation)
            .and_then(|(_, value)| value.as_mut())
    }

    pub(crate) fn remove(&mut self, at: Ref) -> Option<T> {
        let entry = self
            .places
            .get_mut(at.place as usize)
            .filter(|(generation, _)| *generation == at.generation)?;
        let value = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(at.place);
        Some(value)
    }

    /// References to all values, in order of place.
    pub(crate) fn refs(&self) -> Vec<Ref> {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, (_, value))| value.is_some())
            .map(|(place, (generation, _))| Ref {
                place: place as u32,
                generation: *generation,
            })
            .collect()
    }
}
