//! What must hold for any bytes: the way a message is cut into reads changes nothing, nothing is
//! consumed past a message, what is written is read back, and no input panics.

use evenkeel_http1::{
    BodyDecoder, BodyError, BodyLength, ClientFields, Limits, Method, Refusal, RequestHead,
    RequestRewrite, ResponseHead, ResponseRewrite, Scheme, Trust, Version, parse_request,
    parse_response, write_chunk, write_last_chunk, write_request_head, write_response_head,
};
use proptest::prelude::*;

/// Parses with reads that end at `cuts`; the verdict and how many bytes are the head.
fn parse_in_reads(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, Refusal> {
    let mut head = RequestHead::default();
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    for end in ends {
        let result = parse_request(&bytes[..end], &Limits::default(), &mut head);
        if result != Ok(None) {
            return result;
        }
    }
    Ok(None)
}

/// Payload, trailers and bytes consumed, or the error after the payload before it.
type Decoded = (Vec<u8>, Result<(Vec<u8>, usize), BodyError>);

fn decode_in_reads(length: BodyLength, bytes: &[u8], cuts: &[usize]) -> Decoded {
    let mut decoder = BodyDecoder::new(length, &Limits::default());
    let (mut payload, mut at) = (Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    for end in ends {
        while at < end && !decoder.is_done() {
            match decoder.decode(&bytes[at..end]) {
                Ok(step) => {
                    assert!(
                        step.consumed > 0
                            && step.data.end <= step.consumed
                            && at + step.consumed <= end
                    );
                    payload.extend_from_slice(&bytes[at..end][step.data.clone()]);
                    at += step.consumed;
                }
                Err(error) => return (payload, Err(error)),
            }
        }
    }
    let result = if decoder.is_done() {
        Ok((decoder.trailers().to_vec(), at))
    } else {
        Err(BodyError::Truncated)
    };
    (payload, result)
}

/// Pieces of which requests, good and bad, are made; random bytes alone never get far.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: [&'static [u8]; 26] = [
        b"GET ",
        b"POST ",
        b"/",
        b"/a?b",
        b"http://b/x",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b" HTTP/1.4\r\n",
        b"Host: a\r\n",
        b"Host: a\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: y\r\n",
        b"X:\r\n",
        b"Connection: X, close\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"%00",
        b"#",
        b"Expect: 100-continue\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
    ];
    prop_oneof![
        12 => prop::sample::select(known.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(piece(), 0..14).prop_map(|p| p.concat()),
        prop::collection::vec(piece(), 0..8).prop_map(|p| [
            b"POST /x HTTP/1.1\r\nHost: a\r\n".to_vec(),
            p.concat(),
            b"\r\n".to_vec()
        ]
        .concat()),
    ]
}

fn chunk_soup() -> impl Strategy<Value = Vec<u8>> {
    let known: [&'static [u8]; 15] = [
        b"5\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"1\r\nx\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"5",
        b" ",
        b";",
        b"Host: a\r\n",
        b"000",
        b"hello",
    ];
    let piece = prop_oneof![
        12 => prop::sample::select(known.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|p| p.concat())
}

fn name() -> impl Strategy<Value = String> {
    // The prefix keeps names apart from those that are dropped.
    "[A-Za-z0-9_-]{0,12}".prop_map(|n| format!("Q-{n}"))
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<usize>(), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn cutting_a_request_head_into_reads_changes_nothing(soup in soup(), cuts in cuts()) {
        // The fault of an incomplete head may be reported as late as its end; so every head ends.
        let bytes = [soup, b"\r\n\r\n".to_vec()].concat();
        let whole = parse_in_reads(&bytes, &[]);
        prop_assert_eq!(parse_in_reads(&bytes, &cuts), whole);
        if let Ok(Some(end)) = whole {
            prop_assert!(bytes[..end].ends_with(b"\r\n\r\n"));
            prop_assert_eq!(parse_in_reads(&bytes[..end], &[]), whole, "needs bytes behind the head");
            prop_assert!(!matches!(parse_in_reads(&bytes[..end - 1], &[]), Ok(Some(_))));
        }
    }

    #[test]
    fn cutting_a_chunked_body_into_reads_changes_nothing(bytes in chunk_soup(), cuts in cuts()) {
        let whole = decode_in_reads(BodyLength::Chunked, &bytes, &[]);
        prop_assert_eq!(decode_in_reads(BodyLength::Chunked, &bytes, &cuts), whole.clone());
        if let Ok((_, end)) = whole.1 {
            prop_assert_eq!(decode_in_reads(BodyLength::Chunked, &bytes[..end], &[]), whole, "needs bytes behind the body");
        }
    }

    #[test]
    fn a_fixed_body_takes_its_bytes_and_no_more(length in 0u64..40, bytes in prop::collection::vec(any::<u8>(), 0..60), cuts in cuts()) {
        let (payload, result) = decode_in_reads(BodyLength::Fixed(length), &bytes, &cuts);
        let expected = bytes.len().min(length as usize);
        prop_assert_eq!(payload.as_slice(), &bytes[..expected]);
        prop_assert_eq!(result.is_ok(), bytes.len() as u64 >= length);
    }

    #[test]
    fn chunks_written_are_read_back(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..6),
        cuts in cuts(),
        rest in prop::collection::vec(any::<u8>(), 0..5),
    ) {
        let mut out = Vec::new();
        for part in &parts {
            write_chunk(&mut out, part);
        }
        write_last_chunk(&mut out, b"X-Sum: 1\r\n");
        let end = out.len();
        out.extend_from_slice(&rest);
        let (payload, result) = decode_in_reads(BodyLength::Chunked, &out, &cuts);
        prop_assert_eq!(payload, parts.concat());
        prop_assert_eq!(result, Ok((b"X-Sum: 1\r\n".to_vec(), end)));
    }

    #[test]
    fn what_is_forwarded_is_accepted_again_and_means_the_same(bytes in soup()) {
        let mut head = RequestHead::default();
        if let Ok(Some(end)) = parse_request(&bytes, &Limits::default(), &mut head) {
            let client = ClientFields::new(None, Scheme::Http, Trust::Replace, "x");
            let with = RequestRewrite { client: &client, request_id: "1", host: None, path: None, expect_continue: false, upgrade: None, strip: &[], extra: &[] };
            let mut out = Vec::new();
            write_request_head(&mut out, &head, &bytes[..end], &with);
            let mut again = RequestHead::default();
            // Only an HTTP/1.0 request without authority cannot be sent on without a host.
            if head.authority(&bytes).is_some() {
                let parsed = parse_request(&out, &Limits::default(), &mut again);
                prop_assert_eq!(parsed, Ok(Some(out.len())), "{}", out.escape_ascii());
                prop_assert_eq!(again.body, head.body);
                prop_assert_eq!(again.path(&out), head.path(&bytes));
                prop_assert_eq!(again.query(&out), head.query(&bytes));
                prop_assert_eq!(again.authority(&out), head.authority(&bytes));
                prop_assert_eq!(again.method_kind, head.method_kind);
                prop_assert_eq!(again.version, Version::Http11);
            }
        }
    }

    #[test]
    fn unknown_fields_pass_in_order(fields in prop::collection::vec((name(), "[ -~]{0,20}"), 0..20)) {
        let mut text = String::from("GET / HTTP/1.1\r\nHost: a\r\n");
        for (name, value) in &fields {
            text.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        let mut head = RequestHead::default();
        let end = parse_request(text.as_bytes(), &Limits::default(), &mut head);
        prop_assert_eq!(end, Ok(Some(text.len())));
        let sent: Vec<(&str, &[u8])> = head.fields(text.as_bytes()).skip(1).collect();
        let expected: Vec<(&str, &[u8])> = fields.iter().map(|(n, v)| (n.as_str(), v.trim().as_bytes())).collect();
        prop_assert_eq!(sent, expected);
    }

    #[test]
    fn cutting_a_response_head_into_reads_changes_nothing(soup in soup(), cuts in cuts()) {
        let bytes = [b"HTTP/1.1 200 OK\r\n".to_vec(), soup, b"\r\n\r\n".to_vec()].concat();
        let parse = |ends: &[usize]| {
            let mut head = ResponseHead::default();
            for &end in ends {
                let result = parse_response(&bytes[..end], Method::Get, &Limits::default(), &mut head);
                if result != Ok(None) {
                    return (result, head.body);
                }
            }
            (Ok(None), BodyLength::None)
        };
        let mut ends: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        let whole = parse(&[bytes.len()]);
        prop_assert_eq!(parse(&ends), whole);
        if let (Ok(Some(end)), body) = whole {
            let mut head = ResponseHead::default();
            prop_assert_eq!(parse_response(&bytes[..end], Method::Get, &Limits::default(), &mut head), Ok(Some(end)));
            let with = ResponseRewrite { client_version: Version::Http11, keep_alive: true, pseudonym: "x", request_id: "1", upgrade: None, strip: &[], extra: &[] };
            let mut out = Vec::new();
            let framing = write_response_head(&mut out, &head, &bytes[..end], &with);
            prop_assert_eq!(parse_response(&out, Method::Get, &Limits::default(), &mut head), Ok(Some(out.len())));
            prop_assert_eq!(framing.body, head.body, "written framing is not the announced one");
            prop_assert!(framing.body == body || body == BodyLength::UntilClose);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _seen = parse_in_reads(&bytes, &[3, 50]);
        let mut head = ResponseHead::default();
        let _seen = parse_response(&bytes, Method::Get, &Limits::default(), &mut head);
        let _seen = decode_in_reads(BodyLength::Chunked, &bytes, &[7]);
    }
}

#[test]
fn a_head_sent_byte_by_byte_is_understood() {
    let text = b"GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let mut head = RequestHead::default();
    for end in 0..text.len() {
        assert_eq!(
            parse_request(&text[..end], &Limits::default(), &mut head),
            Ok(None),
            "{end}"
        );
    }
    assert_eq!(
        parse_request(text, &Limits::default(), &mut head),
        Ok(Some(text.len()))
    );
}
