//! TLS to backends: who is believed, and what is shown to them.
//!
//! A [`Dialer`] is what a pool speaks TLS with, built once per change of it; a [`Dial`] is the same for one backend, with
//! its name, its sessions and its counts, shared by all workers. Nothing is resumed under other settings or with other
//! files: a resumed session is not verified again, so a new [`Dialer`] begins without any. Checks resume nothing at all,
//! so that a check finds a certificate that has become wrong however long sessions last.
//!
//! Limits: no revocation lists, no early data; HTTP/1.1 is all that is offered.

use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_model::config::{Address, Backend, BackendTls, CertificateFiles, Config, Pool};
use evenkeel_model::ids::Name;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{Connection, DigitallySignedStruct, Error, SignatureScheme};

use super::handshake::poll_shake;
use super::refusal::{Dialled, Refused};
use super::{KeyRing, Source, TlsError, TlsStream, files, versions};
use crate::stream::Stream;

/// Sessions that are kept of a backend: as many tickets as rustls keeps of one name.
const SESSIONS: usize = 8;
/// A backend with which there is no TLS is told of in the log this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a pool speaks TLS to its backends with.
pub(crate) struct Dialer {
    /// The settings, and the hashes of the files in their order.
    made_of: (BackendTls, Vec<String>),
    /// Without sessions.
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("made_of", &self.made_of)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// That of `pool` in `config`, with the bytes that `ring` holds: `before` while it fits, else a new one.
    pub(crate) fn of(
        (pool, tls): (&Pool, &BackendTls),
        config: &Config,
        ring: &KeyRing,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, TlsError> {
        let source = Source {
            whose: format!("pool `{}`", pool.name),
            config,
            ring,
        };
        let made_of = (tls.clone(), source.hashes(tls.files())?);
        if let Some(same) = before.filter(|before| before.made_of == made_of) {
            return Ok(Arc::clone(same));
        }
        let config = Arc::new(client_config(tls, &source)?);
        Ok(Arc::new(Self { made_of, config }))
    }
}

fn client_config(tls: &BackendTls, source: &Source<'_>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(tls.min_version))
        .map_err(|error| source.refused(&error))?;
    let verifier: Arc<dyn ServerCertVerifier> = match &tls.ca {
        None => Arc::new(Anybody(Arc::clone(&provider))),
        Some(ca) => {
            let roots = Arc::new(source.roots(ca)?);
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            verifier.build().map_err(|error| source.refused(&error))?
        }
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut client = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some(CertificateFiles { chain, key }) => {
            let key = key.as_deref().map(|key| source.bytes(key)).transpose()?;
            let pair = files::certified(&source.bytes(chain)?, key.as_deref(), &provider);
            let pair = pair.map_err(|cause| source.file(chain, cause))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
    };
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// What one backend is spoken to with.
pub(crate) struct Dial {
    /// What tells it from the others of this process; 0 is no TLS.
    pub(crate) id: u64,
    dialer: Arc<Dialer>,
    whom: (Name, Name),
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    cells: Arc<DialCells>,
    /// When the log was last told of a failure.
    told: Mutex<Option<Instant>>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Dial {
    /// That of `backend`: `before` while it fits, else a new one that goes on counting where `before` stands. `id` is
    /// asked for a number that no other has.
    pub(crate) fn of(
        dialer: &Arc<Dialer>,
        (pool, backend): (&Pool, &Backend),
        before: Option<&Arc<Self>>,
        id: impl FnOnce() -> u64,
    ) -> Result<Arc<Self>, TlsError> {
        let name = server_name(pool, backend)?;
        let fits = |before: &&Arc<Self>| Arc::ptr_eq(&before.dialer, dialer) && before.name == name;
        if let Some(same) = before.filter(fits) {
            return Ok(Arc::clone(same));
        }
        let mut config = ClientConfig::clone(&dialer.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(Self {
            id: id(),
            dialer: Arc::clone(dialer),
            whom: (pool.name.clone(), backend.name.clone()),
            name,
            config: Arc::new(config),
            cells: before
                .map(|before| Arc::clone(&before.cells))
                .unwrap_or_default(),
            told: Mutex::default(),
        }))
    }

    /// That of `backend` for its checks, which resume nothing and are not counted.
    pub(crate) fn of_checks(
        dialer: &Arc<Dialer>,
        (pool, backend): (&Pool, &Backend),
    ) -> Result<Self, TlsError> {
        Ok(Self {
            id: 0,
            dialer: Arc::clone(dialer),
            whom: (pool.name.clone(), backend.name.clone()),
            name: server_name(pool, backend)?,
            config: Arc::clone(&dialer.config),
            cells: Arc::default(),
            told: Mutex::default(),
        })
    }

    /// Whether it speaks to the same backend in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.dialer.made_of == other.dialer.made_of && self.name == other.name
    }

    /// What the backend is called in the `Host` of a request of our own.
    pub(crate) fn host(&self) -> Option<String> {
        match &self.name {
            ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
            _ => None,
        }
    }

    /// Does the handshake on `raw` for a request. Bounded by the caller: what is dropped before its end was too late.
    pub(crate) async fn handshake(&self, raw: Stream) -> Result<Stream, Dialled> {
        let mut end = Counted {
            cells: &self.cells,
            result: Dialled::Timeout,
        };
        match self.shake(raw).await {
            Ok((stream, is_resumed)) => {
                end.result = if is_resumed {
                    Dialled::Resumed
                } else {
                    Dialled::Full
                };
                Ok(stream)
            }
            Err(refused) => {
                end.result = refused.result;
                self.tell(&refused);
                Err(refused.result)
            }
        }
    }

    /// The backend refused us after the handshake was done on our side, as it may in TLS 1.3.
    pub(crate) fn refused_late(&self, refused: &Refused) {
        self.cells.count(refused.result);
        self.tell(refused);
    }

    /// Does the handshake on `raw`; whether it was a resumed one.
    pub(crate) async fn shake(&self, raw: Stream) -> Result<(Stream, bool), Refused> {
        let tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let tls = tls.map_err(|error| self.words(&error))?;
        let mut stream = Box::new(TlsStream::new(raw, Connection::Client(tls)));
        let done = poll_fn(|cx| poll_shake(&mut stream, cx)).await;
        match done {
            Ok(is_resumed) => Ok((Stream::Tls(stream), is_resumed)),
            Err(broken) => Err(Refused::of(broken, self.ca())),
        }
    }

    fn ca(&self) -> &BackendTls {
        &self.dialer.made_of.0
    }

    fn words(&self, error: &Error) -> Refused {
        Refused::by(error, self.ca())
    }

    fn tell(&self, refused: &Refused) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return;
        }
        *told = Some(now);
        drop(told);
        let (pool, backend) = &self.whom;
        let why = &refused.words;
        tracing::warn!(%pool, %backend, why, "there is no TLS with a backend");
    }

    /// What became of the handshakes so far.
    pub(crate) fn view(&self) -> Dials {
        self.cells.view()
    }
}

/// The name that `backend` is verified by. Nameless only where nothing is verified: an address asks for no name.
fn server_name(pool: &Pool, backend: &Backend) -> Result<ServerName<'static>, TlsError> {
    let Some(name) = pool.tls_name(backend) else {
        return Ok(ServerName::from(match &backend.address {
            Address::Tcp(address) => address.ip(),
            Address::Unix(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        }));
    };
    ServerName::try_from(name.to_owned()).map_err(|_error| TlsError::Refused {
        whose: format!("backend `{}/{}`", pool.name, backend.name),
        cause: format!("`{name}` is no name that a certificate can be for"),
    })
}

/// How many handshakes with a backend came to what, in the order of [`Dialled::ALL`].
pub type Dials = [u64; Dialled::ALL.len()];

/// The counts of one backend over all workers. Kept by name over reloads.
#[derive(Debug, Default)]
struct DialCells([AtomicU64; Dialled::ALL.len()]);

impl DialCells {
    fn count(&self, result: Dialled) {
        if let Some(cell) = self.0.get(result as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn view(&self) -> Dials {
        std::array::from_fn(|i| self.0.get(i).map_or(0, |cell| cell.load(Ordering::Relaxed)))
    }
}

/// A handshake that is counted when it ends, in whatever way.
struct Counted<'a> {
    cells: &'a DialCells,
    result: Dialled,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.cells.count(self.result);
    }
}

/// Whoever answers is believed: `insecure_skip_verify`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    // A signature by a key that anybody may have made proves nothing.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
