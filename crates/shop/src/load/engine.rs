//! The thread of the load generator: takes arrivals when they are due and gives each a task of its own.
//!
//! Everything is on one thread, so state is shared by `Rc`; no borrow is held over an await.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_model::rng::Rng;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::arrivals::Arrivals;
use super::client::{Answer, Broken, Connection, Names};
use super::mix::{Planned, Planner};
use super::report::{Second, count_instance};
use super::{LoadOptions, Shared};

/// How often the dials are looked at when nothing is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Cookies kept per client identity.
const COOKIES_MAX: usize = 8;

struct Engine {
    target: SocketAddr,
    options: LoadOptions,
    shared: Arc<Shared>,
    start: Instant,
    slots: Semaphore,
    /// Connections that are open.
    open: Rc<Cell<u32>>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Held>,
    opened: u64,
    outstanding: u32,
    names: Names,
    cookies: BTreeMap<u32, Vec<(String, String)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Connect,
    Reset,
    Timeout,
}

pub(super) fn run(
    runtime: &Runtime,
    target: (SocketAddr, String),
    options: LoadOptions,
    shared: Arc<Shared>,
) {
    let (target, host) = target;
    runtime.block_on(async move {
        let engine = Rc::new(Engine {
            target,
            slots: Semaphore::new(options.connections.max(options.connections_max) as usize),
            open: Rc::default(),
            options,
            shared,
            start: Instant::now(),
            state: RefCell::default(),
        });
        let local = LocalSet::new();
        local.run_until(dispatch(&engine, &host)).await;
        // What is under way ends by its own deadline.
        local.await;
    });
}

async fn dispatch(engine: &Rc<Engine>, host: &str) {
    let options = &engine.options;
    let mut rng = Rng::new(options.seed);
    let mut arrivals = Arrivals::new(rng.fork(1), options.rate);
    let run = options.run.clone().unwrap_or_else(random_run);
    let mut planner = Planner::new(rng.fork(2), options.sessions, host, &run);
    let mut profile: VecDeque<(Duration, f64)> = options.profile.iter().copied().collect();
    let mut seen = None;
    let mut retries = options.retries;
    loop {
        let now = engine.start.elapsed();
        let until = options.duration.map_or(now, |end| end.min(now));
        {
            let dials = engine.shared.dials();
            if dials.stop {
                return;
            }
            if seen != Some(dials.version) {
                seen = Some(dials.version);
                planner.set(dials.mix.clone(), dials.key.clone(), dials.session_skew);
                retries = dials.retries;
                if let Some(rate) = dials.rate {
                    profile.clear();
                    arrivals.set_rate(now, rate);
                }
            }
        }
        loop {
            // What is due before a step of the profile belongs to the rate before it.
            let step = profile.front().copied().filter(|(at, _)| *at <= until);
            let limit = step.map_or(until, |(at, _)| at);
            while let Some(due) = arrivals.pop(limit) {
                admit(engine, planner.plan(), due, retries);
            }
            let Some((at, rate)) = step else { break };
            profile.pop_front();
            arrivals.set_rate(at, rate);
        }
        if options.duration.is_some_and(|end| now >= end) {
            return;
        }
        engine.book(|_| {});
        let next = [
            arrivals.due(),
            profile.front().map(|(at, _)| *at),
            options.duration,
        ];
        let wake = next
            .into_iter()
            .flatten()
            .fold(now + LOOK_EVERY, Duration::min);
        sleep_until(engine.start + wake.max(now)).await;
    }
}

fn random_run() -> String {
    // Only tells runs apart; a failing generator of the system is no reason not to run.
    getrandom::u64().map_or_else(|_error| "run".to_owned(), |n| format!("{n:016x}"))
}

fn admit(engine: &Rc<Engine>, planned: Planned, due: Duration, retries: u32) {
    let session = planned.session;
    let admitted = {
        let mut state = engine.state.borrow_mut();
        let room = state.outstanding < engine.options.outstanding;
        state.outstanding += u32::from(room);
        room
    };
    {
        let mut book = engine.shared.book();
        book.seen(session);
        if admitted {
            book.outstanding += 1;
            book.at(engine.start.elapsed(), |second| second.sent += 1);
        } else {
            book.harmed(session);
            book.at(engine.start.elapsed(), |second| {
                second.shed += 1;
                second.harmed += 1;
            });
        }
    }
    if admitted {
        let engine = Rc::clone(engine);
        tokio::task::spawn_local(async move {
            let outcome = engine.attempts(&planned, retries).await;
            engine.conclude(session, due, &outcome);
        });
    }
}

impl Engine {
    fn book(&self, change: impl Fn(&mut Second)) {
        self.shared.book().at(self.start.elapsed(), change);
    }

    async fn attempts(&self, planned: &Planned, retries: u32) -> Result<Answer, Failure> {
        let mut left = retries;
        loop {
            let outcome = self.attempt(planned).await;
            let bad = outcome.as_ref().map_or(true, |answer| answer.status >= 500);
            if !bad || left == 0 {
                return outcome;
            }
            left -= 1;
            self.book(|second| second.retries += 1);
            if !self.options.retry_backoff.is_zero() {
                sleep(self.options.retry_backoff).await;
            }
        }
    }

