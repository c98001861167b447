//! What people ask of deployments: start, promote, abort; each let in or refused with the reason.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::config::Pool;
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::{DeploymentId, Name};
use evenkeel_model::record::{
    ALL_PPM, DeploymentRecord, Entry, EventSource, RolloutRecord, RolloutState, Strategy,
};

use super::overlay::weights;
use super::{STEP_MIN_MAX, STEPS_MAX, next};
use crate::action::Outcome;
use crate::event::{DeployCommand, DeployVerb, RequestId, StartDeployment};
use crate::refuse;
use crate::state::{Gate, Inner};

/// Shares of a canary unless they are said, parts per million.
const CANARY: [u32; 4] = [50_000, 250_000, 500_000, ALL_PPM];
/// Steps of a rolling deployment unless they are said, at most.
const ROLLING_MAX: usize = 10;

/// The shares of a deployment: as `given`, else those of the strategy, for a version of `count` backends.
fn steps(strategy: Strategy, given: &[u32], count: usize) -> Result<Vec<u32>, String> {
    let parts = count.clamp(1, ROLLING_MAX) as u32;
    let steps = match (strategy, given) {
        (Strategy::BlueGreen, []) => vec![50_000, ALL_PPM],
        (Strategy::BlueGreen, [look, ..]) if *look < ALL_PPM => vec![*look, ALL_PPM],
        (Strategy::Canary, []) => CANARY.to_vec(),
        (Strategy::Rolling, []) => (1..=parts).map(|part| ALL_PPM / parts * part).collect(),
        (_, given) => given.to_vec(),
    };
    let mut steps = steps;
    // A third three times is all of it.
    if let (Strategy::Rolling, [], Some(last)) = (strategy, given, steps.last_mut()) {
        *last = ALL_PPM;
    }
    let pairs = steps.iter().zip(steps.iter().skip(1));
    if steps.first() == Some(&0) || pairs.clone().any(|(a, b)| a >= b) {
        return Err("the steps must rise, from above 0 %".to_owned());
    }
    if steps.last() != Some(&ALL_PPM) {
        return Err("the last step must be 100 %: a deployment ends with one version".to_owned());
    }
    if steps.len() > STEPS_MAX {
        let count = steps.len();
        return Err(format!(
            "a deployment has at most {STEPS_MAX} steps, got {count}"
        ));
    }
    Ok(steps)
}

/// The one version besides `version` that takes traffic in `pool` now, or why it is not known.
fn stable(pool: &Pool, version: &Name) -> Result<Name, String> {
    let serving = pool.backends.iter().filter(|b| b.weight > 0);
    if let Some(plain) = serving.clone().find(|b| b.version.is_none()) {
        return Err(format!("`{}` takes traffic and has no version", plain.name));
    }
    let versions: BTreeSet<&Name> = serving.filter_map(|b| b.version.as_ref()).collect();
    let others: Vec<&&Name> = versions.iter().filter(|v| **v != version).collect();
    match others.as_slice() {
        [stable] => Ok((**stable).clone()),
        [] => Err(format!("{version} has all the traffic already")),
        [first, second, ..] => Err(format!("{first} and {second} both take traffic")),
    }
}

/// What about the pool keeps the share of a version from being kept; `None`: nothing.
fn unfit(pool: &Pool, (version, stable): (&Name, &Name)) -> Option<String> {
    let mine = |of: &&evenkeel_model::config::Backend| {
        let named = of.version.as_ref();
        named == Some(version) || named == Some(stable)
    };
    let levels: BTreeSet<u32> = pool
        .backends
        .iter()
        .filter(mine)
        .map(|b| b.priority)
        .collect();
    if levels.len() > 1 {
        return Some(format!(
            "{version} and {stable} stand on different levels of `priority`"
        ));
    }
    if pool.place.subset.is_some() {
        return Some("`subset` leaves each instance other backends".to_owned());
    }
    let reported = pool.reported.is_some();
    reported.then(|| "`reported` moves the same weights by load".to_owned())
}

