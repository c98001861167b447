//! A message of Envoy's configuration, field by field.
//!
//! A [`Fields`] is opened on a map, asked for the fields that are understood, and closed with the names that are known
//! to be harmless. What was neither asked for nor is harmless becomes a gap, so nothing can be passed over silently.
//! Names are accepted as protobuf's JSON form accepts them: `snake_case` and `camelCase`. Values follow the same form:
//! durations such as `0.25s`, enumerations by name, numbers also in quotes, wrapped numbers bare.
//!
//! A value that Envoy would refuse is an error here, so that "it starts" and "there is a setup" mean the same.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_model::setup::Touches;

use crate::book::{Book, Words};
use crate::envoy::node::{Key, Node, Place, Value, brief};

/// Longest name, address or path that is taken, bytes: they are repeated for each host and route.
pub(super) const WORD_MAX: usize = 512;
/// Longest duration that protobuf knows, seconds.
const SECONDS_MAX: f64 = 315_576_000_000.0;

/// The entries of a map.
type Entries = [(Key, Rc<Node>)];

/// A message that is being read.
pub(super) struct Fields<'n> {
    /// Configuration path of the message.
    pub(super) path: String,
    entries: &'n Entries,
    is_used: Vec<bool>,
}

impl<'n> Fields<'n> {
    /// Opens the map `node`, which has the configuration path `path`; an error when it is something else.
    pub(super) fn open(book: &mut Book<'_>, node: &'n Node, path: &str) -> Option<Self> {
        let entries: &Entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                let message = format!("expected a map, found {}", node.describe());
                refuse_shape(book, path, node.place, message);
                return None;
            }
        };
        Some(Self {
            path: path.to_owned(),
            entries,
            is_used: vec![false; entries.len()],
        })
    }

    /// A message that is not there.
    pub(super) fn empty(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            entries: &[],
            is_used: Vec::new(),
        }
    }

    /// Where it starts: its first key.
    pub(super) fn start(&self) -> Option<Place> {
        self.entries.first().map(|(key, _)| key.place)
    }

    /// The path of the field `name`.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Key and value of `name`, the last when there are several. `null` counts as not there.
    pub(super) fn entry(&mut self, name: &str) -> Option<(&'n Key, &'n Node)> {
        let mut found = None;
        for ((key, node), is_used) in self.entries.iter().zip(&mut self.is_used) {
            if is_name(&key.text, name) {
                *is_used = true;
                found = Some((key, &**node));
            }
        }
        found.filter(|(_, node)| !node.is_null())
    }

    /// The value of `name`.
    pub(super) fn take(&mut self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The message in `name`, at the path `self.path.name`.
    pub(super) fn message(&mut self, book: &mut Book<'_>, name: &str) -> Option<Self> {
        let path = self.at(name);
        self.message_at(book, name, &path)
    }

    /// The message in `name`, at another path.
    pub(super) fn message_at(
        &mut self,
        book: &mut Book<'_>,
        name: &str,
        path: &str,
    ) -> Option<Self> {
        self.take(name)
            .and_then(|node| Self::open(book, node, path))
    }

    /// The items of the list `name`; empty when it is not there.
    pub(super) fn list(&mut self, book: &mut Book<'_>, name: &str) -> &'n [Rc<Node>] {
        let Some(node) = self.take(name) else {
            return &[];
        };
        if let Value::List(items) = &node.value {
            return items;
        }
        let message = format!("`{name}` must be a list, found {}", node.describe());
        refuse_shape(book, &self.at(name), node.place, message);
        &[]
    }

    /// The text in `name`.
    pub(super) fn text(&mut self, book: &mut Book<'_>, name: &str) -> Option<&'n str> {
        let node = self.take(name)?;
        text_of(book, node, name, &self.at(name))
    }

    /// The texts of the list `name`.
    pub(super) fn texts(&mut self, book: &mut Book<'_>, name: &str) -> Vec<&'n str> {
        let path = self.at(name);
        let items = self.list(book, name).iter();
        items
            .filter_map(|node| text_of(book, node, name, &path))
            .collect()
    }

    /// The whole number in `name`, which must be in `range`.
    pub(super) fn number(
        &mut self,
        book: &mut Book<'_>,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let node = self.take(name)?;
        let whole = scalar(node).and_then(|text| {
            let plain = text.parse::<u64>().ok().or_else(|| hexadecimal(text));
            let float = || text.parse::<f64>().ok();
            plain.or_else(|| {
                float()
                    .filter(|f| f.fract().abs() < f64::EPSILON && *f >= 0.0)
                    .map(|f| f as u64)
            })
        });
        let path = self.at(name);
        match whole {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => {
                let limits = (*range.start(), *range.end());
                let limit = match limits {
                    (start, u64::MAX) => format!("at least {start}"),
                    (start, end) => format!("between {start} and {end}"),
                };
                refuse(
                    book,
                    &path,
                    node.place,
                    format!("`{name}` must be {limit}, got {number}"),
                );
                None
            }
            None => {
                let found = node.describe();
                let message = format!("`{name}` must be a whole number, got {found}");
                refuse(book, &path, node.place, message);
                None
            }
        }
    }

    /// The number in `name`.
    pub(super) fn float(&mut self, book: &mut Book<'_>, name: &str) -> Option<f64> {
        let node = self.take(name)?;
        let number = scalar(node).and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            let message = format!("`{name}` must be a number, got {}", node.describe());
            refuse(book, &self.at(name), node.place, message);
        }
        number
    }

    /// The part (0..1) in the `Percent` called `name`.
    pub(super) fn percent(&mut self, book: &mut Book<'_>, name: &str) -> Option<f64> {
        let place = self.take(name)?.place;
        let mut percent = self.message(book, name)?;
        let value = percent.float(book, "value").unwrap_or(0.0);
        percent.close(book, &[], &Touches::Resilience);
        if (0.0..=100.0).contains(&value) {
            return Some(value / 100.0);
        }
        let message = format!("`{name}` must be between 0 and 100 percent, got {value}");
        refuse(book, &self.at(name), place, message);
        None
    }

    /// `true` or `false` in `name`; `false` when it is not there.
    pub(super) fn flag(&mut self, book: &mut Book<'_>, name: &str) -> bool {
        let Some(node) = self.take(name) else {
            return false;
        };
        let word = scalar(node).map(str::to_ascii_lowercase);
        match word.as_deref() {
            Some("true" | "yes" | "on" | "y") => true,
            Some("false" | "no" | "off" | "n") => false,
            _ => {
                let message = format!("`{name}` must be true or false, got {}", node.describe());
                refuse(book, &self.at(name), node.place, message);
                false
            }
        }
    }

    /// The duration in `name`.
    pub(super) fn duration(&mut self, book: &mut Book<'_>, name: &str) -> Option<Duration> {
        let node = self.take(name)?;
        let duration = scalar(node).and_then(parse_duration);
        if duration.is_none() {
            let found = node.describe();
            let message = format!("`{name}` must be a duration such as 0.25s, got {found}");
            refuse(book, &self.at(name), node.place, message);
        }
        duration
    }

    /// The duration in `name`, which Envoy wants above 0.
    pub(super) fn some_time(&mut self, book: &mut Book<'_>, name: &str) -> Option<Duration> {
        let duration = self.duration(book, name)?;
        if duration.is_zero()
            && let Some(node) = self.take(name)
        {
            let message = format!("`{name}` must be above 0s, got 0s");
            refuse(book, &self.at(name), node.place, message);
            return None;
        }
        Some(duration)
    }

    /// The word of an enumeration in `name`, by name in any case or by number (the index in `words`).
    pub(super) fn word(
        &mut self,
        book: &mut Book<'_>,
        name: &str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let node = self.take(name)?;
        let text = scalar(node).unwrap_or("");
        let by_name = words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text) && !word.is_empty());
        let by_number = || {
            words
                .get(text.parse::<usize>().ok()?)
                .filter(|word| !word.is_empty())
        };
        let word = by_name.or_else(by_number).copied();
        if word.is_none() {
            let known: Vec<&str> = words
                .iter()
                .copied()
                .filter(|word| !word.is_empty())
                .collect();
            let message = format!(
                "`{name}` has the value {}; known are {}",
                node.describe(),
                known.join(", ")
            );
            refuse(book, &self.at(name), node.place, message);
        }
        word
    }

    /// A gap for each field that nobody asked for, unless it is among `harmless`.
    pub(super) fn close(self, book: &mut Book<'_>, harmless: &[&str], touches: &Touches) {
        let mut names: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
        for ((key, node), is_used) in self.entries.iter().zip(&self.is_used) {
            let path = format!(
                "{}.{}",
                self.path,
                evenkeel_model::canonical::path_segment(&brief(&key.text))
            );
            if !names.insert(&key.text) {
                put(book, &path, key.place);
                let words = Words {
                    id: "IMP-01",
                    message: format!("`{}` stands here a second time", brief(&key.text)),
                    effect: "Envoy uses the last one and forgets the others".to_owned(),
                    fix: "keep one".to_owned(),
                };
                book.remark(evenkeel_model::finding::Severity::Warning, &path, words);
            }
            if *is_used || node.is_null() || harmless.iter().any(|name| is_name(&key.text, name)) {
                continue;
            }
            put(book, &path, key.place);
            book.gap(&path, &brief(&key.text), touches.clone());
        }
    }

    /// A gap for the field `name`, if it is there.
    pub(super) fn unknown(&mut self, book: &mut Book<'_>, name: &str, touches: &Touches) -> bool {
        let Some((key, _)) = self.entry(name) else {
            return false;
        };
        let path = self.at(name);
        put(book, &path, key.place);
        book.gap(&path, name, touches.clone());
        true
    }

    /// Notes where `name` stands, under `path`.
    pub(super) fn place(&mut self, book: &mut Book<'_>, name: &str, path: &str) {
        if let Some((_, node)) = self.entry(name) {
            put(book, path, node.place);
        }
    }

    /// Notes where the key `name` stands, under `path`.
    pub(super) fn place_key(&mut self, book: &mut Book<'_>, name: &str, path: &str) {
        if let Some((key, _)) = self.entry(name) {
            put(book, path, key.place);
        }
    }
}

