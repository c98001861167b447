//! The verdict on a tokenized request head: method, framing, target, host, expectations.
//!
//! Every check works on the offsets of the head and leaves its finding there. What passes here
//! can be written anew and is read by any next hop the way it was read here.

use super::{Method, RequestHead, Version};
use crate::body::BodyLength;
use crate::fields::Span;
use crate::limits::{Limits, METHOD_MAX};
use crate::names::{self, Known};
use crate::refusal::Refusal;
use crate::syntax::{self, PathFault};

/// Judges the head that was just tokenized from `buf`.
pub(super) fn judge(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<(), Refusal> {
    judge_method(buf, head)?;
    let target = head.path;
    if target.of(buf).len() > limits.target_max {
        return Err(Refusal::TargetTooLong);
    }
    let found = judge_fields(buf, head)?;
    let absolute = judge_target(target, buf, head)?;
    judge_host(absolute, found.host, buf, head)?;
    let said = head.fields.apply_connection(buf);
    if said.too_many {
        return Err(Refusal::FieldSyntax);
    }
    head.keep_alive = !said.close && (head.version == Version::Http11 || said.keep_alive);
    // An HTTP/1.0 client cannot be sent a 100 (RFC 9110 10.1.1).
    let has_body = !matches!(head.body, BodyLength::None | BodyLength::Fixed(0));
    head.expect_continue = found.expect && has_body && head.version == Version::Http11;
    head.upgrade = found.upgrade && said.upgrade && !has_body && head.version == Version::Http11;
    Ok(())
}

fn judge_method(buf: &[u8], head: &mut RequestHead) -> Result<(), Refusal> {
    let method = head.method.of(buf);
    if method.len() > METHOD_MAX {
        return Err(Refusal::MethodTooLong);
    }
    head.method_kind = Method::of(method);
    if head.method_kind != Method::Other {
        return Ok(());
    }
    match method {
        b"CONNECT" => Err(Refusal::MethodConnect),
        b"TRACE" => Err(Refusal::MethodTrace),
        _ if !syntax::is_method(method) => Err(Refusal::MethodSyntax),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Found {
    host: Option<Span>,
    expect: bool,
    upgrade: bool,
}

/// One pass over the fields this room owns: what they say, and that they are not handed on.
fn judge_fields(buf: &[u8], head: &mut RequestHead) -> Result<Found, Refusal> {
    let mut found = Found::default();
    let mut length = None;
    let mut coding = None;
    head.max_forwards = None;
    let options = head.method_kind == Method::Options;
    for field in head.fields.iter_mut() {
        if field.known == Known::Other {
            continue;
        }
        field.keep = false;
        if names::is_lookalike(field.name.of(buf)) {
            field.known = Known::Other;
            continue;
        }
        let value = field.value.of(buf);
        match field.known {
            Known::Host if found.host.is_some() => return Err(Refusal::HostTwice),
            Known::Host => found.host = Some(field.value),
            Known::ContentLength if length.is_some() => return Err(Refusal::LengthTwice),
            Known::ContentLength => {
                length = Some(syntax::decimal(value).ok_or(Refusal::LengthSyntax)?);
            }
            Known::TransferEncoding if coding.is_some() => return Err(Refusal::CodingSyntax),
            Known::TransferEncoding => coding = Some(field.value),
            Known::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::ExpectUnknown);
                }
                found.expect = true;
            }
            Known::Upgrade => found.upgrade = true,
            Known::MaxForwards if options => {
                head.max_forwards = Some(syntax::decimal(value).ok_or(Refusal::MaxForwards)?);
            }
            Known::MaxForwards => field.keep = true,
            _ => {}
        }
    }
    head.body = body_length(length, coding.map(|c| c.of(buf)), head.version)?;
    Ok(found)
}

fn body_length(
    length: Option<u64>,
    coding: Option<&[u8]>,
    version: Version,
) -> Result<BodyLength, Refusal> {
    let Some(coding) = coding else {
        return Ok(length.map_or(BodyLength::None, BodyLength::Fixed));
    };
    if length.is_some() {
        return Err(Refusal::LengthAndCoding);
    }
    if version == Version::Http10 {
        return Err(Refusal::CodingVersion);
    }
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(BodyLength::Chunked);
    }
    let known = |m: &[u8]| m.is_empty() || m.eq_ignore_ascii_case(b"chunked");
    if syntax::members(coding).all(known) {
        Err(Refusal::CodingSyntax)
    } else {
        Err(Refusal::CodingUnknown)
    }
}

/// Checks the target and reduces it to origin form; returns the authority of an absolute one.
fn judge_target(target: Span, buf: &[u8], head: &mut RequestHead) -> Result<Option<Span>, Refusal> {
    let bytes = target.of(buf);
    head.asterisk = false;
    head.query = None;
    let (authority, rest) = match bytes.first() {
        Some(b'/') => (None, target),
        Some(b'*') if bytes.len() == 1 => {
            head.asterisk = true;
            return if head.method_kind == Method::Options {
                Ok(None)
            } else {
                Err(Refusal::TargetForm)
            };
        }
        _ => {
            let (authority, rest) = split_absolute(target, bytes)?;
            (Some(authority), rest)
        }
    };
    let path = rest.of(buf);
    let path_end = syntax::check_path(path).map_err(|fault| match fault {
        PathFault::Byte => Refusal::TargetSyntax,
        PathFault::Fragment => Refusal::TargetFragment,
        PathFault::Escape => Refusal::TargetEscape,
    })?;
    let start = rest.start as usize;
    head.path = Span::new(start, start + path_end);
    if path_end < path.len() {
        head.query = Some(Span::new(start + path_end + 1, rest.end as usize));
    }
    // RFC 9112 3.2.4: the last proxy turns an empty absolute path of OPTIONS into `*`.
    head.asterisk = path.is_empty() && head.method_kind == Method::Options;
    Ok(authority)
}

fn split_absolute(target: Span, bytes: &[u8]) -> Result<(Span, Span), Refusal> {
    let Some(colon) = bytes.windows(3).position(|w| w == b"://") else {
        return Err(if bytes.contains(&b'#') {
            Refusal::TargetFragment
        } else {
            Refusal::TargetForm
        });
    };
    let scheme = bytes.get(..colon).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Refusal::TargetScheme);
    }
    let rest = bytes.get(colon + 3..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    if rest.get(..length).unwrap_or_default().contains(&b'@') {
        return Err(Refusal::TargetUserinfo);
    }
    let start = target.start as usize + colon + 3;
    Ok((
        Span::new(start, start + length),
        Span::new(start + length, target.end as usize),
    ))
}

/// `Host` must be there once and valid even beside an absolute target, whose authority wins
/// (RFC 9112 3.2.2).
fn judge_host(
    absolute: Option<Span>,
    host: Option<Span>,
    buf: &[u8],
    head: &mut RequestHead,
) -> Result<(), Refusal> {
    if host.is_none() && head.version == Version::Http11 {
        return Err(Refusal::HostMissing);
    }
    head.authority = None;
    head.host = Span::default();
    for authority in [host, absolute].into_iter().flatten() {
        let end = syntax::check_authority(authority.of(buf)).ok_or(Refusal::HostSyntax)?;
        let start = authority.start as usize;
        head.authority = Some(authority);
        head.host = Span::new(start, start + end);
    }
    Ok(())
}
