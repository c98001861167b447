//! What a reader writes down while it reads: the files, where each value stands, findings and gaps.
//!
//! One place for the bounds, for the wording of what was not understood, and for the order of findings.
//! Ids: `IMP-01` cannot be read, `IMP-02` an include, `IMP-03` not understood, `IMP-04` a reference to what is not
//! there, `IMP-05` a bound, `IMP-06` what that balancer accepts and does not do.

use std::collections::BTreeMap;
use std::ops::Range;

use evenkeel_model::finding::{Finding, Location, Origin, Severity, Span};
use evenkeel_model::setup::{Gap, Setup, Touches};

use crate::{ASIDES_MAX, Aside, AsideKind, FINDINGS_MAX, Files, GAPS_MAX, Imported};

mod intake;

/// What to do about a part that was not understood.
const READ_ON: &str = "read the findings with this in mind; what is understood is listed in docs/guide/check-others.md";
/// Most characters of a message.
const MESSAGE_MAX: usize = 300;

/// What a finding of a reader says.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    pub(crate) id: &'static str,
    pub(crate) message: String,
    pub(crate) effect: String,
    pub(crate) fix: String,
}

/// A reader's notes.
pub(crate) struct Book<'f> {
    files: &'f dyn Files,
    origin: Origin,
    total: usize,
    /// Whether a file that is not UTF-8 is taken in, with U+FFFD for what is no text; its reader must then refuse it
    /// where that decides something.
    bears_torn: bool,
    /// The sources that were not UTF-8.
    torn: Vec<usize>,
    /// The sources that are being read now, from the first to the innermost.
    open: Vec<usize>,
    findings: Vec<Finding>,
    findings_dropped: usize,
    gaps: Vec<Gap>,
    gaps_dropped: usize,
    asides: Vec<Aside>,
    /// Errors of includes by message: the first finding of each, and at how many places it occurs.
    repeated: BTreeMap<String, (usize, usize)>,
    /// The reader has said why there is nothing to judge.
    pub(crate) is_told_empty: bool,
}

impl<'f> Book<'f> {
    pub(crate) fn new(files: &'f dyn Files) -> Self {
        Self {
            files,
            origin: Origin::default(),
            total: 0,
            bears_torn: false,
            torn: Vec::new(),
            open: Vec::new(),
            findings: Vec::new(),
            findings_dropped: 0,
            gaps: Vec::new(),
            gaps_dropped: 0,
            asides: Vec::new(),
            repeated: BTreeMap::new(),
            is_told_empty: false,
        }
    }

    /// The line of byte `at` of a source, from 1.
    pub(crate) fn line(&self, source: usize, at: usize) -> u32 {
        let source = self.origin.sources.get(source);
        source.map_or(0, |source| source.location(at..at).line)
    }

    /// Notes where `path` stands. Later notes of the same path win.
    pub(crate) fn place(&mut self, path: &str, source: usize, range: Range<usize>) {
        self.origin
            .spans
            .insert(path.to_owned(), Span { source, range });
    }

    /// Whether something stands in a file for `path`.
    pub(crate) fn is_placed(&self, path: &str) -> bool {
        self.origin.spans.contains_key(path)
    }

    /// An error at `path`: there will be no setup.
    pub(crate) fn error(&mut self, path: &str, words: Words) {
        self.finding(Severity::Error, path, words);
    }

    /// A warning or an info at `path`.
    pub(crate) fn remark(&mut self, severity: Severity, path: &str, words: Words) {
        self.finding(severity, path, words);
    }

    /// Something that was not understood: listed, and said to lower what the forecast is worth.
    pub(crate) fn gap(&mut self, path: &str, what: &str, touches: Touches) {
        let message = format!("`{what}` is not understood");
        self.list(path, what, touches, message, READ_ON);
    }

    /// Something that is understood and whose effect is not: listed and weighed as [`Self::gap`] does, with the reason.
    pub(crate) fn gap_because(&mut self, path: &str, what: &str, because: &str, touches: Touches) {
        let message = format!("`{what}` is not foreseen: {because}");
        self.list(path, what, touches, message, READ_ON);
    }

    /// Something that is understood, and of which the files do not say what the forecast would need.
    pub(crate) fn unknowable(&mut self, path: &str, what: &str, because: &str, touches: Touches) {
        let message = format!("`{what}` cannot be known from the file: {because}");
        let fix = "read the shares with this in mind, or give the part that is missing";
        self.list(path, what, touches, message, fix);
    }

    fn list(&mut self, path: &str, what: &str, touches: Touches, message: String, fix: &str) {
        if self.gaps.len() >= GAPS_MAX {
            self.gaps_dropped += 1;
            return;
        }
        let (severity, effect) = match &touches {
            Touches::Routing => (
                Severity::Warning,
                "which requests reach which pool may differ from the forecast".to_owned(),
            ),
            Touches::Pool(pool) => (
                Severity::Warning,
                format!("the shares within `{pool}` may differ from the forecast"),
            ),
            Touches::Resilience => (
                Severity::Info,
                "limits, timeouts or checks may differ from what is judged".to_owned(),
            ),
        };
        let words = Words {
            id: "IMP-03",
            message,
            effect,
            fix: fix.to_owned(),
        };
        self.finding(severity, path, words);
        self.gaps.push(Gap {
            path: path.to_owned(),
            what: what.to_owned(),
            touches,
        });
    }

