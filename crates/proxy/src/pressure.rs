//! How much memory this process holds, and what is refused because of it, over all workers.
//!
//! Whichever worker comes first in a second reads the number, so that no worker that hangs or dies keeps the others
//! from it. The rules are those of `balance::overload`; a request reads one atomic number.
//!
//! Limits: read from `/proc`, so elsewhere than on Linux a memory limit does nothing, which is said once at the start.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use evenkeel_balance::overload::Pressure;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Overload, Priority};

/// Where the resident memory of this process is read, in bytes; `None`: it is not known.
pub type MemorySource = fn() -> Option<u64>;

/// The resident memory of this process in bytes.
pub fn resident() -> Option<u64> {
    kib_of(&std::fs::read_to_string("/proc/self/status").ok()?).map(|kib| kib * 1_024)
}

fn kib_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Why a request was shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShedBy {
    /// The process holds more memory than it may.
    Memory,
    /// The pool has no room for its priority.
    Pool,
}

impl ShedBy {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pool => "pool",
        }
    }
}

/// What overload protection sees and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverloadView {
    /// Resident memory, bytes; `None`: no memory limit, or not known.
    pub memory: Option<u64>,
    /// How full the memory is.
    pub pressure: Pressure,
    /// Requests that were shed, by priority and reason.
    pub shed: Vec<(Priority, ShedBy, u64)>,
    /// Connections that were refused because there were too many.
    pub connections_refused: u64,
}

/// What the workers share of it.
#[derive(Debug)]
pub(crate) struct Governor {
    source: MemorySource,
    level: AtomicU8,
    memory: AtomicU64,
    /// The second of the last reading, plus one; 0: never.
    read_in: AtomicU64,
    shed: [[AtomicU64; 2]; 3],
    connections_refused: AtomicU64,
}

impl Governor {
    pub(crate) fn new(source: MemorySource) -> Self {
        Self {
            source,
            level: AtomicU8::new(0),
            memory: AtomicU64::new(0),
            read_in: AtomicU64::new(0),
            shed: Default::default(),
            connections_refused: AtomicU64::new(0),
        }
    }

    /// Reads the memory where there is a limit, unless another worker did so in this second.
    pub(crate) fn second(&self, overload: &Overload, now: Mono) {
        let Some(limit) = overload.memory else {
            self.level.store(0, Ordering::Relaxed);
            self.memory.store(0, Ordering::Relaxed);
            return;
        };
        let second = now.0 / 1_000_000_000 + 1;
        if self.read_in.swap(second, Ordering::Relaxed) == second {
            return;
        }
        let Some(memory) = (self.source)() else {
            return;
        };
        let pressure = Pressure::of(memory, limit.0);
        self.memory.store(memory, Ordering::Relaxed);
        let before = self.level.swap(pressure as u8, Ordering::Relaxed);
        if before != pressure as u8 {
            tracing::warn!(memory, limit = limit.0, ?pressure, "memory pressure");
        }
    }

    /// How full the memory is.
    pub(crate) fn pressure(&self) -> Pressure {
        let level = usize::from(self.level.load(Ordering::Relaxed));
        Pressure::ALL.get(level).copied().unwrap_or_default()
    }

    pub(crate) fn count_shed(&self, priority: Priority, by: ShedBy) {
        let cell = self.shed.get(priority as usize);
        if let Some(cell) = cell.and_then(|cells| cells.get(by as usize)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> OverloadView {
        let memory = self.memory.load(Ordering::Relaxed);
        let shed = Priority::ALL.iter().zip(&self.shed);
        let by = [ShedBy::Memory, ShedBy::Pool];
        OverloadView {
            memory: (memory > 0).then_some(memory),
            pressure: self.pressure(),
            shed: shed
                .flat_map(|(priority, cells)| {
                    let count = |(by, cell): (ShedBy, &AtomicU64)| {
                        (*priority, by, cell.load(Ordering::Relaxed))
                    };
                    by.into_iter().zip(cells).map(count)
                })
                .collect(),
            connections_refused: self.connections_refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Governor, ShedBy, kib_of, resident};
    use evenkeel_balance::overload::Pressure;
    use evenkeel_model::clock::Mono;
    use evenkeel_model::config::{Overload, Priority};
    use evenkeel_model::units::ByteSize;

    #[test]
    fn memory_is_read_once_a_second_by_whoever_comes_first_and_forgotten_without_a_limit() {
        let governor = Governor::new(|| Some(1_000));
        let limited = |bytes| Overload {
            memory: Some(ByteSize(bytes)),
            connections: None,
        };
        governor.second(&limited(1_000), Mono::from_secs(1));
        assert_eq!(governor.pressure(), Pressure::Over);
        governor.second(&limited(10_000), Mono::from_secs(1));
        assert_eq!(
            governor.pressure(),
            Pressure::Over,
            "the second is not over"
        );
        governor.second(&limited(10_000), Mono::from_secs(2));
        assert_eq!(governor.pressure(), Pressure::Calm);
        governor.count_shed(Priority::High, ShedBy::Pool);
        let view = governor.view();
        assert_eq!(view.memory, Some(1_000));
        assert!(view.shed.contains(&(Priority::High, ShedBy::Pool, 1)));
        assert_eq!(view.shed.iter().map(|shed| shed.2).sum::<u64>(), 1);
        governor.second(&Overload::default(), Mono::from_secs(3));
        assert_eq!(governor.view().memory, None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(kib_of("Name:\tx\nVmRSS:\t   5120 kB\n"), Some(5_120));
        assert_eq!(kib_of("Name:\tx\n"), None);
        #[cfg(target_os = "linux")]
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
