//! What a route changes in the heads that pass, ready for use.
//!
//! Routes that change nothing have none of it, and pay nothing. What the client asked for stays what routes, keys,
//! limits, counts and the access log go by; only what is written to the other side is another.

use std::borrow::Cow;

use evenkeel_balance::rewrite::Rewriter;
use evenkeel_http1::{
    ClientFields, Framing, RequestHead, RequestRewrite, ResponseHead, ResponseRewrite,
    write_request_head, write_response_head,
};
use evenkeel_model::config::{Edits, FieldEdits, Route, Variable};

use crate::fault::Fault;

/// The changes of one route.
#[derive(Debug)]
pub(crate) struct RouteEdits {
    path: Option<Rewriter>,
    edits: Edits,
}

/// What values take from a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) head: &'a RequestHead,
    /// The bytes that `head` speaks of.
    pub(crate) text: &'a [u8],
    pub(crate) client: &'a ClientFields,
    pub(crate) id: &'a str,
}

/// The changes to one request.
#[derive(Debug)]
pub(crate) struct Edited<'a> {
    edits: &'a Edits,
    /// `None`: the path stays.
    path: Option<String>,
}

impl RouteEdits {
    /// Those of `route`; `None`: it changes nothing.
    pub(crate) fn of(route: &Route) -> Option<Box<Self>> {
        let path = route.edits.path.as_ref();
        (!route.edits.is_empty()).then(|| {
            Box::new(Self {
                path: path.map(|path| Rewriter::new(path, &route.matcher.path)),
                edits: route.edits.clone(),
            })
        })
    }

    /// What becomes of a request.
    pub(crate) fn edited(&self, head: &RequestHead, text: &[u8]) -> Result<Edited<'_>, Fault> {
        let path = match &self.path {
            Some(rewriter) => {
                let path = rewriter.path(head.path(text));
                path.map_err(|_bad_path| Fault::RewrittenPath)?
            }
            None => None,
        };
        let edits = &self.edits;
        Ok(Edited { edits, path })
    }

    /// What is changed in answers of the route's own.
    pub(crate) const fn response(&self) -> &FieldEdits {
        &self.edits.response
    }
}

impl<'a> Facts<'a> {
    fn value(&self, variable: Variable) -> &'a str {
        match variable {
            Variable::ClientIp => self.client.address(),
            Variable::Host => self.head.host(self.text),
            Variable::Method => self.head.method_text(self.text),
            Variable::Path => self.head.path(self.text),
            Variable::RequestId => self.id,
            Variable::Scheme => self.client.scheme().text(),
        }
    }

    /// The fields that are written by `edits`.
    pub(crate) fn fields(&self, edits: &'a FieldEdits) -> Vec<(&'a str, Cow<'a, str>)> {
        let field = |(name, value): &'a (String, _)| (name.as_str(), self.fill(value));
        edits.written().map(field).collect()
    }

    fn fill(&self, value: &'a evenkeel_model::config::Template) -> Cow<'a, str> {
        value.fill(|variable| self.value(variable))
    }
}

/// The same for who writes heads.
pub(crate) fn borrowed<'f>(fields: &'f [(&str, Cow<'_, str>)]) -> Vec<(&'f str, &'f str)> {
    let field = |(name, value): &'f (&str, Cow<'_, str>)| (*name, value.as_ref());
    fields.iter().map(field).collect()
}

impl Edited<'_> {
    /// Writes the head of a request like `plain` does, with the changes.
    pub(crate) fn write_request(
        &self,
        out: &mut Vec<u8>,
        facts: &Facts<'_>,
        plain: &RequestRewrite<'_>,
    ) {
        let fields = facts.fields(&self.edits.request);
        let mut strip: Vec<&str> = self.edits.request.dropped().collect();
        let mut extra = plain.extra.to_vec();
        // What a route says of a field is the last word about it.
        extra.retain(|(name, _)| !strip.contains(name));
        extra.extend(borrowed(&fields));
        strip.extend(plain.strip);
        let rewrite = RequestRewrite {
            host: self.edits.host.as_deref(),
            path: self.path.as_deref(),
            strip: &strip,
            extra: &extra,
            ..*plain
        };
        write_request_head(out, facts.head, facts.text, &rewrite);
    }

    /// Writes the head of a response like `plain` does, with the changes.
    pub(crate) fn write_response(
        &self,
        out: &mut Vec<u8>,
        facts: &Facts<'_>,
        (head, bytes): (&ResponseHead, &[u8]),
        plain: &ResponseRewrite<'_>,
    ) -> Framing {
        let fields = facts.fields(&self.edits.response);
        let mut extra = plain.extra.to_vec();
        extra.extend(borrowed(&fields));
        let mut strip = plain.strip.to_vec();
        strip.extend(self.edits.response.dropped());
        let rewrite = ResponseRewrite {
            strip: &strip,
            extra: &extra,
            ..*plain
        };
        write_response_head(out, head, bytes, &rewrite)
    }
}
