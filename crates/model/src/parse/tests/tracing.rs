//! `[tracing]`, as a file says it.

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::Tracing;
use crate::parse::parse;
use crate::units::Ratio;

fn tracing(keys: &str) -> String {
    format!("{SHOP}\n[tracing]\n{keys}\n")
}

#[test]
fn an_endpoint_is_enough() {
    let config = good(&tracing("endpoint = \"http://127.0.0.1:4318/v1/traces\""));
    let expected = Tracing {
        endpoint: "http://127.0.0.1:4318/v1/traces".to_owned(),
        service_name: "evenkeel".to_owned(),
        sample: Ratio::from_percent(1),
        follow: true,
    };
    assert_eq!(config.tracing, Some(expected));
    assert_eq!(good(&to_toml(&config)), config);
    assert_ne!(content_hash(&config), content_hash(&good(SHOP)));
}

#[test]
fn what_could_send_no_span_is_refused_with_its_place_and_fix() {
    for (keys, path, part) in [
        ("sample = \"5%\"", "tracing.endpoint", "4318/v1/traces"),
        (
            "endpoint = \"127.0.0.1:4318\"",
            "tracing.endpoint",
            "whole URL",
        ),
        (
            "endpoint = \"http://127.0.0.1:4318\"",
            "tracing.endpoint",
            "/v1/traces",
        ),
        (
            "endpoint = \"http://127.0.0.1:4318/\"",
            "tracing.endpoint",
            "/v1/traces",
        ),
        (
            "endpoint = \"http://a/b\"\nsample = \"101%\"",
            "tracing.sample",
            "100%",
        ),
        (
            "endpoint = \"http://a/b\"\nservice_name = \"a\tb\"",
            "tracing.service_name",
            "evenkeel",
        ),
        (
            "endpoint = \"http://a/b\"\nsampel = \"1%\"",
            "tracing.sampel",
            "sample",
        ),
    ] {
        let parsed = parse(&tracing(keys), None);
        assert!(parsed.config.is_none(), "{keys}");
        let [finding] = &parsed.findings[..] else {
            panic!("{keys}: {:?}", parsed.findings);
        };
        assert_eq!(finding.path, path, "{keys}");
        assert!(finding.fix.contains(part), "{keys}: {}", finding.fix);
    }
}
