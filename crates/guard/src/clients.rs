//! The rule of clients: harm counts when it is the harm of many, since one client can make any backend fail.
//!
//! Two parts. A client that alone carries more than its part of a minute's harm is taken out of what the harm
//! tests count, as the requests that it sent: a poison request raises nothing, and the harm of everybody else
//! is still tested, dated and blamed as if that client were not there. And a harm test above its threshold
//! speaks only when enough different clients were harmed since its onset. What is withheld is said in the reason of each
//! backend.
//!
//! A service that answers nobody any more speaks in any case, however few its clients: that is total failure.
//! The share tests do not look at harm and need no clients.
//!
//! Limits: who is harmed is remembered for five minutes; slower harm to few at a time is withheld. Of a client's
//! harm it is not known which part was slow and which failed: it is split like the harm of its second.

use evenkeel_model::clock::Mono;
use evenkeel_model::sketch::ClientSketch;

use crate::counts::{CLIENT_ROWS_MAX, Row};
use crate::watch::{ENOUGH, PoolWatch};

/// Most of the harm that one client may carry where many must be harmed.
const TOP_CLIENT_MAX: f64 = 0.1;
/// Where fewer clients than 20 are enough, one may carry this many times its even part.
const UNEVEN_MAX: f64 = 2.0;
/// Harmed requests of one client below which it is not set apart: a few are chance.
const ALONE_MIN: u64 = 10;
/// Seconds over which a client's part of the harm is taken.
const ALONE_ROWS: usize = 60;

/// Most of the harm that one client may carry when `least` clients must be harmed: a tenth, or twice its even part.
pub(crate) fn top_share_max(least: u32) -> f64 {
    TOP_CLIENT_MAX.max(UNEVEN_MAX / f64::from(least.max(1)))
}

/// What the rule of clients says about a pool now.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct ClientRule {
    /// The harm tests may speak.
    pub(crate) open: bool,
    /// What is not held against the pool, and why.
    pub(crate) withheld: Option<String>,
}

/// The clients that carry too much of the harm, heaviest first; each is judged by the harm without those before it.
fn alone(sketch: &ClientSketch, least: u32) -> Vec<u64> {
    let mut top = sketch.top_harmed.clone();
    top.sort_unstable_by_key(|(hash, count)| (std::cmp::Reverse(*count), *hash));
    let most = top_share_max(least);
    let mut rest = sketch.harmed_requests;
    let mut found = Vec::new();
    for (hash, count) in top {
        if count < ALONE_MIN || count as f64 <= most * rest as f64 {
            break;
        }
        rest = rest.saturating_sub(count);
        found.push(hash);
    }
    found
}

impl PoolWatch {
    /// (failed, slow) requests of the second closed last that are the harm of single clients.
    pub(crate) fn harm_of_single_clients(&self) -> (u32, u32) {
        let (Some(row), Some(last)) = (self.counts.last(), self.counts.last_clients()) else {
            return (0, 0);
        };
        if last.harmed_requests == 0 || self.serves_nobody() {
            return (0, 0);
        }
        let minute = self.counts.clients(ALONE_ROWS);
        let alone = alone(&minute, self.pool.harmed_clients_min);
        let theirs = last.top_harmed.iter().filter(|(h, _)| alone.contains(h));
        let theirs: u64 = theirs.map(|(_, count)| *count).sum();
        let (_, failed, slow) = row.harm();
        let spared = theirs.min(failed + slow);
        let of_failed = (spared * failed).div_ceil((failed + slow).max(1));
        let cut = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        (cut(of_failed), cut(spared.saturating_sub(of_failed)))
    }

    /// Whether nothing at all was answered since a while: every one of the last [`ENOUGH`] requests and more failed.
    fn serves_nobody(&self) -> bool {
        let rows = self.counts.rows().iter().rev();
        let mut lost = 0;
        for (ended, failed, _) in rows.map(Row::harm) {
            if failed < ended {
                return false;
            }
            lost += failed;
            if lost >= ENOUGH {
                return true;
            }
        }
        false
    }

