//! A real instance in a directory of its own: config text in, addresses and JSON out. Every wait has a deadline and
//! every process ends with its guard.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_shop::load::{Item, LoadHandle, LoadOptions, Mix};
use evenkeel_shop::{ServerHandle, StubOptions};
use serde_json::Value;
use tempfile::TempDir;

/// Longest that anything here may take unless a test says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether the long versions were asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("EVENKEEL_LONG").is_some()
}

/// One heavy load at a time in this process.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pause that is not a sleep: nothing is ever sent.
pub(crate) fn pause(time: Duration) {
    let (_keep, nothing) = channel::<()>();
    assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

/// Looks until `condition` gives something, at most `patience`.
pub(crate) fn until<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        pause(LOOK_EVERY);
    }
}

/// A program that is killed when its guard goes.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self, patience: Duration) -> ExitStatus {
        until("the end of a process", patience, || {
            self.0.try_wait().unwrap()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How a command of the binary ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// This, if it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .env_remove("EVENKEEL_ADMIN")
        .env_remove("EVENKEEL_TOKEN_FILE");
    command
}

/// The arguments of a command line: words between blanks, or between single quotes.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    let quoted = |(n, part): (usize, &'_ str)| n % 2 == 1 || !part.is_empty();
    let mut words = Vec::new();
    for (n, part) in parts.filter(|part| quoted(*part)) {
        if n % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

/// Runs a command to its end, at most a minute and a half.
pub(crate) fn run(command: &mut Command) -> Ran {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = drain(child.stdout.take().unwrap());
    let err = drain(child.stderr.take().unwrap());
    let mut process = Process(child);
    let status = process.ended(Duration::from_secs(90));
    let text = |from: Receiver<String>| from.recv_timeout(PATIENCE).unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        out: text(out),
        err: text(err),
    }
}

fn drain(mut from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (to, text) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        drop(to.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    text
}

/// A directory with a configuration and the data of an instance.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new(config: &str) -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        home.write("evenkeel.toml", config);
        home
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Writes a file and says where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The command `run`, for tests that start it themselves.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = binary();
        command
            .current_dir(self.dir())
            .args(["run", "evenkeel.toml", "--data", "data", "--drain", "5s"])
            .args(more);
        command
    }

    /// Starts an instance and waits until it answers.
    pub(crate) fn start(&self, more: &[&str]) -> Instance {
        Instance::start(&mut self.command(more), self)
    }

    /// A command line that needs no instance and ends with `code`.
    #[track_caller]
    pub(crate) fn ends(&self, line: &str, code: i32) -> Ran {
        self.offline(&words(line)).expect(code)
    }

    /// A command that needs no instance.
    pub(crate) fn offline(&self, arguments: &[&str]) -> Ran {
        run(binary().current_dir(self.dir()).args(arguments))
    }
}

/// A running instance.
#[derive(Debug)]
pub(crate) struct Instance {
    process: Process,
    pub(crate) admin: SocketAddr,
    /// Name and address of each listener, in file order.
    pub(crate) listeners: Vec<(String, String)>,
    dir: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Instance {
    pub(crate) fn start(command: &mut Command, home: &Home) -> Self {
        Self::start_reading(command, home, Stdio::null())
    }

    /// The same with something on standard input.
    pub(crate) fn start_reading(command: &mut Command, home: &Home, input: Stdio) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let err = child.stderr.take().unwrap();
        let process = Process(child);
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, (to, lines)) = (Arc::clone(&log), channel());
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
                drop(log);
                drop(to.send(line));
            }
        });
        let (mut listeners, mut admin) = (Vec::new(), None);
        while admin.is_none() {
            let line = lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_ended| panic!("it did not start: {}", log.lock().unwrap()));
            if let Some((name, address)) = line
                .strip_prefix("listener ")
                .and_then(|rest| rest.split_once(": "))
            {
                listeners.push((name.to_owned(), address.to_owned()));
            }
            admin = line
                .strip_prefix("page, API, metrics: http://")
                .and_then(|rest| rest.trim_end_matches('/').parse().ok());
        }
        let instance = Self {
            process,
            admin: admin.unwrap(),
            listeners,
            dir: home.dir().to_owned(),
            log,
        };
        until("an answer of the admin API", PATIENCE, || {
            (instance.cli(&["status"]).code == 0).then_some(())
        });
        instance
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Where clients connect: the first TCP listener.
    pub(crate) fn front(&self) -> SocketAddr {
        self.listeners
            .iter()
            .find_map(|(_, address)| address.parse().ok())
            .unwrap()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A command against this instance.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ran {
        let admin = self.admin.to_string();
        run(binary()
            .current_dir(&self.dir)
            .args(["--admin", &admin, "--data", "data"])
            .args(arguments))
    }

    /// The JSON of a command that ends with 0.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        self.cli(&all).expect(0).json()
    }

    /// The JSON of a command line that ends with 0.
    #[track_caller]
    pub(crate) fn ask(&self, line: &str) -> Value {
        self.json(&words(line))
    }

    /// A command line against this instance that ends with `code`.
    #[track_caller]
    pub(crate) fn ends(&self, line: &str, code: i32) -> Ran {
        self.cli(&words(line)).expect(code)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.ask("status")
    }

    /// Waits until `status` satisfies `condition`.
    pub(crate) fn when(
        &self,
        what: &str,
        patience: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        until(what, patience, || Some(self.status()).filter(&condition))
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        run(Command::new("kill").args(["-s", name, &pid])).expect(0);
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.kill_at_once();
    }

    /// SIGKILL to an instance that is still looked at.
    pub(crate) fn kill_at_once(&mut self) {
        self.process.0.kill().unwrap();
        self.process.ended(PATIENCE);
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.process.ended(PATIENCE)
    }

    /// Waits for the end that somebody else brings about.
    pub(crate) fn ended(&mut self, patience: Duration) -> ExitStatus {
        self.process.ended(patience)
    }
}

