//! What a scenario means must be possible: names that exist, one action per step, values in their range.

use evenkeel_model::config::Config;
use evenkeel_model::finding::Severity;
use evenkeel_model::ids::{Name, RevisionId};

use super::needs::Stage;
use super::read::{Reader, offer};
use super::step::{Action, Step};
use super::{Expect, SCHEMA, Scenario, Span, Traffic};
use crate::registry::stocked;

mod action;

use action::action;

/// Longest run after the steady state.
pub const DURATION_MAX: Span = Span::secs(24 * 3_600);
/// Highest rate of a stream, requests per second.
pub const RATE_MAX: f64 = 100_000.0;
/// Most steps of a scenario.
pub const STEPS_MAX: usize = 200;
/// Most streams of a scenario, `users` included.
pub const STREAMS_MAX: usize = 16;
/// Most backends of a scenario's configuration.
pub const BACKENDS_MAX: usize = 1_000;

pub(super) fn check(scenario: &Scenario, reader: &mut Reader<'_>) {
    header(scenario, reader);
    for (feature, path) in scenario.features() {
        if !feature.exists(Stage::Sim) && !feature.exists(Stage::Live) {
            let message = format!("feature `{feature}` is not built in this version");
            reader.at(
                &path,
                message,
                "run the drill with a version that has it, or leave this out",
            );
        }
    }
    let Some(config) = config(scenario, reader) else {
        return;
    };
    let mut streams = vec![("traffic".to_owned(), &scenario.traffic)];
    streams.extend(
        scenario
            .stream
            .iter()
            .map(|(name, s)| (format!("stream.{name}"), s)),
    );
    for (path, stream) in streams {
        traffic(&path, stream, &config, reader);
    }
    for key in scenario.backend.keys() {
        let exists = key == "*"
            || config.pools.iter().any(|pool| {
                pool.backends
                    .iter()
                    .any(|b| b.name == key.as_str() || format!("{}/{}", pool.name, b.name) == *key)
            });
        if !exists {
            let names = backends(&config);
            let fix = offer(
                key,
                names.iter().map(String::as_str).chain(["*"]),
                "the backends are",
            );
            reader.at(
                &format!("backend.{key}"),
                format!("no backend `{key}` in the configuration"),
                fix,
            );
        }
    }
    for (index, step) in scenario.step.iter().enumerate() {
        self::step(scenario, index, step, &config, reader);
    }
    if scenario
        .step
        .iter()
        .filter(|step| step.injects == Some(true))
        .count()
        > 1
    {
        reader.at(
            "step",
            "more than one step says `injects = true`".to_owned(),
            "times run from one fault: mark one",
        );
    }
    expect(scenario, &scenario.expect, reader);
}

fn header(scenario: &Scenario, reader: &mut Reader<'_>) {
    if scenario.schema != SCHEMA {
        let message = format!(
            "`schema` is {}, this version reads {SCHEMA}",
            scenario.schema
        );
        reader.at("schema", message, format!("write `schema = {SCHEMA}`"));
    }
    if let Err(error) = Name::new(&scenario.name) {
        reader.at(
            "name",
            error.to_string(),
            "write a short name such as `weight-typo`",
        );
    }
    if scenario.duration.0.is_zero() || scenario.duration > DURATION_MAX {
        let message = format!(
            "`duration` must be above 0 and at most {DURATION_MAX}, got {}",
            scenario.duration
        );
        reader.at("duration", message, "write `duration = \"60s\"`");
    }
    if scenario.steady.within < scenario.steady.hold || scenario.steady.within > DURATION_MAX {
        let message = format!(
            "`steady.within` must be at least `steady.hold` ({}) and at most {DURATION_MAX}",
            scenario.steady.hold
        );
        reader.at("steady", message, "give it time");
    }
    if scenario
        .pass_share
        .is_some_and(|share| !(share > 0.0 && share <= 1.0))
    {
        reader.at(
            "pass_share",
            "`pass_share` must be above 0 and at most 1".to_owned(),
            "write `pass_share = 0.8`",
        );
    }
    if scenario.step.len() > STEPS_MAX {
        reader.at(
            "step",
            format!("a scenario has at most {STEPS_MAX} steps"),
            "split it",
        );
    }
    if scenario.stream.len() >= STREAMS_MAX {
        reader.at(
            "stream",
            format!("a scenario has at most {STREAMS_MAX} streams"),
            "join some of them",
        );
    }
}

