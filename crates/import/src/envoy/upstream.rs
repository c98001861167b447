//! How a cluster's hosts are spoken to: TLS and the options of HTTP.
//!
//! Envoy encrypts without looking at the certificate unless it is told whom to trust, so `verified` needs a trusted
//! authority or a pinned certificate in the validation context.

use evenkeel_model::setup::{Touches, Wait};

use crate::book::Book;
use crate::envoy::asides;
use crate::envoy::fields::{Fields, put, scalar};
use crate::envoy::node::{Node, Value, brief};
use crate::envoy::typed::{Typed, of_any, typed};

/// Transport sockets may wrap each other this deep.
const WRAPS_MAX: usize = 4;

/// Whether connections to the hosts are encrypted and verified, with the path `path` of the cluster.
pub(super) fn tls(book: &mut Book<'_>, cluster: &mut Fields<'_>, path: &str) -> Option<bool> {
    let at = format!("{path}.tls");
    cluster.place_key(book, "transport_socket", &at);
    if cluster.unknown(book, "transport_socket_matches", &Touches::Resilience) {
        cluster.place_key(book, "transport_socket_matches", &at);
    }
    let socket = cluster.message(book, "transport_socket")?;
    socket_tls(book, socket, &at, 0)
}

/// Whether the extension `socket` encrypts and verifies; `None`: plain.
pub(super) fn socket_tls(
    book: &mut Book<'_>,
    socket: Fields<'_>,
    at: &str,
    depth: usize,
) -> Option<bool> {
    let Typed {
        name,
        alias,
        mut fields,
        place,
    } = typed(book, socket)?;
    let kind = name.rsplit('.').next().unwrap_or("");
    match kind {
        "DownstreamTlsContext" => {
            asides::certificates(book, &mut fields, at);
            Some(is_verified(book, &mut fields))
        }
        "UpstreamTlsContext" => Some(is_verified(book, &mut fields)),
        "QuicUpstreamTransport" | "QuicDownstreamTransport" => {
            let inner = ["upstream_tls_context", "downstream_tls_context"];
            let context = inner.iter().find_map(|name| fields.message(book, name));
            Some(context.is_some_and(|mut context| is_verified(book, &mut context)))
        }
        "RawBuffer" => None,
        "" if alias.ends_with("raw_buffer") => None,
        _ if depth < WRAPS_MAX && fields.take("transport_socket").is_some() => {
            if let ("ProxyProtocolUpstreamTransport", Some(path)) = (kind, at.strip_suffix(".tls"))
            {
                asides::cluster(book, path, "transport_socket of the PROXY protocol");
            }
            let inner = fields.message(book, "transport_socket")?;
            socket_tls(book, inner, at, depth + 1)
        }
        _ => {
            if let Some(place) = place {
                put(book, at, place);
            }
            book.gap(
                at,
                &format!("transport_socket {alias}"),
                Touches::Resilience,
            );
            None
        }
    }
}

fn is_verified(book: &mut Book<'_>, context: &mut Fields<'_>) -> bool {
    let Some(mut common) = context.message(book, "common_tls_context") else {
        return false;
    };
    if let Some(mut validation) = common.message(book, "validation_context") {
        return has_trust(book, &mut validation);
    }
    if let Some(mut combined) = common.message(book, "combined_validation_context") {
        // What a secret server adds is not at hand; it exists to add whom to trust.
        let is_by_server = combined
            .take("validation_context_sds_secret_config")
            .is_some();
        let default = combined.message(book, "default_validation_context");
        return default.is_some_and(|mut context| has_trust(book, &mut context)) || is_by_server;
    }
    common
        .take("validation_context_sds_secret_config")
        .is_some()
}

fn has_trust(book: &mut Book<'_>, validation: &mut Fields<'_>) -> bool {
    let accepts_all = validation
        .word(
            book,
            "trust_chain_verification",
            &["VERIFY_TRUST_CHAIN", "ACCEPT_UNTRUSTED"],
        )
        .is_some_and(|word| word == "ACCEPT_UNTRUSTED");
    let trusted = [
        "trusted_ca",
        "system_root_certs",
        "ca_certificate_provider_instance",
    ];
    let pinned = ["verify_certificate_hash", "verify_certificate_spki"];
    let has = |validation: &mut Fields<'_>, names: &[&str]| {
        names
            .iter()
            .any(|name| validation.take(name).is_some_and(is_filled))
    };
    has(validation, &pinned) || (!accepts_all && has(validation, &trusted))
}

