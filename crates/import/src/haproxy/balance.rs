//! `balance`, `hash-type` and `hash-balance-factor`, and what they come to together.
//!
//! HAProxy cannot hash a request in TCP mode: it warns and takes servers in turn. `random` draws points of the same
//! ring that `hash-type consistent` uses (16 points per unit of weight), so at low load each server gets its arcs of the
//! ring and not its weight: with three servers of weight 1, 36, 29 and 35 percent were measured.

use std::ops::Range;

use evenkeel_model::setup::{
    Among, Cost, Fallback, Hash, HashKey, HashTable, LeastLoaded, Selection, Tie, Touches,
};

use crate::haproxy::desk::{self, At, Desk, quote};
use crate::haproxy::keys::{self, Variety};
use crate::haproxy::lexer::Word;

/// Draws of `balance random` without a number.
const DRAWS: u32 = 2;

/// What `balance` says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Balance {
    /// As written.
    pub(super) written: String,
    pub(super) method: Method,
    /// How many values the key of a hash can have.
    pub(super) variety: Variety,
}

/// The algorithms of HAProxy.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Method {
    RoundRobin,
    StaticRoundRobin,
    LeastConn,
    First,
    Random(u32),
    Hash {
        key: HashKey,
        /// Whether the key is in the request, which TCP mode does not see.
        needs_http: bool,
    },
    Unknown(String),
}

/// How a hash becomes a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Hashing {
    pub(super) table: Option<At<HashTable>>,
    /// Percent of the average load; 0: no bound.
    pub(super) factor: Option<At<i64>>,
}

/// What is in effect.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InEffect {
    pub(super) selection: Selection,
    pub(super) fallback: Option<Fallback>,
    /// Whether weights can change while it runs, which slow start needs.
    pub(super) is_dynamic: bool,
}

/// Reads `balance ...`; `None`, with a finding, when HAProxy refuses it.
pub(super) fn balance(desk: &mut Desk<'_, '_>, words: &[Word]) -> Option<At<Balance>> {
    let Some(word) = words.get(1) else {
        // HAProxy takes a bare `balance` for its default.
        let range = words.first()?.range.clone();
        let balance = Balance {
            written: "roundrobin".to_owned(),
            method: Method::RoundRobin,
            variety: Variety::Any,
        };
        return Some(At::new(balance, range));
    };
    let range = word.range.start..words.last().map_or(word.range.end, |last| last.range.end);
    let (name, argument) = call(&word.text);
    let hash = |key, needs_http| Method::Hash { key, needs_http };
    let mut variety = Variety::Any;
    let method = match (name, argument) {
        _ if word.is_unknown => Method::Unknown(word.text.clone()),
        ("roundrobin", None) => Method::RoundRobin,
        ("static-rr", None) => Method::StaticRoundRobin,
        ("leastconn", None) => Method::LeastConn,
        ("first", None) => Method::First,
        ("source", None) => hash(HashKey::ClientAddress, false),
        ("uri", None) => hash(uri(words), true),
        ("url_param", None) => {
            let name = argument_word(desk, words, &range, "parameter")?;
            hash(HashKey::Query(name.text.clone()), true)
        }
        ("hdr", Some(header)) if !header.is_empty() => {
            hash(HashKey::Header(header.to_ascii_lowercase()), true)
        }
        ("rdp-cookie", _) => hash(HashKey::Other("rdp-cookie".to_owned()), false),
        ("hash", None) => {
            let expression = argument_word(desk, words, &range, "expression")?;
            variety = keys::variety(expression);
            sample(&expression.text, &variety)
        }
        ("random", argument) => Method::Random(draws(desk, word, argument)?),
        ("log-hash" | "sticky", _) => Method::Unknown(quote(&words[1..])),
        _ => {
            let message = format!(
                "`balance {}` is no algorithm of HAProxy",
                quote(&words[1..2])
            );
            desk.refuse(&range, message);
            return None;
        }
    };
    let balance = Balance {
        written: quote(&words[1..]),
        method,
        variety,
    };
    Some(At::new(balance, range))
}

