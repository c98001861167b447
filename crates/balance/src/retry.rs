//! Whether a failed try may be repeated: only where a repeat is safe, wanted and affordable.
//!
//! Safe: nothing was sent, or the method is idempotent (RFC 9110 section 9.2.2) and the body can be sent again.
//! (`unsafe_methods` gives up the first of the two.) Wanted: the failure is in `on`, and fewer tries than `attempts`
//! were made. Affordable: a token bucket that fills with a share of the requests
//! (`budget`) and a small floor, so that retries cannot multiply an overload (retry storm).
//! A response of which the client has seen a byte is never repeated, whatever its status.

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Retry, RetryCause};

/// Retries per second that a worker may make in a pool however few requests it sees.
pub const FLOOR_PER_SECOND: u32 = 3;
/// Most retries that can be saved up.
pub const SAVED_MAX: u32 = 50;

const MICRO: u64 = 1_000_000;

/// How a try ended without a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection: refused, unreachable, timed out. Nothing was sent.
    Connect,
    /// A kept-alive connection turned out closed, without a byte of response.
    StaleConnection {
        /// Whether any byte of the request was written to it.
        bytes_written: bool,
    },
    /// A fresh connection was reset or closed before a byte of response.
    Reset {
        /// Whether any byte of the request was written to it.
        bytes_written: bool,
    },
    /// No response head within the response timeout.
    Timeout,
    /// Bytes that are not HTTP, or a response cut off inside its head.
    InvalidResponse,
    /// A complete response head with this status: the backend has answered.
    Status(u16),
}

/// What to do with a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Pick another backend (`tried` holds the failed ones) and try again. One token was taken.
    Retry,
    /// Try the same backend on a fresh connection; it is not to blame and the pick stands. Costs no token
    /// when nothing was written. Cannot repeat without end: a fresh connection is never stale.
    RetryFresh,
    /// The failure stands.
    GiveUp(GiveUp),
}

/// Why a failure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GiveUp {
    /// The backend may have acted on it and the method is not idempotent.
    NotIdempotent,
    /// Part of the request body is gone.
    BodyConsumed,
    /// All attempts are used.
    Attempts,
    /// The budget is empty.
    Budget,
    /// A response is not repeated.
    Answered,
    /// The configuration does not want this failure to be tried again.
    NotWanted,
}

impl GiveUp {
    /// Stable word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotIdempotent => "not_idempotent",
            Self::BodyConsumed => "body_consumed",
            Self::Attempts => "attempts_used",
            Self::Budget => "budget_empty",
            Self::Answered => "answered",
            Self::NotWanted => "not_wanted",
        }
    }
}

/// Whether a repeat of the method has the same effect as one request (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
    )
}

/// Decides on a failed try. `retries_made`: retries of this request so far (0 after the first try).
/// `body_replayable`: the request has no body, or none of it was consumed yet. Takes a token from `budget`
/// only when the answer is a retry that costs one.
pub fn decide(
    method_idempotent: bool,
    body_replayable: bool,
    retries_made: u32,
    retry: &Retry,
    budget: &mut Budget,
    failure: Failure,
) -> Decision {
    let (sent, fresh, cause) = match failure {
        Failure::Connect => (false, false, Some(RetryCause::Connect)),
        Failure::StaleConnection { bytes_written } => {
            (bytes_written, true, Some(RetryCause::Reset))
        }
        Failure::Reset { bytes_written } => (bytes_written, false, Some(RetryCause::Reset)),
        Failure::Timeout => (true, false, Some(RetryCause::Timeout)),
        Failure::InvalidResponse => (true, false, Some(RetryCause::Reset)),
        Failure::Status(status) => (true, false, RetryCause::of_status(status)),
    };
    let is_wanted = cause.is_some_and(|cause| retry.on.has(cause));
    if matches!(failure, Failure::Status(_)) && !is_wanted {
        return Decision::GiveUp(GiveUp::Answered);
    }
    if !body_replayable {
        return Decision::GiveUp(GiveUp::BodyConsumed);
    }
    // Not a further try of the request: nobody has seen anything of it yet.
    if fresh && !sent {
        return Decision::RetryFresh;
    }
    if !is_wanted {
        return Decision::GiveUp(GiveUp::NotWanted);
    }
    if sent && !method_idempotent && !retry.unsafe_methods {
        return Decision::GiveUp(GiveUp::NotIdempotent);
    }
    if retries_made >= retry.attempts {
        return Decision::GiveUp(GiveUp::Attempts);
    }
    if !budget.take() {
        return Decision::GiveUp(GiveUp::Budget);
    }
    if fresh {
        Decision::RetryFresh
    } else {
        Decision::Retry
    }
}

