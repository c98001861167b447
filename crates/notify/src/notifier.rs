//! One thread per receiver: its queue, its attempts, its retries.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Inbox, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use evenkeel_incident::Notice;
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Receiver;
use evenkeel_model::ids::{IncidentId, Name};

use crate::sign::Secret;
use crate::wire;

/// Notices that may wait for one receiver, retries included; the oldest is given up beyond it.
pub const QUEUE_MAX: usize = 256;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Waits before each further attempt, as the specification proposes, to the point where a page is of no use.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
];
/// Longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(2);

/// One attempt and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The incident it was about.
    pub incident: Option<IncidentId>,
    /// The escalation level that was paged, 1 for the first.
    pub level: Option<usize>,
    /// To whom.
    pub receiver: Name,
    /// Whether it arrived.
    pub ok: bool,
    /// The status, or what failed and when it is tried again.
    pub detail: String,
}

type Report = Arc<dyn Fn(Attempt) + Send + Sync>;

/// The senders of all receivers.
pub struct Notifier {
    lines: Vec<(Name, SyncSender<Notice>)>,
    report: Report,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&Name> = self.lines.iter().map(|(name, _)| name).collect();
        f.debug_struct("Notifier")
            .field("receivers", &names)
            .finish_non_exhaustive()
    }
}

impl Notifier {
    /// Starts a thread for each receiver. A receiver whose secret cannot be read still takes notices, and answers
    /// each with that error: a page that cannot be sent must be seen as such. `admin` is the address put before links.
    pub fn start(
        receivers: &[Receiver],
        admin: &str,
        report: impl Fn(Attempt) + Send + Sync + 'static,
    ) -> Self {
        let report: Report = Arc::new(report);
        let mut lines = Vec::new();
        for receiver in receivers {
            let (sender, inbox) = sync_channel(QUEUE_MAX);
            let line = Line {
                receiver: receiver.clone(),
                admin: admin.to_owned(),
                report: Arc::clone(&report),
                queue: VecDeque::new(),
                disabled: None,
            };
            let spawned = std::thread::Builder::new()
                .name(format!("notify-{}", receiver.name))
                .spawn(move || line.run(&inbox));
            match spawned {
                Ok(_detached) => lines.push((receiver.name.clone(), sender)),
                Err(error) => {
                    tracing::error!(receiver = %receiver.name, %error, "no thread for the receiver");
                }
            }
        }
        Self { lines, report }
    }

    /// Queues a notice. The outcome of each attempt is reported; so is a notice that cannot be queued.
    pub fn send(&self, receiver: &Name, notice: &Notice) {
        let line = self.lines.iter().find(|(name, _)| name == receiver);
        let failed = match line {
            None => Some("there is no such receiver".to_owned()),
            Some((_, sender)) => sender
                .try_send(notice.clone())
                .err()
                .map(|_full| format!("{QUEUE_MAX} notices already wait for this receiver")),
        };
        if let Some(detail) = failed {
            let attempt = Attempt {
                incident: notice.incident,
                level: notice.level,
                receiver: receiver.clone(),
                ok: false,
                detail,
            };
            (self.report)(attempt);
        }
    }
}

/// How long to wait before attempt `made` + 1; `None`: give up. A receiver's own wish is honoured up to two hours.
pub fn retry_after(made: usize, asked: Option<Duration>) -> Option<Duration> {
    let scheduled = RETRIES.get(made.checked_sub(1)?)?;
    Some(asked.map_or(*scheduled, |asked| {
        asked.min(RETRY_AFTER_MAX).max(*scheduled)
    }))
}

struct Waiting {
    id: String,
    notice: Notice,
    made: usize,
    due: Instant,
}

struct Line {
    receiver: Receiver,
    admin: String,
    report: Report,
    queue: VecDeque<Waiting>,
    /// The receiver said 410 Gone: nothing more is sent to it.
    disabled: Option<String>,
}

enum Failure {
    Retry {
        why: String,
        asked: Option<Duration>,
    },
    Final(String),
    Gone(String),
}

