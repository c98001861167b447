//! The lines of a frontend: `bind`, `acl`, `use_backend`, and the actions of `http-request` that answer a request or
//! change what later rules look at.

use evenkeel_model::setup::Touches;

use crate::haproxy::acl::When;
use crate::haproxy::balance::call;
use crate::haproxy::desk::{At, Desk, quote};
use crate::haproxy::lexer::Word;
use crate::haproxy::names;
use crate::haproxy::proxy::{Bind, Kind, Pass, Proxy, Rule, Stage};

/// Most addresses of one frontend that are kept.
const BINDS_MAX: usize = 1_000;

/// Actions that have nothing to do with where a request goes.
const HARMLESS: [&str; 38] = [
    "add-acl",
    "add-header",
    "add-headers-bin",
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
            "redirect" => self.answer(desk, words, Stage::Redirect, true),
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
        let (mut rest, mut is_tls, mut is_told_port) = (rest, false, false);
        while let Some(word) = rest.first() {
            let used = match word.text.as_str() {
                "ssl" => {
                    is_tls = true;
                    1
                }
                "accept-proxy" => {
                    is_told_port = true;
                    1
                }
                "accept-netscaler-cip" => {
                    is_told_port = true;
                    2
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
        let mut start = address.range.start;
        // Quotes and escapes move what stands where, so a list is cut in place only where it is written plainly.
        let is_plain = address.range.len() == address.text.len();
        for one in address.text.split(',') {
            let end = start + one.len();
            let range = if is_plain {
                start..end
            } else {
                address.range.clone()
            };
            start = end + 1;
            if self.binds.len() >= BINDS_MAX {
                let message = format!("a section binds more than {BINDS_MAX} addresses");
                desk.too_much(&range, message);
                return;
            }
            self.binds.push(Bind {
                address: At::new(one.to_owned(), range),
                is_tls: is_tls || one.starts_with("quic"),
                is_told_port,
            });
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
        let end = words.last().map_or(target.range.end, |word| word.range.end);
        let range = first.range.start..end;
        self.is_led_by_request |= target.is_unknown || target.text.contains("%[");
        if target.is_unknown {
            desk.gap(words, Touches::Routing);
            return;
        }
        if target.text.contains("%[") {
            let because = "the request names the backend";
            desk.unknowable(&quote(words), &range, because, Touches::Routing);
            return;
        }
        self.alternatives += whens.len();
        self.rules.push(Rule {
            stage: Stage::Switch,
            range,
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
            "redirect" | "return" | "use-service" => {
                self.answer(desk, words, Stage::Request, true);
            }
            "deny" | "tarpit" | "reject" | "silent-drop" | "auth" => {
                self.answer(desk, words, Stage::Request, false);
            }
            "allow" => self.pass(desk, words, Stage::Request),
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
        let stage = match words.get(1).map(|word| word.text.as_str()) {
            Some("connection") => Stage::Connection,
            Some("session") => Stage::Session,
            Some("content") => Stage::Content,
            _ => return,
        };
        match words.get(2).map_or("", |word| call(&word.text).0) {
            "reject" | "silent-drop" => self.answer(desk, words, stage, false),
            "use-service" => self.answer(desk, words, stage, true),
            "accept" => self.pass(desk, words, stage),
            "set-dst" | "set-dst-port" | "attach-srv" => desk.gap(words, self.touches()),
            name if name.starts_with("lua.") => desk.gap(words, self.touches()),
            _ => {}
        }
    }

    /// When the rule with these words matches.
    fn whens(&self, desk: &mut Desk<'_, '_>, words: &[Word]) -> Vec<When> {
        let is_condition = |word: &Word| matches!(word.text.as_str(), "if" | "unless");
        let condition = words.iter().position(is_condition);
        let condition = condition.map_or(&[][..], |at| &words[at..]);
        self.acls.when(desk, condition)
    }

    /// A rule that lets requests past the answers of its stage that follow.
    fn pass(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], stage: Stage) {
        let is_always = self.whens(desk, words).iter().any(When::is_always);
        let written = quote(words);
        let pass = self
            .passes
            .entry(stage)
            .or_insert(Pass { written, is_always });
        pass.is_always |= is_always;
    }

    /// A rule that answers. One that only refuses, and by a condition that stays as written, protects and routes nothing.
    fn answer(&mut self, desk: &mut Desk<'_, '_>, words: &[Word], stage: Stage, is_reply: bool) {
        let mut whens = self.whens(desk, words);
        let Some((first, last)) = words.first().zip(words.last()) else {
            return;
        };
        let range = first.range.start..last.range.end;
        if self.kind == Kind::Defaults {
            let because = "a rule of `defaults` answers in every section that takes it over";
            desk.unforeseen(&quote(words), &range, because, Touches::Routing);
            return;
        }
        match self.passes.get(&stage) {
            Some(pass) if pass.is_always => return,
            Some(pass) => {
                for when in &mut whens {
                    let written = format!("not let past by `{}`", pass.written);
                    when.condition.get_or_insert(written);
                }
            }
            None => {}
        }
        if !is_reply {
            whens.retain(|when| when.condition.is_none());
        }
        if self.kind == Kind::Backend {
            whens.retain(When::is_always);
        }
        if !whens.is_empty() {
            self.alternatives += whens.len();
            self.answers.push(Rule {
                stage,
                range,
                whens,
                target: None,
            });
        }
    }
}