/// Token bucket of one worker and pool: each request adds `budget` of a token, each second
/// [`FLOOR_PER_SECOND`]; a retry takes one; at most [`SAVED_MAX`] are saved. Starts with one second's floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    micro_tokens: u64,
    filled_at: Mono,
}

impl Budget {
    /// The bucket of a worker that starts at `now`.
    pub const fn new(now: Mono) -> Self {
        Self {
            micro_tokens: FLOOR_PER_SECOND as u64 * MICRO,
            filled_at: now,
        }
    }

    /// Counts one request (not its retries).
    pub fn on_request(&mut self, retry: &Retry, now: Mono) {
        let elapsed_us = (now.since(self.filled_at).as_nanos() / 1_000).min(u128::from(u32::MAX));
        // Whole microseconds only, so that the remainder is not lost to frequent calls.
        let elapsed_us = u64::try_from(elapsed_us).unwrap_or(0);
        if elapsed_us > 0 {
            self.filled_at = if elapsed_us >= u64::from(u32::MAX) {
                now
            } else {
                Mono(self.filled_at.0 + elapsed_us * 1_000)
            };
        }
        let added = u64::from(retry.budget.ppm()) + elapsed_us * u64::from(FLOOR_PER_SECOND);
        self.micro_tokens = (self.micro_tokens + added).min(u64::from(SAVED_MAX) * MICRO);
    }

    /// Whole retries left.
    pub const fn left(&self) -> u32 {
        (self.micro_tokens / MICRO) as u32
    }

