//! JSON (RFC 8259) into nodes, with the place of every value.
//!
//! Most JSON is YAML, but not all of it: tabs, `\/` and surrogate pairs differ, and a YAML reader's words about a
//! missing comma help nobody. So JSON has its own reader. Unlike the YAML one it goes no further than the first
//! mistake either: what follows a missing bracket is a guess.

use std::rc::Rc;

use crate::DEPTH_MAX;
use crate::envoy::node::{Fault, Key, NODES_MAX, Node, Place, Value};

/// The document of `text`.
pub(super) fn parse(source: usize, text: &str) -> Result<Node, Fault> {
    let mut reader = Reader {
        source,
        text,
        at: 0,
        nodes: 0,
    };
    let root = reader.value(0)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(Fault::new(reader.at, "the document has ended before this"));
    }
    Ok(root)
}

struct Reader<'t> {
    source: usize,
    text: &'t str,
    at: usize,
    nodes: u64,
}

impl Reader<'_> {
    fn blank(&mut self) {
        let rest = self.rest();
        let blank = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']);
        self.at += rest.len() - blank.len();
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        self.blank();
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        let found = match self.rest().chars().next() {
            Some(c) => format!("`{c}`"),
            None => "the end of the file".to_owned(),
        };
        let message = format!("expected `{}`, found {found}", char::from(byte));
        Err(Fault::new(self.at, message))
    }

    /// Whether another item follows in a collection that `end` closes.
    fn goes_on(&mut self, end: u8, is_first: bool) -> Result<bool, Fault> {
        self.blank();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        if !is_first {
            self.expect(b',')?;
        }
        Ok(true)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.blank();
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::too_many(self.at));
        }
        if depth >= DEPTH_MAX {
            return Err(Fault::too_deep(self.at));
        }
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => {
                let text = self.string()?;
                Ok(self.scalar(text, true, start))
            }
            _ => self.word(start),
        }
    }

    fn place(&self, start: usize) -> Place {
        Place::new(self.source, &(start..self.at))
    }

    fn scalar(&self, text: String, is_quoted: bool, start: usize) -> Node {
        Node::new(Value::Scalar { text, is_quoted }, self.place(start))
    }

    fn map(&mut self, depth: usize) -> Result<Node, Fault> {
        let start = self.at;
        self.expect(b'{')?;
        let mut entries = Vec::new();
        while self.goes_on(b'}', entries.is_empty())? {
            self.blank();
            let start = self.at;
            let text = self.string()?;
            let place = self.place(start);
            self.expect(b':')?;
            let value = self.value(depth + 1)?;
            entries.push((Key { text, place }, Rc::new(value)));
        }
        let place = entries.first().map(|(key, _)| key.place);
        let place = place.unwrap_or_else(|| self.place(start));
        Ok(Node::new(Value::Map(entries), place))
    }

    fn list(&mut self, depth: usize) -> Result<Node, Fault> {
        let start = self.at;
        self.expect(b'[')?;
        let mut items: Vec<Rc<Node>> = Vec::new();
        while self.goes_on(b']', items.is_empty())? {
            items.push(Rc::new(self.value(depth + 1)?));
        }
        let place = items.first().map(|node| node.place);
        let place = place.unwrap_or_else(|| self.place(start));
        Ok(Node::new(Value::List(items), place))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self, start: usize) -> Result<Node, Fault> {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_');
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or("").to_owned();
        if word == "null" {
            self.at += end;
            return Ok(Node::new(Value::Null, self.place(start)));
        }
        let is_number = word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && word.parse::<f64>().is_ok();
        if is_number || word == "true" || word == "false" {
            self.at += end;
            return Ok(self.scalar(word, false, start));
        }
        let message = match (word.as_str(), rest.chars().next()) {
            ("", None) => "expected a value, found the end of the file".to_owned(),
            ("", Some(c)) => format!("expected a value, found `{c}`"),
            (word, _) => format!("`{word}` is no value; a text stands in quotes"),
        };
        Err(Fault::new(start, message))
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let end = rest.find(|c: char| c == '"' || c == '\\' || c < ' ');
            let Some(end) = end else {
                return Err(Fault::new(start, "the quote that opens here is not closed"));
            };
            text.push_str(rest.get(..end).unwrap_or(""));
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => {
                    let message = "a text in quotes cannot go over the end of a line";
                    return Err(Fault::new(self.at, message));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.at;
        let wrong = || Fault::new(at, "no such escape");
        let letter = self.text.as_bytes().get(at + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.unit().ok_or_else(wrong)?;
                if !(0xD800..0xDC00).contains(&first) {
                    return char::from_u32(first).ok_or_else(wrong);
                }
                let is_pair = self.rest().starts_with("\\u");
                self.at += 2;
                let second = self.unit().filter(|_| is_pair).ok_or_else(wrong)?;
                let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400);
                let code = low.map(|low| 0x1_0000 + ((first - 0xD800) << 10) + low);
                code.and_then(char::from_u32).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
