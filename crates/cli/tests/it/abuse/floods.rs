//! Floods by clients, each beside honest traffic on the same listener: memory stays bounded, nobody honest fails, and in
//! the long run their slowest hundredth waits at most twice as long as before the flood.
//!
//! Every flood is paced (one blow a millisecond for each of its threads): what is tested is what a blow costs the
//! balancer, not who gets the two cores of the machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::endless::rss_kib;
use crate::support::{Home, Instance, heavy, long, pause, stubs};
use crate::wire::{Honest, addresses, config, connect};

/// Most that the process may grow by under any of the floods.
const GROWTH_MAX_KIB: u64 = 48 * 1_024;
/// Threads of a flood.
const THREADS: usize = 4;
/// Below it a difference is the machine's.
const NOISE_US: u64 = 2_000;

/// What a thread of a flood does to `to` once; the number of the blow comes with it.
type Blow = fn(to: SocketAddr, held: &mut Vec<TcpStream>, number: u64);

struct Flooded {
    blows: u64,
    grown_kib: u64,
    quiet_us: u64,
    loud_us: u64,
}

/// Honest traffic for a while, then the same beside `blow` from several threads.
fn flood(blow: Blow) -> Flooded {
    let _alone = heavy();
    let time = Duration::from_secs(if long() { 15 } else { 3 });
    let stubs = stubs();
    let keys = "protocols = [\"http/1.1\", \"h2\"]\nhead_timeout = \"2s\"";
    let home = Home::new(&config(&addresses(&stubs), keys, ""));
    let instance = home.start(&[]);
    let front = instance.front();
    let quiet_us = honest(&instance, time).1;
    let before = rss_kib(&instance);
    let (stop, blows) = (AtomicBool::new(false), AtomicU64::new(0));
    let (most, loud_us) = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    blow(front, &mut held, blows.fetch_add(1, Ordering::Relaxed));
                    pause(Duration::from_millis(1));
                }
            });
        }
        let told = honest(&instance, time);
        stop.store(true, Ordering::Relaxed);
        told
    });
    Flooded {
        blows: blows.into_inner(),
        grown_kib: most.saturating_sub(before),
        quiet_us,
        loud_us,
    }
}

/// Honest traffic for `time`: none of it fails. The most memory meanwhile, and the 99th percentile of its latency.
fn honest(instance: &Instance, time: Duration) -> (u64, u64) {
    let honest = Honest::start(instance.front(), 100.0);
    let mut most = 0;
    for _ in 0..20 {
        pause(time / 20);
        most = most.max(rss_kib(instance));
    }
    let p99 = honest.p99_us();
    honest.unharmed();
    (most, p99)
}

#[track_caller]
fn is_borne(what: &str, blow: Blow, blows_min: u64) {
    let told = flood(blow);
    let Flooded {
        blows,
        grown_kib,
        quiet_us,
        loud_us,
    } = told;
    let figures = format!(
        "{what}: {blows} blows, {grown_kib} KiB more, p99 {quiet_us} us quiet, {loud_us} us flooded"
    );
    assert!(blows >= blows_min, "{figures}");
    assert!(grown_kib < GROWTH_MAX_KIB, "{figures}");
    if long() {
        assert!(loud_us < 2 * quiet_us + NOISE_US, "{figures}");
    }
}

#[test]
fn connections_that_come_and_go_at_once_harm_nobody() {
    fn blow(to: SocketAddr, _: &mut Vec<TcpStream>, _: u64) {
        drop(TcpStream::connect(to));
    }
    is_borne("connections", blow, 500);
}

#[test]
fn heads_that_come_byte_by_byte_on_many_connections_harm_nobody() {
    fn blow(to: SocketAddr, held: &mut Vec<TcpStream>, number: u64) {
        if held.len() < 200 {
            held.push(connect(to));
        }
        let index = number as usize % held.len();
        // Who is refused for being late begins anew.
        if held[index].write_all(b"G").is_err() {
            held.swap_remove(index);
        }
    }
    is_borne("slow heads", blow, 500);
}

#[test]
fn heads_far_beyond_the_bound_harm_nobody() {
    fn blow(to: SocketAddr, _: &mut Vec<TcpStream>, _: u64) {
        let mut stream = connect(to);
        drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n"));
        let bomb = format!("X-Bomb: {}\r\n", "a".repeat(4_000)).repeat(16);
        drop(stream.write_all(bomb.as_bytes()));
        drop(stream.read(&mut [0; 1_024]));
    }
    is_borne("header bombs", blow, 200);
}

/// HTTP/2: the preface and empty settings.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

#[test]
fn requests_that_are_taken_back_as_soon_as_they_are_made_harm_nobody() {
    fn blow(to: SocketAddr, _: &mut Vec<TcpStream>, _: u64) {
        let mut stream = connect(to);
        let mut bytes = BEGIN.to_vec();
        // GET, http, / and an authority of one letter, in indexed fields; then CANCEL.
        let ask = [0x82, 0x86, 0x84, 0x41, 0x01, b'x'];
        for n in 0..400 {
            bytes.extend(frame(1, 0x5, 2 * n + 1, &ask));
            bytes.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
        }
        drop(stream.write_all(&bytes));
        drop(stream.read(&mut [0; 4_096]));
    }
    is_borne("rapid reset", blow, 100);
}

#[test]
fn header_blocks_that_do_not_end_harm_nobody() {
    fn blow(to: SocketAddr, _: &mut Vec<TcpStream>, _: u64) {
        let mut stream = connect(to);
        let mut bytes = BEGIN.to_vec();
        bytes.extend(frame(1, 0x1, 1, &[0x82, 0x86, 0x84]));
        for _ in 0..200 {
            bytes.extend(frame(9, 0, 1, &[0x41, 0x01, b'x'].repeat(100)));
        }
        drop(stream.write_all(&bytes));
        drop(stream.read(&mut [0; 4_096]));
    }
    is_borne("CONTINUATION", blow, 100);
}