/// The word after the algorithm.
fn argument_word<'w>(
    desk: &mut Desk<'_, '_>,
    words: &'w [Word],
    range: &Range<usize>,
    what: &str,
) -> Option<&'w Word> {
    let word = words.get(2);
    if word.is_none() {
        desk.refuse(range, format!("`{}` names no {what}", quote(words)));
    }
    word
}

fn draws(desk: &mut Desk<'_, '_>, word: &Word, argument: Option<&str>) -> Option<u32> {
    let Some(argument) = argument else {
        return Some(DRAWS);
    };
    let draws = argument.parse::<u32>().ok().filter(|draws| *draws > 0);
    if draws.is_none() {
        let message = format!(
            "`{}` must draw at least 1",
            quote(std::slice::from_ref(word))
        );
        desk.refuse(&word.range, message);
    }
    draws
}

/// `name(argument)`; without brackets no argument.
pub(super) fn call(text: &str) -> (&str, Option<&str>) {
    match text.split_once('(') {
        Some((name, rest)) => (name, Some(rest.split(')').next().unwrap_or(rest))),
        None => (text, None),
    }
}

/// The key of `balance uri [len N] ..`. The first byte of a path is a slash.
fn uri(words: &[Word]) -> HashKey {
    let is_one = words
        .windows(2)
        .any(|pair| pair[0].text == "len" && desk::atol(&pair[1].text).0 == 1);
    if is_one {
        HashKey::Constant("/".to_owned())
    } else {
        HashKey::Uri
    }
}

/// The key of `balance hash EXPRESSION`. Converters may merge keys, so a key that has any is not simple.
fn sample(expression: &str, variety: &Variety) -> Method {
    if let Variety::Constant(value) = variety {
        return Method::Hash {
            key: HashKey::Constant(value.clone()),
            needs_http: false,
        };
    }
    let (name, argument) = call(expression);
    let rest = expression.split_once(',').map(|(_, rest)| rest);
    let is_plain = rest.is_none_or(|rest| rest == "lower" || rest == "upper");
    let argument = argument.unwrap_or_default();
    let name = name.split(',').next().unwrap_or(name);
    let is_connection = matches!(
        name,
        "src"
            | "src_port"
            | "dst"
            | "dst_port"
            | "fc_pp_unique_id"
            | "fe_name"
            | "fe_id"
            | "fe_defbe"
            | "be_name"
            | "be_id"
    ) || name.starts_with("req.payload")
        || name.starts_with("req.ssl_")
        || name.starts_with("ssl_")
        || name.starts_with("rdp_cookie")
        || name.starts_with("req.rdp_cookie")
        || name.starts_with("var");
    let key = match name {
        _ if !is_plain => HashKey::Other(expression.to_owned()),
        "src" => HashKey::ClientAddress,
        "path" | "pathq" | "url" | "base" | "capture.req.uri" => HashKey::Uri,
        "hdr" | "req.hdr" | "req.fhdr" => HashKey::Header(argument.to_ascii_lowercase()),
        "cook" | "req.cook" => HashKey::Cookie(argument.to_owned()),
        "urlp" | "url_param" => HashKey::Query(argument.to_owned()),
        _ => HashKey::Other(expression.to_owned()),
    };
    Method::Hash {
        key,
        needs_http: !is_connection,
    }
}

