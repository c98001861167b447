//! `[pool.NAME]`: how traffic is spread, what is harm, who carries it. Weights are derived here.

use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::edge::{LIFETIME, LIFETIME_REQUESTS};
use super::reader::{Named, Reader, Report, Section, list};
use super::reference::sub;
use super::typed::Limits;
use super::weights::{WEIGHT_MAX, derive};
use super::{
    BACKENDS_MAX, adaptive, affinity, backend_tls, health, keys, members, place, policy, remedies,
    reported, text, too_many,
};
use crate::config::{
    Address, Algorithm, Backend, Choices, Ejection, Hedge, HedgeAfter, Here, Intent, Lifetime,
    Members, NPlusOne, Objective, Pool, Probe, Queue, Retry, RetryCause, RetryOn, Session, Tunnels,
};
use crate::ids::Name;
use crate::units::{Ratio, format_duration};

const MS: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

pub(super) const RPS: Limits<f64> = Limits {
    min: 0.001,
    max: 1e9,
    outside: "load could not be judged against it",
};
pub(super) const HEADROOM: Limits<Ratio> = Limits {
    min: Ratio::from_percent(0),
    max: Ratio::from_percent(95),
    outside: "nothing of the capacity would be left for traffic",
};
pub(super) const TOLERANCE: Limits<Ratio> = Limits {
    min: Ratio::from_ppm(1_000),
    max: Ratio::from_percent(1_000),
    outside: "chance alone would count as a fault, or no fault would ever be seen",
};
pub(super) const ERROR_RATE: Limits<Ratio> = Limits {
    min: Ratio::from_ppm(1),
    max: Ratio::from_percent(100),
    outside: "one failed request would be a breach for ever, or none would ever be",
};
pub(super) const P99: Limits<Duration> = Limits {
    min: MS,
    max: HOUR,
    outside: "every request would count as harmed, or none",
};
pub(super) const MIN_HEALTHY: Limits<u32> = Limits {
    min: 1,
    max: BACKENDS_MAX as u32,
    outside: "an action of Evenkeel could take the last backend out of traffic",
};
pub(super) const HARMED_CLIENTS: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000,
    outside: "nothing would ever act, or nobody need be harmed",
};
pub(super) const CHOICES: Limits<u32> = Limits {
    min: 2,
    max: 10,
    outside: "nobody would be compared, or nearly everybody: that is `\"all\"`",
};
pub(super) const MAX_IN_FLIGHT: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000,
    outside: "every backend would be passed over, or the limit limits nothing",
};
pub(super) const QUEUE_LENGTH: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000,
    outside: "nothing could wait, or more than memory holds",
};
pub(super) const QUEUE_TIMEOUT: Limits<Duration> = Limits {
    min: MS,
    max: Duration::from_mins(5),
    outside: "nothing could wait, or clients would be gone before their turn",
};
pub(super) const RETRY_ATTEMPTS: Limits<u32> = Limits {
    min: 0,
    max: 5,
    outside: "retries would multiply the load of a fault",
};
pub(super) const RETRY_BUDGET: Limits<Ratio> = Limits {
    min: Ratio::from_percent(0),
    max: Ratio::from_percent(100),
    outside: "retries would more than double the load of a fault",
};
pub(super) const HEDGE_AFTER: Limits<Duration> = Limits {
    min: MS,
    max: HOUR,
    outside: "every request would be sent twice, or none ever",
};
pub(super) const HEDGE_BUDGET: Limits<Ratio> = Limits {
    min: Ratio::from_ppm(1_000),
    max: Ratio::from_percent(50),
    outside: "nothing would ever be hedged, or the load would nearly double",
};
pub(super) const PROBE_RATE: Limits<f64> = Limits {
    min: 0.1,
    max: 8.0,
    outside: "nothing would be known of most backends, or probes would be most of their work",
};
pub(super) const PROBE_TIMEOUT: Limits<Duration> = Limits {
    min: MS,
    max: Duration::from_secs(1),
    outside: "no answer would come in time, or it would be too old to go by",
};
pub(super) const PROBE_IDLE: Limits<Duration> = Limits {
    min: Duration::from_millis(250),
    max: Duration::from_secs(1),
    outside: "probes would load idle backends, or their answers would be too old to go by",
};
pub(super) const TIMEOUT: Limits<Duration> = Limits {
    min: MS,
    max: HOUR,
    outside: "requests would fail before a backend can answer, or wait for ever",
};
pub(super) const TUNNEL: Limits<Duration> = Limits {
    min: Duration::from_millis(100),
    max: Duration::from_hours(7 * 24),
    outside: "tunnels would be cut while they are used, or those of clients that are gone would stay for ever",
};
pub(super) const PRIORITY: Limits<u32> = Limits {
    min: 0,
    max: Backend::PRIORITY_MAX,
    outside: "so many levels of fail-over hide who serves",
};
pub(super) const OVERPROVISIONING: Limits<f64> = Limits {
    min: 1.0,
    max: 10.0,
    outside: "a level would pass load on while it is whole, or keep it to the last backend",
};
pub(super) const FALSE_ALARM_EVERY: Limits<Duration> = Limits {
    min: Duration::from_secs(86_400),
    max: Duration::from_secs(182_500 * 86_400),
    outside: "chance would alarm every day, or a fault would have to last for long",
};
pub(super) const SLOW_START: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: HOUR,
    outside: "it would be over at once, or a backend would be short of traffic for ever",
};
pub(super) const EJECT_AFTER: Limits<u32> = Limits {
    min: 1,
    max: 1_000,
    outside: "a backend would go by one failure, or never",
};
pub(super) const EJECT_APART: Limits<Ratio> = Limits {
    min: Ratio::from_percent(1),
    max: Ratio::from_percent(100),
    outside: "chance would take backends out",
};
pub(super) const EJECT_SLOWER: Limits<f64> = Limits {
    min: 1.5,
    max: 1_000.0,
    outside: "the usual spread of response times would take backends out",
};
pub(super) const EJECT_TIME: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: HOUR,
    outside: "a backend would be back at once, or be gone for hours",
};
pub(super) const WEIGHT: Limits<u32> = Limits {
    min: 0,
    max: WEIGHT_MAX,
    outside: "the share of the backend could not be kept exactly",
};

