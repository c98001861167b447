//! What a route matches.

use evenkeel_model::setup::Touches;

use crate::book::Book;
use crate::envoy::fields::{Fields, refuse, scalar};
use crate::envoy::node::Place;
use crate::envoy::route::both;
use crate::envoy::upstream::sketch;

/// What a route matches, its host left out. Default: everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Match {
    pub(super) prefix: Option<String>,
    pub(super) whole_segments: bool,
    pub(super) condition: Option<String>,
}

impl Match {
    /// Whether it matches every request.
    pub(super) fn takes_all(&self) -> bool {
        self.condition.is_none()
            && self
                .prefix
                .as_deref()
                .is_none_or(|prefix| matches!(prefix, "" | "/"))
    }
}

/// Reads a `RouteMatch` of the route at `place`.
pub(super) fn matching(book: &mut Book<'_>, mut fields: Fields<'_>, place: Place) -> Match {
    let mut found = Match::default();
    let mut count = 0_u32;
    let mut condition = None;
    if let Some(prefix) = fields.text(book, "prefix") {
        found.prefix = Some(prefix.to_owned());
        count += 1;
    }
    if let Some(prefix) = fields.text(book, "path_separated_prefix") {
        found.prefix = Some(prefix.to_owned());
        found.whole_segments = true;
        count += 1;
    }
    if let Some(path) = fields.text(book, "path") {
        found.prefix = Some(path.to_owned());
        condition = both(condition, Some(format!("path is {path}")));
        count += 1;
    }
    if let Some(regex) = fields.message(book, "safe_regex") {
        condition = both(condition, Some(regex_words(book, regex)));
        count += 1;
    }
    for name in ["connect_matcher", "path_match_policy"] {
        if let Some(node) = fields.take(name) {
            condition = both(condition, Some(format!("{name} {}", sketch(node))));
            count += 1;
        }
    }
    if count != 1 {
        let message = "a match needs exactly one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`, `connect_matcher`, `path_match_policy`";
        refuse(
            book,
            &fields.path,
            place,
            format!("{message}; this one has {count}"),
        );
    }
    if fields.take("case_sensitive").is_some() && !fields.flag(book, "case_sensitive") {
        condition = both(condition, Some("in any case".to_owned()));
    }
    for name in [
        "headers",
        "query_parameters",
        "grpc",
        "tls_context",
        "dynamic_metadata",
        "filter_state",
        "cookies",
    ] {
        if let Some(node) = fields.take(name) {
            let words = sketch(node);
            let words = format!("{} {words}", name.replace('_', " "));
            condition = both(condition, Some(words.trim_end().to_owned()));
        }
    }
    if let Some(mut fraction) = fields.message(book, "runtime_fraction") {
        let part = fraction_of(book, &mut fraction);
        if part < 1.0 {
            let words = format!("{} % of requests", part * 100.0);
            condition = both(condition, Some(words));
        }
        fraction.close(book, &["runtime_key"], &Touches::Routing);
    }
    fields.close(book, &[], &Touches::Routing);
    found.condition = condition;
    found
}

fn regex_words(book: &mut Book<'_>, mut regex: Fields<'_>) -> String {
    let text = regex.take("regex").and_then(scalar).unwrap_or("");
    let words = format!("path matches {}", super::node::brief(text));
    regex.close(book, &["google_re2"], &Touches::Routing);
    words
}

/// The part (0..1) of a `RuntimeFractionalPercent`.
fn fraction_of(book: &mut Book<'_>, fraction: &mut Fields<'_>) -> f64 {
    let Some(mut value) = fraction.message(book, "default_value") else {
        return 0.0;
    };
    let numerator = value
        .number(book, "numerator", 0..=u64::from(u32::MAX))
        .unwrap_or(0);
    let words = ["HUNDRED", "TEN_THOUSAND", "MILLION"];
    let denominator = match value.word(book, "denominator", &words) {
        Some("TEN_THOUSAND") => 1e4,
        Some("MILLION") => 1e6,
        _ => 1e2,
    };
    value.close(book, &[], &Touches::Routing);
    numerator as f64 / denominator
}
