//! The directives of a configuration as a tree, with what it includes put in place.
//!
//! Blocks are kept on a stack of their own, so that nesting costs no call depth; only includes recurse, and these are
//! bounded by the frame. All faults of all files are reported, and the tree holds what could be read.

use evenkeel_model::finding::Severity;

use crate::DEPTH_MAX;
use crate::book::{Book, Words};
use crate::nginx::lex::{Lexer, Piece, Word};

/// Most directives of one configuration.
const DIRECTIVES_MAX: usize = 600_000;
/// Most words of one configuration.
const WORDS_TOTAL_MAX: usize = 3_000_000;
/// Files that hold media types, character sets or parameters of a protocol and nothing else: they come with nginx and
/// are not opened, so that a single nginx.conf can be judged without them.
const PLAIN_FILES: &[&str] = &[
    "mime.types",
    "fastcgi_params",
    "fastcgi.conf",
    "uwsgi_params",
    "scgi_params",
    "koi-utf",
    "koi-win",
    "win-utf",
];

/// One directive.
#[derive(Debug)]
pub(super) struct Directive {
    /// Its words, the name first; never empty.
    words: Vec<Word>,
    /// What stands in its block; `None`: it has none.
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", |word| &word.text)
    }

    /// What follows the name.
    pub(super) fn args(&self) -> &[Word] {
        self.words.get(1..).unwrap_or(&[])
    }

    /// The argument at `index`, empty when there is none.
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args().get(index).map_or("", |word| &word.text)
    }

    /// The directives of its block, none when it has none.
    pub(super) fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or(&[])
    }

    /// Its file and the place of its words from the name to the last.
    pub(super) fn place(&self) -> (usize, std::ops::Range<usize>) {
        let (Some(first), Some(last)) = (self.words.first(), self.words.last()) else {
            return (0, 0..0);
        };
        (
            first.source,
            first.range.start..last.range.end.max(first.range.end),
        )
    }

    /// Its first words, for messages.
    pub(super) fn brief(&self) -> String {
        const WORDS: usize = 4;
        const CHARS: usize = 80;
        let words = self.words.iter().take(WORDS).map(|word| word.text.as_str());
        let brief = words.collect::<Vec<_>>().join(" ");
        let is_cut = self.words.len() > WORDS || brief.chars().count() > CHARS;
        let mut brief: String = brief.chars().take(CHARS).collect();
        if is_cut {
            brief.push_str(" ..");
        }
        brief
    }
}

/// Reads the whole configuration from the source with that index; `None`, with a finding: it is beyond a bound, or has faults
/// of syntax, by which what follows them would be misread.
pub(super) fn read(book: &mut Book<'_>, source: usize) -> Option<Vec<Directive>> {
    let mut grower = Grower::default();
    let tree = grower.file(book, source, 0);
    (!grower.is_full && grower.faults == 0).then_some(tree)
}

#[derive(Default)]
struct Grower {
    directives: usize,
    words: usize,
    faults: usize,
    is_full: bool,
}

/// A block that is being read: the words that opened it and what it holds so far.
struct Open {
    words: Vec<Word>,
    held: Vec<Directive>,
}

impl Grower {
    fn file(&mut self, book: &mut Book<'_>, source: usize, depth: usize) -> Vec<Directive> {
        let text = book.text(source);
        let mut lexer = Lexer::new(&text, source);
        let mut held = Vec::new();
        let mut stack: Vec<Open> = Vec::new();
        while !self.is_full {
            match lexer.next() {
                Piece::End => break,
                Piece::Fault(message, range) => self.fault(book, source, range, message),
                Piece::Simple(words) => {
                    let level = depth + stack.len();
                    let current = stack.last_mut().map_or(&mut held, |open| &mut open.held);
                    if words.first().is_some_and(|word| word.text == "include") {
                        self.include(book, source, &words, level, current);
                    } else if self.counts(book, &words) {
                        current.push(Directive { words, block: None });
                    }
                }
                Piece::Open(words) => {
                    let opener = words.first().map(|w| w.range.clone()).unwrap_or(0..0);
                    if !self.counts(book, &words) {
                        continue;
                    }
                    let is_code = words
                        .first()
                        .is_some_and(|w| w.text.ends_with("_by_lua_block"));
                    if depth + stack.len() >= DEPTH_MAX {
                        let message = format!("blocks nest more than {DEPTH_MAX} deep");
                        self.stop(book, source, opener, message);
                    } else if is_code {
                        if !lexer.skip_code() {
                            self.fault(book, source, opener, "a block is never closed".to_owned());
                        }
                        let current = stack.last_mut().map_or(&mut held, |open| &mut open.held);
                        let block = Some(Vec::new());
                        current.push(Directive { words, block });
                    } else {
                        let held = Vec::new();
                        stack.push(Open { words, held });
                    }
                }
                Piece::Close(range) => {
                    let Some(open) = stack.pop() else {
                        let message = "`}` closes a block that is not open".to_owned();
                        self.fault(book, source, range, message);
                        continue;
                    };
                    let current = stack.last_mut().map_or(&mut held, |open| &mut open.held);
                    current.push(open.close());
                }
            }
        }
        self.close_all(book, source, stack, &mut held);
        held
    }

