//! The end of a run: what was expected against what was seen.

use evenkeel_model::blame::{Cause, Mechanism};

use super::{ActionTaken, Diagnosis, IncidentRecord, Moment, Outcome, Referee};

impl Referee<'_> {
    /// No steady state: the run is void.
    pub(crate) fn void(self) -> Outcome {
        let why = format!(
            "void: no steady state within {}: {}",
            self.scenario.steady.within, self.last_trouble
        );
        let mut outcome = Outcome::void(self.scenario, self.stage, self.seed, why);
        outcome.false_alarms = self.false_alarms();
        outcome.seconds = self.now.since(self.started).as_secs_f64();
        outcome.timeline = self.moments();
        outcome.notes.clone_from(&self.notes);
        outcome
    }

    /// The outcome of a run that came to its end.
    pub(crate) fn finish(self) -> Outcome {
        let main = self.main.and_then(|id| self.incidents.get(&id));
        // Of a silent drill the first false alarm is what a reader wants to see.
        let shown = main.or_else(|| self.incidents.values().next());
        let detect_seconds = main.map(|incident| self.since_fault(incident.detected_at));
        let restore_seconds = self.restored.map(|at| self.since_fault(at));
        let actions = self.actions();
        let mut why = self.failures.clone();
        self.judge(detect_seconds, restore_seconds, main, &actions, &mut why);
        let passed = why.is_empty();
        if passed {
            why.push(praise(detect_seconds, restore_seconds, main));
        }
        Outcome {
            drill: self.scenario.name.clone(),
            mode: self.stage,
            seed: self.seed,
            detect_seconds,
            restore_seconds,
            requests: self.counted.requests - self.base.requests,
            requests_failed: self.counted.failed - self.base.failed,
            requests_harmed: self.counted.harmed - self.base.harmed,
            diagnosis: shown.and_then(diagnosis),
            actions,
            false_alarms: self.false_alarms(),
            passed,
            void: false,
            why,
            timeline: self.moments(),
            notes: self.notes.clone(),
            seconds: self.now.since(self.started).as_secs_f64(),
        }
    }

    fn judge(
        &self,
        detected: Option<f64>,
        restored: Option<f64>,
        main: Option<&IncidentRecord>,
        actions: &[ActionTaken],
        why: &mut Vec<String>,
    ) {
        let expect = &self.scenario.expect;
        for incident in self.unexpected() {
            let said = diagnosis(incident).map_or("nothing yet".to_owned(), |d| d.cause);
            why.push(format!(
                "false alarm: {} at {:.1} s ({}), diagnosed {said}",
                incident.id,
                self.offset(incident.detected_at),
                incident.title
            ));
        }
        for (id, cause) in &self.blamed {
            why.push(format!("{id} blamed {cause}, which must not be blamed"));
        }
        if self.scenario.injected().is_some() && self.fault.is_none() {
            why.push("the step that injects the fault was never reached".to_owned());
        }
        self.judge_incident(detected, main, why);
        within("restored", restored, expect.restored_within, why);
        self.judge_actions(actions, why);
        if let Some(limit) = expect.verified_within {
            let from = self.revision_at;
            let took = self
                .verified_at
                .zip(from)
                .map(|(at, from)| at.since(from).as_secs_f64());
            within("verified", took, Some(limit), why);
        }
        if let (Some(wanted), Some(running)) = (&expect.running, self.running)
            && *wanted != running.to_string()
        {
            why.push(format!("{running} runs at the end, expected {wanted}"));
        }
        let (harmed, requests) = (
            self.counted.harmed - self.base.harmed,
            self.counted.requests - self.base.requests,
        );
        if let Some(most) = expect.harmed_at_most.filter(|most| harmed > *most) {
            why.push(format!(
                "{harmed} requests were harmed, expected at most {most}"
            ));
        }
        if let Some(most) = expect.harmed_share_at_most
            && harmed as f64 > most.0 * requests as f64
        {
            why.push(format!(
                "{harmed} of {requests} requests were harmed, expected at most {most}"
            ));
        }
    }

    fn judge_incident(
        &self,
        detected: Option<f64>,
        main: Option<&IncidentRecord>,
        why: &mut Vec<String>,
    ) {
        let expect = &self.scenario.expect;
        let wants = expect.detect_within.is_some()
            || expect.cause.is_some()
            || expect.mechanism.is_some()
            || expect.subject.is_some();
        if wants && main.is_none() {
            why.push("no incident was detected".to_owned());
            return;
        }
        if main.is_some() {
            within("detected", detected, expect.detect_within, why);
        }
        let said = main.and_then(diagnosis);
        let cause = expect
            .cause
            .map(|word| Cause::from(word).as_str().to_owned());
        let mechanism = expect
            .mechanism
            .map(|word| Mechanism::from(word).as_str().to_owned());
        let subject = expect
            .subject
            .as_ref()
            .map(|subject| match subject.as_str() {
                "revision" => self
                    .injected_revision
                    .map_or("revision".to_owned(), |id| format!("revision:{id}")),
                other => other.to_owned(),
            });
        let rows = [
            ("cause", cause, said.as_ref().map(|d| d.cause.clone())),
            (
                "mechanism",
                mechanism,
                said.as_ref().map(|d| d.mechanism.clone()),
            ),
            (
                "subject",
                subject,
                said.as_ref().and_then(|d| d.subject.clone()),
            ),
        ];
        for (what, wanted, got) in rows {
            if let Some(wanted) = wanted
                && got.as_deref() != Some(wanted.as_str())
            {
                let got = got.unwrap_or_else(|| "none".to_owned());
                why.push(format!("{what} is {got}, expected {wanted}"));
            }
        }
    }

    fn judge_actions(&self, actions: &[ActionTaken], why: &mut Vec<String>) {
        let expect = &self.scenario.expect;
        let was_done = |kind: &str| {
            actions
                .iter()
                .any(|a| a.kind == kind && !a.outcome.starts_with("failed"))
        };
        for kind in expect.actions.iter().filter(|kind| !was_done(kind)) {
            why.push(format!("no `{kind}` was done"));
        }
        for kind in expect.no_actions.iter().filter(|kind| was_done(kind)) {
            why.push(format!("`{kind}` was done and must not be"));
        }
    }

    /// Incidents that nothing called for.
    fn unexpected(&self) -> impl Iterator<Item = &IncidentRecord> {
        let silent = self.scenario.expect.silent;
        let fault = self.fault;
        self.incidents.values().filter(move |incident| {
            silent || fault.is_none_or(|fault| incident.detected_at < fault)
        })
    }

    fn false_alarms(&self) -> u32 {
        let blamed = self
            .blamed
            .iter()
            .filter(|(id, _)| self.unexpected().all(|incident| incident.id != *id));
        u32::try_from(self.unexpected().count() + blamed.count()).unwrap_or(u32::MAX)
    }

    fn actions(&self) -> Vec<ActionTaken> {
        let mut actions: Vec<_> = self.incidents.values().flat_map(|i| &i.actions).collect();
        actions.sort_by_key(|action| action.at);
        let taken = actions.into_iter().map(|action| ActionTaken {
            at_seconds: self.since_fault(action.at),
            kind: action.kind.clone(),
            detail: action.detail.clone(),
            outcome: action.outcome.clone(),
        });
        taken.collect()
    }

    fn moments(&self) -> Vec<Moment> {
        let mut lines: Vec<_> = self.timeline.iter().collect();
        lines.sort_by_key(|(at, _)| *at);
        let moments = lines.into_iter().map(|(at, what)| Moment {
            at_seconds: self.offset(*at),
            what: what.clone(),
        });
        moments.collect()
    }
}

