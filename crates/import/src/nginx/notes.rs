//! What the parts of the reader share: the book, the pools and routes so far, and the wording of refusals.

use std::collections::BTreeSet;
use std::ops::Range;

use evenkeel_model::finding::Severity;
use evenkeel_model::setup::{Listener, Route, Touches};

use crate::FINDINGS_MAX;
use crate::book::{Book, Words};
use crate::nginx::ROUTES_MAX;
use crate::nginx::keys::Surroundings;
use crate::nginx::lex::Word;
use crate::nginx::pools::Pools;
use crate::nginx::tree::Directive;
use crate::nginx::vars::Variables;

/// The reader at work.
pub(super) struct Reader<'r, 'f> {
    pub(super) book: &'r mut Book<'f>,
    pub(super) pools: Pools,
    pub(super) variables: Variables,
    /// What hash keys can be made of.
    pub(super) surroundings: Surroundings,
    pub(super) listeners: Vec<Listener>,
    pub(super) routes: Vec<Route>,
    /// Names of servers over all listeners.
    pub(super) hosts: usize,
    /// Routes of all servers, before listeners and hosts are known.
    pub(super) site_routes: usize,
    /// Locations that were looked through to follow `try_files`.
    pub(super) searched: usize,
    /// Places of `Upgrade` headers that were told about: many places inherit one.
    pub(super) upgrades: BTreeSet<(usize, usize)>,
    /// Places of refusals: a value that many places inherit is refused once.
    refused: BTreeSet<(usize, usize)>,
}

impl<'r, 'f> Reader<'r, 'f> {
    pub(super) fn new(book: &'r mut Book<'f>) -> Self {
        Self {
            book,
            pools: Pools::default(),
            variables: Variables::default(),
            surroundings: Surroundings::default(),
            listeners: Vec::new(),
            routes: Vec::new(),
            hosts: 0,
            site_routes: 0,
            searched: 0,
            upgrades: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Notes that the value at `path` is this word.
    pub(super) fn place(&mut self, path: &str, word: &Word) {
        self.book.place(path, word.source, word.range.clone());
    }

    /// Notes that `path` is this directive.
    pub(super) fn place_directive(&mut self, path: &str, directive: &Directive) {
        let (source, range) = directive.place();
        self.book.place(path, source, range);
    }

    /// nginx refuses to start with this directive.
    pub(super) fn refuse_at(&mut self, directive: &Directive, message: String, fix: &str) {
        self.refuse_place(directive.place(), message, fix);
    }

    /// nginx refuses to start with this word.
    pub(super) fn refuse(&mut self, word: &Word, message: String, fix: &str) {
        self.refuse_place((word.source, word.range.clone()), message, fix);
    }

    fn refuse_place(&mut self, (source, range): (usize, Range<usize>), message: String, fix: &str) {
        if !self.refused.insert((source, range.start)) {
            return;
        }
        let path = format!("refused.{}", self.refused.len());
        if self.refused.len() <= FINDINGS_MAX {
            self.book.place(&path, source, range);
        }
        let words = Words {
            id: "IMP-04",
            message,
            effect: "nginx refuses to start with it".to_owned(),
            fix: fix.to_owned(),
        };
        self.book.error(&path, words);
    }

    /// nginx starts and does something else than what is written at `path`.
    pub(super) fn warn(&mut self, path: &str, message: String, effect: &str, fix: &str) {
        let words = Words {
            id: "IMP-04",
            message,
            effect: effect.to_owned(),
            fix: fix.to_owned(),
        };
        self.book.remark(Severity::Warning, path, words);
    }

    /// nginx accepts this and does less with it than its author thinks; `is_grave`: requests fail by it.
    pub(super) fn accepted(
        &mut self,
        is_grave: bool,
        path: &str,
        message: String,
        effect: String,
        fix: &str,
    ) {
        let words = Words {
            id: "IMP-06",
            message,
            effect,
            fix: fix.to_owned(),
        };
        let severity = if is_grave {
            Severity::Warning
        } else {
            Severity::Info
        };
        self.book.remark(severity, path, words);
    }

    /// A target that is made of what only a request says.
    pub(super) fn unknowable(&mut self, under: &str, directive: &Directive, because: &str) {
        let path = format!(
            "{under}.{}",
            evenkeel_model::canonical::path_segment(directive.name())
        );
        self.place_directive(&path, directive);
        let touches = Touches::Routing;
        self.book
            .unknowable(&path, &directive.brief(), because, touches);
    }

    /// The bound on routes is hit.
    pub(super) fn too_many_routes(&mut self, path: &str) {
        let words = Words {
            id: "IMP-05",
            message: format!("more than {ROUTES_MAX} routes over all listeners and hosts"),
            effect: "the configuration is not judged".to_owned(),
            fix: "check a part of the servers by itself".to_owned(),
        };
        self.book.error(path, words);
    }

    /// Something that depends on more than the files say.
    pub(super) fn inform(&mut self, path: &str, message: String, effect: &str, fix: &str) {
        let words = Words {
            id: "IMP-03",
            message,
            effect: effect.to_owned(),
            fix: fix.to_owned(),
        };
        self.book.remark(Severity::Info, path, words);
    }

    /// Lists a directive that is not understood, placed at `under.NAME`.
    pub(super) fn gap(&mut self, under: &str, directive: &Directive, touches: Touches) {
        let name = evenkeel_model::canonical::path_segment(directive.name());
        let path = if under.is_empty() {
            name
        } else {
            format!("{under}.{name}")
        };
        self.place_directive(&path, directive);
        self.book.gap(&path, &directive.brief(), touches);
    }
}
