//! The lines of a frontend: `bind`, `acl`, `use_backend`, and the actions of `http-request` that answer a request or
//! change what later rules look at.

use evenkeel_model::setup::Touches;

use crate::haproxy::balance::call;
use crate::haproxy::desk::{At, Desk, quote};
use crate::haproxy::lexer::Word;
use crate::haproxy::names;
use crate::haproxy::proxy::{Kind, Proxy, Rule};

/// Most addresses of one frontend that are kept.
const BINDS_MAX: usize = 1_000;

/// Actions that have nothing to do with where a request goes.
const HARMLESS: [&str; 40] = [
    "add-acl",
    "add-header",
    "add-headers-bin",
    "allow",
    "auth",
    "cache-use",
    "capture",
    "del-acl",
    "del-headers-bin",
    "del-map",
    "do-log",
    "do-resolve",
    "early-hint",
    "normalize-uri-never",
    "ot-group",
    "pause",
    "sc-add-gpc",
    "sc-inc-gpc",
    "sc-inc-gpc0",
    "sc-inc-gpc1",
    "sc-set-gpt",
    "sc-set-gpt0",
    "send-spoe-group",
    "set-bandwidth-limit",
    "set-fc-mark",
    "set-fc-tos",
    "set-log-level",
    "set-map",
    "set-mark",
    "set-nice",
    "set-priority-class",
    "set-priority-offset",
    "set-src",
    "set-src-port",
    "set-tos",
    "set-var",
    "set-var-fmt",
    "strict-mode",
    "unset-var",
    "wait-for-body",
];

impl Proxy {
    /// Lines that belong to a frontend, or stand in both.
    pub(super) fn read_front(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) -> bool {
        let Some(first) = words.first() else {
            return true;
        };
        let name = first.text.as_str();
        let needs_name = matches!(name, "acl" | "http-request" | "tcp-request");
        let is_misplaced = matches!(name, "bind" | "use_backend" | "redirect");
        if self.kind == Kind::Defaults && (is_misplaced || (needs_name && self.name.is_empty())) {
            let message = format!("`{name}` is not allowed in this `defaults`");
            desk.refuse(&first.range, message);
            return true;
        }
        match name {
            "bind" if self.kind.has_front() => self.bind(desk, words),
            "bind" => {
                let message = format!("`bind` is not heeded in `{}`", self.kind.as_str());
                let fix = "move it to a frontend, or make the section a `listen`";
                desk.unheeded(&first.range, &message, "no client can connect there", fix);
            }
            "acl" => self.acls.declare(desk, words),
            "use_backend" => self.use_backend(desk, words),
            "redirect" => self.answer(desk, words, true),
            "http-request" => self.http_request(desk, words),
            "tcp-request" => self.tcp_request(desk, words),
            _ => return false,
        }
        true
    }

    fn bind(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let [_, address, rest @ ..] = words else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`bind` needs an address".to_owned());
            return;
        };
        if self.binds.len() < BINDS_MAX {
            let at = At::new(address.text.clone(), address.range.clone());
            self.binds.push(at);
        }
        let mut rest = rest;
        while let Some(word) = rest.first() {
            let used = match word.text.as_str() {
                "ssl" => {
                    self.is_tls = true;
                    1
                }
                "maxconn" => {
                    desk.gap(rest.get(..2).unwrap_or(rest), Touches::Resilience);
                    2
                }
                name => names::bind_values(name).map_or_else(
                    || {
                        desk.gap(rest, Touches::Resilience);
                        rest.len()
                    },
                    |values| values + 1,
                ),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn use_backend(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let [first, target, condition @ ..] = words else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`use_backend` names no backend".to_owned());
            return;
        };
        if !self.kind.has_front() {
            let message = format!("`use_backend` is not heeded in `{}`", self.kind.as_str());
            let fix = "move the rule to the frontend";
            desk.unheeded(&first.range, &message, "the rule moves no request", fix);
            return;
        }
        let whens = self.acls.when(desk, condition);
        if target.is_unknown || target.text.contains("%[") {
            desk.gap(words, Touches::Routing);
            return;
        }
        let end = words.last().map_or(target.range.end, |word| word.range.end);
        self.alternatives += whens.len();
        self.rules.push(Rule {
            range: first.range.start..end,
            whens,
            target: Some(At::new(target.text.clone(), target.range.clone())),
        });
    }

    fn http_request(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let Some(action) = words.get(1) else {
            let range = words.first().map_or(0..0, |word| word.range.clone());
            desk.refuse(&range, "`http-request` names no action".to_owned());
            return;
        };
        let (name, _) = call(&action.text);
        let header = words.get(2).map_or("", |word| &word.text);
        match name {
            "redirect" | "return" | "use-service" => self.answer(desk, words, true),
            "deny" | "tarpit" | "reject" | "silent-drop" => self.answer(desk, words, false),
            "set-path" | "set-pathq" | "set-uri" | "replace-path" | "replace-pathq"
            | "replace-uri" | "normalize-uri" | "set-query" => self.rewrites(words),
            "set-header" | "del-header" | "replace-header" | "replace-value" => {
                if header.eq_ignore_ascii_case("host") {
                    self.rewrites(words);
                }
            }
            "set-method" | "wait-for-handshake" => {}
            "set-dst" | "set-dst-port" | "set-pool" => desk.gap(words, self.touches()),
            "set-timeout" | "set-retries" => desk.gap(words, Touches::Resilience),
            "disable-l7-retry" => self.spares_some = true,
            _ if HARMLESS.contains(&name) || name.starts_with("track-sc") => {}
            _ => desk.gap(words, self.touches()),
        }
    }

    /// A line that changes the host or the path before the rules of this frontend look at it.
    fn rewrites(&mut self, words: &[Word]) {
        if let (true, Some((first, last))) =
            (self.kind.has_front(), words.first().zip(words.last()))
        {
            self.rewrites.push(Word {
                text: quote(words),
                range: first.range.start..last.range.end,
                is_unknown: false,
            });
        }
    }

    fn tcp_request(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let action = words.get(2).map_or("", |word| call(&word.text).0);
        if matches!(action, "set-dst" | "set-dst-port" | "attach-srv") || action.starts_with("lua.")
        {
            desk.gap(words, self.touches());
        }
    }

    /// A rule that answers. One that only refuses, and only sometimes, protects and routes nothing.
    fn answer(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], is_reply: bool) {
        let is_condition = |word: &Word| matches!(word.text.as_str(), "if" | "unless");
        let condition = words.iter().position(is_condition);
        let condition = condition.map_or(&[][..], |at| &words[at..]);
        let whens = self.acls.when(desk, condition);
        let is_always = whens
            .iter()
            .any(|when| *when == crate::haproxy::acl::When::default());
        self.is_answering |= is_always && self.kind == Kind::Backend;
        self.answers_all |= is_always;
        let Some((first, last)) = words.first().zip(words.last()) else {
            return;
        };
        if (is_reply || is_always) && self.kind.has_front() {
            self.alternatives += whens.len();
            self.answers.push(Rule {
                range: first.range.start..last.range.end,
                whens,
                target: None,
            });
        }
    }
}
