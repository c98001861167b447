//! Everything moves at once under load: drains, origins that die and come back, members that join, leave and change.
//!
//! Nothing that a further try could save fails, and no origin ever sees a POST twice. The long version (EVENKEEL_LONG)
//! has 100 drains, 100 kills and 1,000 changes of members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Instance, PATIENCE, heavy, long, pause, request, until};
use crate::wire::{config, field};

/// Backends of the configuration: they are drained.
const DECLARED: usize = 4;
/// Members of the file: they come and go.
const FOUND: usize = 8;
const CLIENTS: usize = 6;

/// How often each id arrived at any origin.
type Seen = Arc<Mutex<BTreeMap<String, u32>>>;

/// An origin that can be killed and started again at its address.
#[derive(Debug)]
struct Mortal {
    address: SocketAddr,
    seen: Seen,
    life: Option<Life>,
}

#[derive(Debug)]
struct Life {
    is_over: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    accepts: JoinHandle<()>,
}

impl Mortal {
    /// Not at the address that clients connect from: while the origin is dead nobody else gets its port.
    fn start(seen: &Seen) -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let mut origin = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::clone(seen),
            life: None,
        };
        origin.live(listener);
        origin
    }

    fn live(&mut self, listener: TcpListener) {
        let is_over = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (over, kept, seen) = (
            Arc::clone(&is_over),
            Arc::clone(&connections),
            Arc::clone(&self.seen),
        );
        let accepts = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The killer looks at the list after it set the flag, so one of the two sees the other.
                lock(&kept).push(stream.try_clone().unwrap());
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || drop(serve(stream, &seen)));
            }
        });
        self.life = Some(Life {
            is_over,
            connections,
            accepts,
        });
    }

    /// Cuts every connection, whatever is on its way, and listens no more.
    fn kill(&mut self) {
        let life = self.life.take().unwrap();
        life.is_over.store(true, Ordering::SeqCst);
        for stream in lock(&life.connections).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(TcpStream::connect(self.address));
        life.accepts.join().unwrap();
        for stream in lock(&life.connections).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn revive(&mut self) {
        let listener = until("its port again", PATIENCE, || {
            TcpListener::bind(self.address).ok()
        });
        self.live(listener);
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests after a moment, so that a kill finds some on their way. An id counts as seen when all of its request
/// is there.
fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = field(&head, "content-length").map_or(0, |v| v.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path != "/healthz" {
            *lock(seen).entry(path.to_owned()).or_default() += 1;
            pause(Duration::from_millis(2));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    }
}

/// What a client sent and what came of it: its path, and the status with the error that the balancer names.
#[derive(Debug)]
struct Sent {
    path: String,
    is_post: bool,
    status: String,
}

struct Client {
    front: SocketAddr,
    stream: Option<(TcpStream, BufReader<TcpStream>)>,
}

impl Client {
    /// One request over the kept connection; the status, and what the balancer says is wrong.
    fn send(&mut self, path: &str, is_post: bool) -> String {
        let (mut stream, mut reader) = self.stream.take().unwrap_or_else(|| {
            let stream = TcpStream::connect_timeout(&self.front, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            (stream, reader)
        });
        let (method, body) = if is_post {
            ("POST", "order")
        } else {
            ("GET", "")
        };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        if let Err(error) = stream.write_all(head.as_bytes()) {
            return format!("not sent: {error}");
        }
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) => return format!("cut off after {head:?}"),
                Ok(_) => {}
                Err(error) => return format!("{error} after {head:?}"),
            }
        }
        let length = field(&head, "content-length").map_or(0, |v| v.parse().unwrap());
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return "cut off in the body".to_owned();
        }
        if field(&head, "connection") != Some("close") {
            self.stream = Some((stream, reader));
        }
        let status = head.split(' ').nth(1).unwrap_or_default();
        match field(&head, "x-evenkeel-error") {
            Some(error) => format!("{status} {error}"),
            None => status.to_owned(),
        }
    }
}

/// Requests until it is over, each with an id of its own, every second one a POST.
fn visit(front: SocketAddr, client: usize, is_over: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut line = Client {
        front,
        stream: None,
    };
    while !is_over.load(Ordering::Relaxed) {
        let (number, is_post) = (sent.len(), sent.len() % 2 == 1);
        let path = format!("/{client}-{number}");
        let status = line.send(&path, is_post);
        sent.push(Sent {
            path,
            is_post,
            status,
        });
        pause(Duration::from_millis(3));
    }
    sent
}

/// The members of a turn: each has another weight than before, and now and then one is missing.
fn members(origins: &[SocketAddr], turn: usize) -> (String, BTreeMap<String, u64>) {
    let mut wanted = BTreeMap::new();
    let mut text = String::new();
    for (n, address) in origins.iter().enumerate() {
        if turn % 3 == 1 && n == turn / 3 % FOUND {
            continue;
        }
        let (name, weight) = (format!("m-{n}"), 10 + (turn * 7 + n) % 5);
        write!(
            text,
            "[[member]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n"
        )
        .unwrap();
        wanted.insert(name, weight as u64);
    }
    (text, wanted)
}

fn put(home: &Home, text: &str) {
    let new = home.write("members.new", text);
    std::fs::rename(new, home.dir().join("members.toml")).unwrap();
}

