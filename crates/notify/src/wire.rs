//! The JSON of a notice: `{type, timestamp, data}`, under 20 kB.

use evenkeel_incident::Notice;
use evenkeel_incident::civil::rfc3339;
use serde_json::json;

/// The body of a message.
pub(crate) fn body(notice: &Notice, admin: &str) -> String {
    let links = notice
        .links
        .iter()
        .map(|l| json!({ "what": l.what, "url": format!("{admin}{}", l.path) }));
    json!({
        "type": notice.event.as_str(),
        "timestamp": rfc3339(notice.at),
        "data": {
            "incident": notice.incident.map(|i| i.to_string()),
            "revision": notice.revision.map(|r| r.to_string()),
            "kind": notice.kind.as_str(),
            "severity": notice.severity.as_str(),
            "status": notice.status.map(evenkeel_model::record::IncidentStatus::as_str),
            "level": notice.level,
            "title": notice.title,
            "lines": notice.lines,
            "links": links.collect::<Vec<_>>(),
        },
    })
    .to_string()
}