/// One request over a connection of its own: status line and headers, body.
pub(crate) fn request(to: SocketAddr, head: &str) -> (String, String) {
    let mut stream = std::net::TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.split_once("\r\n\r\n") {
        Some((head, body)) => (head.to_owned(), body.to_owned()),
        None => (text, String::new()),
    }
}

/// Three stub backends that can carry far more than any test sends.
pub(crate) fn stubs() -> Vec<ServerHandle> {
    (1..=3)
        .map(|n| {
            evenkeel_shop::spawn_stub(StubOptions {
                name: format!("web-{n}"),
                ..StubOptions::default()
            })
            .unwrap()
        })
        .collect()
}

/// Traffic to `target` until the handle goes.
pub(crate) fn load(target: SocketAddr, rate: f64) -> LoadHandle {
    evenkeel_shop::load::start(LoadOptions {
        target: format!("http://{target}"),
        rate,
        mix: Mix::Items(vec![Item::get("/")]),
        ..LoadOptions::default()
    })
    .unwrap()
}

/// What each backend of [`config`] is said to carry, requests per second; the pool's peak is 90.
pub(crate) const CAPACITY_RPS: u32 = 60;
/// The load that goes with it.
pub(crate) const LOAD_RPS: f64 = 90.0;

/// A pool `shop` of round robin over `backends`, named web-1 and so on; `more` comes last in the file.
pub(crate) fn config(backends: &[SocketAddr], weights: [u32; 3], more: &str) -> String {
    let mut text = r#"[admin]
address = "127.0.0.1:0"

[listener.web]
address = "127.0.0.1:0"

[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"

[pool.shop]
algorithm = "round_robin"
intent = "capacity"
peak_rps = 90
headroom = "20%"
tolerance = "20%"
min_healthy = 2
objective = { error_rate = "1%", p99 = "500ms" }
session = { cookie = "sid" }

[pool.shop.health]
path = "/healthz"
interval = "1s"
"#
    .to_owned();
    for (n, (address, weight)) in backends.iter().zip(weights).enumerate() {
        let name = n + 1;
        let backend = format!(
            "\n[pool.shop.backend.web-{name}]\naddress = \"{address}\"\nweight = {weight}\ncapacity_rps = {CAPACITY_RPS}\nversion = \"v1\"\n"
        );
        text.push_str(&backend);
    }
    text + more
}

/// Backends that nobody needs to reach.
pub(crate) fn nobody() -> [SocketAddr; 3] {
    [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Where the backends are.
pub(crate) fn addresses(backends: &[ServerHandle]) -> Vec<SocketAddr> {
    backends.iter().map(ServerHandle::address).collect()
}

/// Asserts that `value` has each of the keys, whatever they hold.
#[track_caller]
pub(crate) fn has_keys(value: &Value, keys: &str) {
    for key in keys.split_whitespace() {
        assert!(value.get(key).is_some(), "no `{key}` in {value:#}");
    }
}
