//! Answers that a route gives in place of a pool: redirects and fixed texts.
//!
//! They cost no backend anything: no pick, no harm. A request body is not read; the connection closes behind it, as
//! after every answer of the proxy itself.

use evenkeel_balance::redirect::location;
use evenkeel_http1::{ClientFields, RequestHead, reason};
use evenkeel_model::config::{Answer, FieldEdits, Redirect, Respond};

use crate::answer::{self, To};
use crate::connection::{Connection, Next};
use crate::edits::{Facts, RouteEdits, borrowed};
use crate::exchange::{Asked, send, send_fault};
use crate::fault::Fault;
use crate::record::Record;
use crate::state::View;

/// A request whose route answers it.
pub(crate) struct Local<'a> {
    pub(crate) head: &'a RequestHead,
    /// The bytes that `head` speaks of.
    pub(crate) text: &'a [u8],
    pub(crate) to: To<'a>,
}

impl Local<'_> {
    /// Sends what the route says, by its place in the configuration of `view`.
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        view: &View,
        route: usize,
        record: &mut Record,
    ) -> Next {
        let to = self.to;
        let mut out = connection.worker.blocks.take_text();
        match self.write(&connection.fields, view, route, &mut out) {
            Ok(status) => {
                record.status = status;
                send(connection, out, to.keep_alive, record).await
            }
            Err(fault) => {
                connection.worker.blocks.give_text(out);
                send_fault(connection, fault, to, record).await
            }
        }
    }

    fn write(
        &self,
        client: &ClientFields,
        view: &View,
        route: usize,
        out: &mut Vec<u8>,
    ) -> Result<u16, Fault> {
        let routes = &view.published.snapshot.config.routes;
        let found = routes.get(route).ok_or(Fault::NoRoute)?;
        let edits = view.published.snapshot.edits(route);
        let edits = edits.map(RouteEdits::response);
        let writing = Writing {
            local: self,
            facts: Facts {
                head: self.head,
                text: self.text,
                client,
                id: self.to.request_id,
            },
            edits,
        };
        let answer = found.target.answer().ok_or(Fault::NoRoute)?;
        match answer {
            Answer::Redirect(redirect) => {
                let path = &found.matcher.path;
                let asked = Asked {
                    head: self.head,
                    text: self.text,
                };
                let location = location(redirect, path, &asked).ok_or(Fault::NoHost)?;
                writing.redirect(redirect, &location, out);
            }
            Answer::Respond(respond) => writing.respond(respond, out),
        }
        Ok(answer.status())
    }
}

/// One answer on its way out.
struct Writing<'a> {
    local: &'a Local<'a>,
    facts: Facts<'a>,
    edits: Option<&'a FieldEdits>,
}

impl Writing<'_> {
    fn redirect(&self, redirect: &Redirect, location: &str, out: &mut Vec<u8>) {
        let status = redirect.status;
        let body = format!("{status} {}: {location}\n", reason(status));
        let text = (Respond::CONTENT_TYPE_DEFAULT, body.as_str());
        self.write(out, status, text, &[("Location", location)]);
    }

    fn respond(&self, respond: &Respond, out: &mut Vec<u8>) {
        let fields = respond.headers.iter();
        let own: Vec<(&str, &str)> = fields
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let text = (respond.content_type.as_str(), respond.body.as_str());
        self.write(out, respond.status, text, &own);
    }

    fn write(&self, out: &mut Vec<u8>, status: u16, text: (&str, &str), own: &[(&str, &str)]) {
        let Some(edits) = self.edits else {
            answer::write_local(out, status, text, own, self.local.to);
            return;
        };
        let is_kept = |field: &&(&str, &str)| !edits.dropped().any(|name| name == field.0);
        let mut extra: Vec<(&str, &str)> = own.iter().filter(is_kept).copied().collect();
        let fields = self.facts.fields(edits);
        extra.extend(borrowed(&fields));
        answer::write_local(out, status, text, &extra, self.local.to);
    }
}
