//! What waits to be sent, and when the next message leaves. Knows no clock and no socket.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::span::Span;

/// Spans of one message at most.
pub(crate) const MESSAGE_MAX: usize = 512;
/// Spans that may wait; beyond it new ones are dropped, so that what is sent is whole requests in a row.
pub(crate) const WAITING_MAX: usize = 4_096;
/// How long a span waits for others before it leaves.
const GATHER: Duration = Duration::from_secs(1);
/// Waits before a message is tried again: the first, doubled each time up to the last.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts at one message.
const ATTEMPTS_MAX: u32 = 5;

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may go well later; `after`: not before, as the collector asks.
    Later { after: Option<Duration> },
    /// It will not.
    Never,
}

/// Spans on their way.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Taken for a message, and put back where it may be tried again.
    message: Vec<Span>,
    waiting: VecDeque<Span>,
    /// Attempts at the message.
    attempts: u32,
    /// When the next message leaves.
    leaves_at: Option<Instant>,
}

impl Queue {
    /// Takes spans in; returns how many had no room.
    pub(crate) fn push(&mut self, spans: Vec<Span>, now: Instant) -> u64 {
        let room = WAITING_MAX.saturating_sub(self.waiting.len() + self.message.len());
        let lost = spans.len().saturating_sub(room);
        self.waiting.extend(spans.into_iter().take(room));
        if self.leaves_at.is_none() && !self.is_empty() {
            self.leaves_at = Some(now + GATHER);
        }
        if self.message.is_empty() && self.waiting.len() >= MESSAGE_MAX {
            self.leaves_at = Some(now);
        }
        lost as u64
    }

    /// When the next message leaves; `None`: there is nothing.
    pub(crate) const fn leaves_at(&self) -> Option<Instant> {
        self.leaves_at
    }

    /// The message to send: the one that failed, or the next.
    pub(crate) fn message(&mut self) -> &[Span] {
        if self.message.is_empty() {
            let many = self.waiting.len().min(MESSAGE_MAX);
            self.message.extend(self.waiting.drain(..many));
        }
        &self.message
    }

    /// The message arrived.
    pub(crate) fn sent(&mut self, now: Instant) -> u64 {
        let sent = self.message.len();
        self.message.clear();
        self.attempts = 0;
        self.next(now);
        sent as u64
    }

    /// The message did not arrive; returns the spans that are lost with it.
    pub(crate) fn failed(&mut self, failure: &Failure, now: Instant) -> u64 {
        self.attempts += 1;
        match failure {
            Failure::Later { after } if self.attempts < ATTEMPTS_MAX => {
                let pause = RETRY_MIN * 2u32.pow(self.attempts - 1);
                let pause = after.unwrap_or(pause).min(RETRY_MAX);
                self.leaves_at = Some(now + pause);
                0
            }
            Failure::Later { .. } | Failure::Never => self.sent(now),
        }
    }

    /// Gives everything up.
    pub(crate) fn clear(&mut self) -> u64 {
        let lost = self.message.len() + self.waiting.len();
        *self = Self::default();
        lost as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.message.is_empty() && self.waiting.is_empty()
    }

    fn next(&mut self, now: Instant) {
        self.leaves_at = match self.waiting.len() {
            0 => None,
            MESSAGE_MAX.. => Some(now),
            _ => Some(now + GATHER),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::{ATTEMPTS_MAX, Failure, MESSAGE_MAX, Queue, WAITING_MAX};
    use crate::context::Context;
    use crate::span::Span;

    fn spans(many: usize) -> Vec<Span> {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let span = Span {
            context: Context::parse(context.as_bytes()).unwrap(),
            parent: None,
            state: String::new(),
            name: "GET".to_owned(),
            ended: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            is_error: false,
            attributes: Vec::new(),
        };
        vec![span; many]
    }

    const LATER: Failure = Failure::Later { after: None };

    #[test]
    fn a_span_waits_a_second_for_others_and_a_full_message_leaves_at_once() {
        let now = Instant::now();
        let mut queue = Queue::default();
        assert_eq!(queue.leaves_at(), None);
        assert_eq!(queue.push(spans(1), now), 0);
        assert_eq!(queue.leaves_at(), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.push(spans(MESSAGE_MAX), now), 0);
        assert_eq!(queue.leaves_at(), Some(now));
        assert_eq!(queue.message().len(), MESSAGE_MAX);
        assert_eq!(queue.sent(now), MESSAGE_MAX as u64);
        assert_eq!(queue.message().len(), 1);
        assert_eq!(queue.sent(now), 1);
        assert_eq!(queue.leaves_at(), None);
    }

    #[test]
    fn what_finds_no_room_is_told_and_what_waits_stays() {
        let now = Instant::now();
        let mut queue = Queue::default();
        assert_eq!(queue.push(spans(WAITING_MAX + 3), now), 3);
        assert_eq!(queue.message().len(), MESSAGE_MAX);
        assert_eq!(queue.push(spans(1), now), 1);
        assert_eq!(queue.failed(&LATER, now), 0);
        assert_eq!(queue.push(spans(2), now), 2);
        assert_eq!(queue.clear(), WAITING_MAX as u64);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_message_is_tried_again_later_and_later_and_then_given_up() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(spans(7), now);
        queue.message();
        for seconds in [1, 2, 4, 8] {
            assert_eq!(queue.failed(&LATER, now), 0);
            assert_eq!(queue.leaves_at(), Some(now + Duration::from_secs(seconds)));
            queue.push(spans(MESSAGE_MAX), now);
            assert_eq!(queue.leaves_at(), Some(now + Duration::from_secs(seconds)));
            assert_eq!(queue.message().len(), 7);
        }
        assert_eq!(ATTEMPTS_MAX, 5);
        assert_eq!(queue.failed(&LATER, now), 7);
        assert_eq!(queue.leaves_at(), Some(now));
    }

    #[test]
    fn a_collector_says_when_and_what_it_never_takes_is_not_tried_again() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(spans(7), now);
        queue.message();
        let after = |seconds| Failure::Later {
            after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(queue.failed(&after(9), now), 0);
        assert_eq!(queue.leaves_at(), Some(now + Duration::from_secs(9)));
        assert_eq!(queue.failed(&after(100_000), now), 0);
        assert_eq!(queue.leaves_at(), Some(now + Duration::from_secs(30)));
        assert_eq!(queue.failed(&Failure::Never, now), 7);
        assert!(queue.is_empty());
    }
}
