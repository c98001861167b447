//! Listening sockets: all bound before anything starts, kept across reloads, shared by the workers.
//!
//! **One socket per listener, accepted from by every worker** (each on its own duplicate of the descriptor), and
//! not one `SO_REUSEPORT` socket per worker, for three reasons. A second process of the same user that binds the
//! same port would share the traffic silently instead of failing with "address in use". The kernel spreads
//! connections over reuse-port sockets by a hash that knows nothing of load, so few long connections pile up on one
//! core. And a reuse-port socket that closes resets the connections in its own queue. The price is a wake-up of
//! several workers per new connection; who takes more than its part hands the connection on (see `accept`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use evenkeel_model::config::{Address, Config, Listener};
use evenkeel_model::ids::Name;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::pace::Pace;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("listener `{listener}` cannot listen on `{address}`: {}", explain(.source))]
pub struct BindError {
    /// The listener.
    pub listener: Name,
    /// Where it should listen.
    pub address: Address,
    /// What the system said.
    pub source: io::Error,
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, a socket file needs write access to its directory".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface has this address".to_owned(),
        io::ErrorKind::NotFound => "the directory of the socket file does not exist".to_owned(),
        _ => error.to_string(),
    }
}

/// A connection that belongs to no reactor yet.
#[derive(Debug)]
pub(crate) enum HandedStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// One listening socket.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    pub(crate) listener: Name,
    /// As configured: the identity of the socket together with the name.
    pub(crate) configured: Address,
    /// As bound: differs for port 0.
    pub(crate) local: Address,
    pub(crate) socket: Socket,
    /// Client connections open on it, over all workers.
    pub(crate) open: AtomicU32,
    pub(crate) pace: Pace,
    closed: AtomicBool,
    /// Whoever passed it has it too, and passes it to the next process.
    is_inherited: bool,
    /// A renamed listener goes on with the same socket.
    handed_over: AtomicBool,
}

impl ListenSocket {
    /// Stops listening at once, whoever still holds the socket: a connection that nobody would accept must be
    /// refused, and the address must be free for the next bind. Connections accepted before stay.
    pub(crate) fn close(&self) {
        if self.handed_over.load(Ordering::Relaxed) || self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.is_inherited {
            // What waits on it is not lost: whoever is given it next accepts it.
            return;
        }
        let done = match &self.local {
            Address::Tcp(_) => self.socket.shutdown(std::net::Shutdown::Both),
            // Nobody finds the socket without its file. A shutdown would leave it readable for ever with nothing to
            // accept, and a worker that still waits on it would spin.
            Address::Unix(path) => std::fs::remove_file(path),
        };
        if let Err(error) = done {
            tracing::warn!(listener = %self.listener, %error, "cannot stop listening");
        }
    }

    /// A connection that waits, without waiting for one.
    pub(crate) fn accept_waiting(&self) -> Option<HandedStream> {
        let (stream, _) = self.socket.accept().ok()?;
        Some(match self.local {
            Address::Tcp(_) => HandedStream::Tcp(stream.into()),
            Address::Unix(_) => HandedStream::Unix(stream.into()),
        })
    }

    /// Whether a renamed listener goes on with it.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Whether it has stopped listening for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Drop for ListenSocket {
    fn drop(&mut self) {
        self.close();
    }
}

/// The key of a socket: a listener that keeps both keeps its socket, and with it its queue of connections.
type Key = (Name, Address);

/// Listening sockets that were there before this process: a service manager bound them, and keeps them while the
/// process is replaced, so that nobody is refused meanwhile. Found by their address.
#[derive(Debug, Clone, Default)]
pub struct Inherited(Arc<Vec<(Address, Socket)>>);

impl Inherited {
    /// Takes `sockets` over.
    pub fn take(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let taken = sockets.into_iter().map(|socket| {
            let socket = Socket::from(socket);
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?;
            let address = match (local.as_socket(), local.as_pathname()) {
                (Some(address), _) => Address::Tcp(address),
                (None, Some(path)) => Address::Unix(path.to_owned()),
                (None, None) => return Err(io::ErrorKind::Unsupported.into()),
            };
            Ok((address, socket))
        });
        taken.collect::<io::Result<_>>().map(Arc::new).map(Self)
    }

    /// Where they listen.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.0.iter().map(|(address, _)| address)
    }

    /// The one that listens at `address`.
    pub fn at(&self, address: &Address) -> Option<io::Result<Socket>> {
        let (_, socket) = self.0.iter().find(|(at, _)| at == address)?;
        Some(socket.try_clone())
    }
}

