//! `.if`, `.elif`, `.else` and `.endif`: which lines are in effect.
//!
//! A condition that the file alone decides is evaluated (numbers, `streq`, `strneq`, `defined` of a variable set in the
//! file, versions against 2.6.12). Of a block whose condition is not known the first such branch is read, and the
//! block is listed as a gap.

use std::collections::BTreeMap;

use crate::DEPTH_MAX;

/// The version that conditions are evaluated for: Debian 12's.
const VERSION: [u32; 3] = [2, 6, 12];

/// Open blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks(Vec<Block>);

#[derive(Debug)]
struct Block {
    /// Whether the branch that is being read is in effect.
    is_taken: bool,
    /// Whether a branch was in effect already, or the whole block is not.
    is_done: bool,
    has_else: bool,
}

/// What a directive of a block needs to be told about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Fine,
    /// The condition is not known.
    Unknown,
    Wrong(String),
}

/// Whether a condition holds; `None`: not known.
type Truth = Option<bool>;

impl Blocks {
    pub(super) fn is_taken(&self) -> bool {
        self.0.last().is_none_or(|block| block.is_taken)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `.if` and its like; `condition`: the words after it, `None` with an unknown variable among them.
    pub(super) fn directive(
        &mut self,
        name: &str,
        condition: Option<&str>,
        variables: &BTreeMap<String, String>,
    ) -> Outcome {
        let truth = || condition.and_then(|text| evaluate(text, variables));
        match name {
            ".if" => {
                if self.0.len() >= DEPTH_MAX {
                    return Outcome::Wrong(format!("`.if` blocks nest more than {DEPTH_MAX} deep"));
                }
                let is_read = self.is_taken();
                let truth = if is_read { truth() } else { Some(false) };
                let is_taken = is_read && truth != Some(false);
                self.0.push(Block {
                    is_taken,
                    is_done: is_taken || !is_read,
                    has_else: false,
                });
                known(truth)
            }
            ".elif" | ".else" => {
                let Some(block) = self.0.last_mut() else {
                    return Outcome::Wrong(format!("`{name}` without `.if`"));
                };
                if block.has_else {
                    return Outcome::Wrong(format!("`{name}` after `.else`"));
                }
                block.has_else = name == ".else";
                let truth = match (block.is_done, block.has_else) {
                    (true, _) => Some(false),
                    (false, true) => Some(true),
                    (false, false) => truth(),
                };
                block.is_taken = truth != Some(false);
                block.is_done |= block.is_taken;
                known(truth)
            }
            _ => match self.0.pop() {
                Some(_) => Outcome::Fine,
                None => Outcome::Wrong("`.endif` without `.if`".to_owned()),
            },
        }
    }
}

fn known(truth: Truth) -> Outcome {
    if truth.is_some() {
        Outcome::Fine
    } else {
        Outcome::Unknown
    }
}

/// Whether `text` holds. AND binds before OR.
fn evaluate(text: &str, variables: &BTreeMap<String, String>) -> Truth {
    if text.trim().is_empty() {
        return Some(false);
    }
    let mut parser = Parser {
        rest: text.trim(),
        variables,
        depth: 0,
    };
    let truth = parser.any();
    if parser.rest.trim().is_empty() {
        truth
    } else {
        None
    }
}

struct Parser<'a> {
    rest: &'a str,
    variables: &'a BTreeMap<String, String>,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, text: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn any(&mut self) -> Truth {
        let mut truth = self.all();
        while self.eat("||") {
            let next = self.all();
            truth = match (truth, next) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        truth
    }

    fn all(&mut self) -> Truth {
        let mut truth = self.term();
        while self.eat("&&") {
            let next = self.term();
            truth = match (truth, next) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
        }
        truth
    }

