//! What a server reports about itself in the field's standard form: ORCA `endpoint-load-metrics`, text format
//! (Open Request Cost Aggregation, xDS `OrcaLoadReport`, in-band over a response header).
//!
//! CPU and memory come from `/proc/self`; a stub has no work of its own to measure, so it reports the
//! utilisation of its slots as its CPU. The header is rebuilt once a second and copied into each response.
//!
//! Limits: Linux; ticks of 10 ms; on other systems CPU and memory are left out, never reported as zero.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use tokio::time::Instant;

use crate::capacity::Usage;

/// How often the values are taken anew.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// `USER_HZ`, the unit of CPU time in `/proc`, is 100 on every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// Where the CPU utilisation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuSource {
    /// The CPU time of this process over the processors that it may use.
    Process,
    /// The share of worker slots in use: the model of a machine whose processors are its slots.
    Slots,
}

struct Sample {
    at: Instant,
    cpu: Option<Duration>,
    busy_ns: u64,
    served: u64,
    errors: u64,
}

struct State {
    last: Sample,
    served: u64,
    errors: u64,
    header: HeaderValue,
}

/// Counts responses and keeps the current header.
pub(crate) struct Meter {
    source: CpuSource,
    slots: u32,
    memory_total: Option<u64>,
    state: Mutex<State>,
}

impl Meter {
    pub(crate) fn new(source: CpuSource, slots: u32) -> Self {
        Self {
            source,
            slots,
            memory_total: memory_total(),
            state: Mutex::new(State {
                last: Sample {
                    at: Instant::now(),
                    cpu: cpu_time(),
                    busy_ns: 0,
                    served: 0,
                    errors: 0,
                },
                served: 0,
                errors: 0,
                header: HeaderValue::from_static("TEXT application_utilization=0"),
            }),
        }
    }

    /// Counts one response and gives the header that it shall carry.
    pub(crate) fn count(&self, error: bool, usage: impl FnOnce() -> Usage) -> HeaderValue {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.served += 1;
        state.errors += u64::from(error);
        let elapsed = state.last.at.elapsed();
        if elapsed >= SAMPLE_EVERY {
            self.sample(&mut state, elapsed.as_secs_f64(), usage().busy_ns);
        }
        state.header.clone()
    }

    fn sample(&self, state: &mut State, seconds: f64, busy_ns: u64) {
        let slots = busy_ns.saturating_sub(state.last.busy_ns) as f64
            / (seconds * 1e9 * f64::from(self.slots.max(1)));
        let cpu_now = cpu_time();
        let cpu = match self.source {
            CpuSource::Slots => Some(slots),
            CpuSource::Process => cpu_now
                .zip(state.last.cpu)
                .map(|(now, then)| now.saturating_sub(then).as_secs_f64() / (seconds * cores())),
        };
        let memory = memory_resident()
            .zip(self.memory_total)
            .map(|(used, total)| used as f64 / total.max(1) as f64);
        let rps = (state.served - state.last.served) as f64 / seconds;
        let eps = (state.errors - state.last.errors) as f64 / seconds;
        if let Ok(value) = HeaderValue::from_str(&render(cpu, memory, slots, rps, eps)) {
            state.header = value;
        }
        state.last = Sample {
            at: Instant::now(),
            cpu: cpu_now,
            busy_ns,
            served: state.served,
            errors: state.errors,
        };
    }
}

fn render(cpu: Option<f64>, memory: Option<f64>, slots: f64, rps: f64, eps: f64) -> String {
    let mut text = String::from("TEXT ");
    // Writing to a `String` cannot fail.
    let mut put = |name: &str, value: f64| {
        write!(text, "{name}={value:.4},").ok();
    };
    if let Some(cpu) = cpu {
        put("cpu_utilization", cpu);
    }
    if let Some(memory) = memory {
        put("mem_utilization", memory);
    }
    put("application_utilization", slots);
    put("rps_fractional", rps);
    put("eps", eps);
    text.truncate(text.len() - 1);
    text
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

/// User and system time of this process, fields 14 and 15 of `/proc/self/stat` (proc(5)).
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may itself hold blanks and parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.saturating_add(system))
}

fn memory_resident() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// The memory limit of the control group where there is one, else the memory of the machine, in KiB.
fn memory_total() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(|bytes| bytes / 1024);
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

fn kilobytes(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{cpu_time, memory_resident, memory_total, render};

    #[test]
    fn the_header_is_orca_text_and_leaves_out_what_is_unknown() {
        assert_eq!(
            render(Some(0.25), Some(0.5), 1.0, 12.5, 0.0),
            "TEXT cpu_utilization=0.2500,mem_utilization=0.5000,application_utilization=1.0000,rps_fractional=12.5000,eps=0.0000"
        );
        assert!(!render(None, None, 0.0, 0.0, 0.0).contains("cpu"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_cpu_and_memory_of_this_process() {
        assert!(cpu_time().is_some());
        let (used, total) = (memory_resident().unwrap(), memory_total().unwrap());
        assert!(used > 0 && used < total, "{used} of {total}");
    }
}
