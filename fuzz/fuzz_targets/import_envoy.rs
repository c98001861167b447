//! Feeds arbitrary bytes to the reader of Envoy's bootstrap, as YAML or as JSON by the first byte: it must end, and give
//! a set-up exactly when nothing is an error.
#![no_main]

use evenkeel_import::{File, NoFiles, read};
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let is_json = bytes.first() == Some(&b'{');
    let file = File {
        name: if is_json { "envoy.json" } else { "envoy.yaml" }.to_owned(),
        bytes: bytes.to_vec(),
    };
    let imported = read(Balancer::Envoy, file, &NoFiles);
    let is_refused = imported
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    assert_eq!(imported.setup.is_none(), is_refused);
});
