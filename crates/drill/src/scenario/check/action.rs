//! Actions of steps: what they name exists, their numbers are in range, and they do something.

use evenkeel_guard::rollout::{STEP_LEAST, STEP_MIN_MAX};
use evenkeel_model::config::Config;
use evenkeel_model::ids::Name;

use super::{RATE_MAX, finds, in_range, known, listed, one_source, pool, revision};
use crate::scenario::read::{Reader, offer};
use crate::scenario::step::{
    Action, BackendFault, DependencyFault, Deploy, Discovery, HealthWord, NetworkFault, TrafficStep,
};
use crate::scenario::{Scenario, USERS};

pub(super) fn action(
    scenario: &Scenario,
    at: &str,
    action: Action<'_>,
    config: &Config,
    reader: &mut Reader<'_>,
) {
    let whole = |text: &Option<String>, file: &Option<String>| text.is_some() || file.is_some();
    match action {
        Action::Apply(apply) => {
            let edits = !apply.set.is_empty() || !apply.unset.is_empty();
            one_source(at, edits, whole(&apply.text, &apply.file), reader);
        }
        Action::EditOutside(edit) => {
            let edits = !edit.set.is_empty() || !edit.unset.is_empty();
            one_source(at, edits, edit.text.is_some(), reader);
        }
        Action::Rollback(rollback) => {
            if let Some(to) = &rollback.to {
                revision(&format!("{at}.to"), to, reader);
            }
        }
        Action::StalePush(push) => revision(&format!("{at}.revision"), &push.revision, reader),
        Action::Deploy(deploy) => self::deploy(at, deploy, config, reader),
        Action::DeploySteps(deploy) => {
            factor(at, deploy.slow_factor, reader);
            version(at, &deploy.version, reader);
            pool(&format!("{at}.pool"), &deploy.pool, config, reader);
            let (least, most) = (STEP_LEAST.as_secs_f64(), STEP_MIN_MAX.as_secs_f64());
            let step_min = deploy.step_min.seconds();
            in_range(&format!("{at}.step_min"), step_min, least, most, reader);
        }
        Action::BackendFault(fault) => backend_fault(at, fault, config, reader),
        Action::DependencyFault(fault) => dependency(at, fault, config, reader),
        Action::NetworkFault(fault) => network(at, fault, config, reader),
        Action::Traffic(change) => traffic(scenario, at, change, reader),
        Action::Drain(drain) => {
            listed(&format!("{at}.backends"), &drain.backends, config, reader);
            if let Some(lasts) = drain.lasts {
                let most = evenkeel_guard::DRAIN_MAX.as_secs_f64();
                let at = format!("{at}.for");
                in_range(&at, lasts.0.as_secs_f64(), 1.0, most, reader);
            }
        }
        Action::Undrain(undrain) => {
            listed(&format!("{at}.backends"), &undrain.backends, config, reader);
        }
        Action::Discovery(change) => discovery(at, change, config, reader),
        Action::Confirm(_)
        | Action::Certificate(_)
        | Action::JournalFault(_)
        | Action::Restart(_)
        | Action::Operator(_) => {}
    }
}

fn factor(at: &str, factor: f64, reader: &mut Reader<'_>) {
    in_range(&format!("{at}.slow_factor"), factor, 0.01, 1e6, reader);
}

/// A fault without any effect is a forgotten key.
fn nothing(at: &str, keys: &str, reader: &mut Reader<'_>) {
    let message = "nothing is wrong in this fault".to_owned();
    reader.at(at, message, format!("say what is: {keys}"));
}

fn version(at: &str, version: &str, reader: &mut Reader<'_>) {
    if let Err(error) = Name::new(version) {
        let fix = "write a version such as `v2`";
        reader.at(&format!("{at}.version"), error.to_string(), fix);
    }
}

fn deploy(at: &str, deploy: &Deploy, config: &Config, reader: &mut Reader<'_>) {
    factor(at, deploy.slow_factor, reader);
    version(at, &deploy.version, reader);
    if pool(&format!("{at}.pool"), &deploy.pool, config, reader) {
        let backends = deploy.backends.iter();
        let names: Vec<String> = backends.map(|b| format!("{}/{b}", deploy.pool)).collect();
        known(&format!("{at}.backends"), &names, config, reader);
    }
}