fn is_filled(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => !items.is_empty(),
        Value::Null => false,
        Value::Scalar { .. } | Value::Map(_) => true,
    }
}

/// How long a connection without requests is kept, from the options of HTTP.
pub(super) fn keep(book: &mut Book<'_>, cluster: &mut Fields<'_>, path: &str) -> Wait {
    let at = format!("{path}.timeout.keep");
    // An hour is Envoy's default.
    let mut keep = Wait::For(std::time::Duration::from_secs(3_600));
    if let Some(mut common) = cluster.message(book, "common_http_protocol_options") {
        keep = common_options(book, &mut common, &at, keep);
        close_common(book, common);
    }
    asides::upstream(book, cluster, path);
    let Some(node) = cluster.take("typed_extension_protocol_options") else {
        return keep;
    };
    let Value::Map(entries) = &node.value else {
        return keep;
    };
    let cluster_path = path;
    for (key, value) in entries {
        let name = evenkeel_model::canonical::path_segment(&brief(&key.text));
        let path = format!("{path}.protocol.{name}");
        let Some(options) = Fields::open(book, value, &path) else {
            continue;
        };
        let mut options = of_any(book, options, brief(&key.text), None);
        if !options.name.ends_with(".HttpProtocolOptions") {
            put(book, &path, key.place);
            book.gap(&path, &brief(&key.text), Touches::Resilience);
            continue;
        }
        if let Some(mut common) = options.fields.message(book, "common_http_protocol_options") {
            keep = common_options(book, &mut common, &at, keep);
            close_common(book, common);
        }
        asides::upstream(book, &mut options.fields, cluster_path);
        let harmless = [
            "explicit_http_config",
            "use_downstream_protocol_config",
            "auto_config",
            "upstream_http_protocol_options",
            "http_filters",
            "header_validation_config",
        ];
        options
            .fields
            .unknown(book, "outlier_detection", &Touches::Resilience);
        options
            .fields
            .unknown(book, "retry_policy", &Touches::Resilience);
        options
            .fields
            .unknown(book, "hash_policy", &Touches::Routing);
        options.fields.close(book, &harmless, &Touches::Resilience);
    }
    keep
}

/// `idle_timeout` of `HttpProtocolOptions`, which 0 switches off.
pub(super) fn common_options(
    book: &mut Book<'_>,
    common: &mut Fields<'_>,
    at: &str,
    default: Wait,
) -> Wait {
    let idle = common.duration(book, "idle_timeout");
    common.place(book, "idle_timeout", at);
    idle.map_or(default, wait)
}

/// The rest of `HttpProtocolOptions`.
pub(super) fn close_common(book: &mut Book<'_>, common: Fields<'_>) {
    let harmless = [
        "max_connection_duration",
        "max_headers_count",
        "max_response_headers_kb",
        "max_stream_duration",
        "headers_with_underscores_action",
        "max_requests_per_connection",
    ];
    common.close(book, &harmless, &Touches::Resilience);
}

/// A timeout that 0 switches off.
pub(super) fn wait(duration: std::time::Duration) -> Wait {
    if duration.is_zero() {
        Wait::Endless
    } else {
        Wait::For(duration)
    }
}

/// The texts in a map or list, for a condition that is shown and not evaluated.
pub(super) fn sketch(node: &Node) -> String {
    const CHARS_MAX: usize = 120;
    let mut text = String::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if text.len() > CHARS_MAX {
            text.push('…');
            break;
        }
        match &node.value {
            Value::Null => {}
            Value::Scalar { .. } => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&brief(scalar(node).unwrap_or("")));
            }
            Value::List(items) => open.extend(items.iter().rev().map(|item| &**item)),
            Value::Map(entries) => open.extend(entries.iter().rev().map(|(_, node)| &**node)),
        }
    }
    text
}
