//! Requests that no cluster ever sees, requests that wait without an end, and bootstraps with nothing of their own.
//! Each claim was tried on Envoy 1.40.

#![expect(clippy::panic, reason = "a test stops at what it did not expect")]

use evenkeel_import::Imported;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Route, Wait};

const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// A bootstrap with `manager` in its connection manager, `filter` as a filter, and this `route` first.
fn bootstrap(manager: &str, filter: &str, route: &str) -> Imported {
    let web = super::web(manager, route, filter);
    let text = format!(
        r"{web}
  clusters:
  - name: app
    connect_timeout: 1s
    load_assignment:
      cluster_name: app
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}}}}}]}}]
"
    );
    super::text(&text)
}

const TO_APP: &str = r#"{match: {prefix: "/"}, route: {cluster: app}}"#;

fn rbac(rules: &str) -> String {
    format!(
        "- name: envoy.filters.http.rbac\n            typed_config: {{\"@type\": {RBAC}{rules}}}"
    )
}

fn routes(filter: &str, route: &str) -> Vec<Route> {
    let imported = bootstrap("", filter, route);
    let findings = imported.findings;
    imported
        .setup
        .unwrap_or_else(|| panic!("{findings:?}"))
        .routes
}

#[test]
fn rules_that_refuse_everybody_answer_in_front_of_the_cluster() {
    let any = "permissions: [{any: true}], principals: [{any: true}]";
    for rules in [
        ", rules: {action: ALLOW, policies: {}}".to_owned(),
        ", rules: {}".to_owned(),
        format!(", rules: {{action: DENY, policies: {{x: {{{any}}}}}}}"),
    ] {
        let routes = routes(&rbac(&rules), TO_APP);
        let targets: Vec<usize> = routes.iter().map(|route| route.targets.len()).collect();
        assert_eq!(targets, [0, 1], "{rules}");
        let takes = |route: &Route| (route.host.clone(), route.path_prefix.clone());
        assert_eq!(takes(&routes[0]), takes(&routes[1]));
    }
}

#[test]
fn rules_that_let_some_in_leave_the_routes_as_they_are() {
    let any = "permissions: [{any: true}], principals: [{any: true}]";
    let path = "permissions: [{url_path: {path: {exact: /x}}}], principals: [{any: true}]";
    for rules in [
        String::new(),
        format!(", rules: {{action: ALLOW, policies: {{x: {{{any}}}}}}}"),
        format!(", rules: {{action: DENY, policies: {{x: {{{path}}}}}}}"),
        format!(", rules: {{action: LOG, policies: {{x: {{{any}}}}}}}"),
    ] {
        let routes = routes(&rbac(&rules), TO_APP);
        assert!(
            routes.iter().all(|route| !route.targets.is_empty()),
            "{rules}"
        );
    }
    let lifted = r#"{match: {prefix: "/"}, route: {cluster: app}, typed_per_filter_config: {envoy.filters.http.rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}}"#;
    let routes = routes(&rbac(", rules: {}"), lifted);
    assert!(routes.iter().all(|route| !route.targets.is_empty()));
}

#[test]
fn an_answer_of_its_own_stands_before_what_follows() {
    for answer in [
        "direct_response: {status: 503}",
        "redirect: {https_redirect: true}",
    ] {
        let first = format!("{{match: {{prefix: \"/\"}}, {answer}}}\n              - {TO_APP}");
        let routes = routes("", &first);
        let targets: Vec<usize> = routes.iter().map(|route| route.targets.len()).collect();
        assert_eq!(targets, [0, 1], "{answer}");
    }
}

#[test]
fn a_timeout_that_is_switched_off_is_told_unless_something_else_ends_requests() {
    let told = |manager: &str, action: &str| {
        let route = format!("{{match: {{prefix: \"/\"}}, route: {{cluster: app{action}}}}}");
        let imported = bootstrap(manager, "", &route);
        let request = imported.setup.unwrap().pools[0].timeouts.request;
        let found = imported.findings.into_iter().find(|f| f.id == "TMO-01");
        (request, found)
    };
    let (request, found) = told("", ", timeout: 0s");
    assert_eq!(request, Wait::Endless);
    let found = found.unwrap();
    assert_eq!(found.severity, Severity::Warning);
    assert!(
        found.location.is_some() && found.effect.contains("300 s"),
        "{found:?}"
    );
    assert_eq!(told("", "").1, None);
    assert_eq!(told("", ", timeout: 0s, idle_timeout: 10s").1, None);
    assert_eq!(told("stream_idle_timeout: 30s", ", timeout: 0s").1, None);
    let tries = ", timeout: 0s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}";
    assert_eq!(told("", tries).1, None);
}

fn of(text: &str, words: &str) -> Finding {
    let findings = super::text(text).findings;
    let found = findings.iter().find(|f| f.message.contains(words));
    found.cloned().unwrap_or_else(|| panic!("{findings:?}"))
}

#[test]
fn a_bootstrap_of_dynamic_resources_alone_says_that_nothing_is_judged() {
    let text = "dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {resource_api_version: V3, ads: {}}
  lds_config: {resource_api_version: V3, ads: {}}
";
    let told = of(text, "nothing here to judge");
    assert!(
        told.message
            .contains("listeners and clusters come from the management server (ADS)")
    );
    assert_eq!(
        (told.severity, told.location.is_some()),
        (Severity::Warning, true)
    );
    let findings = super::text(text).findings;
    let doubled = findings
        .iter()
        .any(|f| f.message.contains("no listener and no pool"));
    assert!(!doubled, "{findings:?}");
}

#[test]
fn members_by_name_cannot_be_known_from_the_file() {
    for (kind, severity) in [
        ("STRICT_DNS", Severity::Info),
        ("LOGICAL_DNS", Severity::Info),
    ] {
        let text = format!(
            "static_resources: {{clusters: [{{name: app, type: {kind}, load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: app.test, port_value: 80}}}}}}}}]}}]}}}}]}}\n"
        );
        let told = of(&text, "cannot be known from the file");
        assert_eq!((told.id, told.severity), ("IMP-03", severity), "{kind}");
    }
}
