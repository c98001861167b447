//! Feeds arbitrary bytes to the reader of haproxy.cfg: it must end, and give a set-up exactly when nothing is an error.
#![no_main]

use evenkeel_import::{File, NoFiles, read};
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = File {
        name: "haproxy.cfg".to_owned(),
        bytes: bytes.to_vec(),
    };
    let imported = read(Balancer::Haproxy, file, &NoFiles);
    let is_refused = imported
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    assert_eq!(imported.setup.is_none(), is_refused);
});
