//! What must hold for any start of a connection. Shared by the fuzz target and by the test that replays the corpus with
//! the stable compiler.

use evenkeel_preface::{HEADER_MAX, Step, read};

/// However the bytes come, the answer is the same, and nothing behind the header is ever asked for.
pub(crate) fn preface(bytes: &[u8]) {
    let whole = read(bytes);
    let mut taken = 0;
    let by_need = loop {
        match read(bytes.get(..taken).unwrap_or_default()) {
            Ok(Step::Need(more)) => {
                assert!(more > 0 && taken + more <= HEADER_MAX, "{taken} {more}");
                if taken + more > bytes.len() {
                    break Ok(Step::Need(more));
                }
                taken += more;
            }
            over => break over,
        }
    };
    match (by_need, whole) {
        (Ok(Step::Done { length, .. }), _) => {
            assert_eq!(length, taken);
            assert_eq!(by_need, whole);
        }
        (Ok(Step::Need(_)), whole) => {
            assert!(!matches!(whole, Ok(Step::Done { .. })), "{whole:?}");
        }
        // Whoever has read less may see another reason first.
        (Err(_), whole) => assert!(whole.is_err(), "{whole:?}"),
    }
}
