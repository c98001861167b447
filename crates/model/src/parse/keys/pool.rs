//! evenkeel.toml: `[pool.NAME]` and what lies in it.

use super::super::affinity::{BOUNDED_LOAD, STICKY_TTL};
use super::super::edge::{LIFETIME, LIFETIME_REQUESTS};
use super::super::health::{CHECK_INTERVAL, CHECK_TIMEOUT, CHECKS_IN_A_ROW};
use super::super::members::TTL;
use super::super::place::{ORIGIN, SUBSET_SIZE};
use super::super::pool::{
    CHOICES, EJECT_AFTER, EJECT_APART, EJECT_SLOWER, EJECT_TIME, ERROR_RATE, FALSE_ALARM_EVERY,
    HARMED_CLIENTS, HEADROOM, HEDGE_BUDGET, MAX_IN_FLIGHT, MIN_HEALTHY, OVERPROVISIONING, P99,
    PRIORITY, PROBE_IDLE, PROBE_RATE, PROBE_TIMEOUT, QUEUE_LENGTH, QUEUE_TIMEOUT, RETRY_ATTEMPTS,
    RETRY_BUDGET, RPS, SLOW_START, TIMEOUT, TOLERANCE, TUNNEL, WEIGHT,
};
use super::super::reported::{ERROR_PENALTY, LEAST, MOST, PERIOD, STALE_AFTER};
use super::tls::{BACKEND_TLS, TLS_NAME};
use super::{Key, Kind, Table};

pub(super) const INTENT: Key = Key::new(
    "intent",
    Kind::Choice(&["even", "capacity", "weight"]),
    "How traffic should be spread; capacity when every backend declares one, else even.",
);
pub(super) const PEAK_RPS: Key = Key::new(
    "peak_rps",
    Kind::number(&RPS),
    "What the pool must carry, requests per second.",
);
pub(super) const HEADROOM_KEY: Key = Key::new(
    "headroom",
    Kind::ratio(&HEADROOM),
    "No backend is planned above its capacity less this.",
)
.or("\"20%\"");
pub(super) const TOLERANCE_KEY: Key = Key::new(
    "tolerance",
    Kind::ratio(&TOLERANCE),
    "Relative deviation from the intended share that is still fine.",
)
.or("\"20%\"");
pub(super) const MIN_HEALTHY_KEY: Key = Key::new(
    "min_healthy",
    Kind::whole(&MIN_HEALTHY),
    "Fewest live backends that an action may leave.",
);
pub(super) const N_PLUS_ONE: Key = Key::new(
    "n_plus_one",
    Kind::Choice(&["warn", "refuse"]),
    "Whether the loss of one backend or zone that overloads the others is a warning or an error.",
)
.or("\"warn\"");
pub(super) const OBJECTIVE_KEY: Key = Key::new(
    "objective",
    Kind::Table(&OBJECTIVE),
    "A request beyond it is harmed.",
);
pub(super) const POOL_AUDIT_KEY: Key = Key::new(
    "audit",
    Kind::Table(&POOL_AUDIT),
    "What the rules of the audit are set to for this pool.",
);
pub(super) const BACKEND_PRIORITY: Key = Key::new(
    "priority",
    Kind::whole(&PRIORITY),
    "Level of fail-over: 0 takes traffic first, the next joins when too little of it is healthy.",
)
.or("0");

pub(super) const CAPACITY: Key = Key::new(
    "capacity_rps",
    Kind::number(&RPS),
    "What it can carry, requests per second.",
);
pub(super) const ZONE: Key = Key::new("zone", Kind::Name, "Where it stands.");
pub(super) const VERSION: Key = Key::new("version", Kind::Name, "What runs on it.");

