//! Hostile bootstraps: each ends with a clear word, soon and without much memory.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

use std::fmt::Write as _;

use evenkeel_import::{BACKENDS_MAX, File, Imported, NoFiles, TEXT_MAX, read};
use evenkeel_model::setup::Balancer;
use proptest::prelude::*;

fn named(name: &str, bytes: Vec<u8>) -> Imported {
    let name = name.to_owned();
    read(Balancer::Envoy, File { name, bytes }, &NoFiles)
}

fn yaml(text: &str) -> Imported {
    named("envoy.yaml", text.as_bytes().to_vec())
}

/// The one finding of a text that cannot be read.
fn fault(imported: &Imported) -> (&'static str, String, Option<u32>) {
    assert!(imported.setup.is_none());
    let [finding] = imported.findings.as_slice() else {
        panic!("one finding expected: {:#?}", imported.findings);
    };
    let line = finding.location.as_ref().map(|place| place.line);
    (finding.id, finding.message.clone(), line)
}

#[test]
fn aliases_that_multiply_are_refused_before_they_are_written_out() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let (id, message, line) = fault(&yaml(&text));
    assert_eq!((id, line), ("IMP-05", Some(7)), "{message}");
}

#[test]
fn nesting_is_refused_at_the_bound_in_yaml_and_json() {
    let flow = "[".repeat(1_000_000);
    let block: String = (0..200)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let dashes = "- ".repeat(100_000);
    for text in [flow.as_str(), block.as_str(), dashes.as_str()] {
        let (id, message, _) = fault(&yaml(text));
        assert_eq!(id, "IMP-05", "{message}");
    }
    let json = "{\"a\":".repeat(1_000_000);
    assert_eq!(fault(&named("envoy.json", json.into_bytes())).0, "IMP-05");
}

#[test]
fn anchors_cannot_be_stacked_beyond_the_depth() {
    let list = |inner: &str| format!("{}{inner}{}", "[".repeat(40), "]".repeat(40));
    let text = format!(
        "a: &a {}\nb: &b {}\nc: {}\n",
        list("x"),
        list("*a"),
        list("*b")
    );
    let (id, _, line) = fault(&yaml(&text));
    assert_eq!((id, line), ("IMP-05", Some(2)));
}

#[test]
fn an_alias_within_its_own_anchor_is_an_error() {
    assert_eq!(fault(&yaml("a: &a [*a]\n")).0, "IMP-01");
}

#[test]
fn a_quote_that_is_never_closed_is_an_error() {
    assert_eq!(fault(&yaml("static_resources: \"abc\nd: e\n")).0, "IMP-01");
    let json = named("envoy.json", b"{\"static_resources\": \"abc".to_vec());
    let (id, message, _) = fault(&json);
    assert_eq!(id, "IMP-01");
    assert!(message.contains("not closed"), "{message}");
}

#[test]
fn a_text_that_is_not_utf8_or_too_long_or_empty_is_an_error() {
    assert_eq!(fault(&named("envoy.yaml", vec![b'a', 0xff])).0, "IMP-01");
    assert_eq!(
        fault(&named("envoy.yaml", vec![b' '; TEXT_MAX + 1])).0,
        "IMP-05"
    );
    assert_eq!(fault(&yaml("")).0, "IMP-01");
    assert_eq!(fault(&yaml("- a list\n")).0, "IMP-01");
}

#[test]
fn a_cut_file_is_an_error_or_a_smaller_set_up_at_every_byte() {
    for (name, text) in [
        ("envoy.yaml", include_str!("envoy/tcp.yaml")),
        ("camel.json", include_str!("envoy/camel.json")),
    ] {
        for at in (0..text.len())
            .step_by(37)
            .filter(|at| text.is_char_boundary(*at))
        {
            let imported = named(name, text.as_bytes()[..at].to_vec());
            assert!(imported.setup.is_some() || !imported.findings.is_empty());
        }
    }
}

fn hosts(count: usize) -> String {
    let mut text = String::from(
        "static_resources:\n  clusters:\n  - name: big\n    load_assignment:\n      endpoints:\n      - lb_endpoints:\n",
    );
    for host in 0..count {
        let (a, b, c) = (host >> 16, (host >> 8) & 255, host & 255);
        writeln!(text, "        - endpoint: {{address: {{socket_address: {{address: 10.{a}.{b}.{c}, port_value: 80}}}}}}").unwrap();
    }
    text
}

#[test]
fn ten_thousand_hosts_are_read_and_more_than_the_bound_are_an_error() {
    let setup = yaml(&hosts(10_000)).setup.unwrap();
    assert_eq!(setup.pools[0].backends.len(), 10_000);
    let elsewhere = "        - *h\n".repeat(BACKENDS_MAX);
    let first = "        - &h {endpoint_name: from-elsewhere}\n";
    let imported = yaml(&format!("{}{first}{elsewhere}", hosts(0)));
    assert!(imported.setup.is_none());
    assert!(
        imported
            .findings
            .iter()
            .any(|finding| finding.id == "IMP-05" && finding.message.contains("hosts"))
    );
}

