//! Utilisation that a backend reports with its responses: the ORCA header `endpoint-load-metrics`
//! (Open Request Cost Aggregation, as in gRPC A51 and Envoy), text and JSON form.
//!
//! Only `cpu_utilization`, `mem_utilization` and `application_utilization` are taken. What does not parse is ignored: a metric is a hint, and a
//! backend must not be able to break its own responses with one. The header never reaches the client.

/// Name of the header, lower case.
pub(crate) const HEADER: &str = "endpoint-load-metrics";
/// A longer value is ignored.
const VALUE_MAX: usize = 4_096;
/// A value above this is taken for an error of the reporter.
const UTILISATION_MAX: f64 = 100.0;

/// What a backend reported: fractions, 0 to 1, possibly above 1 for the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Report {
    pub(crate) cpu: Option<f64>,
    pub(crate) memory: Option<f64>,
    /// Of whatever the backend finds scarce.
    pub(crate) application: Option<f64>,
}

/// Reads the value of the header.
pub(crate) fn parse(value: &[u8]) -> Option<Report> {
    if value.len() > VALUE_MAX {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.trim();
    let report = if let Some(rest) = strip_word(text, "TEXT") {
        parse_text(rest)
    } else if let Some(rest) = strip_word(text, "JSON") {
        parse_json(rest)?
    } else {
        return None;
    };
    (report != Report::default()).then_some(report)
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    (head.eq_ignore_ascii_case(word) && rest.starts_with([' ', '\t'])).then(|| rest.trim())
}

fn parse_text(text: &str) -> Report {
    let mut report = Report::default();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        let value = value.trim().parse().ok().and_then(sound);
        match key.trim() {
            "cpu_utilization" => report.cpu = value,
            "mem_utilization" => report.memory = value,
            "application_utilization" => report.application = value,
            _ => {}
        }
    }
    report
}

fn parse_json(text: &str) -> Option<Report> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let number = |key: &str| value.get(key)?.as_f64().and_then(sound);
    Some(Report {
        cpu: number("cpu_utilization"),
        memory: number("mem_utilization"),
        application: number("application_utilization"),
    })
}

fn sound(value: f64) -> Option<f64> {
    (0.0..=UTILISATION_MAX).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{Report, parse};

    #[test]
    fn both_forms_are_read() {
        let expected = Some(Report {
            cpu: Some(0.3),
            memory: Some(0.8),
            application: None,
        });
        let of_application = Some(Report {
            application: Some(1.5),
            ..Report::default()
        });
        let text = b"TEXT application_utilization=1.5";
        assert_eq!(parse(text), of_application);
        let json = br#"JSON {"application_utilization": 1.5}"#;
        assert_eq!(parse(json), of_application);
        assert_eq!(
            parse(b"TEXT cpu_utilization=0.3,mem_utilization=0.8"),
            expected
        );
        assert_eq!(
            parse(b"text cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=10"),
            expected
        );
        assert_eq!(
            parse(br#"JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "named_metrics": {}}"#),
            expected
        );
    }

    #[test]
    fn nonsense_is_ignored() {
        let long = format!("TEXT cpu_utilization=0.3,{}", "x".repeat(5_000));
        for value in [
            "",
            "TEXT",
            "TEXTcpu_utilization=0.3",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=-1",
            "TEXT cpu_utilization=inf",
            "JSON {",
            "JSON []",
            "JSON {\"cpu_utilization\": \"x\"}",
            "BIN AAAA",
            &long,
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }
}