/// Reads one pool. `budget` is how many backends the file may still hold.
pub(super) fn read(
    reader: &mut Reader,
    named: &Named<'_>,
    here: &Here,
    budget: &mut usize,
) -> Option<Pool> {
    let s = reader.section(named.path.clone(), named.value, &keys::POOL)?;
    let members = members::read(reader, &s);
    let (mut backends, capacities) = backends(reader, &s, budget);
    let intent = intent(reader, &s, &capacities, members.as_ref());
    derive(intent, &mut backends);
    let min_healthy = s.integer(reader, "min_healthy", &MIN_HEALTHY).unwrap_or(1);
    if !s.has("members") {
        too_few(reader, &s, min_healthy, capacities.len());
    }
    let (algorithm, affinity) = affinity::read(reader, &s);
    let refusals = [("warn", NPlusOne::Warn), ("refuse", NPlusOne::Refuse)];
    let mut timeout = |key, default_s| {
        s.timeout(reader, key, &TIMEOUT)
            .unwrap_or(Duration::from_secs(default_s))
    };
    let (connect_timeout, response_timeout) = (
        timeout("connect_timeout", 1),
        timeout("response_timeout", 15),
    );
    let (idle_timeout, request_timeout) =
        (timeout("idle_timeout", 30), timeout("request_timeout", 30));
    let twenty = Ratio::from_percent(20);
    Some(Pool {
        algorithm,
        affinity,
        choices: choices(reader, &s, algorithm),
        intent,
        peak_rps: s.number(reader, "peak_rps", &RPS),
        headroom: s.ratio(reader, "headroom", &HEADROOM).unwrap_or(twenty),
        tolerance: s.ratio(reader, "tolerance", &TOLERANCE).unwrap_or(twenty),
        min_healthy,
        n_plus_one: s
            .choice(reader, "n_plus_one", &refusals)
            .unwrap_or(NPlusOne::Warn),
        objective: objective(reader, &s),
        false_alarm_every: false_alarm_every(reader, &s),
        session: session(reader, &s),
        health: health::read(reader, &s),
        ejection: ejection(reader, &s),
        slow_start: s.duration(reader, "slow_start", &SLOW_START),
        reported: reported::read(reader, &s, algorithm),
        remedies: remedies::read(reader, &s),
        overprovisioning: s
            .number(reader, "overprovisioning", &OVERPROVISIONING)
            .unwrap_or(Pool::OVERPROVISIONING_DEFAULT),
        place: place::read(reader, &s, here, (&backends, min_healthy)),
        connect_timeout,
        response_timeout,
        idle_timeout,
        request_timeout,
        tunnels: tunnels(reader, &s),
        retry: retry(reader, &s),
        hedge: hedge(reader, &s),
        probe: probe(reader, &s, algorithm),
        keep: keep(reader, &s),
        tls: backend_tls::read(reader, &s, &backends, members.as_ref()),
        max_in_flight: s.integer(reader, "max_in_flight", &MAX_IN_FLIGHT),
        adaptive: adaptive::read(reader, &s),
        max_in_flight_total: s.integer(reader, "max_in_flight_total", &MAX_IN_FLIGHT),
        queue: queue(reader, &s),
        harmed_clients_min: s
            .integer(reader, "harmed_clients_min", &HARMED_CLIENTS)
            .unwrap_or(20),
        policy: policy::of_pool(reader, &s),
        members,
        backends,
        name: named.name.clone()?,
    })
}

