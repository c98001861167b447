//! `[listener.NAME.tls]` and `[certificate."PATH"]`. No file is opened here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::keys;
use super::reader::{Found, Reader, Report, Section};
use super::reference::sub;
use super::text::host;
use super::too_many;
use super::typed::{Expected, Limits};
use crate::config::{
    BackendTls, CertificateFiles, ClientCertificates, Pool, SeenFile, Tls, TlsVersion,
};
use crate::day;

/// Most certificates of a file, over all listeners.
pub const CERTIFICATES_MAX: usize = 1_000;
/// Most files of certificates and keys that listeners name; pools may name as many.
const FILES_MAX: usize = 3 * CERTIFICATES_MAX;
/// Most names of one certificate.
const NAMES_MAX: usize = 1_000;

pub(super) const HANDSHAKE_TIMEOUT: Limits<Duration> = Limits {
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
    outside: "no client could finish its handshake, or half-open ones would pile up",
};

/// `tls` of a listener; `budget`: certificates that the file may still name.
pub(super) fn tls(reader: &mut Reader, listener: &Section<'_>, budget: &mut usize) -> Option<Tls> {
    let s = sub(reader, listener, "tls", &keys::TLS)?;
    s.require(
        reader,
        "certificates",
        "no client could be answered",
        "certificates = [\"shop.pem\"]",
    );
    let certificates = certificates(reader, &s, budget);
    let versions = TlsVersion::ALL.map(|version| (version.as_str(), version));
    let min_version = s.choice(reader, "min_version", &versions);
    let sni = s.choice(reader, "sni", &[("default", false), ("strict", true)]);
    let client = sub(reader, &s, "client", &keys::TLS_CLIENT).and_then(|client| {
        client.require(
            reader,
            "ca",
            "no certificate of a client could be verified",
            "ca = \"ca.pem\"",
        );
        Some(ClientCertificates {
            require: client.boolean(reader, "require").unwrap_or(true),
            ca: client.path(reader, "ca")?,
        })
    });
    let handshake_timeout = s.timeout(reader, "handshake_timeout", &HANDSHAKE_TIMEOUT);
    Some(Tls {
        certificates: certificates?,
        min_version: min_version.unwrap_or(TlsVersion::V12),
        strict_sni: sni.unwrap_or(false),
        client,
        handshake_timeout: handshake_timeout.unwrap_or(Tls::HANDSHAKE_TIMEOUT_DEFAULT),
    })
}

fn certificates(
    reader: &mut Reader,
    tls: &Section<'_>,
    budget: &mut usize,
) -> Option<Vec<CertificateFiles>> {
    let found = tls.get(reader, "certificates")?;
    let list = match found.value {
        DeValue::Array(list) if !list.is_empty() => list,
        _ => {
            let fix = "write `certificates = [\"shop.pem\"]`".to_owned();
            reader.wrong(&found, "a list with a certificate or more", fix);
            return None;
        }
    };
    if list.len() > *budget {
        let report = too_many(
            "certificates",
            CERTIFICATES_MAX,
            CERTIFICATES_MAX - *budget + list.len(),
        );
        reader.error(&found.path, found.span, report);
        return None;
    }
    *budget -= list.len();
    let read: Vec<_> = list
        .iter()
        .enumerate()
        .filter_map(|(index, item)| certificate(reader, format!("{}.{index}", found.path), item))
        .collect();
    let mut seen = BTreeSet::new();
    for files in &read {
        if !seen.insert(&files.chain) {
            let report = Report {
                id: "CFG-07",
                message: format!("`{}` names `{}` twice", found.path, files.chain.display()),
                effect: "only the first of the two would ever be used".to_owned(),
                fix: "remove one of them".to_owned(),
            };
            reader.error(&found.path, found.span.clone(), report);
        }
    }
    (read.len() == list.len()).then_some(read)
}

