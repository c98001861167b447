//! A connection that left HTTP by an upgrade: bytes both ways until both ends are done.
//!
//! It begins with a 101 of the backend that names the protocol which was asked for. From then on nothing is read into the
//! bytes. Each direction ends by itself: who stops sending still gets what the other sends. The try stays in flight, so
//! that `least_request` and every limit know of it; its outcome and its response time are those of the 101, because an
//! answer that takes hours says nothing of a backend.
//!
//! What ends it besides its ends: nothing moved for `tunnel_idle`; its backend was drained or removed, or its listener
//! removed, `tunnel_drain` ago; the process stops and its time is nearly over. A reload that keeps both touches nothing.
//! It holds no snapshot but the state of its own pool.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use evenkeel_balance::How;
use evenkeel_http1::ResponseHead;
use evenkeel_model::config::Tunnels;
use tokio::sync::futures::Notified;

use crate::attempt::Upstream;
use crate::buf::{Blocks, Buf};
use crate::connection::{Connection, Next};
use crate::counts::Outcome;
use crate::exchange::{End, Exchange};
use crate::fault::Fault;
use crate::gauge::BackendGauge;
use crate::record::{Record, Try};
use crate::state::{PoolView, Worker};
use crate::stream::Stream;

/// Tunnels of a process that stops end so long before its time is over, so that their log lines are written.
const BEFORE_THE_END: Duration = Duration::from_millis(100);
/// Bytes that may be through a tunnel before they are counted.
const UNCOUNTED_MAX: u64 = 64 * 1024;

/// Tunnels of one backend over all workers. Kept by backend over reloads.
#[derive(Debug, Default)]
pub(crate) struct TunnelCells {
    open: AtomicU32,
    /// Drained, or not in the running snapshot any more.
    leaving: AtomicBool,
    opened: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// Tunnels of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelCounts {
    /// Open now.
    pub open: u32,
    /// Opened so far.
    pub opened: u64,
    /// Bytes that clients sent through them.
    pub bytes_in: u64,
    /// Bytes that went to clients.
    pub bytes_out: u64,
}

impl TunnelCells {
    /// The counts; those of an open tunnel may lack up to [`UNCOUNTED_MAX`] bytes each way.
    pub(crate) fn view(&self) -> TunnelCounts {
        TunnelCounts {
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }
}

/// An open tunnel in the counts of its backend.
#[derive(Debug)]
struct Open {
    gauge: Arc<BackendGauge>,
    counted_in: u64,
    counted_out: u64,
}

impl Open {
    fn new(gauge: Arc<BackendGauge>) -> Self {
        let cells = gauge.tunnels();
        cells.open.fetch_add(1, Ordering::Relaxed);
        cells.opened.fetch_add(1, Ordering::Relaxed);
        Self {
            gauge,
            counted_in: 0,
            counted_out: 0,
        }
    }

    /// Counts the bytes that went through so far, once enough are not counted yet.
    fn count(&mut self, bytes_in: u64, bytes_out: u64, enough: u64) {
        let cells = self.gauge.tunnels();
        let add = |cell: &AtomicU64, counted: &mut u64, bytes: u64| {
            if bytes - *counted >= enough {
                cell.fetch_add(bytes - *counted, Ordering::Relaxed);
                *counted = bytes;
            }
        };
        add(&cells.bytes_in, &mut self.counted_in, bytes_in);
        add(&cells.bytes_out, &mut self.counted_out, bytes_out);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.tunnels().open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The backend's side of a tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    stream: Stream,
    buf: Buf,
    /// Holds the slot of the backend.
    _attempt: Try,
    open: Option<Open>,
    lasts: Tunnels,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// The source has ended.
    ended: bool,
    /// The sink knows.
    told: bool,
    moved: u64,
}

/// Which end of a direction broke.
enum Broken {
    Source,
    Sink,
}

impl Way {
    /// Moves what can be moved.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        buf: &mut Buf,
        sink: &mut Stream,
        blocks: &Blocks,
    ) -> Result<(), Broken> {
        while !self.told {
            if !buf.is_empty() {
                match sink.poll_write(cx, &[IoSlice::new(buf.filled())]) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        buf.consume(n);
                        self.moved += n as u64;
                    }
                    Poll::Ready(_) => return Err(Broken::Sink),
                    Poll::Pending => return Ok(()),
                }
            } else if self.ended {
                match sink.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Broken::Sink),
                    Poll::Pending => return Ok(()),
                }
                sink.shutdown_write().map_err(|_gone| Broken::Sink)?;
                self.told = true;
            } else {
                // What was taken over TLS leaves while more is waited for.
                if let Poll::Ready(Err(_)) = sink.poll_flush(cx) {
                    return Err(Broken::Sink);
                }
                match buf.poll_fill(cx, source, blocks) {
                    Poll::Ready(Ok(0)) => self.ended = true,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Err(Broken::Source),
                    Poll::Pending => return Ok(()),
                }
            }
        }
        Ok(())
    }
}

