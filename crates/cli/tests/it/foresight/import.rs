//! `import`: what comes out is a configuration with the same spread, and what stays behind is said.

use super::{HAPROXY, home, shares};

#[test]
fn the_files_of_three_balancers_become_an_evenkeel_toml_with_the_same_shares() {
    let home = home();
    for file in ["haproxy.cfg", "nginx.conf", "envoy.yaml"] {
        let out = format!("{file}.toml");
        home.ends(&format!("import {file} --to {out}"), 0);
        let before = home.offline(&["check", file, "--json"]).json();
        let after = home.offline(&["check", &out, "--json"]).json();
        assert_eq!(after["valid"], true, "{file}: {:#}", after["findings"]);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        let (before, after) = (shares(&before), shares(&after));
        assert!(
            before.iter().zip(&after).all(close),
            "{file}: {before:?} {after:?}"
        );
        home.ends(&format!("plan {out} --offline --current {file}"), 0);
    }
}

#[test]
fn what_cannot_come_along_is_said_with_its_consequence_and_line() {
    let home = home();
    let text = HAPROXY
        .replace(
            "10.0.0.3:8080 check weight 1",
            "web3.internal:8080 check weight 1",
        )
        .replace(
            "    option httpchk",
            "    cookie SRV insert indirect\n    option httpchk",
        );
    // HAProxy keeps a client at a server only when the server has a value of its own.
    let text = text.replace("check weight", "check cookie x weight");
    home.write("old.cfg", &text);
    let ran = home.ends("import old.cfg", 0);
    for wanted in [
        "web3.internal",
        "--resolve web3.internal=",
        "old.cfg:14",
        "stickiness",
        "consequence:",
    ] {
        assert!(ran.err.contains(wanted), "{wanted}: {}", ran.err);
    }
    assert!(
        ran.out.contains("# left out: backend `web-3`"),
        "{}",
        ran.out
    );
    let known = home
        .ends("import old.cfg --resolve web3.internal=10.0.0.3 --json", 0)
        .json();
    let text = known["text"].as_str().unwrap();
    assert!(
        text.contains("10.0.0.3:8080") && !text.contains("left out: backend"),
        "{text}"
    );
    let losses = known["losses"].as_array().unwrap();
    assert!(
        losses
            .iter()
            .any(|l| l["touches"] == "pool" && l["pool"] == "app"),
        "{losses:#?}"
    );
}

#[test]
fn import_ends_with_the_code_that_says_what_stood_in_the_way() {
    let home = home();
    home.write("taken.toml", "mine\n");
    home.ends("import haproxy.cfg --to taken.toml", 1);
    home.ends("import haproxy.cfg --to taken.toml --overwrite", 0);
    home.ends("import taken.toml", 64);
    home.ends("import haproxy.cfg --resolve nonsense", 64);
    home.ends("import missing.cfg", 78);
    home.write(
        "tcp.cfg",
        &HAPROXY
            .replace("mode http", "mode tcp")
            .replace("    option httpchk GET /healthz\n", ""),
    );
    let tcp = home.ends("import tcp.cfg", 1);
    assert!(
        tcp.err.contains("nothing of it can be served"),
        "{}",
        tcp.err
    );
    home.write("bad.conf", "http {\n");
    home.ends("import bad.conf", 78);
}

#[test]
fn two_doors_of_one_frontend_become_two_listeners_and_lost_tls_stands_at_the_top() {
    let home = home();
    let doors = "    bind :8080\n    bind :8443 ssl crt /etc/site.pem alpn h2,http/1.1\n";
    home.write("doors.cfg", &HAPROXY.replace("    bind :8080\n", doors));
    let ran = home.ends("import doors.cfg --to doors.toml", 0);
    assert!(ran.err.contains("NOT PROTECTED"), "{}", ran.err);
    let text = std::fs::read_to_string(home.dir().join("doors.toml")).unwrap();
    for wanted in [
        "address = \"0.0.0.0:8080\"",
        "address = \"127.0.0.1:8443\"",
        "# NOT PROTECTED",
        "#   TLS of listener `web:8443` on :8443",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert_eq!(text.matches("[[route]]").count(), 2, "{text}");
    home.ends("check doors.toml", 0);
}

#[test]
fn an_intent_of_the_side_file_is_the_one_that_is_imported() {
    let home = home();
    home.write("side.toml", "[pool.app]\nintent = \"even\"\n");
    let weight = home.ends("import haproxy.cfg", 0);
    assert!(weight.out.contains("intent = \"weight\""), "{}", weight.out);
    let even = home.ends("import haproxy.cfg --facts side.toml", 0);
    assert!(even.out.contains("intent = \"even\""), "{}", even.out);
}
