//! Where the reader of haproxy.cfg writes its notes: the book, with the section it is at.
//!
//! Every finding stands at `<section path>.line.<number>`, placed at the words it is about.

use std::ops::Range;
use std::time::Duration;

use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Touches;

use crate::GAPS_MAX;
use crate::book::{Book, Words};
use crate::haproxy::lexer::Word;

/// Longest piece of a line that a finding quotes, characters.
const QUOTE_MAX: usize = 80;
/// Longest time that HAProxy takes, ms.
const TIME_MAX_MS: u64 = 2_147_483_647;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) range: Range<usize>,
}

impl<T> At<T> {
    pub(super) const fn new(value: T, range: Range<usize>) -> Self {
        Self { value, range }
    }
}

/// The notes, in one section.
pub(super) struct Desk<'b, 'f> {
    pub(super) book: &'b mut Book<'f>,
    pub(super) source: usize,
    /// Path of the section.
    pub(super) section: String,
    /// Errors so far.
    pub(super) errors: usize,
    /// Gaps so far.
    pub(super) gaps: usize,
}

impl Desk<'_, '_> {
    /// Path of the line, placed at `range`.
    pub(super) fn here(&mut self, range: &Range<usize>) -> String {
        let line = self.book.line(self.source, range.start);
        let path = if self.section.is_empty() {
            format!("line.{line}")
        } else {
            format!("{}.line.{line}", self.section)
        };
        self.book.place(&path, self.source, range.clone());
        path
    }

    pub(super) fn place(&mut self, path: &str, range: &Range<usize>) {
        self.book.place(path, self.source, range.clone());
    }

    fn error(&mut self, id: &'static str, range: &Range<usize>, message: String, fix: &str) {
        self.errors += 1;
        let path = self.here(range);
        let words = Words {
            id,
            message,
            effect: "HAProxy refuses the whole file and keeps or gets no configuration".to_owned(),
            fix: fix.to_owned(),
        };
        self.book.error(&path, words);
    }

    /// The line cannot be read.
    pub(super) fn unreadable(&mut self, range: &Range<usize>, message: String) {
        self.error("IMP-01", range, message, "put the line right");
    }

    /// HAProxy refuses the value, or what it names is not there.
    pub(super) fn refuse(&mut self, range: &Range<usize>, message: String) {
        self.error(
            "IMP-04",
            range,
            message,
            "set a value that HAProxy takes; `haproxy -c -f FILE` shows its own message",
        );
    }

    /// A bound of the reader.
    pub(super) fn too_much(&mut self, range: &Range<usize>, message: String) {
        let path = self.here(range);
        let words = Words {
            id: "IMP-05",
            message,
            effect: "the configuration is not judged, because a part of it is missing".to_owned(),
            fix: "split the configuration".to_owned(),
        };
        self.book.error(&path, words);
    }

    /// HAProxy accepts it and does something else.
    pub(super) fn unheeded(
        &mut self,
        range: &Range<usize>,
        message: &str,
        effect: &str,
        fix: &str,
    ) {
        let path = self.here(range);
        let words = Words {
            id: "IMP-06",
            message: message.to_owned(),
            effect: effect.to_owned(),
            fix: fix.to_owned(),
        };
        self.book.remark(Severity::Warning, &path, words);
    }