    /// Something that does not bear on the spread and would be missed by whoever moves to another balancer.
    pub(crate) fn aside(&mut self, path: &str, what: &str, kind: AsideKind) {
        if self.asides.len() < ASIDES_MAX {
            self.asides.push(Aside {
                path: path.to_owned(),
                what: what.to_owned(),
                kind,
            });
        }
    }

    /// Whether a further aside would be kept: beyond the bound no place needs to be noted for one.
    pub(crate) fn takes_asides(&self) -> bool {
        self.asides.len() < ASIDES_MAX
    }

    /// Whether this is noted already, as for the second of many servers with the same setting.
    pub(crate) fn has_aside(&self, path: &str, what: &str) -> bool {
        let is_same = |aside: &Aside| aside.path == path && aside.what == what;
        self.asides.iter().any(is_same)
    }

    /// An error that many places may have: it is shown once, at the first of them, with a count.
    fn error_once(&mut self, path: &str, words: Words) {
        if let Some((_, count)) = self.repeated.get_mut(&words.message) {
            *count += 1;
            return;
        }
        let message = words.message.clone();
        let before = self.findings.len();
        self.error(path, words);
        if self.findings.len() > before {
            self.repeated.insert(message, (before, 1));
        }
    }

    /// Writes the counts of [`Self::error_once`] into their findings, which are still in the order of their making.
    fn count_repeated(&mut self) {
        for (at, count) in self.repeated.values().filter(|(_, count)| *count > 1) {
            if let Some(finding) = self.findings.get_mut(*at) {
                let more = format!(" (here and in {} more places)", count - 1);
                finding.message.push_str(&more);
            }
        }
    }

    fn finding(&mut self, severity: Severity, path: &str, words: Words) {
        if self.findings.len() >= FINDINGS_MAX && severity < Severity::Error {
            self.findings_dropped += 1;
            return;
        }
        if self.findings.len() >= 2 * FINDINGS_MAX {
            self.findings_dropped += 1;
            return;
        }
        let (file, location) = self.origin.locate(path);
        self.findings.push(Finding {
            id: words.id,
            severity,
            message: clipped(words.message),
            effect: words.effect,
            fix: words.fix,
            path: path.to_owned(),
            magnitude_ppm: 0,
            file,
            location,
            waived: None,
            effect_of: None,
        });
    }

    /// What no reader would accept of a whole set-up.
    fn look_over(&mut self, setup: &Setup) {
        let is_refused = self.findings.iter().any(|f| f.severity == Severity::Error);
        let is_empty = setup.pools.is_empty() && setup.listeners.is_empty();
        if is_empty && !is_refused && !self.is_told_empty {
            let words = Words {
                id: "IMP-04",
                message: "no listener and no pool stands in it".to_owned(),
                effect: "there is nothing to judge, and nothing was".to_owned(),
                fix: "check the path, and what makes this file".to_owned(),
            };
            self.remark(Severity::Warning, "", words);
        }
        let pools = setup.pools.iter().flat_map(|pool| {
            let backends = pool.backends.iter();
            let named = backends.flat_map(|b| [(&b.name, &b.path), (&b.address, &b.path)]);
            std::iter::once((&pool.name, &pool.path)).chain(named)
        });
        let listeners = setup.listeners.iter();
        let listeners = listeners.flat_map(|l| [(&l.name, &l.path), (&l.address, &l.path)]);
        // A line end in a name would write lines of its own into every report.
        let forged = pools.chain(listeners);
        let forged = forged.filter(|(name, _)| name.contains(char::is_control));
        let forged: Vec<String> = forged.map(|(_, path)| path.clone()).collect();
        self.refuse_torn(setup);
        for path in forged {
            let words = refused(
                "IMP-04",
                "a name or address holds a control character".to_owned(),
            );
            self.error_once(&path, words);
        }
    }

    /// What came out.
    pub(crate) fn close(mut self, setup: Option<Setup>) -> Imported {
        if let Some(setup) = &setup {
            self.look_over(setup);
        }
        self.count_repeated();
        self.hide_strangers();
        let dropped = self.findings_dropped + self.gaps_dropped;
        if dropped > 0 {
            let words = Words {
                id: "IMP-05",
                message: format!("{dropped} further findings of the reader are not shown"),
                effect: "the list above is not whole".to_owned(),
                fix: "check the parts of the file one by one".to_owned(),
            };
            self.findings_dropped = 0;
            self.findings.truncate(2 * FINDINGS_MAX - 1);
            self.finding(Severity::Error.min(Severity::Warning), "", words);
        }
        let order = |finding: &Finding| {
            let source = self
                .origin
                .sources
                .iter()
                .position(|s| s.file == finding.file);
            let at = finding
                .location
                .as_ref()
                .map_or(0, |place: &Location| place.span.start);
            (source, at)
        };
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort_by_key(order);
        let is_refused = findings.iter().any(|f| f.severity == Severity::Error);
        let setup = setup.filter(|_| !is_refused).map(|setup| Setup {
            gaps: self.gaps,
            ..setup
        });
        Imported {
            setup,
            origin: self.origin,
            findings,
            asides: self.asides,
        }
    }
}

/// A message quotes the file; a file may be one long word.
fn clipped(mut message: String) -> String {
    if let Some((at, _)) = message.char_indices().nth(MESSAGE_MAX) {
        message.truncate(at);
        message.push('…');
    }
    message
}

fn refused(id: &'static str, message: String) -> Words {
    Words {
        id,
        message,
        effect: "the configuration is not judged, because a part of it is missing".to_owned(),
        fix: "put this right and check again".to_owned(),
    }
}