fn keep(reader: &mut Reader, s: &Section<'_>) -> Lifetime {
    Lifetime {
        age_max: s.duration(reader, "keep_max_age", &LIFETIME),
        requests_max: s.integer(reader, "keep_max_requests", &LIFETIME_REQUESTS),
    }
}

fn tunnels(reader: &mut Reader, s: &Section<'_>) -> Tunnels {
    let usual = Tunnels::default();
    Tunnels {
        idle: s
            .timeout(reader, "tunnel_idle", &TUNNEL)
            .unwrap_or(usual.idle),
        drain: s
            .timeout(reader, "tunnel_drain", &TUNNEL)
            .unwrap_or(usual.drain),
    }
}

/// `choices`: a number, or `"all"`; only under `least_request`.
fn choices(reader: &mut Reader, s: &Section<'_>, algorithm: Algorithm) -> Choices {
    let Some(found) = s.get(reader, "choices") else {
        return Choices::DEFAULT;
    };
    let choices = match found.value {
        DeValue::Integer(_) => s.integer(reader, "choices", &CHOICES).map(Choices::Drawn),
        _ => s.choice(reader, "choices", &[("all", Choices::All)]),
    };
    let choices = choices.unwrap_or(Choices::DEFAULT);
    // The default changes nothing wherever it stands.
    if algorithm != Algorithm::LeastRequest && choices != Choices::DEFAULT {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is for `least_request`, but the algorithm is `{}`",
                found.path,
                algorithm.as_str()
            ),
            effect: "it would change nothing".to_owned(),
            fix: "remove `choices`, or write `algorithm = \"least_request\"`".to_owned(),
        };
        reader.error(&found.path, found.span, report);
        return Choices::DEFAULT;
    }
    choices
}

fn false_alarm_every(reader: &mut Reader, s: &Section<'_>) -> Duration {
    let declared = s.duration(reader, "false_alarm_every", &FALSE_ALARM_EVERY);
    declared.unwrap_or(Pool::FALSE_ALARM_EVERY_DEFAULT)
}

pub(super) fn objective(reader: &mut Reader, s: &Section<'_>) -> Objective {
    let mut objective = Objective {
        error_rate: Ratio::from_percent(1),
        p99: Duration::from_secs(1),
    };
    if let Some(s) = sub(reader, s, "objective", &keys::OBJECTIVE) {
        objective.error_rate = s
            .ratio(reader, "error_rate", &ERROR_RATE)
            .unwrap_or(objective.error_rate);
        objective.p99 = s.duration(reader, "p99", &P99).unwrap_or(objective.p99);
    }
    objective
}

