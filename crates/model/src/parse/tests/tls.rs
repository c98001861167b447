//! TLS of a listener, as a file says it.

use std::path::PathBuf;

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::{CertificateFiles, TlsVersion};
use crate::parse::{CERTIFICATES_MAX, parse};

fn with(tls: &str) -> String {
    SHOP.replacen(
        "address = \"127.0.0.1:8080\"\n",
        &format!("address = \"127.0.0.1:8080\"\ntls = {tls}\n"),
        1,
    )
}

#[test]
fn files_are_named_in_two_forms_and_what_is_left_out_takes_its_default() {
    let plain = good(SHOP);
    assert_eq!(plain.listeners[0].tls, None);
    let config = good(&with(
        "{ certificates = [\"a.pem\", { chain = \"b.crt\", key = \"b.key\" }] }",
    ));
    let tls = config.listeners[0].tls.as_ref().unwrap();
    let files = |chain: &str, key: Option<&str>| CertificateFiles {
        chain: chain.into(),
        key: key.map(PathBuf::from),
    };
    let both = [files("a.pem", None), files("b.crt", Some("b.key"))];
    assert_eq!(tls.certificates, both);
    assert_eq!(tls.min_version, TlsVersion::V12);
    assert!(!tls.strict_sni && tls.client.is_none());
    assert_eq!(tls.handshake_timeout.as_secs(), 5);
    assert_ne!(content_hash(&config), content_hash(&plain));
    assert_eq!(good(&to_toml(&config)), config);
}

#[test]
fn what_was_seen_of_a_file_is_part_of_the_hash() {
    let text = with("{ certificates = [\"a.pem\"] }");
    let sealed = |digit: &str| {
        let seen = format!(
            "[certificate.\"a.pem\"]\nsha256 = \"{}\"\n",
            digit.repeat(64)
        );
        good(&(text.clone() + "\n" + &seen))
    };
    let (a, b) = (sealed("a"), sealed("b"));
    let hashes = [&good(&text), &a, &b].map(content_hash);
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    assert_eq!(
        a.seen_file("a.pem".as_ref()).unwrap().sha256,
        "a".repeat(64)
    );
    assert_eq!(good(&to_toml(&a)), a);
}

#[test]
fn what_no_client_could_be_served_with_is_refused_with_its_place_and_fix() {
    let many = format!("[{}]", "\"a.pem\", ".repeat(CERTIFICATES_MAX + 1));
    let many = format!("{{ certificates = {many} }}");
    for (tls, path, part) in [
        ("{}", "tls", "certificates = [\"shop.pem\"]"),
        (
            "{ certificates = [] }",
            "tls.certificates",
            "certificates = [\"shop.pem\"]",
        ),
        (
            "{ certificates = \"a.pem\" }",
            "tls.certificates",
            "certificates = [\"shop.pem\"]",
        ),
        (
            "{ certificates = [\"\"] }",
            "tls.certificates.0",
            "\"shop.pem\"",
        ),
        (
            "{ certificates = [1] }",
            "tls.certificates.0",
            "\"shop.pem\"",
        ),
        (
            "{ certificates = [{ chain = \"a\" }] }",
            "tls.certificates.0",
            "key = \"shop.key\"",
        ),
        (
            "{ certificates = [\"a\", \"a\"] }",
            "tls.certificates",
            "remove one",
        ),
        (&many, "tls.certificates", ""),
        (
            "{ certificates = [\"a\"], min_version = \"1.1\" }",
            "tls.min_version",
            "1.2",
        ),
        (
            "{ certificates = [\"a\"], sni = \"any\" }",
            "tls.sni",
            "default",
        ),
        (
            "{ certificates = [\"a\"], client = {} }",
            "tls.client",
            "ca = \"ca.pem\"",
        ),
        (
            "{ certificates = [\"a\"], handshake_timeout = \"1h\" }",
            "tls.handshake_timeout",
            "",
        ),
        (
            "{ certificates = [\"a\"], cert = \"b\" }",
            "tls.cert",
            "certificates",
        ),
    ] {
        let parsed = parse(&with(tls), None);
        assert!(parsed.config.is_none(), "{path}: {tls:.60}");
        let named: Vec<_> = parsed.findings.iter().map(|f| (&f.path, &f.fix)).collect();
        let path = format!("listener.web.{path}");
        let is_told = named
            .iter()
            .any(|(at, fix)| at.starts_with(&path) && fix.contains(part));
        assert!(is_told, "{path} {part}: {named:?}");
    }
}

#[test]
fn a_table_of_what_was_seen_that_nobody_wrote_so_is_refused() {
    let text = with("{ certificates = [\"a.pem\"] }");
    for seen in [
        "",
        "sha256 = \"aa\"",
        "sha256 = 7",
        "sha256 = \"AA\"\nnames = 1",
    ] {
        let parsed = parse(&format!("{text}\n[certificate.\"a.pem\"]\n{seen}\n"), None);
        assert!(parsed.config.is_none(), "{seen}");
        assert!(
            parsed
                .findings
                .iter()
                .any(|f| f.path.starts_with("certificate.")),
            "{seen}"
        );
    }
}
