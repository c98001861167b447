//! Against hyper: whatever is accepted here, hyper must accept with the same meaning and body, both
//! as it came and as it is forwarded. The other way round does not hold and is not meant to.
//!
//! Known exception: HTTP/1.2 to 1.9, which hyper refuses as they came.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tables of cases; helpers of tests report by panicking"
)]

use std::cell::RefCell;
use std::rc::Rc;

use evenkeel_http1::{
    BodyDecoder, BodyLength, ClientFields, Limits, Method, RequestHead, RequestRewrite,
    ResponseHead, Scheme, Trust, parse_request, parse_response, write_chunk, write_last_chunk,
    write_request_head,
};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Room for whole messages, so that neither side of the pipe ever waits.
const PIPE: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    body: Vec<u8>,
}

/// The first request a hyper server reads out of `bytes`, if it reads it to its end.
async fn hyper_reads(bytes: &[u8]) -> Option<Seen> {
    let (mut client, server) = tokio::io::duplex(PIPE);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let seen = Rc::new(RefCell::new(None));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (method, target) = (request.method().to_string(), request.uri().to_string());
            let body = request.into_body().collect().await?.to_bytes().to_vec();
            seen.borrow_mut().get_or_insert(Seen {
                method,
                target,
                body,
            });
            Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::new())))
        }
    });
    // The connection ends with an error whenever hyper refuses something; `seen` says how far it got.
    let _end = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service)
        .await;
    seen.take()
}

/// The body behind a head, if it is complete.
fn body(length: BodyLength, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BodyDecoder::new(length, &Limits::default());
    let (mut payload, mut at) = (Vec::new(), 0);
    while !decoder.is_done() && at < bytes.len() {
        let step = decoder.decode(&bytes[at..]).ok()?;
        payload.extend_from_slice(&bytes[at..][step.data.clone()]);
        at += step.consumed;
    }
    decoder.end_of_input().ok().map(|()| payload)
}

/// Our reading of `bytes`, and the message as it would be forwarded.
fn we_read(bytes: &[u8]) -> Option<(Seen, Vec<u8>)> {
    let mut head = RequestHead::default();
    let end = parse_request(bytes, &Limits::default(), &mut head).ok()??;
    let body = body(head.body, &bytes[end..])?;
    let query = head
        .query(bytes)
        .map(|q| format!("?{q}"))
        .unwrap_or_default();
    let target = format!("{}{query}", head.path(bytes));
    let client = ClientFields::new(None, Scheme::Http, Trust::Replace, "x");
    let with = RequestRewrite {
        client: &client,
        request_id: "1",
        host: None,
        path: None,
        expect_continue: false,
        upgrade: None,
        strip: &[],
        extra: &[],
    };
    let mut out = Vec::new();
    write_request_head(&mut out, &head, &bytes[..end], &with);
    if head.body == BodyLength::Chunked {
        write_chunk(&mut out, &body);
        write_last_chunk(&mut out, b"");
    } else {
        out.extend_from_slice(&body);
    }
    Some((
        Seen {
            method: head.method_text(bytes).to_owned(),
            target,
            body,
        },
        out,
    ))
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![4 => Just("GET"), 4 => Just("POST"), 1 => Just("OPTIONS"), 1 => Just("M-SEARCH"), 1 => Just("get")];
    let target = prop_oneof![
        4 => "/[!-~]{0,12}",
        2 => "/[a-z0-9/.%]{0,12}",
        1 => Just("http://b".to_owned()),
        1 => "http://b/[!-~]{0,6}",
        1 => Just("*".to_owned()),
    ];
    let version =
        prop_oneof![12 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/1.1 ")];
    let end =
        || prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just(" \r\n")];
    let known = prop::sample::select(vec![
        "Content-Length: 5",
        "Content-Length: 5",
        "Content-Length: 005",
        "Content-Length: 5, 5",
        "content-length: +5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "transfer-encoding: Chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\tchunked",
        "Expect: 100-continue",
        "Connection: close",
        "Connection: keep-alive, X",
        "Connection: Transfer-Encoding",
        "Connection: Content-Length",
        "Upgrade: h2c",
        "Content_Length: 9",
        "TE: trailers",
        "Host: b",
        "X:",
        " fold",
    ]);
    let field = prop_oneof![3 => known.prop_map(str::to_owned), 2 => "[A-Za-z-]{1,6}:[ -~\t]{0,8}", 1 => "[ -~]{0,8}"];
    let fields = prop::collection::vec((field, end()), 0..3);
    let piece = prop::sample::select(vec![
        "5\r\nhello\r\n",
        "5\r\nhello\r\n",
        "5;a=\"b\"\r\nhello\r\n",
        "0A\r\nhelloworld\r\n",
        "1 \r\nx\r\n",
        "1\nx\n",
        "0\r\n",
        "\r\n",
        "X: y\r\n",
        "Host: c\r\n",
        "X: y\n",
    ]);
    let chunks = prop::collection::vec(piece, 0..4).prop_map(|p| p.concat() + "0\r\n\r\n");
    let body = prop_oneof![2 => Just("hello".to_owned()), 3 => chunks, 1 => "[ -~]{0,8}"];
    (method, target, version, end(), fields, end(), body).prop_map(
        |(method, target, version, line_end, fields, head_end, body)| {
            let fields: String = fields.into_iter().map(|(field, end)| field + end).collect();
            format!("{method} {target} {version}{line_end}Host: a\r\n{fields}{head_end}{body}")
                .into_bytes()
        },
    )
}

