//! The text behind `evenkeel explain`: every rule, every finding of the reader and the guard, and a few topics.

use evenkeel_model::finding::Severity;

use crate::rules::rules;

/// What an id or a topic means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The id, such as `TRF-01`, or the topic, such as `algorithms`.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// The worst that it says; `None` for a topic.
    pub severity: Option<Severity>,
    /// Reason, limits and an example. Lines of at most about 100 characters.
    pub text: &'static str,
}

/// The explanation of `id`, in upper or lower case; `None`: no such id or topic.
pub fn explain(id: &str) -> Option<Explanation> {
    topics().find(|explanation| explanation.id.eq_ignore_ascii_case(id.trim()))
}

/// Everything that can be explained: rules, then the other ids, then topics.
pub fn topics() -> impl Iterator<Item = Explanation> {
    let of_rules = rules().map(|rule| Explanation {
        id: rule.id,
        title: rule.title,
        severity: Some(rule.severity),
        text: rule.text,
    });
    let other = |severity: Severity| {
        move |&(id, title, text): &Entry| Explanation {
            id,
            title,
            severity: Some(severity),
            text,
        }
    };
    let topic = |&(id, title, text)| Explanation {
        id,
        title,
        severity: None,
        text,
    };
    of_rules
        .chain(IDS.iter().map(other(Severity::Error)))
        .chain(std::iter::once(&RAN_OUT).map(other(Severity::Warning)))
        .chain(std::iter::once(&IDLE).map(other(Severity::Info)))
        .chain(TOPICS.iter().map(topic))
}

