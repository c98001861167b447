//! What this process writes as an HTTP/1 response, on its way as frames.
//!
//! The writer is our own, so its text is split and not judged again; that of the backend was judged when it was read.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use evenkeel_http1::{BodyDecoder, BodyLength, Limits};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

/// Largest head that is collected: more than a backend may send with all that is added.
const HEAD_MAX: usize = 128 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The response to one request.
#[derive(Debug)]
pub(super) struct Reply {
    respond: SendResponse<Bytes>,
    /// Whatever the head says, no body follows.
    to_head: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Body {
        decoder: BodyDecoder,
        send: SendStream<Bytes>,
    },
    Over,
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

fn lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Reply {
    pub(super) fn new(respond: SendResponse<Bytes>, to_head: bool) -> Self {
        Self {
            respond,
            to_head,
            state: State::Head(Vec::new()),
        }
    }

    /// Whether the client has all of it, or will.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Ready once the client does not want it any more.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(_) => self.respond.poll_reset(cx).map(drop),
            State::Body { send, .. } => send.poll_reset(cx).map(drop),
            State::Over => Poll::Pending,
        }
    }

    /// Tells the client that there will be no more of it.
    pub(super) fn cut(&mut self) {
        match &mut self.state {
            State::Head(_) => self.respond.send_reset(Reason::INTERNAL_ERROR),
            State::Body { send, .. } => send.send_reset(Reason::INTERNAL_ERROR),
            State::Over => {}
        }
        self.state = State::Over;
    }

    /// Takes bytes from the front of `bytes`, which is not empty: as many as the client has room for.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Head(text) => {
                let before = text.len();
                text.extend_from_slice(bytes);
                let from = before.saturating_sub(HEAD_END.len() - 1);
                let tail = text.get(from..).unwrap_or_default();
                let end = tail
                    .windows(HEAD_END.len())
                    .position(|window| window == HEAD_END);
                let Some(end) = end.map(|end| from + end + HEAD_END.len()) else {
                    let fits = text.len() <= HEAD_MAX;
                    return Poll::Ready(fits.then_some(bytes.len()).ok_or_else(lost));
                };
                let text = std::mem::take(text);
                self.start(text.get(..end).unwrap_or_default())?;
                Poll::Ready(Ok(end - before))
            }
            State::Body { decoder, send } => {
                let taken = ready!(poll_body(cx, decoder, send, bytes))?;
                if decoder.is_done() {
                    self.state = State::Over;
                }
                Poll::Ready(Ok(taken))
            }
            // A body to a question that was put without wanting one.
            State::Over => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn start(&mut self, text: &[u8]) -> io::Result<()> {
        let (response, framing) = parse(text).ok_or_else(lost)?;
        let status = response.status();
        if status.is_informational() {
            let sent = self.respond.send_informational(response);
            return sent.map_err(broken);
        }
        let bare =
            self.to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let decoder = BodyDecoder::new(
            if bare { BodyLength::None } else { framing },
            &Limits::default(),
        );
        let is_whole = decoder.is_done();
        let sent = self.respond.send_response(response, is_whole);
        let send = sent.map_err(broken)?;
        self.state = if is_whole {
            State::Over
        } else {
            State::Body { decoder, send }
        };
        Ok(())
    }
}

/// Sends what of `bytes` there is room for; framing needs none.
fn poll_body(
    cx: &mut Context<'_>,
    decoder: &mut BodyDecoder,
    send: &mut SendStream<Bytes>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let room = if let Some(left) = decoder.payload_ahead() {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let wanted = wanted.min(bytes.len());
        if send.capacity() < wanted {
            send.reserve_capacity(wanted);
        }
        match send.capacity() {
            0 => ready!(send.poll_capacity(cx))
                .ok_or_else(lost)?
                .map_err(broken)?,
            room => room.min(wanted),
        }
    } else {
        // Up to the end of the line there is framing only.
        let end = bytes.iter().position(|byte| *byte == b'\n');
        end.map_or(bytes.len(), |end| end + 1)
    };
    let bytes = bytes.get(..room).unwrap_or(bytes);
    let step = decoder.decode(bytes).map_err(broken)?;
    if step.needs_input() {
        return Poll::Ready(Err(lost()));
    }
    let payload = bytes.get(step.data).unwrap_or_default();
    if !step.done {
        if !payload.is_empty() {
            let piece = Bytes::copy_from_slice(payload);
            send.send_data(piece, false).map_err(broken)?;
        }
    } else if decoder.trailers().is_empty() {
        let piece = Bytes::copy_from_slice(payload);
        send.send_data(piece, true).map_err(broken)?;
    } else {
        let mut fields = HeaderMap::new();
        fill(&mut fields, decoder.trailers()).ok_or_else(lost)?;
        send.send_trailers(fields).map_err(broken)?;
    }
    Poll::Ready(Ok(step.consumed))
}

/// The head without what belongs to the connection, and how its body is framed.
fn parse(text: &[u8]) -> Option<(Response<()>, BodyLength)> {
    let start = text.iter().position(|byte| *byte == b'\n')? + 1;
    let mut response = Response::new(());
    // `HTTP/1.1 `, the code, a blank.
    *response.status_mut() = StatusCode::from_bytes(text.get(9..12)?).ok()?;
    let fields = response.headers_mut();
    fill(fields, text.get(start..text.len() - 2)?)?;
    let is_chunked = fields.remove(header::TRANSFER_ENCODING).is_some();
    fields.remove(header::CONNECTION);
    fields.remove(header::UPGRADE);
    fields.remove("keep-alive");
    fields.remove("proxy-connection");
    let length = fields.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let framing = match length {
        _ if is_chunked => BodyLength::Chunked,
        Some(length) => BodyLength::Fixed(length),
        None => BodyLength::None,
    };
    Some((response, framing))
}

/// Adds lines of the form `name: value`.
fn fill(fields: &mut HeaderMap, mut lines: &[u8]) -> Option<()> {
    while !lines.is_empty() {
        let end = lines.windows(2).position(|window| window == b"\r\n")?;
        let (line, rest) = (lines.get(..end)?, lines.get(end + 2..)?);
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        let value = line.get(colon + 1..)?.trim_ascii();
        fields.append(name, HeaderValue::from_bytes(value).ok()?);
        lines = rest;
    }
    Some(())
}
