//! Chunked bodies, trailers and fixed lengths against the cases on which implementations differ.

use evenkeel_http1::{BodyDecoder, BodyError, BodyLength, Limits, write_chunk, write_last_chunk};

#[derive(Debug, PartialEq, Eq)]
struct Read {
    payload: Vec<u8>,
    trailers: String,
    consumed: usize,
}

/// Feeds all of `bytes` to a decoder; `Ok(None)` if the body is not complete after that.
fn read(length: BodyLength, bytes: &[u8]) -> Result<Option<Read>, BodyError> {
    let mut decoder = BodyDecoder::new(length, &Limits::default());
    let mut payload = Vec::new();
    let mut at = 0;
    while !decoder.is_done() {
        let step = decoder.decode(&bytes[at..])?;
        payload.extend_from_slice(&bytes[at..][step.data.clone()]);
        at += step.consumed;
        if step.consumed == 0 {
            return Ok(None);
        }
    }
    let trailers = String::from_utf8_lossy(decoder.trailers()).into_owned();
    Ok(Some(Read {
        payload,
        trailers,
        consumed: at,
    }))
}

fn chunked(bytes: &[u8]) -> Result<Option<(String, String)>, BodyError> {
    let done = read(BodyLength::Chunked, bytes)?;
    Ok(done.map(|r| (String::from_utf8_lossy(&r.payload).into_owned(), r.trailers)))
}

