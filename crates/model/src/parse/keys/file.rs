//! evenkeel.toml: the top level and everything beside pools.

use super::super::edge::{
    ACCEPT_RATE, AUDIT_EVERY, BODY_MAX, CLIENT_TIMEOUT, CONNECTIONS_MAX, HEAD_MAX, LIFETIME,
    LIFETIME_REQUESTS, MEMORY, WORKERS,
};
use super::super::expect::STATUS;
use super::super::operations::ACK_WITHIN;
use super::super::protocols::STREAMS_MAX;
use super::super::route::{BURST, RATE};
use super::super::target::{PORT, REDIRECT_STATUS, RESPOND_STATUS};
use super::super::tracing::SAMPLE;
use super::pool::{HASH, POOL};
use super::tls::{SEEN_FILE, TLS};
use super::{Key, Kind, Table};
use crate::config::Protocols;

/// The whole file.
pub static FILE: Table = Table {
    about: "A configuration of Evenkeel.",
    keys: &[
        Key::new(
            "workers",
            Kind::whole(&WORKERS),
            "Data-plane workers; without it one per core that the process may use. Takes a restart.",
        ),
        Key::new(
            "instance",
            Kind::Name,
            "What this instance is called, best with a number at its end; pools with `subset` deal by it.",
        ),
        Key::new(
            "zone",
            Kind::Name,
            "The zone that this instance stands in; pools with `zone_aware` prefer it.",
        ),
        Key::new(
            "watch",
            Kind::Boolean,
            "Whether a changed file is applied by itself.",
        )
        .or("false"),
        Key::new(
            "access_log",
            Kind::Text("/var/log/evenkeel/access.log"),
            "File for the access log, one JSON object a line; \"-\" is standard output. Takes a restart.",
        ),
        Key::new(
            "access_log_fields",
            Kind::Texts("request_header.user-agent"),
            "What a line of the access log says, in this order; without it all fields but `query` and headers.",
        ),
        Key::new(
            "tracing",
            Kind::Table(&TRACING),
            "Spans for a collector of traces, by OTLP; without it none, and `traceparent` passes as it came.",
        ),
        Key::new(
            "admin",
            Kind::Table(&ADMIN),
            "Page, API and metrics. Takes a restart.",
        ),
        Key::new(
            "overload",
            Kind::Table(&OVERLOAD),
            "What the whole process holds at most.",
        ),
        Key::new(
            "audit",
            Kind::Table(&AUDIT),
            "Scheduled audits and accepted findings.",
        ),
        Key::new(
            "drills",
            Kind::Table(&DRILLS),
            "Whether drills may run here.",
        ),
        Key::new("listener", Kind::Named(&LISTENER), "Where clients connect.").required(),
        Key::new(
            "certificate",
            Kind::NamedFreely(&SEEN_FILE),
            "What was seen of each file of TLS, by path; written by Evenkeel into the text of a revision, not by hand.",
        ),
        Key::new(
            "route",
            Kind::List(&ROUTE),
            "Which requests go where; the first match wins.",
        )
        .required(),
        Key::new(
            "expect",
            Kind::List(&EXPECT),
            "Requests whose way is known; every check and apply holds the routes against them.",
        ),
        Key::new(
            "pool",
            Kind::Named(&POOL),
            "Groups of backends that share requests; none where every route answers itself.",
        ),
        Key::new("notify", Kind::Named(&RECEIVER), "Receivers of notices."),
        Key::new(
            "webhook",
            Kind::Named(&WEBHOOK),
            "Who may tell of deployments; the name is the author in the journal.",
        ),
        Key::new(
            "escalation",
            Kind::List(&LEVEL),
            "Who is paged, level by level, until somebody acknowledges.",
        ),
    ],
};

pub(in super::super) static ADMIN: Table = Table {
    about: "Page, API and metrics.",
    keys: &[
        Key::new(
            "address",
            Kind::Text("127.0.0.1:7700"),
            "Where they are served; on loopback.",
        )
        .or("\"127.0.0.1:7700\""),
        Key::new(
            "token",
            Kind::Named(&TOKEN),
            "Tokens besides the one that the first start writes; the name is the author in the journal.",
        ),
    ],
};

