//! What a bootstrap does to requests besides spreading them: who is let in, what is changed, what is spoken.
//!
//! Fields and filters are found by name where they are read; all of these fields are among those that have nothing to
//! do with the spread. What a cluster is spoken to in stands at the path of the cluster.

use crate::AsideKind::{self, Access, Protocol, Rewrite};
use crate::book::Book;
use crate::envoy::fields::{Fields, put, scalar};
use crate::envoy::listener::is_known;
use crate::envoy::node::{Node, Place, Value, brief};
use crate::envoy::typed::Typed;
use crate::envoy::upstream::sketch;

/// Fields of the connection manager.
pub(super) const MANAGER: &[(&str, AsideKind)] = &[
    ("early_header_mutation_extensions", Rewrite),
    ("http3_protocol_options", Protocol),
    ("internal_redirect", Rewrite),
    ("local_reply_config", Rewrite),
    ("upgrade_configs", Protocol),
];

/// Fields of route configurations, virtual hosts, routes, their actions and weighted clusters.
pub(super) const ROUTING: &[(&str, AsideKind)] = &[
    ("auto_host_rewrite", Rewrite),
    ("cors", Access),
    ("direct_response", Rewrite),
    ("host_rewrite", Rewrite),
    ("host_rewrite_header", Rewrite),
    ("host_rewrite_literal", Rewrite),
    ("host_rewrite_path_regex", Rewrite),
    ("internal_redirect_action", Rewrite),
    ("internal_redirect_policy", Rewrite),
    ("path_rewrite", Rewrite),
    ("path_rewrite_policy", Rewrite),
    ("prefix_rewrite", Rewrite),
    ("rate_limits", Access),
    ("redirect", Rewrite),
    ("regex_rewrite", Rewrite),
    ("request_headers_to_add", Rewrite),
    ("request_headers_to_remove", Rewrite),
    ("response_headers_to_add", Rewrite),
    ("response_headers_to_remove", Rewrite),
    ("upgrade_configs", Protocol),
];

/// The last word of the type of filters: of HTTP, of connections, of listeners.
const FILTERS: &[(&str, AsideKind)] = &[
    ("ApiKeyAuth", Access),
    ("AwsRequestSigning", Rewrite),
    ("BandwidthLimit", Access),
    ("BasicAuth", Access),
    ("CacheConfig", Rewrite),
    ("ClientSSLAuth", Access),
    ("Compressor", Rewrite),
    ("ConnectGrpcBridge", Protocol),
    ("Cors", Access),
    ("CredentialInjector", Rewrite),
    ("Csrf", Access),
    ("CsrfPolicy", Access),
    ("CustomResponse", Rewrite),
    ("Decompressor", Rewrite),
    ("ExtAuthz", Access),
    ("ExternalProcessor", Rewrite),
    ("GcpAuthnFilterConfig", Rewrite),
    ("GrpcJsonTranscoder", Protocol),
    ("GrpcWeb", Protocol),
    ("Gzip", Rewrite),
    ("HeaderMutation", Rewrite),
    ("JwtAuthentication", Access),
    ("JwtAuthn", Access),
    ("LocalRateLimit", Access),
    ("Lua", Rewrite),
    ("OAuth2", Access),
    ("ProxyProtocol", Protocol),
    ("RBAC", Access),
    ("RateLimit", Access),
    ("RateLimitQuotaFilterConfig", Access),
    ("Wasm", Rewrite),
];

/// Notes the fields of `table` that are there.
pub(super) fn fields(book: &mut Book<'_>, held: &mut Fields<'_>, table: &[(&str, AsideKind)]) {
    for (name, kind) in table {
        if let Some((key, node)) = held.entry(name)
            && is_set(node)
        {
            let what = format!("{name} {}", sketch(node));
            at(book, &held.at(name), key.place, what.trim_end(), *kind);
        }
    }
}

/// Whether a value is more than an empty list, nothing, or `false`.
fn is_set(node: &Node) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Scalar { text, .. } => text != "false",
        Value::List(items) => !items.is_empty(),
        Value::Map(_) => true,
    }
}

/// Notes the codec of a connection manager where it is fixed to another than HTTP/1.
pub(super) fn codec(book: &mut Book<'_>, manager: &mut Fields<'_>) {
    let path = manager.at("codec_type");
    if let Some((key, node)) = manager.entry("codec_type")
        && let Some(word) = scalar(node).filter(|word| matches!(*word, "HTTP2" | "HTTP3"))
    {
        at(
            book,
            &path,
            key.place,
            &format!("codec_type {word}"),
            Protocol,
        );
    }
}

/// Notes a filter that refuses, changes or translates, at its path.
pub(super) fn filter(book: &mut Book<'_>, filter: &Typed<'_>, path: &str, place: Place) {
    let mut known = FILTERS.iter();
    let found = known.find(|(name, _)| is_known(filter, &[name]));
    let is_bridge = filter.name.contains(".grpc_http1_");
    let kind = found
        .map(|(_, kind)| *kind)
        .or_else(|| is_bridge.then_some(Protocol));
    if let Some(kind) = kind {
        at(
            book,
            path,
            place,
            &format!("filter {}", brief(&filter.alias)),
            kind,
        );
    }
}

/// Notes that a listener asks clients for certificates.
pub(super) fn certificates(book: &mut Book<'_>, context: &mut Fields<'_>, path: &str) {
    let name = "require_client_certificate";
    if let Some((key, node)) = context.entry(name)
        && scalar(node) == Some("true")
    {
        at(book, &format!("{path}.{name}"), key.place, name, Access);
    }
}

/// Notes the options by which the cluster at `path` is spoken to otherwise than in HTTP/1.
pub(super) fn upstream(book: &mut Book<'_>, options: &mut Fields<'_>, path: &str) {
    if options.take("http2_protocol_options").is_some() {
        cluster(book, path, "http2_protocol_options");
    }
    for name in ["use_downstream_protocol_config", "auto_config"] {
        if options.take(name).is_some() {
            cluster(book, path, name);
        }
    }
    let Some(Value::Map(entries)) = options.take("explicit_http_config").map(|node| &node.value)
    else {
        return;
    };
    for (key, _) in entries {
        match key.text.as_str() {
            "http2_protocol_options" | "http2ProtocolOptions" => {
                cluster(book, path, "http2_protocol_options");
            }
            "http3_protocol_options" | "http3ProtocolOptions" => {
                cluster(book, path, "http3_protocol_options");
            }
            _ => {}
        }
    }
}

/// Notes what the cluster at `path`, which has its place, is spoken to in.
pub(super) fn cluster(book: &mut Book<'_>, path: &str, what: &str) {
    if book.takes_asides() {
        book.aside(path, what, Protocol);
    }
}

fn at(book: &mut Book<'_>, path: &str, place: Place, what: &str, kind: AsideKind) {
    if book.takes_asides() {
        put(book, path, place);
        book.aside(path, what, kind);
    }
}
