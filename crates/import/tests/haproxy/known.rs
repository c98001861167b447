//! What the file says of keys, ids and checks, and what it does not. Each claim was tried on HAProxy 2.6.12.

use evenkeel_import::Imported;
use evenkeel_model::setup::{HashKey, Pool, Selection, Touches};

use super::import;

const DEFAULTS: &str =
    "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n";
const SERVERS: &str = " server a 10.0.0.1:80\n server b 10.0.0.2:80\n server c 10.0.0.3:80\n";

fn read(text: &str) -> Imported {
    import("known.cfg", format!("{DEFAULTS}{text}"))
}

/// The first pool of a file with these sections.
fn first(text: &str) -> Pool {
    let imported = read(text);
    let setup = imported
        .setup
        .unwrap_or_else(|| panic!("{:?}", imported.findings));
    setup.pools.into_iter().next().unwrap()
}

/// The first pool, with its servers, behind this frontend and with another frontend that leads elsewhere.
fn behind(front: &str, back: &str) -> Pool {
    first(&format!(
        "frontend f\n {front}\n default_backend p\nfrontend other\n bind 127.0.0.2:90\n default_backend q\n\
         backend p\n{back}{SERVERS}backend q\n server x 10.0.0.9:80\n"
    ))
}

fn key(pool: Pool) -> HashKey {
    match pool.selection {
        Selection::Hash(hash) => hash.key,
        other => panic!("{other:?}"),
    }
}

fn told<'i>(imported: &'i Imported, text: &str) -> Option<&'i str> {
    let mut messages = imported.findings.iter().map(|f| f.message.as_str());
    messages.find(|message| message.contains(text))
}

#[test]
fn what_one_frontend_fixes_is_a_constant_of_its_backend() {
    let constant = |text: &str| HashKey::Constant(text.to_owned());
    let bind = "bind 127.0.0.1:80";
    for (by, value) in [
        ("fe_name", "f"),
        ("dst_port", "80"),
        ("dst", "127.0.0.1"),
        ("be_name", "p"),
    ] {
        let pool = behind(bind, &format!(" balance hash {by}\n"));
        assert_eq!(key(pool), constant(value), "{by}");
        let table = " stick-table type string size 1k\n";
        let pool = behind(bind, &format!("{table} stick on {by}\n"));
        assert!(pool.sticky.unwrap().one_key, "{by}");
    }
    let two = behind("bind 127.0.0.1:80,127.0.0.1:81", " balance hash dst_port\n");
    assert_eq!(two.keys, Some(2));
    assert!(!matches!(key(two), HashKey::Constant(_)));
    let any = behind("bind :80", " balance hash dst\n");
    assert_eq!(
        (any.keys, key(any)),
        (None, HashKey::Other("dst".to_owned()))
    );
}

#[test]
fn a_backend_that_requests_name_has_the_keys_of_every_frontend() {
    let pool = first(&format!(
        "frontend f\n bind :80\n use_backend %[hdr(x)]\nfrontend g\n bind :81\n default_backend p\n\
         backend p\n balance hash fe_name\n{SERVERS}"
    ));
    assert_eq!(pool.keys, Some(2));
}

#[test]
fn a_key_that_a_converter_makes_small_is_told_and_has_no_number() {
    let text = |by: &str| format!("listen p\n bind :80\n balance hash {by}\n{SERVERS}");
    let merged = read(&text("path,length"));
    assert!(
        told(
            &merged,
            "cannot be known from the file: its key has few values"
        )
        .is_some()
    );
    let setup = merged.setup.unwrap();
    assert_eq!(setup.pools[0].keys, None);
    assert_eq!(setup.gaps[0].touches, Touches::Pool("p".to_owned()));
    assert!(read(&text("path,lower")).setup.unwrap().gaps.is_empty());
}

