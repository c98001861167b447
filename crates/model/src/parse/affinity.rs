//! How a backend is chosen: `algorithm`, and what ties requests to backends (`hash`, `bounded_load`,
//! `sticky`).
//!
//! These keys belong together: a hash without a key would be something else than what is written, and a key that no
//! algorithm reads would be a belief.

use std::time::Duration;

use super::keys;
use super::reader::{Reader, Report, Section, list};
use super::reference::sub;
use super::text;
use super::typed::Limits;
use crate::config::{Affinity, Algorithm, HashKey, Pool, StickyCookie};

pub(super) const BOUNDED_LOAD: Limits<f64> = Limits {
    min: 1.01,
    max: 10.0,
    outside: "nearly every request would leave the backend of its key, or the bound bounds nothing",
};

pub(super) const STICKY_TTL: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: Duration::from_hours(24 * 365),
    outside: "clients would be bound for less than a request, or for ever",
};

/// What a key that is not written costs.
const EFFECT: &str = "no key would tie requests to a backend";

/// Reads the keys of `s`, a pool.
pub(super) fn read(reader: &mut Reader, s: &Section<'_>) -> (Algorithm, Affinity) {
    let words: Vec<_> = Algorithm::ALL.iter().map(|a| (a.as_str(), *a)).collect();
    let written = s.choice(reader, "algorithm", &words);
    let algorithm = written.unwrap_or(Pool::ALGORITHM_DEFAULT);
    let hash = key(reader, s, "hash", EFFECT);
    let bounded_load = s.number(reader, "bounded_load", &BOUNDED_LOAD);
    let mut affinity = Affinity {
        sticky: sticky(reader, s),
        ..Affinity::default()
    };
    if written.is_none() && s.has("algorithm") {
        // What was meant is not known.
        return (algorithm, affinity);
    }
    if algorithm.is_hash() {
        let example = "hash = { header = \"x-user\" }";
        let effect = format!(
            "`{}` chooses by a key of the request, and {EFFECT}",
            algorithm.as_str()
        );
        s.require(reader, "hash", &effect, example);
        affinity.hash = hash;
        affinity.bounded_load = bounded_load;
        return (algorithm, affinity);
    }
    for key in ["hash", "bounded_load"] {
        without_hash(reader, s, key, algorithm);
    }
    (algorithm, affinity)
}

fn sticky(reader: &mut Reader, s: &Section<'_>) -> Option<StickyCookie> {
    let s = sub(reader, s, "sticky", &keys::STICKY)?;
    s.require(
        reader,
        "cookie",
        "no client would be bound",
        "cookie = \"ek\"",
    );
    let ttl = s.duration(reader, "ttl", &STICKY_TTL);
    let name = s.read(reader, "cookie", text::cookie_name)?;
    let ttl = ttl.unwrap_or(Duration::from_hours(1));
    Some(StickyCookie { name, ttl })
}

/// `key` under an algorithm that does not hash.
fn without_hash(reader: &mut Reader, s: &Section<'_>, key: &str, algorithm: Algorithm) {
    let Some(found) = s.get(reader, key) else {
        return;
    };
    let report = Report {
        id: "CFG-07",
        message: format!(
            "`{}` is written, but the algorithm is \"{}\", which looks at no key",
            found.path,
            algorithm.as_str()
        ),
        effect: EFFECT.to_owned(),
        fix: format!(
            "write `algorithm = \"maglev\"` (or \"ring_hash\", \"rendezvous\"), or remove `{key}`"
        ),
    };
    reader.error(&found.path, found.span, report);
}

/// Exactly one of the keys of the table.
pub(super) fn key(
    reader: &mut Reader,
    s: &Section<'_>,
    name: &str,
    effect: &str,
) -> Option<HashKey> {
    let s = sub(reader, s, name, &keys::HASH)?;
    let errors = reader.has_errors();
    let yes = |reader: &mut Reader, key: &str| s.boolean(reader, key).filter(|yes| *yes);
    let named = [
        s.read(reader, "header", text::header_name)
            .map(HashKey::Header),
        s.read(reader, "cookie", text::cookie_name)
            .map(HashKey::Cookie),
        s.read(reader, "query", text::query_name)
            .map(HashKey::Query),
        yes(reader, "path").map(|_| HashKey::Path),
        yes(reader, "client_address").map(|_| HashKey::ClientAddress),
    ];
    let mut given = named.into_iter().flatten();
    let (first, second) = (given.next(), given.next());
    let is_wrong = !errors && reader.has_errors();
    if (first.is_none() || second.is_some()) && !is_wrong {
        let names: Vec<&str> = keys::HASH.names().collect();
        let (id, said) = if first.is_none() {
            ("CFG-04", "says no key")
        } else {
            ("CFG-07", "says more than one key")
        };
        let report = Report {
            id,
            message: format!("`{}` {said}; one of {} is needed", s.path, list(&names)),
            effect: effect.to_owned(),
            fix: format!("write one, such as `{name} = {{ header = \"x-user\" }}`"),
        };
        reader.error(&s.path, s.span.clone(), report);
    }
    first
}

