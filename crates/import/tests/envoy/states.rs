//! Hosts that are degraded, and a key that a listener fixes. Each claim was tried on Envoy 1.40.

#![expect(clippy::panic, reason = "a test stops at what it did not expect")]

use evenkeel_model::setup::{HashKey, Pool, Role, Selection, Setup};

/// A cluster with this policy and a degraded second host, behind one listener with this transport socket.
fn setup(policy: &str, health: &str, socket: &str) -> Setup {
    let route = r#"{match: {prefix: "/"}, route: {cluster: app, hash_policy: [{header: {header_name: ":scheme"}}]}}"#;
    let web = super::web("", route, "");
    let text = format!(
        r"{web}
      {socket}
  clusters:
  - name: app
    connect_timeout: 1s
    lb_policy: {policy}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}}}
        - endpoint: {{address: {{socket_address: {{address: 10.0.0.2, port_value: 80}}}}}}
          {health}
"
    );
    let imported = super::text(&text);
    let findings = imported.findings;
    imported.setup.unwrap_or_else(|| panic!("{findings:?}"))
}

fn pool(policy: &str, health: &str) -> Pool {
    setup(policy, health, "").pools.remove(0)
}

#[test]
fn a_degraded_host_is_active_and_degraded_not_a_backup() {
    let pool = pool("ROUND_ROBIN", "health_status: DEGRADED");
    let states: Vec<_> = pool
        .backends
        .iter()
        .map(|b| (b.role, b.is_degraded))
        .collect();
    assert_eq!(states, [(Role::Active, false), (Role::Active, true)]);
    assert_eq!(pool.selection, Selection::ByWeight);
}

#[test]
fn the_shares_of_a_hash_over_degraded_hosts_are_not_known() {
    for policy in ["RING_HASH", "MAGLEV"] {
        let degraded = setup(policy, "health_status: DEGRADED", "");
        assert!(
            matches!(degraded.pools[0].selection, Selection::Other(_)),
            "{policy}"
        );
        assert_eq!(degraded.gaps.len(), 1, "{policy}");
        let healthy = setup(policy, "", "");
        assert!(
            matches!(healthy.pools[0].selection, Selection::Hash(_)),
            "{policy}"
        );
    }
}

#[test]
fn the_scheme_is_a_constant_of_the_listeners_that_lead_to_the_pool() {
    let key = |socket: &str| match setup("RING_HASH", "", socket).pools.remove(0).selection {
        Selection::Hash(hash) => hash.key,
        other => panic!("{other:?}"),
    };
    assert_eq!(key(""), HashKey::Constant("http".to_owned()));
    let tls = r#"transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}"#;
    assert_eq!(key(tls), HashKey::Constant("https".to_owned()));
}
