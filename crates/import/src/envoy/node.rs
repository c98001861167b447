//! A YAML or JSON document as a tree in which every key and value knows where it stands.
//!
//! Nodes are shared, so that an alias costs nothing; how much a document would be with all aliases written out is
//! counted and bounded, and so is the depth, aliases followed. Walking a tree therefore ends, and dropping one does
//! not run out of stack.

use std::ops::Range;
use std::rc::Rc;

use crate::DEPTH_MAX;

/// Most nodes of a document, aliases written out.
pub(super) const NODES_MAX: u64 = 4_000_000;

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// Nodes in it, itself counted, aliases written out.
    size: u64,
    /// Levels in it, itself counted, aliases followed.
    height: usize,
}

/// What stands there.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// A value on its own.
    Scalar {
        text: String,
        /// In quotes, and so a string whatever it looks like.
        is_quoted: bool,
    },
    List(Vec<Rc<Node>>),
    /// In file order; a key may come twice.
    Map(Vec<(Key, Rc<Node>)>),
}

/// A key of a map.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A byte range of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    pub(super) fn new(source: usize, range: &Range<usize>) -> Self {
        let word = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            source: word(source),
            start: word(range.start),
            end: word(range.end),
        }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Why a text is no document, and the byte at which that shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
    /// Whether it is a bound of ours rather than a mistake in the text.
    pub(super) is_bound: bool,
}

impl Fault {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            is_bound: false,
        }
    }

    pub(super) fn too_deep(at: usize) -> Self {
        Self {
            is_bound: true,
            ..Self::new(
                at,
                format!("values are nested more than {DEPTH_MAX} deep here"),
            )
        }
    }

    pub(super) fn too_many(at: usize) -> Self {
        Self {
            is_bound: true,
            ..Self::new(
                at,
                format!("there are more than {NODES_MAX} values, aliases written out"),
            )
        }
    }
}

impl Node {
    pub(super) fn new(value: Value, place: Place) -> Self {
        let (size, height) = match &value {
            Value::Null | Value::Scalar { .. } => (1, 1),
            Value::List(items) => sum(items.iter()),
            Value::Map(entries) => sum(entries.iter().map(|(_, node)| node)),
        };
        Self {
            value,
            place,
            size,
            height,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", brief(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

fn sum<'n>(children: impl Iterator<Item = &'n Rc<Node>>) -> (u64, usize) {
    let all = children.fold((1_u64, 0_usize), |(size, height), child| {
        (size.saturating_add(child.size), height.max(child.height))
    });
    (all.0, all.1 + 1)
}

/// The first words of a long text.
pub(super) fn brief(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or("")),
        None if line.len() < text.trim_end().len() => format!("{line}…"),
        None => line.to_owned(),
    }
}
