//! Certificates that are made anew in each run, clients that speak TLS, and origins that do.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_model::config::{CertificateFiles, ClientCertificates, Config, Tls, TlsVersion};
use evenkeel_proxy::tls::{Handshake, KeyRing, Role, see};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use crate::support::{Bench, Origin, PATIENCE, Response, read_head, read_response, simple};

/// Who signs certificates.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// A certificate for `names` with its key, in one PEM.
    pub(crate) fn signs(&self, names: &[&str]) -> String {
        self.signs_until(names, 2_126)
    }

    /// The same with an end.
    pub(crate) fn signs_until(&self, names: &[&str], year: i32) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let mut certificate = CertificateParams::new(names).unwrap();
        certificate.not_after = date_time_ymd(year, 1, 1);
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        certificate.pem() + &key.serialize_pem()
    }
}

/// What a listener speaks TLS with: the files that a test keeps in memory.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) ring: KeyRing,
    pub(crate) tls: Tls,
    seen: Vec<evenkeel_model::config::SeenFile>,
}

impl Files {
    /// One file for each PEM: `0.pem`, `1.pem` and so on.
    pub(crate) fn new(certificates: &[&str]) -> Self {
        let mut files = Self {
            ring: KeyRing::default(),
            tls: Tls {
                certificates: Vec::new(),
                min_version: TlsVersion::V12,
                strict_sni: false,
                client: None,
                handshake_timeout: PATIENCE,
            },
            seen: Vec::new(),
        };
        for (n, pem) in certificates.iter().enumerate() {
            let path = format!("{n}.pem");
            files.put(&path, pem, Role::Certificate { key: None });
            let chain = PathBuf::from(path);
            files
                .tls
                .certificates
                .push(CertificateFiles { chain, key: None });
        }
        files
    }

    /// The file at `path` is `pem` from now on.
    pub(crate) fn put(&mut self, path: &str, pem: &str, role: Role<'_>) {
        self.ring.hold(pem.as_bytes());
        let seen = see(Path::new(path), pem.as_bytes(), role).unwrap();
        self.seen.retain(|known| known.path != seen.path);
        self.seen.push(seen);
    }

    /// Clients show a certificate of `authority`.
    pub(crate) fn asking(mut self, authority: &Authority, require: bool) -> Self {
        self.put("ca.pem", &authority.pem, Role::Authorities);
        let ca = PathBuf::from("ca.pem");
        self.tls.client = Some(ClientCertificates { ca, require });
        self
    }

    /// `config` with TLS on its first listener.
    pub(crate) fn of(&self, mut config: Config) -> Config {
        config.listeners[0].tls = Some(self.tls.clone());
        config.certificates = self.seen.clone();
        config
    }

    /// A proxy whose pools speak TLS as `config` says, with these files.
    pub(crate) fn start_to_backends(&self, mut config: Config, workers: u16) -> Bench {
        config.certificates = self.seen.clone();
        Bench::start_secured(config, workers, self.ring.clone())
    }

    /// `config` with what was seen of these files.
    pub(crate) fn sealed(&self, mut config: Config) -> Config {
        config.certificates = self.seen.clone();
        config
    }

    /// A proxy with them in front of `backends`.
    pub(crate) fn start(&self, backends: &[SocketAddr]) -> Bench {
        self.start_with(simple(backends), 1)
    }

    pub(crate) fn start_with(&self, config: Config, workers: u16) -> Bench {
        Bench::start_secured(self.of(config), workers, self.ring.clone())
    }
}

/// How a client speaks TLS: it trusts `authority` and shows the certificate in `shows`.
pub(crate) fn trusting(
    authority: &Authority,
    shows: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.resumption = Resumption::in_memory_sessions(8);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

pub(crate) const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A client that speaks TLS.
pub(crate) struct Secure(pub(crate) BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Secure {
    /// A connection on which nothing was said yet.
    pub(crate) fn new(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, name, config)
    }

    pub(crate) fn over(stream: TcpStream, name: &str, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self(BufReader::new(StreamOwned::new(tls, stream)))
    }

    pub(crate) fn tls(&self) -> &ClientConnection {
        &self.0.get_ref().conn
    }

    pub(crate) fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes())?;
        stream.flush()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.try_send(text).unwrap();
    }

    pub(crate) fn response(&mut self) -> Response {
        read_response(&mut self.0, "GET").unwrap()
    }

    pub(crate) fn head(&mut self) -> String {
        read_head(&mut self.0).unwrap()
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    /// Whether a request on it is answered: with TLS 1.3 a client learns with the answer only that it is refused.
    pub(crate) fn is_served(&mut self) -> bool {
        self.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .is_ok()
            && read_response(&mut self.0, "GET").is_some_and(|answer| answer.status == 200)
    }

    /// Whether the proxy says that it ends the connection, with nothing more sent.
    pub(crate) fn is_told_the_end(&mut self) -> bool {
        // An end that was not said is an error of rustls.
        matches!(self.0.read(&mut [0]), Ok(0))
    }

    pub(crate) fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.tls().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that was shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.tls().peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    }
}

/// The certificate in `pem`.
pub(crate) fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// How many handshakes of the first listener came to `result`.
pub(crate) fn count(bench: &Bench, result: Handshake) -> u64 {
    let handshakes = bench.proxy.handshakes();
    handshakes
        .first()
        .map_or(0, |(_, counts)| counts[result as usize])
}

/// How an origin speaks TLS: with the certificate in `pem`, asking for one of `asks`.
pub(crate) fn serving(
    pem: &str,
    asks: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match asks {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&authority.pem)).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The origin's side of a connection over TLS.
pub(crate) struct SecureConn(pub(crate) BufReader<StreamOwned<ServerConnection, TcpStream>>);

impl SecureConn {
    /// The next request head; `None` at the end of the connection.
    pub(crate) fn head(&mut self) -> Option<String> {
        read_head(&mut self.0)
    }

    pub(crate) fn send(&mut self, text: &str) -> bool {
        self.send_bytes(text.as_bytes())
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        let stream = self.0.get_mut();
        stream.write_all(bytes).is_ok() && stream.flush().is_ok()
    }

    pub(crate) fn tls(&self) -> &ServerConnection {
        &self.0.get_ref().conn
    }

    /// Says the end of what is sent.
    pub(crate) fn end(&mut self) {
        let stream = self.0.get_mut();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }
}

/// An origin that speaks TLS by `config` and runs `script` on every connection, each on a thread of its own.
pub(crate) fn secure_origin(
    config: &Arc<ServerConfig>,
    script: impl Fn(SecureConn) + Send + Sync + 'static,
) -> Origin {
    let config = Arc::clone(config);
    Origin::start(move |conn| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        script(SecureConn(BufReader::new(StreamOwned::new(
            tls,
            conn.stream,
        ))));
    })
}

/// An origin that speaks TLS by `config` and answers every request with `response`.
pub(crate) fn secure_answering(config: &Arc<ServerConfig>, response: &'static str) -> Origin {
    secure_origin(config, move |mut conn| {
        while conn.head().is_some() && conn.send(response) {}
    })
}