pub(in super::super) static POOL: Table = Table {
    about: "A group of backends that share requests.",
    keys: &[
        Key::new(
            "algorithm",
            Kind::Choice(&[
                "round_robin",
                "least_request",
                "random",
                "ring_hash",
                "maglev",
                "rendezvous",
                "peak_ewma",
                "prequal",
            ]),
            "How a backend is chosen.",
        )
        .or("\"round_robin\""),
        Key::new(
            "hash",
            Kind::Table(&HASH),
            "What of a request is its key, under ring_hash, maglev and rendezvous.",
        ),
        Key::new(
            "bounded_load",
            Kind::number(&BOUNDED_LOAD),
            "No backend takes more by its keys than this times its part of all requests in flight.",
        ),
        Key::new(
            "sticky",
            Kind::Table(&STICKY),
            "A signed cookie that ties a client to the backend that served it first.",
        ),
        Key::new(
            "choices",
            Kind::WholeOr(CHOICES.min, CHOICES.max, &["all"]),
            "How many backends least_request compares, drawn by weight.",
        )
        .or("2"),
        INTENT,
        PEAK_RPS,
        HEADROOM_KEY,
        TOLERANCE_KEY,
        MIN_HEALTHY_KEY.or("1"),
        N_PLUS_ONE,
        OBJECTIVE_KEY,
        Key::new(
            "false_alarm_every",
            Kind::duration(&FALSE_ALARM_EVERY),
            "Mean time between false alarms of all tests of the pool together.",
        )
        .or("\"87500h\""),
        Key::new(
            "session",
            Kind::Table(&SESSION),
            "Who is a user; without it, the client address.",
        ),
        Key::new(
            "connect_timeout",
            Kind::duration(&TIMEOUT),
            "Connecting to a backend, per try.",
        )
        .or("\"1s\""),
        Key::new(
            "response_timeout",
            Kind::duration(&TIMEOUT),
            "From the request being sent to the response head, per try.",
        )
        .or("\"15s\""),
        Key::new(
            "idle_timeout",
            Kind::duration(&TIMEOUT),
            "No progress of a body for this long.",
        )
        .or("\"30s\""),
        Key::new(
            "request_timeout",
            Kind::duration(&TIMEOUT),
            "All tries together, up to the response head.",
        )
        .or("\"30s\""),
        Key::new(
            "tunnel_idle",
            Kind::duration(&TUNNEL),
            "A tunnel (an upgraded connection) without a byte in either direction for this long is closed.",
        )
        .or("\"1h\""),
        Key::new(
            "tunnel_drain",
            Kind::duration(&TUNNEL),
            "How long a tunnel goes on after its backend was drained or removed, or its listener removed.",
        )
        .or("\"5m\""),
        Key::new(
            "keep_max_age",
            Kind::duration(&LIFETIME),
            "A connection to a backend older than this takes no further request; without it, age is no reason.",
        ),
        Key::new(
            "keep_max_requests",
            Kind::whole(&LIFETIME_REQUESTS),
            "Requests that a connection to a backend takes; without it, any number.",
        ),
        Key::new(
            "tls",
            Kind::Table(&BACKEND_TLS),
            "How backends are spoken to by TLS; without it, they speak plain HTTP.",
        ),
        Key::new(
            "max_in_flight",
            Kind::whole(&MAX_IN_FLIGHT),
            "Most requests at once on one backend; beyond it the backend is passed over.",
        ),
        Key::new(
            "adaptive",
            Kind::Table(&ADAPTIVE),
            "Instead of max_in_flight: the limit of each backend is found out from its response times.",
        ),
        Key::new(
            "max_in_flight_total",
            Kind::whole(&MAX_IN_FLIGHT),
            "Most requests at once on all backends of the pool together.",
        ),
        Key::new(
            "queue",
            Kind::Table(&QUEUE),
            "Where requests wait that find every backend, or the pool, at its limit; without it they are refused.",
        ),
        Key::new(
            "harmed_clients_min",
            Kind::whole(&HARMED_CLIENTS),
            "Distinct clients that must be harmed before anything acts by itself.",
        )
        .or("20"),
        Key::new("retry", Kind::Table(&RETRY), "Further tries."),
        Key::new(
            "hedge",
            Kind::Table(&HEDGE),
            "A second backend for requests whose first one is slow; without it, none.",
        ),
        Key::new(
            "probe",
            Kind::Table(&PROBE),
            "Under prequal: asking backends how loaded they are; without it, nobody is asked.",
        ),
        Key::new(
            "health",
            Kind::Table(&HEALTH),
            "Active check of the backends.",
        ),
        Key::new(
            "ejection",
            Kind::Table(&EJECTION),
            "Taking a backend out by what its answers show; without it, not done.",
        ),
        Key::new(
            "slow_start",
            Kind::duration(&SLOW_START),
            "The weight of a backend that comes back or joins grows from 10 % over this time; without it, all at once.",
        ),
        Key::new(
            "reported",
            Kind::Table(&REPORTED),
            "Weights follow the load that backends report with their responses; without it, they do not.",
        ),
        Key::new(
            "remedies",
            Kind::Table(&REMEDIES),
            "What Evenkeel may do by itself about an incident of the pool.",
        ),
        Key::new(
            "overprovisioning",
            Kind::number(&OVERPROVISIONING),
            "A level of priority passes load on when its healthy part times this is below 1.",
        )
        .or("1.4"),
        Key::new(
            "subset",
            Kind::Table(&SUBSET),
            "How many of its backends this instance uses; without it, all.",
        ),
        Key::new(
            "zone_aware",
            Kind::Boolean,
            "Whether the zone of this instance takes as much of its traffic as is fair, before the others.",
        )
        .or("false"),
        Key::new(
            "zone",
            Kind::Named(&POOL_ZONE),
            "How much of the traffic comes in where, for `zone_aware`.",
        ),
        POOL_AUDIT_KEY,
        Key::new(
            "members",
            Kind::Table(&MEMBERS),
            "Where further backends are found at run time.",
        ),
        Key::new(
            "backend",
            Kind::Named(&BACKEND),
            "Who serves; needed unless `members` says where backends are found.",
        ),
    ],
};