fn session(reader: &mut Reader, s: &Section<'_>) -> Session {
    let Some(s) = sub(reader, s, "session", &keys::SESSION) else {
        return Session::ClientAddress;
    };
    s.require(
        reader,
        "cookie",
        "users would be told apart by address",
        "cookie = \"sid\"",
    );
    s.read(reader, "cookie", text::cookie_name)
        .map_or(Session::ClientAddress, Session::Cookie)
}

fn retry(reader: &mut Reader, s: &Section<'_>) -> Retry {
    let mut retry = Retry {
        attempts: 1,
        budget: Ratio::from_percent(20),
        on: RetryOn::default(),
        unsafe_methods: false,
    };
    if let Some(s) = sub(reader, s, "retry", &keys::RETRY) {
        retry.attempts = s
            .integer(reader, "attempts", &RETRY_ATTEMPTS)
            .unwrap_or(retry.attempts);
        retry.budget = s
            .ratio(reader, "budget", &RETRY_BUDGET)
            .unwrap_or(retry.budget);
        retry.on = retry_on(reader, &s).unwrap_or(retry.on);
        retry.unsafe_methods = s.boolean(reader, "unsafe_methods").unwrap_or(false);
    }
    retry
}

fn hedge(reader: &mut Reader, s: &Section<'_>) -> Option<Hedge> {
    let s = sub(reader, s, "hedge", &keys::HEDGE)?;
    s.require(
        reader,
        "after",
        "no second backend would ever be asked",
        "after = \"p95\"",
    );
    let budget = s.ratio(reader, "budget", &HEDGE_BUDGET);
    let found = s.get(reader, "after")?;
    let after = match found.value {
        DeValue::String(text) if text.starts_with('p') => s
            .choice(reader, "after", HedgeAfter::PERCENTILES)
            .map(HedgeAfter::Percentile),
        _ => s
            .duration(reader, "after", &HEDGE_AFTER)
            .map(HedgeAfter::Time),
    };
    Some(Hedge {
        after: after?,
        budget: budget.unwrap_or(Hedge::BUDGET),
    })
}

/// `[pool.NAME.probe]`; only under `prequal`.
fn probe(reader: &mut Reader, s: &Section<'_>, algorithm: Algorithm) -> Option<Probe> {
    let inner = sub(reader, s, "probe", &keys::PROBE)?;
    if algorithm != Algorithm::Prequal {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is for `prequal`, but the algorithm is `{}`",
                inner.path,
                algorithm.as_str()
            ),
            effect: "backends would be asked, and nobody would go by their answers".to_owned(),
            fix: "remove the table, or write `algorithm = \"prequal\"`".to_owned(),
        };
        reader.error(&inner.path, inner.span.clone(), report);
    }
    inner.require(
        reader,
        "path",
        "nothing could be asked for",
        "path = \"/load\"",
    );
    let path = inner.read(reader, "path", text::request_path);
    let rate = inner.number(reader, "rate", &PROBE_RATE);
    let timeout = inner.duration(reader, "timeout", &PROBE_TIMEOUT);
    let idle_interval = inner.duration(reader, "idle_interval", &PROBE_IDLE);
    Some(Probe {
        path: path?,
        rate: rate.unwrap_or(Probe::RATE),
        timeout: timeout.unwrap_or(Probe::TIMEOUT),
        idle_interval,
    })
}

/// `["connect", "503"]`.
fn retry_on(reader: &mut Reader, s: &Section<'_>) -> Option<RetryOn> {
    let words = RetryCause::ALL
        .iter()
        .map(|cause| (cause.as_str(), *cause))
        .collect::<Vec<_>>();
    let causes = s.choices(reader, "on", &words)?;
    let add = |set: RetryOn, cause| set.with(cause);
    Some(causes.into_iter().fold(RetryOn::NOTHING, add))
}

