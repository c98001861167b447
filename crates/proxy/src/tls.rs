//! TLS of listeners and to backends, by rustls with ring.
//!
//! rustls' buffered connection is used as it is, without tokio-rustls: [`Stream`] already is the place where bytes come
//! from and go to, and an enum variant there costs plain connections nothing. Blocks are
//! held only while there are bytes, as without TLS. A connection that waits for its next request takes 8 KiB of resident
//! memory more than a plain one (9.6 instead of 1.9; 3,000 of them, one worker).
//!
//! What a listener needs is built once per change of it ([`Terminator`]) and shared by all workers, session tickets
//! included, so that a client resumes on whichever worker takes it and across reloads. Tickets are never shared between
//! two listeners, nor between two settings of client certificates: one that was given without a certificate must not
//! open a door that asks for one.
//!
//! What is offered by ALPN is what the listener speaks; what comes is known by how it begins.
//!
//! Limits: no early data, no revocation lists, no OCSP stapling; of two certificates for one name
//! the first is used.
//!
//! [`Stream`]: crate::stream::Stream

mod dial;
mod files;
mod handshake;
mod refusal;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use evenkeel_model::config::{CertificateFiles, Config, Listener, Protocols, Tls, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring as provider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};

pub use dial::Dials;
pub(crate) use dial::{Dial, Dialer};
pub use files::{FileError, KeyRing, Role, see};
pub use handshake::{Handshake, Handshakes};
pub(crate) use handshake::{HandshakeCells, accept, is_tls};
pub use refusal::Dialled;
pub(crate) use refusal::Refused;
pub(crate) use stream::TlsStream;

/// The protocols that are offered to clients, the preferred one first.
fn offered(protocols: Protocols) -> Vec<Vec<u8>> {
    let all = [(protocols.http2, "h2"), (protocols.http1, "http/1.1")];
    let spoken = all.into_iter().filter(|(is_spoken, _)| *is_spoken);
    spoken.map(|(_, name)| name.as_bytes().to_vec()).collect()
}

/// Why a listener or a pool cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nothing was seen of a file: the text was not sealed.
    #[error("{whose}: it is not known which `{file}` is meant")]
    Unsealed {
        /// Whose: "listener `web`".
        whose: String,
        /// The file.
        file: String,
    },
    /// The bytes that were seen are neither in memory nor on disk any more.
    #[error(
        "{whose}: the `{file}` of this revision (sha256 {}...) is neither in memory nor on disk any more; apply the configuration again to use the one that is there", .sha256.get(..12).unwrap_or_default()
    )]
    Gone {
        /// Whose: "listener `web`".
        whose: String,
        /// The file.
        file: String,
        /// Of what was seen.
        sha256: String,
    },
    /// A file cannot be used.
    #[error("{whose}: `{file}` {cause}")]
    File {
        /// Whose: "listener `web`".
        whose: String,
        /// The file.
        file: String,
        /// Why.
        cause: FileError,
    },
    /// rustls refuses what it was given.
    #[error("{whose}: {cause}")]
    Refused {
        /// Whose: "listener `web`".
        whose: String,
        /// In its words.
        cause: String,
    },
}

/// What a listener speaks TLS with.
pub(crate) struct Terminator {
    /// What it was made of: the settings, and the hashes of the files' bytes in their order.
    made_of: (Tls, Vec<String>),
    /// What its tickets stand for: who was asked for a certificate, from which authorities.
    asks: Option<(bool, String)>,
    tickets: Arc<dyn ProducesTickets>,
    pub(crate) config: Arc<ServerConfig>,
}

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminator")
            .field("made_of", &self.made_of)
            .finish_non_exhaustive()
    }
}

impl Terminator {
    /// That of `listener` in `config`, with the bytes that `ring` holds: `before` while it fits, else a new one, which
    /// goes on with the tickets of `before` where they mean the same.
    pub(crate) fn of(
        listener: &Listener,
        tls: &Tls,
        config: &Config,
        ring: &KeyRing,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, TlsError> {
        let source = Source {
            whose: format!("listener `{}`", listener.name),
            config,
            ring,
        };
        let made_of = (tls.clone(), source.hashes(tls.files())?);
        let fits = |before: &&Arc<Self>| {
            before.made_of == made_of && before.config.alpn_protocols == offered(listener.protocols)
        };
        if let Some(same) = before.filter(fits) {
            return Ok(Arc::clone(same));
        }
        let asks = tls.client.as_ref().map(|client| {
            let ca = made_of.1.last().cloned().unwrap_or_default();
            (client.require, ca)
        });
        let tickets = match before.filter(|before| before.asks == asks) {
            Some(before) => Arc::clone(&before.tickets),
            None => provider::Ticketer::new().map_err(|error| source.refused(&error))?,
        };
        let mut server = server_config(listener, tls, &source)?;
        server.ticketer = Arc::clone(&tickets);
        Ok(Arc::new(Self {
            made_of,
            asks,
            tickets,
            config: Arc::new(server),
        }))
    }
}

/// The files of a configuration, for whoever is to speak TLS with them.
struct Source<'a> {
    whose: String,
    config: &'a Config,
    ring: &'a KeyRing,
}

