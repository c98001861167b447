//! Configuration text -> [`Config`], every finding at once.

use crate::config::Config;
use crate::finding::{Finding, Origin};

/// What came out of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The configuration; present exactly when no finding is an error.
    pub config: Option<Config>,
    /// The text and the place of every value in it.
    pub origin: Origin,
    /// Everything that is wrong, sorted by position.
    pub findings: Vec<Finding>,
}

/// Reads `text`. `file` is the name that findings carry.
pub fn parse(text: &str, file: Option<&str>) -> Parsed {
    let origin = Origin {
        file: file.map(str::to_owned),
        text: text.to_owned(),
        ..Origin::default()
    };
    let finding = Finding {
        id: "CFG-00",
        severity: crate::finding::Severity::Error,
        message: "the reader of configurations is not written yet".to_owned(),
        effect: "no file can be used".to_owned(),
        fix: "wait for the next commit of room model".to_owned(),
        path: String::new(),
        magnitude_ppm: 0,
        file: origin.file.clone(),
        location: None,
    };
    Parsed {
        config: None,
        origin,
        findings: vec![finding],
    }
}