fn backend_fault(at: &str, fault: &BackendFault, config: &Config, reader: &mut Reader<'_>) {
    factor(at, fault.slow_factor, reader);
    listed(&format!("{at}.backends"), &fault.backends, config, reader);
    if let Some(status) = fault.fails_fast {
        let status = f64::from(status);
        in_range(&format!("{at}.fails_fast"), status, 400.0, 599.0, reader);
    }
    let is_wrong = (fault.slow_factor - 1.0).abs() > f64::EPSILON
        || !fault.extra_latency.0.is_zero()
        || fault.error_rate.0 > 0.0
        || fault.fails_fast.is_some()
        || fault.refuses
        || fault.hangs
        || fault.flaps.is_some()
        || fault.restarts.is_some()
        || fault.health == HealthWord::Fails
        || fault.health_flaps.is_some();
    if !is_wrong {
        let keys = "slow_factor, extra_latency, error_rate, fails_fast, refuses, hangs, flaps, restarts, health, health_flaps";
        nothing(at, keys, reader);
    }
}

fn dependency(at: &str, fault: &DependencyFault, config: &Config, reader: &mut Reader<'_>) {
    factor(at, fault.slow_factor, reader);
    pool(&format!("{at}.pool"), &fault.pool, config, reader);
    let is_wrong = (fault.slow_factor - 1.0).abs() > f64::EPSILON
        || !fault.extra_latency.0.is_zero()
        || fault.error_rate.0 > 0.0;
    if !is_wrong {
        nothing(at, "slow_factor, extra_latency, error_rate", reader);
    }
}

fn discovery(at: &str, change: &Discovery, config: &Config, reader: &mut Reader<'_>) {
    if !finds(&format!("{at}.pool"), &change.pool, config, reader) {
        return;
    }
    let of_pool = |name: &String| format!("{}/{name}", change.pool);
    for (key, names) in [("add", &change.add), ("remove", &change.remove)] {
        let names: Vec<String> = names.iter().map(of_pool).collect();
        known(&format!("{at}.{key}"), &names, config, reader);
    }
    let backends = config.pool(&change.pool).map(|pool| &pool.backends);
    let declared = backends.into_iter().flatten().filter(|b| !b.discovered);
    for backend in declared {
        let is_it = |name: &String| backend.name == name.as_str();
        if change.add.iter().chain(&change.remove).any(is_it) {
            let message = format!("`{}` is a backend of the configuration", backend.name);
            let fix = "discovery names members only; write `apply` to change the configuration";
            reader.at(at, message, fix);
        }
    }
}

fn network(at: &str, fault: &NetworkFault, config: &Config, reader: &mut Reader<'_>) {
    match (&fault.zone, fault.backends.is_empty()) {
        (Some(zone), true) => {
            let backends = || config.pools.iter().flat_map(|pool| &pool.backends);
            let zones = || backends().filter_map(|b| b.zone.as_ref()).map(Name::as_str);
            if !zones().any(|known| known == zone) {
                let message = format!("no backend stands in zone `{zone}`");
                let fix = offer(zone, zones(), "the zones are");
                reader.at(&format!("{at}.zone"), message, fix);
            }
        }
        (None, false) => listed(&format!("{at}.backends"), &fault.backends, config, reader),
        _ => {
            let message = "a network fault names either `backends` or `zone`".to_owned();
            reader.at(at, message, "keep one of them");
        }
    }
    if fault.latency.0.is_zero() && fault.loss.0 <= 0.0 && !fault.refuses {
        nothing(at, "latency, loss, refuses", reader);
    }
}

fn traffic(scenario: &Scenario, at: &str, change: &TrafficStep, reader: &mut Reader<'_>) {
    let name = change.stream.as_deref().unwrap_or(USERS);
    if name != USERS && !scenario.stream.contains_key(name) {
        let streams = scenario.streams().map(|(name, _)| name);
        let fix = offer(name, streams, "the streams are");
        reader.at(&format!("{at}.stream"), format!("no stream `{name}`"), fix);
    }
    if change.rate.is_some() && change.factor.is_some() {
        let message = "`rate` and `factor` exclude each other".to_owned();
        reader.at(at, message, "keep one of them");
    }
    let (rate, factor, skew) = (change.rate, change.factor, change.client_skew);
    let value = |v: Option<f64>| v.unwrap_or(0.0);
    in_range(&format!("{at}.rate"), value(rate), 0.0, RATE_MAX, reader);
    in_range(&format!("{at}.factor"), value(factor), 0.0, 1e3, reader);
    in_range(&format!("{at}.client_skew"), value(skew), 0.0, 10.0, reader);
    if rate.or(factor).or(skew).is_none() && change.retries.or(change.key_skew.map(|_| 0)).is_none()
    {
        nothing(at, "rate, factor, client_skew, retries", reader);
    }
}
