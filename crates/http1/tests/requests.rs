//! Framing and fields of request heads against the cases on which hyper, nginx and HAProxy were compared. Every row is
//! one way in which two implementations were seen to disagree; the text says which.

#![expect(
    clippy::panic,
    clippy::too_many_lines,
    reason = "tables of cases; helpers of tests report by panicking"
)]

#[path = "support/heads.rs"]
mod heads;

use evenkeel_http1::BodyLength::{Chunked, Fixed, None as NoBody};
use evenkeel_http1::Refusal as R;
use heads::{check, raw};

/// A POST with these field lines, each without its line end.
fn post(lines: &[&str]) -> Vec<u8> {
    let mut text = String::from("POST /x HTTP/1.1\r\nHost: a\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    raw(&(text + "\r\n"))
}

/// A POST with one field line of raw bytes.
fn line(bytes: &[u8]) -> Vec<u8> {
    [b"POST /x HTTP/1.1\r\nHost: a\r\n", bytes, b"\r\n\r\n"].concat()
}

#[test]
fn refuses_ambiguous_transfer_codings() {
    check(&[
        (
            "CL then TE",
            post(&["Content-Length: 6", "Transfer-Encoding: chunked"]),
            Err(R::LengthAndCoding),
        ),
        (
            "TE then CL",
            post(&["Transfer-Encoding: chunked", "Content-Length: 6"]),
            Err(R::LengthAndCoding),
        ),
        (
            "TE + CL +6",
            post(&["Transfer-Encoding: chunked", "Content-Length: +6"]),
            Err(R::LengthSyntax),
        ),
        (
            "TE chunked in two lines",
            post(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "chunked, chunked",
            post(&["Transfer-Encoding: chunked, chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "TE identity",
            post(&["Transfer-Encoding: identity"]),
            Err(R::CodingUnknown),
        ),
        (
            "TE gzip",
            post(&["Transfer-Encoding: gzip"]),
            Err(R::CodingUnknown),
        ),
        (
            "TE xchunked",
            post(&["Transfer-Encoding: xchunked"]),
            Err(R::CodingUnknown),
        ),
        (
            "chunked, identity",
            post(&["Transfer-Encoding: chunked, identity"]),
            Err(R::CodingUnknown),
        ),
        (
            "chunked quoted",
            post(&["Transfer-Encoding: \"chunked\""]),
            Err(R::CodingUnknown),
        ),
        (
            "chunked with parameter",
            post(&["Transfer-Encoding: chunked;q=1"]),
            Err(R::CodingUnknown),
        ),
        (
            "TE empty",
            post(&["Transfer-Encoding:"]),
            Err(R::CodingSyntax),
        ),
        (
            "TE NBSP chunked",
            line(b"Transfer-Encoding: \xa0chunked"),
            Err(R::CodingUnknown),
        ),
        (
            "TE VT chunked",
            line(b"Transfer-Encoding: \x0bchunked"),
            Err(R::FieldSyntax),
        ),
        (
            "identity, chunked",
            post(&["Transfer-Encoding: identity, chunked"]),
            Err(R::CodingUnknown),
        ),
        (
            "gzip, chunked",
            post(&["Transfer-Encoding: gzip, chunked"]),
            Err(R::CodingUnknown),
        ),
        (
            "identity line + chunked line",
            post(&["Transfer-Encoding: identity", "Transfer-Encoding: chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            ",chunked",
            post(&["Transfer-Encoding: ,chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "empty line + chunked",
            post(&["Transfer-Encoding:", "Transfer-Encoding: chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "chunked,",
            post(&["Transfer-Encoding: chunked,"]),
            Err(R::CodingSyntax),
        ),
        (
            "TAB before value",
            post(&["Transfer-Encoding:\tchunked"]),
            Ok(Chunked),
        ),
        (
            "CHUNKED",
            post(&["Transfer-Encoding: CHUNKED"]),
            Ok(Chunked),
        ),
        (
            "TE SP before colon",
            post(&["Transfer-Encoding : chunked"]),
            Err(R::FieldSyntax),
        ),
        (
            "TE TAB before colon",
            post(&["Transfer-Encoding\t: chunked"]),
            Err(R::FieldSyntax),
        ),
        (
            "TE folded over two lines",
            post(&["Transfer-Encoding:", " chunked"]),
            Err(R::FieldSyntax),
        ),
        (
            "TE chunked on GET",
            raw("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Ok(Chunked),
        ),
        (
            "HTTP/1.0 + TE chunked",
            raw("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(R::CodingVersion),
        ),
    ]);
}

#[test]
fn refuses_ambiguous_lengths() {
    let long = format!("Content-Length: {}5", "0".repeat(18));
    let mut rows = vec![
        (
            "CL equal twice",
            post(&["Content-Length: 5", "Content-Length: 5"]),
            Err(R::LengthTwice),
        ),
        (
            "CL 5 + 05",
            post(&["Content-Length: 5", "Content-Length: 05"]),
            Err(R::LengthTwice),
        ),
        (
            "CL different twice",
            post(&["Content-Length: 5", "Content-Length: 6"]),
            Err(R::LengthTwice),
        ),
        ("CL 00005", post(&["Content-Length: 00005"]), Ok(Fixed(5))),
        (
            "CL trailing blanks",
            post(&["Content-Length: 5  "]),
            Ok(Fixed(5)),
        ),
        ("CL TAB 5", post(&["Content-Length:\t5"]), Ok(Fixed(5))),
        (
            "CL of 19 digits",
            post(&[long.as_str()]),
            Err(R::LengthSyntax),
        ),
        (
            "CL NBSP5",
            line(b"Content-Length: \xa05"),
            Err(R::LengthSyntax),
        ),
        (
            "CL SP before colon",
            post(&["Content-Length : 5"]),
            Err(R::FieldSyntax),
        ),
        (
            "CL on GET",
            raw("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
            Ok(Fixed(5)),
        ),
        ("CL 0", post(&["Content-Length: 0"]), Ok(Fixed(0))),
        ("POST without length", post(&[]), Ok(NoBody)),
    ];
    let bad = [
        "5, 5",
        "+5",
        "-5",
        "0x5",
        "5 5",
        "5.0",
        "5e0",
        "5;",
        "",
        "18446744073709551616",
        "18446744073709551615",
        "18446744073709551613",
    ];
    let lines: Vec<String> = bad.iter().map(|v| format!("Content-Length: {v}")).collect();
    for (value, text) in bad.iter().zip(&lines) {
        rows.push((value, post(&[text.as_str()]), Err(R::LengthSyntax)));
    }
    check(&rows);
}

#[test]
fn refuses_every_bare_line_end() {
    check(&[
        (
            "bare LF after request line",
            raw("GET / HTTP/1.1\nHost: a\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF after header",
            raw("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF at end of head",
            raw("GET / HTTP/1.1\r\nHost: a\r\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF in all lines",
            raw("GET / HTTP/1.1\nHost: a\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF before TE line",
            raw("POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF after an empty value",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX:\nY: z\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF after a trailing blank",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX: y \nY: z\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF, no fields",
            raw("GET / HTTP/1.0\r\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "two pipelined requests split by bare LFs",
            raw("GET / HTTP/1.1\nHost: a\n\nGET /2 HTTP/1.1\nHost: a\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare CR in request line",
            raw("GET / HTTP/1.1\rHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "bare CR before target",
            raw("GET \r/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "bare CR in value",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
            Err(R::FieldSyntax),
        ),
        (
            "CR CR LF",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n"),
            Err(R::FieldSyntax),
        ),
        (
            "leading CRLF",
            raw("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(NoBody),
        ),
        (
            "leading CRLF x3",
            raw("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BlankLines),
        ),
        (
            "leading LF",
            raw("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "leading CRLF LF",
            raw("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BlankLines),
        ),
        (
            "leading CR",
            raw("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
    ]);
}

#[test]
fn refuses_malformed_fields_and_keeps_legal_ones() {
    let mut rows = vec![
        ("obs-fold", post(&["X: a", " b"]), Err(R::FieldSyntax)),
        (
            "obs-fold with TAB",
            post(&["X: a", "\tb"]),
            Err(R::FieldSyntax),
        ),
        (
            "leading SP",
            raw(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodSyntax),
        ),
        (
            "SP line before first header",
            raw("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
            Err(R::FieldSyntax),
        ),
        ("any SP before colon", post(&["X : y"]), Err(R::FieldSyntax)),
        ("obs-text in value", line(b"X: a\xc3\xa9\xff"), Ok(NoBody)),
        ("empty name", post(&[": y"]), Err(R::FieldSyntax)),
        ("0xE9 in name", line(b"X\xe9: y"), Err(R::FieldSyntax)),
        ("line without colon", post(&["X"]), Err(R::FieldSyntax)),
        ("_ in name", post(&["X_Y: z"]), Ok(NoBody)),
        ("empty value", post(&["X:"]), Ok(NoBody)),
        ("blanks as value", post(&["X: \t "]), Ok(NoBody)),
        (
            "Connection with too many members",
            post(&[&format!("Connection: {}", "x,".repeat(80))]),
            Err(R::FieldSyntax),
        ),
    ];
    for byte in [0, 1, 0x0b, 0x1b, 0x7f] {
        rows.push((
            "control byte in value",
            line(&[b'X', b':', b' ', b'a', byte, b'b']),
            Err(R::FieldSyntax),
        ));
    }
    for byte in *b"\0\x01 \t\x7f(/" {
        rows.push((
            "byte in name",
            line(&[b'X', byte, b'Y', b':', b'z']),
            Err(R::FieldSyntax),
        ));
    }
    check(&rows);
}

#[test]
fn judges_expectations_and_hops() {
    check(&[
        (
            "Expect: 100-continue with body",
            post(&["Expect: 100-Continue", "Content-Length: 5"]),
            Ok(Fixed(5)),
        ),
        (
            "Expect on GET",
            raw("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"),
            Ok(NoBody),
        ),
        ("Expect foo", post(&["Expect: foo"]), Err(R::ExpectUnknown)),
        (
            "100-continue, foo",
            post(&["Expect: 100-continue, foo"]),
            Err(R::ExpectUnknown),
        ),
        (
            "OPTIONS with Max-Forwards x",
            raw("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n"),
            Err(R::MaxForwards),
        ),
        (
            "GET with Max-Forwards x",
            raw("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n"),
            Ok(NoBody),
        ),
    ]);
}