pub(in super::super) static OVERLOAD: Table = Table {
    about: "What the whole process holds at most.",
    keys: &[
        Key::new(
            "memory",
            Kind::size(&MEMORY),
            "Resident memory: near it no connection is kept, beyond it requests are refused, the lowest priority first; without it, no limit.",
        ),
        Key::new(
            "connections",
            Kind::whole(&CONNECTIONS_MAX),
            "Most client connections at once over all listeners; without it, what the listeners allow.",
        ),
    ],
};

pub(in super::super) static TRACING: Table = Table {
    about: "Which requests are told to a collector of traces.",
    keys: &[
        Key::new(
            "endpoint",
            Kind::Text("http://127.0.0.1:4318/v1/traces"),
            "Where spans go, by OTLP over HTTP in protobuf.",
        )
        .required(),
        Key::new(
            "sample",
            Kind::ratio(&SAMPLE),
            "How many of the requests that begin a trace here are told; one that comes with a trace has its caller's decision.",
        )
        .or("\"1%\""),
        Key::new(
            "follow",
            Kind::Boolean,
            "Whether a trace that comes with a request goes on; false where clients must not choose.",
        )
        .or("true"),
        Key::new(
            "service_name",
            Kind::Text("evenkeel"),
            "What Evenkeel is called in spans.",
        )
        .or("\"evenkeel\""),
    ],
};

pub(in super::super) static TOKEN: Table = Table {
    about: "A further token.",
    keys: &[
        Key::new(
            "file",
            Kind::Text("/etc/evenkeel/ci.token"),
            "File that holds the token.",
        )
        .required(),
        Key::new(
            "role",
            Kind::Choice(&["read", "operate"]),
            "What the token allows.",
        )
        .required(),
    ],
};

pub(in super::super) static AUDIT: Table = Table {
    about: "Scheduled audits and accepted findings.",
    keys: &[
        Key::new(
            "every",
            Kind::duration(&AUDIT_EVERY),
            "How often the running configuration is audited against live facts.",
        )
        .or("\"24h\""),
        Key::new(
            "waiver",
            Kind::List(&WAIVER),
            "Findings that are accepted for a while.",
        ),
    ],
};

pub(in super::super) static WAIVER: Table = Table {
    about: "A finding that is accepted for a while: it is shown as info until the day is over.",
    keys: &[
        Key::new("rule", Kind::Rule, "The rule that is waived.").required(),
        Key::new(
            "pool",
            Kind::Text("shop"),
            "The pool it is for; without it, all.",
        ),
        Key::new(
            "reason",
            Kind::Text("a canary of one backend"),
            "Why it is accepted.",
        )
        .required(),
        Key::new("until", Kind::Day, "The last day on which it holds, UTC.").required(),
    ],
};

pub(in super::super) static DRILLS: Table = Table {
    about: "Drills against this instance.",
    keys: &[Key::new("allowed", Kind::Boolean, "Whether they may run.").or("false")],
};