pub(in super::super) static SUBSET: Table = Table {
    about: "Which backends of the pool this instance uses.",
    keys: &[Key::new(
        "size",
        Kind::whole(&SUBSET_SIZE),
        "How many of each level; at least min_healthy.",
    )
    .required()],
};

pub(in super::super) static POOL_ZONE: Table = Table {
    about: "A zone that instances or backends of the pool stand in.",
    keys: &[Key::new(
        "origin",
        Kind::ratio(&ORIGIN),
        "The part of all requests that comes in at the instances in this zone; zones that are not named share the rest alike.",
    )
    .required()],
};

pub(in super::super) static OBJECTIVE: Table = Table {
    about: "A request beyond it is harmed.",
    keys: &[
        Key::new(
            "error_rate",
            Kind::ratio(&ERROR_RATE),
            "Highest share of failed requests that is fine.",
        )
        .or("\"1%\""),
        Key::new(
            "p99",
            Kind::duration(&P99),
            "Response time that 99 % of requests must keep.",
        )
        .or("\"1s\""),
    ],
};

pub(in super::super) static HASH: Table = Table {
    about: "What of a request is its key: exactly one of these.",
    keys: &[
        Key::new("header", Kind::Text("x-user"), "The value of this header."),
        Key::new("cookie", Kind::Text("sid"), "The value of this cookie."),
        Key::new(
            "query",
            Kind::Text("user"),
            "The value of this query parameter, as sent.",
        ),
        Key::new(
            "path",
            Kind::Boolean,
            "The path, as sent, without the query.",
        ),
        Key::new(
            "client_address",
            Kind::Boolean,
            "The address that the client's connection comes from.",
        ),
    ],
};

pub(in super::super) static STICKY: Table = Table {
    about: "A signed cookie that ties a client to the backend that served it first.",
    keys: &[
        Key::new(
            "cookie",
            Kind::Text("ek"),
            "Its name; one that the backends do not use.",
        )
        .required(),
        Key::new(
            "ttl",
            Kind::duration(&STICKY_TTL),
            "How long a client that is not heard of stays bound.",
        )
        .or("\"1h\""),
    ],
};

pub(in super::super) static SESSION: Table = Table {
    about: "Who is a user.",
    keys: &[Key::new(
        "cookie",
        Kind::Text("sid"),
        "The cookie whose value tells users apart.",
    )
    .required()],
};

pub(in super::super) static ADAPTIVE: Table = Table {
    about: "Bounds of the limit that is found out from the response times of each backend.",
    keys: &[
        Key::new(
            "min",
            Kind::whole(&MAX_IN_FLIGHT),
            "The limit never falls below it.",
        )
        .or("2"),
        Key::new(
            "max",
            Kind::whole(&MAX_IN_FLIGHT),
            "The limit never grows beyond it.",
        )
        .or("1000"),
    ],
};

pub(in super::super) static QUEUE: Table = Table {
    about: "Where requests wait for a backend below its limit, first come, first served.",
    keys: &[
        Key::new(
            "length",
            Kind::whole(&QUEUE_LENGTH),
            "Most requests that wait at once.",
        )
        .or("100"),
        Key::new(
            "timeout",
            Kind::duration(&QUEUE_TIMEOUT),
            "Longest that one waits.",
        )
        .or("\"1s\""),
    ],
};

pub(in super::super) static RETRY: Table = Table {
    about: "Further tries, where a repeat is safe.",
    keys: &[
        Key::new(
            "attempts",
            Kind::whole(&RETRY_ATTEMPTS),
            "Tries beyond the first.",
        )
        .or("1"),
        Key::new(
            "budget",
            Kind::ratio(&RETRY_BUDGET),
            "Retries per request over time.",
        )
        .or("\"20%\""),
        Key::new(
            "on",
            Kind::Choices(&["connect", "reset", "timeout", "502", "503", "504"]),
            "What is worth a further try.",
        )
        .or("[\"connect\", \"reset\", \"timeout\"]"),
        Key::new(
            "unsafe_methods",
            Kind::Boolean,
            "Whether a method that is not idempotent is repeated although the backend may have acted on it.",
        )
        .or("false"),
    ],
};

