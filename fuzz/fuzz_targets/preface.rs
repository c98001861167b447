//! Feeds arbitrary bytes to the check of PROXY protocol headers.
#![no_main]

#[path = "../preface_checks.rs"]
mod preface_checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| preface_checks::preface(bytes));
