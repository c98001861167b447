//! The line of a pool against a pool of slots, with every interleaving of looking and freeing.

use super::{Back, Joined, Queue, Ticket};
use proptest::prelude::*;

/// One request in the model. A step of it is one thing that a worker does without being interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Has looked at the limits in vain and will join.
    Joins,
    Looks(Ticket),
    /// Found a backend and will leave the line.
    Found(Ticket),
    /// Found none and will go back.
    Missed(Ticket),
    Waits(Ticket),
    Holds,
    /// Has let go of its slot and will offer it.
    Frees,
    Gone,
}

struct Model {
    queue: Queue<usize>,
    free: usize,
    requests: Vec<Stage>,
    length: usize,
    order: Vec<usize>,
}

impl Model {
    fn wake(&mut self, who: impl IntoIterator<Item = usize>) {
        for index in who {
            if let Stage::Waits(ticket) = self.requests[index] {
                self.requests[index] = Stage::Looks(ticket);
            }
        }
    }

    fn arrive(&mut self) {
        let stage = if self.queue.is_empty() && self.free > 0 {
            self.free -= 1;
            Stage::Holds
        } else {
            Stage::Joins
        };
        self.requests.push(stage);
    }

    /// The next step of a request; `gives_up`: its client leaves if it is in the line, or its answer is complete.
    fn step(&mut self, index: usize, gives_up: bool) {
        let stage = self.requests[index];
        let next = match stage {
            Stage::Joins => match self.queue.join(self.length, index) {
                Joined::Called(ticket) => Stage::Looks(ticket),
                Joined::Waiting(ticket) => Stage::Waits(ticket),
                Joined::Full => Stage::Gone,
            },
            Stage::Waits(ticket) if gives_up => self.leave(ticket),
            Stage::Looks(ticket) if gives_up => self.leave(ticket),
            Stage::Looks(ticket) if self.free > 0 => {
                self.free -= 1;
                Stage::Found(ticket)
            }
            Stage::Looks(ticket) => Stage::Missed(ticket),
            Stage::Found(ticket) => {
                let woken = self.queue.leave(ticket, true);
                self.wake(woken);
                self.order.push(index);
                Stage::Holds
            }
            Stage::Missed(ticket) => match self.queue.back(ticket, index) {
                Back::Wait => Stage::Waits(ticket),
                Back::LookAgain => Stage::Looks(ticket),
            },
            Stage::Holds if gives_up => {
                self.free += 1;
                Stage::Frees
            }
            Stage::Frees => {
                let woken = self.queue.offer();
                self.wake(woken);
                Stage::Gone
            }
            other => other,
        };
        self.requests[index] = next;
    }

    fn leave(&mut self, ticket: Ticket) -> Stage {
        let woken = self.queue.leave(ticket, false);
        self.wake(woken);
        Stage::Gone
    }

    /// Lets everybody do what it does of itself.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let busy =
                |stage: &Stage| !matches!(stage, Stage::Waits(_) | Stage::Holds | Stage::Gone);
            let Some(index) = self.requests.iter().position(busy) else {
                return;
            };
            self.step(index, false);
        }
        panic!("it never settles: {:?}", self.queue);
    }

    fn waiting(&self) -> usize {
        let waits = |stage: &&Stage| matches!(stage, Stage::Waits(_));
        self.requests.iter().filter(waits).count()
    }
}

fn model(slots: usize, length: usize) -> Model {
    Model {
        queue: Queue::default(),
        free: slots,
        requests: Vec::new(),
        length,
        order: Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_slot_is_ever_free_while_somebody_waits(
        slots in 1usize..4, length in 1usize..8,
        steps in proptest::collection::vec((0usize..12, any::<bool>(), any::<bool>()), 0..120),
    ) {
        let mut model = model(slots, length);
        for (index, arrives, gives_up) in steps {
            if arrives || model.requests.is_empty() {
                model.arrive();
            } else {
                let index = index % model.requests.len();
                model.step(index, gives_up);
            }
            prop_assert!(model.queue.len() <= length);
        }
        model.settle();
        prop_assert!(model.free == 0 || model.waiting() == 0, "{:?}", model.requests);
        prop_assert_eq!(model.queue.len(), model.waiting());
        // Everybody who waits gets its turn once the slots are given back.
        while let Some(holder) = model.requests.iter().position(|s| *s == Stage::Holds) {
            model.step(holder, true);
            model.settle();
        }
        prop_assert!(model.queue.is_empty() && model.free == slots, "{:?}", model.requests);
    }

    #[test]
    fn turns_come_in_the_order_of_arrival(slots in 1usize..4, waiting in 1usize..20) {
        let mut model = model(slots, 100);
        for _ in 0..slots + waiting {
            model.arrive();
            model.settle();
        }
        for holder in 0..slots + waiting {
            model.step(holder, true);
            model.settle();
        }
        prop_assert_eq!(model.order, (slots..slots + waiting).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_queue_takes_nobody() {
    let mut queue: Queue<()> = Queue::default();
    assert!(matches!(queue.join(2, ()), Joined::Called(_)));
    assert!(matches!(queue.join(2, ()), Joined::Waiting(_)));
    assert_eq!(queue.join(2, ()), Joined::Full);
}

fn called(joined: Joined) -> Ticket {
    match joined {
        Joined::Called(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_looked_before_a_limit_became_wider_looks_again() {
    let mut queue: Queue<()> = Queue::default();
    let first = called(queue.join(9, ()));
    // It has looked in vain and not gone back yet.
    assert_eq!(queue.changed(), None);
    assert_eq!(queue.back(first, ()), Back::LookAgain);
    assert_eq!(queue.back(first, ()), Back::Wait);
}

#[test]
fn the_offer_of_one_who_leaves_goes_to_one_who_looked_before_it() {
    let mut queue: Queue<()> = Queue::default();
    let first = called(queue.join(9, ()));
    // A slot is freed while the first looks in vain, and another one before it goes back.
    assert_eq!(queue.offer(), None);
    let second = called(queue.join(9, ()));
    assert_eq!(queue.changed(), None);
    assert!(queue.leave(second, false).is_empty());
    assert_eq!(queue.back(first, ()), Back::LookAgain);
}
