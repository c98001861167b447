//! What the guard was told and what it decided, kept so that it can be decided again.
//!
//! A [`Recorder`] stands before the guard: it writes each event and the actions that followed into a segment, which
//! begins with the guard as it was. Two segments are kept; while an incident is open, every one since the one before it.
//! [`replay`] takes the guard of the first segment, tells it the same events at the same moments and compares every
//! action, and at the beginning of every further segment the whole guard, byte by byte.
//!
//! Limits: bytes in all; a recording that reaches them ends there and says so. The bytes mean something to the build
//! that wrote them, and no other is asked to read them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::ids::IncidentId;
use evenkeel_model::record::{Entry, IncidentRecord, IncidentStatus};
use serde::{Deserialize, Serialize};

use crate::{Action, Event, Guard};

/// First bytes of a recording; the number is that of the form.
const MAGIC: &[u8] = b"evenkeel recording 1\n";
/// Longest segment in time.
pub const SEGMENT_SPAN: Duration = Duration::from_mins(5);
/// Longest segment in bytes.
pub const SEGMENT_BYTES: usize = 8 << 20;
/// Segments kept while all is quiet.
const SEGMENTS_KEPT: usize = 2;
/// Most bytes of a recording.
pub const RECORDING_BYTES: usize = 64 << 20;

/// What stands before the segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: String,
    is_cut: bool,
    segments: u64,
}

/// The guard at one moment, and the steps after it, each with its length before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Segment {
    guard: Vec<u8>,
    steps: Vec<u8>,
    from: Mono,
    /// A step could not be written: nothing after it means anything.
    is_broken: bool,
}

impl Segment {
    fn begin(guard: &Guard, from: Mono) -> Self {
        let guard = postcard::to_allocvec(guard);
        Self {
            is_broken: guard.is_err(),
            guard: guard.unwrap_or_default(),
            steps: Vec::new(),
            from,
        }
    }

    fn len(&self) -> usize {
        self.guard.len() + self.steps.len()
    }
}

/// Records the guard that steps through it.
#[derive(Debug, Default)]
pub struct Recorder {
    segments: VecDeque<Segment>,
    open: BTreeSet<IncidentId>,
    changed: BTreeSet<IncidentId>,
    is_cut: bool,
}

impl Recorder {
    /// Lets the guard take one event, and keeps both.
    pub fn step(&mut self, guard: &mut Guard, event: Event, now: Mono, wall: Wall) -> Vec<Action> {
        self.make_room(guard, now);
        let told = postcard::to_allocvec(&(now, wall, &event));
        let actions = guard.step(event, now, wall);
        if let Some(segment) = self.segments.back_mut()
            && !self.is_cut
        {
            match (told, postcard::to_allocvec(&actions)) {
                (Ok(told), Ok(done)) => {
                    for part in [&told, &done] {
                        segment.steps.extend((part.len() as u64).to_le_bytes());
                        segment.steps.extend(part);
                    }
                }
                _ => segment.is_broken = true,
            }
        }
        for action in &actions {
            if let Action::Commit { entries, .. } = action {
                for entry in entries {
                    self.note(entry);
                }
            }
        }
        actions
    }

    /// Begins a segment where one is due and forgets the oldest where nobody needs it.
    fn make_room(&mut self, guard: &Guard, now: Mono) {
        let is_quiet = self.open.is_empty();
        if is_quiet && self.is_cut || self.segments.back().is_some_and(|s| s.is_broken) {
            // What follows has a gap before it.
            self.segments.clear();
            self.is_cut = false;
        }
        let is_due = self
            .segments
            .back()
            .is_none_or(|last| now.since(last.from) >= SEGMENT_SPAN || last.len() >= SEGMENT_BYTES);
        if !is_due || self.is_cut {
            return;
        }
        let all: usize = self.segments.iter().map(Segment::len).sum();
        self.is_cut = !is_quiet && all + SEGMENT_BYTES > RECORDING_BYTES;
        if self.is_cut {
            return;
        }
        self.segments.push_back(Segment::begin(guard, now));
        while is_quiet && self.segments.len() > SEGMENTS_KEPT {
            self.segments.pop_front();
        }
    }

    fn note(&mut self, entry: &Entry) {
        let Entry::Incident(record) = entry else {
            return;
        };
        let IncidentRecord { id, status, .. } = &**record;
        if is_over(*status) {
            self.open.remove(id);
        } else {
            self.open.insert(*id);
        }
        self.changed.insert(*id);
    }

    /// Incidents that are open.
    pub fn open(&self) -> impl Iterator<Item = IncidentId> {
        self.open.iter().copied()
    }

    /// Incidents that changed since this was asked last: what is kept now holds them from before their beginning.
    pub fn take_changed(&mut self) -> BTreeSet<IncidentId> {
        std::mem::take(&mut self.changed)
    }

    /// Everything that is kept, in the form that [`replay`] reads.
    pub fn recording(&self) -> Vec<u8> {
        let whole = self.segments.iter().take_while(|s| !s.is_broken);
        let segments: Vec<&Segment> = whole.collect();
        let head = Head {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_cut: self.is_cut || segments.len() < self.segments.len(),
            segments: segments.len() as u64,
        };
        let rest = postcard::to_allocvec(&(head, segments)).unwrap_or_default();
        [MAGIC, &rest].concat()
    }
}

