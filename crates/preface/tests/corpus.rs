//! Replays the seed corpus of the fuzz target with the stable compiler, through the same check.

#![expect(
    clippy::disallowed_methods,
    reason = "the test reads files, the room does not"
)]

#[path = "../../../fuzz/preface_checks.rs"]
mod preface_checks;

#[test]
fn the_corpus_holds() {
    let dir = format!("{}/../../fuzz/corpus/preface", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert!(files.len() >= 12, "the corpus is gone");
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        // Every prefix too: what a peer that stops in the middle would send.
        (0..=bytes.len()).for_each(|end| preface_checks::preface(&bytes[..end]));
    }
}