/// Runs `test` on many inputs and returns how many were accepted by us.
fn run<T: std::fmt::Debug>(
    cases: u32,
    strategy: &impl Strategy<Value = T>,
    test: impl Fn(&tokio::runtime::Runtime, &T) -> Result<bool, TestCaseError>,
) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let accepted = RefCell::new(0u32);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(strategy, |input| {
        *accepted.borrow_mut() += u32::from(test(&runtime, &input)?);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    accepted.into_inner()
}

#[test]
fn hyper_accepts_what_is_accepted_here_and_reads_the_same() {
    let accepted = run(8000, &request(), |runtime, bytes| {
        let Some((ours, forwarded)) = we_read(bytes) else {
            return Ok(false);
        };
        let shown = bytes.escape_ascii();
        let received = runtime.block_on(hyper_reads(bytes));
        let received =
            received.ok_or_else(|| TestCaseError::fail(format!("hyper refuses {shown}")))?;
        prop_assert_eq!(&received.method, &ours.method, "{}", shown);
        prop_assert_eq!(&received.body, &ours.body, "{}", shown);
        let relayed = runtime.block_on(hyper_reads(&forwarded));
        let forwarded = forwarded.escape_ascii();
        let relayed = relayed.ok_or_else(|| {
            TestCaseError::fail(format!("hyper refuses the forwarded {forwarded}"))
        })?;
        prop_assert_eq!(relayed, ours, "{}", forwarded);
        Ok(true)
    });
    // Otherwise the generator makes nothing but rubbish and the test says nothing.
    assert!(accepted > 400, "only {accepted} accepted");
}

/// The response a hyper client reads out of `bytes` as an answer to GET.
async fn hyper_client_reads(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (client, mut server) = tokio::io::duplex(PIPE);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
        .await
        .ok()?;
    let request = hyper::Request::get("/")
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        drop(sender);
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .ok()?
            .to_bytes()
            .to_vec();
        Some((status, body))
    };
    // hyper takes bytes that arrive before its request as an error, so the answer waits for it.
    let answer = async {
        let mut request = [0; 256];
        let _some = server.read(&mut request).await.ok()?;
        server.write_all(bytes).await.ok()?;
        server.shutdown().await.ok()
    };
    tokio::join!(exchange, connection, answer).0
}

/// Our reading, 1xx skipped.
fn we_read_response(mut bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut head = ResponseHead::default();
    loop {
        let end = parse_response(bytes, Method::Get, &Limits::default(), &mut head).ok()??;
        bytes = &bytes[end..];
        if !head.informational {
            return Some((head.status, body(head.body, bytes)?));
        }
    }
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    let lead = prop_oneof![6 => Just(""), 1 => Just("HTTP/1.1 100 Continue\r\n\r\n"), 1 => Just("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")];
    let line = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 205 Reset",
        "HTTP/1.1 999 X",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 500 \u{e9}",
    ]);
    let end = || prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just(" \r\n")];
    let known = prop::sample::select(vec![
        "Content-Length: 5",
        "Content-Length: 5",
        "Content-Length: 005",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Connection: close",
        "Connection: keep-alive",
        "Set-Cookie: a",
        "X:",
    ]);
    let field = prop_oneof![3 => known.prop_map(str::to_owned), 1 => "[A-Za-z-]{1,6}:[ -~\t]{0,8}"];
    let fields = prop::collection::vec((field, end()), 0..4);
    let body = prop::sample::select(vec![
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "5\r\nhello\r\n",
        "",
    ]);
    (lead, line, end(), fields, end(), body).prop_map(
        |(lead, line, line_end, fields, head_end, body)| {
            let fields: String = fields.into_iter().map(|(field, end)| field + end).collect();
            format!("{lead}{line}{line_end}{fields}{head_end}{body}").into_bytes()
        },
    )
}

#[test]
fn hyper_reads_the_same_responses() {
    let accepted = run(6000, &response(), |runtime, bytes| {
        let Some(ours) = we_read_response(bytes) else {
            return Ok(false);
        };
        let read = runtime.block_on(hyper_client_reads(bytes));
        prop_assert_eq!(read, Some(ours), "{}", bytes.escape_ascii());
        Ok(true)
    });
    assert!(accepted > 400, "only {accepted} accepted");
}