#[test]
fn numbers_without_an_id_count_on_past_those_that_bring_one() {
    let ids = |servers: &str| -> Vec<String> {
        let pool = first(&format!("listen p\n bind :80\n{servers}"));
        pool.backends.into_iter().map(|b| b.identity).collect()
    };
    let mixed = " server a 10.0.0.1:80 id 7\n server b 10.0.0.2:80 id 1234\n \
                 server c 10.0.0.3:80\n server d 10.0.0.4:80\n";
    assert_eq!(ids(mixed), ["7", "1234", "3", "4"]);
    let taken = " server a 10.0.0.1:80\n server b 10.0.0.2:80 id 3\n server c 10.0.0.3:80\n \
                 server d 10.0.0.4:80\n";
    assert_eq!(ids(taken), ["1", "3", "4", "5"]);
}

#[test]
fn a_server_that_tracks_another_follows_the_one_that_is_checked() {
    let pool = first(
        "listen p\n bind :80\n server a 10.0.0.1:80 track b\n server b 10.0.0.2:80 track q/x\n \
         server c 10.0.0.3:80\nbackend q\n server x 10.0.0.9:80 check\n",
    );
    let x = Some(("q".to_owned(), "x".to_owned()));
    let follows: Vec<_> = pool.backends.into_iter().map(|b| b.follows).collect();
    assert_eq!(follows, [x.clone(), x, None]);
}

#[test]
fn no_share_is_known_where_the_environment_sets_a_weight() {
    let with = |weight: &str| {
        first(&format!(
            "listen p\n bind :80\n server a 10.0.0.1:80 weight \"{weight}\"\n server b 10.0.0.2:80\n"
        ))
    };
    assert!(matches!(with("${W}").selection, Selection::Other(_)));
    assert_eq!(with("${W-30}").selection, Selection::ByWeight);
}

#[test]
fn a_checked_server_without_any_port_is_refused_as_haproxy_does() {
    let refused = |option: &str, server: &str| {
        let imported = read(&format!(
            "resolvers r\n nameserver n 127.0.0.1:53\nlisten p\n bind :80\n{option} server s {server}\n"
        ));
        told(&imported, "has neither a port nor a check port").is_some()
    };
    for server in [
        "10.0.0.5 check",
        "10.0.0.5:0 check",
        "10.0.0.5:+0 check",
        "10.0.0.5:-5 check",
        "[::1] check",
    ] {
        assert!(refused("", server), "{server}");
        assert!(refused(" option httpchk\n", server), "{server}");
    }
    for server in [
        "10.0.0.5",
        "10.0.0.5:80 check",
        "ipv4@10.0.0.5:80 check",
        "10.0.0.5 check port 80",
        "10.0.0.5 check addr 10.0.0.6:80",
        "unix@/run/s.sock check",
        "/run/s.sock check",
        "_http._tcp.x.example resolvers r check",
        "\"${HOST}\" check",
    ] {
        assert!(!refused("", server), "{server}");
    }
    assert!(!refused(
        " option tcp-check\n tcp-check connect port 99\n",
        "10.0.0.5 check"
    ));
}

#[test]
fn two_servers_that_are_checked_at_one_address_are_told() {
    let told = |b: &str| {
        let imported = read(&format!(
            "listen p\n bind :80\n server a 10.0.0.1:80 check addr 10.0.0.1 port 9000\n server b {b}\n"
        ));
        told(&imported, "are both checked at 10.0.0.1:9000").is_some()
    };
    assert!(told("10.0.0.2:80 check addr 10.0.0.1 port 9000"));
    assert!(told("10.0.0.1:81 check port 9000"));
    assert!(!told("10.0.0.2:80 check addr 10.0.0.2 port 9000"));
    assert!(!told("10.0.0.2:80 addr 10.0.0.1 port 9000"));
}

#[test]
fn a_template_of_one_address_is_told() {
    let told = |template: &str| {
        let imported = read(&format!(
            "listen p\n bind :80\n server-template t {template}\n"
        ));
        told(&imported, "makes 3 servers of one address").is_some()
    };
    assert!(told("1-3 127.0.0.1:80"));
    assert!(!told("1 127.0.0.1:80"));
    assert!(!told("1-3 app.example:80"));
}
