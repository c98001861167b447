//! A saved plan: the very text that was planned, and the revision that it was planned on.
//!
//! `apply` of it applies exactly that or refuses: when another revision runs by then, when the instance is not the one
//! that was asked (its revision of that number has other content), when the file was changed, or when a later version
//! wrote it. The seal finds accidents and edits. It is no signature: who can write the file can seal it anew, so it is
//! judged once more when it is applied, like every change.

use std::path::Path;

use evenkeel_web::views::{PlanView, RevisionView};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::admin::Admin;
use crate::exit::{Exit, coded};

/// The form of the file that this version writes and reads.
const FORMAT: u64 = 1;
/// First line of what is sealed, so that no other hash of the house can be one.
const SEAL_DOMAIN: &str = "evenkeel plan 1\n";
/// The key that tells a saved plan from anything else.
const MARK: &str = "evenkeel_plan";

/// A saved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    evenkeel_plan: u64,
    /// The revision it was planned on.
    pub(crate) base: String,
    /// Content hash of that revision.
    base_hash: String,
    /// The file that was planned, for findings.
    pub(crate) file: String,
    /// Content hash of what would run.
    hash: String,
    /// The text that would be applied.
    pub(crate) text: String,
    seal: String,
}

impl Saved {
    pub(crate) fn of(view: &PlanView, text: &str, file: &Path) -> anyhow::Result<Self> {
        let known = |value: &Option<String>| {
            value.clone().ok_or_else(|| {
                coded(
                    Exit::Failed,
                    "the instance did not say what the plan was made on; nothing was saved",
                )
            })
        };
        let mut saved = Self {
            evenkeel_plan: FORMAT,
            base: known(&view.revision)?,
            base_hash: known(&view.base_hash)?,
            file: file.to_string_lossy().into_owned(),
            hash: known(&view.hash)?,
            text: text.to_owned(),
            seal: String::new(),
        };
        saved.seal = saved.sealed();
        Ok(saved)
    }

    fn sealed(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(SEAL_DOMAIN.as_bytes());
        for part in [
            &self.base,
            &self.base_hash,
            &self.file,
            &self.hash,
            &self.text,
        ] {
            // With its length in front no part can run into the next.
            hasher.update(part.len().to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let digest = hasher.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Refuses when the instance is not the one that the plan was made on.
    pub(crate) fn fits(&self, admin: &Admin) -> anyhow::Result<()> {
        let known: RevisionView = admin
            .get(&format!("/api/revisions/{}", self.base))
            .map_err(|error| match crate::exit::of(&error) {
                Exit::Unreachable => error,
                _ => refused(&format!(
                    "the plan was made on {}, which this instance does not have",
                    self.base
                )),
            })?;
        if known.hash == self.base_hash {
            return Ok(());
        }
        Err(refused(&format!(
            "the plan was made on another instance: {} has other content here",
            self.base
        )))
    }
}

/// The saved plan in `text`; `None`: it is something else.
pub(crate) fn parse(text: &str) -> anyhow::Result<Option<Saved>> {
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        if text.contains(MARK) {
            return Err(refused("the saved plan is damaged: it is no JSON"));
        }
        return Ok(None);
    };
    let Some(format) = value.get(MARK) else {
        return Ok(None);
    };
    if format.as_u64() != Some(FORMAT) {
        return Err(refused(&format!(
            "the plan has format {format}; this version reads {FORMAT}"
        )));
    }
    let saved: Saved = serde_json::from_value(value)
        .map_err(|error| refused(&format!("the saved plan is damaged: {error}")))?;
    if saved.sealed() != saved.seal {
        return Err(refused("the plan was changed after it was saved"));
    }
    Ok(Some(saved))
}

fn refused(why: &str) -> anyhow::Error {
    coded(
        Exit::Refused,
        format!("{why}; nothing was changed; make a new one with `evenkeel plan --out`"),
    )
}

/// Writes a plan; a file that is not one is never overwritten.
pub(crate) fn write(path: &Path, saved: &Saved) -> anyhow::Result<()> {
    let failed = |why: String| {
        coded(
            Exit::Failed,
            format!(
                "cannot save the plan to `{}`: {why}",
                crate::render::name(path)
            ),
        )
    };
    match std::fs::read_to_string(path) {
        Ok(old) if !old.contains(MARK) => {
            return Err(failed("it exists and is no saved plan".to_owned()));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(error.to_string()));
        }
        _ => {}
    }
    let text = serde_json::to_string_pretty(saved)?;
    std::fs::write(path, text + "\n").map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Saved, parse};

    fn saved() -> Saved {
        let mut saved = Saved {
            evenkeel_plan: FORMAT,
            base: "r3".to_owned(),
            base_hash: "aa".to_owned(),
            file: "evenkeel.toml".to_owned(),
            hash: "bb".to_owned(),
            text: "workers = 2\n".to_owned(),
            seal: String::new(),
        };
        saved.seal = saved.sealed();
        saved
    }

    fn text(saved: &Saved) -> String {
        serde_json::to_string(saved).unwrap()
    }

    #[test]
    fn a_plan_reads_back_as_it_was_saved() {
        assert_eq!(parse(&text(&saved())).unwrap(), Some(saved()));
        assert_eq!(parse("[listener.web]\n").unwrap(), None);
        assert_eq!(parse("{\"static_resources\": {}}").unwrap(), None);
    }

    #[test]
    fn a_changed_newer_or_damaged_plan_is_refused_in_words() {
        let refusal = |text: &str| parse(text).unwrap_err().to_string();
        let plan = text(&saved());
        for (from, to) in [
            ("r3", "r4"),
            ("\"aa\"", "\"ab\""),
            ("workers = 2", "workers = 9"),
            ("evenkeel.toml", "other.toml"),
        ] {
            let changed = plan.replace(from, to);
            assert!(refusal(&changed).contains("was changed after"), "{from}");
        }
        assert!(
            refusal(&plan.replace("\"evenkeel_plan\":1", "\"evenkeel_plan\":2"))
                .contains("has format 2")
        );
        assert!(refusal(&plan.replace("\"hash\"", "\"hush\"")).contains("damaged"));
        assert!(refusal(plan.get(..plan.len() / 2).unwrap()).contains("damaged"));
    }
}
