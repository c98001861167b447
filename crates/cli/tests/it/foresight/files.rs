//! Files that cannot be read: a clear word, exit 78, bounded time and memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{HAPROXY, NGINX, home};

#[test]
fn what_is_no_configuration_ends_with_78_and_says_why() {
    let home = home();
    fs::create_dir(home.dir().join("folder.cfg")).unwrap();
    let big = fs::File::create(home.dir().join("big.cfg")).unwrap();
    big.set_len(100 << 20).unwrap();
    fs::write(home.dir().join("binary.cfg"), [0x66, 0xff, 0xfe, 0x00]).unwrap();
    home.write("broken.conf", "http { upstream app { server 10.0.0.1:80; ");
    home.write("broken.yaml", "static_resources: [\n");
    home.write("empty.toml", "");
    for (file, word) in [
        ("missing.cfg", "there is no such file"),
        ("folder.cfg", "directory"),
        ("big.cfg", "larger than"),
        ("binary.cfg", "NUL byte"),
        ("broken.conf", "error[IMP-0"),
        ("broken.yaml", "error[IMP-0"),
        ("empty.toml", "CFG-04"),
    ] {
        let ran = home.offline(&["check", file]).expect(78);
        assert!(ran.err.contains(word), "{file}: {}", ran.err);
    }
    home.write("what", "neither this nor that\n");
    let unknown = home.ends("check what", 64);
    assert!(unknown.err.contains("--format"), "{}", unknown.err);
    home.ends("check haproxy.cfg --root no-such-place", 64);
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_effect_and_fix() {
    let home = home();
    fs::create_dir(home.dir().join("folder.cfg")).unwrap();
    let locked = home.write("locked.cfg", HAPROXY);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Whoever may read everything (root) reads the locked file too: then it is no error.
    let may_read_all = fs::read(&locked).is_ok();
    for (file, fix) in [
        ("missing.cfg", "name a file that exists"),
        ("folder.cfg", "name the main file in it"),
        ("locked.cfg", "let this user read it"),
    ] {
        if file == "locked.cfg" && may_read_all {
            continue;
        }
        for verb in ["check", "import"] {
            let ran = home.offline(&[verb, file]).expect(78);
            assert!(ran.err.contains("effect: nothing was judged"), "{ran:?}");
            assert!(ran.err.contains(&format!("fix: {fix}")), "{ran:?}");
        }
    }
}

#[test]
fn a_name_with_a_line_end_writes_no_line_of_its_own() {
    let home = home();
    let name = "a\nsound.cfg";
    home.write(name, HAPROXY);
    for verb in [&["check", name][..], &["import", name, "--to", "b\nc.toml"]] {
        let ran = home.offline(verb).expect(0);
        let all = ran.out + &ran.err;
        assert!(
            !all.lines()
                .any(|line| line.starts_with("sound.cfg") || line.starts_with("c.toml")),
            "{all}"
        );
    }
    let gone = home.offline(&["check", "x\nerror: y"]).expect(78);
    assert!(gone.err.contains(r"`x\nerror: y`"), "{}", gone.err);
}

#[test]
fn a_flag_that_names_what_the_file_does_not_hold_is_a_fault_of_use() {
    let home = home();
    for flag in [
        "--capacity nosuch=5",
        "--peak-rps nosuch=5",
        "--capacity app/gone=5",
    ] {
        let ran = home.ends(&format!("check haproxy.cfg {flag}"), 64);
        assert!(ran.err.contains("fix: "), "{flag}: {}", ran.err);
    }
    home.write("side.toml", "[pool.nosuch]\npeak_rps = 5\n");
    home.ends("check haproxy.cfg --facts side.toml", 78);
}

#[test]
fn the_files_that_are_read_are_named() {
    let home = home();
    let ran = home.ends("check nginx.conf --files", 0);
    let names: Vec<&str> = ran.out.lines().collect();
    assert!(
        names.iter().any(|n| n.ends_with("/nginx.conf")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|n| n.ends_with("/conf.d/app.conf")),
        "{names:?}"
    );
    home.write("conf.d/app.conf", "upstream {");
    let broken = home.ends("check nginx.conf --files", 78);
    assert!(broken.out.contains("/conf.d/app.conf"), "{broken:?}");
}

#[test]
fn includes_that_are_missing_circular_unreadable_or_huge_are_errors_at_their_line() {
    let home = home();
    let main = |include: &str| NGINX.replace("conf.d/*.conf", include);
    home.write("circle.conf", "include circle.conf;\n");
    let big = fs::File::create(home.dir().join("big.inc")).unwrap();
    big.set_len(100 << 20).unwrap();
    let locked = home.write("locked.inc", "");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Whoever may read everything (root) reads the locked file too: then it is no error.
    let may_read_all = fs::read(&locked).is_ok();
    for (include, word) in [
        ("gone.conf", "there is no file"),
        ("conf.d", "is a directory"),
        ("circle.conf", "includes itself"),
        ("big.inc", "104857600 bytes"),
        ("/dev/zero", "lies in a folder of the system"),
        ("/proc/self/environ", "lies in a folder of the system"),
        ("locked.inc", "must not be read"),
    ] {
        if include == "locked.inc" && may_read_all {
            continue;
        }
        home.write("main.conf", &main(include));
        let ran = home.ends("check main.conf --format nginx", 78);
        assert!(ran.err.contains(word), "{include}: {}", ran.err);
        let line = if include == "circle.conf" {
            "circle.conf:1"
        } else {
            "main.conf:3"
        };
        assert!(ran.err.contains(line), "{include}: {}", ran.err);
    }
}

#[test]
fn absolute_includes_of_a_checkout_are_found_under_its_root() {
    let home = home();
    home.write(
        "main.conf",
        &NGINX.replace("conf.d/*.conf", "/etc/nginx/conf.d/*.conf"),
    );
    // A glob that matches nothing is fine to nginx, but the upstream is missing then: a host name, not a pool of three.
    let line = "check main.conf --json --format nginx";
    let without = home.offline(&line.split(' ').collect::<Vec<_>>());
    assert!(!without.out.contains("10.0.0.2"), "{}", without.out);
    let with = home.ends(&format!("{line} --root /etc/nginx=."), 0).json();
    assert_eq!(super::shares(&with).len(), 3);
}

#[test]
fn standard_input_is_recognised_by_its_text() {
    use std::io::Write as _;
    use std::process::Stdio;
    let home = home();
    let mut child = crate::support::binary()
        .current_dir(home.dir())
        .args(["check", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(HAPROXY.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), view["format"].as_str()),
        (Some(0), Some("haproxy"))
    );
}