    /// Words that are not understood.
    pub(super) fn gap(&mut self, words: &[Word], touches: Touches) {
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            return;
        };
        let range = first.range.start..last.range.end;
        let path = self.gap_path(&range);
        if words.iter().any(|word| word.is_unknown) {
            let because = "the environment sets a variable of it";
            self.book.unknowable(&path, &quote(words), because, touches);
        } else {
            self.book.gap(&path, &quote(words), touches);
        }
    }

    /// Words that are understood, and of which the file does not say what the forecast would need; with the reason.
    pub(super) fn unknowable(
        &mut self,
        what: &str,
        range: &Range<usize>,
        because: &str,
        touches: Touches,
    ) {
        let path = self.gap_path(range);
        self.book.unknowable(&path, what, because, touches);
    }

    /// Words that are understood, and whose effect is not worked out here; with the reason.
    pub(super) fn unforeseen(
        &mut self,
        what: &str,
        range: &Range<usize>,
        because: &str,
        touches: Touches,
    ) {
        let path = self.gap_path(range);
        self.book.gap_because(&path, what, because, touches);
    }

    /// Those beyond the bound are only counted, so their places are not kept.
    fn gap_path(&mut self, range: &Range<usize>) -> String {
        self.gaps += 1;
        if self.gaps > GAPS_MAX {
            self.section.clone()
        } else {
            self.here(range)
        }
    }

    /// A whole number the way C's `atol` reads it: what follows the digits is dropped, with a warning; `None` with a gap
    /// where the value is a variable.
    pub(super) fn number(&mut self, words: &[Word], touches: &Touches) -> Option<At<i64>> {
        let [name, word, ..] = words else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            let name = words.first().map_or("", |word| &word.text);
            self.refuse(&range, format!("`{}` needs a number", shorten(name)));
            return None;
        };
        if word.is_unknown {
            self.gap(&words[..2], touches.clone());
            return None;
        }
        let (value, is_clean) = atol(&word.text);
        if !is_clean {
            let message = format!(
                "`{} {}` is no whole number; HAProxy reads it as {value}",
                name.text,
                shorten(&word.text)
            );
            let fix = "write a whole number";
            self.unheeded(
                &word.range,
                &message,
                "the value in effect is not the one written",
                fix,
            );
        }
        Some(At::new(value, word.range.clone()))
    }

    /// A time; `None` with a gap where the value is a variable, with a finding where HAProxy refuses it.
    pub(super) fn time(&mut self, words: &[Word]) -> Option<At<Duration>> {
        let [name, word, ..] = words else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            let name = words.first().map_or("", |word| &word.text);
            self.refuse(&range, format!("`{}` needs a time", shorten(name)));
            return None;
        };
        if word.is_unknown {
            self.gap(&words[..2], Touches::Resilience);
            return None;
        }
        match time(&word.text) {
            Ok(value) => Some(At::new(value, word.range.clone())),
            Err(reason) => {
                let message = format!("`{} {}` {reason}", name.text, shorten(&word.text));
                self.refuse(&word.range, message);
                None
            }
        }
    }
}

/// The words as they are quoted in a finding.
pub(super) fn quote(words: &[Word]) -> String {
    let mut quoted = String::new();
    for word in words {
        if !quoted.is_empty() {
            quoted.push(' ');
        }
        quoted.push_str(&shorten(&word.text));
        if quoted.len() > QUOTE_MAX {
            break;
        }
    }
    shorten(&quoted)
}

/// At most [`QUOTE_MAX`] characters, without control characters.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(QUOTE_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(QUOTE_MAX).is_some() {
        short.push_str("...");
    }
    short
}

/// C's `atol`, and whether nothing but digits stood there.
pub(super) fn atol(text: &str) -> (i64, bool) {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let value = digits[..end].parse::<i64>().unwrap_or(match end {
        0 => 0,
        _ => i64::MAX,
    });
    (sign * value, end > 0 && end == digits.len())
}

/// A time as HAProxy writes it; milliseconds without a unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err("is no time".to_owned());
    }
    let micros = match unit {
        "us" => 1,
        "ms" | "" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000_u64,
        _ => return Err("has no unit that HAProxy knows (us, ms, s, m, h, d)".to_owned()),
    };
    let micros = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(micros));
    match micros {
        Some(micros) if micros / 1_000 <= TIME_MAX_MS => Ok(Duration::from_micros(micros)),
        _ => Err("is over 24.8 days, the longest time of HAProxy".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{atol, time};

    #[test]
    fn times_have_the_units_and_the_end_of_haproxy() {
        assert_eq!(time("5"), Ok(Duration::from_millis(5)));
        assert_eq!(time("1500us"), Ok(Duration::from_micros(1_500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("24d"), Ok(Duration::from_secs(24 * 86_400)));
        assert!(time("25d").is_err());
        assert!(time("99999999999999999999s").is_err());
        assert!(time("1x").is_err());
        assert!(time("s").is_err());
    }

    #[test]
    fn numbers_are_cut_where_the_digits_end() {
        assert_eq!(atol("256"), (256, true));
        assert_eq!(atol("-5"), (-5, true));
        assert_eq!(atol("5x"), (5, false));
        assert_eq!(atol("abc"), (0, false));
        assert_eq!(atol(""), (0, false));
        assert_eq!(atol("99999999999999999999"), (i64::MAX, true));
    }
}
