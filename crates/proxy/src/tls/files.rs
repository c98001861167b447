//! Files of certificates and keys: what stands in them, and the bytes of those in use.
//!
//! Nothing here opens a file: bytes come from whoever has a disk. They are held in memory by their hash, so that a
//! revision can be gone back to when its certificate on disk is another one by now. No error shows what stands in a
//! file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_model::clock::Wall;
use evenkeel_model::config::SeenFile;
use evenkeel_model::day::read_time;
use evenkeel_model::parse::CERTIFICATES_MAX;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sha2::{Digest as _, Sha256};
use webpki::EndEntityCert;

/// Files that are held: those of two configurations of the largest size, for listeners and for pools.
const HELD_MAX: usize = 12 * CERTIFICATES_MAX;
/// Certificates of one file.
const CHAIN_MAX: usize = 1_000;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It has no certificate.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// It has no key, and no other file was named for it.
    #[error("holds no private key in PEM")]
    NoKey,
    /// The key belongs to another certificate.
    #[error("holds a key that is not the certificate's")]
    OtherKey,
    /// What stands in it is no key that can be used.
    #[error("holds a private key of a kind that is not known")]
    BadKey,
    /// What stands in it is no certificate that can be used.
    #[error("holds a certificate that cannot be read")]
    BadCertificate,
    /// It is not what a bundle looks like.
    #[error("holds more than {CHAIN_MAX} certificates")]
    TooMany,
}

/// What a file is there for.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// A certificate with its chain; the bytes of its key where that stands in another file.
    Certificate {
        /// Of the other file.
        key: Option<&'a [u8]>,
    },
    /// A private key.
    Key,
    /// The authorities of clients or of backends.
    Authorities,
}

/// What is seen of the file at `path` with these bytes.
pub fn see(path: &Path, bytes: &[u8], role: Role<'_>) -> Result<SeenFile, FileError> {
    let mut seen = SeenFile {
        path: path.to_owned(),
        sha256: hash(bytes),
        names: Vec::new(),
        not_after: None,
    };
    match role {
        Role::Certificate { key } => {
            let pair = certified(bytes, key, &super::default_provider())?;
            seen.names = pair.cert.first().map(names).unwrap_or_default();
            let ends = pair.cert.iter().map(not_after);
            let ends = ends.collect::<Option<Vec<_>>>();
            let ends = ends.ok_or(FileError::BadCertificate)?;
            // A chain holds as long as each of its links.
            seen.not_after = ends.into_iter().min();
        }
        Role::Key => {
            PrivateKeyDer::from_pem_slice(bytes).map_err(|_error| FileError::NoKey)?;
        }
        Role::Authorities => {
            let ends = authorities(bytes)?;
            let ends = ends.iter().map(not_after).collect::<Option<Vec<_>>>();
            let ends = ends.ok_or(FileError::BadCertificate)?;
            // A bundle serves as long as one of its authorities does.
            seen.not_after = ends.into_iter().max();
        }
    }
    Ok(seen)
}

pub(super) fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificates of a file.
pub(super) fn authorities(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|_error| FileError::BadCertificate)?;
        if certificates.len() == CHAIN_MAX {
            return Err(FileError::TooMany);
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(FileError::NoCertificate);
    }
    Ok(certificates)
}

/// The certificate of `chain` with its key, which stands in `key` or in the same file. That they belong together is
/// checked.
pub(super) fn certified(
    chain: &[u8],
    key: Option<&[u8]>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FileError> {
    let certificates = authorities(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key.unwrap_or(chain));
    let key = key.map_err(|_error| FileError::NoKey)?;
    CertifiedKey::from_der(certificates, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => FileError::OtherKey,
        Error::InvalidCertificate(_) => FileError::BadCertificate,
        _ => FileError::BadKey,
    })
}

/// The DNS names that a certificate is for, lower case, each once, in its order.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for name in parsed.valid_dns_names() {
        let name = name.to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The first second at which a certificate is no longer valid.
fn not_after(certificate: &CertificateDer<'_>) -> Option<Wall> {
    let (whole, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(whole, SEQUENCE)?;
    // RFC 5280 section 4.1: version (optional), serial number, algorithm, issuer, validity.
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        fields = element(fields, tag)?.1;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let after_start = [UTC_TIME, GENERALIZED_TIME]
        .into_iter()
        .find_map(|tag| element(validity, tag))?
        .1;
    let (utc, general) = (
        element(after_start, UTC_TIME),
        element(after_start, GENERALIZED_TIME),
    );
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let full = match (utc, general) {
        (Some((time, _)), _) => {
            // Two digits of the year: 50 and later are of the 20th century.
            let time = text(time)?;
            let century = if time.get(..2)? >= "50" { "19" } else { "20" };
            format!("{century}{time}")
        }
        (None, general) => text(general?.0)?.to_owned(),
    };
    let part = |range| full.get(range);
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(8..10)?,
        part(10..12)?,
        part(12..14)?
    );
    let is_whole = full.len() == 15 && full.ends_with('Z');
    let last = read_time(&time).filter(|_| is_whole)?;
    Some(Wall(last.0 + 1_000))
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The content of the DER element at the front of `bytes` and what follows it; `None`: it has another tag, or is cut.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let digits = usize::from(*length & 0x7f);
        let (digits, rest) = rest.split_at_checked(digits).filter(|_| digits <= 4)?;
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    rest.split_at_checked(length).filter(|_| *first == tag)
}

/// The bytes of the files in use and of those that were, by hash. Cloning gives a further handle to the same.
#[derive(Clone, Default)]
pub struct KeyRing(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    files: BTreeMap<String, (Arc<[u8]>, u64)>,
    asked: u64,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing")
            .field(&self.lock().files.len())
            .finish()
    }
}

impl KeyRing {
    /// Holds `bytes`; of too many files the one that was not asked for longest is let go.
    pub fn hold(&self, bytes: &[u8]) {
        self.hold_as(hash(bytes), bytes);
    }

    /// Holds `bytes` in the place of those with another hash, which are gone.
    pub fn hold_as(&self, sha256: String, bytes: &[u8]) {
        let mut held = self.lock();
        held.asked += 1;
        let asked = held.asked;
        held.files.insert(sha256, (Arc::from(bytes), asked));
        if held.files.len() > HELD_MAX {
            let oldest = held.files.iter().min_by_key(|(_, (_, asked))| *asked);
            if let Some(oldest) = oldest.map(|(hash, _)| hash.clone()) {
                held.files.remove(&oldest);
            }
        }
    }

    /// Whether the bytes with this hash are held.
    pub fn holds(&self, sha256: &str) -> bool {
        self.get(sha256).is_some()
    }

    pub(super) fn get(&self, sha256: &str) -> Option<Arc<[u8]>> {
        let mut held = self.lock();
        held.asked += 1;
        let now = held.asked;
        let (bytes, asked) = held.files.get_mut(sha256)?;
        *asked = now;
        Some(Arc::clone(bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
