//! Envoy bootstraps, good and bad, and what comes out of them.
//!
//! Envoy 1.40 accepts every file here whose name does not start with `bad`, and refuses the others.

use evenkeel_import::{File, Files, Imported, NoFiles, read};
use evenkeel_model::setup::Balancer;

#[path = "envoy/asides.rs"]
mod asides;
#[path = "envoy/states.rs"]
mod states;
#[path = "envoy/unreached.rs"]
mod unreached;

#[path = "support/summary.rs"]
mod summary;

/// The files beside the one under test.
struct Beside;

impl Files for Beside {
    fn open(&self, _from: &str, pattern: &str) -> Result<Vec<File>, String> {
        let bytes: &[u8] = match pattern {
            "discovery/cds.yaml" => include_bytes!("envoy/discovery/cds.yaml"),
            "discovery/eds.yaml" => include_bytes!("envoy/discovery/eds.yaml"),
            "discovery/lds.yaml" => include_bytes!("envoy/discovery/lds.yaml"),
            "discovery/rds.yaml" => include_bytes!("envoy/discovery/rds.yaml"),
            _ => return Err("no such file".to_owned()),
        };
        Ok(vec![File {
            name: pattern.to_owned(),
            bytes: bytes.to_vec(),
        }])
    }
}

fn file(name: &str, bytes: &[u8]) -> File {
    File {
        name: name.to_owned(),
        bytes: bytes.to_vec(),
    }
}

/// The start of a bootstrap: a listener with `manager` in its connection manager, this `route` first, and `filter` before
/// the router.
fn web(manager: &str, route: &str, filter: &str) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          {manager}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {route}
          http_filters:
          {filter}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"#
    )
}

fn text(text: &str) -> Imported {
    read(
        Balancer::Envoy,
        file("envoy.yaml", text.as_bytes()),
        &NoFiles,
    )
}

macro_rules! snapshots {
    ($($name:ident: $file:literal;)+) => {$(
        #[test]
        fn $name() {
            let bytes = include_bytes!(concat!("envoy/", $file));
            let imported = read(Balancer::Envoy, file($file, bytes), &Beside);
            let is_bad = $file.starts_with("bad");
            assert_eq!(imported.setup.is_none(), is_bad, "{:#?}", imported.findings);
            insta::assert_snapshot!(stringify!($name), summary::summary(&imported));
        }
    )+};
}

snapshots! {
    a_minimal_bootstrap_has_the_defaults_of_envoy: "minimal.yaml";
    the_edge_of_a_shop_is_read_whole: "front.yaml";
    hash_policies_decide_what_a_ring_hashes: "hash.yaml";
    json_with_camel_case_is_read_as_well_as_yaml: "camel.json";
    localities_have_weights_priorities_and_states: "localities.yaml";
    equal_weights_are_drawn_and_unequal_ones_taken_by_load: "least_request.yaml";
    tcp_proxies_route_by_server_name: "tcp.yaml";
    a_canary_takes_its_part_by_weight_header_and_fraction: "canary.yaml";
    checks_ejection_and_breakers_have_their_values: "health.yaml";
    tls_is_verified_only_when_somebody_is_trusted: "tls.yaml";
    names_and_policies_of_the_cluster_are_gaps: "dns.yaml";
    the_longest_timeout_and_the_most_retries_reach_the_pool: "sticky.yaml";
    resources_in_files_are_opened: "discovery.yaml";
    what_a_server_hands_out_is_a_gap: "ads.yaml";
    what_envoy_silently_does_not_do_is_said: "silent.yaml";
    values_out_of_range_are_all_errors_at_once: "bad_values.yaml";
    references_to_what_is_not_there_are_errors: "bad_references.yaml";
    a_wrong_indent_is_an_error_at_its_line: "bad_syntax.yaml";
    a_missing_comma_is_an_error_at_its_column: "bad_syntax.json";
}

#[test]
fn only_what_stands_in_the_file_is_declared() {
    let imported = read(
        Balancer::Envoy,
        file("health.yaml", include_bytes!("envoy/health.yaml")),
        &NoFiles,
    );
    let declares = |path: &str| imported.origin.declares(path);
    for path in [
        "cluster.http",
        "cluster.http.timeout.connect",
        "cluster.http.health",
        "cluster.http.health.interval",
        "cluster.http.health.timeout",
        "cluster.http.health.rise",
        "cluster.http.health.fall",
        "cluster.http.ejection",
        "cluster.http.queue_max",
        "cluster.http.breakers.requests_max",
        "cluster.talk.retry.budget",
        "cluster.grpc.timeout.keep",
        "cluster.http.endpoint.\"10.0.0.1:80\"",
    ] {
        assert!(declares(path), "{path}");
    }
    for path in [
        "cluster.several.timeout.connect",
        "cluster.http.algorithm",
        "cluster.talk.ejection",
        "cluster.several.queue_max",
        "cluster.http.retry",
        "cluster.http.endpoint.\"10.0.0.1:80\".weight",
    ] {
        assert!(!declares(path), "{path}");
    }
}

#[test]
fn a_field_that_nobody_knows_is_a_gap_with_its_place() {
    let imported = text(
        "static_resources:\n  clusters:\n  - {name: app, lb_polcy: RANDOM}\nstatic_resource: {}\n",
    );
    let setup = imported.setup.unwrap();
    let gaps: Vec<&str> = setup.gaps.iter().map(|gap| gap.what.as_str()).collect();
    assert_eq!(gaps, ["lb_polcy", "static_resource"]);
    let place = imported.findings[0].location.as_ref().unwrap();
    assert_eq!((place.line, place.column), (3, 17));
}

#[test]
fn a_bootstrap_is_recognised_by_its_keys() {
    use evenkeel_import::recognise;
    for text in [
        "static_resources: {}\n",
        "admin: {}\n\nstatic_resources:\n",
        "{\"staticResources\": {}}",
        "{\"node\": {},\"dynamic_resources\": {}}",
    ] {
        assert_eq!(
            recognise("some.conf", text),
            Some(Balancer::Envoy),
            "{text}"
        );
    }
    for text in [
        "# static_resources: none\n",
        "my_static_resources: 1\n",
        "static_resources\n",
    ] {
        assert_ne!(
            recognise("some.conf", text),
            Some(Balancer::Envoy),
            "{text}"
        );
    }
}

#[test]
fn every_change_of_a_value_changes_the_setup_or_is_said() {
    // Field by field: what is taken out of a file that is understood whole must show.
    let whole = include_str!("envoy/minimal.yaml");
    let before = text(whole).setup.unwrap();
    let after = text(&whole.replace("load_balancing_weight: 3", "load_balancing_weight: 4"));
    assert_ne!(after.setup.unwrap(), before);
    let after = text(&whole.replace(
        "route: {cluster: app}",
        "route: {cluster: app, timeout: 3s}",
    ));
    assert_ne!(after.setup.unwrap(), before);
    let after = text(&whole.replace("stat_prefix: web", "stat_prefixes: web"));
    assert_eq!(after.setup.unwrap().gaps.len(), 1);
}