/// Reads `hash-type METHOD [FUNCTION [MODIFIER]]`. The function moves keys, not shares, so it is only checked.
pub(super) fn hash_type(desk: &mut Desk<'_, '_>, words: &[Word]) -> Option<At<HashTable>> {
    let word = words.get(1)?;
    if words.iter().any(|word| word.is_unknown) {
        desk.gap(words, Touches::Routing);
        return None;
    }
    let functions = ["sdbm", "djb2", "wt6", "crc32", "none", "avalanche"];
    if let Some(function) = words.get(2)
        && !functions.contains(&function.text.as_str())
    {
        let message = format!("`{}` is no hash function of HAProxy", quote(&words[2..3]));
        desk.refuse(&function.range, message);
    }
    let table = match word.text.as_str() {
        // `avalanche` is the name of a modifier that once stood in the place of the method.
        "map-based" | "avalanche" => HashTable::HaproxyMap,
        "consistent" => HashTable::HaproxyRing,
        _ => {
            let message = format!("`{}` is no `hash-type` of HAProxy", quote(&words[1..2]));
            desk.refuse(&word.range, message);
            return None;
        }
    };
    Some(At::new(table, word.range.clone()))
}

/// Reads `hash-balance-factor PERCENT`.
pub(super) fn factor(desk: &mut Desk<'_, '_>, words: &[Word]) -> Option<At<i64>> {
    let factor = desk.number(words, &Touches::Routing)?;
    if factor.value != 0 && factor.value <= 100 {
        let message = format!(
            "`hash-balance-factor {}` must be 0 or above 100",
            factor.value
        );
        desk.refuse(&factor.range, message);
        return None;
    }
    Some(factor)
}

/// What `balance` and the hash settings come to in a proxy of that mode.
pub(super) fn in_effect(
    desk: &mut Desk<'_, '_>,
    balance: Option<&At<Balance>>,
    hashing: &Hashing,
    is_http: bool,
) -> InEffect {
    let written = |method| Balance {
        written: "roundrobin".to_owned(),
        method,
        variety: Variety::Any,
    };
    let default = At::new(written(Method::RoundRobin), 0..0);
    let balance = balance.unwrap_or(&default);
    let table = hashing
        .table
        .as_ref()
        .map_or(HashTable::HaproxyMap, |t| t.value);
    let plain = |selection| InEffect {
        selection,
        fallback: None,
        is_dynamic: true,
    };
    let bound = hashing.factor.as_ref().filter(|factor| factor.value > 100);
    let balance_factor = bound.map(|factor| factor.value as f64 / 100.0);
    match &balance.value.method {
        Method::RoundRobin => plain(Selection::ByWeight),
        Method::StaticRoundRobin => InEffect {
            is_dynamic: false,
            ..plain(Selection::ByWeight)
        },
        Method::LeastConn => plain(Selection::LeastLoaded(LeastLoaded {
            among: Among::All,
            cost: Cost::PlusOnePerWeight,
            tie: Tie::InTurn,
        })),
        Method::First => plain(Selection::First),
        Method::Random(draws) => plain(Selection::LeastLoaded(LeastLoaded {
            among: Among::DrawnFromRing(*draws),
            cost: Cost::PerWeight,
            tie: Tie::LastDrawn,
        })),
        Method::Hash { needs_http: true, .. } if !is_http => InEffect {
            fallback: Some(Fallback {
                requested: format!("balance {}", balance.value.written),
                reason: "a request is hashed only in `mode http`; in `mode tcp` HAProxy takes servers in turn"
                    .to_owned(),
            }),
            ..plain(Selection::ByWeight)
        },
        Method::Hash { key, .. } => {
            if let (HashTable::HaproxyMap, Some(bound)) = (table, bound) {
                desk.unheeded(
                    &bound.range,
                    "`hash-balance-factor` is not heeded with `hash-type map-based`",
                    "nothing bounds how much one server gets",
                    "set `hash-type consistent`",
                );
            }
            InEffect {
                selection: Selection::Hash(Hash {
                    key: key.clone(),
                    table,
                    balance_factor: balance_factor.filter(|_| table == HashTable::HaproxyRing),
                }),
                fallback: None,
                is_dynamic: table == HashTable::HaproxyRing,
            }
        }
        Method::Unknown(written) => plain(Selection::Other(written.clone())),
    }
}
