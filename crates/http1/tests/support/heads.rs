//! Reads request heads for the tables of cases.

use evenkeel_http1::{BodyLength, Limits, Refusal, RequestHead, parse_request};

/// The framing of an accepted head, or why it is refused.
pub(crate) type Verdict = Result<BodyLength, Refusal>;

fn verdict(bytes: &[u8]) -> Verdict {
    let mut head = RequestHead::default();
    match parse_request(bytes, &Limits::default(), &mut head) {
        Ok(Some(_)) => Ok(head.body),
        Ok(None) => panic!("incomplete: {}", bytes.escape_ascii()),
        Err(refusal) => Err(refusal),
    }
}

/// Checks all rows and reports every wrong one, not only the first.
pub(crate) fn check(rows: &[(&str, Vec<u8>, Verdict)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, bytes, expected)| verdict(bytes) != *expected)
        .map(|(case, bytes, expected)| {
            format!("{case}: expected {expected:?}, got {:?}", verdict(bytes))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

pub(crate) fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}
