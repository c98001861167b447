//! Files as they come in: their bounds, what is no text in them, what they include, and what of them is quoted.
//!
//! A file outside the directory tree of the configuration may be anything, a list of passwords included, when somebody
//! else wrote the `include`. Where such a file is no configuration at all, findings say where and never quote it.

use evenkeel_model::finding::{Severity, Source};
use evenkeel_model::setup::{HashKey, Selection, Setup};

use super::{Book, Words, refused};
use crate::{DEPTH_MAX, FILES_MAX, File, TEXT_MAX, TOTAL_MAX};

/// What stands in a text for bytes that are no text.
const NO_TEXT: char = '\u{fffd}';

impl Book<'_> {
    /// Lets files that are not UTF-8 in, for a reader that looks at each such place by itself.
    pub(crate) const fn bear_torn(&mut self) {
        self.bears_torn = true;
    }

    /// Whether U+FFFD in that source stands for bytes that are no text.
    pub(crate) fn is_torn(&self, source: usize) -> bool {
        self.torn.contains(&source)
    }

    /// Says, once for each file, that bytes in it are no text and decided nothing.
    pub(crate) fn note_torn(&mut self) {
        for source in 0..self.origin.sources.len() {
            if !self.is_torn(source) {
                continue;
            }
            let text = self.text(source);
            let Some(at) = text.find(NO_TEXT) else {
                continue;
            };
            let path = format!("torn.{source}");
            self.place(&path, source, at..at + NO_TEXT.len_utf8());
            let words = Words {
                id: "IMP-01",
                message: format!(
                    "{} bytes or more of `{}` are not UTF-8, the first of them here",
                    text.matches(NO_TEXT).count(),
                    self.name(source)
                ),
                effect: "none on what is judged: no name, address or key has one".to_owned(),
                fix: "save the file as UTF-8, or leave it so".to_owned(),
            };
            self.remark(Severity::Info, &path, words);
        }
    }

    /// Names, addresses and keys of which bytes are missing cannot be compared or hashed.
    pub(super) fn refuse_torn(&mut self, setup: &Setup) {
        if self.torn.is_empty() {
            return;
        }
        let of_pools = setup.pools.iter().flat_map(|pool| {
            let backends = pool.backends.iter();
            let named = backends.flat_map(|b| [(&b.name, &b.path), (&b.identity, &b.path)]);
            let key = match &pool.selection {
                Selection::Hash(hash) => match &hash.key {
                    HashKey::Constant(text) => Some((text, &pool.path)),
                    _ => None,
                },
                _ => None,
            };
            std::iter::once((&pool.name, &pool.path))
                .chain(named)
                .chain(key)
        });
        let of_listeners = setup.listeners.iter().map(|l| (&l.address, &l.path));
        let torn = of_pools.chain(of_listeners);
        let torn = torn.filter(|(text, _)| text.contains(NO_TEXT));
        let torn: Vec<String> = torn.map(|(_, path)| path.clone()).collect();
        for path in torn {
            let message = "a name, address or key holds bytes that are not UTF-8".to_owned();
            let words = Words {
                fix: "save the file as UTF-8".to_owned(),
                ..refused("IMP-01", message)
            };
            self.error_once(&path, words);
        }
    }

    /// Leaves nothing to quote of a file from elsewhere that is no configuration: its findings keep their places, and
    /// its text becomes blank, line by line.
    pub(super) fn hide_strangers(&mut self) {
        // The first is the one that was asked for by name.
        for source in 1..self.origin.sources.len() {
            let name = self.name(source).to_owned();
            if !self.is_broken(&name) || !self.files.is_outside(&name) {
                continue;
            }
            for finding in &mut self.findings {
                if finding.file.as_deref() == Some(&name) {
                    finding.message = format!(
                        "`{name}` is no configuration here; it lies outside of the directory that is checked, so its text is not shown"
                    );
                    "name a file of this configuration, or point to the directory that it lies in by `--root`"
                        .clone_into(&mut finding.fix);
                }
            }
            // The first place says enough.
            let mut is_first = true;
            self.findings.retain(|finding| {
                finding.file.as_deref() != Some(&name) || std::mem::take(&mut is_first)
            });
            if let Some(held) = self.origin.sources.get_mut(source) {
                let blank = |c: char| if c == '\n' { "\n" } else { " " };
                // As many bytes as before, so that every place stays where it is.
                held.text = held
                    .text
                    .chars()
                    .flat_map(|c| std::iter::repeat_n(blank(c), c.len_utf8()))
                    .collect();
            }
        }
    }

    /// Whether a fault of syntax was found in the file called `name`.
    fn is_broken(&self, name: &str) -> bool {
        let is_fault = |severity: Severity, id: &str| severity == Severity::Error && id == "IMP-01";
        let mut findings = self.findings.iter();
        findings.any(|f| is_fault(f.severity, f.id) && f.file.as_deref() == Some(name))
    }

    /// Takes in a file; `None`, with a finding, when it is too long, not UTF-8, or one too many.
    pub(crate) fn open(&mut self, file: File) -> Option<usize> {
        let File { name, bytes } = file;
        // A line end in a name would write lines of its own into every report.
        let name = shown(&name);
        self.total = self.total.saturating_add(bytes.len());
        if let Some(words) = self.bound(&name, bytes.len()) {
            self.error_once("", words);
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) if self.bears_torn => {
                self.torn.push(self.origin.sources.len());
                String::from_utf8_lossy(error.as_bytes()).into_owned()
            }
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
                let message = format!("cannot include `{}`: {}", shown(pattern), shown(&reason));
                let words = Words {
                    fix: "add the file or make it readable; where it lies elsewhere on this machine, say so by `--root DIR` or `--root /etc/nginx=DIR`"
                        .to_owned(),
                    ..refused("IMP-02", message)
                };
                self.error_once(path, words);
                return;
            }
        };
        self.open.push(from);
        for file in files {
            if self
                .open
                .iter()
                .any(|source| name(self, *source) == shown(&file.name))
            {
                let message = format!("`{}` includes itself", shown(&file.name));
                self.error_once(path, refused("IMP-02", message));
                continue;
            }
            if let Some(source) = self.open(file) {
                read(self, source);
            }
        }
        self.open.pop();
    }

    /// Why a file of so many bytes is one too much.
    fn bound(&self, name: &str, bytes: usize) -> Option<Words> {
        let (message, fix) = if bytes > TEXT_MAX {
            (
                format!("`{name}` has {bytes} bytes; at most {TEXT_MAX} are read"),
                "check a smaller part of the configuration by itself",
            )
        } else if self.total > TOTAL_MAX {
            (
                format!(
                    "all files together have more than {TOTAL_MAX} bytes, the most that is read"
                ),
                "check a part of the configuration by itself",
            )
        } else if self.origin.sources.len() >= FILES_MAX {
            (
                format!("more than {FILES_MAX} files are included, the most that is read"),
                "check a part of the configuration by itself, or join files; a file counts each time it is included",
            )
        } else {
            return None;
        };
        Some(Words {
            fix: fix.to_owned(),
            ..refused("IMP-05", message)
        })
    }
}

/// A name as it is shown: control characters as escapes.
fn shown(name: &str) -> String {
    if !name.contains(char::is_control) {
        return name.to_owned();
    }
    let escaped = |c: char| {
        let plain = (!c.is_control()).then_some(c);
        let code = c.is_control().then(|| c.escape_default());
        plain.into_iter().chain(code.into_iter().flatten())
    };
    name.chars().flat_map(escaped).collect()
}
