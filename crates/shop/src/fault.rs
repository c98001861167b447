//! Faults that a drill puts into a server, each with a time to live after which it undoes itself.
//!
//! The faults live in our own servers, so a drill needs neither root nor traffic control, and nothing has to be
//! cleaned up when the process that injected them dies. Faults of different kinds act together; of two with the
//! same kind the newer one replaces the older. What a deployment changes for good is not a fault but a
//! [`Release`], which stands until the next one.
//!
//! Limits: at most [`FAULTS_MAX`] at a time, none longer than [`TTL_MAX`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Most faults that act on one server at a time.
pub const FAULTS_MAX: usize = 32;
/// Longest time to live of a fault.
pub const TTL_MAX: Duration = Duration::from_hours(1);

/// What a health check is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthAnswer {
    /// 200.
    #[default]
    Ok,
    /// 503.
    Fail,
    /// Nothing, while the fault lasts.
    Hang,
}

/// What goes wrong. Rates are fractions of the requests, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The service time is multiplied by `factor`: the capacity falls with it.
    Slow {
        /// Multiplier, above 0.
        factor: f64,
    },
    /// Each request holds its slot for `ms` longer, as when a dependency is slow.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// Answers 500 after the full service time.
    Errors {
        /// Fraction of the requests.
        rate: f64,
    },
    /// Answers 500 at once, outside the pool: the sinkhole that attracts load-aware balancers.
    FailFast {
        /// Fraction of the requests.
        rate: f64,
    },
    /// Takes a slot and does not go on before the fault ends.
    Hang {
        /// Fraction of the requests.
        rate: f64,
    },
    /// Cuts the connection in place of an answer.
    Reset {
        /// Fraction of the requests.
        rate: f64,
    },
    /// Stops listening: new connections are refused by the kernel and open ones are cut.
    Refuse,
    /// What `/healthz` answers.
    Health {
        /// The answer.
        answer: HealthAnswer,
    },
    /// `/healthz` takes `ms` longer.
    HealthLatency {
        /// Milliseconds.
        ms: u64,
    },
    /// `/healthz` fails for half of each period, starting with a failure.
    Flap {
        /// Milliseconds.
        period_ms: u64,
    },
}

impl FaultKind {
    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    fn check(&self) -> Result<(), FaultError> {
        let (name, value, ok) = match *self {
            Self::Slow { factor } => ("factor", factor, factor > 0.0 && factor.is_finite()),
            Self::Errors { rate }
            | Self::FailFast { rate }
            | Self::Hang { rate }
            | Self::Reset { rate } => ("rate", rate, (0.0..=1.0).contains(&rate)),
            Self::Flap { period_ms } => ("period_ms", period_ms as f64, period_ms > 0),
            Self::Latency { .. }
            | Self::Refuse
            | Self::Health { .. }
            | Self::HealthLatency { .. } => ("", 0.0, true),
        };
        if ok {
            Ok(())
        } else {
            Err(FaultError::Value { name, value })
        }
    }
}

/// A fault and how long it lasts. On the wire: `{"kind": "slow", "factor": 5, "ttl_ms": 60000}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For how long; above zero, at most [`TTL_MAX`].
    pub ttl: Duration,
}

/// The version that a server runs, and how that version behaves until the next release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Told in `x-shop-version`.
    pub version: String,
    /// Multiplier of the service time, above 0; 1 is no change.
    #[serde(default = "one")]
    pub slow_factor: f64,
    /// Fraction of the requests answered with 500 after the service time.
    #[serde(default)]
    pub error_rate: f64,
}

fn one() -> f64 {
    1.0
}

impl Release {
    /// A version without any effect.
    pub fn named(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            slow_factor: 1.0,
            error_rate: 0.0,
        }
    }
}

/// Why a fault or a release was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// A number out of its range.
    #[error("`{name}` is out of its range, got {value}")]
    Value {
        /// The field.
        name: &'static str,
        /// What it was.
        value: f64,
    },
    /// The time to live is zero or above the limit.
    #[error("`ttl_ms` must be 1 to 3600000, got {0}")]
    Ttl(u128),
    /// Too many at once.
    #[error("at most {FAULTS_MAX} faults act at a time")]
    TooMany,
    /// A version that does not fit into a header.
    #[error("`version` must be 1 to 63 printable ASCII characters")]
    Version,
}