fn check_errors(rows: &[(&str, &[u8], BodyError)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, bytes, error)| chunked(bytes) != Err(*error))
        .map(|(case, bytes, error)| format!("{case}: expected {error:?}, got {:?}", chunked(bytes)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_payloads(rows: &[(&str, &[u8], &str, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, bytes, body, trailers)| {
            chunked(bytes) != Ok(Some(((*body).into(), (*trailers).into())))
        })
        .map(|(case, bytes, ..)| format!("{case}: got {:?}", chunked(bytes)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refuses_chunk_sizes_that_can_be_read_in_two_ways() {
    use BodyError::{ChunkLine, ChunkSize};
    check_errors(&[
        ("size 0x5", b"0x5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        ("size +5", b"+5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        ("size -5", b"-5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        ("size empty", b"\r\nhello\r\n0\r\n\r\n", ChunkSize),
        (
            "size missing before extension",
            b";a\r\nhello\r\n0\r\n\r\n",
            ChunkSize,
        ),
        (
            "size with leading blank",
            b" 5\r\nhello\r\n0\r\n\r\n",
            ChunkSize,
        ),
        (
            "size with word behind",
            b"5 x\r\nhello\r\n0\r\n\r\n",
            ChunkSize,
        ),
        ("trailing blank", b"5 \r\nhello\r\n0\r\n\r\n", ChunkSize),
        ("trailing TAB", b"5\t\r\nhello\r\n0\r\n\r\n", ChunkSize),
        (
            "blank before extension",
            b"5 ;a\r\nhello\r\n0\r\n\r\n",
            ChunkSize,
        ),
        (
            "size > 2^64",
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            ChunkSize,
        ),
        (
            "size ffffffffffffffff",
            b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            ChunkSize,
        ),
        ("size 2^60", b"1000000000000000\r\n", ChunkSize),
        ("CR only after size", b"5\rhello\r\n0\r\n\r\n", ChunkLine),
        ("NUL in size", b"5\0\r\nhello\r\n0\r\n\r\n", ChunkSize),
        ("underscore", b"1_0\r\n", ChunkSize),
    ]);
}

#[test]
fn refuses_bare_line_ends_and_control_bytes_in_chunk_framing() {
    use BodyError::{ChunkEnd, ChunkLine, Trailer};
    check_errors(&[
        (
            "bare LF in extension",
            b"5;a\nhello\r\n0\r\n\r\n",
            ChunkLine,
        ),
        ("bare LF after size", b"5\nhello\r\n0\r\n\r\n", ChunkLine),
        ("bare LF after data", b"5\r\nhello\n0\r\n\r\n", ChunkEnd),
        ("0 LF LF", b"0\n\n", ChunkLine),
        ("0 CRLF LF", b"0\r\n\n", Trailer),
        (
            "CR in extension",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            ChunkLine,
        ),
        (
            "NUL in extension",
            b"5;a\0\r\nhello\r\n0\r\n\r\n",
            ChunkLine,
        ),
        ("missing CRLF after data", b"5\r\nhello0\r\n\r\n", ChunkEnd),
        ("XX after data", b"5\r\nhelloXX0\r\n\r\n", ChunkEnd),
        ("CR X after data", b"5\r\nhello\rX0\r\n\r\n", ChunkEnd),
        (
            "extra CRLF after data",
            b"5\r\nhello\r\n\r\n0\r\n\r\n",
            BodyError::ChunkSize,
        ),
    ]);
}

#[test]
fn accepts_legal_chunks_and_strips_extensions() {
    let long = [
        b"5;",
        "x".repeat(4000).as_bytes(),
        b"\r\nhello\r\n0\r\n\r\n",
    ]
    .concat();
    check_payloads(&[
        ("plain", b"5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("leading zeros", b"0005\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("000 last chunk", b"5\r\nhello\r\n000\r\n\r\n", "hello", ""),
        (
            "upper-case size",
            b"A\r\nhelloworld\r\n0\r\n\r\n",
            "helloworld",
            "",
        ),
        ("extension", b"5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello", ""),
        (
            "quoted extension",
            b"5;a=\"x y;z\"\r\nhello\r\n0\r\n\r\n",
            "hello",
            "",
        ),
        ("4K extension", &long, "hello", ""),
        ("empty body", b"0\r\n\r\n", "", ""),
    ]);
}

#[test]
fn bounds_extensions_per_line_and_per_body() {
    let line = |n: usize| format!("1;{}\r\nx\r\n", "e".repeat(n));
    assert_eq!(
        chunked(line(20_000).as_bytes()),
        Err(BodyError::ChunkExtension)
    );
    assert_eq!(
        chunked((line(1000).repeat(40) + "0\r\n\r\n").as_bytes()),
        Err(BodyError::ChunkExtension)
    );
    assert!(chunked((line(1000).repeat(10) + "0\r\n\r\n").as_bytes()).is_ok());
    let zeros = "0".repeat(5000);
    assert_eq!(chunked(zeros.as_bytes()), Err(BodyError::ChunkExtension));
}

#[test]
fn judges_trailers() {
    check_payloads(&[
        ("trailer", b"0\r\nX-Sum: 1\r\n\r\n", "", "X-Sum: 1\r\n"),
        (
            "two trailers, blanks trimmed",
            b"0\r\nA:  1 \r\nB: 2\r\n\r\n",
            "",
            "A: 1\r\nB: 2\r\n",
        ),
        (
            "trailer Content-Length",
            b"0\r\nContent-Length: 5\r\nX: 1\r\n\r\n",
            "",
            "X: 1\r\n",
        ),
        ("trailer Host", b"0\r\nHost: evil\r\n\r\n", "", ""),
        (
            "trailer Authorization",
            b"0\r\nauthorization: evil\r\n\r\n",
            "",
            "",
        ),
        (
            "trailer Transfer-Encoding",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
            "",
        ),
        (
            "trailer Content_Length",
            b"0\r\nContent_Length: 5\r\n\r\n",
            "",
            "",
        ),
    ]);
    check_errors(&[
        (
            "trailer bad name",
            b"0\r\nX(: 1\r\n\r\n",
            BodyError::Trailer,
        ),
        (
            "trailer fold",
            b"0\r\nX: 1\r\n 2\r\n\r\n",
            BodyError::Trailer,
        ),
        ("trailer no colon", b"0\r\nX\r\n\r\n", BodyError::Trailer),
        ("trailer NUL", b"0\r\nX: \0\r\n\r\n", BodyError::Trailer),
        (
            "trailer bare CR",
            b"0\r\nX: a\rb\r\n\r\n",
            BodyError::Trailer,
        ),
        (
            "trailer ended by bare LF, then a request",
            b"0\r\nX: 1\nGET / HTTP/1.1\r\n\r\n",
            BodyError::Trailer,
        ),
        (
            "trailer end by bare LF",
            b"0\r\nX: 1\r\n\n",
            BodyError::Trailer,
        ),
    ]);
    let large = format!("0\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    assert_eq!(chunked(large.as_bytes()), Err(BodyError::TrailerTooLarge));
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(33));
    assert_eq!(chunked(many.as_bytes()), Err(BodyError::TrailerTooLarge));
}

#[test]
fn leaves_the_next_message_alone() {
    let next = b"GET /2 HTTP/1.1\r\n";
    for (length, own) in [
        (BodyLength::Fixed(5), b"hello" as &[u8]),
        (BodyLength::Chunked, b"5\r\nhello\r\n0\r\n\r\n"),
        (BodyLength::Chunked, b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
    ] {
        let read = read(length, &[own, next].concat()).unwrap().unwrap();
        assert_eq!(
            (read.payload.as_slice(), read.consumed),
            (b"hello" as &[u8], own.len())
        );
    }
    assert_eq!(
        BodyDecoder::new(BodyLength::None, &Limits::default())
            .decode(next)
            .map(|s| s.consumed),
        Ok(0)
    );
}

#[test]
fn tells_a_truncated_body_from_a_complete_one() {
    for (length, bytes, expected) in [
        (
            BodyLength::Fixed(5),
            b"hell" as &[u8],
            Err(BodyError::Truncated),
        ),
        (BodyLength::Fixed(5), b"hello", Ok(())),
        (
            BodyLength::Chunked,
            b"5\r\nhello\r\n0\r\n",
            Err(BodyError::Truncated),
        ),
        (BodyLength::Chunked, b"5\r\nhello\r\n0\r\n\r\n", Ok(())),
        (BodyLength::UntilClose, b"hello", Ok(())),
        (BodyLength::UntilClose, b"", Ok(())),
        (BodyLength::None, b"", Ok(())),
        (BodyLength::Fixed(0), b"", Ok(())),
    ] {
        let mut decoder = BodyDecoder::new(length, &Limits::default());
        let mut at = 0;
        while at < bytes.len() {
            at += decoder.decode(&bytes[at..]).unwrap().consumed;
        }
        assert_eq!(
            decoder.end_of_input(),
            expected,
            "{length:?} {}",
            bytes.escape_ascii()
        );
        assert_eq!(decoder.is_done(), expected.is_ok());
    }
}

#[test]
fn writes_chunks_that_it_reads_back() {
    let mut out = Vec::new();
    for size in [1, 9, 15, 16, 255, 256, 70_000] {
        write_chunk(&mut out, &vec![b'x'; size]);
    }
    write_chunk(&mut out, b"");
    write_last_chunk(&mut out, b"X-Sum: 1\r\n");
    assert!(out.starts_with(b"1\r\nx\r\n9\r\nxxxxxxxxx\r\nf\r\n"));
    let read = read(BodyLength::Chunked, &out).unwrap().unwrap();
    assert_eq!(
        (read.payload.len(), read.trailers.as_str(), read.consumed),
        (70_552, "X-Sum: 1\r\n", out.len())
    );
}
