//! People as roles, and other people's text inside Markdown.

use std::collections::BTreeMap;

use evenkeel_model::record::{EventSource, TimelineEvent};

use super::{Draft, People};
use crate::lifecycle::GUARD;

/// Who appears as what.
pub(super) struct Roles {
    shown: BTreeMap<String, String>,
    responders: Vec<String>,
}

impl Roles {
    /// Responders in the order in which they appear on the timeline, then authors of changes.
    pub(super) fn new(input: &Draft<'_>, timeline: &[&TimelineEvent]) -> Self {
        let mut roles = Self {
            shown: BTreeMap::new(),
            responders: Vec::new(),
        };
        let human = timeline
            .iter()
            .filter(|e| e.source == EventSource::Human)
            .map(|e| &e.actor);
        for name in human.chain(&input.incident.acknowledged_by) {
            roles.add(name, "responder", input.people);
        }
        roles.responders = roles.shown.values().cloned().collect();
        roles.responders.sort();
        let deployed = input.deployments.iter().map(|d| &d.author);
        for name in input.revisions.iter().map(|r| &r.author).chain(deployed) {
            roles.add(name, "author", input.people);
        }
        roles
    }

    /// The actor of an event: a person by role, a part of Evenkeel by name.
    pub(super) fn show(&self, event: &TimelineEvent) -> String {
        self.name(&event.actor)
    }

    pub(super) fn name(&self, name: &str) -> String {
        self.shown
            .get(name)
            .cloned()
            .unwrap_or_else(|| name.to_owned())
    }

    pub(super) fn responders(&self) -> String {
        self.responders.join(", ")
    }

    fn add(&mut self, name: &str, role: &str, people: People) {
        if name.is_empty() || name == GUARD || self.shown.contains_key(name) {
            return;
        }
        let shown = match people {
            People::Names => name.to_owned(),
            People::Roles => {
                let of_role = self.shown.values().filter(|s| s.starts_with(role)).count();
                format!("{role} {}", of_role + 1)
            }
        };
        self.shown.insert(name.to_owned(), shown);
    }
}

/// Text of others on one line, without power over the document around it.
pub(super) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '[' => out.push_str("\\["),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The same inside a table.
pub(super) fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}
