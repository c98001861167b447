//! Clients and origins that this project did not write: curl, wrk, node and Python in front, nginx, node and Python
//! behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Home, Instance, PATIENCE, Process, Ran, heavy, run, until};
use crate::wire::{Origin, config};

const BIG: usize = 3 << 20;

fn curl(arguments: &[&str]) -> Ran {
    run(Command::new("curl")
        .args(["-sS", "--max-time", "30", "--noproxy", "*"])
        .args(arguments))
}

/// An nginx on a Unix socket under `dir` with files, uploads and plain answers.
fn nginx(dir: &Path) -> (Process, String) {
    let www = dir.join("www");
    fs::create_dir_all(www.join("put")).unwrap();
    fs::write(www.join("page.txt"), "a page\n").unwrap();
    fs::write(www.join("big.bin"), pattern()).unwrap();
    let socket = dir.join("nginx.sock");
    let at = dir.display();
    let text = format!(
        "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log;
        events {{ worker_connections 512; }}
        http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
        uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; keepalive_requests 100000;
        server {{ listen unix:{}; root {at}/www;
        location / {{ try_files $uri =404; }}
        location = /empty {{ return 204; }}
        location = /hello {{ default_type text/plain; return 200 \"hello\\n\"; }}
        location /put/ {{ dav_methods PUT; client_max_body_size 0; }} }} }}",
        socket.display()
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let process = Process::start(
        Command::new("nginx")
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    until("nginx listens", PATIENCE, || socket.exists().then_some(()));
    (process, format!("unix:{}", socket.display()))
}

/// Bytes in which a lost, repeated or moved block shows.
fn pattern() -> Vec<u8> {
    (0..BIG / 4)
        .flat_map(|n| (n as u32).to_be_bytes())
        .collect()
}

fn before_nginx() -> (tempfile::TempDir, Process, Home, Instance) {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, address) = nginx(dir.path());
    let home = Home::new(&config(&[address], "", ""));
    let instance = home.start(&[]);
    (dir, nginx, home, instance)
}

#[test]
fn curl_gets_files_heads_and_empty_answers_of_nginx() {
    let (dir, _nginx, _home, instance) = before_nginx();
    let url = |path: &str| format!("http://{}{path}", instance.front());
    let page = curl(&["-i", &url("/page.txt")]).expect(0).out;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(
        page.to_ascii_lowercase().contains("server: nginx"),
        "{page}"
    );
    assert!(page.ends_with("\r\n\r\na page\n"), "{page}");
    let old = curl(&["-i", "--http1.0", &url("/page.txt")]).expect(0).out;
    assert!(
        old.contains("200 OK\r\n") && old.ends_with("a page\n"),
        "{old}"
    );
    let head = curl(&["-I", &url("/big.bin")]).expect(0).out;
    let length = format!("content-length: {BIG}");
    assert!(head.to_ascii_lowercase().contains(&length), "{head}");
    let empty = curl(&["-i", &url("/empty"), "-i", &url("/page.txt")])
        .expect(0)
        .out;
    assert!(
        empty.starts_with("HTTP/1.1 204 ") && empty.ends_with("a page\n"),
        "{empty}"
    );
    let tag = page
        .lines()
        .find_map(|line| line.strip_prefix("ETag: "))
        .unwrap_or_else(|| panic!("{page}"));
    let condition = format!("If-None-Match: {tag}");
    let same = curl(&[
        "-i",
        "-H",
        &condition,
        &url("/page.txt"),
        "-i",
        &url("/hello"),
    ])
    .expect(0)
    .out;
    assert!(
        same.starts_with("HTTP/1.1 304 ") && same.ends_with("hello\n"),
        "{same}"
    );
    let missing = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url("/none")]).expect(0);
    assert_eq!(missing.out, "404");
    let saved = dir.path().join("saved");
    let saved_text = saved.to_str().unwrap();
    curl(&["-o", saved_text, &url("/big.bin")]).expect(0);
    assert!(
        fs::read(&saved).unwrap() == pattern(),
        "a download arrives unchanged"
    );
    curl(&["-o", saved_text, "-r", "1000000-1999999", &url("/big.bin")]).expect(0);
    assert!(
        fs::read(&saved).unwrap() == pattern()[1_000_000..2_000_000],
        "so does a range"
    );
}

#[test]
fn curl_uploads_large_bodies_in_every_coding() {
    let (dir, _nginx, _home, instance) = before_nginx();
    let source = dir.path().join("www/big.bin");
    let url = |name: &str| format!("http://{}/put/{name}", instance.front());
    let ways: [(&str, &[&str]); 4] = [
        ("length", &["-H", "Expect:"]),
        ("expect", &["-H", "Expect: 100-continue"]),
        (
            "chunked",
            &["-H", "Transfer-Encoding: chunked", "-H", "Expect:"],
        ),
        (
            "chunked-expect",
            &[
                "-H",
                "Transfer-Encoding: chunked",
                "-H",
                "Expect: 100-continue",
            ],
        ),
    ];
    for (name, more) in ways {
        let to = url(name);
        let mut all = vec![
            "-T",
            source.to_str().unwrap(),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ];
        all.extend(more);
        all.push(&to);
        assert_eq!(curl(&all).expect(0).out, "201", "{name}");
        let stored = fs::read(dir.path().join("www/put").join(name)).unwrap();
        assert!(stored == pattern(), "{name}: {} bytes", stored.len());
    }
}

#[test]
fn curl_keeps_one_connection_for_many_requests() {
    let (_dir, _nginx, _home, instance) = before_nginx();
    let url = format!("http://{}/hello?[1-20]", instance.front());
    let made = curl(&["-o", "/dev/null", "-w", "%{num_connects} ", &url])
        .expect(0)
        .out;
    assert_eq!(
        made.split_whitespace().filter(|n| *n == "1").count(),
        1,
        "{made}"
    );
    assert_eq!(
        made.split_whitespace().filter(|n| *n == "0").count(),
        19,
        "{made}"
    );
}

