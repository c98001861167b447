//! Commits on their way to the journal, in order, and what waits for a journal that does not take entries.
//!
//! Two kinds of commit. A *gate* lets something happen only once it is written (an apply, a confirm): when it
//! fails, nothing happens. A *record* tells what happened anyway (an incident, a rollback without a disk): when
//! it fails it waits in a bounded queue and is written first when the journal is back.
//!
//! Limits: [`WAITING_MAX`] entries wait; beyond it the oldest timeline lines are dropped and counted, states never
//! before them.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::record::Entry;

use crate::action::Action;
use crate::event::Token;

/// Entries that wait for the journal.
pub(crate) const WAITING_MAX: usize = 4_096;
/// Entries of one flush.
const FLUSH_MAX: usize = 256;
/// Commits without an answer; further records wait.
const IN_FLIGHT_MAX: usize = 64;
/// A journal that failed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a commit is for.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Purpose<G> {
    /// Written if possible, else it waits.
    Record,
    /// Something waits for it.
    Gate(G),
}

/// The commits. `G` says what a gate opens.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ledger<G> {
    next_token: u64,
    in_flight: VecDeque<(Token, Vec<Entry>, Purpose<G>)>,
    waiting: VecDeque<Entry>,
    dropped: u64,
    ok: bool,
    tried_at: Mono,
}

/// What an answer of the journal means.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer<G> {
    /// Nobody waited for it.
    Nothing,
    /// The gate is open.
    Open(G),
    /// The gate stays shut, and why; the entries come back.
    Shut(G, String, Vec<Entry>),
}

impl<G> Ledger<G> {
    pub(crate) fn new(ok: bool) -> Self {
        Self {
            next_token: 1,
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            dropped: 0,
            ok,
            tried_at: Mono::ZERO,
        }
    }

    /// Whether the journal takes entries, as far as is known.
    pub(crate) const fn is_ok(&self) -> bool {
        self.ok
    }

    /// Entries that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Timeline lines that were lost to the bound.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A token for other work, from the same sequence.
    pub(crate) fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// Writes what happened; it waits when the journal is degraded or busy.
    pub(crate) fn record(&mut self, entries: Vec<Entry>, out: &mut Vec<Action>) {
        if entries.is_empty() {
            return;
        }
        if !self.ok || !self.waiting.is_empty() || self.in_flight.len() >= IN_FLIGHT_MAX {
            self.wait(entries);
        } else {
            self.send(entries, Purpose::Record, out);
        }
    }

    /// Writes what must be on disk before `gate` opens. The caller has checked [`Self::is_ok`], or wants the
    /// answer of a journal that may have recovered.
    pub(crate) fn gate(&mut self, entries: Vec<Entry>, gate: G, out: &mut Vec<Action>) -> Token {
        self.send(entries, Purpose::Gate(gate), out)
    }

    /// Puts entries at the end of the queue of those that wait.
    pub(crate) fn wait(&mut self, entries: Vec<Entry>) {
        self.waiting.extend(entries);
        while self.waiting.len() > WAITING_MAX {
            let line = self
                .waiting
                .iter()
                .position(|entry| matches!(entry, Entry::Event(_)));
            self.waiting.remove(line.unwrap_or(0));
            self.dropped += 1;
        }
    }

    /// The answer to a commit. An unknown token means nothing.
    pub(crate) fn answered(
        &mut self,
        token: Token,
        result: Result<(), String>,
        now: Mono,
    ) -> Answer<G> {
        let Some(place) = self.in_flight.iter().position(|(t, ..)| *t == token) else {
            return Answer::Nothing;
        };
        let Some((_, entries, purpose)) = self.in_flight.remove(place) else {
            return Answer::Nothing;
        };
        match (result, purpose) {
            (Ok(()), purpose) => {
                self.ok = true;
                match purpose {
                    Purpose::Record => Answer::Nothing,
                    Purpose::Gate(gate) => Answer::Open(gate),
                }
            }
            (Err(_), Purpose::Record) => {
                self.failed(now);
                // Back to the front: what waits was said later.
                for entry in entries.into_iter().rev() {
                    self.waiting.push_front(entry);
                }
                self.wait(Vec::new());
                Answer::Nothing
            }
            (Err(why), Purpose::Gate(gate)) => {
                self.failed(now);
                Answer::Shut(gate, why, entries)
            }
        }
    }

    /// The journal itself says how it is.
    pub(crate) fn told(&mut self, ok: bool, now: Mono) {
        if ok {
            self.ok = true;
        } else {
            self.failed(now);
        }
    }

