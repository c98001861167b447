//! The thread that sends spans, and what makers of spans hold.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_model::config::Tracing;

use crate::queue::{Failure, Queue};
use crate::span::Span;
use crate::wire::{self, Sender};

/// A maker hands its spans over when they are this many, or when it thinks of it.
const BATCH: usize = 64;
/// Batches that may wait for the thread, besides what it holds itself.
const BATCHES_WAITING: usize = 64;
/// Longest wait for a collector's answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same at the end of the process, for everything that still waits.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Where spans go, and as whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    endpoint: String,
    sender: Sender,
}

impl Target {
    /// As configured, for the instance called so.
    pub fn new(tracing: &Tracing, instance: Option<&str>, version: &str) -> Self {
        Self {
            endpoint: tracing.endpoint.clone(),
            sender: Sender {
                service: tracing.service_name.clone(),
                version: version.to_owned(),
                instance: instance.map(str::to_owned),
            },
        }
    }
}

/// What became of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanCounts {
    /// Taken by the collector.
    pub sent: u64,
    /// Dropped, because too many waited.
    pub dropped: u64,
    /// Refused by the collector, or given up after the last attempt.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Cells {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// The sending side. Idle until it has a target.
#[derive(Debug)]
pub struct Exporter {
    sender: Option<SyncSender<Vec<Span>>>,
    target: Arc<Mutex<Option<Target>>>,
    cells: Arc<Cells>,
    thread: Option<JoinHandle<()>>,
}

/// What one maker of spans holds.
#[derive(Debug)]
pub struct SpanBuffer {
    spans: Vec<Span>,
    sender: SyncSender<Vec<Span>>,
    cells: Arc<Cells>,
}

impl Exporter {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (sender, inbox) = sync_channel(BATCHES_WAITING);
        let cells = Arc::new(Cells::default());
        let target = Arc::default();
        let line = Line {
            target: Arc::clone(&target),
            queue: Queue::default(),
            cells: Arc::clone(&cells),
            is_failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || line.run(&inbox))?;
        Ok(Self {
            sender: Some(sender),
            target,
            cells,
            thread: Some(thread),
        })
    }

    /// Where spans go from now on; `None`: nowhere, and what waits is given up.
    pub fn aim(&self, target: Option<Target>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// For one maker of spans.
    pub fn buffer(&self) -> Option<SpanBuffer> {
        Some(SpanBuffer {
            spans: Vec::new(),
            sender: self.sender.clone()?,
            cells: Arc::clone(&self.cells),
        })
    }

    /// What became of spans so far.
    pub fn counts(&self) -> SpanCounts {
        SpanCounts {
            sent: self.cells.sent.load(Ordering::Relaxed),
            dropped: self.cells.dropped.load(Ordering::Relaxed),
            failed: self.cells.failed.load(Ordering::Relaxed),
        }
    }

    /// Sends what waits, if the collector takes it at once, and ends the thread. Every [`SpanBuffer`] must be gone.
    pub fn close(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that sends spans died");
        }
    }
}

impl SpanBuffer {
    /// Adds a span that is over.
    pub fn add(&mut self, span: Span) {
        self.spans.push(span);
        if self.spans.len() >= BATCH {
            self.hand_over();
        }
    }

    /// Hands over what was added, or drops and counts it where too much waits already.
    pub fn hand_over(&mut self) {
        if self.spans.is_empty() {
            return;
        }
        let spans = std::mem::take(&mut self.spans);
        let many = spans.len() as u64;
        if self.sender.try_send(spans).is_err() {
            self.cells.dropped.fetch_add(many, Ordering::Relaxed);
        }
    }
}

impl Drop for SpanBuffer {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// What the thread owns.
struct Line {
    target: Arc<Mutex<Option<Target>>>,
    queue: Queue,
    cells: Arc<Cells>,
    /// The last attempt failed; said once, not each time.
    is_failing: bool,
}

impl Line {
    fn run(mut self, inbox: &Receiver<Vec<Span>>) {
        loop {
            let message = match self.queue.leaves_at() {
                None => inbox.recv().map_err(RecvTimeoutError::from),
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(spans) => self.take(spans),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if self.queue.leaves_at().is_some_and(|at| at <= now) {
                self.attempt(TIMEOUT);
            }
        }
        self.last_word();
    }

    fn take(&mut self, spans: Vec<Span>) {
        let lost = self.queue.push(spans, Instant::now());
        self.cells.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    /// Sends one message.
    fn attempt(&mut self, timeout: Duration) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = target.clone() else {
            let lost = self.queue.clear();
            self.cells.failed.fetch_add(lost, Ordering::Relaxed);
            return;
        };
        let outcome = post(&target, self.queue.message(), timeout);
        let now = Instant::now();
        match outcome {
            Ok(rejected) => {
                let sent = self.queue.sent(now).saturating_sub(rejected);
                self.cells.sent.fetch_add(sent, Ordering::Relaxed);
                self.cells.failed.fetch_add(rejected, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(endpoint = %target.endpoint, "the collector takes spans again");
                }
            }
            Err((failure, why)) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(endpoint = %target.endpoint, %why, "the collector does not take spans; they are tried again, then dropped and counted (evenkeel_trace_spans)");
                }
                let lost = self.queue.failed(&failure, now);
                self.cells.failed.fetch_add(lost, Ordering::Relaxed);
            }
        }
    }

    /// One attempt at everything that waits, within a time that no drain notices.
    fn last_word(&mut self) {
        let by = Instant::now() + LAST_WORD;
        while !self.queue.is_empty() {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.attempt(left);
            if self.is_failing {
                break;
            }
        }
        let lost = self.queue.clear();
        self.cells.failed.fetch_add(lost, Ordering::Relaxed);
    }
}

/// Sends one message; returns the spans of it that the collector did not keep, or what to do about it and why.
fn post(target: &Target, spans: &[Span], timeout: Duration) -> Result<u64, (Failure, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .build()
        .into();
    let sent = agent
        .post(&target.endpoint)
        .header("content-type", "application/x-protobuf")
        .header("user-agent", format!("evenkeel/{}", target.sender.version))
        .send(wire::body(&target.sender, spans));
    let mut answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Err((Failure::Later { after: None }, error.to_string())),
    };
    let status = answer.status().as_u16();
    // The four that the protocol names; any other refusal would be repeated.
    match status {
        200..=299 => {
            let body = answer.body_mut().with_config().limit(ANSWER_MAX);
            let body = body.read_to_vec().unwrap_or_default();
            let rejected = wire::rejected(&body).map_or(0, |(rejected, why)| {
                tracing::warn!(rejected, %why, "the collector did not keep all spans");
                rejected
            });
            Ok(rejected)
        }
        429 | 502 | 503 | 504 => {
            let after = answer.headers().get("retry-after");
            let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
            let after = after.map(Duration::from_secs);
            Err((Failure::Later { after }, format!("it answers {status}")))
        }
        _ => Err((Failure::Never, format!("it answers {status}"))),
    }
}

/// Bytes of an answer that are read.
const ANSWER_MAX: u64 = 64 * 1024;
