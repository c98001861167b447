//! nginx and HAProxy as proxies of the same origin, as they are by default, and what each does with a case.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::table::Case;
use super::talk::Client;
use crate::support::{PATIENCE, Process, until};

/// Longest wait for an answer: who waits for more bytes does not refuse.
const ANSWER: Duration = Duration::from_secs(1);

/// What a balancer did with the last message of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The origin's answer came back.
    Forwarded,
    /// An answer of its own that blames the client, or the end of the connection.
    Refused,
    /// Nothing in time, or a fault of the origin's side.
    Unknown,
}

/// A balancer that this project did not write.
#[derive(Debug)]
pub(super) struct Peer {
    _process: Process,
    pub(super) address: SocketAddr,
}

impl Peer {
    /// `speaking`: further words of its listener.
    pub(super) fn nginx(dir: &Path, origin: SocketAddr, speaking: &str) -> Self {
        let (address, at) = (free(), dir.display());
        let text = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log;
            events {{ worker_connections 512; }}
            http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/p;
            fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
            server {{ listen {address}{speaking}; location / {{ proxy_pass http://{origin}; proxy_http_version 1.1; }} }} }}"
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir).arg("-c").arg(&file);
        command.arg("-e").arg(dir.join("error.log"));
        Self::start(&mut command, address)
    }

    pub(super) fn haproxy(dir: &Path, origin: SocketAddr, speaking: &str) -> Self {
        let address = free();
        let text = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
            frontend front\n  bind {address}{speaking}\n  default_backend back\n\
            backend back\n  server origin {origin}\n"
        );
        let file = dir.join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        Self::start(&mut command, address)
    }

    fn start(command: &mut Command, address: SocketAddr) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(command);
        until("the peer listens", PATIENCE, || {
            TcpStream::connect(address).ok()
        });
        Self {
            _process: process,
            address,
        }
    }

    /// What it does with each case, one connection after the other.
    pub(super) fn judge(&self, cases: &[Case]) -> Vec<Verdict> {
        cases.iter().map(|case| self.verdict(case)).collect()
    }

    fn verdict(&self, case: &Case) -> Verdict {
        let mut client = Client::connect(self.address, ANSWER);
        client.send(&case.sent);
        for _message in &case.want {
            match client.response(case.sent.starts_with(b"HEAD ")) {
                Some(response) if response.field("x-origin").is_some() => {}
                Some(response) if response.status < 500 || response.status == 501 => {
                    return Verdict::Refused;
                }
                Some(response) if response.status == 505 => return Verdict::Refused,
                Some(_fault) => return Verdict::Unknown,
                // HTTP/0.9 has no head: the origin's body came.
                None if client.heard => {}
                None if client.is_over() => return Verdict::Refused,
                None => return Verdict::Unknown,
            }
        }
        Verdict::Forwarded
    }
}

/// An address that nobody listens on yet.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
