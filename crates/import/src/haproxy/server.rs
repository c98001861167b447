//! `server`, `server-template` and `default-server`: one member of a backend and its settings.
//!
//! `default-server` holds for the servers that follow it. Settings that do not decide spread, limits, checks or
//! stickiness are known by name; an unknown one makes the shares of its pool uncertain.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use evenkeel_model::setup::Touches;

use crate::BACKENDS_MAX;
use crate::haproxy::desk::{At, Desk, atol, quote, shorten};
use crate::haproxy::lexer::Word;
use crate::haproxy::names;

/// Largest weight.
const WEIGHT_MAX: i64 = 256;

/// What `default-server` can set and `server` can override.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) weight: Option<At<u32>>,
    /// Whether a variable of the environment is the weight: unset it is 0, and no share of the pool is known.
    pub(super) is_weight_unknown: bool,
    pub(super) check: Option<At<()>>,
    pub(super) inter: Option<At<Duration>>,
    pub(super) rise: Option<At<u32>>,
    pub(super) fall: Option<At<u32>>,
    pub(super) maxconn: Option<At<u64>>,
    pub(super) minconn: Option<At<u64>>,
    pub(super) maxqueue: Option<At<u64>>,
    pub(super) slowstart: Option<At<Duration>>,
    pub(super) backup: Option<At<()>>,
    pub(super) disabled: Option<At<()>>,
    pub(super) cookie: Option<At<String>>,
    pub(super) ssl: Option<At<()>>,
    pub(super) verify: Option<At<bool>>,
    pub(super) ca_file: Option<At<()>>,
    pub(super) observe: Option<At<()>>,
    pub(super) error_limit: Option<At<u32>>,
    pub(super) on_error: Option<At<OnError>>,
    pub(super) agent: Option<At<()>>,
    pub(super) agent_port: bool,
    /// `port`: where it is checked; 0 is none.
    pub(super) check_port: Option<At<u64>>,
    /// `addr`: where it is checked, with a port perhaps.
    pub(super) check_addr: Option<At<String>>,
    pub(super) resolvers: Option<At<String>>,
    pub(super) init_none: Option<At<()>>,
    pub(super) track: Option<At<String>>,
    pub(super) purge_delay: Option<At<Duration>>,
}

/// What too many errors of `observe` do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnError {
    FastInter,
    FailCheck,
    SuddenDeath,
    MarkDown,
}

/// One member.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) address: String,
    /// Name and address.
    pub(super) range: Range<usize>,
    /// Set by `id`; else the next free number.
    pub(super) id: Option<At<u32>>,
    pub(super) settings: Settings,
}

/// Reads `server NAME ADDRESS settings...`.
pub(super) fn server(
    desk: &mut Desk<'_, '_>,
    words: &[Word],
    defaults: &Settings,
    pool: &str,
    is_first: bool,
) -> Option<Server> {
    let [keyword, name, address, rest @ ..] = words else {
        let range = words.first().map_or(0..0, |word| word.range.clone());
        let message = "`server` needs a name and an address".to_owned();
        desk.refuse(&range, message);
        return None;
    };
    let mut server = Server {
        name: name.text.clone(),
        address: address.text.clone(),
        range: keyword.range.start..address.range.end,
        id: None,
        settings: defaults.clone(),
    };
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if let (Some(bad), false) = (name.text.chars().find(|c| !is_fine(*c)), name.is_unknown) {
        let bad = if bad.is_control() {
            "a control character".to_owned()
        } else {
            format!("`{bad}`")
        };
        let message = format!("{bad} is not allowed in the name of a server");
        desk.refuse(&name.range, message);
    }
    if address.is_unknown {
        desk.gap(&words[..3], Touches::Resilience);
    } else if let Some(port) = beyond_ports(&address.text) {
        desk.refuse(
            &address.range,
            format!("port {port} is not within 0 and 65535"),
        );
    }
    let touches = Touches::Pool(pool.to_owned());
    server.settings.read(desk, rest, &touches, &mut server.id);
    let (range, name) = (server.range.clone(), server.name.clone());
    server.settings.finish(desk, &range, pool, &name, is_first);
    Some(server)
}

/// Whether an address needs no name to be resolved.
fn is_literal(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok()
}

