//! Where a live drill happens: instance, backends and load, and what becomes of a configuration there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_control::{Handle, Options, boot};
use evenkeel_guard::GuardView;
use evenkeel_model::canonical::to_toml;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Address, Config, Objective, Pool, Session};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_shop::capacity::{Capacity, ColdStart, Distribution, Overflow};
use evenkeel_shop::load::{self, Item, KeyHeader, LoadHandle, LoadOptions, Mix};
use evenkeel_shop::server::ServerHandle;
use evenkeel_shop::stub::{StubOptions, StubRoute, spawn_stub};
use tokio::sync::oneshot;
use toml::{Table, Value};

use super::{Clock, GRAIN, RATE_PER_CORE, members};
use crate::dial::{Dial, Turn};
use crate::referee::{Counted, Seen};
use crate::registry::{Registry, stocked};
use crate::scenario::{self, Request, Scenario, Traffic};
use crate::sim::behaviour;

/// Longest start of the instance.
const START_MAX: Duration = Duration::from_secs(10);
/// Most client connections that one stream keeps.
const CONNECTIONS: u32 = 200;
/// Most source addresses that one stream uses.
const SOURCES: u32 = 200;
/// A client without patience waits this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way from one rate to another.
#[derive(Debug, Clone)]
pub(super) struct Ramp {
    pub(super) stream: String,
    pub(super) at: Mono,
    pub(super) over: Duration,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// What a stream goes back to.
#[derive(Debug, Clone)]
pub(super) struct Back {
    pub(super) at: Mono,
    pub(super) stream: String,
    pub(super) turn: Turn,
}

pub(super) struct Place<'s> {
    pub(super) scenario: &'s Scenario,
    seed: u64,
    /// Rates and capacities relative to the scenario.
    pub(super) scale: f64,
    notes: Vec<String>,
    pub(super) stubs: BTreeMap<(Name, Name), ServerHandle>,
    health_paths: Vec<String>,
    pub(super) loads: BTreeMap<String, LoadHandle>,
    pub(super) dials: BTreeMap<String, Dial>,
    pub(super) ramps: Vec<Ramp>,
    pub(super) backs: Vec<Back>,
    waiting: Vec<(Mono, String)>,
    listeners: BTreeMap<Name, SocketAddr>,
    pub(super) handle: Handle,
    /// The configuration of each revision as the scenario means it: placeholders, unscaled.
    pub(super) meant: BTreeMap<RevisionId, Arc<Config>>,
    before: BTreeMap<Name, Seen>,
    stop: Option<oneshot::Sender<()>>,
    instance: Option<JoinHandle<()>>,
    /// What discovery names, by pool that finds its members.
    pub(super) registries: BTreeMap<Name, Registry>,
    /// Removed with the place.
    pub(super) directory: tempfile::TempDir,
}

