//! HTTPS with clients that this project did not write (curl, openssl), and certificates that are renewed under them.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use crate::support::{Home, Instance, PATIENCE, Ran, run, until};
use crate::wire::{Origin, config};

const NAME: &str = "shop.example";

/// Who signs the certificates of a test.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

/// A subject of its own: openssl takes who signs under its own name for self-signed.
fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

impl Authority {
    /// One whose own certificate stands in `ca.pem`.
    pub(crate) fn of(home: &Home) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = called("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        home.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        Self { params, key }
    }

    /// A certificate for `names`, and its key.
    pub(crate) fn signs(&self, names: &[&str]) -> (String, String) {
        self.signs_until(names, 2_126)
    }

    pub(crate) fn signs_until(&self, names: &[&str], year: i32) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = called("server");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Both in one file.
    pub(crate) fn writes(&self, home: &Home, file: &str, names: &[&str]) {
        let (certificate, key) = self.signs(names);
        home.write(file, &(certificate + &key));
    }
}

fn secured(origin: &Origin, tls: &str) -> String {
    let listener = format!("[listener.web.tls]\n{tls}");
    config(&[origin.address.to_string()], &listener, "")
}

/// curl for `https://NAME/PATH` at the instance, trusting `ca.pem`.
fn curl(home: &Home, instance: &Instance, url: &str, more: &[&str]) -> Ran {
    let front = instance.front();
    let to = format!("::{}:{}", front.ip(), front.port());
    run(Command::new("curl")
        .current_dir(home.dir())
        .args([
            "-sS",
            "--max-time",
            "30",
            "--cacert",
            "ca.pem",
            "--connect-to",
            &to,
        ])
        .args(more)
        .arg(url))
}

/// What `openssl s_client` says of a connection on which one request is answered.
fn openssl(home: &Home, instance: &Instance, more: &[&str]) -> Ran {
    let front = instance.front().to_string();
    let command = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: {NAME}\\r\\nConnection: close\\r\\n\\r\\n' | \
        timeout 20 openssl s_client -connect {front} -CAfile ca.pem -verify_return_error -ign_eof {}",
        more.join(" ")
    );
    run(Command::new("sh")
        .current_dir(home.dir())
        .args(["-c", &command]))
}

/// The serial number of the certificate that clients are shown.
fn shown(home: &Home, instance: &Instance) -> String {
    let told = openssl(
        home,
        instance,
        &["-servername", NAME, "| openssl x509 -noout -serial"],
    );
    told.out
}

fn serial(home: &Home, file: &str) -> String {
    run(Command::new("openssl")
        .current_dir(home.dir())
        .args(["x509", "-noout", "-serial", "-in", file]))
    .expect(0)
    .out
}

/// Two certificates, the second with its key in a file of its own, for clients who show one.
fn two_names() -> (Home, Instance) {
    let origin = Origin::echoing();
    let home = Home::new("");
    let authority = Authority::of(&home);
    authority.writes(&home, "shop.pem", &[NAME]);
    let (chain, key) = authority.signs(&["*.other.example"]);
    home.write("other.crt", &chain);
    home.write("other.key", &key);
    authority.writes(&home, "anna.pem", &["anna"]);
    let tls = "certificates = [\"shop.pem\", { chain = \"other.crt\", key = \"other.key\" }]\n\
        client = { ca = \"ca.pem\", require = true }";
    home.write("evenkeel.toml", &secured(&origin, tls));
    let instance = home.start(&[]);
    (home, instance)
}

#[test]
fn curl_speaks_https_with_it_in_both_versions_by_name_and_with_a_certificate_of_its_own() {
    let (home, instance) = two_names();
    let shows = ["--cert", "anna.pem"];
    for version in ["1.2", "1.3"] {
        let least = format!("--tlsv{version}");
        let only = [least.as_str(), "--tls-max", version];
        for host in [NAME, "www.other.example"] {
            let url = format!("https://{host}/cart");
            let told = curl(&home, &instance, &url, &[&only[..], &shows].concat());
            let head = told.expect(0).out.to_ascii_lowercase();
            assert!(head.starts_with("get /cart http/1.1\r\n"), "{head}");
            assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
            // Without a certificate of its own curl gets nowhere.
            let refused = curl(&home, &instance, &url, &only);
            assert_ne!(refused.code, 0, "{}", refused.out);
        }
    }
    // Of another name the first certificate is shown, which curl refuses.
    let other = curl(&home, &instance, "https://else.example/", &shows);
    assert_eq!(other.code, 60, "{}", other.err);
    let status = instance.status();
    let shown = &status["listeners"][0]["certificates"];
    assert_eq!(shown[0]["file"], "shop.pem");
    assert_eq!(shown[1]["names"][0], "*.other.example");
    assert!(shown[0]["days_left"].as_i64().unwrap() > 30_000, "{shown}");
    let end = shown[0]["not_after"].as_str().unwrap();
    assert!(end.starts_with("2126-01-01T"), "{shown}");
}