/// The port of an address where it is a number too large for one.
fn beyond_ports(address: &str) -> Option<&str> {
    let (_, port) = address.rsplit_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (is_number && port.parse::<u16>().is_err()).then_some(port)
}

/// Reads `server-template PREFIX COUNT|FIRST-LAST ADDRESS settings...`.
pub(super) fn template(
    desk: &mut Desk<'_, '_>,
    words: &[Word],
    defaults: &Settings,
    pool: &str,
    most: usize,
) -> Vec<Server> {
    let [keyword, prefix, count, address, rest @ ..] = words else {
        let range = words.first().map_or(0..0, |word| word.range.clone());
        let message = "`server-template` needs a prefix, a number and an address".to_owned();
        desk.refuse(&range, message);
        return Vec::new();
    };
    let touches = Touches::Pool(pool.to_owned());
    if count.is_unknown {
        desk.gap(words, touches);
        return Vec::new();
    }
    let (low, high) = count.text.split_once('-').unwrap_or(("1", &count.text));
    let bounds = low.parse::<usize>().ok().zip(high.parse::<usize>().ok());
    let is_range = count.text.contains('-');
    let is_some = |(low, high): &(usize, usize)| (is_range || *high > 0) && low <= high;
    let Some((low, high)) = bounds.filter(is_some) else {
        let message = format!(
            "`server-template ... {}` is no number or range",
            quote(&words[2..3])
        );
        desk.refuse(&count.range, message);
        return Vec::new();
    };
    if high - low >= most {
        let message = format!("there are more than {BACKENDS_MAX} servers");
        desk.too_much(&count.range, message);
        return Vec::new();
    }
    // Each slot gets what its name resolves to; how many slots live shows only at run time.
    let whole = keyword.range.start..address.range.end;
    if !is_literal(&address.text) {
        let because = "DNS says how many of its slots are filled";
        desk.unknowable(&quote(&words[..4]), &whole, because, touches.clone());
    } else if low < high && !address.is_unknown {
        let count = high - low + 1;
        desk.unheeded(
            &whole,
            &format!(
                "`{}` makes {count} servers of one address",
                quote(&words[..4])
            ),
            &format!(
                "the server at {} gets the part of {count}, and fails as {count}",
                shorten(&address.text)
            ),
            "write a name that DNS answers with an address each, or one `server` line each",
        );
    }
    let mut settings = defaults.clone();
    let mut id = None;
    settings.read(desk, rest, &touches, &mut id);
    let range = keyword.range.start..address.range.end;
    settings.finish(desk, &range, pool, &prefix.text, true);
    (low..=high)
        .map(|number| Server {
            name: format!("{}{number}", prefix.text),
            address: address.text.clone(),
            range: range.clone(),
            id: None,
            settings: settings.clone(),
        })
        .collect()
}

