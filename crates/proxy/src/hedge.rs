//! A second backend for a request whose first one is slow: the first answer wins, the other is closed.
//!
//! Only for a request that can do no harm twice: its method is idempotent, it has no body, it asks for no upgrade, and no
//! cookie binds its client. The second try ([`Spare`]) is independent of the client's connection: it holds the request's bytes, so the
//! first try goes on unchanged beside it. Whoever loses is dropped where it stands, which closes its connection and
//! gives its slots back.
//!
//! What a loser tells: it is counted as cancelled, in no response time and in no failure. The picker learns that the
//! first took at least as long as it did, so that a slow backend is not taken for a quick one because its slow answers
//! are never heard.
//!
//! A second that answers with a 5xx or 429 has not won anything: failing is quick, and the first may still be good.
//!
//! Limits: an interim response (1xx) of the first backend ends the race, because the client has begun to read it;
//! those of the second are dropped. When the first fails while the second is asked, the client's leaving is seen only
//! at the end of that try.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use evenkeel_balance::How;
use evenkeel_http1::{BodyDecoder, BodyLength, Limits, Method, ResponseHead, parse_response};
use evenkeel_model::config::Priority;

use crate::age::Age;
use crate::attempt::{Failed, RESPONSE_HEAD_MAX, Upstream};
use crate::buf::{BLOCK, Buf};
use crate::counts::Outcome;
use crate::exchange::{Exchange, Seeking, Tried};
use crate::fault::Fault;
use crate::pump::{Encoding, Pump};
use crate::record::{Hedging, Try};
use crate::state::{PoolView, Worker};
use crate::stream::Stream;

/// What became of second tries in one pool, over all workers. Kept by pool over reloads.
#[derive(Debug, Default)]
pub(crate) struct HedgeCells {
    made: AtomicU64,
    won: AtomicU64,
    failed: AtomicU64,
    over_budget: AtomicU64,
    no_room: AtomicU64,
}

/// What became of second tries in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hedges {
    /// A second backend was asked.
    pub made: u64,
    /// Its answer came first.
    pub won: u64,
    /// It failed; the first went on.
    pub failed: u64,
    /// It was not asked: the budget was used up.
    pub over_budget: u64,
    /// It was not asked: no other backend had room, or requests waited for it.
    pub no_room: u64,
}

impl HedgeCells {
    /// The counts.
    pub(crate) fn view(&self) -> Hedges {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Hedges {
            made: read(&self.made),
            won: read(&self.won),
            failed: read(&self.failed),
            over_budget: read(&self.over_budget),
            no_room: read(&self.no_room),
        }
    }
}

