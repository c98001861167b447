//! TLS to the backends of a pool, as a file says it.

use std::path::Path;

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::{CertificateFiles, TlsVersion};
use crate::parse::{members, parse};

/// `SHOP` with this table `tls` of its pool.
fn with(tls: &str) -> String {
    let pool = "algorithm = \"round_robin\"\n";
    SHOP.replacen(pool, &format!("{pool}tls = {tls}\n"), 1)
}

/// The same with `more` behind the address of the first backend.
fn with_own(tls: &str, more: &str) -> String {
    let address = "address = \"127.0.0.1:8081\"\n";
    with(tls).replacen(address, &format!("{address}{more}\n"), 1)
}

#[test]
fn what_is_left_out_takes_its_default_and_a_backend_may_have_a_name_of_its_own() {
    let plain = good(SHOP);
    assert_eq!(plain.pools[0].tls, None);
    let text = with_own(
        "{ ca = \"ca.pem\", name = \"Shop.internal\" }",
        "tls_name = \"web-1.internal\"",
    );
    let config = good(&text);
    let pool = &config.pools[0];
    let tls = pool.tls.as_ref().unwrap();
    assert_eq!(tls.ca.as_deref(), Some(Path::new("ca.pem")));
    assert_eq!(
        (tls.min_version, &tls.certificate),
        (TlsVersion::V12, &None)
    );
    let names: Vec<_> = pool.backends.iter().map(|b| pool.tls_name(b)).collect();
    assert_eq!(names[..2], [Some("web-1.internal"), Some("shop.internal")]);
    assert_ne!(content_hash(&config), content_hash(&plain));
    assert_eq!(good(&to_toml(&config)), config);
}

#[test]
fn a_certificate_of_our_own_is_one_file_or_two_and_every_file_is_known() {
    let files = |tls: &str| {
        let config = good(&with(tls));
        assert_eq!(good(&to_toml(&config)), config);
        let files: Vec<_> = config.tls_files().into_iter().map(Path::to_owned).collect();
        let certificate = config.pools[0].tls.clone().unwrap().certificate.unwrap();
        (certificate, files.len())
    };
    let pair = |chain: &str, key: Option<&str>| CertificateFiles {
        chain: chain.into(),
        key: key.map(Into::into),
    };
    let one = "{ ca = \"ca.pem\", name = \"a.b\", certificate = \"me.pem\" }";
    assert_eq!(files(one), (pair("me.pem", None), 2));
    let two = "{ insecure_skip_verify = true, certificate = \"me.crt\", key = \"me.key\", min_version = \"1.3\" }";
    assert_eq!(files(two), (pair("me.crt", Some("me.key")), 2));
}

#[test]
fn members_by_dns_are_verified_by_the_host_and_others_need_a_name() {
    let pool = |members: &str, more: &str| {
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npool = \"p\"\n\
            [pool.p.members]\n{members}\n[pool.p.tls]\nca = \"ca.pem\"\n{more}"
        );
        parse(&text, None)
    };
    let config = pool("dns = \"shop.internal:443\"", "").config.unwrap();
    let listed = "[[member]]\nname = \"a\"\naddress = \"10.0.0.1:443\"\n";
    let found = members::list_of_members(listed, None, config.pools[0].intent, &[]);
    let mut found = found.members.unwrap();
    assert_eq!(config.pools[0].tls_name(&found[0]), Some("shop.internal"));
    found[0].tls_name = Some("a.internal".to_owned());
    assert_eq!(config.pools[0].tls_name(&found[0]), Some("a.internal"));
    for source in ["srv = \"_https._tcp.shop.internal\"", "file = \"m.toml\""] {
        assert!(pool(source, "").config.is_none(), "{source}");
        assert!(pool(source, "name = \"shop.internal\"").config.is_some());
    }
}

/// A table, a line of a backend, where it is wrong, and part of the fix.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("{ name = \"a.b\" }", "", "tls", "ca = \"backends-ca.pem\""),
    (
        "{ ca = \"ca.pem\" }",
        "",
        "tls.name",
        "name = \"shop.internal\"",
    ),
    (
        "{ ca = \"ca.pem\" }",
        "tls_name = \"web-1.internal\"",
        "tls.name",
        "name = \"shop.internal\"",
    ),
    (
        "{ ca = \"a\", name = \"a.b\", insecure_skip_verify = true }",
        "",
        "tls.ca",
        "remove `insecure_skip_verify`",
    ),
    (
        "{ ca = \"a\", name = \"*.b\" }",
        "",
        "tls.name",
        "without scheme",
    ),
    (
        "{ ca = \"a\", name = \"a:443\" }",
        "",
        "tls.name",
        "without scheme",
    ),
    (
        "{ ca = \"a\", name = \"a.7\" }",
        "",
        "tls.name",
        "without scheme",
    ),
    (
        "{ ca = \"a\", name = \"-a.b\" }",
        "",
        "tls.name",
        "without scheme",
    ),
    (
        "{ ca = \"a\", name = \"a.b\", key = \"k\" }",
        "",
        "tls.key",
        "certificate = \"client.pem\"",
    ),
    (
        "{ ca = \"a\", name = \"a.b\", min_version = \"1.0\" }",
        "",
        "tls.min_version",
        "1.2",
    ),
    (
        "{ ca = \"a\", name = \"a.b\", verify = false }",
        "",
        "tls.verify",
        "",
    ),
    (
        "{ ca = \"a\", name = \"a.b\" }",
        "tls_name = \"https://x\"",
        "backend.web-1.tls_name",
        "without scheme",
    ),
];

#[test]
fn what_would_be_believed_without_a_reason_is_refused_with_its_place_and_fix() {
    let skips = "{ insecure_skip_verify = true }";
    assert!(
        good(&with(skips)).pools[0]
            .tls
            .as_ref()
            .unwrap()
            .ca
            .is_none()
    );
    for &(tls, own, path, part) in WRONG {
        let parsed = parse(&with_own(tls, own), None);
        assert!(parsed.config.is_none(), "{path}: {tls}");
        let named: Vec<_> = parsed.findings.iter().map(|f| (&f.path, &f.fix)).collect();
        let path = format!("pool.shop.{path}");
        let is_told = named
            .iter()
            .any(|(at, fix)| at.starts_with(&path) && fix.contains(part));
        assert!(is_told, "{path} {part}: {named:?}");
    }
    // A name where no certificate is asked for.
    let address = "address = \"127.0.0.1:8081\"\n";
    let text = SHOP.replacen(address, &format!("{address}tls_name = \"a.b\"\n"), 1);
    let told = parse(&text, None).findings;
    let at = "pool.shop.backend.web-1.tls_name";
    assert!(told.iter().any(|f| f.path == at), "{told:?}");
}
