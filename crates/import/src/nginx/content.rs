//! What a block answers a request with: a pool, by variables perhaps, a file, a redirect, another place.
//!
//! The result is a list of cases of which the first that matches counts; the last has no condition. Conditions are
//! carried as written. `set`, `if` and `return` are followed as nginx runs them: all of them before anything is passed
//! on. What jumps on with a changed URI (`rewrite .. last`, `error_page` by name) is a gap.

use evenkeel_model::setup::Touches;

use crate::nginx::access::{self, Refused};
use crate::nginx::address::Target;
use crate::nginx::asides;
use crate::nginx::checks::health;
use crate::nginx::lex::Word;
use crate::nginx::names;
use crate::nginx::notes::Reader;
use crate::nginx::passing::{Passing, time};
use crate::nginx::scope::{PROTOCOLS, Scope};
use crate::nginx::tree::Directive;
use crate::nginx::vars::{Branch, Locals};

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    /// When; `None`: always.
    pub(super) condition: Option<String>,
    /// Pools with their parts; none: answered without a pool.
    pub(super) targets: Vec<(String, f64)>,
}

impl Case {
    pub(super) fn bare(condition: Option<String>) -> Self {
        Self {
            condition,
            targets: Vec::new(),
        }
    }

    /// This case where `outer` holds too.
    pub(super) fn within(self, outer: Option<&str>) -> Self {
        let condition = join(outer, self.condition.as_deref());
        Self { condition, ..self }
    }
}

/// Both conditions together.
pub(super) fn join(outer: Option<&str>, inner: Option<&str>) -> Option<String> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(format!("{outer} and {inner}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

/// A block that answers requests.
pub(super) struct Content<'t> {
    pub(super) block: &'t [Directive],
    pub(super) scope: Scope<'t>,
    pub(super) locals: Locals,
    /// Configuration path of it.
    pub(super) path: String,
}

/// What was found in a block.
pub(super) struct Found<'t> {
    /// Answers that come before everything else.
    pub(super) early: Vec<Case>,
    /// An answer without a pool for all that comes so far.
    pub(super) is_answered: bool,
    /// What requests are passed on with.
    passed: Option<(&'static str, &'t Directive)>,
    /// `try_files`.
    pub(super) tried: Option<&'t Directive>,
    health: Option<&'t Directive>,
}

/// The protocol of a `.._pass` directive.
fn protocol_of(name: &str) -> Option<&'static str> {
    let protocol = name.strip_suffix("_pass")?;
    PROTOCOLS.iter().find(|known| **known == protocol).copied()
}