impl Exchange<'_> {
    /// Tells the client of the change of protocol and hands the two connections over.
    pub(crate) async fn switch(
        &mut self,
        pool: &PoolView,
        mut upstream: Upstream,
        mut attempt: Try,
        response: &ResponseHead,
        cookie: Option<&str>,
        took: Duration,
    ) -> End {
        let (out, _) = self.response_head(pool, &mut upstream, response, cookie);
        let now = Instant::now();
        let mono = self.connection.worker.mono(now);
        attempt.tell(mono, took, How::of_status(response.status));
        attempt.end(Outcome::Status(response.status));
        upstream.upload.finish(&self.connection.worker.blocks);
        let sent = self.connection.write_all(&out, self.listener.write_timeout);
        let sent = sent.await;
        self.record.bytes_out = out.len() as u64;
        self.connection.worker.blocks.give_text(out);
        if !sent {
            upstream.buf.clear(&self.connection.worker.blocks);
            let fault = Fault::ClientGone;
            let silent = false;
            return End::Cut { fault, silent };
        }
        let gauge = pool.state.gauges.get(attempt.backend());
        End::Switched(Box::new(Tunnel {
            stream: upstream.stream,
            buf: upstream.buf,
            open: gauge.map(|gauge| Open::new(Arc::clone(gauge))),
            _attempt: attempt,
            lasts: pool.state.pool.tunnels,
        }))
    }
}

/// When a tunnel ends although its ends go on.
struct Ends {
    lasts: Tunnels,
    moved: u64,
    moved_at: Instant,
    /// Since when its backend or its listener is on its way out.
    leaving: Option<Instant>,
    /// Backend, listener and process have been looked at.
    looked: bool,
}

impl Tunnel {
    /// Passes bytes on to the end of the tunnel.
    pub(crate) async fn run(mut self, connection: &mut Connection, record: &mut Record) -> Next {
        let worker = Rc::clone(&connection.worker);
        let mut look = pin!(worker.look.notified());
        let (mut up, mut down) = (Way::default(), Way::default());
        let mut ends = Ends {
            lasts: self.lasts,
            moved: 0,
            moved_at: Instant::now(),
            leaving: None,
            looked: false,
        };
        let end = poll_fn(|cx| {
            if let Err(fault) = self.pass(cx, connection, &mut up, &mut down) {
                return Poll::Ready(Some(fault));
            }
            if up.told && down.told {
                return Poll::Ready(None);
            }
            if let Some(open) = &mut self.open {
                open.count(up.moved, down.moved, UNCOUNTED_MAX);
            }
            ends.moved(up.moved + down.moved);
            ends.look(cx, &worker, look.as_mut(), connection, self.open.as_ref());
            ends.poll(cx, &worker, connection).map(Some)
        });
        let end = end.await;
        record.bytes_in += up.moved;
        record.bytes_out += down.moved;
        record.fault = end;
        if let Some(open) = &mut self.open {
            open.count(up.moved, down.moved, 1);
        }
        self.buf.clear(&worker.blocks);
        match end {
            // Who is left must not take a broken tunnel for one that ended well.
            Some(Fault::BackendReset) => Next::Reset,
            Some(Fault::ClientGone) => {
                self.stream.reset_on_close();
                Next::Close
            }
            _ => Next::Close,
        }
    }

    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        up: &mut Way,
        down: &mut Way,
    ) -> Result<(), Fault> {
        let blocks = &connection.worker.blocks;
        let (client, backend) = (&mut connection.stream, &mut self.stream);
        up.pass(cx, client, &mut connection.buf, backend, blocks)
            .map_err(|broken| match broken {
                Broken::Source => Fault::ClientGone,
                Broken::Sink => Fault::BackendReset,
            })?;
        down.pass(cx, backend, &mut self.buf, client, blocks)
            .map_err(|broken| match broken {
                Broken::Source => Fault::BackendReset,
                Broken::Sink => Fault::ClientGone,
            })
    }
}

impl Ends {
    fn moved(&mut self, moved: u64) {
        if moved != self.moved {
            self.moved = moved;
            self.moved_at = Instant::now();
        }
    }

    /// Looks at backend and listener: at the beginning, and whenever something may have become of them.
    fn look<'w>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &'w Worker,
        mut look: Pin<&mut Notified<'w>>,
        connection: &Connection,
        open: Option<&Open>,
    ) {
        while look.as_mut().poll(cx).is_ready() {
            look.set(worker.look.notified());
            self.looked = false;
        }
        if std::mem::replace(&mut self.looked, true) {
            return;
        }
        let of_backend = open.is_some_and(|open| {
            let cells = open.gauge.tunnels();
            cells.leaving.load(Ordering::Relaxed)
        });
        let view = worker.view();
        if of_backend || view.listener(&connection.socket.listener).is_none() {
            self.leaving.get_or_insert_with(Instant::now);
        } else {
            self.leaving = None;
        }
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        worker: &Worker,
        connection: &mut Connection,
    ) -> Poll<Fault> {
        let idle = (self.moved_at + self.lasts.idle, Fault::TunnelIdle);
        let left = self.leaving.map(|since| since + self.lasts.drain);
        let stops = worker.drain_by.get();
        let stops = stops.map(|by| by.checked_sub(BEFORE_THE_END).unwrap_or(by));
        let drained = left.into_iter().chain(stops).min();
        let drained = drained.map(|by| (by, Fault::TunnelDrained));
        let (by, fault) = drained.filter(|(by, _)| *by < idle.0).unwrap_or(idle);
        connection.timer.set(by);
        connection.timer.poll(cx).map(|()| fault)
    }
}