    /// Hands over what waits, first things first, once the journal is back or worth another try.
    pub(crate) fn flush(&mut self, now: Mono, out: &mut Vec<Action>) {
        let again = now.since(self.tried_at) >= RETRY_AFTER;
        if self.waiting.is_empty() || !self.in_flight.is_empty() || !(self.ok || again) {
            return;
        }
        self.tried_at = now;
        let count = self.waiting.len().min(FLUSH_MAX);
        let entries = self.waiting.drain(..count).collect();
        self.send(entries, Purpose::Record, out);
    }

    fn failed(&mut self, now: Mono) {
        self.ok = false;
        self.tried_at = now;
    }

    fn send(&mut self, entries: Vec<Entry>, purpose: Purpose<G>, out: &mut Vec<Action>) -> Token {
        let token = self.token();
        self.in_flight.push_back((token, entries.clone(), purpose));
        out.push(Action::Commit { token, entries });
        token
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::clock::{Mono, Wall};
    use evenkeel_model::ids::RevisionId;
    use evenkeel_model::record::{Entry, EventSource, RevisionState, TimelineEvent};

    use super::{Answer, Ledger, WAITING_MAX};
    use crate::action::Action;
    use crate::event::Token;

    fn line(n: u64) -> Entry {
        Entry::Event(TimelineEvent {
            incident: None,
            at: Wall(n),
            source: EventSource::Controller,
            kind: "test".to_owned(),
            actor: String::new(),
            subject: String::new(),
            text: String::new(),
        })
    }

    fn state(n: u64) -> Entry {
        Entry::RevisionState {
            id: RevisionId(n),
            state: RevisionState::Verified,
            at: Wall(n),
            why: String::new(),
            incident: None,
        }
    }

    fn sent(out: &mut Vec<Action>) -> Vec<(Token, Vec<Entry>)> {
        let commits = out.drain(..).filter_map(|action| match action {
            Action::Commit { token, entries } => Some((token, entries)),
            _ => None,
        });
        commits.collect()
    }

    #[test]
    fn what_failed_is_written_first_and_in_its_order_when_the_journal_is_back() {
        let mut ledger: Ledger<()> = Ledger::new(true);
        let mut out = Vec::new();
        ledger.record(vec![line(1), line(2)], &mut out);
        let (token, _) = sent(&mut out).remove(0);
        assert_eq!(
            ledger.answered(token, Err("full".to_owned()), Mono::ZERO),
            Answer::Nothing
        );
        assert!(!ledger.is_ok());
        ledger.record(vec![line(3)], &mut out);
        ledger.flush(Mono::from_secs(1), &mut out);
        assert!(out.is_empty(), "it is not tried again at once");
        ledger.flush(Mono::from_secs(6), &mut out);
        let (token, entries) = sent(&mut out).remove(0);
        assert_eq!(entries, [line(1), line(2), line(3)]);
        ledger.answered(token, Ok(()), Mono::from_secs(6));
        assert!(ledger.is_ok() && ledger.waiting() == 0);
        ledger.record(vec![line(4)], &mut out);
        assert_eq!(sent(&mut out).len(), 1);
    }

    #[test]
    fn a_gate_opens_on_a_yes_only_and_an_answer_counts_once() {
        let mut ledger: Ledger<u8> = Ledger::new(true);
        let mut out = Vec::new();
        let yes = ledger.gate(vec![state(1)], 1, &mut out);
        let no = ledger.gate(vec![state(2)], 2, &mut out);
        assert_eq!(ledger.answered(yes, Ok(()), Mono::ZERO), Answer::Open(1));
        assert_eq!(ledger.answered(yes, Ok(()), Mono::ZERO), Answer::Nothing);
        assert_eq!(
            ledger.answered(no, Err("full".to_owned()), Mono::ZERO),
            Answer::Shut(2, "full".to_owned(), vec![state(2)])
        );
    }

    #[test]
    fn beyond_the_bound_lines_are_lost_before_states_and_counted() {
        let mut ledger: Ledger<()> = Ledger::new(false);
        ledger.wait(vec![state(1)]);
        ledger.wait((0..WAITING_MAX as u64 + 9).map(line).collect());
        assert_eq!(ledger.waiting(), WAITING_MAX);
        assert_eq!(ledger.dropped(), 10);
        let mut out = Vec::new();
        ledger.told(true, Mono::ZERO);
        ledger.flush(Mono::ZERO, &mut out);
        let (_, entries) = sent(&mut out).remove(0);
        assert_eq!(entries.first(), Some(&state(1)));
        assert_eq!(entries.get(1), Some(&line(10)));
    }
}