#[test]
fn http_2_is_offered_before_http_1_where_it_is_spoken() {
    let origin = Origin::echoing();
    for (speaks, version, via) in [
        ("", "1.1", "via: 1.1 evenkeel\r\n"),
        (
            "protocols = [\"http/1.1\", \"h2\"]\n",
            "2",
            "via: 2.0 evenkeel\r\n",
        ),
    ] {
        let home = Home::new("");
        Authority::of(&home).writes(&home, "shop.pem", &[NAME]);
        let text = secured(&origin, "certificates = [\"shop.pem\"]");
        let listener = "[listener.web.tls]";
        let text = text.replacen(listener, &format!("{speaks}{listener}"), 1);
        home.write("evenkeel.toml", &text);
        let instance = home.start(&[]);
        let url = format!("https://{NAME}/cart");
        let more = ["--http2", "-w", "%{http_version}"];
        let told = curl(&home, &instance, &url, &more).expect(0).out;
        assert!(told.ends_with(version), "{told}");
        let head = told.to_ascii_lowercase();
        assert!(head.contains(via), "{head}");
        assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
    }
}

#[test]
fn openssl_verifies_the_chain_and_resumes_its_session_in_both_versions() {
    let (home, instance) = two_names();
    let client = ["-servername", NAME, "-cert anna.pem -key anna.pem"];
    for version in ["-tls1_2", "-tls1_3"] {
        let told = |session| {
            let more = [&client[..], &[version, session]].concat();
            openssl(&home, &instance, &more).expect(0).out
        };
        let first = told("-sess_out s");
        assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
        assert!(first.contains("New, TLSv1."), "{first}");
        let again = told("-sess_in s");
        assert!(again.contains("Reused, TLSv1."), "{again}");
    }
}

/// Neither the journal nor anything else in the data directory has the key in `file`.
fn no_key_is_kept(home: &Home, file: &str) {
    let key = std::fs::read_to_string(home.dir().join(file)).unwrap();
    let line = key.lines().rev().nth(1).unwrap().as_bytes();
    let files = std::fs::read_dir(home.data()).unwrap().map(Result::unwrap);
    let mut looked = 0;
    for file in files.filter(|file| file.file_type().unwrap().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        let held = |what: &[u8]| bytes.windows(what.len()).any(|part| part == what);
        assert!(
            !held(b"PRIVATE KEY") && !held(line),
            "{}",
            file.path().display()
        );
        looked += 1;
    }
    assert!(looked > 0);
}

