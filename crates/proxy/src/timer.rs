//! One timer per connection, armed lazily.
//!
//! Every phase of a connection has its own deadline, and almost none of them is ever reached. So the deadline is a
//! plain field, and the runtime's timer is touched only when the new deadline lies before the armed one, or when the
//! armed one fires and the deadline has moved on. A busy connection arms its timer about once per shortest timeout
//! instead of several times per request.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::coop::has_budget_remaining;
use tokio::time::Sleep;

/// A deadline that can be moved at no cost.
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    due: Instant,
}

impl Timer {
    /// A timer due at `due`.
    pub(crate) fn new(due: Instant) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(due.into())),
            armed: due,
            due,
        }
    }

    /// Moves the deadline.
    pub(crate) fn set(&mut self, due: Instant) {
        self.due = due;
        if due < self.armed {
            self.armed = due;
            self.sleep.as_mut().reset(due.into());
        }
    }

    /// Ready once the deadline has passed; the caller moves it on or ends.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A task that has used up its turn hears nothing from the runtime's timer: a peer that never stops sending
        // would hold off every deadline.
        if !has_budget_remaining() && Instant::now() >= self.due {
            return Poll::Ready(());
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.armed = self.due;
            self.sleep.as_mut().reset(self.due.into());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::Timer;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::{Duration, Instant};

    use tokio::task::coop::poll_proceed;

    #[tokio::test]
    async fn a_deadline_fires_although_the_task_has_used_up_its_turn() {
        let mut timer = Timer::new(Instant::now());
        let fired = poll_fn(|cx| {
            while let Poll::Ready(turn) = poll_proceed(cx) {
                turn.made_progress();
            }
            Poll::Ready(timer.poll(cx).is_ready())
        });
        assert!(fired.await);
    }

    #[tokio::test]
    async fn a_deadline_moved_later_does_not_fire_early_and_one_moved_earlier_fires_in_time() {
        let start = Instant::now();
        let mut timer = Timer::new(start + Duration::from_millis(20));
        timer.set(start + Duration::from_millis(60));
        poll_fn(|cx| timer.poll(cx)).await;
        assert!(start.elapsed() >= Duration::from_millis(60));
        timer.set(start + Duration::from_secs(3_600));
        timer.set(Instant::now() + Duration::from_millis(10));
        let fired = tokio::time::timeout(Duration::from_secs(10), poll_fn(|cx| timer.poll(cx)));
        assert!(fired.await.is_ok());
    }
}
