//! Read buffers: fixed blocks that a connection holds only while bytes are in them.
//!
//! Each worker keeps a bounded stack of used blocks. A connection that waits for its next request owns none, so an
//! idle connection costs its socket and its task, not 16 KiB. A block is zeroed once, when it is first made.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

use crate::stream::Stream;

/// Size of a block: what one read takes at most, and what a body holds in memory per direction.
pub(crate) const BLOCK: usize = 16 * 1024;
/// Free blocks that a worker keeps (4 MiB).
const BLOCKS_KEPT: usize = 256;
/// Free text buffers for heads that a worker keeps.
const TEXTS_KEPT: usize = 256;
/// A text buffer that grew beyond this goes back to the allocator.
const TEXT_KEPT_MAX: usize = 2 * BLOCK;

/// The free blocks of a worker.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    blocks: RefCell<Vec<Box<[u8]>>>,
    texts: RefCell<Vec<Vec<u8>>>,
}

impl Blocks {
    fn take(&self) -> Box<[u8]> {
        let block = self.blocks.borrow_mut().pop();
        block.unwrap_or_else(|| vec![0; BLOCK].into_boxed_slice())
    }

    fn give(&self, block: Box<[u8]>) {
        let mut blocks = self.blocks.borrow_mut();
        if block.len() == BLOCK && blocks.len() < BLOCKS_KEPT {
            blocks.push(block);
        }
    }

    /// Gives every free buffer to the allocator: memory is short.
    pub(crate) fn give_back(&self) {
        self.blocks.take();
        self.texts.take();
    }

    /// An empty buffer for a head to be written.
    pub(crate) fn take_text(&self) -> Vec<u8> {
        self.texts.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head buffer back.
    pub(crate) fn give_text(&self, mut text: Vec<u8>) {
        let mut texts = self.texts.borrow_mut();
        if text.capacity() <= TEXT_KEPT_MAX && texts.len() < TEXTS_KEPT {
            text.clear();
            texts.push(text);
        }
    }
}

/// Bytes read from a stream and not yet used.
#[derive(Debug, Default)]
pub(crate) struct Buf {
    block: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buf {
    /// The bytes that are there.
    pub(crate) fn filled(&self) -> &[u8] {
        self.block
            .as_deref()
            .and_then(|block| block.get(self.start..self.end))
            .unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops `n` bytes from the front.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether a read would find no room.
    pub(crate) fn is_full(&self) -> bool {
        self.block
            .as_deref()
            .is_some_and(|block| self.end - self.start == block.len())
    }

    /// Reads once. `Ok(0)` is the end of the stream. Must not be called on a full buffer.
    /// A buffer that is still empty afterwards owns no block.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        blocks: &Blocks,
    ) -> Poll<io::Result<usize>> {
        let mut block = self.block.take().unwrap_or_else(|| blocks.take());
        if self.end == block.len() {
            block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let poll = match block.get_mut(self.end..) {
            Some(room) if !room.is_empty() => stream.poll_read(cx, room),
            _ => Poll::Ready(Err(io::ErrorKind::OutOfMemory.into())),
        };
        if let Poll::Ready(Ok(n)) = &poll {
            self.end += n;
        }
        if self.is_empty() {
            blocks.give(block);
        } else {
            self.block = Some(block);
        }
        poll
    }

    /// Makes room for `size` bytes in all, for a head that is larger than a block.
    pub(crate) fn grow(&mut self, size: usize) {
        let mut larger = vec![0; size.max(self.len())].into_boxed_slice();
        let length = self.len();
        if let Some(place) = larger.get_mut(..length) {
            place.copy_from_slice(self.filled());
        }
        self.block = Some(larger);
        self.start = 0;
        self.end = length;
    }

    /// Gives the block back when nothing is in it.
    pub(crate) fn release_if_empty(&mut self, blocks: &Blocks) {
        if self.is_empty()
            && let Some(block) = self.block.take()
        {
            blocks.give(block);
        }
    }

    /// Gives the block back, with whatever is in it.
    pub(crate) fn clear(&mut self, blocks: &Blocks) {
        self.consume(self.len());
        self.release_if_empty(blocks);
    }
}
