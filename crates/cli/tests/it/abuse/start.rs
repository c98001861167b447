//! Starts that cannot work: each says what is wrong, where, and ends with its code.

use std::net::TcpListener;

use crate::support::{Home, run};
use crate::wire::config;

fn sound() -> String {
    config(&["127.0.0.1:1"], "", "")
}

#[test]
fn a_listener_port_in_use_is_named_with_its_listener_and_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = sound().replacen(
        "[listener.web]\naddress = \"127.0.0.1:0\"",
        &format!("[listener.web]\naddress = \"{address}\""),
        1,
    );
    let home = Home::new(&text);
    let ran = run(&mut home.command(&[])).expect(1);
    assert!(ran.err.contains("web"), "{}", ran.err);
    assert!(ran.err.contains(&address), "{}", ran.err);
    assert!(ran.err.contains("in use"), "{}", ran.err);
    // Nothing is left that would keep the next start from working.
    drop(taken);
    let instance = home.start(&[]);
    assert_eq!(instance.status()["revision"], "r1");
}

#[test]
fn an_admin_port_in_use_is_named_with_its_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = sound().replacen(
        "[admin]\naddress = \"127.0.0.1:0\"",
        &format!("[admin]\naddress = \"{address}\""),
        1,
    );
    let ran = run(&mut Home::new(&text).command(&[])).expect(1);
    assert!(
        ran.err.contains("admin") && ran.err.contains(&address),
        "{}",
        ran.err
    );
}

#[test]
fn a_config_that_is_missing_or_no_file_is_78_and_says_so() {
    let home = Home::new(&sound());
    std::fs::create_dir(home.dir().join("dir.toml")).unwrap();
    std::fs::write(home.dir().join("latin1.toml"), b"workers = 1\n# caf\xe9\n").unwrap();
    std::fs::write(home.dir().join("large.toml"), vec![b'#'; 20 << 20]).unwrap();
    run(std::process::Command::new("mkfifo").arg(home.dir().join("fifo.toml"))).expect(0);
    for (path, said) in [
        ("missing.toml", "o such file"),
        ("dir.toml", "directory"),
        ("latin1.toml", "UTF-8"),
        ("large.toml", "16777216 bytes"),
        ("/dev/zero", "16777216"),
        ("/dev/full", "16777216"),
        ("/proc/self/mem", "/proc/self/mem"),
    ] {
        for command in ["check", "run"] {
            let ran = home.offline(&[command, path, "--data", "d"]).expect(78);
            assert!(ran.err.contains(path), "{command} {path}: {}", ran.err);
            assert!(ran.err.contains(said), "{command} {path}: {}", ran.err);
        }
    }
}

#[test]
fn what_is_wrong_in_a_config_is_shown_with_file_line_and_column_all_at_once() {
    let text = sound()
        .replace("[listener.web]\n", "[listener.web]\nhead_timout = \"1s\"\n")
        .replace(
            "[pool.shop]\n",
            "[pool.shop]\nalgorithm = \"roundrobin\"\nheadroom = \"lots\"\n",
        );
    let home = Home::new(&text);
    for command in ["check", "run"] {
        let ran = home
            .offline(&[command, "evenkeel.toml", "--data", "d"])
            .expect(78);
        for place in [
            "evenkeel.toml:5:1",
            "evenkeel.toml:13:13",
            "evenkeel.toml:14:12",
        ] {
            assert!(
                ran.err.contains(place) || ran.out.contains(place),
                "{place}: {ran:#?}"
            );
        }
        let all = ran.err + &ran.out;
        for word in ["head_timout", "head_timeout", "round_robin", "headroom"] {
            assert!(all.contains(word), "{word}: {all}");
        }
    }
    let findings = home
        .offline(&["--json", "check", "evenkeel.toml"])
        .expect(78)
        .json();
    let places: Vec<(u64, u64)> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "error")
        .map(|f| (f["line"].as_u64().unwrap(), f["column"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(5, 1), (13, 13), (14, 12)], "{findings}");
}

#[test]
fn hostile_configs_are_refused_quickly_and_without_a_crash() {
    let home = Home::new(&sound());
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{} = 1", vec!["a"; 50_000].join("."));
    let keys: String = (0..100_000).map(|n| format!("k{n} = {n}\n")).collect();
    let pools: String = (0..20_000)
        .map(|n| format!("[pool.p{n}.backend.b]\naddress = \"127.0.0.1:1\"\n"))
        .collect();
    for (what, text) in [
        ("deep", deep),
        ("dotted", dotted),
        ("keys", keys),
        ("pools", pools),
        ("cut", sound()[..sound().len() - 3].to_owned()),
        ("quote", "a = \"".to_owned()),
        ("nul", "a = 1\0\n".to_owned()),
        ("escape", "\u{1b}[2J = 1\n".to_owned()),
        ("empty", String::new()),
        ("twice", sound() + &sound()),
    ] {
        home.write("hostile.toml", &text);
        let started = std::time::Instant::now();
        let ran = home.offline(&["check", "hostile.toml"]);
        assert_eq!(
            ran.code,
            78,
            "{what}: {}",
            &ran.err[..ran.err.len().min(2_000)]
        );
        assert!(!ran.err.contains("panicked"), "{what}");
        assert!(!ran.err.contains('\u{1b}'), "{what}: a terminal obeys it");
        assert!(
            ran.err.len() < 1_000_000,
            "{what}: {} bytes of words",
            ran.err.len()
        );
        let took = started.elapsed();
        assert!(took.as_secs() < 30, "{what}: {took:?}");
    }
}
