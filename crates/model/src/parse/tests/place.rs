//! What a file says about where and which an instance is.

use super::good;
use crate::canonical::{content_hash, to_toml};
use crate::diff::diff;
use crate::finding::Severity;
use crate::parse::parse;
use crate::setup::Setup;
use crate::units::Ratio;

/// A file with these keys at its top and in its pool, and a backend in each of these zones.
fn file(top: &str, pool: &str, zones: &[&str]) -> String {
    let backend = |(index, zone): (usize, &&str)| {
        let zone = match *zone {
            "" => String::new(),
            zone => format!("zone = \"{zone}\"\n"),
        };
        let port = 1_000 + index;
        format!("[pool.shop.backend.b{index}]\naddress = \"127.0.0.1:{port}\"\n{zone}")
    };
    let backends: Vec<String> = zones.iter().enumerate().map(backend).collect();
    format!(
        "{top}\n[listener.web]\naddress = \"127.0.0.1:80\"\n[[route]]\nlistener = \"web\"\npool = \"shop\"\n\
        [pool.shop]\n{pool}\n{}",
        backends.concat()
    )
}

const ORIGIN: &str = "zone_aware = true\nzone.a.origin = \"40%\"\nzone.c.origin = \"10%\"";

#[test]
fn the_zone_of_the_instance_and_the_origins_belong_to_the_pool() {
    let text = file("zone = \"a\"", ORIGIN, &["a", "b", "c"]);
    let config = good(&text);
    let locality = config.pools[0].place.locality.as_ref().unwrap();
    assert_eq!(locality.zone, "a");
    let origins: Vec<(&str, Ratio)> = locality
        .origins
        .iter()
        .map(|(z, p)| (z.as_str(), *p))
        .collect();
    assert_eq!(
        origins,
        [
            ("a", Ratio::from_percent(40)),
            ("c", Ratio::from_percent(10))
        ]
    );
    assert_eq!(good(&to_toml(&config)), config);
    assert_eq!(Setup::of(&config).pools[0].place, config.pools[0].place);
    // Another zone is another configuration, and one that says nothing has the hash that it always had.
    let other = good(&file("zone = \"b\"", ORIGIN, &["a", "b", "c"]));
    let changes = diff(&config, &other);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].path, "zone");
    let plain = file("", "", &["a", "b", "c"]);
    let said = file("", "zone_aware = false", &["a", "b", "c"]);
    assert_eq!(content_hash(&good(&plain)), content_hash(&good(&said)));
    assert!(!to_toml(&good(&plain)).contains("zone_aware"));
}

/// The file is refused with this finding at this path, and the fix says so.
fn refused(text: &str, id: &str, path: &str, fix: &str) {
    let parsed = parse(text, None);
    assert!(parsed.config.is_none(), "{text}");
    let mut findings = parsed.findings.iter();
    let found = findings.find(|f| f.id == id && f.path == path);
    assert!(
        found.is_some_and(|f| f.fix.contains(fix)),
        "{text}: {:#?}",
        parsed.findings
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_way_to_put_it_right() {
    let all = &["a", "b", "c"];
    let aware = "zone_aware = true";
    let fix = "write `zone = \"a\"` at the top";
    refused(&file("", aware, all), "CFG-04", "pool.shop.zone_aware", fix);
    let here = "zone = \"a\"";
    let fix = "write the `zone` of every backend";
    let path = "pool.shop.backend.b1.zone";
    refused(&file(here, aware, &["a", "", "b"]), "CFG-04", path, fix);
    for (keys, id, path, fix) in [
        (
            "zone.a.origin = \"40%\"",
            "CFG-07",
            "pool.shop.zone",
            "write `zone_aware = true`",
        ),
        (
            "zone_aware = true\nzone.a.origin = \"60%\"\nzone.b.origin = \"41%\"",
            "CFG-06",
            "pool.shop.zone",
            "add up to 100 % at most",
        ),
        (
            "zone_aware = true\nzone.a = {}",
            "CFG-04",
            "pool.shop.zone.a.origin",
            "40%",
        ),
        (
            "zone_aware = true\nzone.a.orign = 1",
            "CFG-02",
            "pool.shop.zone.a.orign",
            "origin",
        ),
    ] {
        refused(&file(here, keys, all), id, path, fix);
    }
}

#[test]
fn a_zone_that_is_not_there_or_too_small_is_a_warning() {
    for (zone, pool, zones, said) in [
        (
            "d",
            "",
            ["a", "b", "c"],
            "no backend of `pool.shop` takes traffic in zone `d`",
        ),
        ("a", "", ["a", "a", "a"], "all backends are in zone `a`"),
        (
            "a",
            "min_healthy = 2",
            ["a", "b", "b"],
            "zone `a` has 1 backends of `pool.shop`, fewer than min_healthy 2",
        ),
    ] {
        let text = file(
            &format!("zone = \"{zone}\""),
            &format!("zone_aware = true\n{pool}"),
            &zones,
        );
        let parsed = parse(&text, None);
        assert!(parsed.config.is_some(), "{:#?}", parsed.findings);
        let warned = |f: &crate::finding::Finding| {
            f.severity == Severity::Warning && f.message.contains(said)
        };
        assert!(parsed.findings.iter().any(warned), "{:#?}", parsed.findings);
    }
    let fine = parse(
        &file("zone = \"a\"", "zone_aware = true", &["a", "b"]),
        None,
    );
    assert!(fine.findings.is_empty(), "{:#?}", fine.findings);
}

#[test]
fn a_subset_belongs_to_an_instance_with_a_name() {
    let here = "instance = \"lb-3\"";
    let text = file(here, "subset = { size = 2 }", &["", "", ""]);
    let config = good(&text);
    let subset = config.pools[0].place.subset.clone().unwrap();
    assert_eq!((subset.size, subset.instance.as_str()), (2, "lb-3"));
    assert_eq!(good(&to_toml(&config)), config);
    assert_eq!(Setup::of(&config).pools[0].place.subset, Some(subset));
    let other = good(&text.replace("lb-3", "lb-4"));
    assert_eq!(diff(&config, &other)[0].path, "instance");
    // A name alone is no subset, and changes no pool.
    assert_eq!(
        good(&file(here, "", &[""])).pools,
        good(&file("", "", &[""])).pools
    );
}

#[test]
fn a_subset_that_cannot_be_is_refused_and_one_of_all_is_a_warning() {
    let all = &["a", "a", "b"];
    let path = "pool.shop.subset";
    let fix = "write `instance = \"lb-1\"` at the top";
    refused(&file("", "subset = { size = 2 }", all), "CFG-04", path, fix);
    let here = "instance = \"lb-3\"\nzone = \"a\"";
    for (keys, id, path, fix) in [
        (
            "subset = { size = 2 }\nzone_aware = true",
            "CFG-07",
            path,
            "keep one",
        ),
        (
            "subset = { size = 1 }\nmin_healthy = 2",
            "CFG-06",
            "pool.shop.subset.size",
            "write at least 2",
        ),
        (
            "subset = { size = 0 }",
            "CFG-06",
            "pool.shop.subset.size",
            "write a value from 1",
        ),
        (
            "subset = {}",
            "CFG-04",
            "pool.shop.subset.size",
            "subset = { size = 20 }",
        ),
    ] {
        refused(&file(here, keys, all), id, path, fix);
    }
    let findings = parse(&file(here, "subset = { size = 3 }", all), None).findings;
    assert!(
        findings
            .iter()
            .any(|f| f.severity == Severity::Warning
                && f.message.contains("no more than 3 backends")),
        "{findings:#?}"
    );
}