fn count(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

/// A second try that may come.
struct Spare {
    worker: Rc<Worker>,
    pool: Rc<PoolView>,
    /// The backend of the first try.
    first: usize,
    key: Option<u64>,
    priority: Priority,
    method: Method,
    /// The request as it goes to a backend.
    text: Vec<u8>,
    /// When it is made.
    at: Instant,
    /// When all tries together must have a head.
    deadline: Instant,
    is_asked: Rc<Cell<bool>>,
}

/// A second try that was answered.
struct Seconded {
    upstream: Upstream,
    attempt: Try,
    response: ResponseHead,
}

/// How the race ended.
enum Race {
    First(Box<Result<Upstream, Failed>>),
    /// What the first failed with, if it did.
    Second(Box<Seconded>, Option<Failed>),
}

impl Exchange<'_> {
    /// Asks the backend of `attempt`, and another one when it is slow and the pool hedges. On success `attempt` is the
    /// try that was answered.
    pub(crate) async fn ask(
        &mut self,
        pool: &Rc<PoolView>,
        attempt: &mut Try,
        fresh: bool,
        response: &mut ResponseHead,
        tried: &mut Tried,
    ) -> Result<Upstream, Failed> {
        let Some(spare) = self.spare(pool, attempt) else {
            return self.attempt(pool, attempt, fresh, response).await;
        };
        // Boxed: the few pools that hedge must not make the task of every connection larger.
        Box::pin(self.hedged(pool, attempt, spare, response, tried)).await
    }

    /// The second try of a request that may have one.
    fn spare(&self, pool: &Rc<PoolView>, attempt: &Try) -> Option<Spare> {
        let hedge = pool.state.pool.hedge.as_ref()?;
        let may = self.record.attempts == 1
            && self.head.method_kind.is_idempotent()
            && self.head.body == BodyLength::None
            && self.upgrade.is_none()
            && self.binding.is_none()
            && pool.state.members.len() > 1
            && !self.connection.worker.is_tight();
        let after = may.then(|| pool.pool.hedger.borrow_mut().on_request(hedge))??;
        Some(Spare {
            worker: Rc::clone(&self.connection.worker),
            pool: Rc::clone(pool),
            first: attempt.backend(),
            key: self.key,
            priority: self.priority,
            method: self.head.method_kind,
            text: self.head_text(),
            at: attempt.picked_at + after,
            deadline: self.record.started + pool.state.pool.request_timeout,
            is_asked: Rc::default(),
        })
    }

    async fn hedged(
        &mut self,
        pool: &Rc<PoolView>,
        attempt: &mut Try,
        spare: Spare,
        response: &mut ResponseHead,
        tried: &mut Tried,
    ) -> Result<Upstream, Failed> {
        let is_asked = Rc::clone(&spare.is_asked);
        let cells = &pool.state.hedges;
        let race = self.race(pool, attempt, spare, response).await;
        if is_asked.get() {
            self.record.attempts += 1;
            self.record.hedging = Some(Hedging::Lost);
        }
        let (seconded, failed) = match race {
            Race::First(result) => return *result,
            Race::Second(seconded, failed) => (*seconded, failed),
        };
        count(&cells.won);
        self.record.hedging = Some(Hedging::Won);
        let mut loser = std::mem::replace(attempt, seconded.attempt);
        if let Some(failed) = failed {
            tried.push(loser.backend());
            self.tell_failed(failed.fault, &mut loser);
            loser.end(failed.fault.outcome());
        } else {
            let now = Instant::now();
            let took = now.saturating_duration_since(loser.picked_at);
            loser.tell(self.connection.worker.mono(now), took, How::Overtaken);
            loser.end(Outcome::Cancelled);
        }
        self.record.backend = Some(attempt.backend());
        *response = seconded.response;
        Ok(seconded.upstream)
    }

    async fn race(
        &mut self,
        pool: &Rc<PoolView>,
        attempt: &Try,
        spare: Spare,
        response: &mut ResponseHead,
    ) -> Race {
        let (is_asked, is_begun) = (Rc::clone(&spare.is_asked), Rc::new(Cell::new(false)));
        self.interim = Some(Rc::clone(&is_begun));
        let mut first = pin!(self.attempt(pool, attempt, false, response));
        let mut failed: Option<Failed> = None;
        let mut second: Option<Pin<Box<dyn Future<Output = Option<Seconded>>>>> =
            Some(Box::pin(spare.run()));
        poll_fn(|cx| {
            if failed.is_none()
                && let Poll::Ready(result) = first.as_mut().poll(cx)
            {
                match result {
                    Err(why) if why.fault.is_backends() && is_asked.get() && second.is_some() => {
                        failed = Some(why);
                    }
                    result => return Poll::Ready(Race::First(Box::new(result))),
                }
            }
            if is_begun.get() {
                second = None;
            }
            if let Some(other) = &mut second {
                match other.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => second = None,
                    Poll::Ready(Some(seconded)) => {
                        return Poll::Ready(Race::Second(Box::new(seconded), failed.take()));
                    }
                }
            }
            match failed.take() {
                Some(failed) => Poll::Ready(Race::First(Box::new(Err(failed)))),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Spare {
    /// Waits for its time, asks another backend, and waits for its response head. `None`: it was not made, or failed.
    async fn run(self) -> Option<Seconded> {
        tokio::time::sleep_until(self.at.into()).await;
        let mut attempt = self.start()?;
        let cells = &self.pool.state.hedges;
        count(&cells.made);
        self.is_asked.set(true);
        let by = attempt.picked_at + self.pool.state.pool.response_timeout;
        let asked = tokio::time::timeout_at(by.min(self.deadline).into(), self.ask(&attempt));
        let outcome = match asked.await {
            Ok(Ok((_, response))) if How::of_status(response.status) == How::Failed => {
                Outcome::Status(response.status)
            }
            Ok(Ok((upstream, response))) => {
                return Some(Seconded {
                    upstream,
                    attempt,
                    response,
                });
            }
            Ok(Err(fault)) => fault.outcome(),
            Err(_elapsed) => Fault::ResponseTimeout.outcome(),
        };
        count(&cells.failed);
        let now = Instant::now();
        let took = now.saturating_duration_since(attempt.picked_at);
        attempt.tell(self.worker.mono(now), took, How::Failed);
        attempt.end(outcome);
        None
    }

    /// Takes a slot of another backend, within the budget and where nobody waits for it.
    fn start(&self) -> Option<Try> {
        let cells = &self.pool.state.hedges;
        let hedger = &self.pool.pool.hedger;
        if !hedger.borrow_mut().take() {
            count(&cells.over_budget);
            return None;
        }
        let seeking = Seeking {
            tried: &[self.first],
            key: self.key,
            bound: None,
            priority: self.priority,
        };
        let is_free = self.pool.state.gate.is_empty() && !self.worker.is_tight();
        let found = is_free.then(|| seeking.seek(&self.worker, &self.pool, Instant::now()));
        match found {
            Some(Ok(mut attempt)) if attempt.backend() != self.first => {
                attempt.is_spare();
                Some(attempt)
            }
            _ => {
                hedger.borrow_mut().give_back();
                count(&cells.no_room);
                None
            }
        }
    }

    async fn ask(&self, attempt: &Try) -> Result<(Upstream, ResponseHead), Fault> {
        let origin = self.pool.origins.get(attempt.backend());
        let origin = origin.ok_or(Fault::ConnectFailed)?;
        let keep = &self.pool.state.pool.keep;
        let kept = poll_fn(|cx| Poll::Ready(origin.take(keep, cx))).await;
        if let Some((stream, age)) = kept {
            match self.converse(stream, age).await {
                // A kept-alive connection that the backend has closed meanwhile; nothing of an answer was seen.
                Err((Fault::BackendClosed | Fault::BackendReset, false)) => {}
                result => return result.map_err(|(fault, _)| fault),
            }
        }
        let by = Instant::now() + self.pool.state.pool.connect_timeout;
        let connecting = tokio::time::timeout_at(by.into(), origin.connect());
        let stream = match connecting.await {
            Ok(connected) => connected?,
            Err(_elapsed) => return Err(Fault::ConnectTimeout),
        };
        let age = Age::new(Instant::now(), self.worker.spread());
        let asked = self.converse(stream, age).await;
        asked.map_err(|(fault, _)| fault)
    }

    /// Sends the request and reads the response head. On an error also whether anything was received.
    async fn converse(
        &self,
        mut stream: Stream,
        age: Age,
    ) -> Result<(Upstream, ResponseHead), (Fault, bool)> {
        let sent = stream.write_all(&self.text).await;
        sent.map_err(|_error| (Fault::BackendReset, false))?;
        let sent_at = Instant::now();
        let limits = Limits {
            head_max: RESPONSE_HEAD_MAX,
            ..Limits::default()
        };
        let (mut buf, mut response) = (Buf::default(), ResponseHead::default());
        let mut is_received = false;
        let head_length = loop {
            let blocks = &self.worker.blocks;
            let read = poll_fn(|cx| buf.poll_fill(cx, &mut stream, blocks)).await;
            match read.map_err(|_error| (Fault::BackendReset, is_received))? {
                0 => return Err((Fault::BackendClosed, is_received)),
                _ => is_received = true,
            }
            let mut head = None;
            while head.is_none() && !buf.is_empty() {
                let parsed = parse_response(buf.filled(), self.method, &limits, &mut response);
                match parsed.map_err(|error| (Fault::InvalidResponse(error), true))? {
                    Some(length) if response.informational => buf.consume(length),
                    Some(length) => head = Some(length),
                    None => {
                        if buf.is_full() {
                            buf.grow(RESPONSE_HEAD_MAX + BLOCK);
                        }
                        break;
                    }
                }
            }
            if let Some(length) = head {
                break length;
            }
        };
        let nothing = BodyDecoder::new(BodyLength::None, &Limits::default());
        let upstream = Upstream {
            stream,
            age,
            buf,
            upload: Pump::new(nothing, Encoding::Plain, Vec::new(), 0),
            upload_failed: false,
            head_length,
            sent_at: Some(sent_at),
        };
        Ok((upstream, response))
    }
}