/// Weight by name of the members that the instance has now.
fn found(instance: &Instance) -> BTreeMap<String, u64> {
    let head = "GET /api/status HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let (_, body) = request(instance.admin, head);
    let status: Value = serde_json::from_str(&body).unwrap();
    let backends = status["pools"][0]["backends"].as_array().unwrap().iter();
    let of = |b: &Value| Some((b["name"].as_str()?.to_owned(), b["weight"].as_u64()?));
    backends
        .filter_map(of)
        .filter(|(name, _)| name.starts_with("m-"))
        .collect()
}

/// Rewrites the file until so many members joined, left or changed; how many, and how many of them joined or left.
fn change_members(
    home: &Home,
    instance: &Instance,
    origins: &[SocketAddr],
    wanted: u64,
) -> (u64, u64) {
    let (mut changes, mut moves) = (0, 0);
    let mut before = found(instance);
    for turn in 1.. {
        if changes >= wanted {
            break;
        }
        let (text, named) = members(origins, turn);
        put(home, &text);
        // Who is no longer named may be held back.
        let now = until("the members of the turn", PATIENCE, || {
            let now = found(instance);
            let has = named
                .iter()
                .all(|(name, weight)| now.get(name) == Some(weight));
            has.then_some(now)
        });
        let names =
            |of: &BTreeMap<String, u64>| -> BTreeSet<String> { of.keys().cloned().collect() };
        let moved = names(&before).symmetric_difference(&names(&now)).count() as u64;
        let changed = now
            .iter()
            .filter(|(name, weight)| before.get(*name).is_some_and(|w| w != *weight));
        changes += moved + changed.count() as u64;
        moves += moved;
        before = now;
    }
    (changes, moves)
}

/// What came of all requests, in words. Panics at one that had to be saved, and at a POST that arrived twice.
fn judge(sent: &[Sent], seen: &BTreeMap<String, u32>) -> String {
    let (mut lost, mut acted_on): (BTreeMap<&str, u64>, u32) = (BTreeMap::new(), 0);
    for request in sent {
        let arrived = seen.get(&request.path).copied().unwrap_or(0);
        let (status, is_ok) = (request.status.as_str(), request.status == "200");
        assert!(
            !request.is_post || arrived <= 1,
            "{request:?} arrived {arrived} times"
        );
        assert!(!is_ok || arrived >= 1, "{request:?} was answered by nobody");
        if !is_ok {
            // It was sent, and the connection broke: whether the origin acted on it is not known, so it stands.
            let stands = matches!(status, "502 backend_reset" | "502 backend_closed");
            assert!(
                request.is_post && stands,
                "{request:?} arrived {arrived} times"
            );
            *lost.entry(status).or_default() += 1;
            acted_on += arrived;
        }
    }
    format!("POST on a connection that broke: {lost:?}, {acted_on} of them had arrived")
}

/// Four backends in the configuration at these addresses, members in a file, further tries for all that may have them.
fn moving(declared: &[SocketAddr]) -> Home {
    let declared: Vec<String> = declared.iter().map(ToString::to_string).collect();
    let pool = "min_healthy = 2\n[pool.shop.members]\nfile = \"members.toml\"\n\
                [pool.shop.health]\npath = \"/healthz\"\ninterval = \"100ms\"\nrise = 1\nfall = 1\n\
                [pool.shop.retry]\nattempts = 3\nbudget = \"100%\"\n";
    Home::new(&config(&declared, "", pool))
}

fn kill_in_turn(origins: &mut [Mortal], kills: usize) {
    for n in 0..kills {
        let place = n * 5 % origins.len();
        origins[place].kill();
        pause(Duration::from_millis(250));
        origins[place].revive();
        pause(Duration::from_millis(250));
    }
}

fn drain_in_turn(instance: &Instance, drains: usize) {
    for n in 0..drains {
        let whom = format!("shop/web-{}", n % DECLARED + 1);
        instance.ends(&format!("drain {whom} --for 1m --reason churn"), 0);
        instance.ends(&format!("undrain {whom}"), 0);
    }
}

#[test]
fn nothing_fails_that_a_retry_could_save_and_no_post_is_repeated_while_everything_moves() {
    let _alone = heavy();
    let (drains, kills, changes) = if long() {
        (100, 100, 1_000)
    } else {
        (5, 5, 50)
    };
    let seen = Seen::default();
    let mut origins: Vec<Mortal> = (0..DECLARED + FOUND)
        .map(|_| Mortal::start(&seen))
        .collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let (declared, file) = addresses.split_at(DECLARED);
    let home = moving(declared);
    put(&home, &members(file, 0).0);
    let instance = home.start(&[]);
    let (front, is_over) = (instance.front(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<JoinHandle<Vec<Sent>>> = (0..CLIENTS)
        .map(|client| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || visit(front, client, &is_over))
        })
        .collect();
    let begun = Instant::now();
    let (changed, moved) = std::thread::scope(|scope| {
        scope.spawn(|| drain_in_turn(&instance, drains));
        scope.spawn(|| kill_in_turn(&mut origins, kills));
        let changing = scope.spawn(|| change_members(&home, &instance, file, changes));
        changing.join().unwrap()
    });
    let took = begun.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    let sent: Vec<Sent> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    let said = judge(&sent, &lock(&seen));
    let figures = format!(
        "{} requests in {took:.0} s, {drains} drains, {kills} kills, {changed} changes of members ({moved} joined or \
         left); {said}",
        sent.len(),
    );
    println!("{figures}");
    assert!(sent.len() > 200, "{figures}");
    assert!(moved > 0, "{figures}");
}
