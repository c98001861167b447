//! TLS in the canonical form: what a listener and a pool say of it, and what was seen of the files.

use std::fmt::Write as _;
use std::path::Path;

use super::{Section, duration, path_segment, quote, table};
use crate::config::{BackendTls, CertificateFiles, SeenFile, Tls, TlsVersion};
use crate::day::time;

/// The table of `tls` under the listener at `path`.
pub(super) fn tls_section(path: &str, tls: &Tls) -> Section {
    let certificates: Vec<String> = tls.certificates.iter().map(certificate).collect();
    let mut entries = vec![("certificates", format!("[{}]", certificates.join(", ")))];
    // Nothing where it is the default, so that hashes stay when keys are added.
    if tls.min_version != TlsVersion::V12 {
        entries.push(("min_version", quote(tls.min_version.as_str())));
    }
    if tls.strict_sni {
        entries.push(("sni", quote("strict")));
    }
    if let Some(client) = &tls.client {
        entries.push(("client.ca", file(&client.ca)));
        entries.push(("client.require", client.require.to_string()));
    }
    entries.push(("handshake_timeout", duration(tls.handshake_timeout)));
    table(format!("{path}.tls"), entries)
}

/// The table of `tls` under the pool at `path`.
pub(super) fn backend_section(path: &str, tls: &BackendTls) -> Section {
    let mut entries = vec![match &tls.ca {
        Some(ca) => ("ca", file(ca)),
        None => ("insecure_skip_verify", true.to_string()),
    }];
    let name = tls.name.as_deref();
    entries.extend(name.map(|name| ("name", quote(name))));
    if let Some(CertificateFiles { chain, key }) = &tls.certificate {
        entries.push(("certificate", file(chain)));
        entries.extend(key.as_deref().map(|key| ("key", file(key))));
    }
    if tls.min_version != TlsVersion::V12 {
        entries.push(("min_version", quote(tls.min_version.as_str())));
    }
    table(format!("{path}.tls"), entries)
}

fn certificate(files: &CertificateFiles) -> String {
    match &files.key {
        None => file(&files.chain),
        Some(key) => format!("{{ chain = {}, key = {} }}", file(&files.chain), file(key)),
    }
}

fn file(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// What was seen of a file.
pub(super) fn seen_section(seen: &SeenFile) -> Section {
    let mut entries = vec![("sha256", quote(&seen.sha256))];
    if !seen.names.is_empty() {
        let names: Vec<String> = seen.names.iter().map(|name| quote(name)).collect();
        entries.push(("names", format!("[{}]", names.join(", "))));
    }
    let not_after = seen.not_after.map(time);
    entries.extend(not_after.map(|time| ("not_after", quote(&time))));
    let name = path_segment(&seen.path.to_string_lossy());
    table(format!("certificate.{name}"), entries)
}

/// The tables of `files` as TOML, to be put behind a text that has none of them.
pub fn certificate_tables<'a>(files: impl IntoIterator<Item = &'a SeenFile>) -> String {
    let mut text = String::new();
    for section in files.into_iter().map(seen_section) {
        write!(text, "\n{}\n", section.header).unwrap_or_default();
        for (key, value) in &section.entries {
            writeln!(text, "{key} = {value}").unwrap_or_default();
        }
    }
    text
}