    /// Says which blocks lack their `}` and keeps what they hold.
    fn close_all(
        &mut self,
        book: &mut Book<'_>,
        source: usize,
        mut stack: Vec<Open>,
        held: &mut Vec<Directive>,
    ) {
        while let Some(open) = stack.pop() {
            if !self.is_full {
                let (name, range) = open.words.first().map_or_else(
                    || (String::new(), 0..0),
                    |word| (word.text.clone(), word.range.clone()),
                );
                let message = format!("the block of `{name}` is never closed by `}}`");
                self.fault(book, source, range, message);
            }
            let directive = open.close();
            let outer = stack.last_mut().map_or(&mut *held, |open| &mut open.held);
            outer.push(directive);
        }
    }

    fn include(
        &mut self,
        book: &mut Book<'_>,
        source: usize,
        words: &[Word],
        depth: usize,
        current: &mut Vec<Directive>,
    ) {
        let Some([_, pattern]) = words.first_chunk().filter(|_| words.len() == 2) else {
            let range = words.first().map(|word| word.range.clone()).unwrap_or(0..0);
            let message = format!("`include` takes one file, got {}", words.len() - 1);
            self.fault(book, source, range, message);
            return;
        };
        let file = pattern.text.rsplit('/').next().unwrap_or("");
        if PLAIN_FILES.contains(&file) || !self.counts(book, words) {
            return;
        }
        let path = format!("include.{}", self.directives);
        book.place(&path, source, pattern.range.clone());
        book.include(source, &pattern.text, &path, |book, included| {
            current.extend(self.file(book, included, depth));
        });
    }

    /// Counts a directive; `false`: it is one too many.
    fn counts(&mut self, book: &mut Book<'_>, words: &[Word]) -> bool {
        self.directives += 1;
        self.words += words.len();
        let message = if self.directives > DIRECTIVES_MAX {
            format!("more than {DIRECTIVES_MAX} directives")
        } else if self.words > WORDS_TOTAL_MAX {
            format!("more than {WORDS_TOTAL_MAX} words")
        } else {
            return true;
        };
        let place = words.first().map(|word| (word.source, word.range.clone()));
        let (source, range) = place.unwrap_or((0, 0..0));
        self.stop(book, source, range, message);
        false
    }

    /// A bound is hit: nothing more is read.
    fn stop(
        &mut self,
        book: &mut Book<'_>,
        source: usize,
        range: std::ops::Range<usize>,
        message: String,
    ) {
        if self.is_full {
            return;
        }
        self.is_full = true;
        book.place("bound", source, range);
        let words = Words {
            id: "IMP-05",
            message,
            effect: "the configuration is not judged".to_owned(),
            fix: "check a part of it by itself".to_owned(),
        };
        book.remark(Severity::Error, "bound", words);
    }

    fn fault(
        &mut self,
        book: &mut Book<'_>,
        source: usize,
        range: std::ops::Range<usize>,
        message: String,
    ) {
        let path = format!("syntax.{}", self.faults);
        self.faults += 1;
        if self.faults > crate::FINDINGS_MAX {
            let message = format!("more than {} faults of syntax", crate::FINDINGS_MAX);
            self.stop(book, source, range, message);
            return;
        }
        book.place(&path, source, range);
        let words = Words {
            id: "IMP-01",
            message,
            effect: "nginx refuses to start with it".to_owned(),
            fix: "end directives with `;` and close quotes and blocks".to_owned(),
        };
        book.error(&path, words);
    }
}

impl Open {
    fn close(self) -> Directive {
        Directive {
            words: self.words,
            block: Some(self.held),
        }
    }
}
