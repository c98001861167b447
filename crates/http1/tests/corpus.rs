//! Replays the seed corpus of the fuzz targets with the stable compiler, through the same checks.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the test reads files, the room does not"
)]

#[path = "../../../fuzz/http1_checks.rs"]
mod http1_checks;

fn replay(target: &str, check: fn(&[u8])) {
    let dir = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert!(files.len() >= 5, "the corpus of `{target}` is gone");
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        check(&bytes);
        // Every prefix too: what a peer that stops in the middle would send.
        (0..bytes.len()).for_each(|end| check(&bytes[..end]));
    }
}

#[test]
fn the_request_corpus_holds() {
    replay("request", http1_checks::request);
}

#[test]
fn the_response_corpus_holds() {
    replay("response", http1_checks::response);
}

#[test]
fn the_chunked_corpus_holds() {
    replay("chunked", http1_checks::chunked);
}
