//! Feeds arbitrary bytes to the `response` check of the HTTP/1 codec.
#![no_main]

#[path = "../http1_checks.rs"]
#[allow(dead_code, reason = "each target uses one of the checks")]
mod http1_checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http1_checks::response(bytes));
