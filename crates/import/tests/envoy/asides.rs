//! What a bootstrap does to requests besides spreading them is listed, each with its line.

use evenkeel_import::AsideKind::{self, Access, Protocol, Rewrite};

const BOOTSTRAP: &str = r#"static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    listener_filters:
    - name: envoy.filters.listener.proxy_protocol
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          codec_type: HTTP2
          upgrade_configs: [{upgrade_type: websocket}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_remove: [x-debug]
              request_headers_to_add: []
              routes:
              - match: {prefix: /old}
                redirect: {path_redirect: /new}
              - match: {prefix: /}
                route:
                  cluster: app
                  prefix_rewrite: /v2/
          http_filters:
          - name: jwt
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication}
          - name: zip
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor}
          - name: grpc
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}
          - name: off
            disabled: true
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: app
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 8080}}}
"#;

#[test]
fn access_rewrites_and_protocols_are_listed_with_their_lines() {
    let imported = crate::text(BOOTSTRAP);
    assert!(imported.setup.is_some(), "{:#?}", imported.findings);
    let line = |path: &str| imported.origin.locate(path).1.map_or(0, |at| at.line);
    let of = |aside: &evenkeel_import::Aside| (line(&aside.path), aside.kind, aside.what.clone());
    let mut asides: Vec<(u32, AsideKind, String)> = imported.asides.iter().map(of).collect();
    asides.sort();
    let expected = [
        (6, Protocol, "filter envoy.filters.listener.proxy_protocol"),
        (13, Access, "require_client_certificate"),
        (19, Protocol, "codec_type HTTP2"),
        (20, Protocol, "upgrade_configs websocket"),
        (25, Rewrite, "request_headers_to_remove x-debug"),
        (29, Rewrite, "redirect /new"),
        (33, Rewrite, "prefix_rewrite /v2/"),
        (35, Access, "filter jwt"),
        (37, Rewrite, "filter zip"),
        (39, Protocol, "filter grpc"),
        (47, Protocol, "http2_protocol_options"),
    ];
    let expected = expected.map(|(line, kind, what)| (line, kind, what.to_owned()));
    assert_eq!(asides, expected);
}

#[test]
fn what_a_cluster_speaks_stands_at_the_path_of_the_cluster() {
    let imported = crate::text(BOOTSTRAP);
    let setup = imported.setup.unwrap();
    let path = &setup.pools[0].path;
    let of_cluster = imported.asides.iter().filter(|aside| aside.path == *path);
    assert_eq!(of_cluster.count(), 1);
}