    /// Why a harm test above its threshold does not speak; `None`: none is, or it does.
    pub(crate) fn harm_withheld(&self) -> Option<&str> {
        let raised = [&self.said.errors, &self.said.slow];
        let raised = raised.into_iter().flatten().any(|e| e.alarm);
        let withheld = self.client_rule.withheld.as_deref();
        withheld.filter(|_| raised && !self.client_rule.open)
    }

    /// Judges whether the harm tests may speak; `since`: the onset of those above their thresholds.
    pub(crate) fn client_rule(&self, since: Option<Mono>, now: Mono) -> ClientRule {
        let least = self.pool.harmed_clients_min;
        let Some(since) = since else {
            return ClientRule {
                open: false,
                withheld: self.set_apart(least),
            };
        };
        // Once many were harmed the alarm stands until it falls.
        if self.client_rule.open || self.serves_nobody() {
            return ClientRule {
                open: true,
                withheld: None,
            };
        }
        let seconds = usize::try_from(now.since(since).as_secs()).unwrap_or(CLIENT_ROWS_MAX);
        let sketch = self
            .counts
            .clients(seconds.clamp(ALONE_ROWS / 6, CLIENT_ROWS_MAX));
        let clients = sketch.harmed.estimate() - alone(&sketch, least).len() as f64;
        if clients >= f64::from(least) {
            return ClientRule {
                open: true,
                withheld: None,
            };
        }
        let text = format!(
            "more requests are harmed than the objective allows, but those of {clients:.0} clients only: withheld, \
             harmed_clients_min = {least}"
        );
        ClientRule {
            open: false,
            withheld: Some(text),
        }
    }

    fn set_apart(&self, least: u32) -> Option<String> {
        let rows = self.counts.rows().iter().rev().take(ALONE_ROWS);
        let spared: u64 = rows.map(Row::spared).sum();
        if spared == 0 {
            return None;
        }
        let count = alone(&self.counts.clients(ALONE_ROWS), least).len().max(1);
        let who = if count == 1 {
            "one client".to_owned()
        } else {
            format!("{count} clients")
        };
        Some(format!(
            "{spared} harmed requests of the last minute are those of {who}, each with more than {:.0} % of the harm: \
             not held against the pool (harmed_clients_min = {least})",
            top_share_max(least) * 100.0
        ))
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::sketch::ClientSketch;

    use super::{alone, top_share_max};

    fn sketch(counts: &[(u64, u64)]) -> ClientSketch {
        let mut sketch = ClientSketch::default();
        for (hash, count) in counts {
            for _ in 0..*count {
                sketch.record(*hash, true);
            }
        }
        sketch
    }

    #[test]
    fn those_with_more_than_a_tenth_are_set_apart_each_by_the_harm_of_the_others() {
        let many: Vec<(u64, u64)> = (100..125).map(|hash| (hash, 8)).collect();
        assert!(alone(&sketch(&many), 20).is_empty());
        let mut two = many.clone();
        two.extend([(1, 1_000), (2, 60)]);
        assert_eq!(alone(&sketch(&two), 20), [1, 2]);
    }

    #[test]
    fn a_few_harmed_requests_of_a_client_are_chance() {
        assert!(alone(&sketch(&[(1, 9)]), 20).is_empty());
        assert_eq!(alone(&sketch(&[(1, 10)]), 20), [1]);
    }

    #[test]
    fn where_few_clients_are_enough_one_may_carry_twice_its_part() {
        assert!((top_share_max(20) - 0.1).abs() < 1e-9);
        assert!((top_share_max(100) - 0.1).abs() < 1e-9);
        assert!((top_share_max(4) - 0.5).abs() < 1e-9);
        assert!(alone(&sketch(&[(1, 50), (2, 40), (3, 40)]), 4).is_empty());
        assert_eq!(alone(&sketch(&[(1, 50)]), 4), [1]);
        assert!(alone(&sketch(&[(1, 50)]), 1).is_empty(), "one is enough");
    }
}