pub(in super::super) static LISTENER: Table = Table {
    about: "A place where clients connect.",
    keys: &[
        Key::new(
            "address",
            Kind::Text("127.0.0.1:8080"),
            "An address with a port, or unix:/path.",
        )
        .required(),
        Key::new(
            "head_timeout",
            Kind::duration(&CLIENT_TIMEOUT),
            "From the first byte of a request head to its end.",
        )
        .or("\"10s\""),
        Key::new(
            "body_timeout",
            Kind::duration(&CLIENT_TIMEOUT),
            "No byte of a request body for this long ends the request.",
        )
        .or("\"30s\""),
        Key::new(
            "idle_timeout",
            Kind::duration(&CLIENT_TIMEOUT),
            "A kept-alive connection without a request is closed.",
        )
        .or("\"60s\""),
        Key::new(
            "write_timeout",
            Kind::duration(&CLIENT_TIMEOUT),
            "A client that takes no byte of a response is cut off.",
        )
        .or("\"30s\""),
        Key::new("head_max", Kind::size(&HEAD_MAX), "Largest request head.").or("\"16KiB\""),
        Key::new(
            "body_max",
            Kind::size(&BODY_MAX),
            "Largest request body; \"0\": no limit.",
        )
        .or("\"0\""),
        Key::new(
            "connections_max",
            Kind::whole(&CONNECTIONS_MAX),
            "Most client connections at once.",
        )
        .or("10000"),
        Key::new(
            "connection_max_age",
            Kind::duration(&LIFETIME),
            "A client connection older than this is closed after its next response; without it, none is.",
        ),
        Key::new(
            "connection_max_requests",
            Kind::whole(&LIFETIME_REQUESTS),
            "A client connection that took so many requests is closed; without it, none is.",
        ),
        Key::new(
            "accept_rate",
            Kind::whole(&ACCEPT_RATE),
            "New connections that are accepted per second, the others wait; without it, all at once.",
        ),
        Key::new(
            "proxy_protocol",
            Kind::Table(&PROXY_PROTOCOL),
            "Connections begin with a PROXY protocol header, version 1 or 2, that says who the client is; without it, they do not.",
        ),
        Key::new(
            "tls",
            Kind::Table(&TLS),
            "Clients speak HTTPS; without it, plain HTTP.",
        ),
        Key::new(
            "protocols",
            Kind::Choices(&Protocols::WORDS),
            "What clients may speak; HTTP/2 by ALPN with TLS, by prior knowledge without.",
        )
        .or("[\"http/1.1\"]"),
        Key::new(
            "streams_max",
            Kind::whole(&STREAMS_MAX),
            "Requests that one connection of HTTP/2 may have open at once.",
        )
        .or("100"),
    ],
};

pub(in super::super) static PROXY_PROTOCOL: Table = Table {
    about: "Who tells who the client is: the proxies in front.",
    keys: &[Key::new(
        "from",
        Kind::Texts("10.0.0.0/8"),
        "Networks of the proxies in front; a connection from anywhere else is closed.",
    )
    .required()],
};

pub(in super::super) static ROUTE: Table = Table {
    about: "Which requests go where; the first match wins.",
    keys: &[
        Key::new("listener", Kind::Name, "Its listener.").required(),
        Key::new(
            "host",
            Kind::Text("*.example.com"),
            "The host it is for, exact or *.example.com; without it, every host.",
        ),
        Key::new(
            "path_prefix",
            Kind::Text("/cart"),
            "Whole path segments from the start: /cart matches /cart/x and not /cartoon.",
        )
        .or("\"/\""),
        Key::new(
            "path",
            Kind::Text("/healthz"),
            "This path only, in place of path_prefix.",
        ),
        Key::new(
            "path_regex",
            Kind::Text("/user/[0-9]+"),
            "A regular expression of the whole path, in place of path_prefix.",
        ),
        Key::new(
            "methods",
            Kind::Texts("GET"),
            "The methods it is for; without it, every method.",
        ),
        Key::new(
            "headers",
            Kind::Values(&VALUE),
            "Header fields that a request must have, or must not have.",
        ),
        Key::new(
            "cookies",
            Kind::Values(&VALUE),
            "Cookies that a request must have, or must not have.",
        ),
        Key::new(
            "query",
            Kind::Values(&VALUE),
            "Parameters of the query that a request must have, or must not have.",
        ),
        Key::new("pool", Kind::Name, "Where the requests go."),
        Key::new(
            "redirect",
            Kind::Table(&REDIRECT),
            "In place of pool: the clients are sent elsewhere.",
        ),
        Key::new(
            "respond",
            Kind::Table(&RESPOND),
            "In place of pool: the requests get this answer.",
        ),
        Key::new(
            "rewrite",
            Kind::Table(&REWRITE),
            "Another path or host for the backend.",
        ),
        Key::new(
            "request_headers",
            Kind::Table(&REQUEST_HEADERS),
            "Header fields that are changed on the way to the backend.",
        ),
        Key::new(
            "response_headers",
            Kind::Table(&RESPONSE_HEADERS),
            "Header fields that are changed on the way to the client.",
        ),
        Key::new(
            "rate_limit",
            Kind::Table(&RATE_LIMIT),
            "How often requests may come; those beyond it are refused with 429.",
        ),
        Key::new(
            "priority",
            Kind::Choice(&["low", "normal", "high"]),
            "Who is refused first when there is too much.",
        )
        .or("\"normal\""),
        Key::new(
            "upgrade",
            Kind::Protocols,
            "What requests may be upgraded to, such as \"websocket\"; [] passes no upgrade on.",
        )
        .or("[\"websocket\"]"),
    ],
};

