//! One HTTP/2 stream as the byte stream of a client that speaks HTTP/1 and has sent its head.
//!
//! What is read from it is the body of the request, framed as the head says: as it is under a `Content-Length`, else in
//! chunks with the trailers behind them. What is written to it is the response. Nothing is held back beyond one frame
//! and one head: reading gives the client its window back byte by byte, and writing takes no more than the client's
//! window has room for, so a client that grants none is seen to stall, whatever else it sends.
//!
//! After the end of the body reading waits: the end of a request is not the end of a client. A reset is an error.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use evenkeel_http1::{write_chunk_head, write_chunk_tail, write_last_chunk};
use h2::RecvStream;
use h2::server::SendResponse;

use super::head;
use super::reply::Reply;

/// The client's side of one request.
#[derive(Debug)]
pub(crate) struct Side {
    body: RecvStream,
    upload: Upload,
    /// Whether the body is read in chunks.
    chunked: bool,
    /// Framing to be read before anything else.
    framing: Vec<u8>,
    framing_at: usize,
    /// The rest of a frame.
    piece: Bytes,
    reply: Reply,
    is_tls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    Data,
    Trailers,
    Over,
}

fn lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Side {
    /// `chunked`: the head says so. `to_head`: the method is HEAD.
    pub(super) fn new(
        body: RecvStream,
        respond: SendResponse<Bytes>,
        chunked: bool,
        to_head: bool,
        is_tls: bool,
    ) -> Self {
        let is_whole = body.is_end_stream();
        Self {
            body,
            upload: if is_whole { Upload::Over } else { Upload::Data },
            chunked,
            framing: Vec::new(),
            framing_at: 0,
            piece: Bytes::new(),
            reply: Reply::new(respond, to_head),
            is_tls,
        }
    }

    /// Whether the connection under it is encrypted.
    pub(crate) const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Reads into `buf`. There is no end: a client that leaves is an error.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let read = self.take(buf);
            if read > 0 || buf.is_empty() {
                return Poll::Ready(Ok(read));
            }
            match self.upload {
                Upload::Data => match ready!(self.body.poll_data(cx)) {
                    Some(piece) => self.frame(piece.map_err(io::Error::other)?),
                    None if self.chunked => self.upload = Upload::Trailers,
                    None => self.upload = Upload::Over,
                },
                Upload::Trailers => {
                    let trailers = ready!(self.body.poll_trailers(cx));
                    let trailers = trailers.map_err(io::Error::other)?;
                    let lines = trailers.as_ref().map(head::trailers);
                    write_last_chunk(&mut self.framing, &lines.unwrap_or_default());
                    self.upload = Upload::Over;
                }
                Upload::Over => {
                    ready!(self.reply.poll_reset(cx));
                    return Poll::Ready(Err(lost()));
                }
            }
        }
    }

    fn frame(&mut self, piece: Bytes) {
        if self.chunked {
            write_chunk_head(&mut self.framing, piece.len());
        }
        self.piece = piece;
    }

    /// Reads what is there, and gives the client its window back.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let framing = self.framing.get(self.framing_at..).unwrap_or_default();
        if !framing.is_empty() {
            let length = copy(framing, buf);
            self.framing_at += length;
            if self.framing_at == self.framing.len() {
                self.framing.clear();
                self.framing_at = 0;
            }
            return length;
        }
        let length = copy(&self.piece, buf);
        if length > 0 {
            self.piece.advance(length);
            if let Err(error) = self.body.flow_control().release_capacity(length) {
                tracing::debug!(%error, "a window could not be given back");
            }
            if self.chunked && self.piece.is_empty() {
                write_chunk_tail(&mut self.framing);
            }
        }
        length
    }

    /// Writes as much of `parts` as the client has room for.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                match self.reply.poll_take(cx, rest) {
                    Poll::Ready(length) => {
                        let length = length?;
                        taken += length;
                        rest = rest.get(length..).unwrap_or_default();
                    }
                    Poll::Pending if taken > 0 => return Poll::Ready(Ok(taken)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// No more is written. A response that is not complete is cut.
    pub(crate) fn finish(&mut self) {
        if !self.reply.is_over() {
            self.reply.cut();
        }
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..length), to.get_mut(..length)) {
        to.copy_from_slice(from);
    }
    length
}