/// A path, or `{ chain, key }`.
fn certificate(
    reader: &mut Reader,
    path: String,
    item: &Spanned<DeValue<'_>>,
) -> Option<CertificateFiles> {
    if matches!(item.get_ref(), DeValue::Table(_)) {
        let s = reader.section(path, item, &keys::CERTIFICATE_FILES)?;
        let effect = "the certificate could not be loaded";
        s.require(reader, "chain", effect, "chain = \"shop.crt\"");
        s.require(reader, "key", effect, "key = \"shop.key\"");
        let chain = s.path(reader, "chain");
        let key = s.path(reader, "key")?;
        return Some(CertificateFiles {
            chain: chain?,
            key: Some(key),
        });
    }
    let found = Found {
        path,
        span: item.span(),
        value: item.get_ref(),
    };
    let chain = match found.value {
        DeValue::String(text) if !text.is_empty() && !text.contains('\0') => {
            PathBuf::from(text.as_ref())
        }
        _ => {
            let fix = "write \"shop.pem\", or { chain = \"shop.crt\", key = \"shop.key\" }";
            reader.wrong(&found, "the path of a file", fix.to_owned());
            return None;
        }
    };
    Some(CertificateFiles { chain, key: None })
}

/// Pools may share files, but not name more of them than are held in memory.
pub(super) fn files_of_pools(reader: &mut Reader, pools: &[Pool]) {
    let tls = pools.iter().filter_map(|pool| pool.tls.as_ref());
    let files: BTreeSet<&Path> = tls.flat_map(BackendTls::files).collect();
    if files.len() > FILES_MAX {
        let report = too_many("files of `tls` of pools", FILES_MAX, files.len());
        reader.error("pool", 0..0, report);
    }
}

/// The tables `[certificate."PATH"]`, by path.
pub(super) fn seen(reader: &mut Reader, root: &Section<'_>) -> Vec<SeenFile> {
    let mut tables = root.named_freely(reader, "certificate");
    // A chain, a key and an authority each; for listeners, and as many for pools.
    let most = 2 * FILES_MAX;
    if tables.len() > most {
        let report = too_many("`certificate` tables", most, tables.len());
        reader.error("certificate", 0..0, report);
        tables.truncate(most);
    }
    let mut files: Vec<SeenFile> = tables
        .into_iter()
        .filter_map(|(name, _, path, value)| {
            let s = reader.section(path, value, &keys::SEEN_FILE)?;
            s.require(
                reader,
                "sha256",
                "it would not be known which certificate is meant",
                "sha256 = \"...\"",
            );
            let sha256 = s.read(reader, "sha256", sha256);
            let not_after = s.read(reader, "not_after", |text| {
                day::read_time(text).ok_or_else(|| {
                    let what = "a time such as \"2027-01-31T12:00:00Z\"";
                    Expected::new(what, "remove the table: it is written by evenkeel")
                })
            });
            Some(SeenFile {
                path: PathBuf::from(name),
                names: names(reader, &s),
                sha256: sha256?,
                not_after,
            })
        })
        .collect();
    files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    files
}

fn sha256(text: &str) -> Result<String, Expected> {
    let is_hash = text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fix = "remove the table: it is written by evenkeel";
    is_hash
        .then(|| text.to_owned())
        .ok_or_else(|| Expected::new("64 hexadecimal digits, lower case", fix))
}

fn names(reader: &mut Reader, table: &Section<'_>) -> Vec<String> {
    let Some(found) = table.get(reader, "names") else {
        return Vec::new();
    };
    let names = match found.value {
        DeValue::Array(list) if list.len() <= NAMES_MAX => {
            let read = list.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => host(text).ok(),
                _ => None,
            });
            read.collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    names.unwrap_or_else(|| {
        let fix = "remove the table: it is written by evenkeel";
        reader.wrong(&found, "a list of DNS names", fix.to_owned());
        Vec::new()
    })
}
