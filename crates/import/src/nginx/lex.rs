//! The words of nginx.conf with their places, by nginx's own rules of quoting.
//!
//! A quote opens only at the start of a word and must be followed by a space, `;`, `{` or `)`; `\` takes the next byte
//! as it is; `${` keeps a brace inside a word; `#` starts a comment only where a word could start; `}` ends a block
//! only there too. After a fault it goes on with the next word, so that one run shows all faults of a file.
//!
//! Limits: a word is at most [`WORD_MAX`] bytes, as in nginx, whose buffer holds no more.

use std::ops::Range;

/// Longest word, bytes.
pub(super) const WORD_MAX: usize = 4_096;
/// Most words of one directive.
const WORDS_MAX: usize = 50_000;

/// One word of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Its value, quotes and escapes resolved.
    pub(super) text: String,
    /// Its file, by index.
    pub(super) source: usize,
    /// Where it stands, quotes included.
    pub(super) range: Range<usize>,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A directive that ends with `;`.
    Simple(Vec<Word>),
    /// A directive that opens a block.
    Open(Vec<Word>),
    /// `}`.
    Close(Range<usize>),
    /// A fault, in words; reading can go on.
    Fault(String, Range<usize>),
    /// The end of the file.
    End,
}

/// Reads one file.
pub(super) struct Lexer<'t> {
    text: &'t str,
    source: usize,
    at: usize,
    words: Vec<Word>,
}

/// How a word ended.
enum Ended {
    Word,
    Fault(String, Range<usize>),
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str, source: usize) -> Self {
        Self {
            text,
            source,
            at: 0,
            words: Vec::new(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next directive, brace or fault.
    pub(super) fn next(&mut self) -> Piece {
        loop {
            let start = self.at;
            match self.peek() {
                None => return self.end(),
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'#') => self.comment(),
                Some(byte @ (b';' | b'{')) => {
                    self.at += 1;
                    if self.words.is_empty() {
                        return unexpected(byte, start);
                    }
                    let words = std::mem::take(&mut self.words);
                    return if byte == b';' {
                        Piece::Simple(words)
                    } else {
                        Piece::Open(words)
                    };
                }
                Some(b'}') => {
                    if let Some(first) = self.words.first() {
                        // The words before it lack their `;`: they are given up, the brace is read again.
                        let range = first.range.start..start;
                        let message = format!("`{}` is not ended by `;` before `}}`", first.text);
                        self.words.clear();
                        return Piece::Fault(message, range);
                    }
                    self.at += 1;
                    return Piece::Close(start..self.at);
                }
                Some(quote @ (b'"' | b'\'')) => {
                    if let Ended::Fault(message, range) = self.quoted(quote) {
                        return Piece::Fault(message, range);
                    }
                }
                Some(_) => {
                    if let Ended::Fault(message, range) = self.plain() {
                        return Piece::Fault(message, range);
                    }
                }
            }
        }
    }

    fn end(&mut self) -> Piece {
        let Some(first) = self.words.first() else {
            return Piece::End;
        };
        let range = first.range.clone();
        let message = format!("the file ends before `{}` is ended by `;`", first.text);
        self.words.clear();
        Piece::Fault(message, range)
    }

    fn comment(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or("");
        self.at += rest.find('\n').unwrap_or(rest.len());
    }

    /// A word without quotes.
    fn plain(&mut self) -> Ended {
        let start = self.at;
        let mut is_variable = false;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'{' if !is_variable => break,
                b'\\' => self.at += 1,
                _ => {}
            }
            is_variable = byte == b'$';
            self.at += 1;
        }
        self.at = self.boundary(self.at);
        self.push(start, start..self.at)
    }

    /// A word in quotes.
    fn quoted(&mut self, quote: u8) -> Ended {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => {
                    self.at = self.text.len();
                    self.words.clear();
                    let message = "a quote is opened here and never closed".to_owned();
                    return Ended::Fault(message, start..start + 1);
                }
                Some(b'\\') => self.at = self.boundary(self.at + 2),
                Some(byte) if byte == quote => break,
                Some(_) => self.at += 1,
            }
        }
        let inner = start + 1..self.at;
        self.at += 1;
        if let fault @ Ended::Fault(..) = self.push(start, inner) {
            return fault;
        }
        match self.peek() {
            // After `)` nginx goes on with a word of its own: `if ($a = "b")`.
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ended::Word,
            Some(_) => {
                let next = self
                    .text
                    .get(self.at..)
                    .and_then(|rest| rest.chars().next());
                let next = next.unwrap_or(' ');
                let message = format!("`{next}` follows a closing quote without a space");
                Ended::Fault(message, self.at..self.at + next.len_utf8())
            }
        }
    }

    /// `at`, moved on to where a character starts, at most to the end.
    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at += 1;
        }
        at
    }

    fn push(&mut self, start: usize, inner: Range<usize>) -> Ended {
        let range = start..self.at;
        if inner.len() > WORD_MAX {
            let message = format!(
                "a parameter of {} bytes; nginx takes at most {WORD_MAX}",
                inner.len()
            );
            return Ended::Fault(message, start..start + 1);
        }
        if self.words.len() >= WORDS_MAX {
            self.at = self.text.len();
            self.words.clear();
            let message = format!("more than {WORDS_MAX} words before a `;`");
            return Ended::Fault(message, range);
        }
        let text = unescape(self.text.get(inner).unwrap_or(""));
        let source = self.source;
        self.words.push(Word {
            text,
            source,
            range,
        });
        Ended::Word
    }

    /// Skips code of another language up to the brace that closes the block which was just opened; `false`: it is
    /// never closed. Knows Lua's strings and comments, so that braces in them do not count.
    pub(super) fn skip_code(&mut self) -> bool {
        let mut depth = 1_usize;
        while let Some(byte) = self.peek() {
            let rest = self.text.get(self.at..).unwrap_or("");
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' | b'\'' => self.skip_string(byte),
                b'-' if rest.starts_with("--[[") => self.skip_past("]]"),
                b'-' if rest.starts_with("--") => self.comment(),
                b'[' if rest.starts_with("[[") => self.skip_past("]]"),
                _ => {}
            }
            self.at = self.boundary(self.at + 1);
            if depth == 0 {
                return true;
            }
        }
        false
    }

    /// To the closing quote of a string, or to the end of its line.
    fn skip_string(&mut self, quote: u8) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return,
                byte if byte == quote => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// To the last byte of `end`.
    fn skip_past(&mut self, end: &str) {
        let rest = self.text.get(self.at..).unwrap_or("");
        let length = rest.find(end).map_or(rest.len(), |at| at + end.len() - 1);
        self.at += length;
    }
}