pub(in super::super) static REDIRECT: Table = Table {
    about: "Where clients are sent; what is not named stays as it is in the request.",
    keys: &[
        Key::new(
            "status",
            Kind::whole(&REDIRECT_STATUS),
            "301, 302, 303, 307 or 308; browsers keep a permanent one, and no rollback reaches them.",
        )
        .or("302"),
        Key::new("scheme", Kind::Choice(&["http", "https"]), "The scheme."),
        Key::new("host", Kind::Text("www.example.com"), "The host."),
        Key::new(
            "port",
            Kind::whole(&PORT),
            "The port; without it that of the scheme, where scheme or host is named.",
        ),
        Key::new("path", Kind::Text("/moved"), "The whole path."),
        Key::new(
            "replace_prefix",
            Kind::Text("/new"),
            "What stands in the place of the route's path_prefix; \"/\" takes it away.",
        ),
        Key::new(
            "query",
            Kind::AnyText("from=old"),
            "The query; \"\" for none.",
        ),
    ],
};

pub(in super::super) static REWRITE: Table = Table {
    about: "What the backend sees in place of what the client sent; the query stays.",
    keys: &[
        Key::new(
            "path",
            Kind::Text("/index.html"),
            "The whole path, whatever was asked for.",
        ),
        Key::new(
            "strip_prefix",
            Kind::Text("/api"),
            "In place of path: these segments are taken from the start of the path.",
        ),
        Key::new(
            "replace_prefix",
            Kind::Text("/v2"),
            "In place of path: what stands for the route's path_prefix.",
        ),
        Key::new(
            "regex",
            Kind::Text("/user/([0-9]+)"),
            "In place of path: the paths that become to, as a whole.",
        ),
        Key::new(
            "to",
            Kind::Text("/people/$1"),
            "The path in place of those that regex matches; $1 to $9 are its groups.",
        ),
        Key::new(
            "host",
            Kind::Text("shop.internal"),
            "The Host that the backend sees.",
        ),
    ],
};

pub(in super::super) static REQUEST_HEADERS: Table = Table {
    about: "Changes to the header fields of requests.",
    keys: &[
        Key::new(
            "set",
            Kind::Headers,
            "Fields with the one value that they have then; {client_ip}, {host}, {method}, {path}, {request_id} and {scheme} stand for what the request says.",
        ),
        Key::new(
            "add",
            Kind::Headers,
            "Further fields behind those that are there.",
        ),
        Key::new(
            "remove",
            Kind::Texts("cookie"),
            "Fields that are not passed on.",
        ),
    ],
};

pub(in super::super) static RESPONSE_HEADERS: Table = Table {
    about: "Changes to the header fields of responses.",
    keys: &[
        Key::new(
            "set",
            Kind::Headers,
            "Fields with the one value that they have then; {client_ip}, {host}, {method}, {path}, {request_id} and {scheme} stand for what the request says.",
        ),
        Key::new(
            "add",
            Kind::Headers,
            "Further fields behind those that are there.",
        ),
        Key::new(
            "remove",
            Kind::Texts("server"),
            "Fields that are not passed on.",
        ),
    ],
};