impl<'t> Content<'t> {
    /// Goes through the block once.
    pub(super) fn find(&mut self, reader: &mut Reader<'_, '_>, is_http: bool) -> Found<'t> {
        let mut found = Found {
            early: Vec::new(),
            is_answered: false,
            passed: None,
            tried: None,
            health: None,
        };
        for directive in self.block {
            match directive.name() {
                "set" => self.locals.set(directive, None),
                "if" => self.condition(reader, directive, &mut found),
                "return" => found.is_answered = true,
                "rewrite" => self.rewrite(reader, directive, None, &mut found),
                "limit_except" => self.limit_except(reader, directive, &mut found),
                "try_files" => found.tried = Some(directive),
                "health_check" => found.health = Some(directive),
                "error_page" => self.error_page(reader, directive),
                "auth_request" | "mirror" if directive.arg(0) == "off" => {}
                "location" | "listen" => {}
                name if protocol_of(name).is_some() && (is_http || name == "proxy_pass") => {
                    if found.passed.is_some() {
                        let message = format!("`{name}` stands beside another `.._pass`");
                        reader.refuse_at(directive, message, "keep the one that is meant");
                    }
                    found.passed = protocol_of(name).map(|protocol| (protocol, directive));
                }
                name if names::is_harmless(name) => {}
                _ => reader.gap(&self.path, directive, Touches::Routing),
            }
        }
        found
    }

    fn condition(
        &mut self,
        reader: &mut Reader<'_, '_>,
        directive: &'t Directive,
        found: &mut Found<'t>,
    ) {
        if found.is_answered {
            return;
        }
        let words: Vec<&str> = directive
            .args()
            .iter()
            .map(|word| word.text.as_str())
            .collect();
        let words = words.join(" ");
        let inner = words
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'));
        let Some(when) = inner.map(|inner| inner.trim().to_owned()) else {
            let message = "`if` takes a condition in parentheses".to_owned();
            reader.refuse_at(directive, message, "write `if ($variable = value) { .. }`");
            return;
        };
        let scope = self.scope.with(reader, directive.inner());
        let mut passed = None;
        for inner in directive.inner() {
            match inner.name() {
                "set" => self.locals.set(inner, Some(&when)),
                "return" => {
                    found.early.push(Case::bare(Some(when.clone())));
                    return;
                }
                "rewrite" => self.rewrite(reader, inner, Some(&when), found),
                name if protocol_of(name).is_some() => {
                    passed = protocol_of(name).map(|protocol| (protocol, inner));
                }
                name if names::is_harmless(name) => {}
                "error_page" => self.error_page(reader, inner),
                _ => reader.gap(&self.path, inner, Touches::Routing),
            }
        }
        if let Some((protocol, inner)) = passed {
            let cases = self.pass(reader, protocol, inner, &scope, true);
            let cases = cases.into_iter().map(|case| case.within(Some(&when)));
            found.early.extend(cases);
        }
    }

    fn limit_except(
        &mut self,
        reader: &mut Reader<'_, '_>,
        directive: &'t Directive,
        found: &mut Found<'t>,
    ) {
        let methods: Vec<&str> = directive
            .args()
            .iter()
            .map(|word| word.text.as_str())
            .collect();
        let when = format!("the method is none of {}", methods.join(" "));
        let scope = self.scope.with(reader, directive.inner());
        let rules = directive.inner().iter();
        let rules: Vec<_> = rules
            .filter(|d| matches!(d.name(), "allow" | "deny"))
            .collect();
        match access::by_rules(&rules) {
            Refused::Nobody => {}
            Refused::Everybody => found.early.push(Case::bare(Some(when.clone()))),
            Refused::Some(who) => {
                let both = join(Some(&when), Some(&who));
                found.early.push(Case::bare(both));
            }
        }
        for inner in directive.inner() {
            if let Some(protocol) = protocol_of(inner.name()) {
                let cases = self.pass(reader, protocol, inner, &scope, true);
                let cases = cases.into_iter().map(|case| case.within(Some(&when)));
                found.early.extend(cases);
            } else if !names::is_harmless(inner.name()) {
                reader.gap(&self.path, inner, Touches::Routing);
            }
        }
    }

    fn rewrite(
        &self,
        reader: &mut Reader<'_, '_>,
        directive: &Directive,
        when: Option<&str>,
        found: &mut Found<'t>,
    ) {
        let target = directive.arg(1);
        let away = ["http://", "https://", "$scheme"];
        let is_away = away.iter().any(|start| target.starts_with(start));
        match directive.arg(2) {
            "redirect" | "permanent" => {}
            "" | "last" if is_away => {}
            "break" => return,
            _ => {
                reader.gap(&self.path, directive, Touches::Routing);
                return;
            }
        }
        if !found.is_answered {
            let condition = format!("path ~ {}", directive.arg(0));
            found.early.push(Case::bare(join(when, Some(&condition))));
        }
    }

    /// An error page that is another place with a pool perhaps; a plain page is no matter of the spread.
    fn error_page(&self, reader: &mut Reader<'_, '_>, directive: &Directive) {
        let Some((target, codes)) = directive.args().split_last() else {
            return;
        };
        if !target.text.starts_with(['@', '$']) {
            return;
        }
        let is_code = |word: &Word| !word.text.starts_with('=');
        let mut codes = codes.iter().filter(|word| is_code(word));
        let of_backends = |word: &Word| matches!(word.text.as_str(), "500" | "502" | "503" | "504");
        let touches = if codes.all(of_backends) {
            Touches::Resilience
        } else {
            Touches::Routing
        };
        reader.gap(&self.path, directive, touches);
    }

    /// The cases of what was found, the unconditional one last.
    pub(super) fn answer(
        &self,
        reader: &mut Reader<'_, '_>,
        found: &Found<'t>,
        is_http: bool,
    ) -> Vec<Case> {
        if found.is_answered {
            return vec![Case::bare(None)];
        }
        let Some((protocol, directive)) = found.passed else {
            return vec![Case::bare(None)];
        };
        let cases = self.pass(reader, protocol, directive, &self.scope, is_http);
        if let Some(check) = found.health {
            for (pool, _) in cases.iter().flat_map(|case| &case.targets) {
                let read = match protocol {
                    _ if !is_http => "health_check_timeout".to_owned(),
                    protocol => format!("{protocol}_read_timeout"),
                };
                let timeout = time(reader, &self.scope, &read).value;
                health(reader, pool, check, is_http, timeout);
            }
        }
        cases
    }

    /// Whether requests are passed on here.
    pub(super) fn passes(found: &Found<'_>) -> bool {
        found.passed.is_some()
    }

    fn pass(
        &self,
        reader: &mut Reader<'_, '_>,
        protocol: &'static str,
        directive: &Directive,
        scope: &Scope<'_>,
        is_http: bool,
    ) -> Vec<Case> {
        let Some(word) = directive.args().first() else {
            let message = format!("`{}` names no target", directive.name());
            reader.refuse_at(directive, message, "name one");
            return vec![Case::bare(None)];
        };
        let is_url = is_http && matches!(protocol, "proxy" | "grpc");
        let branches = reader.variables.expand(&self.locals, &word.text, is_url);
        let branches = match branches {
            Ok(branches) => branches,
            Err(variable) => {
                let because = format!("`{variable}` is made when a request comes");
                reader.unknowable(&self.path, directive, &because);
                return vec![Case::bare(None)];
            }
        };
        let mut cases: Vec<(Vec<String>, Case)> = Vec::new();
        for branch in branches {
            let pass = Pass {
                protocol,
                name: directive.name(),
                word,
                is_http,
            };
            let pool = pass.pool(reader, &branch, scope, &self.locals);
            let condition =
                (!branch.conditions.is_empty()).then(|| branch.conditions.join(" and "));
            if cases
                .last()
                .is_none_or(|(conditions, _)| *conditions != branch.conditions)
            {
                cases.push((branch.conditions, Case::bare(condition)));
            }
            let (Some(index), Some((_, case))) = (pool, cases.last_mut()) else {
                continue;
            };
            let name = reader.pools.name(index);
            match case.targets.iter_mut().find(|(known, _)| known == name) {
                Some((_, part)) => *part += branch.part,
                None => case.targets.push((name.to_owned(), branch.part)),
            }
        }
        let cases: Vec<Case> = cases.into_iter().map(|(_, case)| case).collect();
        self.rest(reader, directive, &cases);
        cases
    }

    /// Parts of a split that name no target: nginx answers them with 500.
    fn rest(&self, reader: &mut Reader<'_, '_>, directive: &Directive, cases: &[Case]) {
        let rests = cases.iter().filter(|case| !case.targets.is_empty());
        let rests = rests.map(|case| 1.0 - case.targets.iter().map(|(_, part)| part).sum::<f64>());
        let most = rests.fold(0.0, f64::max);
        if most < 1e-9 {
            return;
        }
        let path = format!("{}.rest", self.path);
        reader.place_directive(&path, directive);
        let percent = (most * 1_000.0).round() / 10.0;
        let message = format!(
            "`{}` names no target for {percent} % of the requests",
            directive.brief()
        );
        let effect = format!("nginx answers 500 to {percent} % of the requests that come here");
        let fix = "give the rest of `split_clients` a target: `* POOL;`";
        reader.accepted(true, &path, message, effect, fix);
    }
}

