//! What a pool may say of its members, and what a list of them may hold.

use super::list_of_members;
use crate::canonical::{content_hash, to_toml};
use crate::config::{Backend, Config, Intent, MembersSource};
use crate::parse::parse;

const FRONT: &str =
    "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npool = \"p\"\n";

fn config(pool: &str) -> Config {
    let parsed = parse(&format!("{FRONT}{pool}"), None);
    parsed
        .config
        .unwrap_or_else(|| panic!("{:?}", parsed.findings))
}

fn errors(pool: &str) -> Vec<String> {
    let parsed = parse(&format!("{FRONT}{pool}"), None);
    assert_eq!(parsed.config, None);
    parsed.findings.into_iter().map(|f| f.message).collect()
}

fn members(text: &str) -> Vec<Backend> {
    let listed = list_of_members(text, None, Intent::Weight, &[]);
    listed
        .members
        .unwrap_or_else(|| panic!("{:?}", listed.findings))
}

#[test]
fn each_source_is_read_and_a_pool_needs_no_backend_of_its_own_then() {
    let source = |line: &str| {
        let config = config(&format!("[pool.p.members]\n{line}\n"));
        config.pools[0].members.clone().unwrap().source
    };
    assert_eq!(
        source("file = \"m.toml\""),
        MembersSource::File("m.toml".into())
    );
    let host = "web.internal".to_owned();
    assert_eq!(
        source("dns = \"Web.Internal:80\""),
        MembersSource::Dns { host, port: 80 }
    );
    let service = "_http._tcp.web.internal.".to_owned();
    assert_eq!(
        source("srv = \"_http._tcp.web.internal.\""),
        MembersSource::Srv(service)
    );
}

#[test]
fn an_address_that_no_host_has_is_an_error_of_a_backend_and_of_a_member() {
    for address in [
        "0.0.0.0:80",
        "[::]:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
    ] {
        let said = errors(&format!("[pool.p.backend.b]\naddress = \"{address}\"\n"));
        assert!(said[0].contains("is no address of a backend"), "{said:?}");
        let text = format!("[[member]]\nname = \"a\"\naddress = \"{address}\"\n");
        let listed = list_of_members(&text, None, Intent::Weight, &[]);
        assert_eq!(listed.members, None, "{address}");
    }
}

#[test]
fn two_sources_none_and_a_source_of_the_wrong_form_are_errors() {
    for (lines, said) in [
        ("", "names no source"),
        ("file = \"m\"\ndns = \"a:1\"", "two sources"),
        ("dns = \"a\"", "a host name with a port"),
        ("dns = \"10.0.0.1:80\"", "a host name with a port"),
        ("dns = \"a:0\"", "a host name with a port"),
        ("srv = \"web.internal\"", "a service such as"),
        (
            "dns = \"a:1\"\nttl_min = \"2m\"\nttl_max = \"1m\"",
            "ttl_max",
        ),
        ("dns = \"a:1\"\nttl_min = \"1ms\"", "100ms"),
        (
            "file = \"m\"\nresolver = \"127.0.0.1:53\"",
            "says how DNS is asked",
        ),
    ] {
        let errors = errors(&format!("[pool.p.members]\n{lines}\n"));
        assert!(
            errors.iter().any(|e| e.contains(said)),
            "{lines}: {errors:?}"
        );
    }
    let capacity = errors("[pool.p]\nintent = \"capacity\"\n[pool.p.members]\ndns = \"a:1\"\n");
    assert!(
        capacity[0].contains("DNS tells no capacity"),
        "{capacity:?}"
    );
}

#[test]
fn members_are_no_part_of_the_text_and_hash_of_what_was_declared() {
    let declared =
        config("[pool.p.members]\ndns = \"a:1\"\n[pool.p.backend.x]\naddress = \"127.0.0.1:1\"\n");
    let mut effective = declared.clone();
    effective.set_members(
        "p",
        &members("[[member]]\nname = \"y\"\naddress = \"127.0.0.1:2\"\n"),
    );
    assert_eq!(effective.pools[0].backends.len(), 2);
    assert_eq!(content_hash(&declared), content_hash(&effective));
    assert_eq!(to_toml(&declared), to_toml(&effective));
    assert_eq!(crate::diff::diff(&declared, &effective), []);
    let mut next = declared.clone();
    next.take_members(&effective);
    assert_eq!(next, effective);
    next.set_members("p", &[]);
    assert_eq!(next, declared);
}

#[test]
fn weights_of_members_follow_their_capacities() {
    let mut config = config("[pool.p]\nintent = \"capacity\"\n[pool.p.members]\nfile = \"m\"\n");
    let list = "[[member]]\nname = \"y\"\naddress = \"127.0.0.1:2\"\ncapacity_rps = 300\n[[member]]\nname = \"z\"\naddress = \"127.0.0.1:3\"\ncapacity_rps = 600\n";
    config.set_members("p", &members(list));
    let weights: Vec<u32> = config.pools[0].backends.iter().map(|b| b.weight).collect();
    assert_eq!(weights, [1, 2]);
}

#[test]
fn a_member_may_have_every_key_of_a_backend_and_is_named_where_something_is_wrong() {
    let list = "[[member]]\nname = \"y\"\naddress = \"127.0.0.1:2\"\npriority = 1\nweight = 2\n";
    assert_eq!(members(list)[0].priority, 1);
    let wrong =
        "[[member]]\nname = \"y\"\naddress = \"x\"\n[[member]]\naddress = \"127.0.0.1:2\"\n";
    let listed = list_of_members(wrong, None, Intent::Weight, &[]);
    let said: Vec<&str> = listed.findings.iter().map(|f| f.message.as_str()).collect();
    assert!(
        said.iter().any(|s| s.contains("`member y.address`")),
        "{said:?}"
    );
    assert!(said.iter().any(|s| s.contains("member 2")), "{said:?}");
}

#[test]
fn a_list_with_an_error_is_not_used_and_says_where() {
    let own = crate::ids::Name::new("own").unwrap();
    for (list, said) in [
        ("[[member]]\nname = \"a\"\n", "address"),
        ("[[member]]\naddress = \"127.0.0.1:1\"\n", "name"),
        (
            "[[member]]\nname = \"own\"\naddress = \"127.0.0.1:1\"\n",
            "a member is called `own`",
        ),
        (
            "[[member]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nwieght = 1\n",
            "wieght",
        ),
        (
            "[[member]]\nname = \"a\"\naddress = \"10.0.0.1\"\n",
            "an IP address with a port",
        ),
        ("[[member", "not valid TOML"),
    ] {
        let listed = list_of_members(list, Some("m.toml"), Intent::Even, &[&own]);
        assert_eq!(listed.members, None, "{list}");
        let said_it = listed.findings.iter().any(|f| f.message.contains(said));
        assert!(said_it, "{list}: {:?}", listed.findings);
    }
    let no_capacity = "[[member]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";
    assert_eq!(
        list_of_members(no_capacity, None, Intent::Capacity, &[]).members,
        None
    );
    assert_eq!(
        list_of_members("", None, Intent::Even, &[]).members,
        Some(Vec::new())
    );
}
