//! `option httpchk` and the other checks, `http-check`: what a server is asked.
//!
//! Rules of `http-check` run in order; the last `send` and the last `expect` decide here. An expectation that is not a
//! range of statuses is kept as written.

use evenkeel_model::setup::{CheckKind, Touches};

use crate::haproxy::balance::call;
use crate::haproxy::desk::{At, Desk, quote, shorten};
use crate::haproxy::lexer::Word;

/// Statuses that count as good without `http-check expect`.
const GOOD: (u16, u16) = (200, 399);

/// What a check of a proxy's servers does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Checking {
    /// The kind as written; `None`: a connection.
    pub(super) kind: Option<At<Kind>>,
    /// What `http-check send uri` names.
    uri: Option<String>,
    expect: Option<Expect>,
    /// Whether a rule of the check connects, to a port of its own perhaps.
    pub(super) connects: bool,
    /// The first rule of `http-check`.
    pub(super) rule: Option<At<()>>,
}

/// The kind of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Http {
        /// What is requested.
        path: String,
    },
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expect {
    Statuses(u16, u16),
    Written(String),
}

impl Checking {
    /// Reads `option WORD...` if it is a check.
    pub(super) fn option(&mut self, words: &[Word], is_negated: bool) -> bool {
        let Some(word) = words.get(1) else {
            return false;
        };
        let kind = match word.text.as_str() {
            "httpchk" => Kind::Http {
                path: httpchk_path(&words[2..]),
            },
            "tcp-check" => Kind::Tcp,
            "ssl-hello-chk" | "mysql-check" | "pgsql-check" | "redis-check" | "smtpchk"
            | "ldap-check" | "spop-check" | "external-check" => Kind::Other(word.text.clone()),
            _ => return false,
        };
        self.kind = (!is_negated).then(|| At::new(kind, word.range.clone()));
        true
    }

    /// Reads `http-check ...`.
    pub(super) fn http_check(&mut self, desk: &mut Desk<'_, '_>, words: &[Word]) {
        let rest = words.get(2..).unwrap_or_default();
        match words.get(1).map(|word| call(&word.text).0) {
            Some("send") => {
                let uri = rest
                    .iter()
                    .position(|word| matches!(word.text.as_str(), "uri" | "uri-lf"));
                if let Some(uri) = uri.and_then(|at| rest.get(at + 1)) {
                    self.uri = Some(shorten(&uri.text));
                }
            }
            Some("expect") => self.expect = Some(expect(rest)),
            Some(
                "comment" | "connect" | "disable-on-404" | "send-state" | "set-var" | "set-var-fmt"
                | "unset-var",
            ) => return,
            _ => {
                desk.gap(words, Touches::Resilience);
                return;
            }
        }
        let whole = words.first().zip(words.last());
        let range = whole.map_or(0..0, |(a, b)| a.range.start..b.range.end);
        self.rule.get_or_insert(At::new((), range));
    }

    /// What is done in the end.
    pub(super) fn kind(&self) -> CheckKind {
        match self.kind.as_ref().map(|kind| &kind.value) {
            None | Some(Kind::Tcp) => CheckKind::Tcp,
            Some(Kind::Other(kind)) => CheckKind::Other(kind.clone()),
            Some(Kind::Http { path }) => {
                let path = self.uri.clone().unwrap_or_else(|| path.clone());
                match &self.expect {
                    None => CheckKind::Http { path, expect: GOOD },
                    Some(Expect::Statuses(first, last)) => CheckKind::Http {
                        path,
                        expect: (*first, *last),
                    },
                    Some(Expect::Written(rule)) => {
                        CheckKind::Other(format!("http {path} expect {rule}"))
                    }
                }
            }
        }
    }
}

/// `option httpchk [METHOD] URI [VERSION]`, `/` without any.
fn httpchk_path(words: &[Word]) -> String {
    let uri = match words {
        [] => return "/".to_owned(),
        [only] => only,
        [_, uri, ..] => uri,
    };
    shorten(&uri.text)
}

/// `http-check expect [options] [!] status 200-299`.
fn expect(words: &[Word]) -> Expect {
    let written = || Expect::Written(quote(words));
    let mut rest = words;
    loop {
        match rest.first().map(|word| word.text.as_str()) {
            Some("status") => break,
            Some(
                "min-recv" | "ok-status" | "error-status" | "tout-status" | "on-success"
                | "on-error" | "status-code" | "comment",
            ) => rest = rest.get(2..).unwrap_or_default(),
            _ => return written(),
        }
    }
    let Some(codes) = rest.get(1) else {
        return written();
    };
    let (first, last) = codes
        .text
        .split_once('-')
        .unwrap_or((&codes.text, &codes.text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if !codes.is_unknown && first <= last => {
            Expect::Statuses(first, last)
        }
        _ => written(),
    }
}
