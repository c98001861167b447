//! How many values an expression can have at all: what a hash or a table that is keyed by it can tell apart.
//!
//! Fetches that name the same for every request, and fetches of a protocol with a handful of values. Whatever is not
//! known here can have any number.

use std::collections::BTreeSet;
use std::net::IpAddr;

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
    /// As many as there are addresses that clients come to.
    Addresses,
    /// As many as there are frontends that lead to the backend.
    Frontends,
    /// The one backend that it is asked in.
    Backend,
    Any,
}

/// What an expression can be in one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Values {
    One(String),
    AtMost(u32),
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
        ("dst", _) => Variety::Addresses,
        ("fe_name" | "fe_id" | "fe_defbe", _) => Variety::Frontends,
        ("be_name" | "be_id", _) => Variety::Backend,
        (name, Some(value)) if CONSTANT.contains(&name) => Variety::Constant(value.to_owned()),
        (name, _) => {
            let few = FEW.iter().find(|(few, _)| *few == name);
            few.map_or(Variety::Any, |(_, values)| Variety::Few(*values))
        }
    }
}

/// Converters after which different values are the same.
const MERGING: [&str; 9] = [
    "and", "bool", "even", "length", "mod", "not", "odd", "or", "strcmp",
];

/// Whether a converter of the expression leaves fewer values than there were, and how many does not show.
pub(super) fn is_merged(expression: &str) -> bool {
    let converters = expression.split(',').skip(1);
    let mut names = converters.map(|part| call(part).0);
    names.any(|name| MERGING.contains(&name))
}

/// The ports of these addresses together; `None`: not known, or too many to matter.
pub(super) fn ports<'b>(binds: impl Iterator<Item = &'b Bind>) -> Option<BTreeSet<String>> {
    let mut ports = BTreeSet::new();
    for bind in binds {
        let (first, last) = bind.ports().filter(|_| !bind.is_told_port)?;
        if first != last {
            return None;
        }
        ports.insert(first.to_string());
    }
    Some(ports)
}

/// The addresses without their ports; `None`: not known, as one that stands for all of the machine.
pub(super) fn addresses<'b>(binds: impl Iterator<Item = &'b Bind>) -> Option<BTreeSet<String>> {
    let mut addresses = BTreeSet::new();
    for bind in binds.map(|bind| (!bind.is_told_port).then_some(bind)) {
        let (host, _) = bind?.address.value.rsplit_once(':')?;
        let ip = host.parse::<IpAddr>().ok()?;
        if ip.is_unspecified() {
            return None;
        }
        addresses.insert(ip.to_string());
    }
    Some(addresses)
}