    fn take(&mut self) -> bool {
        let enough = self.micro_tokens >= MICRO;
        if enough {
            self.micro_tokens -= MICRO;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Budget, Decision, FLOOR_PER_SECOND, Failure, GiveUp, SAVED_MAX, decide, is_idempotent,
    };
    use evenkeel_model::clock::Mono;
    use evenkeel_model::config::{Retry, RetryCause, RetryOn};
    use evenkeel_model::units::Ratio;
    use proptest::prelude::*;

    fn retry(attempts: u32, percent: u32) -> Retry {
        Retry {
            attempts,
            budget: Ratio::from_percent(percent),
            on: RetryOn::default(),
            unsafe_methods: false,
        }
    }

    fn failures() -> impl Strategy<Value = Failure> {
        prop_oneof![
            Just(Failure::Connect),
            any::<bool>().prop_map(|bytes_written| Failure::StaleConnection { bytes_written }),
            any::<bool>().prop_map(|bytes_written| Failure::Reset { bytes_written }),
            Just(Failure::Timeout),
            Just(Failure::InvalidResponse),
            (200u16..600).prop_map(Failure::Status),
        ]
    }

    #[test]
    fn a_refused_connection_is_retried_for_any_method() {
        let mut budget = Budget::new(Mono::ZERO);
        let decision = decide(false, true, 0, &retry(1, 20), &mut budget, Failure::Connect);
        assert_eq!(decision, Decision::Retry);
        assert_eq!(budget.left(), FLOOR_PER_SECOND - 1);
    }

    #[test]
    fn a_stale_connection_is_replaced_for_free_when_nothing_was_written() {
        let mut budget = Budget::new(Mono::ZERO);
        let stale = |bytes_written| Failure::StaleConnection { bytes_written };
        let retry = retry(0, 0);
        let decision = decide(false, true, 5, &retry, &mut budget, stale(false));
        assert_eq!(decision, Decision::RetryFresh);
        assert_eq!(budget.left(), FLOOR_PER_SECOND);
        let decision = decide(false, true, 0, &retry, &mut budget, stale(true));
        assert_eq!(decision, Decision::GiveUp(GiveUp::NotIdempotent));
    }

    #[test]
    fn the_floor_refills_by_time_even_when_requests_come_every_nanosecond_or_hour() {
        let mut budget = Budget::new(Mono::ZERO);
        let none = retry(1, 0);
        while budget.take() {}
        for ns in 0..2_000_000u64 {
            budget.on_request(&none, Mono(ns * 500));
        }
        assert_eq!(
            budget.left(),
            FLOOR_PER_SECOND - 1,
            "one second less 500 ns"
        );
        budget.on_request(&none, Mono::from_secs(1_000_000));
        assert_eq!(budget.left(), SAVED_MAX);
    }

    #[test]
    fn only_what_is_wanted_is_tried_again() {
        let mut budget = Budget::new(Mono::ZERO);
        let on = |on| Retry { on, ..retry(1, 20) };
        let only_503 = on(RetryOn::NOTHING.with(RetryCause::Unavailable));
        let mut said = |retry: &Retry, idempotent, failure| {
            decide(idempotent, true, 0, retry, &mut budget, failure)
        };
        assert_eq!(said(&only_503, true, Failure::Status(503)), Decision::Retry);
        let answered = Decision::GiveUp(GiveUp::Answered);
        assert_eq!(said(&only_503, true, Failure::Status(502)), answered);
        assert_eq!(said(&only_503, true, Failure::Status(500)), answered);
        let not_wanted = Decision::GiveUp(GiveUp::NotWanted);
        assert_eq!(said(&only_503, true, Failure::Connect), not_wanted);
        assert_eq!(said(&only_503, true, Failure::Timeout), not_wanted);
        let unsafe_method = Decision::GiveUp(GiveUp::NotIdempotent);
        assert_eq!(said(&only_503, false, Failure::Status(503)), unsafe_method);
        let any_method = Retry {
            unsafe_methods: true,
            ..only_503
        };
        assert_eq!(
            said(&any_method, false, Failure::Status(503)),
            Decision::Retry
        );
    }

    #[test]
    fn methods_are_idempotent_as_the_rfc_says() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(is_idempotent(method));
        }
        for method in ["POST", "PATCH", "CONNECT", "get", "LOCK"] {
            assert!(!is_idempotent(method));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_may_have_been_acted_on_is_repeated(
            idempotent: bool, replayable: bool, made in 0u32..6, attempts in 0u32..6, failure in failures(),
        ) {
            let mut budget = Budget::new(Mono::ZERO);
            let decision = decide(idempotent, replayable, made, &retry(attempts, 20), &mut budget, failure);
            let repeated = !matches!(decision, Decision::GiveUp(_));
            let written = matches!(
                failure,
                Failure::Timeout | Failure::InvalidResponse
                    | Failure::StaleConnection { bytes_written: true } | Failure::Reset { bytes_written: true }
            );
            if repeated {
                prop_assert!(replayable);
                prop_assert!(idempotent || !written);
                prop_assert!(!matches!(failure, Failure::Status(_)));
                let free = failure == Failure::StaleConnection { bytes_written: false };
                prop_assert!(made < attempts || free);
                prop_assert_eq!(budget.left(), FLOOR_PER_SECOND - u32::from(!free));
            } else {
                prop_assert_eq!(budget.left(), FLOOR_PER_SECOND);
            }
        }

        #[test]
        fn retries_stay_within_the_budget_whatever_fails(
            percent in 0u32..=100, rate in 1u64..2_000, seconds in 1u64..60,
        ) {
            let retry = retry(5, percent);
            let mut budget = Budget::new(Mono::ZERO);
            let mut retries = 0u64;
            let requests = (rate * seconds).min(20_000);
            for n in 0..requests {
                budget.on_request(&retry, Mono(n * 1_000_000_000 / rate));
                for made in 0..5 {
                    let decision = decide(true, true, made, &retry, &mut budget, Failure::Connect);
                    retries += u64::from(decision == Decision::Retry);
                }
            }
            let time = requests as f64 / rate as f64;
            let allowed = requests as f64 * f64::from(percent) / 100.0 + (time + 1.0) * f64::from(FLOOR_PER_SECOND);
            prop_assert!(retries as f64 <= allowed + 1.0, "{retries} > {allowed}");
        }
    }
}