#[cfg(test)]
mod tests {
    use crate::config::{Algorithm, HashKey};
    use crate::parse::{Parsed, parse};

    fn pool(keys: &str) -> Parsed {
        let text = format!(
            "[listener.web]\naddress = '127.0.0.1:1'\n[[route]]\nlistener = 'web'\npool = 'p'\n\
             [pool.p]\n{keys}\n[pool.p.backend.a]\naddress = '127.0.0.1:2'\n"
        );
        parse(&text, None)
    }

    #[test]
    fn each_kind_of_key_is_read() {
        let kinds = [
            ("header = 'X-User'", HashKey::Header("x-user".to_owned())),
            ("cookie = 'sid'", HashKey::Cookie("sid".to_owned())),
            ("query = 'user'", HashKey::Query("user".to_owned())),
            ("path = true", HashKey::Path),
            (
                "client_address = true, path = false",
                HashKey::ClientAddress,
            ),
        ];
        for (text, key) in kinds {
            let keys = format!("algorithm = 'maglev'\nhash = {{ {text} }}\nbounded_load = 1.25");
            let pool = pool(&keys).config.unwrap().pools.remove(0);
            assert_eq!(pool.algorithm, Algorithm::Maglev);
            assert_eq!(pool.affinity.hash, Some(key));
            assert_eq!(pool.affinity.bounded_load, Some(1.25));
        }
    }

    #[test]
    fn a_sticky_cookie_goes_with_every_algorithm_and_lasts_an_hour_unless_told() {
        let of = |keys: &str| pool(keys).config.unwrap().pools.remove(0).affinity;
        let sticky = of("sticky = { cookie = 'ek' }").sticky.unwrap();
        assert_eq!((sticky.name.as_str(), sticky.ttl.as_secs()), ("ek", 3_600));
        let both = of(
            "algorithm = 'maglev'\nhash = { path = true }\nsticky = { cookie = 'ek', ttl = '5m' }",
        );
        assert_eq!(both.sticky.unwrap().ttl.as_secs(), 300);
        assert_eq!(both.hash, Some(HashKey::Path));
        assert_eq!(pool("sticky = { ttl = '5m' }").findings[0].id, "CFG-04");
        assert_eq!(
            pool("sticky = { cookie = 'ek', ttl = '1ms' }").findings[0].id,
            "CFG-06"
        );
    }

    #[test]
    fn keys_and_algorithms_that_do_not_go_together_are_errors_with_a_fix() {
        let cases = [
            ("algorithm = 'ring_hash'", "CFG-04", "add `hash = { header"),
            ("hash = { path = true }", "CFG-07", "algorithm = \"maglev\""),
            ("bounded_load = 2", "CFG-07", "remove `bounded_load`"),
            (
                "algorithm = 'maglev'\nhash = {}",
                "CFG-04",
                "hash = { header",
            ),
            (
                "algorithm = 'maglev'\nhash = { path = false }",
                "CFG-04",
                "hash = { header",
            ),
            (
                "algorithm = 'maglev'\nhash = { path = true, header = 'a' }",
                "CFG-07",
                "write one",
            ),
            (
                "algorithm = 'maglev'\nhash = { header = 'a b' }",
                "CFG-03",
                "x-user",
            ),
            (
                "algorithm = 'maglev'\nhash = { path = true }\nbounded_load = 1.0",
                "CFG-06",
                "1.01",
            ),
        ];
        for (keys, id, fix) in cases {
            let parsed = pool(keys);
            let found: Vec<_> = parsed.findings.iter().map(|f| (f.id, &f.fix)).collect();
            assert!(parsed.config.is_none(), "{keys}");
            assert!(
                found.len() == 1 && found[0].0 == id && found[0].1.contains(fix),
                "{keys}: {found:?}"
            );
        }
        let typo = pool("algorithm = 'maglef'\nhash = { path = true }");
        assert_eq!(typo.findings.len(), 1, "{:?}", typo.findings);
    }
}