impl Line {
    fn run(mut self, inbox: &Inbox<Notice>) {
        loop {
            let now = Instant::now();
            let due = self.queue.iter().map(|waiting| waiting.due).min();
            let message = match due {
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(now)),
                None => inbox
                    .recv()
                    .map_err(|_closed| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(notice) => self.push(notice),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.send_due();
        }
        if !self.queue.is_empty() {
            tracing::warn!(receiver = %self.receiver.name, lost = self.queue.len(), "notices were still waiting for a retry");
        }
    }

    fn push(&mut self, notice: Notice) {
        if self.queue.len() == QUEUE_MAX
            && let Some(oldest) = self.queue.pop_front()
        {
            self.tell(
                &oldest.notice,
                false,
                "given up for newer notices".to_owned(),
            );
        }
        self.queue.push_back(Waiting {
            id: message_id(),
            notice,
            made: 0,
            due: Instant::now(),
        });
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        let (due, later): (VecDeque<_>, VecDeque<_>) =
            self.queue.drain(..).partition(|w| w.due <= now);
        self.queue = later;
        for mut waiting in due {
            waiting.made += 1;
            match self.attempt(&waiting) {
                Ok(status) => self.tell(&waiting.notice, true, status.to_string()),
                Err(Failure::Final(why)) => self.tell(&waiting.notice, false, why),
                Err(Failure::Gone(why)) => {
                    self.tell(&waiting.notice, false, why.clone());
                    self.disabled = Some(why);
                }
                Err(Failure::Retry { why, asked }) => match retry_after(waiting.made, asked) {
                    Some(wait) => {
                        let detail = format!("{why}; tried again in {} s", wait.as_secs());
                        self.tell(&waiting.notice, false, detail);
                        waiting.due = Instant::now() + wait;
                        self.queue.push_back(waiting);
                    }
                    None => self.tell(&waiting.notice, false, format!("{why}; given up")),
                },
            }
        }
    }

    fn attempt(&self, waiting: &Waiting) -> Result<u16, Failure> {
        if let Some(why) = &self.disabled {
            return Err(Failure::Final(why.clone()));
        }
        // Read anew each time, so that a rotated or repaired secret works without a restart.
        let secret = Secret::read(&self.receiver.secret_file).map_err(|error| Failure::Retry {
            why: error.to_string(),
            asked: None,
        })?;
        let body = wire::body(&waiting.notice, &self.admin);
        let timestamp_s = now_s();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .build()
            .into();
        let answer = agent
            .post(&self.receiver.url)
            .header("content-type", "application/json")
            .header("webhook-id", &waiting.id)
            .header("webhook-timestamp", timestamp_s.to_string())
            .header(
                "webhook-signature",
                secret.sign(&waiting.id, timestamp_s, &body),
            )
            .send(&body);
        match answer {
            Ok(answer) => judge(
                answer.status().as_u16(),
                answer
                    .headers()
                    .get("retry-after")
                    .and_then(|v| v.to_str().ok()),
            ),
            Err(error) => Err(Failure::Retry {
                why: error.to_string(),
                asked: None,
            }),
        }
    }

    fn tell(&self, notice: &Notice, ok: bool, detail: String) {
        if !ok {
            tracing::warn!(receiver = %self.receiver.name, detail, "notice not delivered");
        }
        let receiver = self.receiver.name.clone();
        (self.report)(Attempt {
            incident: notice.incident,
            level: notice.level,
            receiver,
            ok,
            detail,
        });
    }
}

/// 2xx is success, 410 the end of this receiver, every other answer a failure that is tried again.
fn judge(status: u16, retry_after: Option<&str>) -> Result<u16, Failure> {
    match status {
        200..=299 => Ok(status),
        410 => Err(Failure::Gone(
            "410: the receiver wants nothing more".to_owned(),
        )),
        _ => {
            let asked = retry_after
                .and_then(|v| v.trim().parse().ok())
                .map(Duration::from_secs);
            Err(Failure::Retry {
                why: format!("status {status}"),
                asked,
            })
        }
    }
}

/// The same for every attempt of one notice: receivers use it to drop repeats.
fn message_id() -> String {
    let mut bytes = [0u8; 12];
    // Without randomness the time still tells two messages apart.
    if getrandom::fill(&mut bytes).is_err() {
        return format!("msg_{}", now_s());
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{hex}")
}

fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Wall(since.unwrap_or_default().as_millis() as u64).0 / 1_000
}