fn within(
    what: &str,
    took: Option<f64>,
    limit: Option<crate::scenario::Span>,
    why: &mut Vec<String>,
) {
    let Some(limit) = limit else { return };
    match took {
        None => why.push(format!("never {what}, expected within {limit}")),
        Some(took) if took > limit.seconds() => {
            why.push(format!("{what} after {took:.1} s, expected within {limit}"));
        }
        Some(_) => {}
    }
}

fn diagnosis(incident: &IncidentRecord) -> Option<Diagnosis> {
    let record = incident.diagnosis.as_ref()?;
    Some(Diagnosis {
        cause: record.cause.to_string(),
        mechanism: record.mechanism.to_string(),
        subject: record.subject.as_ref().map(ToString::to_string),
    })
}

/// One line about a run in which everything held.
fn praise(detected: Option<f64>, restored: Option<f64>, main: Option<&IncidentRecord>) -> String {
    let Some(incident) = main else {
        return "nothing was raised".to_owned();
    };
    let seconds = |s: Option<f64>| s.map_or("never".to_owned(), |s| format!("{s:.1} s"));
    let said = diagnosis(incident).map_or("without a diagnosis".to_owned(), |d| {
        let subject = d.subject.map(|s| format!(", {s}")).unwrap_or_default();
        format!("as {} ({}{subject})", d.cause, d.mechanism)
    });
    format!(
        "detected after {}, diagnosed {said}, restored after {}",
        seconds(detected),
        seconds(restored)
    )
}
