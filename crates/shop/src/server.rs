//! Starting and stopping a shop or a stub, on a thread of its own or on the caller's runtime.
//!
//! Limits: one thread per server; a graceful stop waits at most [`GRACE`] for requests under way.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::capacity::Usage;
use crate::control;
use crate::door::{Door, bind};
use crate::fault::{Fault, FaultError, Release};
use crate::machine::{Cut, IdentityError, Machine};
use crate::store::StoreError;

/// Longest wait for requests under way when a server stops.
pub const GRACE: Duration = Duration::from_secs(10);
/// Threads on which a server's store may be waited for.
const BLOCKING_MAX: usize = 16;

/// Where a server takes control requests: `127.0.0.1:7001` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAddress {
    /// A TCP address; keep it on loopback, there is no authentication.
    Tcp(SocketAddr),
    /// The path of a unix socket; an old socket file there is replaced.
    Unix(PathBuf),
}

impl FromStr for ControlAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` needs a path".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_bad| {
                format!("`{text}` is not an address like `127.0.0.1:7001` or `unix:/path`")
            }),
        }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a server did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The name, version or zone.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Listening failed.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The thread, its runtime, a signal handler or the accept loop failed.
    #[error("the server could not run: {0}")]
    Run(#[from] io::Error),
    /// The thread ended before it said that it had started.
    #[error("the server ended before it had started")]
    Lost,
}

/// A server that is ready to be bound.
pub(crate) struct Built {
    pub(crate) listen: SocketAddr,
    pub(crate) control: Option<ControlAddress>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) app: Router,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Run,
    Gracefully,
    AtOnce,
}

struct Bound {
    door: Door,
    control: Option<ControlListener>,
    machine: Arc<Machine>,
    app: Router,
    address: SocketAddr,
    control_address: Option<ControlAddress>,
}

enum ControlListener {
    Tcp(tokio::net::TcpListener),
    Unix(UnixListener),
}

impl Built {
    /// Opens the sockets; needs a runtime around it.
    fn bind(self) -> Result<Bound, ServerError> {
        let failed = |address: String| move |source| ServerError::Listen { address, source };
        let listener = bind(self.listen).map_err(failed(self.listen.to_string()))?;
        let door = Door::new(listener, Arc::clone(&self.machine))?;
        let address = axum::serve::Listener::local_addr(&door)?;
        let (control, control_address) = match self.control {
            None => (None, None),
            Some(ControlAddress::Tcp(wanted)) => {
                let listener = bind(wanted).map_err(failed(wanted.to_string()))?;
                let got = ControlAddress::Tcp(listener.local_addr()?);
                (Some(ControlListener::Tcp(listener)), Some(got))
            }
            Some(ControlAddress::Unix(path)) => {
                if let Err(source) = std::fs::remove_file(&path)
                    && source.kind() != io::ErrorKind::NotFound
                {
                    return Err(failed(path.display().to_string())(source));
                }
                let listener =
                    UnixListener::bind(&path).map_err(failed(path.display().to_string()))?;
                let got = ControlAddress::Unix(path);
                (Some(ControlListener::Unix(listener)), Some(got))
            }
        };
        Ok(Bound {
            door,
            control,
            machine: self.machine,
            app: self.app,
            address,
            control_address,
        })
    }
}

impl Bound {
    async fn serve(self, stop: watch::Receiver<Stop>) -> io::Result<()> {
        let app = self.app.into_make_service_with_connect_info::<Cut>();
        let machine = Arc::clone(&self.machine);
        let leaving = {
            let stop = stop.clone();
            async move {
                told(stop, Stop::Gracefully).await;
                machine.leave();
            }
        };
        let serving = axum::serve(self.door, app).with_graceful_shutdown(leaving);
        let control = serve_control(self.control, Arc::clone(&self.machine));
        let overdue = async {
            told(stop.clone(), Stop::Gracefully).await;
            tokio::select! {
                () = sleep(GRACE) => {}
                () = told(stop.clone(), Stop::AtOnce) => {}
            }
        };
        tokio::select! {
            served = serving => served,
            served = control => served,
            () = overdue => Ok(()),
        }
    }
}

async fn serve_control(listener: Option<ControlListener>, machine: Arc<Machine>) -> io::Result<()> {
    let app = control::router(machine);
    match listener {
        None => std::future::pending().await,
        Some(ControlListener::Tcp(listener)) => axum::serve(listener, app).await,
        Some(ControlListener::Unix(listener)) => axum::serve(listener, app).await,
    }
}

/// Ends when `stop` is at least `level`, or when nobody can say so any more.
async fn told(mut stop: watch::Receiver<Stop>, level: Stop) {
    let reached = |stop: &Stop| match level {
        Stop::Run => true,
        Stop::Gracefully => *stop != Stop::Run,
        Stop::AtOnce => *stop == Stop::AtOnce,
    };
    // An error means that the handle is gone, which stops the server as well.
    stop.wait_for(reached).await.ok();
}

/// Serves on the caller's runtime until SIGINT or SIGTERM, then stops gracefully.
pub(crate) async fn run(built: Built, ready: impl FnOnce(SocketAddr)) -> Result<(), ServerError> {
    let bound = built.bind()?;
    let (stop, stopped) = watch::channel(Stop::Run);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    ready(bound.address);
    let serving = bound.serve(stopped);
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return Ok(served?),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.send_replace(Stop::Gracefully);
    Ok(serving.await?)
}

/// A server on a thread of its own. Dropping the handle stops it at once.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    control: Option<ControlAddress>,
    machine: Arc<Machine>,
    stop: watch::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl ServerHandle {
    pub(crate) fn spawn<F>(build: F) -> Result<Self, ServerError>
    where
        F: FnOnce() -> Result<Built, ServerError> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(Stop::Run);
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("shop".to_owned())
            .spawn(move || work(build, &ready, stopped))?;
        let (address, control, machine) = started.recv().map_err(|_gone| ServerError::Lost)??;
        Ok(Self {
            address,
            control,
            machine,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens; the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes control requests.
    pub fn control(&self) -> Option<&ControlAddress> {
        self.control.as_ref()
    }

    /// Lets a fault act for its time to live.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        self.machine.faults().inject(fault)
    }

    /// Ends every fault.
    pub fn clear_faults(&self) {
        self.machine.faults().clear();
    }

    /// Rolls out another version.
    pub fn release(&self, release: Release) -> Result<(), FaultError> {
        self.machine.faults().release(release)
    }

    /// What the worker pool does and has done.
    pub fn usage(&self) -> Usage {
        self.machine.usage()
    }

    /// Finishes the requests under way (at most [`GRACE`]) and ends.
    pub fn stop(mut self) {
        self.end(Stop::Gracefully);
    }

    /// Ends at once: every connection is closed, nothing is finished.
    pub fn kill(mut self) {
        self.end(Stop::AtOnce);
    }

    fn end(&mut self, how: Stop) {
        self.stop.send_replace(how);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the server's thread panicked");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.end(Stop::AtOnce);
    }
}

type Started = Result<(SocketAddr, Option<ControlAddress>, Arc<Machine>), ServerError>;

fn work<F>(build: F, ready: &mpsc::Sender<Started>, stop: watch::Receiver<Stop>)
where
    F: FnOnce() -> Result<Built, ServerError>,
{
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_MAX)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(ready, Err(error.into())),
    };
    runtime.block_on(async {
        match build().and_then(Built::bind) {
            Err(error) => report(ready, Err(error)),
            Ok(bound) => {
                let facts = (
                    bound.address,
                    bound.control_address.clone(),
                    Arc::clone(&bound.machine),
                );
                report(ready, Ok(facts));
                if let Err(error) = bound.serve(stop).await {
                    tracing::error!(%error, "the server ended");
                }
            }
        }
    });
    // Work that still blocks (a store waiting for a lock) must not hold up the end.
    runtime.shutdown_background();
}

fn report(ready: &mpsc::Sender<Started>, started: Started) {
    // The other side waits for exactly this message; if it is gone there is nobody to tell.
    ready.send(started).ok();
}
