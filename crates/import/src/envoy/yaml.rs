//! YAML into nodes, from the events of `saphyr-parser`.
//!
//! A pull parser was taken because depth, count and aliases can be bounded while it runs, and because every event has
//! its place. As Envoy's own reader does: the first document counts, `<<` is an ordinary key (which Envoy then
//! refuses), entries whose key is tagged `!ignore` are left out, and of two equal keys the last one counts.
//!
//! Limits: it stops at the first mistake in the syntax, after which indentation says nothing reliable. A key that is
//! not a scalar is a mistake.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::DEPTH_MAX;
use crate::envoy::node::{Fault, Key, NODES_MAX, Node, Place, Value};

/// The first document of `text`, and where a second one starts, if there is one.
pub(super) fn parse(source: usize, text: &str) -> Result<(Node, Option<usize>), Fault> {
    let mut builder = Builder {
        bytes: Bytes::new(text),
        source,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = builder.bytes.of(error.marker().index());
                // The parser looks ahead and has a depth of its own.
                let is_depth = error.info().contains("recursion limit");
                let fault = || Fault::new(at, error.info().to_owned());
                return Err(if is_depth {
                    Fault::too_deep(at)
                } else {
                    fault()
                });
            }
        };
        if matches!(event, Event::DocumentStart(_)) && builder.root.is_some() {
            let at = builder.bytes.of(span.start.index());
            return builder.finish().map(|root| (root, Some(at)));
        }
        builder.take(event, span)?;
    }
    builder.finish().map(|root| (root, None))
}

struct Builder<'t> {
    bytes: Bytes<'t>,
    source: usize,
    /// From the outermost to the innermost collection that is not closed.
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    nodes: u64,
    root: Option<Rc<Node>>,
}

struct Open {
    place: Place,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<(Key, Rc<Node>)>,
        key: Option<Key>,
        /// The entry that is being read is left out.
        is_ignored: bool,
    },
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let range = self.range(span);
        let place = Place::new(self.source, &range);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.is_at_key() {
                    self.set_key(text, place, tag.as_deref());
                    return Ok(());
                }
                let is_quoted = !matches!(style, ScalarStyle::Plain);
                let value = scalar(text, is_quoted, tag.as_deref());
                let node = Rc::new(Node::new(value, place));
                self.remember(anchor, &node);
                self.add(node, range.start)
            }
            Event::SequenceStart(anchor, _) => {
                self.open(range.start, place, anchor, Parts::List(Vec::new()))
            }
            Event::MappingStart(anchor, _) => {
                let parts = Parts::Map {
                    entries: Vec::new(),
                    key: None,
                    is_ignored: false,
                };
                self.open(range.start, place, anchor, parts)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.start),
            Event::Alias(anchor) => {
                if self.is_at_key() {
                    return Err(Fault::new(range.start, "a key cannot be an alias"));
                }
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new(
                        range.start,
                        "an alias lies within what it names",
                    ));
                };
                if self.open.len() + node.height() > DEPTH_MAX {
                    return Err(Fault::too_deep(range.start));
                }
                self.add(node, range.start)
            }
            _ => Ok(()),
        }
    }

    fn range(&mut self, span: Span) -> Range<usize> {
        let start = self.bytes.of(span.start.index());
        start..self.bytes.of(span.end.index()).max(start)
    }

    fn is_at_key(&self) -> bool {
        let parts = self.open.last().map(|open| &open.parts);
        matches!(parts, Some(Parts::Map { key: None, .. }))
    }

    fn set_key(&mut self, text: Cow<'_, str>, place: Place, tag: Option<&Tag>) {
        if let Some(Parts::Map {
            key, is_ignored, ..
        }) = self.open.last_mut().map(|open| &mut open.parts)
        {
            *is_ignored = tag.is_some_and(|tag| tag.suffix == "ignore");
            *key = Some(Key {
                text: text.into_owned(),
                place,
            });
        }
    }

    fn open(&mut self, at: usize, place: Place, anchor: usize, parts: Parts) -> Result<(), Fault> {
        if self.is_at_key() {
            return Err(Fault::new(at, "a key must be a plain value"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::too_deep(at));
        }
        self.open.push(Open {
            place,
            anchor,
            parts,
        });
        Ok(())
    }

    fn close(&mut self, at: usize) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Err(Fault::new(at, "something is closed that was not opened"));
        };
        let value = match open.parts {
            Parts::List(items) => Value::List(items),
            Parts::Map { entries, .. } => Value::Map(entries),
        };
        // A collection is shown by its first key or item, not by all of its lines.
        let place = match &value {
            Value::Map(entries) => entries.first().map(|(key, _)| key.place),
            Value::List(items) => items.first().map(|node| node.place),
            Value::Null | Value::Scalar { .. } => None,
        };
        let node = Rc::new(Node::new(value, place.unwrap_or(open.place)));
        self.remember(open.anchor, &node);
        self.add(node, at)
    }

    fn remember(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn add(&mut self, node: Rc<Node>, at: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || node.size() > NODES_MAX {
            return Err(Fault::too_many(at));
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map {
                entries,
                key,
                is_ignored,
            }) => {
                if let Some(key) = key.take()
                    && !*is_ignored
                {
                    entries.push((key, node));
                }
            }
            None => self.root = Some(node),
        }
        Ok(())
    }

    fn finish(self) -> Result<Node, Fault> {
        drop(self.anchors);
        match self.root.map(Rc::try_unwrap) {
            Some(Ok(root)) if root.size() <= NODES_MAX => Ok(root),
            Some(Ok(_)) => Err(Fault::too_many(0)),
            Some(Err(_)) | None => Err(Fault::new(0, "the file is empty")),
        }
    }
}

fn scalar(text: Cow<'_, str>, is_quoted: bool, tag: Option<&Tag>) -> Value {
    let is_string = is_quoted
        || tag.is_some_and(|tag| {
            (tag.is_yaml_core_schema() && tag.suffix == "str") || tag.suffix.is_empty()
        });
    if !is_string && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar {
        text: text.into_owned(),
        is_quoted: is_string,
    }
}

/// Turns the parser's character indices into byte offsets.
struct Bytes<'t> {
    text: &'t str,
    is_ascii: bool,
    /// Byte offset of every [`STEP`]th character.
    steps: Vec<usize>,
}

/// Characters between two known offsets.
const STEP: usize = 128;

impl<'t> Bytes<'t> {
    fn new(text: &'t str) -> Self {
        let is_ascii = text.is_ascii();
        let offsets = text.char_indices().map(|(at, _)| at).step_by(STEP);
        Self {
            text,
            is_ascii,
            steps: if is_ascii {
                Vec::new()
            } else {
                offsets.collect()
            },
        }
    }

    fn of(&self, index: usize) -> usize {
        if self.is_ascii {
            return index.min(self.text.len());
        }
        let Some(start) = self.steps.get(index / STEP) else {
            return self.text.len();
        };
        let rest = self.text.get(*start..).unwrap_or("");
        let within = rest.char_indices().nth(index % STEP);
        within.map_or(self.text.len(), |(at, _)| start + at)
    }
}
