//! One direction of a message body: decode, re-encode, pass on, and never hold more than a block.
//!
//! The source is read only when everything read before has been written, so a slow reader slows its writer and costs
//! no memory. Small pieces are gathered with the head into one write; large ones are written from where they were
//! read, without a copy.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use evenkeel_http1::{BodyDecoder, BodyError, write_chunk_head, write_last_chunk};

use crate::buf::{BLOCK, Blocks, Buf};
use crate::stream::Stream;

/// Pieces up to this size are copied behind what waits to be written; larger ones are written in place.
const COPY_MAX: usize = 4 * 1024;
/// No further piece is gathered once this much waits to be written.
const GATHER_MAX: usize = BLOCK / 2;
const CHUNK_END: &[u8] = b"\r\n";

/// How a body is delimited on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is: a known length, or until the connection closes.
    Plain,
    Chunked,
}

/// What stopped a body.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The source's bytes are no body.
    Invalid(BodyError),
    /// The source ended before the body did.
    Truncated,
    /// The source's connection broke.
    Source,
    /// The sink's connection broke.
    Sink,
    /// The body is larger than allowed.
    TooLarge,
}

/// Whom a pump waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    Source,
    Sink,
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Pump {
    decoder: BodyDecoder,
    encoding: Encoding,
    /// Framing and small pieces that wait to be written; begins with the message head.
    pub(crate) out: Vec<u8>,
    written: usize,
    /// Bytes at the front of the source's buffer to be written after `out`, in place.
    direct: usize,
    /// Framing bytes of the source that follow them.
    direct_skip: usize,
    ended: bool,
    /// Whether any byte of the body was taken from the source: the message cannot be sent again.
    pub(crate) touched: bool,
    /// Payload bytes decoded.
    pub(crate) payload: u64,
    payload_max: u64,
    /// Bytes written to the sink, head and framing included.
    pub(crate) sent: u64,
    pub(crate) blocked: Blocked,
}

impl Pump {
    /// A body that follows the head in `out`. `payload_max` 0: no limit.
    pub(crate) fn new(
        decoder: BodyDecoder,
        encoding: Encoding,
        out: Vec<u8>,
        payload_max: u64,
    ) -> Self {
        Self {
            ended: decoder.is_done(),
            decoder,
            encoding,
            out,
            written: 0,
            direct: 0,
            direct_skip: 0,
            touched: false,
            payload: 0,
            payload_max: if payload_max == 0 {
                u64::MAX
            } else {
                payload_max
            },
            sent: 0,
            blocked: Blocked::Source,
        }
    }

    /// Whether everything has been decoded and written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.written == self.out.len() && self.direct == 0
    }

    /// Moves what can be moved. Ready when the body is done or broken.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        buf: &mut Buf,
        sink: &mut Stream,
        blocks: &Blocks,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            self.decode(buf)?;
            let waiting = self.written < self.out.len() || self.direct > 0;
            if waiting {
                self.blocked = Blocked::Sink;
                ready!(self.poll_write(cx, buf, sink)).map_err(|_broken| PumpError::Sink)?;
            } else if self.ended {
                self.blocked = Blocked::Sink;
                return sink.poll_flush(cx).map_err(|_broken| PumpError::Sink);
            } else {
                // What was taken over TLS leaves while more is waited for.
                if let Poll::Ready(Err(_)) = sink.poll_flush(cx) {
                    self.blocked = Blocked::Sink;
                    return Poll::Ready(Err(PumpError::Sink));
                }
                self.blocked = Blocked::Source;
                let read = ready!(buf.poll_fill(cx, source, blocks));
                let read = read.map_err(|_broken| PumpError::Source)?;
                if read == 0 {
                    self.decoder
                        .end_of_input()
                        .map_err(|_cut| PumpError::Truncated)?;
                    self.end();
                }
            }
        }
    }

    /// Turns buffered source bytes into bytes to be written, until a large piece or enough small ones wait.
    fn decode(&mut self, buf: &mut Buf) -> Result<(), PumpError> {
        while !self.ended && self.direct == 0 && self.out.len() < GATHER_MAX && !buf.is_empty() {
            let step = self
                .decoder
                .decode(buf.filled())
                .map_err(PumpError::Invalid)?;
            let size = step.data.len();
            self.touched |= step.consumed > 0;
            self.payload += size as u64;
            if self.payload > self.payload_max {
                return Err(PumpError::TooLarge);
            }
            if size > 0 && self.encoding == Encoding::Chunked {
                write_chunk_head(&mut self.out, size);
            }
            if size > COPY_MAX {
                buf.consume(step.data.start);
                self.direct = size;
                self.direct_skip = step.consumed - step.data.end;
            } else {
                let piece = buf.filled().get(step.data).unwrap_or_default();
                self.out.extend_from_slice(piece);
                if size > 0 && self.encoding == Encoding::Chunked {
                    self.out.extend_from_slice(CHUNK_END);
                }
                buf.consume(step.consumed);
            }
            if step.done {
                self.end();
            } else if step.consumed == 0 {
                break;
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        // Behind a piece that is written in place, the last chunk has to wait for that piece's chunk end.
        if self.encoding == Encoding::Chunked && self.direct == 0 {
            write_last_chunk(&mut self.out, self.decoder.trailers());
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Buf,
        sink: &mut Stream,
    ) -> Poll<io::Result<()>> {
        let head = self.out.get(self.written..).unwrap_or_default();
        let body = buf.filled().get(..self.direct).unwrap_or_default();
        let tail = match self.encoding {
            Encoding::Chunked if !body.is_empty() => CHUNK_END,
            _ => &[],
        };
        let parts = [head, body, tail].map(IoSlice::new);
        let used = match (head.is_empty(), body.is_empty(), tail.is_empty()) {
            (_, true, _) => parts.get(..1),
            (true, false, true) => parts.get(1..2),
            (true, false, false) => parts.get(1..),
            (false, false, true) => parts.get(..2),
            (false, false, false) => parts.get(..),
        };
        let written = ready!(sink.poll_write(cx, used.unwrap_or(&parts)))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += written as u64;
        let of_head = written.min(head.len());
        let of_body = (written - of_head).min(body.len());
        let of_tail = written - of_head - of_body;
        self.written += of_head;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if of_body > 0 {
            buf.consume(of_body);
            self.direct -= of_body;
            if self.direct == 0 {
                self.end_direct(buf, of_tail);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the chunk of a piece that was written in place, `tail` bytes of whose end are written already.
    fn end_direct(&mut self, buf: &mut Buf, tail: usize) {
        buf.consume(self.direct_skip);
        self.direct_skip = 0;
        if self.encoding == Encoding::Chunked {
            let rest = CHUNK_END.get(tail..).unwrap_or_default();
            self.out.extend_from_slice(rest);
            if self.ended {
                write_last_chunk(&mut self.out, self.decoder.trailers());
            }
        }
    }

    /// Gives the head buffer back.
    pub(crate) fn finish(self, blocks: &Blocks) {
        blocks.give_text(self.out);
    }
}
