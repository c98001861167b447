//! TLS to origins that this project did not write: nginx, which may ask for a certificate, and openssl.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::support::{Home, Instance, PATIENCE, Process, request, until};
use crate::traffic::tls::Authority;
use crate::wire::config;

const NAME: &str = "shop.internal";
/// What nginx saw of the connection that a request came on.
const SEEN: &str =
    "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_verify $http_x_forwarded_proto";

/// A server on a port of its own, until it is dropped.
struct Server {
    _process: Process,
    address: SocketAddr,
}

impl Server {
    fn start(command: impl FnOnce(SocketAddr) -> Command) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut command = command(address);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command);
        until("the server listens", PATIENCE, || {
            TcpStream::connect(address).ok()
        });
        Self {
            _process: process,
            address,
        }
    }

    /// nginx with the certificate and the key in `pem`, and further lines of its configuration.
    fn nginx(home: &Home, pem: &str, more: &str) -> Self {
        Self::start(|address| {
            let path = home.dir().join(format!("nginx-{}", address.port()));
            std::fs::create_dir(&path).unwrap();
            let (dir, at) = (home.dir().display(), path.display());
            let config = format!(
                "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {at}/access.log;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  ssl_certificate {dir}/{pem}; ssl_certificate_key {dir}/{pem};
  server {{
    listen {address} ssl;
    {more}
    location / {{ return 200 \"{SEEN}\"; }}
  }}
}}
"
            );
            std::fs::write(path.join("nginx.conf"), config).unwrap();
            let mut command = Command::new("nginx");
            command
                .args(["-p", path.to_str().unwrap(), "-c", "nginx.conf", "-e"])
                .arg(path.join("error.log"));
            command
        })
    }
}

/// A configuration over `backends` with this table `tls` of its pool.
fn over(backends: &[&Server], tls: &str) -> String {
    let addresses: Vec<_> = backends.iter().map(|b| b.address.to_string()).collect();
    let pool =
        format!("tls = {tls}\nhealth = {{ path = \"/\", interval = \"50ms\" }}\nmin_healthy = 1");
    config(&addresses, "", &pool)
}

fn get(instance: &Instance) -> (String, String) {
    request(
        instance.front(),
        "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n",
    )
}

/// What nginx says that it saw.
fn seen(instance: &Instance) -> String {
    let (head, body) = get(instance);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}{body}");
    body
}

/// The reason of the first backend's share in `status`.
fn reason(instance: &Instance, says: &str) {
    instance.when(says, PATIENCE, |status| {
        let reason = &status["pools"][0]["backends"][0]["reason"];
        reason.as_str().unwrap().contains(says)
    });
}

#[test]
fn nginx_is_verified_by_name_and_its_sessions_are_resumed_in_both_versions() {
    for version in ["1.2", "1.3"] {
        let home = Home::new("");
        Authority::of(&home).writes(&home, "server.pem", &[NAME]);
        // Every response ends its connection, so that each request makes a handshake.
        let more = format!("keepalive_timeout 0; ssl_protocols TLSv{version};");
        let nginx = Server::nginx(&home, "server.pem", &more);
        let tls = format!("{{ ca = \"ca.pem\", name = \"{NAME}\" }}");
        home.write("evenkeel.toml", &over(&[&nginx], &tls));
        let instance = home.start(&[]);
        let fresh = format!("TLSv{version} {NAME} . NONE http");
        let again = format!("TLSv{version} {NAME} r NONE http");
        let mut told: Vec<String> = (0..6).map(|_| seen(&instance)).collect();
        assert_eq!(told.remove(0), fresh);
        assert!(told.contains(&again), "{told:?}");
        // Counts are published once a second.
        until("the counts", PATIENCE, || {
            let counted = |result| counted(&instance, result);
            let done = counted("full")? + counted("resumed")? == 6;
            (done && counted("wrong_name")? == 0).then_some(())
        });
    }
}

/// Handshakes with the first backend that came to `result`.
fn counted(instance: &Instance, result: &str) -> Option<u64> {
    let admin = instance.admin;
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let (_, metrics) = request(admin, &ask);
    let series = format!(
        "evenkeel_backend_tls_handshakes_total{{pool=\"shop\",backend=\"web-1\",result=\"{result}\"}} "
    );
    let mut lines = metrics.lines();
    lines
        .find_map(|line| line.strip_prefix(&series))?
        .parse()
        .ok()
}

#[test]
fn nginx_that_asks_for_a_certificate_gets_ours_and_says_so_when_it_gets_none() {
    let home = Home::new("");
    let authority = Authority::of(&home);
    authority.writes(&home, "server.pem", &[NAME]);
    let (chain, key) = authority.signs(&["balancer"]);
    home.write("me.crt", &chain);
    home.write("me.key", &key);
    let ca = home.dir().join("ca.pem");
    let asks = format!(
        "ssl_verify_client on; ssl_client_certificate {};",
        ca.display()
    );
    let nginx = Server::nginx(&home, "server.pem", &asks);
    let ours = "certificate = \"me.crt\", key = \"me.key\"";
    let tls = format!("{{ ca = \"ca.pem\", name = \"{NAME}\", {ours} }}");
    home.write("evenkeel.toml", &over(&[&nginx], &tls));
    let instance = home.start(&[]);
    assert!(seen(&instance).contains(" SUCCESS "));
    drop(instance);

    // nginx answers 400 in the place of a refusal in the handshake.
    let home_without = Home::new("");
    home_without.write("ca.pem", &std::fs::read_to_string(&ca).unwrap());
    let tls = format!("{{ ca = \"ca.pem\", name = \"{NAME}\" }}");
    home_without.write("evenkeel.toml", &over(&[&nginx], &tls));
    let instance = home_without.start(&[]);
    let (head, _) = get(&instance);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    reason(&instance, "status 400");
}

