//! Clients that are slow, that do not read, that are many: each costs a bounded amount and nobody else anything.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::abuse::endless::rss_kib;
use crate::support::{Home, Instance, PATIENCE, heavy, pause, stubs, until};
use crate::wire::{Honest, Origin, addresses, config, connect, get, to_the_end};

#[test]
fn a_head_that_does_not_come_in_time_is_408() {
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "head_timeout = \"1s\"", ""));
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    let mut silent = connect(instance.front());
    silent.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").unwrap();
    let answer = to_the_end(&mut silent);
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.field("x-evenkeel-error"), Some("head_timeout"));
    // A byte now and then does not buy more time.
    let (mut drip, started) = (connect(instance.front()), Instant::now());
    let mut cut = false;
    for byte in b"GET / HTTP/1.1\r\nhost: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" {
        cut = drip.write_all(&[*byte]).is_err();
        if cut || started.elapsed() > Duration::from_secs(4) {
            break;
        }
        pause(Duration::from_millis(150));
    }
    assert!(cut || to_the_end(&mut drip).status() == 408);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    honest.unharmed();
}

#[test]
fn a_request_body_that_stops_is_408_and_frees_the_backend() {
    let origin = Origin::start(|conn| {
        while conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let home = Home::new(&config(&[origin.text()], "body_timeout = \"1s\"", ""));
    let instance = home.start(&[]);
    let mut stream = connect(instance.front());
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello")
        .unwrap();
    let answer = to_the_end(&mut stream);
    assert_eq!(answer.status(), 408, "{answer:?}");
    instance.when("nothing is in flight", PATIENCE, |s| {
        s["pools"][0]["backends"][0]["in_flight"] == 0
    });
}

#[test]
fn clients_that_do_not_read_are_cut_off_and_cost_little_memory() {
    let _alone = heavy();
    let big = Origin::start(|conn| {
        let block = vec![b'x'; 1 << 16];
        while conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 268435456\r\n\r\n");
            for _block in 0..4_096 {
                if !conn.send(&block) {
                    return;
                }
            }
        }
    });
    let stubs = stubs();
    let mut text = config(&addresses(&stubs), "", "");
    let more = format!(
        "[listener.big]\naddress = \"127.0.0.1:0\"\nwrite_timeout = \"2s\"\n[[route]]\nlistener = \"big\"\n\
         path_prefix = \"/\"\npool = \"big\"\n[pool.big.backend.one]\naddress = \"{}\"\n",
        big.text()
    );
    text += &more;
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 100.0);
    let to: SocketAddr = instance.listeners[1].1.parse().unwrap();
    pause(Duration::from_secs(1));
    let before = rss_kib(&instance);
    let mut clients: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connect(to);
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    let in_flight = |s: &serde_json::Value| s["pools"][1]["backends"][0]["in_flight"].clone();
    let mut most = 0;
    let deadline = Instant::now() + PATIENCE;
    instance.when("all were taken on", PATIENCE, |s| in_flight(s) != 0);
    while in_flight(&instance.status()) != 0 {
        most = most.max(rss_kib(&instance));
        assert!(Instant::now() < deadline, "they are not cut off");
        pause(Duration::from_millis(100));
    }
    // 50 responses of 256 MiB each: 12.5 GiB if they were held.
    let grown = most.saturating_sub(before);
    assert!(
        grown < 32 * 1024,
        "{grown} KiB for 50 clients ({before} before)"
    );
    for client in &mut clients {
        let mut sink = Vec::new();
        let short = client.read_to_end(&mut sink);
        let cut = short.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset);
        assert!(cut || sink.len() < 268_435_456, "it must not look complete");
    }
    honest.unharmed();
}

#[test]
fn a_flood_of_idle_clients_stops_at_connections_max_and_is_over_when_they_go() {
    let _alone = heavy();
    let stubs = stubs();
    let mut text = config(&addresses(&stubs), "", "");
    text += "[listener.crowded]\naddress = \"127.0.0.1:0\"\nconnections_max = 200\nhead_timeout = \"3s\"\n\
             [[route]]\nlistener = \"crowded\"\npath_prefix = \"/\"\npool = \"shop\"\n";
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 100.0);
    let to: SocketAddr = instance.listeners[1].1.parse().unwrap();
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(to);
            stream.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
            stream
        })
        .collect();
    let turned_away = until(
        "the next one is turned away",
        Duration::from_secs(2),
        || Some(get(to, "/")).filter(|answer| answer.text.is_empty() || answer.status() != 200),
    );
    if !turned_away.text.is_empty() {
        assert_eq!(turned_away.status(), 503, "{turned_away:?}");
    }
    // The other listener has room of its own, and head_timeout clears the crowd.
    assert_eq!(get(instance.front(), "/").status(), 200);
    for stream in &mut slow {
        assert_eq!(to_the_end(stream).status(), 408);
    }
    until("there is room again", PATIENCE, || {
        (get(to, "/").status() == 200).then_some(())
    });
    honest.unharmed();
}

#[test]
fn clients_that_vanish_at_every_stage_leave_nothing_behind() {
    let _alone = heavy();
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "", ""));
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 100.0);
    let whole = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n0123456789GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let files = || {
        std::fs::read_dir(format!("/proc/{}/fd", instance.pid()))
            .unwrap()
            .count()
    };
    for round in 0..3 {
        for sent in 0..whole.len() {
            let mut stream = connect(instance.front());
            stream.write_all(&whole[..sent]).unwrap();
            if (sent + round) % 2 == 0 {
                // A reset in place of an orderly end.
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
    }
    honest.unharmed();
    instance.when("nothing is in flight", PATIENCE, |s| {
        let backends = s["pools"][0]["backends"].as_array().unwrap();
        backends.iter().all(|b| b["in_flight"] == 0)
    });
    until("the connections are gone", PATIENCE, || {
        (files() < 150).then_some(())
    });
}

#[test]
fn a_crowd_of_clients_never_takes_the_descriptors_of_checks_and_operator() {
    let stubs = stubs();
    let health = "[pool.shop.health]\npath = \"/healthz\"\ninterval = \"200ms\"\nfall = 1\n";
    let home = Home::new(&config(&addresses(&stubs), "head_timeout = \"4s\"", health));
    let mut command = Command::new("sh");
    command
        .current_dir(home.dir())
        .args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["run", "evenkeel.toml", "--data", "data"]);
    let instance = Instance::start(&mut command, &home);
    assert!(instance.log().contains("open files"), "{}", instance.log());
    let mut crowd: Vec<TcpStream> = (0..200).map(|_| connect(instance.front())).collect();
    for stream in &mut crowd {
        // Those beyond the room were turned away by now.
        drop(stream.write_all(b"GET / HT"));
    }
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let status = instance.status();
        let backends = status["pools"][0]["backends"].as_array().unwrap();
        assert!(backends.iter().all(|b| b["health"] != "down"), "{status}");
        pause(Duration::from_millis(200));
    }
    drop(crowd);
    until("there is room again", PATIENCE, || {
        (get(instance.front(), "/").status() == 200).then_some(())
    });
}