pub(in super::super) static HEDGE: Table = Table {
    about: "A second backend for a request that can do no harm twice; the first answer wins.",
    keys: &[
        Key::new(
            "after",
            Kind::Text("p95"),
            "How long the first backend has: a time, or p50, p75, p90, p95 or p99 of the pool's present response times.",
        )
        .required(),
        Key::new(
            "budget",
            Kind::ratio(&HEDGE_BUDGET),
            "Second tries per request over time.",
        )
        .or("\"5%\""),
    ],
};

const LEAVE: Kind = Kind::Choice(&["off", "suggest", "act"]);

pub(in super::super) static REMEDIES: Table = Table {
    about: "How far each remedy may go: off, suggest, or act where its rules allow it.",
    keys: &[
        Key::new(
            "rollback",
            LEAVE,
            "Undo the revision that is to blame.",
        )
        .or("\"act\""),
        Key::new(
            "eject",
            LEAVE,
            "Drain the backend that is at fault, for 10 minutes at first.",
        )
        .or("\"suggest\""),
        Key::new(
            "weights",
            LEAVE,
            "Weights by the declared intent for 10 minutes, where no rollback would bring them back.",
        )
        .or("\"suggest\""),
        Key::new(
            "retries",
            LEAVE,
            "No retries for 10 minutes, in a retry storm.",
        )
        .or("\"suggest\""),
        Key::new(
            "fail_open",
            LEAVE,
            "The health check decides nothing for 10 minutes, where it takes out what is well.",
        )
        .or("\"suggest\""),
        Key::new(
            "reapply",
            LEAVE,
            "Run what the journal says again, where something else runs.",
        )
        .or("\"suggest\""),
    ],
};

pub(in super::super) static REPORTED: Table = Table {
    about: "How the load that backends report shapes their weights; under round_robin, least_request and random.",
    keys: &[
        Key::new(
            "signal",
            Kind::Choice(&["cpu", "application"]),
            "What of a report is the load: cpu_utilization or application_utilization.",
        )
        .or("\"cpu\""),
        Key::new(
            "period",
            Kind::duration(&PERIOD),
            "Weights are looked at this often.",
        )
        .or("\"10s\""),
        Key::new(
            "min",
            Kind::number(&LEAST),
            "A backend gets at least this much of its declared weight.",
        )
        .or("0.25"),
        Key::new(
            "max",
            Kind::number(&MOST),
            "A backend gets at most this much of its declared weight.",
        )
        .or("4"),
        Key::new(
            "stale_after",
            Kind::duration(&STALE_AFTER),
            "A backend that has not reported for so long gets its declared weight; at least the period.",
        )
        .or("\"1m\""),
        Key::new(
            "error_penalty",
            Kind::number(&ERROR_PENALTY),
            "The part of its tries that a backend fails counts this many times as utilisation.",
        )
        .or("1"),
    ],
};

pub(in super::super) static PROBE: Table = Table {
    about: "Asking backends how loaded they are, beside the requests.",
    keys: &[
        Key::new("path", Kind::Text("/load"), "What is asked for.").required(),
        Key::new(
            "rate",
            Kind::number(&PROBE_RATE),
            "Backends that are asked per request, in the mean.",
        )
        .or("1"),
        Key::new(
            "timeout",
            Kind::duration(&PROBE_TIMEOUT),
            "A later answer does not count.",
        )
        .or("\"50ms\""),
        Key::new(
            "idle_interval",
            Kind::duration(&PROBE_IDLE),
            "After so long without a probe two are sent, by each worker; without it, none.",
        ),
    ],
};

