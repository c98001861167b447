//! Whose trace a request belongs to: `traceparent` of W3C Trace Context, level 1.

use std::fmt;

/// The header that names the trace and the caller's span, in lower case.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what is their own, in lower case.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a version 00 header.
const LENGTH: usize = 55;
/// The bit that says that the caller records.
const SAMPLED: u8 = 1;

/// A trace, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A span in a trace, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span of who sends the header.
    pub span: SpanId,
    /// Whether its sender records, and asks those behind it to.
    pub is_sampled: bool,
}

impl Context {
    /// What a header says; `None`: it is none that may be believed. A later version is read by what version 00 has,
    /// as the recommendation asks.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version, trace, span, flags] = fields(known)?;
        let [version] = bytes(version)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let trace: [u8; 16] = bytes(trace)?;
        let span: [u8; 8] = bytes(span)?;
        let [flags] = bytes(flags)?;
        let is_named = trace != [0; 16] && span != [0; 8];
        (is_whole && is_named).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

/// Version, trace, span and flags.
fn fields(text: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields = text.split(|byte| *byte == b'-');
    let four = [
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    ];
    fields.next().is_none().then_some(four)
}

/// Lower-case hexadecimal digits, two a byte, and no others.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(out)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Display for Context {
    /// As a header of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled);
        write!(f, "00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Context, SpanId, TraceId};

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_back() {
        let context = Context::parse(GIVEN.as_bytes()).unwrap();
        assert_eq!(
            context.trace.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), GIVEN);
    }

    #[test]
    fn only_the_first_flag_asks_to_record() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let text = format!("{}{flags}", &GIVEN[..53]);
            let context = Context::parse(text.as_bytes()).unwrap();
            assert_eq!(context.is_sampled, is_sampled, "{flags}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        let later = GIVEN.replacen("00-", "cc-", 1);
        assert!(Context::parse(later.as_bytes()).is_some());
        assert!(Context::parse(format!("{later}-what-the-future-holds").as_bytes()).is_some());
        assert!(Context::parse(format!("{later}.what").as_bytes()).is_none());
    }

    #[test]
    fn what_is_no_header_is_not_believed() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        for text in [
            "",
            "00",
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00-", "ff-", 1),
            &GIVEN[..54],
            &format!("{GIVEN}-"),
            &format!("{GIVEN}-00"),
            &GIVEN.replace('-', "_"),
            &GIVEN.replacen('4', "g", 1),
            &GIVEN.replacen("-00f0", "0-0f0", 1),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(Context::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_context_is_read_as_it_was_written(trace in 1u128.., span in 1u64.., is_sampled: bool) {
            let context = Context {
                trace: TraceId(trace.to_be_bytes()),
                span: SpanId(span.to_be_bytes()),
                is_sampled,
            };
            prop_assert_eq!(Context::parse(context.to_string().as_bytes()), Some(context));
        }

        #[test]
        fn nothing_that_is_sent_harms(text: Vec<u8>) {
            if let Some(context) = Context::parse(&text) {
                prop_assert_eq!(context.to_string().len(), 55);
            }
        }
    }
}