impl Source<'_> {
    fn sha256(&self, path: &Path) -> Option<&str> {
        let seen = self.config.seen_file(path);
        seen.map(|seen| seen.sha256.as_str())
    }

    /// What is held of each of `paths`.
    fn hashes<'p>(&self, paths: impl Iterator<Item = &'p Path>) -> Result<Vec<String>, TlsError> {
        let hashes = paths.map(|path| {
            let sha256 = self.sha256(path).ok_or_else(|| TlsError::Unsealed {
                whose: self.whose.clone(),
                file: path.display().to_string(),
            })?;
            // Other bytes may be held in the place of those that are gone.
            let held = self.ring.get(sha256);
            Ok(held.map_or_else(|| sha256.to_owned(), |bytes| files::hash(&bytes)))
        });
        hashes.collect()
    }

    fn bytes(&self, path: &Path) -> Result<Arc<[u8]>, TlsError> {
        let sha256 = self.sha256(path);
        let held = sha256.and_then(|sha256| self.ring.get(sha256));
        held.ok_or_else(|| TlsError::Gone {
            whose: self.whose.clone(),
            file: path.display().to_string(),
            sha256: sha256.unwrap_or_default().to_owned(),
        })
    }

    /// The authorities in the file at `path`.
    fn roots(&self, path: &Path) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let authorities = files::authorities(&self.bytes(path)?);
        for authority in authorities.map_err(|cause| self.file(path, cause))? {
            roots.add(authority).map_err(|error| self.refused(&error))?;
        }
        Ok(roots)
    }

    fn file(&self, path: &Path, cause: FileError) -> TlsError {
        TlsError::File {
            whose: self.whose.clone(),
            file: path.display().to_string(),
            cause,
        }
    }

    fn refused(&self, cause: &impl fmt::Display) -> TlsError {
        TlsError::Refused {
            whose: self.whose.clone(),
            cause: cause.to_string(),
        }
    }
}

fn server_config(
    listener: &Listener,
    tls: &Tls,
    source: &Source<'_>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider::default_provider());
    let mut keys = Vec::with_capacity(tls.certificates.len());
    for CertificateFiles { chain, key } in &tls.certificates {
        let key = key.as_deref().map(|key| source.bytes(key)).transpose()?;
        let pair = files::certified(&source.bytes(chain)?, key.as_deref(), &provider);
        let pair = pair.map_err(|cause| source.file(chain, cause))?;
        keys.push(Arc::new(pair));
    }
    let resolver = Resolver::new(&keys, tls.strict_sni)
        .ok_or_else(|| source.refused(&"it has no certificate"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(tls.min_version))
        .map_err(|error| source.refused(&error))?;
    let builder = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let roots = source.roots(&client.ca)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = if client.require {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            let verifier = verifier.build().map_err(|error| source.refused(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_cert_resolver(Arc::new(resolver));
    server.alpn_protocols = offered(listener.protocols);
    // Tickets carry the sessions; a table of them here would be one more thing that workers share.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(server)
}

static FROM_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsVersion::V12 => &FROM_12,
        TlsVersion::V13 => &FROM_13,
    }
}

/// Which certificate a client gets by the name that it asks for.
struct Resolver {
    exact: BTreeMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: BTreeMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
    is_strict: bool,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    fn new(keys: &[Arc<CertifiedKey>], is_strict: bool) -> Option<Self> {
        let mut resolver = Self {
            exact: BTreeMap::new(),
            wildcard: BTreeMap::new(),
            default: Arc::clone(keys.first()?),
            is_strict,
        };
        for key in keys {
            for name in key.cert.first().map(files::names).unwrap_or_default() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut resolver.wildcard, parent.to_owned()),
                    None => (&mut resolver.exact, name),
                };
                names.entry(name).or_insert_with(|| Arc::clone(key));
            }
        }
        Some(resolver)
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let parent = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(parent)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| self.find(name));
        let default = (!self.is_strict).then_some(&self.default);
        found.or(default).map(Arc::clone)
    }
}

/// Room of `provider` for whoever reads files: the keys that it can use.
fn default_provider() -> CryptoProvider {
    provider::default_provider()
}
