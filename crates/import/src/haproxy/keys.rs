//! How many values an expression can have at all: what a hash or a table that is keyed by it can tell apart.
//!
//! Fetches that name the same for every request, and fetches of a protocol with a handful of values. Whatever is not
//! known here can have any number.

use crate::haproxy::balance::call;
use crate::haproxy::lexer::Word;
use crate::haproxy::proxy::Bind;

/// How many values an expression can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variety {
    /// Always this one.
    Constant(String),
    /// At most so many.
    Few(u32),
    /// As many as there are ports that clients come to.
    Ports,
    Any,
}

/// Fetches with few values, and how many: versions of TLS from SSLv3 on, methods of RFC 9110 with PATCH, versions of
/// HTTP, and yes or no.
const FEW: [(&str, u32); 18] = [
    ("ssl_fc_protocol", 5),
    ("method", 9),
    ("req.ver", 5),
    ("req_ver", 5),
    ("fc_http_major", 3),
    ("ssl_fc", 2),
    ("ssl_fc_has_crt", 2),
    ("ssl_fc_has_sni", 2),
    ("ssl_fc_is_resumed", 2),
    ("ssl_fc_has_early", 2),
    ("ssl_c_used", 2),
    ("src_is_local", 2),
    ("dst_is_local", 2),
    ("fc_rcvd_proxy", 2),
    ("http_first_req", 2),
    ("req.proto_http", 2),
    ("req_proto_http", 2),
    ("http_auth", 2),
];

/// Fetches that have one value while HAProxy runs, whatever the request.
const CONSTANT: [&str; 7] = ["str", "int", "bool", "bin", "ipv4", "ipv6", "meth"];

/// Converters after which the same is still the same.
const STEADY: [&str; 12] = [
    "lower", "upper", "hex", "base64", "md5", "sha1", "sha2", "crc32", "djb2", "sdbm", "wt6",
    "length",
];

/// Of the expression in one word.
pub(super) fn variety(word: &Word) -> Variety {
    if word.is_unknown {
        return Variety::Any;
    }
    let mut parts = word.text.split(',');
    let head = parts.next().unwrap_or_default();
    // A comma inside brackets leaves a piece that is no converter of the list.
    if !parts.all(|part| STEADY.contains(&call(part).0)) {
        return Variety::Any;
    }
    let (name, argument) = call(head);
    match (name, argument) {
        ("always_true", _) => Variety::Constant("1".to_owned()),
        ("always_false", _) => Variety::Constant("0".to_owned()),
        ("hostname" | "nbthread" | "nbproc", _) => Variety::Constant(name.to_owned()),
        ("dst_port", _) => Variety::Ports,
        (name, Some(value)) if CONSTANT.contains(&name) => Variety::Constant(value.to_owned()),
        (name, _) => {
            let few = FEW.iter().find(|(few, _)| *few == name);
            few.map_or(Variety::Any, |(_, values)| Variety::Few(*values))
        }
    }
}

/// The ports of these addresses together; `None`: not known, or too many to matter.
pub(super) fn ports<'b>(binds: impl Iterator<Item = &'b Bind>) -> Option<u32> {
    let mut ports = std::collections::BTreeSet::new();
    for bind in binds {
        let (first, last) = bind.ports().filter(|_| !bind.is_told_port)?;
        if first != last {
            return None;
        }
        ports.insert(first);
    }
    u32::try_from(ports.len()).ok().filter(|count| *count > 0)
}
