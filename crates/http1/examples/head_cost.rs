//! Reads and forwards the same request and response many times, to be counted with callgrind:
//! `valgrind --tool=callgrind --toggle-collect='*measured*' target/release/examples/head_cost 10h`.
//!
//! `min` is a request with Host only, `10h` one with ten browser fields, `response` an answer with
//! four fields, `chunked` a body of 16 chunks of 64 bytes. The second argument is how often.
#![expect(clippy::print_stdout, reason = "an example reports what it did")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use evenkeel_http1::{
    BodyDecoder, BodyLength, ClientFields, Limits, Method, RequestHead, RequestRewrite,
    ResponseHead, ResponseRewrite, Scheme, Trust, Version, parse_request, parse_response,
    write_chunk, write_last_chunk, write_request_head, write_response_head,
};

const MIN: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const BROWSER: &[u8] = b"GET /products/42?ref=home HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nReferer: http://shop.example/\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\nCache-Control: max-age=0\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 22 Nov 2026 16:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 42\r\n\r\n";

/// Kept apart so that callgrind can count it alone.
#[inline(never)]
fn measured(mut round: impl FnMut() -> usize, rounds: u32) -> usize {
    (0..rounds).fold(0, |sum, _| sum.wrapping_add(black_box(round())))
}

fn forward(bytes: &[u8], rounds: u32) -> usize {
    let limits = Limits::default();
    let client = ClientFields::new(
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Scheme::Http,
        Trust::Replace,
        "evenkeel",
    );
    let with = RequestRewrite {
        client: &client,
        request_id: "0123456789abcdef",
        host: None,
        path: None,
        expect_continue: false,
        upgrade: None,
        strip: &[],
        extra: &[],
    };
    let (mut head, mut out) = (RequestHead::default(), Vec::with_capacity(4096));
    let mut round = || {
        out.clear();
        if matches!(
            parse_request(black_box(bytes), &limits, &mut head),
            Ok(Some(_))
        ) {
            write_request_head(&mut out, &head, bytes, &with);
        }
        out.len()
    };
    // The first round fills the tables that later ones reuse.
    round();
    measured(round, rounds)
}

fn answer(rounds: u32) -> usize {
    let limits = Limits::default();
    let with = ResponseRewrite {
        client_version: Version::Http11,
        keep_alive: true,
        pseudonym: "evenkeel",
        request_id: "0123456789abcdef",
        upgrade: None,
        strip: &["endpoint-load-metrics"],
        extra: &[],
    };
    let (mut head, mut out) = (ResponseHead::default(), Vec::with_capacity(4096));
    let mut round = || {
        out.clear();
        if matches!(
            parse_response(black_box(RESPONSE), Method::Get, &limits, &mut head),
            Ok(Some(_))
        ) {
            write_response_head(&mut out, &head, RESPONSE, &with);
        }
        out.len()
    };
    round();
    measured(round, rounds)
}

fn chunked(rounds: u32) -> usize {
    let mut body = Vec::new();
    (0..16).for_each(|_| write_chunk(&mut body, &[b'x'; 64]));
    write_last_chunk(&mut body, b"");
    let limits = Limits::default();
    let round = || {
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
        let (mut at, mut payload) = (0, 0);
        while let Ok(step) = decoder.decode(black_box(body.get(at..).unwrap_or_default())) {
            payload += step.data.len();
            at += step.consumed;
            if step.done || step.consumed == 0 {
                break;
            }
        }
        payload
    };
    measured(round, rounds)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_else(|| "min".to_owned());
    let rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let bytes = match what.as_str() {
        "10h" => forward(BROWSER, rounds),
        "response" => answer(rounds),
        "chunked" => chunked(rounds),
        _ => forward(MIN, rounds),
    };
    println!("{what}: {rounds} rounds, {bytes} bytes");
}
