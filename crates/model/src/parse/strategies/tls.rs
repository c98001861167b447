//! TLS of valid configurations, for property tests.

use std::time::Duration;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use crate::clock::Wall;
use crate::config::{BackendTls, CertificateFiles, ClientCertificates, SeenFile, Tls, TlsVersion};

pub(super) fn tls() -> impl Strategy<Value = Tls> {
    let file = "[a-z.\"]{1,9}";
    let certificates = btree_map(file, option::of(file), 1..4);
    let client = option::of((file, any::<bool>()));
    let time = 10u64..=60_000;
    (certificates, any::<(bool, bool)>(), client, time).prop_map(
        |(certificates, (is_13, strict_sni), client, time)| Tls {
            certificates: certificates
                .into_iter()
                .map(|(chain, key)| CertificateFiles {
                    chain: chain.into(),
                    key: key.map(Into::into),
                })
                .collect(),
            min_version: if is_13 {
                TlsVersion::V13
            } else {
                TlsVersion::V12
            },
            strict_sni,
            client: client.map(|(ca, require)| ClientCertificates {
                ca: ca.into(),
                require,
            }),
            handshake_timeout: Duration::from_millis(time),
        },
    )
}

/// TLS of a pool, and a name of its own for some of the backends.
pub(super) fn backend() -> impl Strategy<Value = (BackendTls, Option<String>)> {
    let file = "[a-z.\"]{1,9}";
    let name = "[a-z][a-z0-9_]{0,5}(\\.[a-z]{1,5}){0,2}|10\\.0\\.0\\.[1-9]|::[1-9]";
    let certificate = option::of((file, option::of(file)));
    let is_13 = any::<bool>();
    (option::of(file), name, certificate, is_13, option::of(name)).prop_map(
        |(ca, name, certificate, is_13, own)| {
            let tls = BackendTls {
                ca: ca.map(Into::into),
                name: Some(name),
                certificate: certificate.map(|(chain, key)| CertificateFiles {
                    chain: chain.into(),
                    key: key.map(Into::into),
                }),
                min_version: if is_13 {
                    TlsVersion::V13
                } else {
                    TlsVersion::V12
                },
            };
            (tls, own)
        },
    )
}

pub(super) fn seen() -> impl Strategy<Value = Vec<SeenFile>> {
    let name = "(\\*\\.)?[a-z]{1,5}(\\.[a-z]{1,5}){1,2}";
    let file = (
        "[0-9a-f]{64}",
        btree_set(name, 0..3),
        option::of(0u64..253_402_300_800),
    );
    let files = btree_map("[a-z.\"]{1,9}", file, 0..3);
    files.prop_map(|files| {
        files
            .into_iter()
            .map(|(path, (sha256, names, end))| SeenFile {
                path: path.into(),
                sha256,
                names: names.into_iter().collect(),
                not_after: end.map(|s| Wall(s * 1_000)),
            })
            .collect()
    })
}
