//! Message bodies: where the payload lies in the bytes received, and where the message ends.
//!
//! The decoder never copies payload; it names ranges of the caller's buffer. Only trailers are
//! collected (bounded), because they are judged as a whole. It never consumes past the message.

use std::ops::Range;

use crate::limits::{CHUNK_MAX, EXTENSIONS_MAX, Limits, TRAILERS_MAX};
use crate::names;

/// How a body is delimited (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// There is no body.
    #[default]
    None,
    /// This many bytes.
    Fixed(u64),
    /// Chunked coding.
    Chunked,
    /// Everything until the connection closes; responses only.
    UntilClose,
}

/// Why a body cannot be read on. From a client: answer 400 if no response has started, and close.
/// From a backend: 502 if no response has started, else cut the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk size is not 1 to 15 significant hexadecimal digits.
    #[error("a chunk size is malformed or too large")]
    ChunkSize,
    /// A chunk-size line has a control byte or does not end with CRLF.
    #[error("a chunk-size line is malformed")]
    ChunkLine,
    /// A chunk-size line, or the extensions of all chunks, are over their limit.
    #[error("chunk extensions are larger than the limit")]
    ChunkExtension,
    /// Chunk data is not followed by CRLF.
    #[error("chunk data is not followed by CRLF")]
    ChunkEnd,
    /// A trailer line is malformed or does not end with CRLF.
    #[error("a trailer field is malformed")]
    Trailer,
    /// The trailer section is over its limit.
    #[error("the trailer section is larger than the limit")]
    TrailerTooLarge,
    /// The connection ended inside the body.
    #[error("the connection ended inside the body")]
    Truncated,
}

impl BodyError {
    /// A stable identifier for logs, metrics and the error header.
    pub fn code(self) -> &'static str {
        match self {
            BodyError::ChunkSize => "chunk_size",
            BodyError::ChunkLine => "chunk_line",
            BodyError::ChunkExtension => "chunk_extension",
            BodyError::ChunkEnd => "chunk_end",
            BodyError::Trailer => "trailer",
            BodyError::TrailerTooLarge => "trailer_too_large",
            BodyError::Truncated => "body_truncated",
        }
    }
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with; drop them before the next call. Contains `data`.
    pub consumed: usize,
    /// The payload part of the input; empty if there is none in this step.
    pub data: Range<usize>,
    /// Whether the body, trailers included, is complete. Bytes after `consumed` are not its own.
    pub done: bool,
}

impl Step {
    /// Whether the decoder can do nothing without more input.
    pub fn needs_input(&self) -> bool {
        self.consumed == 0 && !self.done
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Fixed {
        left: u64,
    },
    UntilClose,
    /// In the digits of a chunk size.
    Size {
        size: u64,
        digits: usize,
    },
    Extension {
        size: u64,
        length: usize,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// In the trailer section, up to and including its empty line.
    Trailers,
}

/// Finds the payload of one body. One value per message; cheap to create.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    chunk_line_max: usize,
    trailer_max: usize,
    extensions: usize,
    trailers: Vec<u8>,
}

impl BodyDecoder {
    /// A decoder for a body of this framing.
    pub fn new(length: BodyLength, limits: &Limits) -> BodyDecoder {
        BodyDecoder {
            state: match length {
                BodyLength::None | BodyLength::Fixed(0) => State::Done,
                BodyLength::Fixed(left) => State::Fixed { left },
                BodyLength::Chunked => State::Size { size: 0, digits: 0 },
                BodyLength::UntilClose => State::UntilClose,
            },
            chunk_line_max: limits.chunk_line_max,
            trailer_max: limits.trailer_max,
            extensions: 0,
            trailers: Vec::new(),
        }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of payload come before anything else does; `None`: framing comes next, or nothing does.
    pub fn payload_ahead(&self) -> Option<u64> {
        match self.state {
            State::Fixed { left } | State::Data { left } => Some(left),
            State::UntilClose => Some(u64::MAX),
            _ => None,
        }
    }

    /// The trailer section, valid once the body is complete: lines `name: value CRLF` ready for
    /// [`write_last_chunk`](crate::write_last_chunk), forbidden names already dropped.
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() { &self.trailers } else { &[] }
    }