/// One `.._pass`.
struct Pass<'p> {
    protocol: &'static str,
    name: &'p str,
    word: &'p Word,
    is_http: bool,
}

impl Pass<'_> {
    /// The pool that a branch names; `None`: none, which is said.
    fn pool(
        &self,
        reader: &mut Reader<'_, '_>,
        branch: &Branch,
        scope: &Scope<'_>,
        locals: &Locals,
    ) -> Option<usize> {
        let is_static = !self.word.text.contains('$');
        let target = match Target::parse(self.protocol, self.is_http, &branch.text) {
            Ok(target) => target,
            // An empty text is how a map says that there is no pool: nginx answers 500.
            Err(_) if !is_static => return None,
            Err(reason) => {
                reader.refuse(
                    self.word,
                    reason,
                    "write it as nginx documents for this protocol",
                );
                return None;
            }
        };
        let address = &target.address;
        let group = reader.pools.group(self.is_http, &address.host);
        let index = match (group, address.port) {
            (Some(index), None) => index,
            (Some(_), Some(port)) if is_static => {
                let message = format!("upstream `{}` may not have port {port}", address.host);
                reader.refuse(self.word, message, "leave the port out");
                return None;
            }
            _ if !address.is_unix() && address.port.is_none() && address.port_default == 0 => {
                let message = format!("`{}` is no `upstream` and names no port", address.host);
                reader.refuse(self.word, message, "name an `upstream` or a port");
                return None;
            }
            _ => self.direct(reader, &target),
        };
        let passing = if self.is_http {
            Passing::http(reader, scope, locals, self.protocol, target.is_tls)
        } else {
            Passing::stream(reader, scope)
        };
        reader.pools.pass(index, passing);
        if self.protocol == "proxy" && self.is_http {
            upgrade(reader, scope);
        }
        let path = reader.pools.path(index).to_owned();
        asides::spoken(
            reader.book,
            &path,
            self.protocol,
            self.name,
            &self.word.text,
        );
        Some(index)
    }

    fn direct(&self, reader: &mut Reader<'_, '_>, target: &Target) -> usize {
        let address = &target.address;
        let (index, is_new) = reader.pools.direct(self.is_http, self.name, address);
        if !is_new {
            return index;
        }
        let path = reader.pools.path(index).to_owned();
        reader.place(&path, self.word);
        let is_label = address.is_name() && !address.host.contains('.');
        if is_label && address.port.is_none() && address.host != "localhost" {
            let message = format!(
                "there is no `upstream {}`; it is taken as a host",
                address.host
            );
            let effect = "nginx refuses to start where that name has no address";
            reader.warn(
                &path,
                message,
                effect,
                "add the `upstream`, or correct the name",
            );
        }
        index
    }
}

/// A protocol is switched by a request of HTTP/1.1 only (RFC 9110, section 7.8), and nginx asks by HTTP/1.0 unless told.
fn upgrade(reader: &mut Reader<'_, '_>, scope: &Scope<'_>) {
    let headers = scope.all("proxy_set_header");
    let is_upgrade =
        |d: &&&Directive| d.arg(0).eq_ignore_ascii_case("upgrade") && !d.arg(1).is_empty();
    let is_new = scope
        .word("proxy_http_version")
        .is_some_and(|word| word.text != "1.0");
    let Some(header) = headers.iter().find(is_upgrade).filter(|_| !is_new) else {
        return;
    };
    let (source, range) = header.place();
    if !reader.upgrades.insert((source, range.start)) {
        return;
    }
    let path = format!("upgrade.{source}.{}", range.start);
    reader.place_directive(&path, header);
    let message = "`Upgrade` is passed on, but with HTTP/1.0".to_owned();
    let effect = "WebSocket connections fail, because a backend switches protocols for HTTP/1.1 \
                  only; other requests are served";
    let fix = "set `proxy_http_version 1.1;` beside it";
    reader.accepted(true, &path, message, effect.to_owned(), fix);
}