    async fn attempt(&self, planned: &Planned) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.options.timeout;
        match timeout_at(deadline, self.exchange(planned)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Failure::Timeout),
        }
    }

    async fn exchange(&self, planned: &Planned) -> Result<Answer, Failure> {
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_closed| Failure::Connect)?;
        let request = self.bytes(planned);
        let head_only = planned.head.starts_with("HEAD ");
        let mut held = self.connection().await?;
        loop {
            let used = held.connection.served > 0;
            match held.connection.exchange(&request, head_only).await {
                Ok(answer) => {
                    self.give_back(held, answer.close);
                    self.keep_cookies(planned.session, &answer);
                    return Ok(answer);
                }
                // RFC 9112, 9.3.1: an idle connection may close while the request is on its way.
                Err(Broken::Unanswered) if used && planned.idempotent => {
                    drop(held);
                    self.book(|second| second.reconnects += 1);
                    held = self.open().await?;
                }
                Err(_) => return Err(Failure::Reset),
            }
        }
    }

    fn give_back(&self, held: Held, close: bool) {
        let limit = self.options.requests_per_connection;
        let worn = limit.is_some_and(|limit| held.connection.served >= limit);
        let extra = self.open.get() > self.options.connections;
        if !close && !worn && !extra {
            self.state.borrow_mut().idle.push_back(held);
        }
    }

    /// A connection: a new one until all are open, then the one that has been idle longest, and a new one again
    /// when none is idle.
    async fn connection(&self) -> Result<Held, Failure> {
        while self.open.get() >= self.options.connections {
            let Some(held) = self.state.borrow_mut().idle.pop_front() else {
                break;
            };
            if held.connection.is_alive() {
                return Ok(held);
            }
        }
        self.open().await
    }

    async fn open(&self) -> Result<Held, Failure> {
        let source = {
            let mut state = self.state.borrow_mut();
            state.opened += 1;
            let sources = u64::from(self.options.source_addresses);
            (sources > 1).then(|| {
                let last = 1 + (state.opened % sources) as u8;
                SocketAddr::from((Ipv4Addr::new(127, 1, 1, last), 0))
            })
        };
        // Counted before it is there, so that others do not open beyond the limit meanwhile.
        let counted = Counted::new(&self.open);
        let connection = Connection::open(self.target, source)
            .await
            .map_err(|_error| Failure::Connect)?;
        self.book(|second| second.connections += 1);
        Ok(Held {
            connection,
            _counted: counted,
        })
    }

    fn bytes(&self, planned: &Planned) -> Vec<u8> {
        let mut text = planned.head.clone();
        if let Some(name) = &self.options.session_cookie {
            text.push_str("cookie: ");
            text.push_str(name);
            text.push_str("=s");
            text.push_str(&planned.session.to_string());
            if let Some(cookies) = self.state.borrow().cookies.get(&planned.session) {
                for (name, value) in cookies {
                    text.push_str("; ");
                    text.push_str(name);
                    text.push('=');
                    text.push_str(value);
                }
            }
            text.push_str("\r\n");
        }
        if !planned.body.is_empty() || planned.head.starts_with("POST ") {
            text.push_str("content-length: ");
            text.push_str(&planned.body.len().to_string());
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.push_str(&planned.body);
        text.into_bytes()
    }

    fn keep_cookies(&self, session: u32, answer: &Answer) {
        let Some(own) = &self.options.session_cookie else {
            return;
        };
        for (name, value) in &answer.cookies {
            if name == own {
                continue;
            }
            let mut state = self.state.borrow_mut();
            let jar = state.cookies.entry(session).or_default();
            jar.retain(|(known, _)| known != name);
            if !value.is_empty() && jar.len() < COOKIES_MAX {
                jar.push((name.clone(), value.clone()));
            }
        }
    }

    fn conclude(&self, session: u32, due: Duration, outcome: &Result<Answer, Failure>) {
        let now = self.start.elapsed();
        let took = now.saturating_sub(due);
        let instance = {
            let mut state = self.state.borrow_mut();
            state.outstanding -= 1;
            let answer = outcome.as_ref().ok();
            answer
                .and_then(|answer| answer.instance.as_deref())
                .map(|name| state.names.intern(name))
        };
        let failed = outcome.as_ref().map_or(true, |answer| answer.status >= 500);
        let refused = outcome
            .as_ref()
            .is_ok_and(|a| (400..500).contains(&a.status));
        let slow = !failed && !refused && took > self.options.objective;
        let mut book = self.shared.book();
        book.outstanding -= 1;
        if failed || slow {
            book.harmed(session);
        }
        book.at(now, |second| {
            match outcome {
                Err(Failure::Connect) => second.connect_failed += 1,
                Err(Failure::Reset) => second.reset += 1,
                Err(Failure::Timeout) => second.timeout += 1,
                Ok(answer) => {
                    match answer.status {
                        500.. => second.server_error += 1,
                        400..=499 => second.client_error += 1,
                        _ => second.ok += 1,
                    }
                    second.latency.record(took.as_micros() as u64);
                }
            }
            second.harmed += u64::from(failed || slow);
            second.slow += u64::from(slow);
            if let Some(instance) = &instance {
                count_instance(second, instance);
            }
        });
    }
}

/// Counts one connection as open until it is dropped.
struct Counted(Rc<Cell<u32>>);

impl Counted {
    fn new(open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// An open connection; dropping it closes it.
struct Held {
    connection: Connection,
    _counted: Counted,
}