/// All listeners of a configuration, bound.
#[derive(Debug)]
pub struct Bound {
    pub(crate) sockets: Vec<Arc<ListenSocket>>,
    /// Sockets of before that a renamed listener goes on with.
    renamed: Vec<Arc<ListenSocket>>,
    pub(crate) inherited: Inherited,
}

impl Bound {
    /// Binds every listener of `config`, taking over the sockets of `old` that stay and those of `inherited` that fit.
    pub(crate) fn new(
        config: &Config,
        old: &[Arc<ListenSocket>],
        inherited: &Inherited,
    ) -> Result<Self, BindError> {
        let kept: BTreeMap<Key, &Arc<ListenSocket>> = old
            .iter()
            .map(|socket| ((socket.listener.clone(), socket.configured.clone()), socket))
            .collect();
        let mut sockets = Vec::with_capacity(config.listeners.len());
        let mut renamed = Vec::new();
        for listener in &config.listeners {
            let key = (listener.name.clone(), listener.address.clone());
            sockets.push(match kept.get(&key) {
                Some(socket) => Arc::clone(socket),
                None => Arc::new(open(listener, old, inherited, &mut renamed)?),
            });
        }
        Ok(Self {
            sockets,
            renamed,
            inherited: inherited.clone(),
        })
    }

    /// To be called when these sockets are the ones in use: from here on a renamed one outlives its old name.
    pub(crate) fn commit(&self) {
        for socket in &self.renamed {
            socket.handed_over.store(true, Ordering::Relaxed);
        }
    }

    /// Where each listener really listens, in file order: the port is known here even if it was configured as 0.
    pub fn addresses(&self) -> Vec<(Name, Address)> {
        addresses(&self.sockets)
    }
}

pub(crate) fn addresses(sockets: &[Arc<ListenSocket>]) -> Vec<(Name, Address)> {
    let pair = |s: &Arc<ListenSocket>| (s.listener.clone(), s.local.clone());
    sockets.iter().map(pair).collect()
}

fn open(
    listener: &Listener,
    old: &[Arc<ListenSocket>],
    inherited: &Inherited,
    handed_over: &mut Vec<Arc<ListenSocket>>,
) -> Result<ListenSocket, BindError> {
    // A listener that was only renamed keeps the socket, by a duplicate of its descriptor.
    let renamed = old.iter().find(|s| {
        s.configured == listener.address
            && !matches!(s.configured, Address::Tcp(address) if address.port() == 0)
    });
    handed_over.extend(renamed.cloned());
    let passed = inherited.at(&listener.address);
    let is_inherited = renamed.map_or(passed.is_some(), |socket| socket.is_inherited);
    let bind = || match (renamed, passed, &listener.address) {
        (Some(socket), _, _) => Ok((socket.socket.try_clone()?, socket.local.clone())),
        (None, Some(socket), address) => Ok((socket?, address.clone())),
        (None, None, Address::Tcp(address)) => bind_tcp(*address),
        (None, None, Address::Unix(path)) => bind_unix(path),
    };
    let (socket, local) = bind().map_err(|source| BindError {
        listener: listener.name.clone(),
        address: listener.address.clone(),
        source,
    })?;
    Ok(ListenSocket {
        listener: listener.name.clone(),
        configured: listener.address.clone(),
        local,
        socket,
        open: AtomicU32::new(0),
        pace: Pace::default(),
        closed: AtomicBool::new(false),
        is_inherited,
        handed_over: AtomicBool::new(false),
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<(Socket, Address)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of its predecessor in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]:80` beside `0.0.0.0:80` is a common pair; it must not depend on a system setting.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, Address::Tcp(local)))
}

fn bind_unix(path: &Path) -> io::Result<(Socket, Address)> {
    let address = SockAddr::unix(path)?;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket {
        // The file of a crashed predecessor may be removed; that of a living one must not.
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if probe.connect(&address).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    Ok((socket, Address::Unix(path.to_owned())))
}

/// One client connection counted on its listener.
pub(crate) struct OpenSlot(Arc<ListenSocket>);

impl fmt::Debug for OpenSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenSlot").field(&self.0.listener).finish()
    }
}

impl OpenSlot {
    /// Takes a slot; `None` when `max` connections are open already.
    pub(crate) fn take(socket: &Arc<ListenSocket>, max: u32) -> Option<Self> {
        let before = socket.open.fetch_add(1, Ordering::Relaxed);
        let slot = Self(Arc::clone(socket));
        (before < max).then_some(slot)
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
