//! The members that pools find at run time: carried over from configuration to configuration, never part of a revision.
//!
//! The running configuration holds them beside the declared backends, marked as found. Whatever else may run next (a
//! proposal, a rollback target, a blamed difference taken out) takes them over first, so that a change and a rollback
//! move only what was declared ("runtime state is kept").

use std::sync::Arc;
use std::time::Duration;

use evenkeel_detect::onset::Onset;
use evenkeel_diagnose::{UNLISTED_LONG, Unlisted};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Config;
use evenkeel_model::ids::Name;
use evenkeel_model::record::{Entry, EventSource, TimelineEvent};

use crate::alarm::{Alarm, AlarmKind};
use crate::event::MembersFact;
use crate::remedy::Outlook;
use crate::state::Inner;
use crate::view::MembersView;
use crate::watch::PoolWatch;

/// What is known of the members of a pool beside who they are.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Discovery {
    /// Members that stay although they are no longer named.
    held: Vec<Name>,
    /// When the next of them may leave.
    next: Option<Mono>,
    /// Why the last look gave no answer, or what is wrong with it.
    error: Option<String>,
    /// Since when no look has given a list that can be used; `None`: the last one did.
    failing: Option<Mono>,
}

impl Discovery {
    /// Since when the members are not renewed, and why.
    pub(crate) fn unlisted(&self) -> Option<Unlisted> {
        Some(Unlisted {
            since: self.failing?,
            why: self.error.clone().unwrap_or_default(),
        })
    }

    /// Why `member` is there although nobody names it, if that is so.
    pub(crate) fn reason(&self, member: &Name, now: Mono) -> Option<String> {
        if !self.held.contains(member) {
            return None;
        }
        Some(match self.next {
            Some(at) => format!(
                "no longer named, leaves in {} s at the earliest",
                at.since(now).as_secs()
            ),
            None => "no longer named, stays because the pool needs it".to_owned(),
        })
    }
}

impl PoolWatch {
    /// Since when the members are not renewed, if that is long ago.
    pub(crate) fn unlisted(&self) -> Option<Unlisted> {
        let now = self.counts.last()?.at;
        let unlisted = self.discovery.unlisted();
        unlisted.filter(|unlisted| now.since(unlisted.since) >= UNLISTED_LONG)
    }

    /// The alarm about a list that is not renewed.
    pub(crate) fn unlisted_alarm(&self) -> Option<Alarm> {
        let Unlisted { since, why } = self.unlisted()?;
        Some(Alarm {
            kind: AlarmKind::Unlisted,
            onset: Onset {
                lo: since.minus(Duration::from_secs(1)),
                best: since,
                hi: since,
            },
            title: format!("the members of pool `{}` are not renewed", self.pool.name),
            detail: format!("for {} s: {why}", UNLISTED_LONG.as_secs()),
        })
    }
}

impl Inner {
    /// The members of a pool changed.
    pub(crate) fn members_changed(&mut self, fact: &MembersFact) {
        let pool = fact.pool.as_str();
        let change = self.change.as_mut().map(|change| &mut change.target);
        let targets = self.targets.iter_mut().chain(change);
        for restorable in targets.chain([&mut self.running]) {
            Arc::make_mut(&mut restorable.config).set_members(pool, &fact.found);
        }
        self.watch_as_balanced(&fact.pool);
        if let Some(watch) = self.pools.get_mut(&fact.pool) {
            watch.discovery = Discovery {
                held: fact.held.clone(),
                next: fact.next,
                error: fact.error.clone(),
                failing: fact
                    .failed
                    .then(|| watch.discovery.failing.unwrap_or(self.now)),
            };
        }
        if fact.text.is_empty() {
            return;
        }
        self.outlook = Outlook::default();
        let (source, actor) = (EventSource::Controller, "discovery");
        let line = self.event(source, "members.changed", actor, fact.text.clone());
        let subject = format!("pool:{}", fact.pool);
        self.record(vec![Entry::Event(TimelineEvent { subject, ..line })]);
    }

    /// What status says of the members of a pool.
    pub(crate) fn members_view(watch: &PoolWatch) -> Option<MembersView> {
        let members = watch.pool.members.as_ref()?;
        let Discovery { held, error, .. } = watch.discovery.clone();
        Some(MembersView {
            source: members.source.to_string(),
            found: watch.pool.discovered().count(),
            held,
            error,
        })
    }

    /// Gives `config` the members that its pools have now, or had when they last ran.
    pub(crate) fn keep_members(&self, config: &mut Arc<Config>) {
        if config.pools.iter().all(|pool| pool.members.is_none()) {
            return;
        }
        let config = Arc::make_mut(config);
        for target in &self.targets {
            config.take_members(&target.config);
        }
        config.take_members(&self.running.config);
    }
}
