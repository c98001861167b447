//! `stream`: TCP servers, each with a listener and a pool of its own or one by variable.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Listener, Route, Touches, Wait};

use crate::nginx::access;
use crate::nginx::content::{Case, Content};
use crate::nginx::http;
use crate::nginx::keys::Surroundings;
use crate::nginx::notes::Reader;
use crate::nginx::passing::time;
use crate::nginx::scope::Scope;
use crate::nginx::tree::Directive;
use crate::nginx::vars::{self, Locals, Variables};
use crate::nginx::{limits, names, upstream};

/// Reads the directives of `stream`.
pub(super) fn read(reader: &mut Reader<'_, '_>, block: &[Directive]) {
    // Variables of `stream` are its own.
    let variables_of_http = std::mem::take(&mut reader.variables);
    // A group may stand before the variable that its key is made of.
    for directive in block.iter().filter(|d| vars::DEFINERS.contains(&d.name())) {
        if !Variables::define(reader, directive) {
            reader.gap("stream", directive, Touches::Routing);
        }
    }
    let mut surroundings = Surroundings::default();
    surroundings.look(block);
    reader.surroundings = surroundings;
    limits::note(reader, block);
    for directive in block {
        match directive.name() {
            name if vars::DEFINERS.contains(&name) => {}
            "upstream" => upstream::read(reader, directive, false),
            "server" | "match" => {}
            name if names::is_harmless(name) => {}
            _ => reader.gap("stream", directive, Touches::Routing),
        }
    }
    let scope = Scope::default().with(reader, block);
    let mut taken = BTreeSet::new();
    let of_http: BTreeSet<String> = reader.listeners.iter().map(|l| l.name.clone()).collect();
    let servers = block.iter().filter(|d| d.name() == "server");
    for (number, directive) in servers.enumerate() {
        let names = (&of_http, &mut taken);
        server(reader, directive, &scope, number, names);
    }
    reader.variables = variables_of_http;
}

fn server(
    reader: &mut Reader<'_, '_>,
    directive: &Directive,
    outer: &Scope<'_>,
    number: usize,
    (of_http, taken): (&BTreeSet<String>, &mut BTreeSet<String>),
) {
    let path = format!("stream.server.{number}");
    reader.place_directive(&path, directive);
    let block = directive.inner();
    let scope = outer.with(reader, block);
    let mut content = Content {
        block,
        scope: scope.clone(),
        locals: Locals::default(),
        path: path.clone(),
    };
    let found = content.find(reader, false);
    let cases = content.answer(reader, &found, false);
    let cases: Vec<Case> = found.early.iter().cloned().chain(cases).collect();
    let cases = access::apply(&access::refused(&scope), cases);
    let listens: Vec<&Directive> = block.iter().filter(|d| d.name() == "listen").collect();
    if listens.is_empty() {
        let message = "a `server` of `stream` without `listen`".to_owned();
        reader.refuse_at(directive, message, "add one");
    }
    for listen in listens {
        let Some(key) = http::key(reader, Some(listen)) else {
            continue;
        };
        let flag = |name: &str| listen.args().iter().any(|word| word.text == name);
        let name = if flag("udp") {
            format!("{key}/udp")
        } else {
            key.clone()
        };
        if !taken.insert(name.clone()) {
            let message = format!("a second server listens on `{name}`");
            reader.refuse_at(listen, message, "change one of the ports");
            continue;
        }
        // An HTTP listener may have the name already, where the file cannot work as it is.
        let name = if of_http.contains(&name) {
            format!("{name} (stream)")
        } else {
            name
        };
        let listener_path = format!("listener.{}", path_segment(&name));
        reader.place_directive(&listener_path, listen);
        let mut wait = |directive: &str, usual_s: u64, what: &str| {
            let placed = time(reader, &scope, directive);
            if let Some(word) = &placed.at {
                reader.place(&format!("{listener_path}.timeout.{what}"), word);
            }
            Wait::For(placed.value.unwrap_or(Duration::from_secs(usual_s)))
        };
        let listener = Listener {
            is_http: false,
            is_tls: flag("ssl"),
            head_timeout: wait("preread_timeout", 30, "head"),
            client_timeout: wait("proxy_timeout", 600, "client"),
            idle_timeout: wait("proxy_timeout", 600, "idle"),
            ..Listener::blank(&name, &listener_path, &key)
        };
        reader.listeners.push(listener);
        let routes = cases.iter().map(|case| Route {
            condition: case.condition.clone(),
            targets: case.targets.clone(),
            ..Route::blank(&path, &name)
        });
        reader.routes.extend(routes);
    }
}