    fn term(&mut self) -> Truth {
        let mut is_negated = false;
        while self.eat("!") {
            is_negated = !is_negated;
        }
        let truth = if self.eat("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                self.rest = "";
                return None;
            }
            let truth = self.any();
            self.depth -= 1;
            if !self.eat(")") {
                self.rest = "";
                return None;
            }
            truth
        } else {
            self.predicate()
        };
        truth.map(|truth| truth != is_negated)
    }

    fn predicate(&mut self) -> Truth {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Ok(number) = name.parse::<i64>() {
            return Some(number != 0);
        }
        let arguments = if self.eat("(") {
            let end = self.rest.find(')')?;
            let (inside, rest) = self.rest.split_at(end);
            self.rest = rest.strip_prefix(')').unwrap_or(rest);
            inside
        } else {
            return None;
        };
        let (first, second) = arguments.split_once(',').unwrap_or((arguments, ""));
        let (first, second) = (first.trim(), second.trim());
        match name {
            "streq" => Some(first == second),
            "strneq" => Some(first != second),
            "defined" => self.variables.contains_key(first).then_some(true),
            "version_atleast" => Some(VERSION >= version(first)?),
            "version_before" => Some(VERSION < version(first)?),
            // What this build of HAProxy has and which library it uses does not stand in the file.
            _ => None,
        }
    }
}

/// `2.6` or `2.6-dev3`, missing parts 0; a development version comes before its release.
fn version(text: &str) -> Option<[u32; 3]> {
    let (number, _) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = [0; 3];
    for (slot, part) in parts.iter_mut().zip(number.split('.')) {
        *slot = part.parse().ok()?;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Blocks, Outcome, Truth, evaluate};

    fn holds(text: &str) -> Truth {
        let variables = BTreeMap::from([("SET".to_owned(), "1".to_owned())]);
        evaluate(text, &variables)
    }

    #[test]
    fn conditions_that_the_file_decides_are_evaluated() {
        assert_eq!(holds(""), Some(false));
        assert_eq!(holds("0"), Some(false));
        assert_eq!(holds("!0 && 2"), Some(true));
        assert_eq!(holds("0 && 1 || 1"), Some(true));
        assert_eq!(holds("streq(a,a) && strneq(a,b)"), Some(true));
        assert_eq!(
            holds("version_atleast(2.6) && version_before(2.7)"),
            Some(true)
        );
        assert_eq!(holds("!(0 || 1)"), Some(false));
        assert_eq!(holds("defined(SET)"), Some(true));
        assert_eq!(holds("defined(OTHER)"), None);
        assert_eq!(holds("feature(OPENSSL) || 1"), Some(true));
        assert_eq!(holds("feature(OPENSSL)"), None);
        assert_eq!(holds(&"(".repeat(100_000)), None);
        assert_eq!(holds(&"!".repeat(100_001)), None);
    }

    #[test]
    fn only_the_first_branch_that_holds_is_read() {
        let mut blocks = Blocks::default();
        let none = BTreeMap::new();
        let mut taken = Vec::new();
        for (name, condition) in [(".if", "0"), (".elif", "1"), (".elif", "1"), (".else", "")] {
            assert_eq!(
                blocks.directive(name, Some(condition), &none),
                Outcome::Fine
            );
            taken.push(blocks.is_taken());
        }
        assert_eq!(taken, [false, true, false, false]);
        assert!(matches!(
            blocks.directive(".elif", Some("1"), &none),
            Outcome::Wrong(_)
        ));
        assert_eq!(blocks.directive(".endif", None, &none), Outcome::Fine);
        assert!(matches!(
            blocks.directive(".endif", None, &none),
            Outcome::Wrong(_)
        ));
    }

    #[test]
    fn a_block_within_one_that_is_not_read_stays_unread() {
        let mut blocks = Blocks::default();
        let none = BTreeMap::new();
        blocks.directive(".if", Some("0"), &none);
        assert_eq!(blocks.directive(".if", Some("1"), &none), Outcome::Fine);
        assert!(!blocks.is_taken());
        assert_eq!(blocks.directive(".else", None, &none), Outcome::Fine);
        assert!(!blocks.is_taken());
    }
}
