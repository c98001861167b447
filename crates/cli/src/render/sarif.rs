//! Findings as SARIF 2.1.0 (OASIS), for code hosts.
//!
//! A result is told apart from others by what it is about (rule, file, configuration path), not by its line, so that
//! an alert survives lines that move above it. Files under the working directory are named relative to it.
//!
//! Limits: one region a result; a finding without a place points at the file as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Text as _;
use evenkeel_web::views::FindingView;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Results of one file; what code hosts accept in one upload.
const RESULTS_MAX: usize = 5_000;
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// Name of the fingerprint; a later way to compute it gets another number.
const FINGERPRINT: &str = "evenkeelPath/v1";

/// The log of one run over `file`. `base` is the working directory.
pub(crate) fn log(findings: &[FindingView], file: &Path, base: Option<&Path>) -> Value {
    let shown = || findings.iter().take(RESULTS_MAX);
    let ids: BTreeSet<&str> = shown().map(|finding| finding.id.as_str()).collect();
    let index: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut twins: BTreeMap<String, usize> = BTreeMap::new();
    let results: Vec<Value> = shown()
        .map(|finding| {
            let name = finding.file.as_deref().map_or(file, Path::new);
            let uri = uri(name, base);
            let key = format!("{}\n{uri}\n{}", finding.id, finding.path);
            let twin = twins.entry(key.clone()).or_default();
            *twin += 1;
            let fingerprint = hex(&Sha256::digest(format!("{key}\n{twin}")));
            result(finding, &uri, &fingerprint, index.get(finding.id.as_str()))
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "evenkeel",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": ids.iter().map(|id| rule(id)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(id: &str) -> Value {
    let Some(known) = evenkeel_audit::explain(id) else {
        return json!({ "id": id, "shortDescription": { "text": id } });
    };
    json!({
        "id": id,
        "shortDescription": { "text": known.title },
        "fullDescription": { "text": known.title },
        "help": { "text": known.text },
    })
}

fn result(finding: &FindingView, uri: &str, fingerprint: &str, rule: Option<&usize>) -> Value {
    let level = match finding.severity.as_str() {
        "error" => "error",
        "warning" => "warning",
        _ => "note",
    };
    let mut words = finding.message.clone();
    for (label, text) in [("effect", &finding.effect), ("fix", &finding.fix)] {
        if !text.is_empty() {
            words.text(format_args!("\n{label}: {text}"));
        }
    }
    let mut physical = json!({ "artifactLocation": { "uri": uri } });
    if let (Some(line), Some(column), Some(place)) =
        (finding.line, finding.column, physical.as_object_mut())
    {
        place.insert(
            "region".to_owned(),
            json!({ "startLine": line, "startColumn": column }),
        );
    }
    let mut result = json!({
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": level,
        "message": { "text": words },
        "locations": [{
            "physicalLocation": physical,
            "logicalLocations": [{ "fullyQualifiedName": finding.path }],
        }],
        "partialFingerprints": { FINGERPRINT: fingerprint },
    });
    if let (Some(waived), Some(fields)) = (&finding.waived, result.as_object_mut()) {
        let words = format!("{} (until {})", waived.reason, waived.until);
        fields.insert(
            "suppressions".to_owned(),
            json!([{ "kind": "inSource", "justification": words }]),
        );
    }
    result
}

/// A relative reference where the file lies under `base`, else a `file:` URI (RFC 8089).
fn uri(file: &Path, base: Option<&Path>) -> String {
    let relative = base.and_then(|base| file.strip_prefix(base).ok());
    let path = relative.unwrap_or(file).to_string_lossy().into_owned();
    let plain = path.strip_prefix("./").unwrap_or(&path);
    let mut out = String::from(if plain.starts_with('/') {
        "file://"
    } else {
        ""
    });
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.text(format_args!("%{byte:02X}"));
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::uri;
    use std::path::Path;

    #[test]
    fn a_file_is_named_relative_to_the_working_directory_and_escaped() {
        let base = Some(Path::new("/work/repo"));
        assert_eq!(
            uri(Path::new("/work/repo/conf/a b.cfg"), base),
            "conf/a%20b.cfg"
        );
        assert_eq!(uri(Path::new("./conf/ä.cfg"), base), "conf/%C3%A4.cfg");
        assert_eq!(
            uri(Path::new("/etc/haproxy.cfg"), base),
            "file:///etc/haproxy.cfg"
        );
    }
}
