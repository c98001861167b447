//! The tables say what the reader does: each key is read, each word is taken, each default is the one in effect.

use super::{FILE, Key, Kind, SIDE, Table};
use crate::canonical::content_hash;
use crate::parse::reader::list;
use crate::parse::{parse, side};

/// A whole file; a table with keys under test is put in front.
const WHOLE: &str = "[tracing]\nendpoint = 'http://a/b'\n[listener.web]\naddress = '127.0.0.1:8080'\n[listener.web.tls]\ncertificates = ['shop.pem']\n[listener.web.tls.client]\nca = 'ca.pem'\n[[route]]\nlistener = 'web'\npool = 'site'\n\
    [pool.site.members]\ndns = 'site.internal:80'\n[pool.site.health]\npath = '/'\n[pool.site.adaptive]\n[pool.site.queue]\n[pool.site.sticky]\ncookie = 'ek'\n[pool.site.ejection]\n[pool.site.hedge]\nafter = 'p95'\n[pool.site.reported]\n[pool.site.remedies]\n[pool.site.tls]\nca = 'ca.pem'\n\
    [pool.site.backend.web-1]\naddress = '127.0.0.1:8081'\n\
    [pool.quick]\nalgorithm = 'prequal'\n[pool.quick.probe]\npath = '/load'\n[pool.quick.backend.web-2]\naddress = '127.0.0.1:8082'\n";

/// Calls `with` for each key that holds a value, with the header of its table and its path.
fn each(
    table: &'static Table,
    header: &str,
    path: &str,
    with: &mut impl FnMut(&str, String, &'static Key),
) {
    for key in table.keys {
        let at = if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        };
        match &key.kind {
            Kind::Table(inner) => each(inner, &table_header(&at), &at, with),
            Kind::Named(inner) | Kind::NamedFreely(inner) => {
                each(inner, &format!("[{at}.x]"), &format!("{at}.x"), with);
            }
            Kind::List(inner) => each(inner, &format!("[[{at}]]"), &format!("{at}.0"), with),
            _ => with(header, at, key),
        }
    }
}

/// The header of a table; of one in a list it follows the header of its entry.
fn table_header(at: &str) -> String {
    match at.split_once(".0.") {
        Some((list, rest)) => format!("[[{list}]]\n[{list}.{rest}]"),
        None => format!("[{at}]"),
    }
}

/// What both readers say about a wrong value of each key: header, path, key, message.
fn wrong(
    value: impl Fn(&Key) -> Option<&'static str>,
) -> Vec<(String, &'static Key, Option<String>)> {
    let mut said = Vec::new();
    for (root, is_side) in [(&FILE, false), (&SIDE, true)] {
        each(root, "", "", &mut |header, path, key| {
            let Some(value) = value(key) else { return };
            let text = format!("{header}\n{} = {value}\n", key.name);
            let findings = if is_side {
                side(&text, None).findings
            } else {
                parse(&text, None).findings
            };
            let found = findings
                .into_iter()
                .find(|f| f.path == path && f.id == "CFG-03");
            said.push((path, key, found.map(|f| f.message)));
        });
    }
    said
}

#[test]
fn every_key_of_the_tables_is_read_and_its_type_checked() {
    let said = wrong(|key| match key.kind {
        Kind::Day => Some("true"),
        _ => Some("1979-05-27"),
    });
    let silent: Vec<_> = said
        .iter()
        .filter(|(.., message)| message.is_none())
        .map(|(path, ..)| path)
        .collect();
    assert_eq!(silent, [""; 0]);
    assert!(said.len() > 70, "{}", said.len());
}

#[test]
fn every_word_of_the_tables_is_one_that_the_reader_takes() {
    let said = wrong(|key| matches!(key.kind, Kind::Choice(_)).then_some("\"qqqqqqqq\""));
    assert!(said.len() >= 6);
    for (path, key, message) in said {
        let Kind::Choice(words) = &key.kind else {
            continue;
        };
        assert!(
            message
                .unwrap_or_default()
                .contains(&format!("one of {},", list(words))),
            "{path}"
        );
    }
}

/// The same of a table of a route, which leads to no pool then.
fn answered(header: &str, path: &str, key: &str, default: &str) {
    let table = header.replace("[[route]]\n", "[[route]]\nlistener = 'web'\npath = '/x'\n");
    let base = format!("{WHOLE}{table}\n");
    let base = if path.contains("respond") {
        format!("{base}status = 200\n")
    } else {
        format!("{base}host = 'a.test'\n")
    };
    let hash = |text: &str| {
        let parsed = parse(text, None);
        let config = parsed
            .config
            .unwrap_or_else(|| panic!("{path}: {:#?}", parsed.findings));
        content_hash(&config)
    };
    assert_eq!(
        hash(&format!("{base}{key} = {default}\n")),
        hash(&base),
        "{path}"
    );
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let before = content_hash(&parse(WHOLE, None).config.unwrap());
    let mut seen = 0;
    each(&FILE, "", "", &mut |header, path, key| {
        let Some(default) = key.default else { return };
        let path = path
            .replace("listener.x", "listener.web")
            .replace("pool.x.probe", "pool.quick.probe")
            .replace("pool.x", "pool.site")
            .replace("backend.x", "backend.web-1");
        let text = match header {
            "[[route]]" => WHOLE.replace(
                "pool = 'site'\n",
                &format!("pool = 'site'\n{} = {default}\n", key.name),
            ),
            "[[escalation]]" => return, // without a level there is none
            _ if header.starts_with("[[route]]\n") => {
                answered(header, &path, key.name, default);
                seen += 1;
                return;
            }
            _ => {
                let (table, _) = path.rsplit_once('.').unwrap_or(("", ""));
                let at = WHOLE
                    .find(&format!("[{table}]\n"))
                    .map(|at| at + table.len() + 3);
                match at.filter(|_| !table.is_empty()) {
                    Some(at) => {
                        format!("{}{} = {default}\n{}", &WHOLE[..at], key.name, &WHOLE[at..])
                    }
                    None => format!("{path} = {default}\n{WHOLE}"),
                }
            }
        };
        let parsed = parse(&text, None);
        let config = parsed
            .config
            .unwrap_or_else(|| panic!("{path}: {:#?}", parsed.findings));
        assert_eq!(content_hash(&config), before, "{path} = {default}");
        seen += 1;
    });
    assert!(seen > 25, "{seen}");
}