fn unexpected(byte: u8, at: usize) -> Piece {
    let message = format!("`{}` without a directive before it", char::from(byte));
    Piece::Fault(message, at..at + 1)
}

/// nginx resolves these five escapes and leaves any other as written.
fn unescape(raw: &str) -> String {
    if !raw.contains('\\') {
        return raw.to_owned();
    }
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some(quote @ ('"' | '\'' | '\\'))) => Some(*quote),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('n')) => Some('\n'),
            _ => None,
        };
        match escaped {
            Some(escaped) => {
                chars.next();
                text.push(escaped);
            }
            None => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Lexer, Piece};

    fn words(piece: Piece) -> Vec<String> {
        match piece {
            Piece::Simple(words) | Piece::Open(words) => {
                words.into_iter().map(|word| word.text).collect()
            }
            other => vec![format!("{other:?}")],
        }
    }

    fn all(text: &str) -> Vec<Vec<String>> {
        let mut lexer = Lexer::new(text, 0);
        let mut pieces = Vec::new();
        loop {
            let piece = lexer.next();
            if piece == Piece::End {
                return pieces;
            }
            pieces.push(words(piece));
        }
    }

    #[test]
    fn quotes_escapes_and_comments_follow_nginx() {
        let text = "a 'b c' \"d\\\"e\" f\\;g h#i # no; \n j; k ${l}m\\d {";
        let expected = [
            vec!["a", "b c", "d\"e", "f\\;g", "h#i", "j"],
            vec!["k", "${l}m\\d"],
        ];
        assert_eq!(all(text), expected);
    }

    #[test]
    fn a_brace_after_a_quote_is_part_of_the_next_word() {
        assert_eq!(all("if ($a = \"b c\") {"), [["if", "($a", "=", "b c", ")"]]);
    }

    #[test]
    fn every_fault_of_a_text_is_shown() {
        let faults = all("; a } 'b'c; d");
        assert_eq!(faults.len(), 6, "{faults:?}");
        assert!(faults[0][0].contains("`;` without"), "{faults:?}");
        assert!(faults[1][0].contains("`a` is not ended"), "{faults:?}");
        assert!(faults[2][0].contains("Close"), "{faults:?}");
        assert!(faults[3][0].contains("without a space"), "{faults:?}");
        assert_eq!(faults[4], ["b", "c"]);
        assert!(faults[5][0].contains("ends before `d`"), "{faults:?}");
    }

    #[test]
    fn code_ends_where_its_braces_balance() {
        let text = "{ a = \"}\" -- }\n --[[ } ]] b = [[}]] } x;";
        let mut lexer = Lexer::new(text, 0);
        lexer.at = 1;
        assert!(lexer.skip_code());
        assert_eq!(words(lexer.next()), ["x"]);
        assert!(!Lexer::new("a { b", 0).skip_code());
    }
}
