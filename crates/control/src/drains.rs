//! Drains as the handle gives them to the loop: names found, the load without the backend judged by the rules of an apply,
//! then asked for.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_audit::{Running, Subject};
use evenkeel_forecast::{Facts, Forecast};
use evenkeel_guard::{DrainCommand, Event, Outcome, UndrainCommand};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Config;
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::parse::suggestion;
use evenkeel_model::setup::Setup;

use crate::handle::{CommandError, Handle};

/// Judging again when drains or the running revision moved meanwhile.
const JUDGED_AGAIN_MAX: u32 = 3;
/// Names that an error shows.
const NAMES_SHOWN: usize = 8;
/// The rule of drains in flight.
const DRAINS_RULE: &str = "CAP-05";

/// `drain`.
#[derive(Debug, Clone)]
pub struct Drain {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// How long.
    pub lasts: Duration,
    /// By whom.
    pub author: String,
    /// Why; may be empty unless forced.
    pub reason: String,
    /// Although what is left cannot carry the peak.
    pub force: bool,
}

/// `undrain`.
#[derive(Debug, Clone)]
pub struct Undrain {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// By whom.
    pub author: String,
    /// Why; may be empty.
    pub reason: String,
}

/// The pools with a backend drained.
#[derive(Debug)]
pub struct JudgedDrain {
    /// What runs.
    pub setup: Setup,
    /// What it implies without the backend.
    pub forecast: Forecast,
    /// What speaks against the drain: first what refuses it, then what a person should know.
    pub findings: Vec<Finding>,
    /// How many of them refuse it.
    pub blocking: usize,
}

/// What came of a drain.
#[derive(Debug)]
pub struct Drained {
    /// The load without the backend.
    pub judged: JudgedDrain,
    /// What the guard said.
    pub outcome: Outcome,
}

/// Judges what runs under `facts` without `backend` of `pool` against the same with it: the rules of an apply.
pub fn judge_drain(
    config: &Config,
    facts: &Facts,
    (pool, backend): (&str, &str),
    now: Wall,
) -> JudgedDrain {
    let setup = Setup::of(config);
    let before = evenkeel_forecast::forecast(&setup, facts);
    let mut without = facts.clone();
    without.drain(pool, backend);
    let forecast = evenkeel_forecast::forecast(&setup, &without);
    let running = Running {
        setup: &setup,
        forecast: &before,
    };
    let verdict = evenkeel_audit::judge_change(&Subject {
        setup: &setup,
        origin: &Origin::default(),
        forecast: &forecast,
        facts: &without,
        running: Some(running),
        now,
    });
    let path = setup.pool(pool).map(|pool| pool.path.clone());
    let path = path.unwrap_or_default();
    let (mut findings, mut notes) = (Vec::new(), Vec::new());
    for (index, mut finding) in verdict.findings.into_iter().enumerate() {
        // Of the rule of drains the other drains are known already; this one makes it worse.
        let of_drains = finding.id == DRAINS_RULE && finding.path == path;
        let blocks = verdict.blocking.contains(&index);
        "drain it when the load is lower, bring another backend back or add capacity first, or `--force --reason TEXT`"
            .clone_into(&mut finding.fix);
        if blocks || (of_drains && finding.severity == Severity::Error) {
            findings.push(finding);
        } else if of_drains {
            notes.push(finding);
        }
    }
    let blocking = findings.len();
    findings.append(&mut notes);
    JudgedDrain {
        setup,
        forecast,
        findings,
        blocking,
    }
}

impl Handle {
    /// Drains a backend.
    pub async fn drain(&self, drain: Drain) -> Result<Drained, CommandError> {
        for _ in 0..JUDGED_AGAIN_MAX {
            let (judged_against, judged_drains, judged) = self.judge_drain(&drain).await?;
            let (pool, backend) = self.names(&drain.pool, &drain.backend)?;
            let blocking = judged.findings.iter().take(judged.blocking);
            let command = DrainCommand {
                request: evenkeel_guard::RequestId(0),
                pool,
                backend,
                lasts: drain.lasts,
                author: drain.author.clone(),
                reason: drain.reason.clone(),
                force: drain.force,
                blocking: blocking.cloned().collect(),
                judged_against,
                judged_drains,
            };
            let outcome = self
                .ask(move |request| Event::Drain(Box::new(DrainCommand { request, ..command })))
                .await?;
            let moved = matches!(&outcome, Outcome::Refused(refusal) if refusal.findings.iter().any(|f| f.id == "CHG-01"));
            if !moved {
                return Ok(Drained { judged, outcome });
            }
        }
        Err(CommandError::Busy)
    }