    /// To be called when the connection ends.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the body was not complete.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// Looks at `input`, which starts where the last step's `consumed` ended, up to and including
    /// the next piece of payload, the end of the body, or the end of `input`.
    ///
    /// # Errors
    /// Why the body is malformed; the decoder stays at that place and the connection is lost.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::UntilClose => {
                    return Ok(Step {
                        consumed: input.len(),
                        data: 0..input.len(),
                        done: false,
                    });
                }
                State::Fixed { left } => {
                    let (take, left) = take(left, input.len() - at);
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Fixed { left }
                    };
                    return Ok(Step {
                        consumed: at + take,
                        data: at..at + take,
                        done: self.is_done(),
                    });
                }
                State::Data { left } => {
                    let (take, left) = take(left, input.len() - at);
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data { left }
                    };
                    return Ok(self.after_data(input, at..at + take));
                }
                State::Trailers => at = self.collect_trailers(input, at)?,
                _ => {
                    self.line_byte(input.get(at).copied().unwrap_or_default())?;
                    at += 1;
                }
            }
        }
        Ok(Step {
            consumed: at,
            data: at..at,
            done: self.is_done(),
        })
    }

    /// Takes the CRLF behind chunk data along if it is already there, which saves a call.
    fn after_data(&mut self, input: &[u8], data: Range<usize>) -> Step {
        let mut consumed = data.end;
        if self.state == State::DataCr && input.get(consumed..consumed + 2) == Some(b"\r\n") {
            consumed += 2;
            self.state = State::Size { size: 0, digits: 0 };
        }
        Step {
            consumed,
            data,
            done: false,
        }
    }

    /// One byte of chunk framing.
    fn line_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, _) => self.size_byte(size, digits, byte)?,
            (State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { size, length }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension(size, length + 1)?
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEnd),
            _ => return Err(BodyError::ChunkLine),
        };
        Ok(())
    }

    /// One byte in or right behind the digits. Blanks are refused there, though RFC 9112 7.1.1 lets
    /// recipients skip them before an extension: nobody needs them, and `5 5` must not be 5.
    fn size_byte(&mut self, size: u64, digits: usize, byte: u8) -> Result<State, BodyError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if size >= CHUNK_MAX >> 4 {
                return Err(BodyError::ChunkSize);
            }
            if digits >= self.chunk_line_max {
                return Err(BodyError::ChunkExtension);
            }
            return Ok(State::Size {
                size: size << 4 | u64::from(digit),
                digits: digits + 1,
            });
        }
        match byte {
            _ if digits == 0 => Err(BodyError::ChunkSize),
            b'\r' => Ok(State::SizeLf { size }),
            b';' => self.extension(size, digits + 1),
            b'\n' => Err(BodyError::ChunkLine),
            _ => Err(BodyError::ChunkSize),
        }
    }

    fn extension(&mut self, size: u64, length: usize) -> Result<State, BodyError> {
        self.extensions += 1;
        if length > self.chunk_line_max || self.extensions > EXTENSIONS_MAX {
            return Err(BodyError::ChunkExtension);
        }
        Ok(State::Extension { size, length })
    }

    /// Collects bytes until the empty line; returns where in `input` it stopped.
    fn collect_trailers(&mut self, input: &[u8], start: usize) -> Result<usize, BodyError> {
        for (at, &byte) in input.iter().enumerate().skip(start) {
            let after_cr = self.trailers.last() == Some(&b'\r');
            if after_cr != (byte == b'\n') {
                return Err(BodyError::Trailer);
            }
            self.trailers.push(byte);
            if self.trailers == b"\r\n" {
                self.trailers.clear();
                self.state = State::Done;
                return Ok(at + 1);
            }
            if self.trailers.ends_with(b"\r\n\r\n") {
                self.trailers = clean_trailers(&self.trailers)?;
                self.state = State::Done;
                return Ok(at + 1);
            }
            if self.trailers.len() >= self.trailer_max {
                return Err(BodyError::TrailerTooLarge);
            }
        }
        Ok(input.len())
    }
}

/// How much of `left` lies in `available` bytes, and how much does not.
fn take(left: u64, available: usize) -> (usize, u64) {
    let take = usize::try_from(left).unwrap_or(usize::MAX).min(available);
    (take, left - take as u64)
}

/// The fields of a trailer section that may be forwarded, one line each.
fn clean_trailers(section: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut rows = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let mut lines = Vec::new();
    match httparse::parse_headers(section, &mut rows) {
        Ok(httparse::Status::Complete((_, fields))) => {
            for field in fields
                .iter()
                .filter(|f| names::may_be_trailer(f.name.as_bytes()))
            {
                lines.extend_from_slice(field.name.as_bytes());
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(field.value);
                lines.extend_from_slice(b"\r\n");
            }
            Ok(lines)
        }
        Err(httparse::Error::TooManyHeaders) => Err(BodyError::TrailerTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => Err(BodyError::Trailer),
    }
}