#[test]
fn a_renewed_certificate_is_drift_until_it_is_applied_and_no_request_is_lost_on_the_way_there_and_back()
 {
    let origin = Origin::saying("ok");
    let home = Home::new("");
    let authority = Authority::of(&home);
    authority.writes(&home, "shop.pem", &[NAME]);
    home.write(
        "evenkeel.toml",
        &secured(&origin, "certificates = [\"shop.pem\"]"),
    );
    let instance = home.start(&[]);
    let old = serial(&home, "shop.pem");
    assert_eq!(shown(&home, &instance), old);
    assert!(instance.status()["drift"].is_null());

    authority.writes(&home, "shop.pem", &[NAME, "www.shop.example"]);
    let new = serial(&home, "shop.pem");
    assert_ne!(old, new);
    instance.when("the renewal is seen", PATIENCE, |status| {
        !status["drift"].is_null()
    });
    // Nothing changes by itself.
    assert_eq!(shown(&home, &instance), old);
    let plan = instance.cli(&["plan", "evenkeel.toml"]).expect(0).out;
    assert!(plan.contains("certificate.\"shop.pem\""), "{plan}");

    // A new connection for every request, all the while.
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let url = format!("https://{NAME}/[1-400]");
            let more = [
                "-H",
                "Connection: close",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}\n",
            ];
            curl(&home, &instance, &url, &more)
        });
        let done = instance
            .ends("--json apply evenkeel.toml --yes --reason renewed", 0)
            .json();
        assert_eq!(done["revision"], "r2", "{done}");
        until("the new one is shown", PATIENCE, || {
            (shown(&home, &instance) == new).then_some(())
        });
        instance.ends("rollback r1 --yes --reason again", 0);
        until("the old one is shown", PATIENCE, || {
            (shown(&home, &instance) == old).then_some(())
        });
        let told = traffic.join().unwrap();
        let codes: Vec<_> = told.out.lines().collect();
        assert!(
            codes.len() == 400 && codes.iter().all(|code| *code == "200"),
            "{}{}",
            told.out,
            told.err
        );
    });
    no_key_is_kept(&home, "shop.pem");

    // After a restart the disk is all there is: what stands there is used, and that is said.
    assert_eq!(instance.stop().code(), Some(0));
    let instance = home.start(&[]);
    assert_eq!(shown(&home, &instance), new);
    let log = instance.log();
    assert!(
        log.contains("`shop.pem` is another file than the running revision saw"),
        "{log}"
    );
    assert!(!instance.status()["drift"].is_null());
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_the_reason_and_the_running_certificate_stays() {
    let origin = Origin::saying("ok");
    let home = Home::new("");
    let authority = Authority::of(&home);
    let (chain, key) = authority.signs(&[NAME]);
    home.write(
        "evenkeel.toml",
        &secured(&origin, "certificates = [\"shop.pem\"]"),
    );
    // Looked at from elsewhere, a file that is not here is no error; where it must be served, it is.
    let checked = home.ends("check evenkeel.toml", 0);
    let text = checked.out + &checked.err;
    assert!(
        text.contains("CFG-08") && text.contains("`shop.pem` cannot be read"),
        "{text}"
    );
    let refused = home.ends("run evenkeel.toml --data data", 78);
    assert!(
        refused.err.contains("`shop.pem` cannot be read"),
        "{}",
        refused.err
    );

    home.write("shop.pem", &(chain.clone() + &key));
    let instance = home.start(&[]);
    let good = serial(&home, "shop.pem");
    let (_, other) = authority.signs(&[NAME]);
    for (text, reason) in [
        (
            chain.clone() + &other,
            "holds a key that is not the certificate's",
        ),
        (chain.clone(), "holds no private key in PEM"),
        (key, "holds no certificate in PEM"),
        (String::new(), "holds no certificate in PEM"),
    ] {
        home.write("shop.pem", &text);
        let refused = instance.cli(&["apply", "evenkeel.toml", "--yes"]);
        assert_eq!(refused.code, 78, "{}{}", refused.out, refused.err);
        let said = refused.out + &refused.err;
        assert!(said.contains("CFG-08") && said.contains(reason), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
        assert_eq!(shown(&home, &instance), good);
    }
    let drift = instance.when("the bad file is seen", PATIENCE, |status| {
        !status["drift"].is_null()
    });
    assert!(
        drift["drift"].as_str().unwrap().contains("`shop.pem`"),
        "{drift}"
    );
}

#[test]
fn a_certificate_near_its_end_and_a_host_without_one_are_told_before_they_are_served() {
    let origin = Origin::saying("ok");
    let home = Home::new("");
    let authority = Authority::of(&home);
    let (chain, key) = authority.signs_until(&["other.example"], 2_020);
    home.write("shop.pem", &(chain + &key));
    let text = secured(&origin, "certificates = [\"shop.pem\"]");
    let text = text.replace("path_prefix = \"/\"\n", &format!("host = \"{NAME}\"\n"));
    home.write("evenkeel.toml", &text);
    let checked = home.ends("--json check evenkeel.toml", 78).json();
    let told = checked["findings"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|f| (f["id"].as_str().unwrap(), f["severity"].as_str().unwrap()))
        .collect();
    assert!(
        told.contains(&("TLS-01", "error")) && told.contains(&("TLS-04", "warning")),
        "{told:?}"
    );
}