    async fn judge_drain(
        &self,
        drain: &Drain,
    ) -> Result<(RevisionId, u64, JudgedDrain), CommandError> {
        let published = self.published();
        let view = published.view.as_ref().ok_or(CommandError::Busy)?;
        let (revision, changes) = (view.revision, view.drain_changes);
        self.names(&drain.pool, &drain.backend)?;
        let (pool, backend) = (drain.pool.clone(), drain.backend.clone());
        let published = Arc::clone(&published);
        let work = move || {
            let now = crate::clock::wall();
            judge_drain(
                &published.balanced,
                &published.facts,
                (&pool, &backend),
                now,
            )
        };
        let judged = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| CommandError::Unknown(error.to_string()))?;
        Ok((revision, changes, judged))
    }

    /// Ends a drain.
    pub async fn undrain(&self, undrain: Undrain) -> Result<Outcome, CommandError> {
        let Undrain {
            pool,
            backend,
            author,
            reason,
        } = undrain;
        let (pool, backend) = self.drained_names(&pool, &backend)?;
        self.ask(move |request| {
            Event::Undrain(UndrainCommand {
                request,
                pool,
                backend,
                author,
                reason,
            })
        })
        .await
    }

    /// Those of a drain under way, also of a backend that is gone; else of a backend that is there.
    fn drained_names(&self, pool: &str, backend: &str) -> Result<(Name, Name), CommandError> {
        let published = self.published();
        let drains = published.view.iter().flat_map(|view| &view.drains);
        let mut known = drains.filter(|d| d.pool == pool && d.backend == backend);
        match known.next() {
            Some(drain) => Ok((drain.pool.clone(), drain.backend.clone())),
            None => self.names(pool, backend),
        }
    }

    /// The pool that is meant, or which are near.
    pub(crate) fn pool_name(&self, pool: &str) -> Result<Name, CommandError> {
        let config = Arc::clone(&self.published().config);
        let Some(found) = config.pool(pool) else {
            let pools = config.pools.iter().map(|pool| pool.name.as_str());
            let known = names_near(pool, pools);
            return Err(CommandError::Unknown(format!(
                "there is no pool `{pool}`{known}"
            )));
        };
        Ok(found.name.clone())
    }

    /// The backend that is meant, or which are near.
    fn names(&self, pool: &str, backend: &str) -> Result<(Name, Name), CommandError> {
        let name = self.pool_name(pool)?;
        let config = Arc::clone(&self.published().config);
        let Some(found) = config.pool(name.as_str()) else {
            return Err(CommandError::Busy);
        };
        let Some((_, member)) = found.backend(backend) else {
            let backends = found.backends.iter().map(|backend| backend.name.as_str());
            let known = names_near(backend, backends);
            return Err(CommandError::Unknown(format!(
                "pool `{pool}` has no backend `{backend}`{known}"
            )));
        };
        Ok((found.name.clone(), member.name.clone()))
    }
}

/// Which name may be meant, else which there are.
fn names_near<'n>(written: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(near) = suggestion(written, known.clone()) {
        return format!("; did you mean `{near}`?");
    }
    let shown: Vec<String> = known
        .clone()
        .take(NAMES_SHOWN)
        .map(|n| format!("`{n}`"))
        .collect();
    match known.count().saturating_sub(shown.len()) {
        _ if shown.is_empty() => String::new(),
        0 => format!("; there are {}", shown.join(", ")),
        more => format!("; there are {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_forecast::Facts;
    use evenkeel_model::clock::Wall;
    use evenkeel_model::parse::parse;

    use super::{JudgedDrain, judge_drain, names_near};

    /// Four backends of 300 rps at this peak, `drained` ones out already.
    fn judged(peak: u32, more: &str, drained: &[&str]) -> JudgedDrain {
        let backends: String = (1..=4)
            .map(|n| {
                format!(
                    "[pool.app.backend.s{n}]\naddress = \"127.0.0.1:{n}\"\ncapacity_rps = 300\n"
                )
            })
            .collect();
        let text = format!(
            "[listener.l]\naddress = \"127.0.0.1:80\"\n[[route]]\nlistener = \"l\"\npool = \"app\"\n[pool.app]\npeak_rps = {peak}\n{more}\n{backends}"
        );
        let config = parse(&text, None).config.unwrap();
        let mut facts = Facts::default();
        for name in drained {
            facts.drain("app", name);
        }
        judge_drain(&config, &facts, ("app", "s1"), Wall(0))
    }

    #[test]
    fn a_drain_is_refused_by_the_rules_of_an_apply_with_figures() {
        let fits = judged(700, "", &[]);
        assert!(fits.findings.is_empty(), "{:?}", fits.findings);
        let full = judged(800, "", &[]);
        assert_eq!(full.blocking, 3, "{:?}", full.findings);
        let first = &full.findings[0];
        assert_eq!(first.id, "CAP-01");
        assert!(
            first.message.contains("88.9 % of its capacity of 300 rps"),
            "{}",
            first.message
        );
        assert!(first.fix.contains("--force --reason"));
        assert_eq!(full.findings[3].id, "CAP-05");
    }

    #[test]
    fn drains_in_flight_count_and_what_was_too_much_before_does_not_refuse() {
        assert!(judged(600, "", &[]).findings.is_empty());
        assert!(judged(600, "", &["s2"]).blocking > 0);
        // Full with all of them: each drain makes it worse.
        assert!(judged(1_100, "", &[]).blocking > 0);
        // Drained already: nothing gets worse, so its end may be moved.
        assert_eq!(judged(800, "", &["s1"]).blocking, 0);
    }

    #[test]
    fn an_unknown_name_is_told_which_is_near_else_which_there_are() {
        let near = |name: &str| names_near(name, ["shop", "api"].into_iter());
        assert_eq!(near("shp"), "; did you mean `shop`?");
        assert_eq!(near("zzzzzz"), "; there are `shop`, `api`");
    }
}
