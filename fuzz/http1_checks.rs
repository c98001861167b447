//! What must hold for any input to the HTTP/1 codec. Shared by the fuzz targets and by the test
//! that replays the corpus with the stable compiler.

use evenkeel_http1::{
    BodyDecoder, BodyError, BodyLength, ClientFields, Limits, Method, RequestHead, RequestRewrite,
    ResponseError, ResponseHead, ResponseRewrite, Scheme, Trust, Version, is_protocol, may_tunnel,
    parse_request, parse_response, parse_upgrade_response, write_chunk, write_last_chunk,
    write_request_head, write_response_head,
};

/// Small limits, so that short inputs reach them.
const LIMITS: Limits = Limits {
    head_max: 512,
    fields_max: 12,
    target_max: 128,
    chunk_line_max: 24,
    trailer_max: 64,
};

/// Room for what a forwarded message gains: own fields, and the blank behind a trailer's colon.
const LARGE: Limits = Limits {
    head_max: 4096,
    fields_max: 100,
    target_max: 256,
    chunk_line_max: 24,
    trailer_max: 256,
};

/// A request read in two reads means what it means in one; forwarded, it is accepted again.
pub(crate) fn request(bytes: &[u8]) {
    let mut head = RequestHead::default();
    let whole = parse_request(bytes, &LIMITS, &mut head);
    let mut cut = RequestHead::default();
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    let first = parse_request(half, &LIMITS, &mut cut);
    if first == Ok(None) {
        let second = parse_request(bytes, &LIMITS, &mut cut);
        assert!(
            second == whole || (second == Ok(None) && whole.is_err()),
            "{second:?} {whole:?}"
        );
    }
    let Ok(Some(end)) = whole else { return };
    assert!(end <= bytes.len() && bytes.get(..end).is_some_and(|h| h.ends_with(b"\r\n\r\n")));
    let client = ClientFields::new(None, Scheme::Http, Trust::Append, "x");
    let with = RequestRewrite {
        client: &client,
        request_id: "1",
        host: None,
        path: None,
        expect_continue: head.expect_continue,
        upgrade: None,
        strip: &[],
        extra: &[],
    };
    let mut out = Vec::new();
    write_request_head(&mut out, &head, bytes, &with);
    if head.authority(bytes).is_none() {
        return;
    }
    let mut again = RequestHead::default();
    assert_eq!(
        parse_request(&out, &LARGE, &mut again),
        Ok(Some(out.len())),
        "{}",
        out.escape_ascii()
    );
    assert_eq!(
        (again.body, again.path(&out)),
        (head.body, head.path(bytes))
    );
    assert_eq!(again.authority(&out), head.authority(bytes));
    if let Some(protocol) = head.upgrade_to(bytes, |_| true) {
        assert!(is_protocol(protocol) && may_tunnel(protocol), "{protocol}");
        assert!(matches!(head.body, BodyLength::None | BodyLength::Fixed(0)));
    }
}

/// A tunnel is only what was asked for and is told the client as such; a response that is none is the same with and
/// without an upgrade asked for.
pub(crate) fn switched(bytes: &[u8]) {
    let (mut head, mut plain) = (ResponseHead::default(), ResponseHead::default());
    let asked = parse_upgrade_response(bytes, Method::Get, Some("websocket"), &LIMITS, &mut head);
    let unasked = parse_response(bytes, Method::Get, &LIMITS, &mut plain);
    if !matches!(asked, Ok(Some(_))) || !head.switched {
        let is_about_it = matches!(unasked, Err(ResponseError::Switched));
        assert!(asked == unasked || is_about_it, "{}", bytes.escape_ascii());
        return;
    }
    assert_eq!(unasked, Err(ResponseError::Switched));
    assert_eq!((head.status, head.body), (101, BodyLength::None));
    let with = ResponseRewrite {
        client_version: Version::Http11,
        keep_alive: false,
        pseudonym: "x",
        request_id: "1",
        upgrade: Some("websocket"),
        strip: &[],
        extra: &[],
    };
    let mut out = Vec::new();
    write_response_head(&mut out, &head, bytes, &with);
    let parsed = parse_upgrade_response(&out, Method::Get, Some("websocket"), &LARGE, &mut head);
    assert_eq!(parsed, Ok(Some(out.len())), "{}", out.escape_ascii());
    assert!(head.switched);
}

/// A response accepted is written in a form that is accepted and framed as announced.
pub(crate) fn response(bytes: &[u8]) {
    switched(bytes);
    for method in [Method::Get, Method::Head] {
        let mut head = ResponseHead::default();
        let Ok(Some(end)) = parse_response(bytes, method, &LIMITS, &mut head) else {
            continue;
        };
        assert!(bytes.get(..end).is_some_and(|h| h.ends_with(b"\r\n\r\n")));
        for client_version in [Version::Http10, Version::Http11] {
            let with = ResponseRewrite {
                client_version,
                keep_alive: true,
                pseudonym: "x",
                request_id: "1",
                upgrade: None,
                strip: &["x"],
                extra: &[],
            };
            let mut out = Vec::new();
            let framing = write_response_head(&mut out, &head, bytes, &with);
            if out.is_empty() {
                continue;
            }
            let mut again = ResponseHead::default();
            let parsed = parse_response(&out, method, &LARGE, &mut again);
            assert_eq!(parsed, Ok(Some(out.len())), "{}", out.escape_ascii());
            assert_eq!((again.status, again.body), (head.status, framing.body));
        }
    }
}

/// A chunked body means the same byte by byte; written anew, it is read back.
pub(crate) fn chunked(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1), &LIMITS);
    let (payload, end) = decode(bytes, 1, &LIMITS);
    assert_eq!((&payload, &end), (&whole.0, &whole.1));
    if let Ok((trailers, consumed)) = end {
        assert!(consumed <= bytes.len());
        let mut out = Vec::new();
        write_chunk(&mut out, &payload);
        write_last_chunk(&mut out, &trailers);
        let (again, end) = decode(&out, out.len(), &LARGE);
        assert_eq!((again, end), (payload, Ok((trailers, out.len()))));
    }
}

type Decoded = (Vec<u8>, Result<(Vec<u8>, usize), BodyError>);

fn decode(bytes: &[u8], read: usize, limits: &Limits) -> Decoded {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, limits);
    let (mut payload, mut at, mut available) = (Vec::new(), 0, 0);
    while !decoder.is_done() {
        if at == available {
            if available == bytes.len() {
                return (payload, Err(BodyError::Truncated));
            }
            available = (available + read).min(bytes.len());
        }
        let input = bytes.get(at..available).unwrap_or_default();
        match decoder.decode(input) {
            Ok(step) => {
                assert!(step.consumed > 0 && step.consumed <= input.len());
                payload.extend_from_slice(input.get(step.data).unwrap_or_default());
                at += step.consumed;
            }
            Err(error) => return (payload, Err(error)),
        }
    }
    (payload, Ok((decoder.trailers().to_vec(), at)))
}