impl<'s> Place<'s> {
    /// Starts backends, instance and load.
    pub(super) fn open(scenario: &'s Scenario, seed: u64) -> Result<Self, String> {
        let text = scenario.config.text.as_deref().unwrap_or("");
        let config = evenkeel_model::parse::parse(text, None).config;
        let config = Arc::new(config.ok_or("the configuration is not valid")?);
        let (scale, mut notes) = scale(scenario);
        let health_paths = health_paths(scenario, &config);
        let mut stubs = BTreeMap::new();
        let everybody =
            stocked(scenario, &config).map_err(|(pool, why)| format!("{pool}: {why}"))?;
        for pool in &everybody.pools {
            for index in 0..pool.backends.len() {
                start_stub(
                    scenario,
                    pool,
                    index,
                    scale,
                    seed,
                    &health_paths,
                    &mut stubs,
                )?;
            }
        }
        let directory = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        let registries = Registry::all(scenario, &config);
        for registry in &registries {
            members::write(directory.path(), registry, &stubs, scale)?;
        }
        let (text, left_out) = localised(&config, scale, &stubs, directory.path())?;
        notes.extend(left_out);
        let file = directory.path().join("evenkeel.toml");
        std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        let (handle, listeners, stop, instance) = start(file, directory.path().join("data"), seed)?;
        let mut place = Self {
            scenario,
            seed,
            scale,
            notes,
            stubs,
            health_paths,
            loads: BTreeMap::new(),
            dials: BTreeMap::new(),
            ramps: Vec::new(),
            backs: Vec::new(),
            waiting: Vec::new(),
            listeners,
            handle,
            meant: BTreeMap::from([(RevisionId(1), Arc::clone(&config))]),
            before: BTreeMap::new(),
            stop: Some(stop),
            instance: Some(instance),
            registries,
            directory,
        };
        for (name, traffic) in scenario.streams() {
            place.dials.insert(name.to_owned(), Dial::of(traffic));
            if traffic.start.is_none() {
                place.start_load(name, traffic)?;
            }
        }
        Ok(place)
    }

    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The steady state was reached: what the scenario says by time from now on.
    pub(super) fn begin(&mut self, zero: Mono) {
        for (name, traffic) in self.scenario.streams() {
            if let Some(start) = traffic.start {
                self.waiting.push((zero.plus(start.0), name.to_owned()));
            }
            let mut from = traffic.rate;
            for change in &traffic.change {
                self.ramps.push(Ramp {
                    stream: name.to_owned(),
                    at: zero.plus(change.at.0),
                    over: change.over.0,
                    from,
                    to: change.rate,
                });
                from = change.rate;
            }
        }
    }