fn config(scenario: &Scenario, reader: &mut Reader<'_>) -> Option<Config> {
    let Some(text) = &scenario.config.text else {
        reader.at(
            "config",
            "`config` needs `text` or `file`".to_owned(),
            "write the configuration into `text = '''...'''`",
        );
        return None;
    };
    let parsed = evenkeel_model::parse::parse(text, None);
    for finding in parsed
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
    {
        let span = finding
            .location
            .as_ref()
            .map_or(0..0, |place| place.span.clone());
        let message = match (&scenario.config.file, &finding.location) {
            (Some(file), Some(place)) => format!(
                "{} {file}:{}:{}: {}",
                finding.id, place.line, place.column, finding.message
            ),
            _ => format!("{} {}", finding.id, finding.message),
        };
        let path = if scenario.config.file.is_some() {
            "config.file"
        } else {
            "config.text"
        };
        reader.inside(path, text, span, message, finding.fix.clone());
    }
    let config = members(scenario, &parsed.config?, reader)?;
    let count: usize = config.pools.iter().map(|pool| pool.backends.len()).sum();
    if count > BACKENDS_MAX {
        reader.at(
            "config",
            format!("a scenario has at most {BACKENDS_MAX} backends, got {count}"),
            "use fewer",
        );
    }
    if config.listeners.is_empty() {
        reader.at(
            "config",
            "the configuration has no listener".to_owned(),
            "add `[listener.web]` and a `[[route]]`",
        );
    }
    Some(config)
}

/// The configuration with everybody that discovery may name.
fn members(scenario: &Scenario, config: &Config, reader: &mut Reader<'_>) -> Option<Config> {
    let mut is_whole = true;
    for key in scenario.member.keys() {
        let at = format!("member.{key}");
        let Some((of, _)) = key.split_once('/') else {
            is_whole = false;
            reader.at(
                &at,
                format!("`{key}` is not POOL/NAME"),
                "write `[member.\"shop/web-4\"]`",
            );
            continue;
        };
        is_whole &= finds(&at, of, config, reader);
    }
    if !is_whole {
        return None;
    }
    match stocked(scenario, config) {
        Ok(config) => Some(config),
        Err((pool, why)) => {
            let fix = "see `member` in docs/guide/drills.md";
            reader.at(
                "member",
                format!("the members of pool `{pool}`: {why}"),
                fix,
            );
            None
        }
    }
}

/// Whether there is a pool `name` that finds its members.
fn finds(at: &str, name: &str, config: &Config, reader: &mut Reader<'_>) -> bool {
    let found = pool(at, name, config, reader);
    let finds = config.pool(name).is_some_and(|pool| pool.members.is_some());
    if found && !finds {
        let fix = format!(
            "give the configuration `[pool.{name}.members]` with `file = \"members.toml\"`"
        );
        reader.at(at, format!("pool `{name}` does not find its members"), fix);
    }
    finds
}

fn traffic(path: &str, traffic: &Traffic, config: &Config, reader: &mut Reader<'_>) {
    let rates = std::iter::once((format!("{path}.rate"), traffic.rate));
    let changes = traffic
        .change
        .iter()
        .enumerate()
        .map(|(i, c)| (format!("{path}.change.{i}.rate"), c.rate));
    for (path, rate) in rates.chain(changes) {
        in_range(&path, rate, 0.0, RATE_MAX, reader);
    }
    in_range(
        &format!("{path}.clients"),
        f64::from(traffic.clients),
        1.0,
        1e6,
        reader,
    );
    in_range(
        &format!("{path}.client_skew"),
        traffic.client_skew,
        0.0,
        10.0,
        reader,
    );
    in_range(
        &format!("{path}.requests_per_connection"),
        f64::from(traffic.requests_per_connection),
        1.0,
        1e9,
        reader,
    );
    in_range(
        &format!("{path}.retries"),
        f64::from(traffic.retries),
        0.0,
        15.0,
        reader,
    );
    in_range(
        &format!("{path}.retry_backoff"),
        traffic.retry_backoff,
        1.0,
        100.0,
        reader,
    );
    if let Some(name) = &traffic.listener
        && config.listener(name).is_none()
    {
        let fix = offer(
            name,
            config.listeners.iter().map(|l| l.name.as_str()),
            "the listeners are",
        );
        reader.at(
            &format!("{path}.listener"),
            format!("no listener `{name}` in the configuration"),
            fix,
        );
    }
    requests(path, traffic, reader);
}

fn requests(path: &str, traffic: &Traffic, reader: &mut Reader<'_>) {
    for (index, request) in traffic.request.iter().enumerate() {
        let at = format!("{path}.request.{index}");
        in_range(&format!("{at}.weight"), request.weight, 0.0, 1e6, reader);
        in_range(&format!("{at}.cost"), request.cost, 0.0, 1e6, reader);
        if !request.path.starts_with('/') {
            reader.at(
                &format!("{at}.path"),
                format!("`{}` does not begin with `/`", request.path),
                "write a path such as `/cart`",
            );
        }
        if let Some(status) = request.answer {
            in_range(
                &format!("{at}.answer"),
                f64::from(status),
                200.0,
                599.0,
                reader,
            );
        }
    }
    if !traffic.request.is_empty() && traffic.request.iter().all(|r| r.weight <= 0.0) {
        reader.at(
            &format!("{path}.request"),
            "no request has a weight above 0".to_owned(),
            "give one a weight",
        );
    }
}

