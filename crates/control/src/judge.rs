//! What a configuration would do: parsed, forecast, audited and compared, off the control loop.
//!
//! `check`, `plan`, `apply`, SIGHUP and the scheduled audit all come through here, so that they can never disagree.

use std::sync::Arc;

use evenkeel_audit::{Running, Subject};
use evenkeel_forecast::{Facts, Forecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Config;
use evenkeel_model::diff::{self, Change};
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::record::ContentHash;
use evenkeel_model::setup::Setup;
use evenkeel_model::{canonical, parse};

use crate::certificates::Disk;

/// A configuration as it was judged.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The text that was handed in.
    pub text: Arc<str>,
    /// Where each value stands.
    pub origin: Origin,
    /// The configuration; `None` when the text is not one.
    pub config: Option<Arc<Config>>,
    /// Hash of its content.
    pub hash: Option<ContentHash>,
    /// Everything that the parser and the rules say.
    pub findings: Vec<Finding>,
    /// Indices into `findings` that refuse an apply: errors that the change introduces or worsens.
    pub blocking: Vec<usize>,
    /// What it sets up; `None` when the text is no configuration.
    pub setup: Option<Arc<Setup>>,
    /// What it implies.
    pub forecast: Option<Forecast>,
    /// What the one it was compared with implies, under the same facts.
    pub before: Option<Forecast>,
    /// What differs from the running configuration; empty without one.
    pub changes: Vec<Change>,
}

impl Judged {
    /// A text of which nothing is known yet.
    pub fn blank(text: &str, origin: Origin) -> Self {
        Self {
            text: Arc::from(text),
            origin,
            config: None,
            hash: None,
            findings: Vec::new(),
            blocking: Vec::new(),
            setup: None,
            forecast: None,
            before: None,
            changes: Vec::new(),
        }
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }
}

/// Judges `text` with the files of TLS that it names, as `disk` has them: see [`Disk::seal`] and [`judge`].
pub fn judge_sealed(
    disk: &Disk,
    text: &str,
    file: Option<&str>,
    running: Option<&Config>,
    facts: &Facts,
    now: Wall,
) -> Judged {
    match disk.seal(text, file) {
        Ok(sealed) => {
            let mut judged = judge(&sealed.text, file, running, facts, now);
            judged.findings.extend(sealed.warnings);
            judged
        }
        Err(unsealable) => Judged {
            blocking: (0..unsealable.findings.len()).collect(),
            findings: unsealable.findings,
            ..Judged::blank(text, unsealable.origin)
        },
    }
}

/// Judges `text` at the moment `now` against `running`. Without a running configuration every error blocks.
pub fn judge(
    text: &str,
    file: Option<&str>,
    running: Option<&Config>,
    facts: &Facts,
    now: Wall,
) -> Judged {
    let parsed = parse::parse(text, file);
    let Some(mut config) = parsed.config else {
        return Judged {
            blocking: (0..parsed.findings.len()).collect(),
            findings: parsed.findings,
            ..Judged::blank(text, parsed.origin)
        };
    };
    // What was found for a pool stays with it, whatever is declared: it is judged with the members that it would have.
    if let Some(running) = running {
        config.take_members(running);
    }
    let before = running.map(Setup::of);
    let mut judged = judge_setup(
        Setup::of(&config),
        parsed.origin,
        parsed.findings,
        before.as_ref(),
        facts,
        now,
    );
    judged.text = Arc::from(text);
    judged.hash = Some(canonical::content_hash(&config));
    judged.changes = running
        .map(|running| diff::diff(running, &config))
        .unwrap_or_default();
    let restarts = judged
        .changes
        .iter()
        .filter(|change| needs_restart(&change.path));
    let findings: Vec<Finding> = restarts
        .map(|change| restart_finding(change, &judged.origin))
        .collect();
    judged.findings.extend(findings);
    judged.config = Some(Arc::new(config));
    judged
}

/// Judges a set-up of any balancer against another one. `findings` are those of its reader; they come first.
pub fn judge_setup(
    setup: Setup,
    origin: Origin,
    findings: Vec<Finding>,
    running: Option<&Setup>,
    facts: &Facts,
    now: Wall,
) -> Judged {
    let forecast = evenkeel_forecast::forecast(&setup, facts);
    let before = running.map(|setup| (setup, evenkeel_forecast::forecast(setup, facts)));
    let verdict = evenkeel_audit::judge_change(&Subject {
        setup: &setup,
        origin: &origin,
        forecast: &forecast,
        facts,
        running: before
            .as_ref()
            .map(|(setup, forecast)| Running { setup, forecast }),
        now,
    });
    let offset = findings.len();
    let mut judged = Judged {
        findings,
        ..Judged::blank("", origin)
    };
    judged.blocking = verdict.blocking.iter().map(|i| i + offset).collect();
    judged.findings.extend(verdict.findings);
    judged.before = before.map(|(_, forecast)| forecast);
    judged.forecast = Some(forecast);
    judged.setup = Some(Arc::new(setup));
    judged
}

/// What is read at the start only.
fn needs_restart(path: &str) -> bool {
    path == "workers" || path == "access_log" || path.starts_with("admin.")
}

fn restart_finding(change: &Change, origin: &Origin) -> Finding {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "the default".to_owned());
    let (file, location) = origin.locate(&change.path);
    Finding {
        id: "CHG-07",
        severity: Severity::Warning,
        message: format!(
            "`{}` changes from {} to {}, which takes effect at the next start",
            change.path,
            value(&change.before),
            value(&change.after)
        ),
        effect: "none until then: the running instance keeps what it was started with".to_owned(),
        fix: "restart evenkeel after the apply; requests in flight finish first".to_owned(),
        path: change.path.clone(),
        magnitude_ppm: 0,
        file,
        location,
        waived: None,
        effect_of: None,
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use evenkeel_forecast::Facts;
    use evenkeel_model::clock::Wall;
    use evenkeel_model::parse::parse;

    const TEXT: &str = "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npool = \"p\"\n[pool.p.backend.a]\naddress = \"127.0.0.1:1\"\n[pool.p.backend.b]\naddress = \"127.0.0.1:2\"\n";

    #[test]
    fn a_change_that_needs_a_restart_says_so_and_any_other_does_not() {
        let running = parse(TEXT, None).config.unwrap();
        let findings =
            |text: &str| judge(text, None, Some(&running), &Facts::default(), Wall(0)).findings;
        let restarts = |text: &str| findings(text).iter().filter(|f| f.id == "CHG-07").count();
        assert_eq!(restarts(&format!("workers = 3\n{TEXT}")), 1);
        assert_eq!(restarts(&format!("{TEXT}weight = 2\n")), 0);
        assert_eq!(restarts(TEXT), 0);
    }
}
