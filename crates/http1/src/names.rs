//! Field names that this room acts on, recognised once per field while the head is parsed.

/// A field name with a meaning for framing or forwarding; everything else is `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Known {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Upgrade,
    Http2Settings,
    Expect,
    Proxy,
    ProxyAuthorization,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XRequestId,
    MaxForwards,
}

/// Fields that a peer cannot remove by listing them in `Connection`: without them the next hop
/// would see another message, another user or another host than the one judged here.
static NEVER_LISTED: [&[u8]; 12] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"content-type",
    b"content-encoding",
    b"content-range",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"cache-control",
    b"date",
    b"expect",
];

/// Fields that mean nothing or harm in a trailer section (RFC 9110 6.5.1): framing, routing,
/// request modifiers, authentication, content format.
static NEVER_TRAILERS: [&[u8]; 31] = [
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"trailer",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"upgrade",
    b"expect",
    b"max-forwards",
    b"cache-control",
    b"pragma",
    b"range",
    b"if-match",
    b"if-none-match",
    b"authorization",
    b"proxy-authorization",
    b"proxy-authenticate",
    b"www-authenticate",
    b"cookie",
    b"set-cookie",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"location",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
];

/// Lower case, and `_` as `-`: gateways that hand fields on as variables cannot tell the two apart.
static FOLD: [u8; 256] = fold_table();

const fn fold_table() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if byte == b'_' as usize {
            b'-'
        } else {
            (byte as u8).to_ascii_lowercase()
        };
        byte += 1;
    }
    table
}

fn folded_eq(name: &[u8], lower: &[u8]) -> bool {
    name.len() == lower.len()
        && name
            .iter()
            .zip(lower)
            .all(|(&a, &b)| FOLD[usize::from(a)] == b)
}

/// Which known name this is, `_` counted as `-`. See [`is_lookalike`].
pub(crate) fn classify(name: &[u8]) -> Known {
    let Some(&first) = name.first() else {
        return Known::Other;
    };
    let (known, text): (Known, &[u8]) = match (name.len(), first | 0x20) {
        (2, b't') => (Known::Te, b"te"),
        (4, b'h') => (Known::Host, b"host"),
        (5, b'p') => (Known::Proxy, b"proxy"),
        (6, b'e') => (Known::Expect, b"expect"),
        (7, b'u') => (Known::Upgrade, b"upgrade"),
        (9, b'f') => (Known::Forwarded, b"forwarded"),
        (10, b'c') => (Known::Connection, b"connection"),
        (10, b'k') => (Known::KeepAlive, b"keep-alive"),
        (12, b'x') => (Known::XRequestId, b"x-request-id"),
        (12, b'm') => (Known::MaxForwards, b"max-forwards"),
        (14, b'c') => (Known::ContentLength, b"content-length"),
        (14, b'h') => (Known::Http2Settings, b"http2-settings"),
        (15, b'x') => (Known::XForwardedFor, b"x-forwarded-for"),
        (16, b'x') => (Known::XForwardedHost, b"x-forwarded-host"),
        (16, b'p') => (Known::ProxyConnection, b"proxy-connection"),
        (17, b'x') => (Known::XForwardedProto, b"x-forwarded-proto"),
        (17, b't') => (Known::TransferEncoding, b"transfer-encoding"),
        (19, b'p') => (Known::ProxyAuthorization, b"proxy-authorization"),
        _ => return Known::Other,
    };
    if folded_eq(name, text) {
        known
    } else {
        Known::Other
    }
}

/// Whether a name that classifies as known only does so because of `_`.
pub(crate) fn is_lookalike(name: &[u8]) -> bool {
    name.contains(&b'_')
}

/// Whether `Connection` may remove this field.
pub(crate) fn may_be_listed(name: &[u8]) -> bool {
    !NEVER_LISTED.iter().any(|never| folded_eq(name, never))
}

/// Whether this field may be forwarded as a trailer.
pub(crate) fn may_be_trailer(name: &[u8]) -> bool {
    !NEVER_TRAILERS.iter().any(|never| folded_eq(name, never))
}
