//! A line of haproxy.cfg cut into words, as HAProxy 2.6 cuts it.
//!
//! Blanks separate words; `#` starts a comment; `\` takes away the meaning of what follows; inside `'` nothing has a
//! meaning; inside `"` only `\` and `$` have. A variable (only inside `"`) is replaced where its value stands in the
//! file or where it brings a default; else the word keeps its spelling and says that it is not known.
//! There are no continued lines: a `\` at the end of a line is a word of its own.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

/// Most words of a line; HAProxy refuses more.
pub(super) const WORDS_MAX: usize = 64;
/// Most bytes that variables may add to a line; beyond it they count as unknown, so that a few lines that double a
/// variable cannot fill the memory.
const EXPANSION_MAX: usize = 1_024;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Without quotes and escapes, variables replaced.
    pub(super) text: String,
    /// Where it stands in the file, quotes included.
    pub(super) range: Range<usize>,
    /// Whether it holds a variable whose value does not stand in the file.
    pub(super) is_unknown: bool,
}

/// Why a line cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    /// In words.
    pub(super) message: String,
    /// Where.
    pub(super) range: Range<usize>,
}

/// What the line is cut with.
struct Cutter<'t, L> {
    text: &'t str,
    offset: usize,
    chars: Peekable<CharIndices<'t>>,
    lookup: L,
    words: Vec<Word>,
    /// The word that is being read, with its first byte.
    open: Option<(usize, String, bool)>,
    added: usize,
}