/// The text in `node`. What YAML takes for a number or a truth value is no text, and Envoy refuses it.
fn text_of<'n>(book: &mut Book<'_>, node: &'n Node, name: &str, path: &str) -> Option<&'n str> {
    let message = match &node.value {
        Value::Scalar { text, .. } if text.len() > WORD_MAX => {
            put(book, path, node.place);
            let words = Words {
                id: "IMP-05",
                message: format!(
                    "`{name}` has {} bytes; at most {WORD_MAX} are read",
                    text.len()
                ),
                effect: "the configuration is not judged, because a part of it is missing"
                    .to_owned(),
                fix: "use a shorter text".to_owned(),
            };
            book.error(path, words);
            return None;
        }
        Value::Scalar { text, is_quoted } if *is_quoted || !is_other_type(text) => {
            return Some(text);
        }
        Value::Scalar { text, .. } => {
            format!(
                "`{name}` must be a text, and `{}` is none without quotes",
                brief(text)
            )
        }
        _ => format!("`{name}` must be a text, found {}", node.describe()),
    };
    refuse_shape(book, path, node.place, message);
    None
}

/// Whether an unquoted value is a number or a truth value.
fn is_other_type(text: &str) -> bool {
    let truths = ["true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && (text.parse::<f64>().is_ok() || hexadecimal(text).is_some());
    is_number || truths.iter().any(|truth| truth.eq_ignore_ascii_case(text))
}

/// A whole number such as `0x1f`.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

/// The text of a single value.
pub(super) fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// Notes where `path` stands.
pub(super) fn put(book: &mut Book<'_>, path: &str, place: Place) {
    book.place(path, place.source as usize, place.range());
}

/// An error about a value that Envoy refuses.
pub(super) fn refuse(book: &mut Book<'_>, path: &str, place: Place, message: String) {
    put(book, path, place);
    book.error(
        path,
        Words {
            id: "IMP-04",
            message,
            effect: "Envoy refuses the configuration".to_owned(),
            fix: "put the value right".to_owned(),
        },
    );
}

/// An error about a value of the wrong shape.
fn refuse_shape(book: &mut Book<'_>, path: &str, place: Place, message: String) {
    put(book, path, place);
    book.error(
        path,
        Words {
            id: "IMP-01",
            message,
            effect: "Envoy refuses the configuration".to_owned(),
            fix: "see the reference of Envoy's API for this field".to_owned(),
        },
    );
}

/// Whether `key` is the field `name` (in `snake_case`) in one of its two spellings.
fn is_name(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    let mut key = key.bytes();
    let mut is_upper = false;
    for byte in name.bytes() {
        if byte == b'_' {
            is_upper = true;
            continue;
        }
        let expected = if is_upper {
            byte.to_ascii_uppercase()
        } else {
            byte
        };
        is_upper = false;
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

/// A duration of protobuf's JSON form: seconds with up to nine digits after the point, and `s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?;
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) || part.len() > 9 {
        return None;
    }
    let nanos = format!("{part:0<9}").parse::<u32>().ok()?;
    let whole = whole
        .parse::<u64>()
        .ok()
        .filter(|whole| *whole as f64 <= SECONDS_MAX)?;
    Some(Duration::new(whole, nanos))
}

#[cfg(test)]
mod tests {
    use super::{is_name, parse_duration};
    use std::time::Duration;

    #[test]
    fn a_field_is_found_in_both_of_its_spellings_and_no_other() {
        assert!(is_name("connect_timeout", "connect_timeout"));
        assert!(is_name("connectTimeout", "connect_timeout"));
        assert!(!is_name("connecttimeout", "connect_timeout"));
        assert!(!is_name("connectTimeouts", "connect_timeout"));
        assert!(!is_name("connect", "connect_timeout"));
    }

    #[test]
    fn a_duration_has_up_to_nine_digits_and_ends_in_s() {
        assert_eq!(parse_duration("0.25s"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("15s"), Some(Duration::from_secs(15)));
        assert_eq!(
            parse_duration("0.000000001s"),
            Some(Duration::from_nanos(1))
        );
        for wrong in [
            "15",
            "15ms",
            ".5s",
            "-1s",
            "1e3s",
            "0.0000000001s",
            "s",
            "1 s",
            "",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