/// What the faults and the release amount to now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effects {
    /// Multiplier of the service time.
    pub factor: f64,
    /// Added to the time a slot is held.
    pub extra: Duration,
    /// Fraction answered with 500 after the service time.
    pub error_rate: f64,
    /// Fraction answered with 500 at once.
    pub fail_fast: f64,
    /// Fraction that hangs.
    pub hang: f64,
    /// Fraction whose connection is cut.
    pub reset: f64,
    /// Not listening.
    pub refuse: bool,
    /// What a health check is told.
    pub health: HealthAnswer,
    /// How much longer a health check takes.
    pub health_latency: Duration,
    /// When this picture may next change by itself.
    pub until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Active {
    kind: FaultKind,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
struct State {
    active: Vec<Active>,
    release: Release,
}

/// The faults of one server.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            state: Mutex::new(State {
                active: Vec::new(),
                release: Release::named(version),
            }),
            changed: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Lets `fault` act from now on; one of the same kind is replaced.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        fault.kind.check()?;
        if fault.ttl.is_zero() || fault.ttl > TTL_MAX {
            return Err(FaultError::Ttl(fault.ttl.as_millis()));
        }
        let now = Instant::now();
        {
            let mut state = self.lock();
            state
                .active
                .retain(|a| a.until > now && !a.kind.same_kind(&fault.kind));
            if state.active.len() >= FAULTS_MAX {
                return Err(FaultError::TooMany);
            }
            state.active.push(Active {
                kind: fault.kind,
                since: now,
                until: now + fault.ttl,
            });
        }
        self.tell();
        Ok(())
    }

    /// Ends every fault. The release stays.
    pub fn clear(&self) {
        self.lock().active.clear();
        self.tell();
    }

    /// Rolls out another version.
    pub fn release(&self, release: Release) -> Result<(), FaultError> {
        FaultKind::Slow {
            factor: release.slow_factor,
        }
        .check()?;
        FaultKind::Errors {
            rate: release.error_rate,
        }
        .check()?;
        let fits = (1..=63).contains(&release.version.len());
        if !fits || !release.version.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(FaultError::Version);
        }
        self.lock().release = release;
        self.tell();
        Ok(())
    }

    /// The version that runs.
    pub fn running(&self) -> Release {
        self.lock().release.clone()
    }

    /// The faults that act now, with the time each has left.
    pub fn list(&self) -> Vec<Fault> {
        let now = Instant::now();
        let mut state = self.lock();
        state.active.retain(|a| a.until > now);
        state
            .active
            .iter()
            .map(|a| Fault {
                kind: a.kind,
                ttl: a.until - now,
            })
            .collect()
    }

    /// What acts now.
    pub fn effects(&self) -> Effects {
        let now = Instant::now();
        let mut state = self.lock();
        let mut effects = Effects {
            factor: state.release.slow_factor,
            extra: Duration::ZERO,
            error_rate: state.release.error_rate,
            fail_fast: 0.0,
            hang: 0.0,
            reset: 0.0,
            refuse: false,
            health: HealthAnswer::Ok,
            health_latency: Duration::ZERO,
            until: None,
        };
        if state.active.is_empty() {
            return effects;
        }
        state.active.retain(|a| a.until > now);
        for active in &state.active {
            effects.apply(active, now);
        }
        effects
    }

    /// Whether nothing is listened to now.
    pub(crate) fn refuses(&self) -> bool {
        let now = Instant::now();
        self.lock()
            .active
            .iter()
            .any(|a| a.kind == FaultKind::Refuse && a.until > now)
    }

    /// Waits until `over` holds for what acts.
    pub(crate) async fn wait_until(&self, over: impl Fn(&Effects) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let effects = self.effects();
            if over(&effects) {
                return;
            }
            let told = changed.changed();
            match effects.until {
                // A closed channel cannot happen while `self` lives; the deadline wakes us in any case.
                Some(until) => tokio::select! {
                    _ = told => {}
                    () = sleep_until(until) => {}
                },
                None => {
                    if told.await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Effects {
    fn apply(&mut self, active: &Active, now: Instant) {
        match active.kind {
            FaultKind::Slow { factor } => self.factor *= factor,
            FaultKind::Latency { ms } => self.extra += Duration::from_millis(ms),
            FaultKind::Errors { rate } => {
                self.error_rate = 1.0 - (1.0 - self.error_rate) * (1.0 - rate);
            }
            FaultKind::FailFast { rate } => self.fail_fast = rate,
            FaultKind::Hang { rate } => self.hang = rate,
            FaultKind::Reset { rate } => self.reset = rate,
            FaultKind::Refuse => self.refuse = true,
            FaultKind::Health { answer } => self.health = answer,
            FaultKind::HealthLatency { ms } => self.health_latency = Duration::from_millis(ms),
            FaultKind::Flap { period_ms } => {
                let age = now.saturating_duration_since(active.since).as_millis();
                if age % u128::from(period_ms) < u128::from(period_ms.div_ceil(2)) {
                    self.health = HealthAnswer::Fail;
                }
            }
        }
        self.until = Some(self.until.map_or(active.until, |u| u.min(active.until)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultError, FaultKind, Faults, HealthAnswer, Release};
    use std::time::Duration;
    use tokio::time::sleep;

    fn fault(kind: FaultKind, seconds: u64) -> Fault {
        let ttl = Duration::from_secs(seconds);
        Fault { kind, ttl }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_undoes_itself_after_its_time_to_live() {
        let faults = Faults::new("v1");
        let calm = faults.effects();
        faults
            .inject(fault(FaultKind::Slow { factor: 5.0 }, 2))
            .unwrap();
        faults.inject(fault(FaultKind::Refuse, 1)).unwrap();
        assert_eq!(faults.list().len(), 2);
        assert!(faults.refuses() && (faults.effects().factor - 5.0).abs() < 1e-9);
        sleep(Duration::from_secs(1)).await;
        assert!(!faults.refuses() && (faults.effects().factor - 5.0).abs() < 1e-9);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(faults.effects(), calm);
        assert!(faults.list().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_fault_ends_and_when_it_is_cleared() {
        let faults = Faults::new("v1");
        faults
            .inject(fault(FaultKind::Hang { rate: 1.0 }, 30))
            .unwrap();
        let start = tokio::time::Instant::now();
        faults.wait_until(|e| e.hang <= 0.0).await;
        assert_eq!(start.elapsed().as_secs(), 30);
        faults
            .inject(fault(FaultKind::Hang { rate: 1.0 }, 30))
            .unwrap();
        let clearing = async {
            sleep(Duration::from_secs(1)).await;
            faults.clear();
        };
        tokio::join!(faults.wait_until(|e| e.hang <= 0.0), clearing);
        assert_eq!(start.elapsed().as_secs(), 31);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flap_alternates_and_a_newer_fault_of_a_kind_replaces_the_older() {
        let faults = Faults::new("v1");
        faults
            .inject(fault(FaultKind::Flap { period_ms: 2_000 }, 60))
            .unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(faults.effects().health == HealthAnswer::Ok);
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(seen, [false, true, false, true]);
        faults
            .inject(fault(FaultKind::Slow { factor: 2.0 }, 60))
            .unwrap();
        faults
            .inject(fault(FaultKind::Slow { factor: 3.0 }, 60))
            .unwrap();
        assert!((faults.effects().factor - 3.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_stands_when_faults_are_cleared() {
        let faults = Faults::new("v1");
        let release = Release {
            version: "v2".to_owned(),
            slow_factor: 2.0,
            error_rate: 0.5,
        };
        faults.release(release.clone()).unwrap();
        faults.clear();
        assert_eq!(faults.running(), release);
        assert!((faults.effects().error_rate - 0.5).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_out_of_range_is_refused() {
        let faults = Faults::new("v1");
        for bad in [
            fault(FaultKind::Slow { factor: 0.0 }, 1),
            fault(FaultKind::Slow { factor: f64::NAN }, 1),
            fault(FaultKind::Errors { rate: 1.1 }, 1),
            fault(FaultKind::Flap { period_ms: 0 }, 1),
            fault(FaultKind::Refuse, 0),
            fault(FaultKind::Refuse, 3_601),
        ] {
            assert!(faults.inject(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            faults.release(Release::named("a b")),
            Err(FaultError::Version)
        );
    }
}
