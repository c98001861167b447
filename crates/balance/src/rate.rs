//! Whether a request is within a rate: the generic cell rate algorithm (GCRA), a token bucket in one number.
//!
//! The number is the theoretical arrival time (TAT): when the next request would come if all came evenly. A request may
//! be early by what the burst allows; each one that is let through moves the time on by one interval. Nothing has to be
//! filled up, so a key that is not seen costs nothing (ITU-T I.371; as in the peers' limiters).
//!
//! In any time T at most `burst + rate x T` requests are let through, whatever came before.

use std::time::Duration;

use evenkeel_model::clock::Mono;

const SECOND_NS: f64 = 1e9;

/// A rate with its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    interval_ns: u64,
    /// How early a request may be.
    tolerance_ns: u64,
}

impl Gcra {
    /// `rps` requests per second, of which `burst` (at least 1) may come at once.
    pub fn new(rps: f64, burst: u32) -> Self {
        let interval_ns = (SECOND_NS / rps).ceil().clamp(1.0, 1e15) as u64;
        Self {
            interval_ns,
            tolerance_ns: interval_ns.saturating_mul(u64::from(burst.max(1)) - 1),
        }
    }

    /// Judges a request at `now` of a key with this TAT (0: never seen): its next TAT when it is let through, else how
    /// long until one would be.
    pub fn judge(&self, tat: u64, now: Mono) -> Result<u64, Duration> {
        let base = tat.max(now.0);
        let early = base - now.0;
        if early > self.tolerance_ns {
            return Err(Duration::from_nanos(early - self.tolerance_ns));
        }
        Ok(base.saturating_add(self.interval_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::Gcra;
    use evenkeel_model::clock::Mono;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_window_holds_more_than_burst_and_rate_allow(
            rps in 0.1f64..2_000.0, burst in 1u32..50,
            gaps in proptest::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let gcra = Gcra::new(rps, burst);
            let (mut tat, mut now) = (0, 0);
            let mut let_through = Vec::new();
            for gap in gaps {
                now += gap;
                if let Ok(next) = gcra.judge(tat, Mono(now)) {
                    tat = next;
                    let_through.push(now);
                }
            }
            for (i, from) in let_through.iter().enumerate() {
                for (j, to) in let_through.iter().enumerate().skip(i) {
                    let seconds = (to - from) as f64 / 1e9;
                    let allowed = f64::from(burst) + rps * seconds;
                    prop_assert!((j - i + 1) as f64 <= allowed + 1e-6, "{} in {seconds} s", j - i + 1);
                }
            }
        }

        #[test]
        fn who_keeps_the_rate_is_never_refused_and_who_waits_as_told_is_let_through(
            rps in 0.1f64..2_000.0, burst in 1u32..50, start in 0u64..1 << 40,
        ) {
            let gcra = Gcra::new(rps, burst);
            let step = (1e9 / rps).ceil() as u64;
            let mut tat = 0;
            for n in 0..200 {
                tat = gcra.judge(tat, Mono(start + n * step)).unwrap();
            }
            let mut now = start + 200 * step;
            let mut at_once = 0;
            let wait = loop {
                match gcra.judge(tat, Mono(now)) {
                    Ok(next) => tat = next,
                    Err(wait) => break wait,
                }
                at_once += 1;
            };
            prop_assert_eq!(at_once, burst);
            now += wait.as_nanos() as u64;
            prop_assert!(gcra.judge(tat, Mono(now - 1)).is_err());
            prop_assert!(gcra.judge(tat, Mono(now)).is_ok());
        }
    }
}
