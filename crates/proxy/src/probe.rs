//! Probes: a GET to a few backends per request, beside it, to learn how many requests they hold.
//!
//! A probe is a task of its own on the worker's own kept-alive connections, so no request waits for one. It is none of
//! the pool's requests: it takes no slot, and is in no tally and no access log. One at a time goes from a worker to a
//! backend, so a backend that does not answer is asked once per time-out, however many requests come. What an answer
//! says goes to the picker; a probe that comes to nothing takes away what the backend said before.
//!
//! The number stands in [`IN_FLIGHT`], in an answer to a probe and in any other answer of the backend below 500.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use evenkeel_http1::{BodyDecoder, Limits, Method, ResponseHead, parse_response};
use evenkeel_model::config::Probe;

use crate::age::Age;
use crate::attempt::RESPONSE_HEAD_MAX;
use crate::buf::Buf;
use crate::check::drain;
use crate::state::{PoolView, Worker};
use crate::stream::Stream;
use crate::turnover;
use crate::upstream::Origin;

/// Requests that a backend holds, as it says; the name that other balancers with this algorithm read.
pub(crate) const IN_FLIGHT: &str = "x-prequal-rif";
/// What a backend may say besides; not gone by (see `balance`).
pub(crate) const LATENCY: &str = "x-prequal-latency-us";
/// More than this is taken for an error of the reporter.
const IN_FLIGHT_MAX: u32 = 1_000_000;
/// Probes of one worker under way at most, over all backends of a pool.
const UNDER_WAY_MAX: u32 = 256;
/// Probes that are sent at once when no request has sent any for a while: with fewer reports nobody goes by them.
const WHEN_IDLE: f64 = 2.0;

/// What became of probes in one pool, over all workers. Kept by pool over reloads.
#[derive(Debug, Default)]
pub(crate) struct ProbeCells {
    sent: AtomicU64,
    answered: AtomicU64,
    silent: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
}

/// What became of probes in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// Sent.
    pub sent: u64,
    /// Answered in time, with the number of requests in flight.
    pub answered: u64,
    /// Answered in time, but without it.
    pub silent: u64,
    /// Not answered in time.
    pub late: u64,
    /// No connection, no acceptable answer, or a status of 400 and above.
    pub failed: u64,
}

impl ProbeCells {
    /// The counts.
    pub(crate) fn view(&self) -> Probes {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Probes {
            sent: read(&self.sent),
            answered: read(&self.answered),
            silent: read(&self.silent),
            late: read(&self.late),
            failed: read(&self.failed),
        }
    }
}

fn count(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

/// How many requests the backend says that it holds.
pub(crate) fn in_flight(head: &ResponseHead, bytes: &[u8]) -> Option<u32> {
    let value = std::str::from_utf8(head.field(bytes, IN_FLIGHT)?).ok()?;
    let count = value.trim().parse().ok()?;
    (count <= IN_FLIGHT_MAX).then_some(count)
}

/// The picker learns how many requests member `backend` of `pool` holds.
pub(crate) fn tell(worker: &Worker, pool: &PoolView, backend: usize, in_flight: u32) {
    let mut picker = pool.pool.picker.borrow_mut();
    let gauge = pool.state.gauges.get(backend);
    // After a swap it may have another place, or none.
    if let (Some(place), Some(gauge)) = (turnover::place_now(pool, &picker, backend), gauge) {
        let now = worker.mono(Instant::now());
        picker.reported(place, now, in_flight, gauge.in_flight());
    }
}

/// Sends the probes that go with a request which was picked by the algorithm.
pub(crate) fn beside(worker: &Rc<Worker>, pool: &Rc<PoolView>) {
    if let Some(probe) = &pool.state.pool.probe {
        send(worker, pool, probe.rate);
    }
}

/// Sends probes in the pools where none was sent for a while.
pub(crate) fn when_idle(worker: &Rc<Worker>) {
    let view = worker.view();
    let now = Instant::now();
    for pool in view.pools.iter().filter_map(|cell| cell.get()) {
        let probe = pool.state.pool.probe.as_ref();
        let Some(interval) = probe.and_then(|probe| probe.idle_interval) else {
            continue;
        };
        let last = pool.pool.probed_at.get();
        if last.is_none_or(|last| now.saturating_duration_since(last) >= interval) {
            send(worker, pool, WHEN_IDLE);
        }
    }
}

fn send(worker: &Rc<Worker>, pool: &Rc<PoolView>, rate: f64) {
    // The members of a request that began before a swap are not those of the picker.
    let is_current = pool.pool.epoch.get() == pool.state.epoch;
    if !is_current || worker.is_tight() || worker.is_draining() {
        return;
    }
    let drawn = pool.pool.picker.borrow_mut().draw_to_probe(rate);
    for &member in drawn.members() {
        let Some(origin) = pool.origins.get(member) else {
            continue;
        };
        if pool.pool.probing.get() >= UNDER_WAY_MAX || !origin.begin_probe() {
            continue;
        }
        pool.pool.probing.set(pool.pool.probing.get() + 1);
        pool.pool.probed_at.set(Some(Instant::now()));
        count(&pool.state.probes.sent);
        let under_way = UnderWay {
            pool: Rc::clone(pool),
            origin: Rc::clone(origin),
        };
        let task = run(Rc::clone(worker), under_way, member);
        drop(tokio::task::spawn_local(task));
    }
}

/// A probe that has not ended.
struct UnderWay {
    pool: Rc<PoolView>,
    origin: Rc<Origin>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.origin.end_probe();
        let probing = &self.pool.pool.probing;
        probing.set(probing.get().saturating_sub(1));
    }
}