    /// Waits until `until` while rates follow their ways. False: interrupted.
    pub(super) async fn wait(&mut self, clock: &Clock, until: Mono) -> bool {
        loop {
            let now = clock.now();
            self.follow(now);
            if now >= until {
                return true;
            }
            let pause = until.since(now).min(GRAIN);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = tokio::signal::ctrl_c() => return false,
            }
        }
    }

    fn follow(&mut self, now: Mono) {
        let (begun, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.waiting = later;
        for (_, name) in begun {
            if let Some(traffic) = self.traffic(&name)
                && let Err(why) = self.start_load(&name, traffic)
            {
                tracing::error!(why, stream = name, "a stream did not start");
            }
        }
        let ramps = std::mem::take(&mut self.ramps);
        for ramp in ramps {
            if now < ramp.at {
                self.ramps.push(ramp);
                continue;
            }
            let gone = now.since(ramp.at).as_secs_f64();
            let over = ramp.over.as_secs_f64();
            let part = if over > 0.0 {
                (gone / over).min(1.0)
            } else {
                1.0
            };
            self.set_rate(&ramp.stream, ramp.from + (ramp.to - ramp.from) * part);
            if part < 1.0 {
                self.ramps.push(ramp);
            }
        }
        let (over, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.backs)
            .into_iter()
            .partition(|back| back.at <= now);
        self.backs = later;
        for back in over {
            if let Some(rate) = back.turn.rate {
                self.set_rate(&back.stream, rate);
            }
            self.turn(&back.stream, back.turn);
        }
    }

    pub(super) fn set_rate(&mut self, stream: &str, rate: f64) {
        if let Some(dial) = self.dials.get_mut(stream) {
            dial.rate = rate;
        }
        if let Some(load) = self.loads.get(stream) {
            load.set_rate(rate * self.scale);
        }
    }

    /// Turns everything of a stream but its rate.
    pub(super) fn turn(&mut self, stream: &str, turn: Turn) {
        let key = self.traffic(stream).and_then(key);
        let (Some(dial), Some(load)) = (self.dials.get_mut(stream), self.loads.get(stream)) else {
            return;
        };
        dial.take(turn);
        if let Some(skew) = turn.skew {
            load.set_session_skew(skew);
        }
        if let (Some(skew), Some(key)) = (turn.key_skew, key)
            && let Err(error) = load.set_key(Some(KeyHeader { skew, ..key }))
        {
            tracing::error!(%error, stream, "the keys keep their skew");
        }
        if let Some(retries) = turn.retries {
            load.set_retries(u32::from(retries));
        }
    }

    pub(super) fn traffic(&self, name: &str) -> Option<&'s Traffic> {
        self.scenario
            .streams()
            .find(|(n, _)| *n == name)
            .map(|(_, t)| t)
    }

    fn start_load(&mut self, name: &str, traffic: &Traffic) -> Result<(), String> {
        let config = self.meant.values().next_back().ok_or("no configuration")?;
        let listener = match &traffic.listener {
            Some(listener) => config.listener(listener),
            None => config.listeners.first(),
        };
        let listener = listener.ok_or("no such listener")?;
        let target = self
            .listeners
            .get(&listener.name)
            .ok_or("the listener has no address")?;
        let pool = config
            .routes
            .iter()
            .filter(|route| route.listener == listener.name)
            .find_map(|route| config.pool(route.target.pool()?.as_str()));
        let session_cookie = pool.and_then(|pool| match &pool.session {
            Session::Cookie(cookie) => Some(cookie.clone()),
            // Who keeps a cookie of the balancer is somebody, whatever the pool knows users by.
            Session::ClientAddress => pool.affinity.sticky.as_ref().map(|_| "user".to_owned()),
        });
        let connections = traffic.clients.clamp(1, CONNECTIONS);
        let index = self.loads.len() as u64;
        let options = LoadOptions {
            target: format!("http://{target}"),
            rate: traffic.rate * self.scale,
            profile: Vec::new(),
            duration: None,
            seed: self.seed.wrapping_mul(31).wrapping_add(index),
            mix: Mix::Items(items(&traffic.request)),
            sessions: traffic.clients,
            session_skew: traffic.client_skew,
            session_cookie,
            key: key(traffic),
            connections,
            connections_max: connections * 4,
            requests_per_connection: Some(traffic.requests_per_connection.max(1)),
            timeout: traffic.patience.map_or(PATIENCE, |p| p.0),
            retries: u32::from(traffic.retries),
            retry_backoff: traffic.retry_delay.0,
            objective: pool.map_or(Duration::from_millis(500), |pool| pool.objective.p99),
            source_addresses: connections.min(SOURCES),
            ..LoadOptions::default()
        };
        let load = load::start(options).map_err(|e| format!("stream `{name}`: {e}"))?;
        self.loads.insert(name.to_owned(), load);
        Ok(())
    }

    /// What the guard published last.
    pub(super) fn view(&self) -> Option<GuardView> {
        self.handle.view()
    }

    /// What became of requests since the last call, by pool, as the data plane counted it.
    pub(super) fn seen(&mut self) -> Vec<(Objective, Seen)> {
        let published = self.handle.published();
        let mut seen = Vec::new();
        for (name, pool) in &published.pools {
            let mut all = Seen {
                ended: pool.unpicked,
                failed: pool.unpicked,
                slow: 0,
            };
            for backend in pool.backends.values() {
                all.ended += backend.outcomes.total() - backend.outcomes.unknown();
                all.failed += backend.harmed - backend.slow;
                all.slow += backend.slow;
            }
            let old = self.before.insert(name.clone(), all).unwrap_or_default();
            if let Some(configured) = published.config.pool(name.as_str()) {
                let new = Seen {
                    ended: all.ended.saturating_sub(old.ended),
                    failed: all.failed.saturating_sub(old.failed),
                    slow: all.slow.saturating_sub(old.slow),
                };
                seen.push((configured.objective, new));
            }
        }
        seen
    }

    /// Requests so far, as the clients saw them.
    pub(super) fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for load in self.loads.values() {
            let total = load.total();
            counted.requests += total.ended();
            counted.failed += total.failed() + total.server_error;
            counted.harmed += total.harmed;
        }
        counted
    }

    /// A configuration of the scenario as it runs here: real addresses, scaled. Backends that are new are started.
    pub(super) fn localise(&mut self, config: &Config) -> Result<String, String> {
        for pool in &config.pools {
            for index in 0..pool.backends.len() {
                start_stub(
                    self.scenario,
                    pool,
                    index,
                    self.scale,
                    self.seed,
                    &self.health_paths,
                    &mut self.stubs,
                )?;
            }
        }
        let (text, notes) = localised(config, self.scale, &self.stubs, self.directory.path())?;
        self.notes.extend(notes);
        Ok(text)
    }

    /// Ends everything that was started.
    pub(super) async fn close(&mut self) {
        self.loads.clear();
        if let Some(stop) = self.stop.take()
            && stop.send(()).is_err()
        {
            tracing::debug!("the instance had ended");
        }
        if let Some(instance) = self.instance.take() {
            let joined = tokio::task::spawn_blocking(move || instance.join().is_ok()).await;
            if !matches!(joined, Ok(true)) {
                tracing::error!("the instance did not end well");
            }
        }
        self.stubs.clear();
    }
}

