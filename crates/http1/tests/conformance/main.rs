//! The tables of `conformance/` against the room alone: every message whole and byte by byte, both to one verdict.
//!
//! `abuse::conformance` of crate `evenkeel` runs the same tables through the binary, and beside nginx and HAProxy.

#![expect(
    clippy::panic,
    reason = "tables of cases; helpers of tests report by panicking"
)]

mod table;

use std::collections::BTreeSet;

use evenkeel_http1::{
    BodyDecoder, BodyError, BodyLength, ClientFields, Limits, Method, RequestHead, RequestRewrite,
    ResponseHead, ResponseRewrite, Scheme, Trust, Version, parse_request, parse_response,
    write_request_head, write_response_head,
};
use table::{Case, To, none_wrong, says_close, shown, told_request, told_response};

/// Bytes that arrive piece by piece.
struct Arriving<'a> {
    all: &'a [u8],
    /// Where the message at hand starts, and how much has arrived.
    start: usize,
    end: usize,
    step: usize,
}

impl<'a> Arriving<'a> {
    fn new(all: &'a [u8], step: usize) -> Self {
        let end = step.min(all.len());
        let start = 0;
        Self {
            all,
            start,
            end,
            step,
        }
    }

    fn here(&self) -> &'a [u8] {
        &self.all[self.start..self.end]
    }

    /// Lets more arrive; `false` at the end.
    fn more(&mut self) -> bool {
        let before = self.end;
        self.end = (self.end + self.step).min(self.all.len());
        self.end > before
    }

    fn is_over(&self) -> bool {
        self.start == self.all.len()
    }
}

/// Payload and trailers of a body, or why there is no end of it.
fn body(length: BodyLength, from: &mut Arriving<'_>) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
    let mut decoder = BodyDecoder::new(length, &Limits::default());
    let mut payload = Vec::new();
    while !decoder.is_done() {
        let step = decoder.decode(from.here())?;
        payload.extend_from_slice(&from.here()[step.data.clone()]);
        from.start += step.consumed;
        if step.consumed == 0 && !from.more() {
            decoder.end_of_input()?;
            break;
        }
    }
    Ok((payload, decoder.trailers().to_vec()))
}

/// What becomes of a client's bytes, in the words of the tables.
fn forwarded(sent: &[u8], step: usize) -> Vec<Vec<u8>> {
    let client = ClientFields::new("192.0.2.7".parse().ok(), Scheme::Http, Trust::Replace, "e");
    let mut from = Arriving::new(sent, step);
    let mut head = RequestHead::default();
    let mut came = Vec::new();
    while !from.is_over() {
        let length = match parse_request(from.here(), &Limits::default(), &mut head) {
            Ok(Some(length)) => length,
            Ok(None) if from.more() => continue,
            Ok(None) => {
                came.push(b"unfinished".to_vec());
                return came;
            }
            Err(refusal) => {
                came.push(format!("{} {}", refusal.status(), refusal.code()).into_bytes());
                return came;
            }
        };
        if head.max_forwards == Some(0) {
            came.push(b"own 204".to_vec());
            return came;
        }
        let with = RequestRewrite {
            client: &client,
            request_id: "1",
            host: None,
            path: None,
            upgrade: None,
            expect_continue: head.expect_continue,
            strip: &[],
            extra: &[],
        };
        let mut out = Vec::new();
        write_request_head(&mut out, &head, from.here(), &with);
        from.start += length;
        let (payload, trailers) = match body(head.body, &mut from) {
            Ok(found) => found,
            Err(BodyError::Truncated) => {
                came.push(b"unfinished".to_vec());
                return came;
            }
            Err(error) => {
                came.push(format!("400 {}", error.code()).into_bytes());
                return came;
            }
        };
        let kept: &[u8] = if head.keep_alive { b"keep " } else { b"close " };
        came.push([kept, &told_request(&out, &payload, &trailers)].concat());
        if !head.keep_alive {
            return came;
        }
    }
    came
}