fn queue(reader: &mut Reader, s: &Section<'_>) -> Option<Queue> {
    let inner = sub(reader, s, "queue", &keys::QUEUE)?;
    let length = inner.integer(reader, "length", &QUEUE_LENGTH);
    let timeout = inner.duration(reader, "timeout", &QUEUE_TIMEOUT);
    let limits = ["max_in_flight", "adaptive", "max_in_flight_total"];
    if !limits.iter().any(|limit| s.has(limit)) {
        let report = Report {
            id: "CFG-06",
            message: format!("`{}` has a queue, but no limit of requests at once", s.path),
            effect: "no backend is ever at a limit, so no request ever waits".to_owned(),
            fix: "add `max_in_flight`, `adaptive` or `max_in_flight_total`, or remove the queue"
                .to_owned(),
        };
        reader.warning(&s.child_path("queue"), inner.span.clone(), report);
    }
    Some(Queue {
        length: length.unwrap_or(100),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
    })
}

fn ejection(reader: &mut Reader, s: &Section<'_>) -> Option<Ejection> {
    let s = sub(reader, s, "ejection", &keys::EJECTION)?;
    let time = s.duration(reader, "time", &EJECT_TIME);
    let time = time.unwrap_or(Duration::from_secs(30));
    let time_max = s.duration(reader, "time_max", &EJECT_TIME);
    if let (Some(most), Some(found)) = (time_max, s.get(reader, "time_max"))
        && most < time
    {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is {}, shorter than the first ejection of {}",
                found.path,
                format_duration(most),
                format_duration(time)
            ),
            effect: "an ejection would never last as long as `time` says".to_owned(),
            fix: format!("write at least {}, or lower `time`", format_duration(time)),
        };
        reader.error(&found.path, found.span, report);
    }
    Some(Ejection {
        consecutive: s.integer(reader, "consecutive", &EJECT_AFTER).unwrap_or(5),
        success_rate: s
            .ratio(reader, "success_rate", &EJECT_APART)
            .unwrap_or(Ratio::from_percent(30)),
        latency: s.number(reader, "latency", &EJECT_SLOWER),
        time,
        time_max: time_max.unwrap_or(Duration::from_mins(5).max(time)),
    })
}

/// Whether one backend declares its capacity, and where.
struct Capacity {
    path: String,
    span: Range<usize>,
    is_declared: bool,
}

/// The backends that are whole, and of every one in the file whether it declares a capacity.
fn backends(
    reader: &mut Reader,
    s: &Section<'_>,
    budget: &mut usize,
) -> (Vec<Backend>, Vec<Capacity>) {
    let mut named = s.named(reader, "backend");
    if named.is_empty() && !s.has("members") {
        let effect = "every request would be answered 503";
        let example = format!("[{}.backend.web-1]", s.path);
        let report = Report {
            id: "CFG-04",
            message: format!("`{}` has no backend", s.path),
            effect: effect.to_owned(),
            fix: format!("add `{example}` with an address, or `[{}.members]`", s.path),
        };
        reader.error(&s.child_path("backend"), s.span.clone(), report);
    }
    if named.len() > *budget {
        let count = BACKENDS_MAX - *budget + named.len();
        reader.error(
            &s.child_path("backend"),
            s.span.clone(),
            too_many("backends", BACKENDS_MAX, count),
        );
        named.truncate(*budget);
    }
    *budget -= named.len();
    let mut whole = Vec::with_capacity(named.len());
    let mut capacities = Vec::with_capacity(named.len());
    for named in named {
        let Some(s) = reader.section(named.path.clone(), named.value, &keys::BACKEND) else {
            continue;
        };
        capacities.push(Capacity {
            path: named.path.clone(),
            span: s.span.clone(),
            is_declared: s.has("capacity_rps"),
        });
        whole.extend(backend(reader, &s, &named));
    }
    (whole, capacities)
}

fn backend(reader: &mut Reader, s: &Section<'_>, named: &Named<'_>) -> Option<Backend> {
    values(reader, s, named.name.clone())
}

