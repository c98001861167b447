//! What a place that passes requests on says about the pool: timeouts, further tries, kept connections, TLS.
//!
//! These values belong to a `location` in nginx and to a pool in the neutral form. Where places that pass to one pool
//! differ, the strictest holds (the shortest time, the fewest tries), and the difference is listed as a gap.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::setup::Wait;

use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::scope::Scope;
use crate::nginx::tree::Directive;
use crate::nginx::value;
use crate::nginx::vars::Locals;

/// Where the pool's `keepalive` is noted, below its path.
pub(super) const UPSTREAM_KEEP: &str = "timeout.keep";
/// Timeouts of every protocol.
const USUAL: Duration = Duration::from_secs(60);
/// `proxy_timeout` of `stream`.
const STREAM_USUAL: Duration = Duration::from_secs(600);
/// What `*_next_upstream` may name.
const NEXT_ON: &[&str] = &[
    "error",
    "timeout",
    "denied",
    "invalid_header",
    "non_idempotent",
    "off",
    "updating",
    "http_403",
    "http_404",
    "http_429",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
];

/// A value and where it stands, if it does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: Option<Word>,
}

/// What one place says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Passing {
    pub(super) connect: Placed<Wait>,
    pub(super) response: Placed<Wait>,
    /// Further tries; `None`: as many as there are backends.
    pub(super) attempts: Placed<Option<u32>>,
    /// No try begins after this long; zero: no limit.
    pub(super) retry_timeout: Placed<Duration>,
    pub(super) retry_at: Option<Word>,
    pub(super) unsafe_methods: bool,
    pub(super) after_sent: bool,
    /// Whether connections can be used again.
    pub(super) keeps: bool,
    protocol: &'static str,
    pub(super) tls_verified: Option<bool>,
    pub(super) verify_at: Option<Word>,
}

impl Passing {
    /// Without any directive.
    pub(super) fn usual(is_http: bool) -> Self {
        let read = if is_http { USUAL } else { STREAM_USUAL };
        Self {
            connect: Placed::usual(Wait::For(USUAL)),
            response: Placed::usual(Wait::For(read)),
            attempts: Placed::usual(None),
            retry_timeout: Placed::usual(Duration::ZERO),
            retry_at: None,
            unsafe_methods: false,
            after_sent: is_http,
            keeps: false,
            protocol: "proxy",
            tls_verified: None,
            verify_at: None,
        }
    }

    /// What `scope` says about passing to HTTP backends by `protocol`.
    pub(super) fn http(
        reader: &mut Reader<'_, '_>,
        scope: &Scope<'_>,
        locals: &Locals,
        protocol: &'static str,
        is_tls: bool,
    ) -> Self {
        let mut passing = Self::usual(true);
        passing.protocol = protocol;
        let wait = |reader: &mut Reader<'_, '_>, name: &str| {
            time(reader, scope, &format!("{protocol}_{name}")).map(Wait::For, Wait::For(USUAL))
        };
        passing.connect = wait(reader, "connect_timeout");
        passing.response = wait(reader, "read_timeout");
        // Writing a request has a time of its own, of which the neutral form knows nothing; it is read to be checked.
        wait(reader, "send_timeout");
        if let Some(next) = scope.get(&format!("{protocol}_next_upstream")) {
            passing.next(reader, next);
        }
        passing.tries(reader, scope, protocol);
        passing.keeps = keeps(reader, scope, locals, protocol);
        if is_tls {
            let verify = scope.word(&format!("{protocol}_ssl_verify"));
            passing.tls_verified = Some(switch(reader, verify));
            passing.verify_at = verify.cloned();
        }
        passing
    }

