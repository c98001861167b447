//! The response on its way to the client.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use evenkeel_balance::How;
use evenkeel_http1::{
    BodyDecoder, BodyLength, Framing, Limits, ResponseHead, ResponseRewrite, write_response_head,
};
use evenkeel_model::config::Algorithm;

use crate::attempt::Upstream;
use crate::connection::PSEUDONYM;
use crate::counts::Outcome;
use crate::exchange::{End, Exchange, may_go_on};
use crate::fault::Fault;
use crate::orca;
use crate::probe;
use crate::pump::{Blocked, Encoding, Pump, PumpError};
use crate::record::Try;
use crate::state::PoolView;
use crate::sticky::Binding;

/// When a byte last moved.
struct Progress {
    at: Instant,
    moved: u64,
}

/// Whether the pool goes by what its backends say that they hold; what is said to it goes no further.
fn reports_load(pool: &PoolView) -> bool {
    pool.state.pool.algorithm == Algorithm::Prequal
}

impl Exchange<'_> {
    /// Passes the response on to its end and puts the upstream connection back if it may be used again.
    pub(crate) async fn relay(
        &mut self,
        pool: &PoolView,
        mut upstream: Upstream,
        mut attempt: Try,
        response: &ResponseHead,
    ) -> End {
        let head_at = Instant::now();
        let took = self.book_head(pool, &upstream, &mut attempt, response, head_at);
        let cookie = if response.status < 500 {
            self.sticky_cookie(pool, attempt.backend(), head_at)
        } else {
            // Nobody is bound to a backend for failing.
            None
        };
        if response.switched {
            let switched = self.switch(pool, upstream, attempt, response, cookie.as_deref(), took);
            return Box::pin(switched).await;
        }
        let (mut download, keep_alive, framing) =
            self.start_response(pool, &mut upstream, response, cookie.as_deref());
        let mut progress = Progress {
            at: head_at,
            moved: 0,
        };
        let poll =
            poll_fn(|cx| self.poll_relay(cx, pool, &mut upstream, &mut download, &mut progress));
        let result = poll.await;
        let now = Instant::now();
        self.record.bytes_in = upstream.upload.payload;
        self.record.bytes_out = download.sent;
        if let Some(gauge) = pool.state.gauges.get(attempt.backend()) {
            let record = &self.record;
            gauge.traffic().passed(record.bytes_in, record.bytes_out);
        }
        let worker = &self.connection.worker;
        // Only a whole response is an answer: who breaks off in every body would else look quick.
        let how = match result {
            Err(fault) if fault.is_backends() => How::Failed,
            _ => How::of_status(response.status),
        };
        attempt.tell(worker.mono(now), took, how);
        let end = match result {
            Ok(()) => {
                attempt.end(Outcome::Status(response.status));
                // Bytes nobody asked for, or a body that is still flowing, would meet the next request.
                let in_step = upstream.sent_at.is_some() && !upstream.upload_failed;
                upstream.age.serve();
                let reusable = response.keep_alive
                    && in_step
                    && upstream.buf.is_empty()
                    && !upstream.age.is_over(&pool.state.pool.keep);
                if let Some(origin) = pool.origins.get(attempt.backend()).filter(|_| reusable) {
                    origin.give(upstream.stream, upstream.age, now);
                }
                End::Passed {
                    keep_alive: keep_alive && in_step,
                }
            }
            Err(fault) => {
                attempt.end(fault.outcome());
                if fault.is_backends() {
                    attempt.broke();
                    if !self.record.harmed {
                        attempt.harmed(false);
                        self.record.harmed = true;
                    }
                }
                End::Cut {
                    fault,
                    silent: framing == BodyLength::UntilClose,
                }
            }
        };
        upstream.buf.clear(&worker.blocks);
        upstream.upload.finish(&worker.blocks);
        download.finish(&worker.blocks);
        end
    }

    /// Counts what the head tells: how long it took, whether the objective was kept, how loaded the backend is. Returns how
    /// long it took.
    fn book_head(
        &mut self,
        pool: &PoolView,
        upstream: &Upstream,
        attempt: &mut Try,
        response: &ResponseHead,
        now: Instant,
    ) -> Duration {
        // The time that a client takes for its body is not the backend's.
        let from = upstream
            .sent_at
            .map_or(attempt.picked_at, |at| at.max(attempt.picked_at));
        let took = now.saturating_duration_since(from);
        attempt.answered(took);
        let mono = self.connection.worker.mono(now);
        attempt.learn(took, How::of_status(response.status));
        self.record.status = response.status;
        self.record.upstream = Some(took);
        let view = self.connection.worker.view();
        let fields = &view.published.snapshot.config.access_log_fields;
        self.record
            .keep_headers(fields, response, upstream.buf.filled());
        let slow = took > pool.state.pool.objective.p99;
        let failed = response.status >= 500;
        if failed || (slow && response.status < 400) {
            attempt.harmed(slow);
            self.record.harmed = true;
        }
        let bytes = upstream.buf.filled();
        if reports_load(pool)
            && response.status < 500
            && let Some(in_flight) = probe::in_flight(response, bytes)
        {
            probe::tell(&self.connection.worker, pool, attempt.backend(), in_flight);
        }
        let report = response.field(bytes, orca::HEADER).and_then(orca::parse);
        if let (Some(report), Some(gauge)) = (report, pool.state.gauges.get(attempt.backend())) {
            gauge.report(&report, mono);
        }
        took
    }

    /// The sticky cookie to set: only where the client has none, another one, or one that is old.
    fn sticky_cookie(&self, pool: &PoolView, backend: usize, now: Instant) -> Option<String> {
        let sticky = pool.state.sticky.as_ref()?;
        let holds = |binding: &Binding| binding.member == backend && !binding.is_old;
        if self.binding.as_ref().is_some_and(holds) {
            return None;
        }
        let is_secure = self.connection.stream.is_tls();
        sticky.write(backend, self.connection.worker.wall(now), is_secure)
    }

    /// Writes the head for the client; returns the body that follows it, whether the client's connection lives on, and
    /// how the body is framed.
    fn start_response(
        &mut self,
        pool: &PoolView,
        upstream: &mut Upstream,
        response: &ResponseHead,
        cookie: Option<&str>,
    ) -> (Pump, bool, BodyLength) {
        let (out, framing) = self.response_head(pool, upstream, response, cookie);
        let decoder = BodyDecoder::new(response.body, &Limits::default());
        let encoding = match framing.body {
            BodyLength::Chunked => Encoding::Chunked,
            _ => Encoding::Plain,
        };
        let pump = Pump::new(decoder, encoding, out, 0);
        (pump, framing.keep_alive, framing.body)
    }

    /// Writes the head for the client.
    pub(crate) fn response_head(
        &mut self,
        pool: &PoolView,
        upstream: &mut Upstream,
        response: &ResponseHead,
        cookie: Option<&str>,
    ) -> (Vec<u8>, Framing) {
        let mut out = self.connection.worker.blocks.take_text();
        let in_step = upstream.sent_at.is_some() && !upstream.upload_failed;
        let cookie = cookie.map(|value| ("Set-Cookie", value));
        let rewrite = ResponseRewrite {
            client_version: self.head.version,
            keep_alive: in_step && may_go_on(self.connection, self.head),
            pseudonym: PSEUDONYM,
            request_id: self.id,
            upgrade: self.upgrade,
            strip: if reports_load(pool) {
                &[orca::HEADER, probe::IN_FLIGHT, probe::LATENCY]
            } else {
                &[orca::HEADER]
            },
            extra: cookie.as_slice(),
        };
        let bytes = upstream.buf.filled();
        let framing = match &self.edited {
            None => write_response_head(&mut out, response, bytes, &rewrite),
            Some(edited) => {
                edited.write_response(&mut out, &self.facts(), (response, bytes), &rewrite)
            }
        };
        upstream.buf.consume(upstream.head_length);
        (out, framing)
    }

    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        pool: &PoolView,
        upstream: &mut Upstream,
        download: &mut Pump,
        progress: &mut Progress,
    ) -> Poll<Result<(), Fault>> {
        // A request body that breaks now cannot change the answer any more; the connection ends after it.
        if self.poll_upload(cx, upstream).is_err() {
            upstream.upload_failed = true;
        }
        let connection = &mut *self.connection;
        let poll = download.poll(
            cx,
            &mut upstream.stream,
            &mut upstream.buf,
            &mut connection.stream,
            &connection.worker.blocks,
        );
        if let Poll::Ready(done) = poll {
            return Poll::Ready(done.map_err(|error| match error {
                PumpError::Source => Fault::BackendReset,
                PumpError::Truncated | PumpError::TooLarge => Fault::BackendClosed,
                PumpError::Invalid(error) => Fault::InvalidBody(error),
                PumpError::Sink => Fault::ClientGone,
            }));
        }
        if upstream.sent_at.is_some() {
            self.watch_client(cx)?;
        }
        let moved = download.sent + download.payload + upstream.upload.sent;
        if moved != progress.moved {
            progress.moved = moved;
            progress.at = Instant::now();
        }
        let (patience, fault) = match download.blocked {
            Blocked::Source => (pool.state.pool.idle_timeout, Fault::BackendStalled),
            Blocked::Sink => (self.listener.write_timeout, Fault::ClientWriteTimeout),
        };
        self.connection.timer.set(progress.at + patience);
        self.connection.timer.poll(cx).map(|()| Err(fault))
    }
}