/// What `[pool.NAME.backend.NAME]` and `[[member]]` say of a backend.
pub(super) fn values(reader: &mut Reader, s: &Section<'_>, name: Option<Name>) -> Option<Backend> {
    s.require(
        reader,
        "address",
        "it could take no request",
        "address = \"127.0.0.1:8081\"",
    );
    let address = s.read(reader, "address", text::address);
    if let Some(Address::Tcp(socket)) = &address
        && socket.port() == 0
        && let Some(found) = s.get(reader, "address")
    {
        let fix = "write the port that the backend listens on".to_owned();
        reader.wrong(&found, "an address with a port above 0", fix);
    }
    if let Some(why) = address.as_ref().and_then(Address::why_no_host)
        && let Some(found) = s.get(reader, "address")
    {
        let report = Report {
            id: "CFG-03",
            message: format!("`{}` is no address of a backend: {why}", found.path),
            effect: "no request to it would reach the backend that is meant".to_owned(),
            fix: "write the address of the host that it runs on, such as \"10.0.0.5:8080\""
                .to_owned(),
        };
        reader.error(&found.path, found.span.clone(), report);
    }
    let weight = s.integer(reader, "weight", &WEIGHT);
    let capacity_rps = s.number(reader, "capacity_rps", &RPS);
    let priority = s.integer(reader, "priority", &PRIORITY).unwrap_or(0);
    let zone = s.name(reader, "zone");
    let version = s.name(reader, "version");
    let tls_name = s.read(reader, "tls_name", text::server_name);
    Some(Backend {
        name: name?,
        address: address?,
        weight: weight.unwrap_or(1),
        weight_declared: s.has("weight"),
        capacity_rps,
        priority,
        zone,
        version,
        tls_name,
        discovered: false,
    })
}

/// How traffic should be spread: as written, else by weight when members are found at run time, by capacity when every
/// backend declares one, else even.
fn intent(
    reader: &mut Reader,
    s: &Section<'_>,
    capacities: &[Capacity],
    members: Option<&Members>,
) -> Intent {
    let intents = Intent::ALL
        .iter()
        .map(|i| (i.as_str(), *i))
        .collect::<Vec<_>>();
    let written = s.choice(reader, "intent", &intents);
    let missing: Vec<&Capacity> = capacities.iter().filter(|c| !c.is_declared).collect();
    if let (Some(Intent::Capacity), Some(first)) = (written, missing.first()) {
        const SHOWN: usize = 3;
        let shown: Vec<&str> = missing
            .iter()
            .take(SHOWN)
            .map(|c| c.path.as_str())
            .collect();
        let more = missing.len() - shown.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let report = Report {
            id: "CFG-04",
            message: format!(
                "intent is capacity, but no `capacity_rps` is declared by {}{more}",
                list(&shown)
            ),
            effect: "the share that these backends should get is not known".to_owned(),
            fix: "declare `capacity_rps` for every backend of the pool, or for none".to_owned(),
        };
        reader.error(
            &format!("{}.capacity_rps", first.path),
            first.span.clone(),
            report,
        );
    }
    if members.is_some() {
        members::intent_can_be(reader, s, written, members);
        // What is found later says by its weights how it is to be used.
        return written.unwrap_or(Intent::Weight);
    }
    written.unwrap_or(if missing.is_empty() {
        Intent::Capacity
    } else {
        Intent::Even
    })
}

fn too_few(reader: &mut Reader, s: &Section<'_>, min_healthy: u32, backends: usize) {
    if backends == 0 || min_healthy as usize <= backends {
        return;
    }
    let Some(found) = s.get(reader, "min_healthy") else {
        return;
    };
    let report = Report {
        id: "CFG-06",
        message: format!(
            "`{}` is {min_healthy}, but the pool has {backends} backends",
            found.path
        ),
        effect: "no ejection, drain or rollback will ever act on this pool".to_owned(),
        fix: format!("write at most {backends}, or add backends"),
    };
    reader.warning(&found.path, found.span, report);
}