fn step(scenario: &Scenario, index: usize, step: &Step, config: &Config, reader: &mut Reader<'_>) {
    let at = format!("step.{index}");
    let actions = step.actions();
    if actions.len() != 1 {
        let words: Vec<&str> = actions.iter().map(Action::word).collect();
        let got = if words.is_empty() {
            "none".to_owned()
        } else {
            words.join(", ")
        };
        reader.at(
            &at,
            format!("a step has exactly one action, got {got}"),
            "write one `[[step]]` per action",
        );
    }
    match (step.at, step.after) {
        (Some(time), None) if time > scenario.duration => {
            let message = format!(
                "`at = \"{time}\"` is after the end of the run (`duration` {})",
                scenario.duration
            );
            reader.at(&format!("{at}.at"), message, "make `duration` longer");
        }
        (Some(_), None) | (None, Some(_)) => {}
        _ => reader.at(
            &at,
            "a step says either `at` or `after`".to_owned(),
            "write `at = \"10s\"` or `after = \"detected\"`",
        ),
    }
    if step.delay.is_some() && step.after.is_none() {
        reader.at(
            &format!("{at}.delay"),
            "`delay` counts from `after`".to_owned(),
            "put the time into `at`",
        );
    }
    for said in actions {
        action(
            scenario,
            &format!("{at}.{}", said.word()),
            said,
            config,
            reader,
        );
    }
}

fn one_source(at: &str, edits: bool, whole: bool, reader: &mut Reader<'_>) {
    if edits == whole {
        let message =
            "the change is said by `set`/`unset` or by a whole configuration, one of both"
                .to_owned();
        reader.at(
            at,
            message,
            "write `set = { \"pool.shop.backend.web-1.weight\" = 10 }`",
        );
    }
}

fn revision(at: &str, text: &str, reader: &mut Reader<'_>) {
    if let Err(error) = text.parse::<RevisionId>() {
        reader.at(at, error.to_string(), "write a revision such as `r1`");
    }
}

fn pool(at: &str, name: &str, config: &Config, reader: &mut Reader<'_>) -> bool {
    let found = config.pool(name).is_some();
    if !found {
        let fix = offer(
            name,
            config.pools.iter().map(|p| p.name.as_str()),
            "the pools are",
        );
        reader.at(at, format!("no pool `{name}` in the configuration"), fix);
    }
    found
}

fn listed(at: &str, names: &[String], config: &Config, reader: &mut Reader<'_>) {
    if names.is_empty() {
        reader.at(
            at,
            "no backend is named".to_owned(),
            "write `backends = [\"shop/web-1\"]`",
        );
    }
    known(at, names, config, reader);
}

fn known(at: &str, names: &[String], config: &Config, reader: &mut Reader<'_>) {
    let all = backends(config);
    for (index, name) in names
        .iter()
        .enumerate()
        .filter(|(_, name)| !all.contains(name))
    {
        let fix = offer(name, all.iter().map(String::as_str), "the backends are");
        reader.at(
            &format!("{at}.{index}"),
            format!("no backend `{name}` in the configuration"),
            fix,
        );
    }
}

/// Every backend as `POOL/NAME`.
fn backends(config: &Config) -> Vec<String> {
    let pools = config.pools.iter();
    pools
        .flat_map(|pool| {
            pool.backends
                .iter()
                .map(|b| format!("{}/{}", pool.name, b.name))
        })
        .collect()
}

fn in_range(at: &str, value: f64, low: f64, high: f64, reader: &mut Reader<'_>) {
    if !(low..=high).contains(&value) {
        let key = at.rsplit('.').next().unwrap_or(at);
        reader.at(
            at,
            format!("`{key}` must be {low} to {high}, got {value}"),
            "put it into that range",
        );
    }
}

fn expect(scenario: &Scenario, expect: &Expect, reader: &mut Reader<'_>) {
    let timed = [
        ("detect_within", expect.detect_within.is_some()),
        ("cause", expect.cause.is_some()),
        ("mechanism", expect.mechanism.is_some()),
        ("subject", expect.subject.is_some()),
        ("restored_within", expect.restored_within.is_some()),
    ];
    for (key, there) in timed {
        if there && expect.silent {
            reader.at(
                &format!("expect.{key}"),
                format!("a silent drill has no `{key}`"),
                "take out `silent` or this",
            );
        } else if there && scenario.injected().is_none() {
            reader.at(
                &format!("expect.{key}"),
                "no step injects a fault that times could run from".to_owned(),
                "mark a step with `injects = true`",
            );
        }
    }
    if let Some(running) = &expect.running {
        revision("expect.running", running, reader);
    }
    if let Some(subject) = &expect.subject {
        let kinds = [
            "revision",
            "deployment",
            "backend",
            "pool",
            "zone",
            "key",
            "listener",
        ];
        let kind = subject.split(':').next().unwrap_or("");
        let whole = subject == "revision" || (subject.contains(':') && kinds.contains(&kind));
        if !whole {
            reader.at(
                "expect.subject",
                format!("`{subject}` is not a subject"),
                "write `revision`, or kind and name such as `backend:shop/web-1`",
            );
        }
    }
}