/// How much of the rates this machine is trusted with.
fn scale(scenario: &Scenario) -> (f64, Vec<String>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = RATE_PER_CORE * cores as f64;
    let mut peak: f64 = 0.0;
    let mut users: f64 = 0.0;
    for (name, traffic) in scenario.streams() {
        let highest = traffic
            .change
            .iter()
            .map(|c| c.rate)
            .fold(traffic.rate, f64::max);
        let steps = scenario
            .step
            .iter()
            .filter_map(|step| step.traffic.as_ref());
        let steps = steps.filter(|s| s.stream.as_deref().unwrap_or(scenario::USERS) == name);
        let stepped = steps.map(|s| s.rate.unwrap_or(traffic.rate * s.factor.unwrap_or(1.0)));
        peak += stepped.fold(highest, f64::max);
        users += traffic.rate;
    }
    if peak <= most || peak <= 0.0 {
        return (1.0, Vec::new());
    }
    let scale = most / peak;
    let note = format!(
        "rates and capacities are scaled by {scale:.2}: {users:.0} requests per second in the scenario are {:.0} here",
        users * scale
    );
    (scale, vec![note])
}

/// Every path at which a configuration of the scenario may check health.
fn health_paths(scenario: &Scenario, config: &Config) -> Vec<String> {
    let mut paths: Vec<String> = config
        .pools
        .iter()
        .filter_map(|pool| Some(pool.health.as_ref()?.http()?.path.clone()))
        .collect();
    for apply in scenario.step.iter().filter_map(|step| step.apply.as_ref()) {
        let set = apply
            .set
            .iter()
            .filter(|(path, _)| path.ends_with("health.path"));
        paths.extend(set.filter_map(|(_, value)| value.as_str().map(str::to_owned)));
        let whole = apply
            .text
            .as_ref()
            .and_then(|text| evenkeel_model::parse::parse(text, None).config);
        for pool in whole.iter().flat_map(|config| &config.pools) {
            let http = pool.health.as_ref().and_then(|health| health.http());
            paths.extend(http.map(|http| http.path.clone()));
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

fn start_stub(
    scenario: &Scenario,
    pool: &Pool,
    index: usize,
    scale: f64,
    seed: u64,
    health_paths: &[String],
    stubs: &mut BTreeMap<(Name, Name), ServerHandle>,
) -> Result<(), String> {
    let Some(backend) = pool.backends.get(index) else {
        return Ok(());
    };
    let key = (pool.name.clone(), backend.name.clone());
    if stubs.contains_key(&key) {
        return Ok(());
    }
    let said = scenario.behaviour(pool.name.as_str(), backend.name.as_str());
    let default = scenario::Backend::default();
    let model = said.unwrap_or(&default);
    let (slots, service) = behaviour::slots(said, backend.capacity_rps);
    let workers = (f64::from(slots) * scale).round().clamp(1.0, 10_000.0);
    // Rounded slots would change the capacity; the service time makes up for it.
    let exact = workers / (f64::from(slots) * scale);
    let mut routes = routes(scenario);
    let health_path = health_path(model, health_paths, &mut routes);
    let options = StubOptions {
        name: backend.name.to_string(),
        version: backend
            .version
            .as_ref()
            .map_or("v1", |v| v.as_str())
            .to_owned(),
        zone: backend.zone.as_ref().map(ToString::to_string),
        capacity: Capacity {
            workers: workers as u32,
            service_time: service.mul_f64(exact),
            distribution: match model.distribution {
                scenario::Distribution::Constant => Distribution::Constant,
                scenario::Distribution::Exponential | scenario::Distribution::Lognormal => {
                    Distribution::Exponential
                }
            },
            queue: (f64::from(model.queue) * scale).round() as u32,
            overflow: match model.overflow {
                scenario::Overflow::Reject => Overflow::Reject,
                scenario::Overflow::Hang => Overflow::Close,
            },
            connections: model.connections_max,
            cold_start: model.cold_start.map(|cold| ColdStart {
                duration: cold.over.0,
                factor: cold.factor,
            }),
            seed: seed.wrapping_add(stubs.len() as u64),
        },
        health_path,
        health_in_pool: model.health.queued,
        health_latency: model.health.latency.0,
        routes,
        ..StubOptions::default()
    };
    let stub = spawn_stub(options).map_err(|e| format!("backend {}/{}: {e}", key.0, key.1))?;
    stubs.insert(key, stub);
    Ok(())
}

/// Where a backend answers checks. Where it says so, checks at other paths fail by a route.
fn health_path(
    model: &scenario::Backend,
    health_paths: &[String],
    routes: &mut Vec<StubRoute>,
) -> String {
    let Some(health_path) = &model.health.path else {
        let first = health_paths.first().cloned();
        return first.unwrap_or_else(|| "/healthz".to_owned());
    };
    let others = health_paths.iter().filter(|path| *path != health_path);
    routes.splice(
        0..0,
        others.map(|path| StubRoute {
            path_prefix: path.clone(),
            status: 404,
            cost: 0.01,
            body_bytes: 16,
        }),
    );
    health_path.clone()
}

/// Paths that are dearer or answered otherwise, the longest first.
fn routes(scenario: &Scenario) -> Vec<StubRoute> {
    let requests = scenario.streams().flat_map(|(_, traffic)| &traffic.request);
    let special = requests.filter(|r| r.answer.is_some() || (r.cost - 1.0).abs() > 1e-9);
    let mut routes: Vec<StubRoute> = special
        .map(|request| StubRoute {
            path_prefix: request.path.clone(),
            status: request.answer.unwrap_or(200),
            cost: request.cost,
            body_bytes: 64,
        })
        .collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.path_prefix.len()));
    routes
}

/// The header with the keys of a stream.
fn key(traffic: &Traffic) -> Option<KeyHeader> {
    traffic.key.as_ref().map(|key| KeyHeader {
        header: key.header.clone(),
        keys: key.keys,
        skew: key.skew,
    })
}

fn items(requests: &[Request]) -> Vec<Item> {
    if requests.is_empty() {
        return vec![Item::get("/")];
    }
    let item = |request: &Request| Item {
        method: request.method.clone(),
        path: request.path.clone(),
        weight: request.weight,
        body: None,
        headers: request
            .host
            .iter()
            .map(|host| ("Host".to_owned(), host.clone()))
            .collect(),
    };
    requests.iter().map(item).collect()
}

/// `config` with the addresses of this place and scaled numbers; notes say what was taken out.
fn localised(
    config: &Config,
    scale: f64,
    stubs: &BTreeMap<(Name, Name), ServerHandle>,
    directory: &Path,
) -> Result<(String, Vec<String>), String> {
    let text = to_toml(config);
    let mut document: Table = toml::from_str(&text).map_err(|e| e.message().to_owned())?;
    let mut notes = Vec::new();
    for key in ["notify", "escalation", "access_log", "tracing"] {
        if document.remove(key).is_some() && matches!(key, "notify" | "escalation") {
            notes.push(format!("`{key}` is taken out: a live drill pages nobody"));
        }
    }
    let mut admin = Table::new();
    admin.insert("address".to_owned(), "127.0.0.1:0".into());
    document.insert("admin".to_owned(), Value::Table(admin));
    for (index, (_, listener)) in tables(&mut document, "listener").enumerate() {
        // Each its own loopback address, because two listeners on one address would be refused.
        let address = format!("127.0.{}.{}:0", index / 250, index % 250 + 1);
        listener.insert("address".to_owned(), address.into());
    }
    for (pool, table) in tables(&mut document, "pool") {
        scaled(table, "peak_rps", scale);
        notes.extend(members::localise(&pool, table, directory));
        for key in ["max_in_flight", "max_in_flight_total"] {
            if let Some(limit) = table.get(key).and_then(Value::as_integer) {
                let limit = (limit as f64 * scale).ceil().max(1.0) as i64;
                table.insert(key.to_owned(), limit.into());
            }
        }
        for (name, backend) in tables(table, "backend") {
            scaled(backend, "capacity_rps", scale);
            let key = stubs
                .iter()
                .find(|((p, b), _)| *p == pool.as_str() && *b == name.as_str());
            if let Some((_, stub)) = key {
                backend.insert("address".to_owned(), stub.address().to_string().into());
            }
        }
    }
    let text = toml::to_string(&document).map_err(|e| e.to_string())?;
    Ok((text, notes))
}

fn tables<'t>(table: &'t mut Table, key: &str) -> impl Iterator<Item = (String, &'t mut Table)> {
    let named = table.get_mut(key).and_then(Value::as_table_mut);
    named
        .into_iter()
        .flat_map(|named| named.iter_mut())
        .filter_map(|(name, value)| Some((name.clone(), value.as_table_mut()?)))
}

