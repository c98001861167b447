//! `access_log_fields`: what a line of the access log says.

use toml::de::DeValue;

use super::reader::{Found, Reader, Report, Section};
use super::suggest::suggestion;
use super::text::header_name;
use super::typed::Expected;
use crate::config::LogField;

/// Most fields of a line.
const FIELDS_MAX: usize = 64;

/// Headers whose value lets whoever reads it act as somebody else.
const SECRET: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
];

/// Reads it; nothing: the usual ones.
pub(super) fn fields(reader: &mut Reader, root: &Section<'_>) -> Vec<LogField> {
    let Some(found) = root.get(reader, "access_log_fields") else {
        return Vec::new();
    };
    let list = match found.value {
        DeValue::Array(list) if (1..=FIELDS_MAX).contains(&list.len()) => list,
        _ => {
            let fix = "write `access_log_fields = [\"time\", \"status\"]`".to_owned();
            let expected = format!("a list of 1 to {FIELDS_MAX} fields");
            reader.wrong(&found, expected, fix);
            return Vec::new();
        }
    };
    let mut fields = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let element = Found {
            path: format!("{}.{index}", found.path),
            span: item.span(),
            value: item.get_ref(),
        };
        let text = match item.get_ref() {
            DeValue::String(text) => text.as_ref(),
            _ => "",
        };
        match field(text, &fields) {
            Ok(field) => {
                warn_of_secret(reader, &element, &field);
                fields.push(field);
            }
            Err(wrong) => reader.wrong(&element, wrong.what, wrong.fix),
        }
    }
    if !root.has("access_log") {
        let report = Report {
            id: "CFG-06",
            message: "`access_log_fields` stands without `access_log`".to_owned(),
            effect: "nothing is logged".to_owned(),
            fix: "add `access_log = \"/var/log/evenkeel/access.log\"`, or remove it".to_owned(),
        };
        reader.warning(&found.path, found.span, report);
    }
    fields
}

fn field(text: &str, known: &[LogField]) -> Result<LogField, Expected> {
    let Some(field) = LogField::of(text) else {
        let words = LogField::WORDS.iter().copied();
        let fix = match suggestion(text, words) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!(
                "the fields are {}, and \"request_header.NAME\" and \"response_header.NAME\"",
                LogField::WORDS.join(", ")
            ),
        };
        return Err(Expected::new("a field of the access log", fix));
    };
    if field.header() == Some("") {
        return Err(Expected::new(
            "the name of a header behind the dot",
            "write \"request_header.user-agent\"",
        ));
    }
    let field = match field {
        LogField::RequestHeader(name) => LogField::RequestHeader(header_name(&name)?),
        LogField::ResponseHeader(name) => LogField::ResponseHeader(header_name(&name)?),
        plain => plain,
    };
    if known.contains(&field) {
        return Err(Expected::new(
            "a field that is not in the list yet",
            "remove it from the list",
        ));
    }
    Ok(field)
}

fn warn_of_secret(reader: &mut Reader, element: &Found<'_>, field: &LogField) {
    if !field.header().is_some_and(|name| SECRET.contains(&name)) {
        return;
    }
    let report = Report {
        id: "CFG-06",
        message: format!("\"{}\" is written into every line", field.name()),
        effect: "whoever reads the access log can act as the clients in it".to_owned(),
        fix: "remove it from the list, or guard the log as you guard passwords".to_owned(),
    };
    reader.warning(&element.path, element.span.clone(), report);
}
