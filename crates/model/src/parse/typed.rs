//! Typed values of a [`Section`]: each checks type, unit and range and says what a value outside it would do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Found, Reader, Report, Section, bad_name, clip, list, show};
use super::suggest::suggestion;
use crate::ids::Name;
use crate::units::{ByteSize, Ratio, format_duration, parse_duration};

/// Longest text that a value may be (a path, an address, a URL).
const TEXT_LENGTH_MAX: usize = 4_096;

/// How a number is written where something else stands.
fn like(found: &Found<'_>, key: &str, example: f64) -> String {
    let is_text = matches!(found.value, DeValue::String(_));
    let without = if is_text { " without quotes" } else { "" };
    format!("write a number{without}: `{key} = {example}`")
}

/// The accepted range of a value, both ends included, and what a value outside it would do.
pub(super) struct Limits<T> {
    pub(super) min: T,
    pub(super) max: T,
    pub(super) outside: &'static str,
}

impl<T: PartialOrd + Copy> Limits<T> {
    /// `value` if it is in range, else a finding.
    fn check(
        &self,
        reader: &mut Reader,
        found: &Found<'_>,
        value: T,
        text: impl Fn(T) -> String,
    ) -> Option<T> {
        if value >= self.min && value <= self.max {
            return Some(value);
        }
        let (word, limit) = if value < self.min {
            ("least", self.min)
        } else {
            ("most", self.max)
        };
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` must be at {word} {}, got {}",
                found.path,
                text(limit),
                show(found.value)
            ),
            effect: self.outside.to_owned(),
            fix: format!(
                "write a value from {} to {}",
                text(self.min),
                text(self.max)
            ),
        };
        reader.error(&found.path, found.span.clone(), report);
        None
    }
}

impl<'d> Section<'d> {
    /// A text that is not empty.
    pub(super) fn text(&self, reader: &mut Reader, key: &str) -> Option<(&'d str, Found<'d>)> {
        let found = self.get(reader, key)?;
        let DeValue::String(text) = found.value else {
            reader.wrong(
                &found,
                "a text",
                format!("put it in quotes: `{key} = \"...\"`"),
            );
            return None;
        };
        if text.is_empty() || text.len() > TEXT_LENGTH_MAX {
            let limit = format!("a text of 1 to {TEXT_LENGTH_MAX} bytes");
            reader.wrong(&found, limit, format!("write the value or remove `{key}`"));
            return None;
        }
        Some((text.as_ref(), found))
    }

    /// A text that `read` understands; its error says what is expected and how to put it right.
    pub(super) fn read<T>(
        &self,
        reader: &mut Reader,
        key: &str,
        read: impl Fn(&str) -> Result<T, Expected>,
    ) -> Option<T> {
        let (text, found) = self.text(reader, key)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(expected) => {
                reader.wrong(&found, expected.what, expected.fix);
                None
            }
        }
    }

    /// A path of the file system.
    pub(super) fn path(&self, reader: &mut Reader, key: &str) -> Option<PathBuf> {
        self.read(reader, key, |text| {
            if text.contains('\0') {
                return Err(Expected::new(
                    "a path without a NUL byte",
                    "write the path of a file",
                ));
            }
            Ok(PathBuf::from(text))
        })
    }

    /// A [`Name`].
    pub(super) fn name(&self, reader: &mut Reader, key: &str) -> Option<Name> {
        let (text, found) = self.text(reader, key)?;
        match Name::new(text) {
            Ok(name) => Some(name),
            Err(error) => {
                reader.error(&found.path, found.span, bad_name(text, &error.to_string()));
                None
            }
        }
    }

    /// One of a set of words.
    pub(super) fn choice<T: Copy>(
        &self,
        reader: &mut Reader,
        key: &str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let (text, found) = self.text(reader, key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let first = words.first().copied().unwrap_or_default();
        let fix = suggestion(text, words.iter().copied()).map_or_else(
            || format!("write one of them, such as `{key} = \"{first}\"`"),
            |word| format!("did you mean \"{word}\"?"),
        );
        reader.wrong(&found, format!("one of {}", list(&words)), fix);
        None
    }

    /// A list of words of a fixed set, each at most once.
    pub(super) fn choices<T: Copy>(
        &self,
        reader: &mut Reader,
        key: &str,
        choices: &[(&'static str, T)],
    ) -> Option<Vec<T>> {
        let found = self.get(reader, key)?;
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("a list of {}", list(&words));
        let DeValue::Array(array) = found.value else {
            let first = words.first().copied().unwrap_or_default();
            reader.wrong(&found, expected, format!("write `{key} = [\"{first}\"]`"));
            return None;
        };
        let mut seen: Vec<&str> = Vec::new();
        let mut values = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let element = Found {
                path: format!("{}.{index}", found.path),
                span: item.span(),
                value: item.get_ref(),
            };
            let text = match item.get_ref() {
                DeValue::String(text) => text.as_ref(),
                _ => "",
            };
            let choice = choices.iter().find(|(word, _)| *word == text);
            match choice.filter(|_| !seen.contains(&text)) {
                Some((word, value)) => {
                    seen.push(word);
                    values.push(*value);
                }
                None if choice.is_some() => {
                    let fix = "remove it from the list".to_owned();
                    reader.wrong(&element, "a word that is not in the list yet", fix);
                }
                None => {
                    let fix = suggestion(text, words.iter().copied()).map_or_else(
                        || "write one of them".to_owned(),
                        |word| format!("did you mean \"{word}\"?"),
                    );
                    reader.wrong(&element, format!("one of {}", list(&words)), fix);
                }
            }
        }
        (values.len() == array.len()).then_some(values)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, reader: &mut Reader, key: &str) -> Option<bool> {
        let found = self.get(reader, key)?;
        if let DeValue::Boolean(value) = found.value {
            return Some(*value);
        }
        reader.wrong(
            &found,
            "`true` or `false`",
            format!("write `{key} = true` or `{key} = false`"),
        );
        None
    }

    /// A whole number in range.
    pub(super) fn integer(
        &self,
        reader: &mut Reader,
        key: &str,
        limits: &Limits<u32>,
    ) -> Option<u32> {
        let found = self.get(reader, key)?;
        let DeValue::Integer(integer) = found.value else {
            let near = match found.value {
                DeValue::String(text) => text.parse::<f64>().ok(),
                DeValue::Float(float) => float.as_str().parse().ok(),
                _ => None,
            };
            let (min, max) = (f64::from(limits.min), f64::from(limits.max));
            let near = near.filter(|near| near.is_finite()).unwrap_or(min);
            let fix = like(&found, key, near.round().clamp(min, max));
            reader.wrong(&found, "a whole number", fix);
            return None;
        };
        // Beyond i64 the sign still tells on which side of the range the value lies.
        let wide =
            i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or_else(|_too_wide| {
                if integer.as_str().starts_with('-') {
                    i64::MIN
                } else {
                    i64::MAX
                }
            });
        let range = Limits {
            min: i64::from(limits.min),
            max: i64::from(limits.max),
            outside: limits.outside,
        };
        range
            .check(reader, &found, wide, |n| n.to_string())
            .and_then(|n| u32::try_from(n).ok())
    }

    /// A whole or decimal number above zero.
    pub(super) fn number(
        &self,
        reader: &mut Reader,
        key: &str,
        limits: &Limits<f64>,
    ) -> Option<f64> {
        let found = self.get(reader, key)?;
        let value = match found.value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .ok()
                .map(|n| n as f64),
            DeValue::Float(n) => n.as_str().parse::<f64>().ok().filter(|n| n.is_finite()),
            _ => None,
        };
        let Some(value) = value else {
            let fix = if key.ends_with("_rps") {
                format!("write requests per second without a unit: `{key} = 600`")
            } else {
                let near = match found.value {
                    DeValue::String(text) => text.parse::<f64>().ok(),
                    _ => None,
                };
                let near = near.filter(|near| near.is_finite()).unwrap_or(2.5);
                like(&found, key, near.clamp(limits.min, limits.max))
            };
            reader.wrong(&found, "a number", fix);
            return None;
        };
        limits.check(reader, &found, value, |n| n.to_string())
    }

    /// A duration in range.
    pub(super) fn duration(
        &self,
        reader: &mut Reader,
        key: &str,
        limits: &Limits<Duration>,
    ) -> Option<Duration> {
        let found = self.get(reader, key)?;
        let value = unit(
            reader,
            &found,
            "a duration with its unit, such as \"250ms\"",
            "s",
            parse_duration,
        )?;
        limits.check(reader, &found, value, format_duration)
    }

    /// A duration after which traffic is given up on. Zero is `TMO-01`: it would give up on everything at once,
    /// and other proxies read it as "never", so it is refused rather than guessed.
    pub(super) fn timeout(
        &self,
        reader: &mut Reader,
        key: &str,
        limits: &Limits<Duration>,
    ) -> Option<Duration> {
        let found = self.get(reader, key)?;
        let value = unit(
            reader,
            &found,
            "a duration with its unit, such as \"250ms\"",
            "s",
            parse_duration,
        )?;
        if !value.is_zero() {
            return limits.check(reader, &found, value, format_duration);
        }
        let report = Report {
            id: "TMO-01",
            message: format!(
                "`{}` must be at least {}, got 0",
                found.path,
                format_duration(limits.min)
            ),
            effect: "a timeout of 0 gives up on every request at once".to_owned(),
            fix: "write how long to wait, or remove the key for its default".to_owned(),
        };
        reader.error(&found.path, found.span, report);
        None
    }

    /// A percentage in range.
    pub(super) fn ratio(
        &self,
        reader: &mut Reader,
        key: &str,
        limits: &Limits<Ratio>,
    ) -> Option<Ratio> {
        let found = self.get(reader, key)?;
        let value = unit(
            reader,
            &found,
            "a percentage such as \"20%\"",
            "%",
            Ratio::parse,
        )?;
        limits.check(reader, &found, value, |ratio| ratio.to_string())
    }

    /// A size in range.
    pub(super) fn size(
        &self,
        reader: &mut Reader,
        key: &str,
        limits: &Limits<ByteSize>,
    ) -> Option<ByteSize> {
        let found = self.get(reader, key)?;
        let value = unit(
            reader,
            &found,
            "a size with its unit, such as \"16KiB\"",
            "KiB",
            ByteSize::parse,
        )?;
        limits.check(reader, &found, value, |size| size.to_string())
    }
}

/// A value whose unit stands in its text.
fn unit<T, E>(
    reader: &mut Reader,
    found: &Found<'_>,
    expected: impl fmt::Display,
    unit: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let fix = match found.value {
        DeValue::String(text) => match parse(text) {
            Ok(value) => return Some(value),
            Err(_said_by_the_finding) => "write a number and its unit in quotes".to_owned(),
        },
        // In HAProxy a bare number is milliseconds, so a large one was meant as that.
        DeValue::Integer(n) if unit == "s" && n.as_str().len() > 2 => format!(
            "put the unit into the value: \"{n}ms\" or \"{n}s\"",
            n = clip(n.as_str())
        ),
        DeValue::Integer(n) => format!(
            "put the unit into the value, for example \"{}{unit}\"",
            clip(n.as_str())
        ),
        _ => "write a number and its unit in quotes".to_owned(),
    };
    reader.wrong(found, expected, fix);
    None
}

/// What a text should have been.
pub(super) struct Expected {
    pub(super) what: String,
    pub(super) fix: String,
}

impl Expected {
    pub(super) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }
}