pub(in super::super) static RESPOND: Table = Table {
    about: "A fixed answer.",
    keys: &[
        Key::new("status", Kind::whole(&RESPOND_STATUS), "Its status.").required(),
        Key::new(
            "body",
            Kind::AnyText("back soon\n"),
            "Its body, at most 16 KiB.",
        )
        .or("\"\""),
        Key::new(
            "content_type",
            Kind::Text("text/html; charset=utf-8"),
            "What the body is.",
        )
        .or("\"text/plain; charset=utf-8\""),
        Key::new(
            "headers",
            Kind::Headers,
            "Further header fields, at most 16.",
        ),
    ],
};

pub(in super::super) static EXPECT: Table = Table {
    about: "A request whose way is known: to a pool, or to an answer of the balancer.",
    keys: &[
        Key::new(
            "request",
            Kind::Text("GET https://shop.example/cart"),
            "Its method and its URL, or its path.",
        )
        .required(),
        Key::new("headers", Kind::Headers, "Its header fields besides Host."),
        Key::new(
            "listener",
            Kind::Name,
            "Where it comes in; without it the only listener.",
        ),
        Key::new("pool", Kind::Name, "The pool that it must reach."),
        Key::new(
            "path_sent",
            Kind::Text("/users"),
            "Beside pool: the path that the backend must see.",
        ),
        Key::new(
            "host_sent",
            Kind::Text("api.internal"),
            "Beside pool: the Host that the backend must see.",
        ),
        Key::new(
            "status",
            Kind::whole(&STATUS),
            "In place of pool: the answer of its route, 404 where no route takes it, 400 where its path can be read in two ways.",
        ),
        Key::new(
            "redirect",
            Kind::Text("https://shop.example/cart"),
            "In place of pool: where its route sends the client, a URL or a path on the same host.",
        ),
    ],
};

pub(in super::super) static VALUE: Table = Table {
    about: "What a value must be: one of these.",
    keys: &[
        Key::new(
            "present",
            Kind::Boolean,
            "Whether the request has one of this name at all.",
        ),
        Key::new("prefix", Kind::Text("beta-"), "What it begins with."),
        Key::new(
            "regex",
            Kind::Text("[0-9]+"),
            "A regular expression of the whole value.",
        ),
    ],
};

pub(in super::super) static RATE_LIMIT: Table = Table {
    about: "How often requests may come.",
    keys: &[
        Key::new("rps", Kind::number(&RATE), "Requests per second.").required(),
        Key::new(
            "burst",
            Kind::whole(&BURST),
            "Most requests at once; without it rps, rounded up.",
        ),
        Key::new(
            "by",
            Kind::Table(&HASH),
            "What has a rate of its own; without it the route as a whole.",
        ),
    ],
};

pub(in super::super) static RECEIVER: Table = Table {
    about: "A signed webhook.",
    keys: &[
        Key::new(
            "url",
            Kind::Text("https://hooks.example.com/evenkeel"),
            "Where notices are posted.",
        )
        .required(),
        Key::new(
            "secret_file",
            Kind::Text("/etc/evenkeel/hook.secret"),
            "File with the secret that signs them.",
        )
        .required(),
    ],
};

pub(in super::super) static WEBHOOK: Table = Table {
    about: "Somebody who tells of deployments by signed messages.",
    keys: &[Key::new(
        "secret_file",
        Kind::Text("/etc/evenkeel/deploys.secret"),
        "File with the secret that signs the messages.",
    )
    .required()],
};

pub(in super::super) static LEVEL: Table = Table {
    about: "One level of escalation.",
    keys: &[
        Key::new("name", Kind::Name, "What the level is called.").required(),
        Key::new("notify", Kind::Names, "The receivers that are paged.").required(),
        Key::new(
            "ack_within",
            Kind::duration(&ACK_WITHIN),
            "The next level is paged when nobody acknowledged by then.",
        )
        .or("\"5m\""),
    ],
};