impl Settings {
    /// Reads the settings of a line. `id` only belongs to a server.
    pub(super) fn read(
        &mut self,
        desk: &mut Desk<'_, '_>,
        words: &[Word],
        touches: &Touches,
        id: &mut Option<At<u32>>,
    ) {
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            let used = match word.text.as_str() {
                "source" => source_words(rest),
                "id" => {
                    *id = desk
                        .number(rest, touches)
                        .map(|id| positive(desk, "id", &id));
                    2
                }
                name => self
                    .flag(word, name)
                    .or_else(|| self.amount(desk, rest, touches))
                    .or_else(|| self.word(desk, rest, touches))
                    .or_else(|| names::server_values(name).map(|values| values + 1))
                    .unwrap_or_else(|| {
                        // What belongs to it is not known either, so the rest of the line is one gap.
                        desk.gap(rest, touches.clone());
                        rest.len()
                    }),
            };
            if used > rest.len() {
                let message = format!("`{}` needs a value", quote(&rest[..1]));
                desk.refuse(&word.range, message);
            }
            self.agent_port |= word.text == "agent-port" && !after.is_empty();
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// A setting without a value.
    fn flag(&mut self, word: &Word, name: &str) -> Option<usize> {
        let (name, is_on) = match name.strip_prefix("no-") {
            Some(name) => (name, false),
            None if name == "enabled" => ("disabled", false),
            None => (name, true),
        };
        let slot = match name {
            "check" => &mut self.check,
            "backup" => &mut self.backup,
            "disabled" => &mut self.disabled,
            "ssl" => &mut self.ssl,
            "agent-check" => &mut self.agent,
            _ => return None,
        };
        *slot = is_on.then(|| At::new((), word.range.clone()));
        Some(1)
    }

    /// A setting with a number or a time.
    fn amount(
        &mut self,
        desk: &mut Desk<'_, '_>,
        words: &[Word],
        touches: &Touches,
    ) -> Option<usize> {
        let name = words.first().map_or("", |word| word.text.as_str());
        match name {
            "weight" => {
                self.is_weight_unknown = words.get(1).is_some_and(|word| word.is_unknown);
                if let Some(weight) = desk.number(words, touches) {
                    if (0..=WEIGHT_MAX).contains(&weight.value) {
                        self.weight = Some(At::new(weight.value as u32, weight.range));
                    } else {
                        let message = format!("`weight {}` is not within 0 and 256", weight.value);
                        desk.refuse(&weight.range, message);
                    }
                }
            }
            "rise" | "fall" | "error-limit" => {
                if let Some(count) = desk.number(words, &Touches::Resilience) {
                    let count = Some(At::new(positive(desk, name, &count).value, count.range));
                    match name {
                        "rise" => self.rise = count,
                        "fall" => self.fall = count,
                        _ => self.error_limit = count,
                    }
                }
            }
            "maxconn" | "minconn" | "maxqueue" => {
                if let Some(count) = desk.number(words, &Touches::Resilience) {
                    let value = u64::try_from(count.value).unwrap_or(0);
                    let count = Some(At::new(value, count.range)).filter(|count| count.value > 0);
                    match name {
                        "maxconn" => self.maxconn = count,
                        "minconn" => self.minconn = count,
                        _ => self.maxqueue = count,
                    }
                }
            }
            "inter" | "fastinter" | "downinter" | "agent-inter" => {
                if let Some(time) = desk.time(words) {
                    if time.value < Duration::from_millis(1) {
                        desk.refuse(&time.range, format!("`{name}` must be at least 1ms"));
                    } else if name == "inter" {
                        self.inter = Some(time);
                    }
                }
            }
            "slowstart" => {
                // Rounded up to whole seconds, as HAProxy does.
                self.slowstart = desk.time(words).map(|time| {
                    let seconds = time.value.as_millis().div_ceil(1_000);
                    At::new(
                        Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)),
                        time.range,
                    )
                });
            }
            "pool-purge-delay" => self.purge_delay = desk.time(words),
            _ => return None,
        }
        Some(2)
    }

    /// A setting with a word.
    fn word(
        &mut self,
        desk: &mut Desk<'_, '_>,
        words: &[Word],
        touches: &Touches,
    ) -> Option<usize> {
        let (name, value) = match words {
            [name, value, ..] => (name.text.as_str(), value),
            _ => return None,
        };
        let at = |text: &str| Some(At::new(text.to_owned(), value.range.clone()));
        match name {
            "cookie" => self.cookie = at(&value.text),
            "track" => self.track = at(&value.text),
            "addr" => self.check_addr = at(&value.text),
            "port" => {
                // Set by the environment, so there is one.
                let port = if value.is_unknown {
                    u64::MAX
                } else {
                    u64::try_from(atol(&value.text).0).unwrap_or(0)
                };
                self.check_port = Some(At::new(port, value.range.clone()));
            }
            "resolvers" => self.resolvers = at(&value.text),
            "ca-file" => self.ca_file = Some(At::new((), value.range.clone())),
            "verify" => match value.text.as_str() {
                "none" => self.verify = Some(At::new(false, value.range.clone())),
                "required" => self.verify = Some(At::new(true, value.range.clone())),
                _ => desk.gap(&words[..2], Touches::Resilience),
            },
            "init-addr" => {
                let methods = value.text.split(',');
                let is_none =
                    methods.clone().any(|m| m == "none") && !methods.clone().any(|m| m == "libc");
                self.init_none = is_none.then(|| At::new((), value.range.clone()));
            }
            "observe" => match value.text.as_str() {
                "none" => self.observe = None,
                "layer4" | "layer7" => self.observe = Some(At::new((), value.range.clone())),
                _ => desk.gap(&words[..2], touches.clone()),
            },
            "on-error" => {
                let what = match value.text.as_str() {
                    "fastinter" => OnError::FastInter,
                    "fail-check" => OnError::FailCheck,
                    "sudden-death" => OnError::SuddenDeath,
                    "mark-down" => OnError::MarkDown,
                    _ => {
                        desk.gap(&words[..2], touches.clone());
                        return Some(2);
                    }
                };
                self.on_error = Some(At::new(what, value.range.clone()));
            }
            _ => return None,
        }
        Some(2)
    }

    /// What only shows once all settings are known. What `default-server` sets is told of once per backend, at its
    /// first server.
    fn finish(
        &mut self,
        desk: &mut Desk<'_, '_>,
        server: &Range<usize>,
        pool: &str,
        name: &str,
        is_first: bool,
    ) {
        let is_told = |range: &Range<usize>| is_first || range.start >= server.start;
        let noted = |setting: &str| format!("server {} {setting}", shorten(name));
        let touches = || Touches::Pool(pool.to_owned());
        if let (Some(agent), false) = (&self.agent, self.agent_port) {
            let message = format!("server `{name}` has `agent-check` without `agent-port`");
            desk.refuse(&agent.range, message);
        } else if let Some(agent) = self.agent.as_ref().filter(|agent| is_told(&agent.range)) {
            let because = "the agent answers while HAProxy runs";
            desk.unknowable(&noted("agent-check"), &agent.range, because, touches());
        }
        if let (Some(track), Some(_)) = (&self.track, &self.check) {
            let message = format!("server `{name}` has both `check` and `track`");
            desk.refuse(&track.range, message);
        }
        if let Some(none) = self.init_none.as_ref().filter(|none| is_told(&none.range)) {
            let because = "the server is out until its name is resolved";
            desk.unknowable(&noted("init-addr"), &none.range, because, touches());
        }
        self.limit(desk, |minconn| is_told(minconn).then(|| noted("minconn")));
        let is_checked = self.check.is_some() || self.track.is_some();
        if !is_checked {
            let observe = self.observe.take().map(|observe| observe.range);
            let slowstart = self.slowstart.take().map(|time| time.range);
            for range in observe
                .into_iter()
                .chain(slowstart)
                .filter(|range| range.start >= server.start)
            {
                desk.unheeded(
                    &range,
                    &format!("server `{name}` has `observe` or `slowstart` and no `check`"),
                    "without checks HAProxy never takes the server out nor brings it back",
                    "add `check` to the server",
                );
            }
        }
    }

    /// `minconn` and `maxconn` together.
    fn limit(&mut self, desk: &mut Desk<'_, '_>, told: impl Fn(&Range<usize>) -> Option<String>) {
        let Some(minconn) = &self.minconn else {
            return;
        };
        match &self.maxconn {
            // Between the two the limit follows the load of the backend.
            Some(maxconn) if maxconn.value > minconn.value => {
                if let Some(what) = told(&minconn.range) {
                    let because = "the limit follows the load of the backend";
                    desk.unknowable(&what, &minconn.range, because, Touches::Resilience);
                }
            }
            // A maximum below the minimum, or none, is raised to it.
            _ => self.maxconn = Some(minconn.clone()),
        }
    }
}

impl Server {
    /// Whether the value at `range` stands on its own line; `default-server` stands before it.
    pub(super) fn sets(&self, range: &Range<usize>) -> bool {
        range.start >= self.range.start
    }
}

/// A number of at least 1.
fn positive(desk: &mut Desk<'_, '_>, name: &str, number: &At<i64>) -> At<u32> {
    let value = u32::try_from(number.value).ok().filter(|value| *value > 0);
    if value.is_none() {
        let message = format!("`{name} {}` must be at least 1", number.value);
        desk.refuse(&number.range, message);
    }
    At::new(value.unwrap_or(1), number.range.clone())
}

/// `source ADDRESS [usesrc WHAT | interface NAME]`.
fn source_words(words: &[Word]) -> usize {
    match words.get(2).map(|word| word.text.as_str()) {
        Some("usesrc" | "interface") => 4,
        _ => 2,
    }
}