#[test]
fn wrk_sees_no_error() {
    let _alone = heavy();
    let (_dir, _nginx, _home, instance) = before_nginx();
    let url = format!("http://{}/hello", instance.front());
    let ran = run(Command::new("wrk").args(["-t1", "-c16", "-d3s", &url])).expect(0);
    assert!(!ran.out.contains("Socket errors"), "{}", ran.out);
    assert!(!ran.out.contains("Non-2xx"), "{}", ran.out);
    assert!(ran.out.contains("requests in"), "{}", ran.out);
}

const PYTHON_CLIENT: &str = r#"
import http.client, sys
host, port = sys.argv[1].rsplit(":", 1)
c = http.client.HTTPConnection(host, int(port), timeout=20)
sock = None
for n in range(50):
    c.request("GET", "/hello")
    r = c.getresponse()
    assert (r.status, r.read()) == (200, b"hello\n"), (n, r.status)
    assert sock is None or c.sock is sock, "a new connection"
    sock = c.sock
def parts():
    for n in range(200):
        yield b"%08d" % n * 100
c.request("PUT", "/put/python", body=parts(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
r = c.getresponse(); r.read()
assert r.status == 201, r.status
c.request("GET", "/put/python")
r = c.getresponse()
assert r.read() == b"".join(parts())
c.request("HEAD", "/hello")
r = c.getresponse()
assert (r.status, r.read()) == (200, b"")
c.request("GET", "/hello")
assert c.getresponse().read() == b"hello\n"
print("ok")
"#;

#[test]
fn python_http_client_keeps_its_connection_and_streams() {
    let (_dir, _nginx, _home, instance) = before_nginx();
    let front = instance.front().to_string();
    let ran = run(Command::new("python3").args(["-c", PYTHON_CLIENT, &front])).expect(0);
    assert_eq!(ran.out.trim(), "ok");
}

/// Concurrent keep-alive requests, a streamed upload, and a response that is read late.
const NODE_CLIENT: &str = r#"
const http = require("http");
const [host, port] = process.argv[1].split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const ask = (method, path, chunks) => new Promise((good, bad) => {
  const r = http.request({ host, port, path, method, agent }, (answer) => {
    const parts = [];
    answer.on("data", (d) => parts.push(d));
    answer.on("end", () => good({ status: answer.statusCode, body: Buffer.concat(parts).toString() }));
  });
  r.on("error", bad);
  for (const chunk of chunks || []) r.write(chunk);
  r.end();
});
(async () => {
  const many = await Promise.all(Array.from({ length: 100 }, (_, n) => ask("GET", "/n" + n)));
  many.forEach((a, n) => { if (a.status !== 200 || a.body !== "GET /n" + n + " 0") throw new Error(n + ": " + JSON.stringify(a)); });
  const up = await ask("POST", "/up", Array.from({ length: 64 }, () => Buffer.alloc(16384, 120)));
  if (up.body !== "POST /up " + 64 * 16384) throw new Error(up.body);
  console.log("ok");
  agent.destroy();
})().catch((e) => { console.error(e); process.exit(1); });
"#;

const NODE_ORIGIN: &str = r#"
const server = require("http").createServer((q, a) => {
  let n = 0;
  q.on("data", (d) => n += d.length);
  q.on("end", () => { a.write(q.method + " "); a.write(q.url + " "); a.end(String(n)); });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

/// `http.server` speaks HTTP/1.0 and closes after every answer.
const PYTHON_ORIGIN: &str = r#"
import http.server
class S(http.server.ThreadingHTTPServer):
    request_queue_size = 128
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (self.command + " " + self.path + " 0").encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        n = 0
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while True:
                size = int(self.rfile.readline(), 16)
                self.rfile.read(size); self.rfile.readline(); n += size
                if size == 0: break
        else:
            n = len(self.rfile.read(int(self.headers["content-length"])))
        body = (self.command + " " + self.path + " " + str(n)).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
s = S(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
"#;

/// Starts a server that prints its port.
fn serving(command: &mut Command) -> (Process, SocketAddr) {
    let mut process = Process::start(command.stdout(Stdio::piped()));
    let mut line = String::new();
    let out = process.0.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
    (process, address)
}

#[test]
fn node_and_python_origins_serve_a_node_client() {
    let (_node, node) = serving(Command::new("node").args(["-e", NODE_ORIGIN]));
    let (_python, python) = serving(Command::new("python3").args(["-c", PYTHON_ORIGIN]));
    for origin in [node, python] {
        let home = Home::new(&config(&[origin.to_string()], "", ""));
        let instance = home.start(&[]);
        let front = instance.front().to_string();
        let ran = run(Command::new("node").args(["-e", NODE_CLIENT, &front])).expect(0);
        assert_eq!(ran.out.trim(), "ok");
    }
}

#[test]
fn curl_reaches_a_unix_listener() {
    let origin = Origin::echoing();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("web.sock");
    let text = config(&[origin.text()], "", "").replace(
        "[listener.web]\naddress = \"127.0.0.1:0\"",
        &format!("[listener.web]\naddress = \"unix:{}\"", socket.display()),
    );
    let home = Home::new(&text);
    let _instance = home.start(&[]);
    let socket = socket.to_str().unwrap();
    let out = curl(&["--unix-socket", socket, "http://shop.test/x"])
        .expect(0)
        .out;
    assert!(out.starts_with("GET /x HTTP/1.1\r\n"), "{out}");
    assert!(
        out.to_ascii_lowercase().contains("host: shop.test\r\n"),
        "{out}"
    );
}