impl Inner {
    /// `deploy start`, `promote`, `abort`.
    pub(crate) fn deploy_command(&mut self, command: DeployCommand) {
        let DeployCommand {
            request,
            pool,
            author,
            reason,
            verb,
        } = command;
        let done = match verb {
            DeployVerb::Start(start) => self.start(request, &pool, (&author, &reason), &start),
            DeployVerb::Promote { all, force } => {
                self.promote(request, &pool, (&author, &reason), all, force)
            }
            DeployVerb::Abort => self.abort_command(request, &pool, (&author, &reason)),
        };
        if let Err(finding) = done {
            let text = format!("{pool}: {}: {}", finding.id, finding.message);
            let mut line = self.event(EventSource::Controller, "deploy.refused", &author, text);
            line.subject = format!("pool:{pool}");
            self.record(vec![Entry::Event(line)]);
            self.reply(request, refuse::refused(*finding, Vec::new(), None));
        }
    }

    fn start(
        &mut self,
        request: RequestId,
        pool: &Name,
        (author, reason): (&str, &str),
        start: &StartDeployment,
    ) -> Result<(), Box<Finding>> {
        let (record, backends) = self.admits_start(pool, start)?;
        let record = RolloutRecord {
            author: author.to_owned(),
            reason: reason.to_owned(),
            ..record
        };
        self.next_deployment += 1;
        let told = DeploymentRecord {
            id: record.id,
            pool: pool.clone(),
            version: record.version.clone(),
            backends,
            at: self.wall,
            recorded_at: self.wall,
            author: record.author.clone(),
            note: record.reason.clone(),
            ended_at: None,
            told: None,
            revision: Some(record.revision),
            messages: Vec::new(),
        };
        let RolloutRecord {
            id,
            version,
            stable,
            strategy,
            ..
        } = &record;
        let forced = if record.forced { ", forced" } else { "" };
        let text =
            format!("{id}: {version} of {pool} in place of {stable}, {strategy}{forced}: {reason}");
        let whose = (EventSource::Human, "deploy.started", author);
        let line = self.rollout_line(&record, whose, text);
        self.rollouts.coming.push(pool.clone());
        self.remember_deployment(told.clone());
        let entries = vec![
            Entry::Deployment(told),
            Entry::Rollout(Box::new(record.clone())),
            line,
        ];
        let gate = Gate::Rollout {
            request: Some(request),
            record: Box::new(record),
        };
        self.ledger.gate(entries, gate, &mut self.out);
        Ok(())
    }

    /// Every rule that lets a deployment in or keeps it out: its record, and the backends of the version.
    fn admits_start(
        &self,
        name: &Name,
        start: &StartDeployment,
    ) -> Result<(RolloutRecord, Vec<Name>), Box<Finding>> {
        let version = &start.version;
        let cannot =
            |why: String| refuse::deployment(format!("{version} cannot be deployed: {why}"));
        if !self.ledger.is_ok() {
            return Err(refuse::journal("it failed before"));
        }
        if let Some((revision, doing)) = self.in_flight() {
            return Err(refuse::in_flight(revision, doing));
        }
        let (Some(declared), Some(watch)) = (
            self.running.config.pool(name.as_str()),
            self.pools.get(name),
        ) else {
            return Err(cannot(format!("there is no pool `{name}`")));
        };
        if let Some(open) = self.rollouts.open_in(name) {
            let (id, other) = (open.id, &open.version);
            return Err(cannot(format!("{id} of {other} is under way")));
        }
        if self.rollouts.is_coming(name) {
            return Err(cannot("another deployment is about to start".to_owned()));
        }
        if let Some(case) = self.desk.open_of(name) {
            return Err(cannot(format!(
                "incident {} of the pool is open",
                case.record.id
            )));
        }
        let mine = declared.backends.iter();
        let mine = mine.filter(|b| b.version.as_ref() == Some(version));
        let backends: Vec<Name> = mine.map(|b| b.name.clone()).collect();
        if backends.is_empty() {
            return Err(cannot(format!(
                "no backend of pool `{name}` has this version"
            )));
        }
        let stable = stable(&self.effective(declared), version).map_err(cannot)?;
        if let Some(why) = unfit(declared, (version, &stable)) {
            return Err(cannot(why));
        }
        let steps = steps(start.strategy, &start.steps, backends.len()).map_err(cannot)?;
        let mut record = RolloutRecord {
            id: DeploymentId(self.next_deployment),
            pool: name.clone(),
            version: version.clone(),
            stable,
            strategy: start.strategy,
            share_ppm: steps.first().copied().unwrap_or(ALL_PPM),
            steps,
            step_min_ms: u64::try_from(start.step_min.min(STEP_MIN_MAX).as_millis()).unwrap_or(0),
            step: 0,
            state: RolloutState::Running,
            at: self.wall,
            since: self.wall,
            author: String::new(),
            reason: String::new(),
            why: String::new(),
            forced: start.force,
            revision: self.running.record.id,
            incident: None,
            lifted_by: None,
        };
        let first = record.clone();
        while record.state == RolloutState::Running {
            self.admits_share(watch, &record)?;
            record = next(&record);
        }
        Ok((first, backends))
    }