#[test]
fn domains_times_routes_are_bounded() {
    let domains: Vec<String> = (0..2_000).map(|n| format!("d{n}.example")).collect();
    let routes =
        "              - {match: {path: /a}, redirect: {path_redirect: /b}}\n".repeat(2_000);
    let minimal = include_str!("envoy/minimal.yaml");
    let text = minimal.replace("\"*\"", &domains.join(", ")).replace(
        "              - match: {prefix: /}\n                route: {cluster: app}\n",
        &routes,
    );
    let (id, message, _) = fault(&yaml(&text));
    assert_eq!(id, "IMP-05", "{message}");
}

#[test]
fn a_file_that_includes_itself_as_discovery_is_an_error() {
    struct Same;
    impl evenkeel_import::Files for Same {
        fn open(&self, _from: &str, _pattern: &str) -> Result<Vec<File>, String> {
            let bytes = b"resources: []".to_vec();
            let name = "envoy.yaml".to_owned();
            Ok(vec![File { name, bytes }])
        }
    }
    let text = "dynamic_resources: {cds_config: {path_config_source: {path: envoy.yaml}}}\n";
    let file = File {
        name: "envoy.yaml".to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    assert_eq!(fault(&read(Balancer::Envoy, file, &Same)).0, "IMP-02");
}

#[test]
fn the_place_of_a_value_counts_bytes_and_characters_right() {
    let imported = yaml(
        "# größer\nstatic_resources:\n  clusters:\n  - name: \"kä😀se\"\n    connect_timeout: 0.25s # ö\n",
    );
    let span = imported
        .origin
        .nearest("cluster.\"kä😀se\".timeout.connect")
        .unwrap();
    let source = &imported.origin.sources[span.source];
    assert_eq!(&source.text[span.range.clone()], "0.25s");
    let place = source.location(span.range.clone());
    assert_eq!((place.line, place.column), (5, 22));
}

/// Bits of a bootstrap, so that random texts get past the parser.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "static_resources:\n",
        "  clusters:\n",
        "  - name: a\n",
        "    type: EDS\n",
        "    lb_policy: RING_HASH\n",
        "    load_assignment:\n",
        "      endpoints:\n",
        "      - lb_endpoints:\n",
        "        - endpoint:\n",
        "            address: {socket_address: {address: 1.2.3.4, port_value: 1}}\n",
        "    connect_timeout: 1s\n",
        "  listeners:\n",
        "  - name: l\n",
        "    filter_chains:\n",
        "    - filters: [{name: x, typed_config: {\"@type\": a.TcpProxy, cluster: a}}]\n",
        "&a ",
        "*a",
        "!ignore ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        ": ",
        ",",
        "\n",
        "  ",
        "|\n",
        "? ",
        "%",
        "---\n",
        "é",
        "\t",
        "#",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end_in_a_setup_or_a_finding(bytes in prop::collection::vec(any::<u8>(), 0..400), is_json: bool) {
        let name = if is_json { "envoy.json" } else { "envoy.yaml" };
        let imported = named(name, bytes);
        prop_assert!(imported.setup.is_some() || !imported.findings.is_empty());
    }

    #[test]
    fn any_mixture_of_pieces_ends_in_a_setup_or_a_finding(pieces in prop::collection::vec(piece(), 0..60)) {
        let imported = yaml(&pieces.concat());
        prop_assert!(imported.setup.is_some() || !imported.findings.is_empty());
        for finding in &imported.findings {
            prop_assert!(!finding.message.is_empty() && !finding.effect.is_empty() && !finding.fix.is_empty());
        }
    }
}

/// A bootstrap in which `what` may be repeated by alias wherever it pleases.
fn repeated(anchor: &str, part: &str) -> String {
    format!(
        "x: {anchor}\nstatic_resources:\n  clusters:\n  - name: a\n    load_assignment:\n      endpoints:\n{}",
        part.repeat(20_000)
    )
}

#[test]
fn a_long_text_is_not_repeated_for_every_host() {
    let long = "z".repeat(1 << 20);
    let zone = "      - {locality: {zone: *z}, lb_endpoints: [{endpoint: {address: {socket_address: {address: 1.2.3.4, port_value: 1}}}}]}\n";
    let imported = yaml(&repeated(&format!("&z {long}"), zone));
    assert!(imported.setup.is_none());
    assert!(
        imported
            .findings
            .iter()
            .any(|finding| finding.id == "IMP-05")
    );
    let key = "      - lb_endpoints: [{metadata: {filter_metadata: {envoy.lb: {hash_key: *z}}}, endpoint: {address: {socket_address: {address: 1.2.3.4, port_value: 1}}}}]\n";
    let setup = yaml(&repeated(&format!("&z {long}"), key)).setup.unwrap();
    assert_eq!(setup.pools[0].backends[0].identity, "1.2.3.4:1");
}

#[test]
fn twenty_thousand_hosts_of_one_address_and_localities_of_their_own_take_no_long_time() {
    let part = "      - {load_balancing_weight: 7, lb_endpoints: [{endpoint: {address: {socket_address: {address: 1.2.3.4, port_value: 1}}}}]}\n";
    let text = repeated("1", part).replace(
        "  - name: a\n",
        "  - name: a\n    common_lb_config: {locality_weighted_lb_config: {}}\n",
    );
    let setup = yaml(&text).setup.unwrap();
    assert_eq!(setup.pools[0].backends.len(), 20_000);
    assert_eq!(setup.pools[0].backends[19_999].name, "1.2.3.4:1#20000");
}
