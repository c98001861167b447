//! Ten origins with a bounded number of slots each and a queue in the order of arrival: what makes a backend slow is that
//! its slots are taken. Work is simulated by waiting, so that ten of them fit on a part of one core. A slot is free again
//! at the moment that was computed when its work came, so a timer that fires late delays one answer and takes no capacity.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use evenkeel_model::rng::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{SERVICE, SLOTS, SLOWER};

/// Longest request head.
const HEAD_MAX: usize = 16 << 10;

/// How long the work of a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Always the same.
    Fixed,
    /// Exponential with that mean.
    Exponential,
}

/// One origin.
pub(super) struct Origin {
    pub(super) port: u16,
    pub(super) state: Rc<State>,
    server: JoinHandle<()>,
}

pub(super) struct State {
    /// When each slot is free again.
    slots: RefCell<[Instant; SLOTS]>,
    mean: Duration,
    pub(super) service: Cell<Service>,
    pub(super) served: Cell<u64>,
    rng: RefCell<Rng>,
}

impl State {
    /// Takes the slot that is free first; when the work that came now will be done.
    fn work(&self) -> Instant {
        let took = match self.service.get() {
            Service::Fixed => self.mean,
            Service::Exponential => {
                let mean = self.mean.as_secs_f64();
                Duration::from_secs_f64(self.rng.borrow_mut().exponential(mean))
            }
        };
        let now = Instant::now();
        let mut slots = self.slots.borrow_mut();
        match slots.iter_mut().min() {
            Some(first) => {
                *first = now.max(*first) + took;
                *first
            }
            None => now + took,
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// So many origins on free ports; the first is the slow one.
pub(super) async fn start(count: u64) -> anyhow::Result<Vec<Origin>> {
    let mut origins = Vec::new();
    for index in 0..count {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot bind an origin")?;
        let state = Rc::new(State {
            slots: RefCell::new([Instant::now(); SLOTS]),
            mean: if index == 0 {
                SERVICE * SLOWER
            } else {
                SERVICE
            },
            service: Cell::new(Service::Fixed),
            served: Cell::new(0),
            rng: RefCell::new(Rng::new(index)),
        });
        origins.push(Origin {
            port: listener.local_addr()?.port(),
            server: tokio::task::spawn_local(accept(listener, Rc::clone(&state))),
            state,
        });
    }
    Ok(origins)
}

async fn accept(listener: TcpListener, state: Rc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn_local(serve(stream, Rc::clone(&state)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection; an error of the other side ends it.
async fn serve(mut stream: TcpStream, state: Rc<State>) {
    drop(stream.set_nodelay(true));
    let mut buffer = Vec::with_capacity(1024);
    loop {
        buffer.clear();
        while !buffer.ends_with(b"\r\n\r\n") {
            let read = stream.read_buf(&mut buffer).await;
            if !matches!(read, Ok(1..)) || buffer.len() > HEAD_MAX {
                return;
            }
        }
        state.served.set(state.served.get() + 1);
        tokio::time::sleep_until(state.work()).await;
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
