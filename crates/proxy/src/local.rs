//! Answers that a route gives in place of a pool: redirects and fixed texts.
//!
//! They cost no backend anything: no pick, no harm. A request body is not read; the connection closes behind it, as
//! after every answer of the proxy itself.

use evenkeel_balance::redirect::location;
use evenkeel_http1::{RequestHead, reason};
use evenkeel_model::config::{Answer, Redirect, Respond, Route};

use crate::answer::{self, To};
use crate::connection::{Connection, Next};
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
        match self.write(view, route, &mut out) {
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

    fn write(&self, view: &View, route: usize, out: &mut Vec<u8>) -> Result<u16, Fault> {
        let routes = &view.published.snapshot.config.routes;
        let route = routes.get(route).ok_or(Fault::NoRoute)?;
        match route.target.answer().ok_or(Fault::NoRoute)? {
            Answer::Redirect(redirect) => self.redirect(redirect, route, out)?,
            Answer::Respond(respond) => self.respond(respond, out),
        }
        Ok(route.target.answer().map_or(0, Answer::status))
    }

    fn redirect(&self, redirect: &Redirect, route: &Route, out: &mut Vec<u8>) -> Result<(), Fault> {
        let asked = Asked {
            head: self.head,
            text: self.text,
        };
        let path = &route.matcher.path;
        let location = location(redirect, path, &asked).ok_or(Fault::NoHost)?;
        let status = redirect.status;
        let body = format!("{status} {}: {location}\n", reason(status));
        let text = (Respond::CONTENT_TYPE_DEFAULT, body.as_str());
        let extra = [("Location", location.as_str())];
        answer::write_local(out, status, text, &extra, self.to);
        Ok(())
    }

    fn respond(&self, respond: &Respond, out: &mut Vec<u8>) {
        let fields = respond.headers.iter();
        let extra: Vec<(&str, &str)> = fields
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let text = (respond.content_type.as_str(), respond.body.as_str());
        answer::write_local(out, respond.status, text, &extra, self.to);
    }
}