fn scaled(table: &mut Table, key: &str, scale: f64) {
    let number = table
        .get(key)
        .and_then(|v| v.as_float().or(v.as_integer().map(|n| n as f64)));
    if let Some(number) = number {
        let rounded = (number * scale * 1_000.0).round() / 1_000.0;
        table.insert(key.to_owned(), rounded.into());
    }
}

type Started = (
    Handle,
    BTreeMap<Name, SocketAddr>,
    oneshot::Sender<()>,
    JoinHandle<()>,
);

/// Starts the instance on a thread of its own.
fn start(config: PathBuf, data: PathBuf, seed: u64) -> Result<Started, String> {
    let (stop, stopped) = oneshot::channel();
    let (ready, started) = mpsc::channel();
    let options = Options {
        config,
        data,
        author: "drill".to_owned(),
        force: Some("a drill may start from any configuration".to_owned()),
        adopt: false,
        drill: true,
        drain: Duration::from_secs(1),
        seed,
    };
    let thread = std::thread::Builder::new()
        .name("drill-instance".to_owned())
        .spawn(move || serve(options, stopped, &ready))
        .map_err(|e| e.to_string())?;
    let deadline = Instant::now() + START_MAX;
    let left = deadline.saturating_duration_since(Instant::now());
    let (handle, listeners) = started
        .recv_timeout(left)
        .map_err(|_late| "the instance did not start in time".to_owned())??;
    Ok((handle, listeners, stop, thread))
}

