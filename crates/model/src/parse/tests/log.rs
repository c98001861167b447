//! What a line of the access log says, as a file says it.

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::LogField;
use crate::finding::Severity;
use crate::parse::parse;

fn logging(fields: &str) -> String {
    format!("access_log = \"-\"\naccess_log_fields = {fields}\n{SHOP}")
}

#[test]
fn the_fields_stand_in_their_order_and_headers_in_lower_case() {
    let config = good(&logging(
        "[\"status\", \"request_header.User-Agent\", \"time\", \"response_header.x-cache\"]",
    ));
    let expected = [
        LogField::Status,
        LogField::RequestHeader("user-agent".to_owned()),
        LogField::Time,
        LogField::ResponseHeader("x-cache".to_owned()),
    ];
    assert_eq!(config.access_log_fields, expected);
    assert_eq!(good(&to_toml(&config)), config);
    let usual = good(&format!("access_log = \"-\"\n{SHOP}"));
    assert_ne!(content_hash(&config), content_hash(&usual));
    assert!(!to_toml(&usual).contains("access_log_fields"));
}

#[test]
fn what_is_no_field_is_refused_with_its_place_and_fix() {
    for (fields, path, part) in [
        ("[]", "access_log_fields", "[\"time\", \"status\"]"),
        ("\"time\"", "access_log_fields", "[\"time\", \"status\"]"),
        (
            "[\"time\", \"staus\"]",
            "access_log_fields.1",
            "mean \"status\"",
        ),
        (
            "[\"user-agent\"]",
            "access_log_fields.0",
            "request_header.NAME",
        ),
        ("[\"request_header.\"]", "access_log_fields.0", "user-agent"),
        ("[\"request_header.a b\"]", "access_log_fields.0", "x-user"),
        ("[7]", "access_log_fields.0", "the fields are time,"),
        (
            "[\"request_header.Host\", \"request_header.host\"]",
            "access_log_fields.1",
            "remove it",
        ),
    ] {
        let parsed = parse(&logging(fields), None);
        assert!(parsed.config.is_none(), "{fields}");
        let [finding] = &parsed.findings[..] else {
            panic!("{fields}: {:?}", parsed.findings);
        };
        assert!(
            finding.path == path && finding.fix.contains(part),
            "{fields}: {finding:?}"
        );
    }
}

#[test]
fn a_secret_in_the_log_and_a_choice_without_a_log_are_warnings() {
    for (text, part) in [
        (
            logging("[\"request_header.Authorization\"]"),
            "act as the clients",
        ),
        (
            format!("access_log_fields = [\"time\"]\n{SHOP}"),
            "nothing is logged",
        ),
    ] {
        let parsed = parse(&text, None);
        let [finding] = &parsed.findings[..] else {
            panic!("{:?}", parsed.findings);
        };
        assert_eq!(finding.severity, Severity::Warning);
        assert!(parsed.config.is_some() && finding.effect.contains(part));
    }
}
