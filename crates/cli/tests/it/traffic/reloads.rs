//! Many reloads under load: requests, long answers and tunnels go on as if nothing happened.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use crate::support::{Home, Instance, PATIENCE, heavy, long, stubs};
use crate::wire::{Conn, Honest, Origin, addresses, config};

/// Bytes of a long answer and of a tunnel that pass between two reloads.
const PART: usize = 1_000;

/// Answers `/long` a part at a time, whenever it is told to, and switches to an echo for an upgrade.
fn streams() -> (Origin, Sender<()>) {
    let (go, next) = channel::<()>();
    let next = std::sync::Mutex::new(next);
    let origin = Origin::start(move |conn| {
        while let Some(head) = conn.request() {
            if head.starts_with("GET /long ") {
                long_answer(conn, &next.lock().unwrap());
                return;
            }
            if head.starts_with("GET /chat ") {
                conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
                conn.echo();
                return;
            }
        }
    });
    (origin, go)
}

fn long_answer(conn: &mut Conn, next: &Receiver<()>) {
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while next.recv_timeout(PATIENCE).is_ok() {
        let part = "x".repeat(PART);
        if !conn.send(format!("{PART:x}\r\n{part}\r\n").as_bytes()) {
            return;
        }
    }
    conn.send(b"0\r\n\r\n");
}

/// Sends `request` and reads the head of what comes.
fn opened(instance: &Instance, request: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(instance.front()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{request}");
    }
    reader
}

fn part_of(reader: &mut impl std::io::Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

fn running(status: &Value) -> u64 {
    let id = status["revision"].as_str().unwrap();
    id.trim_start_matches('r').parse().unwrap()
}

#[test]
fn reloads_under_load_fail_no_request_and_cut_no_stream() {
    let _alone = heavy();
    let reloads = if long() { 1_000 } else { 50 };
    let (stubs, (origin, go)) = (stubs(), streams());
    let (backends, streaming) = (addresses(&stubs), origin.text());
    let text = |n: u64| {
        // What every connection and request has to do with changes, on both sides.
        let listener = format!("idle_timeout = \"{}s\"", 60 + n % 7);
        let pool = format!("connect_timeout = \"{}ms\"", 1_000 + n);
        let all = config(&backends, &listener, &pool);
        let (front, all) = all.split_once("[[route]]").unwrap();
        let route = |path| {
            format!("[[route]]\nlistener = \"web\"\npath = \"{path}\"\npool = \"streams\"\n")
        };
        let (long, chat) = (route("/long"), route("/chat"));
        format!(
            "{front}{long}{chat}[[route]]{all}[pool.streams]\nresponse_timeout = \"{}s\"\n\
            [pool.streams.backend.one]\naddress = \"{streaming}\"\n",
            30 + n % 7
        )
    };
    let home = Home::new(&text(0));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 200.0);
    let mut answer = opened(&instance, "GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    let chat =
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut chat = opened(&instance, chat);
    let ping = vec![b'p'; PART];
    for n in 1..=reloads {
        home.write("evenkeel.toml", &text(n));
        instance.signal("HUP");
        let revision = n + 1;
        instance.when("the reload", PATIENCE, |status| running(status) == revision);
        instance
            .cli(&["confirm", &format!("r{revision}")])
            .expect(0);
        go.send(()).unwrap();
        let chunk = part_of(&mut answer, PART + format!("{PART:x}\r\n\r\n").len());
        assert!(chunk.ends_with(b"xxx\r\n"));
        chat.get_mut().write_all(&ping).unwrap();
        assert_eq!(part_of(&mut chat, PART), ping);
    }
    drop(go);
    assert_eq!(part_of(&mut answer, 5), b"0\r\n\r\n");
    let served = traffic.unharmed();
    assert!(served > reloads, "{served}");
    assert_eq!(running(&instance.status()), reloads + 1);
}