/// The words of `text`, which starts at byte `offset` of its file. `lookup` gives the value of a variable.
pub(super) fn words(
    text: &str,
    offset: usize,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Word>, Broken> {
    let mut cutter = Cutter {
        text,
        offset,
        chars: text.char_indices().peekable(),
        lookup,
        words: Vec::new(),
        open: None,
        added: 0,
    };
    cutter.run()?;
    Ok(cutter.words)
}

impl<L: Fn(&str) -> Option<String>> Cutter<'_, L> {
    fn run(&mut self) -> Result<(), Broken> {
        while let Some((at, c)) = self.chars.next() {
            match c {
                ' ' | '\t' => self.finish(at)?,
                '#' | '\n' | '\r' => {
                    self.finish(at)?;
                    return Ok(());
                }
                '\'' => self.strong(at)?,
                '"' => self.weak(at)?,
                '\\' => self.escape(at, false)?,
                _ => self.push(at, c),
            }
        }
        self.finish(self.text.len())
    }

    fn word(&mut self, at: usize) -> &mut (usize, String, bool) {
        self.open.get_or_insert_with(|| (at, String::new(), false))
    }

    fn push(&mut self, at: usize, c: char) {
        self.word(at).1.push(c);
    }

    fn finish(&mut self, end: usize) -> Result<(), Broken> {
        let Some((start, text, is_unknown)) = self.open.take() else {
            return Ok(());
        };
        if self.words.len() >= WORDS_MAX {
            return Err(Broken {
                message: format!("the line has more than {WORDS_MAX} words"),
                range: self.offset + start..self.offset + end,
            });
        }
        self.words.push(Word {
            text,
            range: self.offset + start..self.offset + end,
            is_unknown,
        });
        Ok(())
    }

    fn strong(&mut self, at: usize) -> Result<(), Broken> {
        self.word(at);
        for (_, c) in self.chars.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            if let Some((_, text, _)) = &mut self.open {
                text.push(c);
            }
        }
        Err(self.unmatched(at))
    }

    fn weak(&mut self, at: usize) -> Result<(), Broken> {
        self.word(at);
        while let Some((inner, c)) = self.chars.next() {
            match c {
                '"' => return Ok(()),
                '\\' => self.escape(inner, true)?,
                '$' => self.variable(inner)?,
                _ => self.push(inner, c),
            }
        }
        Err(self.unmatched(at))
    }

    fn unmatched(&self, at: usize) -> Broken {
        Broken {
            message: "a quote is opened and not closed on this line".to_owned(),
            range: self.offset + at..self.offset + at + 1,
        }
    }

    fn escape(&mut self, at: usize, is_weak: bool) -> Result<(), Broken> {
        let plain = match self.chars.peek().map(|(_, c)| *c) {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some(c @ ('\\' | '"' | '#' | '$')) => Some(c),
            Some(c @ (' ' | '\t' | '\'')) if !is_weak => Some(c),
            Some('x') => return self.hexadecimal(at),
            _ => None,
        };
        if plain.is_some() {
            self.chars.next();
        }
        self.push(at, plain.unwrap_or('\\'));
        Ok(())
    }

    fn hexadecimal(&mut self, at: usize) -> Result<(), Broken> {
        let digits = self.text.get(at + 2..at + 4);
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(code) = code else {
            return Err(Broken {
                message: "`\\x` needs two hexadecimal digits".to_owned(),
                range: self.offset + at..self.offset + at + 2,
            });
        };
        for _ in 0..3 {
            self.chars.next();
        }
        self.push(at, char::from(code));
        Ok(())
    }

    /// A variable whose `$` stands at `at`, as `$NAME`, `${NAME}`, `${NAME-default}` or `${NAME[*]}`.
    fn variable(&mut self, at: usize) -> Result<(), Broken> {
        let is_braced = self.chars.next_if(|(_, c)| *c == '{').is_some();
        let mut name = String::new();
        while let Some((_, c)) = self
            .chars
            .next_if(|(_, c)| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        {
            name.push(c);
        }
        let (mut default, mut is_list, mut end) = (None, false, None);
        if is_braced {
            let mut rest = String::new();
            for (position, c) in self.chars.by_ref() {
                if c == '}' {
                    end = Some(position + 1);
                    break;
                }
                rest.push(c);
            }
            let head = rest.strip_prefix("[*]");
            is_list = head.is_some();
            default = head.unwrap_or(&rest).strip_prefix('-').map(str::to_owned);
        } else {
            end = Some(at + 1 + name.len());
        }
        let (Some(end), false) = (end, name.is_empty()) else {
            return Err(Broken {
                message: "a variable is spelt `$NAME` or `${NAME}`".to_owned(),
                range: self.offset + at..self.offset + at + 1,
            });
        };
        let value = (self.lookup)(&name).or(default).filter(|_| !is_list);
        let value = value.filter(|value| self.added + value.len() <= EXPANSION_MAX);
        let spelt = self.text.get(at..end).unwrap_or_default().to_owned();
        let is_unknown = value.is_none();
        self.added += value.as_ref().map_or(0, String::len);
        let word = self.word(at);
        word.1.push_str(&value.unwrap_or(spelt));
        word.2 |= is_unknown;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{EXPANSION_MAX, WORDS_MAX, words};

    fn cut(text: &str) -> Vec<String> {
        let lookup = |name: &str| (name == "SET").then(|| "value".to_owned());
        let words = words(text, 0, lookup).unwrap();
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_and_escapes_are_taken_as_haproxy_takes_them() {
        assert_eq!(cut("a\tb  c # d"), ["a", "b", "c"]);
        assert_eq!(cut(r#"a "b c" 'd "e' "f'g""#), ["a", "b c", "d \"e", "f'g"]);
        assert_eq!(cut(r"a\ b \# \\ \q \x41"), ["a b", "#", "\\", "\\q", "A"]);
        assert_eq!(cut(r#""x"'y'z """#), ["xyz", ""]);
        assert_eq!(cut("server a \\\n"), ["server", "a", "\\"]);
    }

    #[test]
    fn variables_count_only_in_double_quotes_and_only_when_known() {
        assert_eq!(
            cut(r#"$SET '$SET' "$SET" "a${SET}b" "${NO-7}""#),
            ["$SET", "$SET", "value", "avalueb", "7"]
        );
        let unknown = words(r#"weight "x${NO}""#, 10, |_| None).unwrap();
        assert!(unknown[1].is_unknown);
        assert_eq!(unknown[1].text, "x${NO}");
        assert_eq!(unknown[1].range, 17..25);
    }

    #[test]
    fn a_variable_that_grows_too_long_is_unknown() {
        let long = words(r#""$A""#, 0, |_| Some("a".repeat(EXPANSION_MAX + 1))).unwrap();
        assert!(long[0].is_unknown);
    }

    #[test]
    fn broken_lines_say_where() {
        let quote = words("server \"a", 100, |_| None).unwrap_err();
        assert_eq!(quote.range, 107..108);
        assert!(words("a \\xZZ", 0, |_| None).is_err());
        assert!(words("\"$\"", 0, |_| None).is_err());
        assert!(words("\"${A", 0, |_| None).is_err());
        assert!(words(&"a ".repeat(WORDS_MAX), 0, |_| None).is_ok());
        assert!(words(&"a ".repeat(WORDS_MAX + 1), 0, |_| None).is_err());
    }
}