pub(in super::super) static HEALTH: Table = Table {
    about: "An active check.",
    keys: &[
        Key::new(
            "kind",
            Kind::Choice(&["http", "tcp"]),
            "Asks for `path` by HTTP, or only connects.",
        )
        .or("\"http\""),
        Key::new(
            "path",
            Kind::Text("/healthz"),
            "What is asked for; required under `http`.",
        ),
        Key::new(
            "host",
            Kind::Text("shop.example.com"),
            "Host header; without it the backend's address.",
        ),
        Key::new(
            "interval",
            Kind::duration(&CHECK_INTERVAL),
            "Between two checks of one backend.",
        )
        .or("\"1s\""),
        Key::new(
            "interval_down",
            Kind::duration(&CHECK_INTERVAL),
            "The same while it is down, at least the interval; without it the interval.",
        ),
        Key::new(
            "timeout",
            Kind::duration(&CHECK_TIMEOUT),
            "No answer by then is a failure; without it the interval, at most 1 s.",
        ),
        Key::new(
            "rise",
            Kind::whole(&CHECKS_IN_A_ROW),
            "Good checks in a row before a backend takes traffic again.",
        )
        .or("2"),
        Key::new(
            "fall",
            Kind::whole(&CHECKS_IN_A_ROW),
            "Failed checks in a row before a backend is taken out.",
        )
        .or("3"),
        Key::new("expect_status", Kind::Statuses, "What counts as good.").or("\"200-299\""),
    ],
};

pub(in super::super) static EJECTION: Table = Table {
    about: "Taking a backend out for a while when its answers show that it is broken.",
    keys: &[
        Key::new(
            "consecutive",
            Kind::whole(&EJECT_AFTER),
            "Failed tries in a row, while the others answer.",
        )
        .or("5"),
        Key::new(
            "success_rate",
            Kind::ratio(&EJECT_APART),
            "So much higher than that of the rest of the pool must its part of failed requests be.",
        )
        .or("\"30%\""),
        Key::new(
            "latency",
            Kind::number(&EJECT_SLOWER),
            "Its median response time as a multiple of the others'; without it, not judged.",
        ),
        Key::new(
            "time",
            Kind::duration(&EJECT_TIME),
            "How long for, the first time; each further time doubles it.",
        )
        .or("\"30s\""),
        Key::new(
            "time_max",
            Kind::duration(&EJECT_TIME),
            "At most this long; without it 5 min.",
        ),
    ],
};

pub(in super::super) static MEMBERS: Table = Table {
    about: "Where backends are found at run time: one of file, dns and srv.",
    keys: &[
        Key::new(
            "file",
            Kind::Text("members.toml"),
            "A file with `[[member]]` tables, looked at once a second.",
        ),
        Key::new(
            "dns",
            Kind::Text("web.internal:8080"),
            "A host, all of whose A and AAAA records are members, and their port.",
        ),
        Key::new(
            "srv",
            Kind::Text("_http._tcp.web.internal"),
            "A service, whose SRV records are members with their ports and weights.",
        ),
        Key::new(
            "resolver",
            Kind::Text("127.0.0.1:5353"),
            "The DNS server that is asked; without it those of the system.",
        ),
        Key::new(
            "ttl_min",
            Kind::duration(&TTL),
            "An answer is asked again no sooner than this.",
        )
        .or("\"1s\""),
        Key::new(
            "ttl_max",
            Kind::duration(&TTL),
            "An answer is asked again after this at the latest.",
        )
        .or("\"1m\""),
    ],
};

pub(in super::super) static POOL_AUDIT: Table = Table {
    about: "What the rules of the audit are set to for this pool.",
    keys: &[
        Key::new(
            "severity",
            Kind::Severities,
            "Severity by rule, instead of the rule's own.",
        ),
        Key::new(
            "limit",
            Kind::Limits,
            "Limit by rule, in the unit that `evenkeel explain` names.",
        ),
    ],
};

pub(in super::super) static BACKEND: Table = Table {
    about: "One member of the pool.",
    keys: &[
        Key::new(
            "address",
            Kind::Text("127.0.0.1:8081"),
            "An address with a port, or unix:/path.",
        )
        .required(),
        Key::new(
            "weight",
            Kind::whole(&WEIGHT),
            "Relative weight; without it derived from capacity_rps under intent capacity, else 1.",
        ),
        CAPACITY,
        BACKEND_PRIORITY,
        ZONE,
        VERSION,
        TLS_NAME,
    ],
};

pub(in super::super) static MEMBER_LIST: Table = Table {
    about: "The members of a pool, as its `members.file` lists them.",
    keys: &[Key::new("member", Kind::List(&MEMBER), "One member.")],
};

pub(in super::super) static MEMBER: Table = Table {
    about: "One member of a pool.",
    keys: &[
        Key::new("name", Kind::Name, "Its identity across address changes.").required(),
        Key::new(
            "address",
            Kind::Text("127.0.0.1:8081"),
            "An address with a port, or unix:/path.",
        )
        .required(),
        Key::new("weight", Kind::whole(&WEIGHT), "Relative weight."),
        CAPACITY,
        BACKEND_PRIORITY,
        ZONE,
        VERSION,
        TLS_NAME,
    ],
};