/// An answer that could not be had, or not be read.
struct Broken;

/// What an answer says.
enum Said {
    /// So many requests are in flight there.
    Holds(u32),
    /// Nothing of it.
    Nothing,
    /// An error status.
    Error,
}

async fn run(worker: Rc<Worker>, under_way: UnderWay, member: usize) {
    let pool = &under_way.pool;
    let Some(probe) = &pool.state.pool.probe else {
        return;
    };
    let asked = ask(&worker, pool, &under_way.origin, probe);
    let cells = &pool.state.probes;
    let said = match tokio::time::timeout(probe.timeout, asked).await {
        Ok(Ok(Said::Holds(in_flight))) => {
            count(&cells.answered);
            Some(in_flight)
        }
        Ok(Ok(Said::Nothing)) => {
            count(&cells.silent);
            None
        }
        Ok(Ok(Said::Error) | Err(Broken)) => {
            count(&cells.failed);
            None
        }
        Err(_elapsed) => {
            count(&cells.late);
            None
        }
    };
    if let Some(in_flight) = said {
        tell(&worker, pool, member, in_flight);
        return;
    }
    let mut picker = pool.pool.picker.borrow_mut();
    if let Some(place) = turnover::place_now(pool, &picker, member) {
        picker.silent(place);
    }
}

/// Asks on a kept-alive connection, and on a new one where there is none or it turns out to be closed.
async fn ask(
    worker: &Worker,
    pool: &PoolView,
    origin: &Origin,
    probe: &Probe,
) -> Result<Said, Broken> {
    let keep = &pool.state.pool.keep;
    let kept = poll_fn(|cx| Poll::Ready(origin.take(keep, cx))).await;
    if let Some((stream, age)) = kept
        && let Ok(said) = converse(worker, pool, origin, probe, (stream, age)).await
    {
        return Ok(said);
    }
    let stream = origin.connect().await.map_err(|_fault| Broken)?;
    let age = Age::new(Instant::now(), worker.spread());
    converse(worker, pool, origin, probe, (stream, age)).await
}

async fn converse(
    worker: &Worker,
    pool: &PoolView,
    origin: &Origin,
    probe: &Probe,
    (mut stream, mut age): (Stream, Age),
) -> Result<Said, Broken> {
    let host = origin.host();
    let path = &probe.path;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel-probe\r\nAccept: */*\r\n\r\n"
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|_error| Broken)?;
    let mut buf = Buf::default();
    let answer = read(worker, &mut stream, &mut buf).await;
    let is_in_step = buf.is_empty();
    buf.clear(&worker.blocks);
    let (said, is_kept) = answer?;
    age.serve();
    if is_kept && is_in_step && !age.is_over(&pool.state.pool.keep) {
        origin.give(stream, age, Instant::now());
    }
    Ok(said)
}

/// What the answer says, and whether the connection may be used again.
async fn read(worker: &Worker, stream: &mut Stream, buf: &mut Buf) -> Result<(Said, bool), Broken> {
    let limits = Limits {
        head_max: RESPONSE_HEAD_MAX,
        ..Limits::default()
    };
    let mut head = ResponseHead::default();
    loop {
        let filled = poll_fn(|cx| buf.poll_fill(cx, stream, &worker.blocks)).await;
        // A head that does not fit into one block is none of an answer to a probe.
        if filled.map_err(|_error| Broken)? == 0 {
            return Err(Broken);
        }
        while let Some(length) = parse_response(buf.filled(), Method::Get, &limits, &mut head)
            .map_err(|_error| Broken)?
        {
            let said = in_flight(&head, buf.filled());
            buf.consume(length);
            if head.informational {
                continue;
            }
            let body = BodyDecoder::new(head.body, &limits);
            let is_whole = drain(stream, buf, &worker.blocks, body).await;
            let said = match (head.status, said) {
                (400.., _) => Said::Error,
                (_, Some(in_flight)) => Said::Holds(in_flight),
                (_, None) => Said::Nothing,
            };
            return Ok((said, head.keep_alive && is_whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::in_flight;
    use evenkeel_http1::{Limits, Method, ResponseHead, parse_response};

    #[test]
    fn only_a_sane_number_is_taken() {
        let read = |value: &str| {
            let text = format!("HTTP/1.1 200 OK\r\nX-Prequal-Rif: {value}\r\n\r\n");
            let mut head = ResponseHead::default();
            parse_response(text.as_bytes(), Method::Get, &Limits::default(), &mut head).unwrap();
            in_flight(&head, text.as_bytes())
        };
        assert_eq!(
            (read("0"), read("7"), read("1000000")),
            (Some(0), Some(7), Some(1_000_000))
        );
        for wrong in [
            "",
            "-1",
            "1.5",
            "1000001",
            "99999999999999999999",
            "many",
            "1, 2",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