const fn is_over(status: IncidentStatus) -> bool {
    matches!(
        status,
        IncidentStatus::Resolved | IncidentStatus::Closed | IncidentStatus::FalseAlarm
    )
}

/// Why a recording cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Something else.
    #[error("this is no recording of Evenkeel")]
    NoRecording,
    /// Of another build.
    #[error("it was written by Evenkeel {0}; replay it with that")]
    OtherVersion(String),
    /// Cannot be read.
    #[error("it is damaged, or was written by another build of this version, at {0}")]
    Unreadable(&'static str),
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Events that the guard was told.
    pub events: u64,
    /// Actions that it answered.
    pub actions: u64,
    /// Times that the whole guard was compared.
    pub compared: u64,
    /// When it begins, and the last event.
    pub from: Wall,
    /// See there.
    pub to: Wall,
    /// It reached its bound in bytes while an incident was open, and ends before that one.
    pub is_cut: bool,
    /// Incidents that were opened or changed in it.
    pub incidents: Vec<IncidentId>,
    /// Where the guard first decided otherwise; `None`: nowhere.
    pub difference: Option<Difference>,
}

/// A decision that is not the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Number of the event, from 1.
    pub event: u64,
    /// When.
    pub at: Wall,
    /// What the guard was told.
    pub told: String,
    /// What it decided then.
    pub recorded: String,
    /// What it decides now.
    pub replayed: String,
}

/// Tells a guard everything again and compares.
///
/// # Errors
/// When the bytes are no recording of this version.
pub fn replay(bytes: &[u8]) -> Result<Replayed, ReplayError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(ReplayError::NoRecording)?;
    let (head, rest) = postcard::take_from_bytes::<Head>(rest).map_err(unreadable("its head"))?;
    if head.version != env!("CARGO_PKG_VERSION") {
        return Err(ReplayError::OtherVersion(head.version));
    }
    let segments: Vec<Segment> = postcard::from_bytes(rest).map_err(unreadable("its segments"))?;
    let mut replayed = Replayed {
        events: 0,
        actions: 0,
        compared: 0,
        from: Wall::default(),
        to: Wall::default(),
        is_cut: head.is_cut,
        incidents: Vec::new(),
        difference: None,
    };
    let mut guard: Option<Guard> = None;
    for segment in &segments {
        let mut going = match guard.take() {
            Some(going) => {
                replayed.compare_guard(&going, segment);
                going
            }
            None => postcard::from_bytes(&segment.guard)
                .map_err(unreadable("the guard at its beginning"))?,
        };
        replayed.steps(&mut going, &segment.steps)?;
        guard = Some(going);
        if replayed.difference.is_some() {
            break;
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn compare_guard(&mut self, guard: &Guard, segment: &Segment) {
        let bytes = postcard::to_allocvec(guard).unwrap_or_default();
        self.compared += 1;
        if bytes != segment.guard && self.difference.is_none() {
            self.difference = Some(Difference {
                event: self.events,
                at: self.to,
                told: "the whole state after it".to_owned(),
                recorded: format!("{} bytes", segment.guard.len()),
                replayed: format!("{} bytes, not the same", bytes.len()),
            });
        }
    }

    fn steps(&mut self, guard: &mut Guard, mut steps: &[u8]) -> Result<(), ReplayError> {
        while !steps.is_empty() && self.difference.is_none() {
            let (told, rest) = part(steps).ok_or(ReplayError::Unreadable("an event"))?;
            let (done, rest) = part(rest).ok_or(ReplayError::Unreadable("a decision"))?;
            steps = rest;
            let (now, wall, event): (Mono, Wall, Event) =
                postcard::from_bytes(told).map_err(unreadable("an event"))?;
            let words = format!("{event:?}");
            let actions = guard.step(event, now, wall);
            if self.events == 0 {
                self.from = wall;
            }
            self.events += 1;
            self.to = wall;
            self.actions += actions.len() as u64;
            self.note(&actions);
            if postcard::to_allocvec(&actions).ok().as_deref() != Some(done) {
                let recorded = match postcard::take_from_bytes::<Vec<Action>>(done) {
                    Ok((actions, [])) => format!("{actions:?}"),
                    _ => "unreadable".to_owned(),
                };
                self.difference = Some(Difference {
                    event: self.events,
                    at: wall,
                    told: words,
                    recorded,
                    replayed: format!("{actions:?}"),
                });
            }
        }
        Ok(())
    }

    fn note(&mut self, actions: &[Action]) {
        for action in actions {
            let Action::Commit { entries, .. } = action else {
                continue;
            };
            for entry in entries {
                if let Entry::Incident(record) = entry
                    && !self.incidents.contains(&record.id)
                {
                    self.incidents.push(record.id);
                }
            }
        }
    }
}

/// What the decoder says helps nobody who has not its types before him; where it stopped does.
fn unreadable(what: &'static str) -> impl FnOnce(postcard::Error) -> ReplayError {
    move |_error| ReplayError::Unreadable(what)
}

/// The part at the front, and what follows it.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}