type Entry = (&'static str, &'static str, &'static str);

const IDS: &[Entry] = &[
    ("CFG-01", "the file is valid TOML", "\
The text cannot be read as TOML at this place. Nothing of the file is used; what runs keeps running.
After a syntax error the rest of the file is not judged, because it would have to be guessed.

Example: `[listener.web` without its closing bracket."),
    ("CFG-02", "every key is known", "\
A key that does not exist would be ignored, and the setting it was meant to be would keep its default.
So it is an error, with the nearest known key as a suggestion.

Example: `algoritm = \"random\"` would leave the pool on round_robin."),
    ("CFG-03", "every value has its type, unit and form", "\
Units stand in the value: \"250ms\", \"10s\", \"5m\", \"1h\", \"1d\"; \"16KiB\", \"1MiB\"; \"20%\". Addresses are
\"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/path\"; names are not resolved in this version. Names of
things hold letters, digits, `_`, `.` and `-`, at most 63.

Example: `interval = 1` could be a second or a millisecond; write \"1s\"."),
    ("CFG-04", "nothing that is needed is missing", "\
A file needs a listener, a route and a pool; a pool needs a backend; a backend, an address. Under
`intent = \"capacity\"` every backend of the pool needs `capacity_rps`. A listener that no route names is
a warning: everything there is answered 404."),
    ("CFG-05", "every reference leads somewhere", "\
A route names a listener and a pool, an escalation level names receivers; each must stand in the file.

Example: `pool = \"shp\"` beside `[pool.shop]`: the finding asks whether `shop` is meant."),
    ("CFG-06", "every value is in its range", "\
The finding names the limit and what a value beyond it would do to traffic. It is a warning where the
value works but cannot have its effect: `min_healthy` above the number of backends."),
    ("CFG-07", "nothing is written twice, nothing contradicts", "\
A key or table that stands twice, or two listeners on one address (0.0.0.0 covers every IPv4 address of
its port; the admin address counts too). A route that an earlier one with the same listener, host and
path hides is a warning."),
    ("CHG-01", "the base is still what runs", "\
A change is planned on a revision. When another one runs by the time it is applied, it is refused, so
that two people do not undo each other unseen. Plan again and apply with the new `--base`."),
    ("CHG-02", "the content was not undone before", "\
A configuration that was rolled back because it harmed traffic is in quarantine: the same content is
refused to apply, SIGHUP, watch and automation, and the incident is named. A person may run it with
--force and a new --reason."),
    ("CHG-03", "no other change is in flight", "\
One change is verified at a time, so that what is seen can be put down to it. Wait until it is verified
or held, confirm it, or roll it back."),
    ("CHG-04", "at least min_healthy backends are live", "\
The change would leave fewer live backends in a pool than its `min_healthy`. --force does not override
this: lower `min_healthy` in a change of its own if it is meant."),
    ("CHG-05", "somebody can take traffic", "\
The change would leave a pool without one backend that is live and has a weight above 0. --force does
not override this."),
    ("CHG-06", "the journal can be written", "\
Every change is journalled before it runs. While the journal cannot be written (disk full, read only),
changes are refused; traffic goes on and a rollback to the verified revision still works."),
    ("CHG-07", "the change takes effect without a restart", "\
`workers`, `[admin]` and `access_log` are read at the start. A change of them is journalled and verified
with the rest of the revision, and does nothing until evenkeel is started again. Example: `workers = 4`
applied to a running instance with 2 workers; restart it to get 4."),
    ("CHG-08", "a deployment can be made", "\
`evenkeel deploy` moves the traffic of a pool from the one version that has it to another. It is refused
where no backend has the version, where the old version is not known (backends with weight of no version,
or of several others), where a deployment of the pool is under way or an incident of it is open, and where
something else shapes the same weights (`reported`, `subset`, versions on different levels of `priority`).
--force does not override this."),
    ("IMP-01", "a file of another balancer can be read", "\
The text breaks the grammar of haproxy.cfg, nginx.conf or YAML and JSON at this place, or is not UTF-8. That
balancer would not start with it either. Nothing is judged, because the rest would have to be guessed.

Example: an nginx block without its closing brace."),
    ("IMP-02", "every include can be opened", "\
A file that this one includes is missing, cannot be read, or includes itself. What it would say is unknown,
so nothing is judged. `--root DIR` maps absolute paths such as /etc/nginx into a copy.

Example: `include /etc/nginx/conf.d/*.conf;` checked on a machine without that directory."),
    ("IMP-03", "everything that bears on the spread is understood", "\
A directive, or a value of one, that the reader does not know, or whose effect does not stand in the file
(an address from a variable, members from a registry). It is listed and lowers the confidence of the
forecast. A warning where it may bend routing or shares, an info where it may bend limits or checks.

Example: members that Envoy gets from its control plane: their shares are not known."),
    ("IMP-04", "every name leads somewhere and every value is in its range", "\
What that balancer refuses at its start: a backend, upstream or cluster that does not exist, a name twice, a
value beyond its range. A warning where it starts all the same.

Example: `default_backend ap` beside `backend app`."),
    ("IMP-05", "the configuration keeps within what is read", "\
Bounds for hostile and mistaken input: 16 MiB a file, 64 MiB and 1,000 files in all, includes and blocks 64
deep, 100,000 backends. The finding names the bound. An error, unless only the list of findings is cut."),
    ("IMP-06", "what is written has its effect", "\
That balancer accepts the line and does nothing with it. A warning.

Example: `cookie` in a backend in TCP mode, or `http-check` without `option httpchk`."),
];

/// A waiver that no longer holds, or holds too long.
const RAN_OUT: Entry = ("AUD-01", "every waiver ends within a year, and has not ended", "\
`[[audit.waiver]]` accepts a finding until a day. Up to then the finding is an info with the reason and the
day; after it the finding counts again, and this warning says so. One that ends more than a year ahead is
warned about too: nobody knows by then why it was written.

Example: `until = \"2026-12-31\"` on 2 January 2027: `ran out a day ago`.");

/// A waiver without a finding.
const IDLE: Entry = ("AUD-02", "every waiver meets a finding", "\
A waiver whose rule finds nothing is a leftover. It does no harm today and would hide the finding if the
fault came back. Remove it. An info.");

const TOPICS: &[Entry] = &[
    ("algorithms", "how a backend is chosen", "\
round_robin    Smooth weighted round robin, the default. Each worker deals requests in proportion to
               weight, evenly interleaved; over any run of picks the shares are exact to a few requests.
               Shares are known beforehand, so that forecast and live test are sharp.
least_request  Two backends are drawn by weight and the one with fewer requests in flight relative to
               its weight gets the request. Slow backends get less. Shares follow the load: the
               forecast estimates them by simulation, and TRF-01 does not judge them. `choices` compares
               more (up to 10, or \"all\").
peak_ewma      Of two drawn by weight the one with the smaller answer time (by peaks) x requests in
               flight. A slow backend gets far less, one that fails fast never more.
prequal        Of half the pool (2 to 16, drawn by weight) the one that would answer soonest, passing
               over who holds unusually much. The shortest tail; weights count least. Backends can say
               how much they hold, in answers or to probes (`[pool.NAME.probe]`): for one of many balancers.
random         Weighted random. The same shares as round_robin, without its evenness from one request
               to the next.
maglev         By a key of the request that `hash` names: the same key goes to the same backend, on every
               worker and instance. Parts of the key space follow the weights to one of 65,537; when a
               backend leaves or comes about one key in a hundred moves besides those that must.
rendezvous     The same, with parts that stray by a hundredth among 3 backends and a tenth among 100, and no
               key moves but those of the backend that leaves, comes or changes its weight.
ring_hash      The same on a ring of points: parts stray as much, no key moves that need not.

Under the last three a request without the key falls by weight, and `bounded_load = 1.25` passes keys on
when their backend holds more than 1.25 times its part of what is in flight. Their picks are forced by
keys: they are shown, and no test of shares judges them."),
    ("intent", "how traffic should be spread", "\
even      the same to each backend: the default when a backend declares no capacity_rps.
capacity  in proportion to capacity_rps: the default when every backend declares it. Weights that are
          left out are derived from it.
weight    as the weights say.

Intent is the independent statement that weights are judged by, before a change (TRF-01) and on live
traffic after it. `tolerance` is the relative deviation that is still fine."),
    ("zones", "how much of its traffic the zone of this instance takes", "\
With `zone_aware = true` each zone keeps of the requests that come in there as much as its part of the
weight that can serve. What is left of the traffic goes to what is left of the backends, in proportion. All
instances reckon alike, so together they give each zone exactly its part, whoever is out.

local      the zone of this instance: `zone a: local, takes 67 %`.
standby    a backend of a zone that this instance does not need now.
origin     the part of all requests that comes in at a zone; alike unless `[pool.NAME.zone.ZONE]` says it.

Example: one backend in a, two in b, half of the requests each. The instance in a sends two thirds to its
zone and a third to b; the one in b sends all to b. Each backend gets a third of everything."),
    ("reported", "how the load that backends report shapes their weights", "\
With `[pool.NAME.reported]` a backend that says how utilised it is (header `endpoint-load-metrics`) has its
declared weight times a factor, once a period half the way to where all are utilised alike: answers by
utilisation, failures counted as utilisation.

min, max     what the factor keeps within: `reported load: 81 % utilised, 0.62 times its weight`.
none         it has not reported for `stale_after`, so it has its declared weight.
no more      it fails more than the others, or answers more 4xx: its factor does not rise, and sinks to 1.

Each failure beyond a backend's part is remembered until about a hundred good tries make up for it, so a
lucky period proves nothing. No factor more than doubles or halves in a period. What is intended is shaped
by the same factors, so a slip of a declared weight is found."),
    ("members", "backends that are found while a pool runs", "\
With `[pool.NAME.members]` a pool finds backends in a watched file (`file`), by DNS (`dns`, A and AAAA) or by
SRV records (`srv`). They are runtime state: no revision, and an apply or a rollback keeps them.

joins      at once; in a pool with a check after its first good check, which is made at once:
           `waits for its first good check: status 500`.
leaves     at most a third of the pool within 30 s, and never below `min_healthy`; the rest is held.
fails      a look that fails changes nothing: `status` shows the error, and the members before it stay."),
    ("drain", "how a backend is taken out for a while", "\
`evenkeel drain POOL/BACKEND --for 1h --reason TEXT` gives it no new clients; what is on its way is finished,
and clients with a sticky cookie stay. `undrain` or the deadline (1 h, at most 24 h) ends it.

It is judged like an apply: CHG-04 below `min_healthy`, CAP-01 where the others could not carry the peak.
`--wait` returns when nothing is in flight there. Drains outlive changes and restarts."),
    ("hedging", "a second backend for a slow request", "\
With `[pool.NAME.hedge]` a request that can do no harm twice and has no answer `after` a time or percentile is
sent to a second backend too, within `budget`. The first answer wins; a 5xx or 429 of the second does not.

The loser is `cancelled`: no failure, and in no response time. So a slow backend looks quick by its times;
its reason says how much others answered first: `31 % of its requests were answered by another backend`."),
    ("slow_start", "how a backend comes back", "\
With `slow_start = \"30s\"` a backend that comes back, joins or has a new address begins with 10 % of its
weight and gets the rest evenly, in at most ten steps: `slow start: 37 % of its weight`. It does not begin
when Evenkeel starts, nor where the pool fails open. Nothing is verified meanwhile; harm is watched."),
    ("probe", "how backends are asked what they hold, under prequal", "\
With `[pool.NAME.probe]` each worker asks backends drawn by weight, `rate` per request, for `path`; they
answer with `X-Prequal-RIF`, the requests that they hold. It counts for a second and serves a few picks.
Without it only the reports on answers count, and with fewer than two the balancer goes by its own counts.

Watch `evenkeel_probes_total`: `late` is a timeout too short or a busy backend, `silent` a missing field."),
    ("adaptive", "how the limit of a backend is found out", "\
With `adaptive = {}` the requests in flight at a backend are limited by what its response times say: does it
answer sooner when it holds half as many? If so they waited in it, and the limit sinks; if not it grows.

It starts at 8 and keeps within `min` and `max`. Only requests that find 0.8 of it in use count. From one
failure in ten on it does not grow, and whenever half of a hundred fail it is halved at once. `status --json`
shows it as `in_flight_limit`; what comes beyond goes to others, waits in `queue`, or is refused."),
    ("subset", "which backends an instance uses", "\
With `subset = { size = 20 }` an instance uses 20 backends of each level. They are dealt like cards by the
number at the end of `instance`: instances numbered in a row use every backend equally often, give or take
a few. Who is out is replaced by the next of the deck, and takes its place again when it is back. A backend
outside has share 0 and says `not in this instance's subset`: it is well, and other instances use it."),
];
