//! What `import` says: the text, and what could not come along.

use serde::{Deserialize, Serialize};

/// `import`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct CarriedView {
    /// The evenkeel.toml; null when nothing of it could be served.
    pub text: Option<String>,
    pub losses: Vec<LossView>,
    pub renamed: Vec<RenamedView>,
}

/// Something that could not come along.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct LossView {
    pub what: String,
    pub why: String,
    pub consequence: String,
    pub alternative: String,
    /// `access`, `protocol`, `rewrite`, `pool`, `routing` or `resilience`.
    pub touches: String,
    pub pool: Option<String>,
    pub path: String,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// A name that was rewritten.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct RenamedView {
    pub kind: String,
    pub from: String,
    pub to: String,
}
