//! What a reader writes down while it reads: the files, where each value stands, findings and gaps.
//!
//! One place for the bounds, for the wording of what was not understood, and for the order of findings.
//! Ids: `IMP-01` cannot be read, `IMP-02` an include, `IMP-03` not understood, `IMP-04` a reference to what is not
//! there, `IMP-05` a bound, `IMP-06` what that balancer accepts and does not do.

use std::ops::Range;

use evenkeel_model::finding::{Finding, Location, Origin, Severity, Source, Span};
use evenkeel_model::setup::{Gap, Setup, Touches};

use crate::{
    ASIDES_MAX, Aside, AsideKind, DEPTH_MAX, FILES_MAX, FINDINGS_MAX, File, Files, GAPS_MAX,
    Imported, TEXT_MAX, TOTAL_MAX,
};

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
    /// The sources that are being read now, from the first to the innermost.
    open: Vec<usize>,
    findings: Vec<Finding>,
    findings_dropped: usize,
    gaps: Vec<Gap>,
    gaps_dropped: usize,
    asides: Vec<Aside>,
}

impl<'f> Book<'f> {
    pub(crate) fn new(files: &'f dyn Files) -> Self {
        Self {
            files,
            origin: Origin::default(),
            total: 0,
            open: Vec::new(),
            findings: Vec::new(),
            findings_dropped: 0,
            gaps: Vec::new(),
            gaps_dropped: 0,
            asides: Vec::new(),
        }
    }

    /// Takes in a file; `None`, with a finding, when it is too long, not UTF-8, or one too many.
    pub(crate) fn open(&mut self, file: File) -> Option<usize> {
        let File { name, bytes } = file;
        self.total = self.total.saturating_add(bytes.len());
        let refusal = if bytes.len() > TEXT_MAX {
            Some((
                format!(
                    "`{name}` has {} bytes; at most {TEXT_MAX} are read",
                    bytes.len()
                ),
                "IMP-05",
            ))
        } else if self.total > TOTAL_MAX {
            Some((
                format!("with `{name}` the files have more than {TOTAL_MAX} bytes"),
                "IMP-05",
            ))
        } else if self.origin.sources.len() >= FILES_MAX {
            Some((
                format!("with `{name}` there are more than {FILES_MAX} files"),
                "IMP-05",
            ))
        } else {
            None
        };
        if let Some((message, id)) = refusal {
            self.error("", refused(id, message));
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                self.error(
                    "",
                    refused("IMP-01", format!("`{name}` is not UTF-8 at byte {at}")),
                );
                return None;
            }
        };
        let nul = text.find('\0');
        self.origin.sources.push(Source::new(Some(&name), &text));
        let source = self.origin.sources.len() - 1;
        if let Some(at) = nul {
            self.place("nul", source, at..at + 1);
            let words = refused(
                "IMP-01",
                format!("`{name}` has a NUL byte here, it is not text"),
            );
            self.error("nul", words);
            return None;
        }
        Some(source)
    }

    /// The name of a source.
    pub(crate) fn name(&self, source: usize) -> &str {
        let source = self.origin.sources.get(source);
        source.and_then(|s| s.file.as_deref()).unwrap_or("")
    }

    /// The text of a source.
    pub(crate) fn text(&self, source: usize) -> String {
        self.origin
            .sources
            .get(source)
            .map(|s| s.text.clone())
            .unwrap_or_default()
    }

    /// Opens what `pattern` names and hands each file's source to `read`, guarding against circles and depth.
    /// `path` places the findings.
    pub(crate) fn include(
        &mut self,
        from: usize,
        pattern: &str,
        path: &str,
        mut read: impl FnMut(&mut Self, usize),
    ) {
        let name = |book: &Self, source: usize| {
            book.origin
                .sources
                .get(source)
                .and_then(|s| s.file.clone())
                .unwrap_or_default()
        };
        if self.open.len() >= DEPTH_MAX {
            self.error(
                path,
                refused(
                    "IMP-02",
                    format!("files include each other more than {DEPTH_MAX} deep"),
                ),
            );
            return;
        }
        let files = match self.files.open(&name(self, from), pattern) {
            Ok(files) => files,
            Err(reason) => {
                self.error(
                    path,
                    refused("IMP-02", format!("cannot include `{pattern}`: {reason}")),
                );
                return;
            }
        };
        self.open.push(from);
        for file in files {
            if self
                .open
                .iter()
                .any(|source| name(self, *source) == file.name)
            {
                self.error(
                    path,
                    refused("IMP-02", format!("`{}` includes itself", file.name)),
                );
                continue;
            }
            if let Some(source) = self.open(file) {
                read(self, source);
            }
        }
        self.open.pop();
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
            message: format!("`{what}` is not understood"),
            effect,
            fix: "read the findings with this in mind; what is understood is listed in docs/guide/check-others.md".to_owned(),
        };
        self.finding(severity, path, words);
        self.gaps.push(Gap {
            path: path.to_owned(),
            what: what.to_owned(),
            touches,
        });
    }

    /// Something that is understood and whose effect is not: listed and weighed as [`Self::gap`] does, with the reason.
    pub(crate) fn gap_because(&mut self, path: &str, what: &str, because: &str, touches: Touches) {
        let before = self.findings.len();
        self.gap(path, what, touches);
        if self.findings.len() > before
            && let Some(finding) = self.findings.last_mut()
        {
            finding.message = format!("`{what}` is not foreseen: {because}");
        }
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
        });
    }

    /// What no reader would accept of a whole set-up.
    fn look_over(&mut self, setup: &Setup) {
        let is_refused = self.findings.iter().any(|f| f.severity == Severity::Error);
        if setup.pools.is_empty() && setup.listeners.is_empty() && !is_refused {
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
        for path in forged {
            let words = refused(
                "IMP-04",
                "a name or address holds a control character".to_owned(),
            );
            self.error(&path, words);
        }
    }

    /// What came out.
    pub(crate) fn close(mut self, setup: Option<Setup>) -> Imported {
        if let Some(setup) = &setup {
            self.look_over(setup);
        }
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
