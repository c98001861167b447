//! Web sockets through the real binary: the `websockets` package of Python on both sides, none of it written here.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::support::{Home, Instance, PATIENCE, Process, request, run, until};
use crate::wire::config;

/// The interpreter that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

/// Sends back what it gets, says who asked first, and pings.
const SERVER: &str = r#"
import asyncio, websockets
async def serve(ws):
    await ws.send(ws.request_headers["X-Forwarded-For"] + " " + ws.path)
    async for message in ws:
        await ws.send(message)
async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, max_size=None, ping_interval=0.2) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

/// Texts, bytes beyond every buffer, many at once, a close with its code.
const CLIENT: &str = r#"
import asyncio, os, sys, websockets
front = sys.argv[1]
async def one(n):
    url = "ws://%s/chat/%d?x=1" % (front, n)
    async with websockets.connect(url, max_size=None, open_timeout=30, ping_interval=0.2) as ws:
        assert await ws.recv() == "127.0.0.1 /chat/%d?x=1" % n
        await ws.send("hello %d" % n)
        assert await ws.recv() == "hello %d" % n
        big = os.urandom(1 << 20)
        await ws.send(big)
        assert await ws.recv() == big
        for k in range(50):
            await ws.send(str(k))
        for k in range(50):
            assert await ws.recv() == str(k)
        await ws.close(4001, "done")
        assert (ws.close_code, ws.close_reason) == (4001, "done")
async def main():
    await asyncio.gather(*(one(n) for n in range(8)))
    print("ok")
asyncio.run(main())
"#;

/// Stays, says so, and tells how it ended.
const STAYS: &str = r#"
import asyncio, sys, websockets
async def main():
    async with websockets.connect("ws://%s/stay" % sys.argv[1]) as ws:
        await ws.recv()
        print("open", flush=True)
        for line in sys.stdin:
            await ws.send(line.strip())
            print(await ws.recv(), flush=True)
asyncio.run(main())
"#;

fn server() -> (Process, SocketAddr) {
    let mut process = Process::start(
        Command::new(PYTHON)
            .args(["-c", SERVER])
            .stdout(Stdio::piped()),
    );
    let mut line = String::new();
    let out = process.0.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
    (process, address)
}

/// The first sample whose line begins with `name`.
fn metric(instance: &Instance, name: &str) -> Option<f64> {
    let admin = instance.admin;
    let text = request(
        admin,
        &format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"),
    )
    .1;
    let line = text.lines().find(|line| line.starts_with(name));
    line?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn web_sockets_of_python_pass_and_are_counted() {
    let (_server, address) = server();
    let home = Home::new(&config(&[address.to_string()], "", ""));
    let instance = home.start(&[]);
    let front = instance.front().to_string();
    let ran = run(Command::new(PYTHON).args(["-c", CLIENT, &front])).expect(0);
    assert_eq!(ran.out.trim(), "ok");
    until("the tunnels are counted and over", PATIENCE, || {
        let opened = metric(&instance, "evenkeel_tunnels_total");
        let open = metric(&instance, "evenkeel_tunnels_open");
        let bytes = metric(&instance, "evenkeel_tunnel_bytes_total");
        let much = bytes.is_some_and(|bytes| bytes > f64::from(8 << 20));
        (opened == Some(8.0) && open == Some(0.0) && much).then_some(())
    });
}

#[test]
fn a_web_socket_lives_through_an_apply_and_ends_with_the_drain_of_its_backend() {
    use std::io::Write as _;
    let (_server, address) = server();
    let (_other, other) = server();
    let both = [address.to_string(), other.to_string()];
    let text = |more: &str| config(&both, "", &format!("tunnel_drain = \"300ms\"\n{more}"));
    let home = Home::new(&text(""));
    let instance = home.start(&[]);
    let front = instance.front().to_string();
    let mut stays = Command::new(PYTHON)
        .args(["-c", STAYS, &front])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = stays.stdin.take().unwrap();
    let mut said = BufReader::new(stays.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "open");
    let new = home.write("new.toml", &text("response_timeout = \"14s\""));
    instance
        .cli(&[
            "apply",
            new.to_str().unwrap(),
            "--yes",
            "--wait",
            "0s",
            "--reason",
            "x",
        ])
        .expect(0);
    writeln!(input, "still here").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "still here");
    let open = |n: u32| {
        metric(
            &instance,
            &format!("evenkeel_tunnels_open{{pool=\"shop\",backend=\"web-{n}\"}}"),
        )
    };
    let held = until("the tunnel is counted", PATIENCE, || {
        (1..=2).find(|n| open(*n) == Some(1.0))
    });
    let backend = format!("shop/web-{held}");
    instance
        .cli(&["drain", &backend, "--force", "--reason", "x"])
        .expect(0);
    until("the tunnel has ended", PATIENCE, || {
        (open(held) == Some(0.0)).then_some(())
    });
    drop(input);
    stays.wait().unwrap();
}