    fn promote(
        &mut self,
        request: RequestId,
        pool: &Name,
        (author, reason): (&str, &str),
        all: bool,
        force: bool,
    ) -> Result<(), Box<Finding>> {
        if !self.ledger.is_ok() {
            return Err(refuse::journal("it failed before"));
        }
        let active = self.rollouts.by_pool.get(pool);
        let Some(active) = active.filter(|a| a.record.state == RolloutState::Running) else {
            let text = format!("no deployment of pool `{pool}` is under way");
            return Err(refuse::deployment(text));
        };
        if active.is_pending {
            let text = format!("{} is about to take its next step", active.record.id);
            return Err(refuse::deployment(text));
        }
        let mut record = active.record.clone();
        record.forced |= force;
        let mut then = next(&record);
        while all && then.step + 1 < then.steps.len() {
            then = next(&then);
        }
        then.why = match reason {
            "" => format!("promoted by {author}"),
            reason => format!("promoted by {author}: {reason}"),
        };
        if let Some(watch) = self.pools.get(pool) {
            self.admits_share(watch, &then)?;
        }
        self.move_on(then, Some(request), (EventSource::Human, author));
        Ok(())
    }

    fn abort_command(
        &mut self,
        request: RequestId,
        pool: &Name,
        (author, reason): (&str, &str),
    ) -> Result<(), Box<Finding>> {
        let running = self.running.record.id;
        let active = self.rollouts.by_pool.get(pool);
        let record = active.map(|active| &active.record).filter(|record| {
            let moves = record.state == RolloutState::Running || record.state == RolloutState::Done;
            moves && record.is_in_force(running)
        });
        let Some(record) = record.cloned() else {
            let text = format!("no deployment of pool `{pool}` could be aborted");
            return Err(refuse::deployment(text));
        };
        let declared = self.running.config.pool(pool.as_str());
        if declared.is_none_or(|pool| weights(pool, &record, 0).is_none()) {
            let text = format!("pool `{pool}` has no backend of {} any more", record.stable);
            return Err(refuse::deployment(text));
        }
        let why = match reason {
            "" => format!("by {author}"),
            reason => format!("by {author}: {reason}"),
        };
        self.abort(record, why, (EventSource::Human, author));
        let now = self.rollouts.by_pool.get(pool);
        if let Some(active) = now {
            let outcome = Outcome::Rollout(Box::new(active.record.clone()));
            self.reply(request, outcome);
        }
        Ok(())
    }
}

/// Least length of a step that may be asked for.
pub const STEP_LEAST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use evenkeel_model::record::{ALL_PPM, Strategy};

    use super::steps;

    #[test]
    fn steps_are_those_given_or_of_the_strategy_and_end_with_everything() {
        let of = |strategy, given: &[u32], count| steps(strategy, given, count);
        assert_eq!(
            of(Strategy::Canary, &[], 2).unwrap(),
            [50_000, 250_000, 500_000, ALL_PPM]
        );
        assert_eq!(of(Strategy::BlueGreen, &[], 2).unwrap(), [50_000, ALL_PPM]);
        assert_eq!(
            of(Strategy::BlueGreen, &[10_000, 20_000], 2).unwrap(),
            [10_000, ALL_PPM]
        );
        assert_eq!(
            of(Strategy::Rolling, &[], 3).unwrap(),
            [333_333, 666_666, ALL_PPM]
        );
        assert_eq!(of(Strategy::Rolling, &[], 500).unwrap().len(), 10);
        for (given, said) in [
            (&[0, ALL_PPM][..], "must rise"),
            (&[50_000, 50_000, ALL_PPM], "must rise"),
            (&[50_000], "must be 100 %"),
        ] {
            let error = of(Strategy::Canary, given, 2).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let many: Vec<u32> = (1..=21).map(|n| ALL_PPM / 21 * n + n / 21).collect();
        assert!(of(Strategy::Canary, &many, 2).is_err());
    }
}
