//! Feeds arbitrary bytes to the nginx.conf reader: it must end, within its bounds, in findings or a setup, never both
//! an error and a setup.
#![no_main]

use evenkeel_import::{File, NoFiles};
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let main = File {
        name: "nginx.conf".to_owned(),
        bytes: bytes.to_vec(),
    };
    let imported = evenkeel_import::read(Balancer::Nginx, main, &NoFiles);
    let is_error = |severity: Severity| severity == Severity::Error;
    let is_refused = imported.findings.iter().any(|f| is_error(f.severity));
    assert_eq!(imported.setup.is_none(), is_refused);
});