type Ready = Result<(Handle, BTreeMap<Name, SocketAddr>), String>;

fn serve(options: Options, stopped: oneshot::Receiver<()>, ready: &mpsc::Sender<Ready>) {
    let say = |message: Ready| {
        if ready.send(message).is_err() {
            tracing::debug!("nobody waits for the instance any more");
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return say(Err(error.to_string())),
    };
    let prepared = match boot::prepare(options) {
        Ok(prepared) => prepared,
        Err(error) => return say(Err(format!("the instance cannot start: {error}"))),
    };
    let tcp = |(name, address): (Name, Address)| match address {
        Address::Tcp(address) => Some((name, address)),
        Address::Unix(_) => None,
    };
    let listeners: BTreeMap<Name, SocketAddr> =
        prepared.addresses().into_iter().filter_map(tcp).collect();
    let wait = async {
        if stopped.await.is_err() {
            tracing::debug!("the drill is gone; the instance ends");
        }
    };
    let ended = runtime.block_on(evenkeel_control::run(
        prepared,
        wait,
        |handle, socket| async {
            say(Ok((handle, listeners)));
            // The admin address stays bound, but a drill serves no page.
            let _socket = socket;
            std::future::pending::<()>().await;
        },
    ));
    if let Err(error) = ended {
        say(Err(format!("the instance cannot start: {error}")));
    }
}
