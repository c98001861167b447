//! `[pool.NAME.tls]`: TLS to backends. No file is opened here.
//!
//! Nothing is believed unless it says so in words: without `ca` the table is refused, and without a name to verify too.

use super::keys;
use super::reader::{Reader, Report, Section};
use super::reference::sub;
use super::text::server_name;
use crate::config::{Backend, BackendTls, CertificateFiles, Members, MembersSource, TlsVersion};

/// `tls` of a pool with these backends and members.
pub(super) fn read(
    reader: &mut Reader,
    pool: &Section<'_>,
    backends: &[Backend],
    members: Option<&Members>,
) -> Option<BackendTls> {
    let Some(s) = sub(reader, pool, "tls", &keys::BACKEND_TLS) else {
        names_without_tls(reader, pool, backends);
        return None;
    };
    let ca = s.path(reader, "ca");
    let is_skipped = s.boolean(reader, "insecure_skip_verify").unwrap_or(false);
    let name = s.read(reader, "name", server_name);
    believes(reader, &s, is_skipped);
    if !is_skipped && !s.has("name") {
        named(reader, &s, backends, members);
    }
    let versions = TlsVersion::ALL.map(|version| (version.as_str(), version));
    let min_version = s.choice(reader, "min_version", &versions);
    let (chain, key) = (s.path(reader, "certificate"), s.path(reader, "key"));
    if let (None, Some(found)) = (s.raw("certificate"), s.get(reader, "key")) {
        let report = Report {
            id: "CFG-04",
            message: format!("`{}` is a key without a certificate", found.path),
            effect: "backends that ask for a certificate would be shown none".to_owned(),
            fix: "add `certificate = \"client.pem\"`, or remove `key`".to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
    Some(BackendTls {
        ca: ca.filter(|_| !is_skipped),
        name,
        certificate: chain.map(|chain| CertificateFiles { chain, key }),
        min_version: min_version.unwrap_or(TlsVersion::V12),
    })
}

/// Either somebody vouches for backends, or it is said in words that nobody does.
fn believes(reader: &mut Reader, s: &Section<'_>, is_skipped: bool) {
    if !is_skipped {
        s.require(
            reader,
            "ca",
            "whoever answers at the address would be believed",
            "ca = \"backends-ca.pem\"",
        );
    } else if let Some(found) = s.get(reader, "ca") {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` says who vouches for backends, but `insecure_skip_verify` that nobody is asked",
                found.path
            ),
            effect: "no certificate would be verified".to_owned(),
            fix: "remove `insecure_skip_verify`, or `ca`".to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
}

/// Every backend has a name to be verified by.
fn named(reader: &mut Reader, s: &Section<'_>, backends: &[Backend], members: Option<&Members>) {
    let source = members.map(|members| &members.source);
    if let Some(MembersSource::Dns { host, .. }) = source
        && server_name(host).is_ok()
    {
        return;
    }
    let nameless = backends.iter().find(|backend| backend.tls_name.is_none());
    let whose = match (nameless, source) {
        (Some(backend), _) => format!("backend `{}`", backend.name),
        (None, Some(source)) => format!("members by {source}"),
        (None, None) => return,
    };
    let report = Report {
        id: "CFG-04",
        message: format!(
            "`{}` does not say which name the certificate of {whose} is for",
            s.path
        ),
        effect: "a certificate for anybody would be as good as the backend's own".to_owned(),
        fix: "add `name = \"shop.internal\"`, or `tls_name` to each backend".to_owned(),
    };
    reader.error(&s.child_path("name"), s.span.clone(), report);
}

/// A name of a certificate where none is asked for.
fn names_without_tls(reader: &mut Reader, pool: &Section<'_>, backends: &[Backend]) {
    let named = backends.iter().find(|backend| backend.tls_name.is_some());
    if let Some(backend) = named.filter(|_| !pool.has("tls")) {
        let name = crate::canonical::path_segment(backend.name.as_str());
        let path = format!("{}.backend.{name}.tls_name", pool.path);
        let report = Report {
            id: "CFG-06",
            message: format!("`{path}` names a certificate, but the pool speaks no TLS"),
            effect: "requests would go to the backend in plain text".to_owned(),
            fix: format!(
                "add `[{}.tls]` with `ca = \"backends-ca.pem\"`, or remove `tls_name`",
                pool.path
            ),
        };
        reader.error(&path, pool.span.clone(), report);
    }
}
