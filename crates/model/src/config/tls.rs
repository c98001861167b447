//! TLS on a listener and to the backends of a pool: which files, whom it serves or believes, and what was seen of the
//! files when the configuration was sealed.
//!
//! A [`Config`] names files and never holds a key. What it knows of a file is a [`SeenFile`]: its hash, the names in it
//! and when it ends. Whoever has a disk adds those to the text of a revision (room `control`), so that a renewed
//! certificate is another revision and the rules can judge it without opening anything.
//!
//! [`Config`]: crate::config::Config

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Wall;
use crate::config::{Backend, Config, Listener, MembersSource, Pool};

/// `[listener.NAME.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tls {
    /// At least one; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// Oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// A client that asks for no name of the certificates is refused. Default: it gets the first certificate.
    pub strict_sni: bool,
    /// Whose certificates clients show; `None`: nobody is asked for one.
    pub client: Option<ClientCertificates>,
    /// The handshake must be complete this long after the connection. Default 5 s.
    pub handshake_timeout: Duration,
}

impl Tls {
    /// Where nothing is said of the handshake's time.
    pub const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

    /// Every file that it names, certificates first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.certificates.iter().flat_map(CertificateFiles::paths);
        let client = self.client.as_ref().map(|client| client.ca.as_path());
        certificates.chain(client)
    }
}

/// `[pool.NAME.tls]`: how backends are spoken to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackendTls {
    /// The authorities that a backend's certificate must come from, PEM; `None`: whoever answers is believed
    /// (`insecure_skip_verify`).
    pub ca: Option<PathBuf>,
    /// The name that is asked for and that the certificate must be for, where a backend has none of its own.
    pub name: Option<String>,
    /// What is shown to backends that ask for a certificate.
    pub certificate: Option<CertificateFiles>,
    /// Oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
}

impl BackendTls {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let certificate = self.certificate.iter().flat_map(CertificateFiles::paths);
        self.ca.as_deref().into_iter().chain(certificate)
    }
}

impl Pool {
    /// The name that `backend` is asked for over TLS, and that its certificate must be for: its own, the pool's, or the
    /// one that its address was found by. `None`: none is known, and none is asked for.
    pub fn tls_name<'a>(&'a self, backend: &'a Backend) -> Option<&'a str> {
        let of_pool = || self.tls.as_ref()?.name.as_deref();
        let own = backend.tls_name.as_deref();
        own.or_else(of_pool).or_else(|| self.name_looked_up())
    }

    /// The host whose addresses its members are.
    fn name_looked_up(&self) -> Option<&str> {
        match &self.members.as_ref()?.source {
            MembersSource::Dns { host, .. } => Some(host),
            // What an SRV answer names is nobody's word: whoever forges the answer would choose the name.
            MembersSource::File(_) | MembersSource::Srv(_) => None,
        }
    }
}

/// A certificate with its chain and its key: one file, or two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct CertificateFiles {
    /// The certificate, then those that lead to its root; with its key where `key` is `None`. PEM.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: Option<PathBuf>,
}

impl CertificateFiles {
    /// The files that it stands in.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.chain.as_path()).chain(self.key.as_deref())
    }
}

/// `client = { ca, require }`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientCertificates {
    /// The authorities that a client's certificate must come from, PEM.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused. Default true.
    pub require: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl TlsVersion {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// As it is written: `1.2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// `[certificate."PATH"]`: what was seen of a file when the text that names it became a revision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SeenFile {
    /// The file as the configuration names it.
    pub path: PathBuf,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// The DNS names of its certificate, lower case, exact or `*.example.com`; none for a file of keys or authorities.
    pub names: Vec<String>,
    /// The first second at which its certificates are no longer valid; `None` for a file of keys.
    pub not_after: Option<Wall>,
}

impl Config {
    /// Every file that the TLS of a listener or of a pool names, each once.
    pub fn tls_files(&self) -> BTreeSet<&Path> {
        let listeners = self.listeners.iter();
        let clients = listeners.filter_map(|listener| listener.tls.as_ref());
        let pools = self.pools.iter();
        let backends = pools.filter_map(|pool| pool.tls.as_ref());
        let of_pools = backends.flat_map(BackendTls::files);
        clients.flat_map(Tls::files).chain(of_pools).collect()
    }

    /// What was seen of the file at `path`.
    pub fn seen_file(&self, path: &Path) -> Option<&SeenFile> {
        self.certificates.iter().find(|seen| seen.path == path)
    }

    /// What was seen of each certificate of `listener`, in file order, those left out of which nothing was.
    pub fn certificates_of<'a>(
        &'a self,
        listener: &'a Listener,
    ) -> impl Iterator<Item = &'a SeenFile> {
        let tls = listener.tls.iter().flat_map(|tls| &tls.certificates);
        tls.filter_map(|files| self.seen_file(&files.chain))
    }
}

/// Whether a certificate for `name`, exact or `*.example.com`, is one for `host`. A wildcard stands for one label.
pub fn covers(name: &str, host: &str) -> bool {
    let parent = |text: &str| text.split_once('.').map(|(_, parent)| parent.to_owned());
    name == host
        || name
            .strip_prefix("*.")
            .is_some_and(|suffix| parent(host).as_deref() == Some(suffix))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        assert!(covers("shop.example", "shop.example"));
        assert!(covers("*.example", "shop.example"));
        assert!(covers("*.example", "*.example"));
        assert!(!covers("*.example", "a.shop.example"));
        assert!(!covers("*.example", "example"));
        assert!(!covers("shop.example", "*.example"));
    }
}