#[test]
fn what_is_wrong_with_a_backend_is_told_to_client_log_and_status() {
    let home = Home::new("");
    let authority = Authority::of(&home);
    authority.writes(&home, "other.pem", &["other.internal"]);
    let (chain, key) = authority.signs_until(&[NAME], 2_020);
    home.write("old.pem", &(chain + &key));
    let plain = Server::start(|address| {
        let mut command = Command::new("openssl");
        // A server of TLS that knows no name and no HTTP: only its certificate is looked at.
        command
            .current_dir(home.dir())
            .args(["s_server", "-quiet", "-accept", &address.to_string()])
            .args(["-cert", "old.pem", "-key", "old.pem", "-www"]);
        command
    });
    let other = Server::nginx(&home, "other.pem", "");
    for (server, code, why) in [
        (
            &other,
            "tls_wrong_name",
            "its certificate is for `other.internal`, not for `shop.internal`",
        ),
        (
            &plain,
            "tls_expired",
            "its certificate ended at 2020-01-01T00:00:00",
        ),
    ] {
        let tls = format!("{{ ca = \"ca.pem\", name = \"{NAME}\" }}");
        let text = over(&[server], &tls);
        let log = format!("{code}.log");
        home.write("evenkeel.toml", &format!("access_log = \"{log}\"\n{text}"));
        let instance = home.start(&[]);
        let (head, _) = get(&instance);
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(
            head.contains(&format!("X-Evenkeel-Error: {code}")),
            "{head}"
        );
        reason(&instance, why);
        assert!(instance.log().contains(why), "{}", instance.log());
        assert_eq!(instance.stop().code(), Some(0));
        let written = std::fs::read_to_string(home.dir().join(&log)).unwrap();
        assert!(written.contains(&format!("\"{code}\"")), "{written}");
        std::fs::remove_dir_all(home.data()).unwrap();
    }
}

#[test]
fn without_verification_it_is_served_and_the_audit_says_what_that_means() {
    let home = Home::new("");
    Authority::of(&home).writes(&home, "other.pem", &["other.internal"]);
    let nginx = Server::nginx(&home, "other.pem", "");
    let text = over(&[&nginx], "{ insecure_skip_verify = true }");
    home.write("evenkeel.toml", &text);
    let checked = home.ends("--json check evenkeel.toml", 0).json();
    let findings = checked["findings"].as_array().unwrap();
    let told = findings.iter().find(|f| f["id"] == "TLS-03").unwrap();
    assert_eq!(told["severity"], "warning");
    let line = text.lines().position(|line| line.contains("insecure_skip"));
    assert_eq!(
        told["line"].as_u64(),
        line.map(|line| line as u64 + 1),
        "{told}"
    );
    let instance = home.start(&[]);
    assert!(seen(&instance).ends_with(" NONE http"));
}

#[test]
fn a_renewed_authority_is_drift_until_it_is_applied_and_is_undone_when_no_backend_is_believed() {
    let home = Home::new("");
    let authority = Authority::of(&home);
    authority.writes(&home, "server.pem", &[NAME]);
    let old = std::fs::read_to_string(home.dir().join("ca.pem")).unwrap();
    let nginx = Server::nginx(&home, "server.pem", "");
    let tls = format!("{{ ca = \"ca.pem\", name = \"{NAME}\" }}");
    home.write("evenkeel.toml", &over(&[&nginx], &tls));
    let instance = home.start(&[]);
    assert!(seen(&instance).ends_with(" NONE http"));

    // A second authority beside the first: nothing changes until it is applied, and nothing breaks then.
    let second = Home::new("");
    drop(Authority::of(&second));
    let new = std::fs::read_to_string(second.dir().join("ca.pem")).unwrap();
    home.write("ca.pem", &(old.clone() + &new));
    instance.when("the renewal is seen", PATIENCE, |status| {
        !status["drift"].is_null()
    });
    let plan = instance.cli(&["plan", "evenkeel.toml"]).expect(0).out;
    assert!(plan.contains("certificate.\"ca.pem\""), "{plan}");
    instance.ends("apply evenkeel.toml --yes --wait 0 --reason both", 0);
    assert!(seen(&instance).ends_with(" NONE http"));

    instance.ends("confirm", 0);

    // The wrong one alone: the file was replaced, and the bytes of before come back from memory.
    home.write("ca.pem", &new);
    let wrong = "apply evenkeel.toml --yes --wait 0 --force --reason wrong";
    instance.ends(wrong, 0);
    until("nobody is believed", PATIENCE, || {
        let (head, _) = get(&instance);
        head.contains("tls_unknown_authority").then_some(())
    });
    // The guard may have been quicker: nobody passes the check.
    instance.cli(&["rollback", "r2", "--yes", "--reason", "back"]);
    until("the backend is believed again", PATIENCE, || {
        let (_, body) = get(&instance);
        body.ends_with(" NONE http").then_some(())
    });

    // A file that is none is refused, and what runs stays.
    home.write("ca.pem", "no certificate");
    let refused = instance
        .cli(&["apply", "evenkeel.toml", "--yes"])
        .expect(78);
    let said = refused.out + &refused.err;
    assert!(
        said.contains("CFG-08") && said.contains("`ca.pem` holds no certificate"),
        "{said}"
    );
    assert!(seen(&instance).ends_with(" NONE http"));
}