/// What becomes of a backend's bytes, in the words of the tables.
fn answered(case: &Case, step: usize) -> Vec<Vec<u8>> {
    let (method, version) = match case.to {
        To::Get => (Method::Get, Version::Http11),
        To::Head => (Method::Head, Version::Http11),
        To::Old => (Method::Get, Version::Http10),
    };
    let with = ResponseRewrite {
        client_version: version,
        keep_alive: true,
        upgrade: None,
        pseudonym: "e",
        request_id: "1",
        strip: &[],
        extra: &[],
    };
    let mut from = Arriving::new(&case.sent, step);
    let mut head = ResponseHead::default();
    let mut came = Vec::new();
    loop {
        let length = match parse_response(from.here(), method, &Limits::default(), &mut head) {
            Ok(Some(length)) => length,
            Ok(None) if from.more() => continue,
            Ok(None) => {
                came.push(b"unfinished".to_vec());
                return came;
            }
            Err(error) => {
                came.push(format!("{} {}", error.status(), error.code()).into_bytes());
                return came;
            }
        };
        let mut out = Vec::new();
        let framing = write_response_head(&mut out, &head, from.here(), &with);
        from.start += length;
        if head.informational {
            if !out.is_empty() {
                came.push(told_response(&out, b"", b""));
            }
            continue;
        }
        let Ok((payload, trailers)) = body(head.body, &mut from) else {
            came.push(format!("cut {}", head.status).into_bytes());
            return came;
        };
        // A backend that says more than it was asked cannot be asked again.
        let silent = from.start == from.all.len();
        assert_eq!(says_close(&out), !framing.keep_alive, "{}", case.name);
        let kept = if framing.keep_alive { "keep" } else { "close" };
        let reused = if head.keep_alive && silent {
            "reuse"
        } else {
            "drop"
        };
        let lead = format!("{kept} {reused} ").into_bytes();
        came.push([lead, told_response(&out, &payload, &trailers)].concat());
        return came;
    }
}

/// The cases that do not come out as their table says, whole or byte by byte.
fn wrong(cases: &[Case], outcome: impl Fn(&Case, usize) -> Vec<Vec<u8>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        for step in [case.sent.len(), 1] {
            let came = outcome(case, step);
            if came != case.want {
                wrong.push(format!(
                    "{} ({}), {step} bytes at a time:\n  wanted {}\n  came   {}",
                    case.name,
                    case.clause,
                    shown(&case.want),
                    shown(&came)
                ));
            }
        }
    }
    wrong
}

#[test]
fn every_request_is_refused_or_forwarded_as_its_table_says() {
    let cases = table::requests();
    let wrong = wrong(&cases, |case, step| forwarded(&case.sent, step));
    none_wrong(&wrong, cases.len());
}

#[test]
fn every_response_is_refused_or_passed_on_as_its_table_says() {
    let cases = table::responses();
    none_wrong(&wrong(&cases, answered), cases.len());
}

#[test]
fn the_tables_say_no_case_twice_and_reach_every_reason() {
    let cases: Vec<Case> = table::requests()
        .into_iter()
        .chain(table::responses())
        .collect();
    assert!(cases.len() >= 500, "only {} cases", cases.len());
    let names: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "a name stands twice");
    let mut sent = BTreeSet::new();
    for case in &cases {
        let is_response = case.name.starts_with("response");
        let is_new = sent.insert((is_response, case.to as u8, &case.sent));
        assert!(is_new, "{}: another case sends the same bytes", case.name);
    }
    let unexplained = cases.iter().find(|c| c.laxer.is_some_and(str::is_empty));
    assert!(unexplained.is_none(), "no reason given: {unexplained:?}");
    let wanted: String = cases.iter().map(|c| shown(&c.want) + "\n").collect();
    let reasons = evenkeel_http1::Refusal::ALL
        .iter()
        .map(|r| r.code())
        .chain(evenkeel_http1::ResponseError::ALL.iter().map(|e| e.code()));
    // Only who asked for an upgrade can be given this one, and no case asks.
    let reasons = reasons.filter(|code| *code != "response_switched_elsewhere");
    let missing: Vec<&str> = reasons
        .filter(|code| {
            !wanted
                .lines()
                .any(|line| line.ends_with(&format!(" {code}")))
        })
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "no case reaches these reasons");
}

#[test]
fn the_page_on_conformance_counts_the_cases_of_each_family() {
    let page = include_str!("../../../../docs/conformance.md");
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for case in table::requests().into_iter().chain(table::responses()) {
        let family = case.name.split(':').next().unwrap_or_default().to_owned();
        *counts.entry(family).or_default() += 1;
    }
    for (family, count) in counts {
        let row = format!("| {family} | {count} |");
        assert!(page.contains(&row), "the page does not say: {row}");
    }
}