    /// What `scope` says about passing connections on.
    pub(super) fn stream(reader: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Self {
        let mut passing = Self::usual(false);
        let read = time(reader, scope, "proxy_timeout");
        passing.response = read.map(Wait::For, Wait::For(STREAM_USUAL));
        let connect = time(reader, scope, "proxy_connect_timeout");
        passing.connect = connect.map(Wait::For, Wait::For(USUAL));
        let next = scope.word("proxy_next_upstream");
        passing.retry_at = next.cloned();
        passing.tries(reader, scope, "proxy");
        if next.is_some() && !switch(reader, next) {
            passing.attempts.value = Some(0);
        }
        let tls = scope.word("proxy_ssl");
        if switch(reader, tls) {
            let verify = scope.word("proxy_ssl_verify");
            passing.tls_verified = Some(switch(reader, verify));
            passing.verify_at = verify.cloned();
        }
        passing
    }

    fn next(&mut self, reader: &mut Reader<'_, '_>, next: &Directive) {
        for word in next.args() {
            match word.text.as_str() {
                "off" => {
                    self.attempts.value = Some(0);
                    self.after_sent = false;
                }
                "non_idempotent" => self.unsafe_methods = true,
                known if NEXT_ON.contains(&known) => {}
                other => {
                    let message = format!("`{}` takes no `{other}`", next.name());
                    reader.refuse(word, message, "use the conditions that nginx documents");
                }
            }
        }
        self.retry_at = next.args().first().cloned();
    }

    fn tries(&mut self, reader: &mut Reader<'_, '_>, scope: &Scope<'_>, protocol: &str) {
        let name = format!("{protocol}_next_upstream_tries");
        if let Some(word) = scope.word(&name) {
            match value::count(&word.text).map(u32::try_from) {
                // 0: no limit, so as many as there are backends.
                Some(Ok(0)) => self.attempts.at = Some(word.clone()),
                Some(Ok(tries)) => {
                    let fewer = self.attempts.value.map_or(tries - 1, |a| a.min(tries - 1));
                    self.attempts = Placed {
                        value: Some(fewer),
                        at: Some(word.clone()),
                    };
                }
                _ => {
                    let message = format!("`{name}` must be a count, got `{}`", word.text);
                    reader.refuse(word, message, "write a whole number");
                }
            }
        }
        let limit = time(reader, scope, &format!("{protocol}_next_upstream_timeout"));
        self.retry_timeout = limit.map(|time| time, Duration::ZERO);
    }

    /// Takes in what another place says about the same pool.
    pub(super) fn merge(&mut self, other: Self, differs: &mut BTreeSet<&'static str>) {
        let mut note = |is_other: bool, what| {
            if is_other {
                differs.insert(what);
            }
        };
        note(
            self.connect.value != other.connect.value,
            "connect timeouts",
        );
        note(
            self.response.value != other.response.value,
            "response timeouts",
        );
        note(self.attempts.value != other.attempts.value, "tries");
        note(
            self.unsafe_methods != other.unsafe_methods,
            "retries of unsafe methods",
        );
        note(self.keeps != other.keeps, "keeping of connections");
        note(self.tls_verified != other.tls_verified, "TLS");
        if other.connect.value < self.connect.value || self.connect.at.is_none() {
            self.connect = pick(&self.connect, other.connect);
        }
        if other.response.value < self.response.value || self.response.at.is_none() {
            self.response = pick(&self.response, other.response);
        }
        let tries = |attempts: Option<u32>| attempts.unwrap_or(u32::MAX);
        if tries(other.attempts.value) < tries(self.attempts.value) {
            self.attempts = other.attempts;
            self.retry_at = other.retry_at.or_else(|| self.retry_at.take());
        } else if self.retry_at.is_none() {
            self.retry_at = other.retry_at;
        }
        if self.retry_timeout.at.is_none() {
            self.retry_timeout = other.retry_timeout;
        }
        self.unsafe_methods |= other.unsafe_methods;
        self.after_sent |= other.after_sent;
        if self.keeps && !other.keeps {
            self.keeps = false;
            self.protocol = other.protocol;
        }
        // Verified only where every place that speaks TLS verifies.
        self.tls_verified = match (self.tls_verified, other.tls_verified) {
            (Some(one), Some(two)) => Some(one && two),
            (one, two) => one.or(two),
        };
        self.verify_at = self.verify_at.take().or(other.verify_at);
    }

    /// What to do so that connections are kept.
    pub(super) fn keep_fix(&self) -> &'static str {
        match self.protocol {
            "fastcgi" => "set `fastcgi_keep_conn on;` where requests are passed to it",
            "uwsgi" | "scgi" => "leave it out: this protocol keeps no connections",
            _ => {
                "set `proxy_http_version 1.1;` and `proxy_set_header Connection \"\";` where \
                 requests are passed to it"
            }
        }
    }
}

impl<T> Placed<T> {
    fn usual(value: T) -> Self {
        Self { value, at: None }
    }
}

impl Placed<Option<Duration>> {
    fn map<T>(self, to: impl Fn(Duration) -> T, usual: T) -> Placed<T> {
        Placed {
            value: self.value.map_or(usual, to),
            at: self.at,
        }
    }
}

/// The smaller value; of equal ones the one that stands in the file.
fn pick(known: &Placed<Wait>, other: Placed<Wait>) -> Placed<Wait> {
    if other.value < known.value || (other.value == known.value && other.at.is_some()) {
        other
    } else {
        known.clone()
    }
}

/// The time that the directive called `name` gives.
pub(super) fn time(
    reader: &mut Reader<'_, '_>,
    scope: &Scope<'_>,
    name: &str,
) -> Placed<Option<Duration>> {
    let Some(word) = scope.word(name) else {
        return Placed::usual(None);
    };
    let value = value::time(&word.text);
    if value.is_none() {
        let message = format!("`{name}` must be a time, got `{}`", word.text);
        reader.refuse(word, message, "write a time such as `5s` or `500ms`");
    }
    Placed {
        value,
        at: Some(word.clone()),
    }
}

/// Whether a switch is on; off where it does not stand.
fn switch(reader: &mut Reader<'_, '_>, word: Option<&Word>) -> bool {
    let Some(word) = word else {
        return false;
    };
    value::switch(&word.text).unwrap_or_else(|| {
        let message = format!("`{}` is neither `on` nor `off`", word.text);
        reader.refuse(word, message, "write `on` or `off`");
        false
    })
}

/// Whether a backend keeps a connection after a response: HTTP/1.1 and no `Connection: close`, which nginx sends
/// unless the header is set.
fn keeps(reader: &mut Reader<'_, '_>, scope: &Scope<'_>, locals: &Locals, protocol: &str) -> bool {
    match protocol {
        "grpc" | "memcached" => true,
        "fastcgi" => switch(reader, scope.word("fastcgi_keep_conn")),
        "proxy" => {
            let version = scope.word("proxy_http_version");
            if version.is_none_or(|word| word.text != "1.1") {
                return false;
            }
            let headers = scope.all("proxy_set_header");
            let header = headers
                .iter()
                .rev()
                .find(|d| d.arg(0).eq_ignore_ascii_case("connection"));
            let Some(header) = header else {
                return false;
            };
            match reader.variables.expand(locals, header.arg(1), false) {
                // `upgrade` goes with web sockets, beside which a map says what other requests carry.
                Ok(values) => values.iter().any(|value| {
                    let is = |word: &str| value.text.eq_ignore_ascii_case(word);
                    !is("close") && (values.len() == 1 || !is("upgrade"))
                }),
                Err(_) => true,
            }
        }
        _ => false,
    }
}
