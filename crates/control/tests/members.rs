//! Members that are found while the instance runs: by a file and by a real DNS server on loopback. They join at once,
//! leave at a bounded rate, keep their names, and are part of no revision.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use evenkeel_control::{Apply, Handle, Options, boot};
use evenkeel_guard::MembersView;
use evenkeel_model::config::Address;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tempfile::TempDir;

/// What the server of names says.
#[derive(Debug, Default)]
struct Zone {
    records: BTreeMap<(String, RecordType), Vec<RData>>,
    /// It answers nothing but SERVFAIL.
    is_broken: bool,
    /// What it answers instead, to each question: records of these names.
    instead: Vec<(Name, RData)>,
}

/// A server of names on loopback, and what it says.
#[derive(Debug)]
struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl Dns {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let wait = Some(Duration::from_millis(100));
        socket.set_read_timeout(wait).unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let weak = Arc::downgrade(&zone);
        std::thread::spawn(move || serve(&socket, &weak));
        Self { address, zone }
    }

    fn say(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// SRV records of these ports of 127.0.0.1, each with a target of its own and a weight.
    fn say_services(&self, members: &[(String, u16, u16)]) {
        self.say(|zone| {
            let services = members.iter().map(|(name, port, weight)| {
                let target = Name::from_ascii(format!("{name}.internal.")).unwrap();
                RData::SRV(SRV::new(10, *weight, *port, target))
            });
            let key = ("_http._tcp.web.internal.".to_owned(), RecordType::SRV);
            zone.records.insert(key, services.collect());
            for (name, ..) in members {
                let key = (format!("{name}.internal."), RecordType::A);
                let here = RData::A(A(Ipv4Addr::LOCALHOST));
                zone.records.insert(key, vec![here]);
            }
        });
    }
}

fn serve(socket: &UdpSocket, zone: &Weak<Mutex<Zone>>) {
    let mut bytes = [0; 4_096];
    while let Some(zone) = zone.upgrade() {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else {
            continue;
        };
        let Ok(question) = Message::from_vec(&bytes[..length]) else {
            continue;
        };
        let zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_available = true;
        answer.add_queries(question.queries.clone());
        let asked = &question.queries[0];
        let name = asked.name.to_ascii().to_ascii_lowercase();
        let exists =
            !zone.instead.is_empty() || zone.records.keys().any(|(known, _)| *known == name);
        answer.metadata.response_code = match (zone.is_broken, exists) {
            (true, _) => ResponseCode::ServFail,
            (false, false) => ResponseCode::NXDomain,
            (false, true) => ResponseCode::NoError,
        };
        let records = zone.records.get(&(name, asked.query_type)).cloned();
        let is_told = !zone.is_broken && zone.instead.is_empty();
        for data in records.filter(|_| is_told).unwrap_or_default() {
            answer.add_answer(Record::from_rdata(asked.name.clone(), 0, data));
        }
        for (name, data) in &zone.instead {
            answer.add_answer(Record::from_rdata(name.clone(), 0, data.clone()));
        }
        drop(zone);
        drop(socket.send_to(&answer.to_vec().unwrap(), from));
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers every request with `name`.
fn origin(at: &str, name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, name));
        }
    });
    address
}

fn answer(mut stream: TcpStream, name: &str) {
    let mut seen = Vec::new();
    let mut bytes = [0; 4_096];
    loop {
        match stream.read(&mut bytes) {
            Ok(length) if length > 0 => seen.extend_from_slice(&bytes[..length]),
            _ => return,
        }
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let length = name.len();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// A running control plane with its data plane, in a directory of its own.
struct Instance {
    handle: Handle,
    runtime: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    directory: TempDir,
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Instance {
    fn start(directory: TempDir, config: &str) -> Self {
        let path = directory.path().join("evenkeel.toml");
        std::fs::write(&path, config).unwrap();
        let options = Options {
            config: path,
            data: directory.path().join("data"),
            author: "test".to_owned(),
            force: None,
            adopt: false,
            drill: false,
            drain: Duration::from_secs(1),
            seed: 1,
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (told, handles) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            let here = runtime.handle().clone();
            let prepared = boot::prepare(options).unwrap();
            let stop = async { drop(stopped.await) };
            let run = evenkeel_control::run(prepared, stop, |handle, _| async move {
                told.send((handle, here)).unwrap();
                std::future::pending::<()>().await;
            });
            runtime.block_on(run).unwrap();
        });
        let (handle, runtime) = handles.recv_timeout(PATIENCE).unwrap();
        let instance = Self {
            handle,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
            directory,
        };
        instance.until("the start", |i| i.handle.view().is_some());
        instance
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let (_keep, nothing) = channel::<()>();
        while !condition(self) {
            let now = self.names();
            assert!(
                Instant::now() < deadline,
                "{what}: {now:?} {:?}",
                self.members()
            );
            assert!(nothing.recv_timeout(Duration::from_millis(20)).is_err());
        }
    }

    /// Names of the backends as the guard sees them, in order.
    fn names(&self) -> Vec<String> {
        let view = self.handle.view();
        let pools = view.iter().flat_map(|view| &view.pools);
        let backends = pools.flat_map(|pool| &pool.backends);
        backends.map(|backend| backend.name.to_string()).collect()
    }

    fn members(&self) -> Option<MembersView> {
        self.handle.view()?.pools.first()?.members.clone()
    }

    fn front(&self) -> SocketAddr {
        match &self.handle.published().addresses[0].1 {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("{}", path.display()),
        }
    }

    /// Who answers a request on a connection of its own.
    fn who(&self) -> String {
        who(self.front()).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.directory, name, text);
    }

    fn apply(&self, text: String) {
        let handle = self.handle.clone();
        let apply = Apply {
            text,
            file: None,
            base: None,
            author: "test".to_owned(),
            reason: "test".to_owned(),
            force: false,
            confirm_within: None,
            keep: None,
        };
        let (told, outcome) = channel();
        self.runtime.spawn(async move {
            drop(told.send(handle.apply(apply).await));
        });
        let applied = outcome.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(applied.outcome.is_some(), "{:?}", applied.judged.findings);
    }

    fn rollback(&self) {
        let handle = self.handle.clone();
        let (told, outcome) = channel();
        self.runtime.spawn(async move {
            let rollback = handle.rollback(None, "test".to_owned(), "back".to_owned(), false);
            drop(told.send(rollback.await));
        });
        outcome.recv_timeout(PATIENCE).unwrap().unwrap();
    }
}

fn who(front: SocketAddr) -> Result<String, String> {
    let mut stream = TcpStream::connect(front).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(head).map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(text),
    }
}

/// Writes a file so that nobody reads half of it.
fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let (new, path) = (directory.path().join("new"), directory.path().join(name));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, &path).unwrap();
    path
}

/// A pool `shop` whose members come from `source` only.
fn config(source: &str, more: &str) -> String {
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
        [[route]]\nlistener = \"web\"\npool = \"shop\"\n[pool.shop]\n{more}\n[pool.shop.members]\n{source}\n"
    )
}

fn listed(members: &[(&str, SocketAddr)]) -> String {
    let member = |(name, address): &(&str, SocketAddr)| {
        format!("[[member]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    };
    members.iter().map(member).collect()
}

#[test]
fn a_file_gives_members_takes_them_slowly_and_is_no_revision() {
    let at = ["one", "two", "three"].map(|name| origin("127.0.0.1:0", name));
    let two = listed(&[("a", at[0]), ("b", at[1])]);
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "members.toml", &two);
    let text = config(&format!("file = \"{}\"", file.display()), "");
    let instance = Instance::start(directory, &text);
    assert_eq!(instance.names(), ["a", "b"]);
    instance.until("both serve", |i| i.who() == "one");
    instance.until("both serve", |i| i.who() == "two");

    instance.write(
        "members.toml",
        &listed(&[("a", at[0]), ("b", at[1]), ("c", at[2])]),
    );
    instance.until("c joined", |i| i.names() == ["a", "b", "c"]);
    instance.until("c serves", |i| i.who() == "three");

    instance.write("members.toml", "[[member]]\nname = \"a\"\n");
    instance.until("the slip is told", |i| i.members().unwrap().error.is_some());
    let error = instance.members().unwrap().error.unwrap();
    assert!(
        error.contains("line 1") && error.contains("address"),
        "{error}"
    );
    assert_eq!(instance.names(), ["a", "b", "c"]);

    instance.write("members.toml", "");
    instance.until("the first of three left", |i| i.names().len() == 2);
    let members = instance.members().unwrap();
    assert_eq!((members.held.len(), members.error), (2, None));
    let reason = |i: &Instance| i.handle.view().unwrap().pools[0].backends[0].reason.clone();
    instance.until("the held say until when", |i| {
        reason(i).starts_with("no longer named, leaves in ")
    });
    instance.until("failed looks are counted", |i| {
        let looks = i.handle.published().looks[0].1;
        looks.failed > 0 && looks.age.is_some()
    });
    for _ in 0..10 {
        instance.who();
    }
    instance.write("members.toml", &two);
    // One of three has left within the window, so the one that is named no more waits for the next.
    let settled = |i: &Instance| {
        let held = i.members().unwrap().held;
        i.names() == ["a", "b", "c"] && held.len() == 1 && held[0].as_str() == "c"
    };
    instance.until("named again", settled);
    let view = instance.handle.view().unwrap();
    assert_eq!(
        (view.revisions.len(), view.revision.to_string().as_str()),
        (1, "r1")
    );
    assert_eq!((view.drift, view.edited), (None, None));
}

#[test]
fn a_wrong_list_harms_nobody_where_the_pool_checks() {
    let at = ["one", "two"].map(|name| origin("127.0.0.1:0", name));
    let good = listed(&[("a", at[0]), ("b", at[1])]);
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "members.toml", &good);
    let health = "health = { path = \"/\", interval = \"500ms\", rise = 3, fall = 2 }";
    let text = config(&format!("file = \"{}\"", file.display()), health);
    let instance = Instance::start(directory, &text);
    let new = origin("127.0.0.1:0", "three");
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = closed.local_addr().unwrap();
    drop(closed);
    let wrong: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let wrong: Vec<_> = wrong.iter().map(|name| (name.as_str(), dead)).collect();
    let list = [good, listed(&[("c", new)]), listed(&wrong)].concat();
    instance.write("members.toml", &list);
    let reasons = |i: &Instance| -> Vec<String> {
        let view = i.handle.view().unwrap();
        let backends = view.pools[0].backends.iter();
        backends.map(|b| b.reason.clone()).collect()
    };
    instance.until("they wait for a check", |i| {
        i.who(); // fails the test with the first request that is harmed
        reasons(i).iter().any(|r| r.contains("first good check"))
    });
    instance.until("the good one of them serves, after one check", |i| {
        i.who() == "three"
    });
    instance.until("the others are found down", |i| {
        i.who();
        let down = reasons(i);
        down.iter().filter(|r| r.contains("health check")).count() == 20
    });
}

#[test]
fn an_apply_and_a_rollback_keep_the_members_that_were_found() {
    let at = ["one", "two", "three"].map(|name| origin("127.0.0.1:0", name));
    let directory = tempfile::tempdir().unwrap();
    let two = listed(&[("a", at[0]), ("b", at[1])]);
    let file = write(&directory, "members.toml", &two);
    let source = format!("file = \"{}\"", file.display());
    let instance = Instance::start(directory, &config(&source, ""));
    let revision = |i: &Instance| i.handle.view().unwrap().revision.to_string();
    instance.apply(config(&source, "tolerance = \"30%\""));
    instance.until("r2 runs", |i| revision(i) == "r2");
    assert_eq!(instance.names(), ["a", "b"]);
    instance.write(
        "members.toml",
        &listed(&[("a", at[0]), ("b", at[1]), ("c", at[2])]),
    );
    instance.until("c joined", |i| i.names() == ["a", "b", "c"]);
    instance.rollback();
    instance.until("r1 runs again", |i| revision(i) != "r2");
    assert_eq!(instance.names(), ["a", "b", "c"]);
    instance.until("c serves", |i| i.who() == "three");
}

#[test]
fn dns_gives_every_address_and_a_failure_or_a_lost_name_empties_no_pool() {
    let port = origin("127.0.0.1:0", "one").port();
    origin(&format!("127.0.0.2:{port}"), "two");
    origin(&format!("127.0.0.3:{port}"), "three");
    let dns = Dns::start();
    let key = || ("web.internal.".to_owned(), RecordType::A);
    let all: Vec<RData> = (1..4)
        .map(|last| RData::A(A(Ipv4Addr::new(127, 0, 0, last))))
        .collect();
    dns.say(|zone| {
        zone.records.insert(key(), all.clone());
    });
    let source = format!(
        "dns = \"web.internal:{port}\"\nresolver = \"{}\"\nttl_min = \"100ms\"\n",
        dns.address
    );
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::start(directory, &config(&source, "min_healthy = 2"));
    assert_eq!(instance.names(), ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);

    dns.say(|zone| zone.is_broken = true);
    instance.until("the failure is told", |i| {
        i.members().unwrap().error.is_some()
    });
    assert_eq!(instance.names().len(), 3);
    let error = |i: &Instance| i.members().unwrap().error.unwrap_or_default();
    let name = |name: &str| Name::from_ascii(name).unwrap();
    let alias = |from: &str, to: &str| (name(from), RData::CNAME(CNAME(name(to))));
    let around = vec![
        alias("web.internal.", "a.internal."),
        alias("a.internal.", "web.internal."),
    ];
    let of_another = vec![(name("other."), all[0].clone())];
    for instead in [around, of_another] {
        dns.say(|zone| (zone.is_broken, zone.instead) = (false, instead));
        instance.until("the odd reply is told", |i| error(i).contains("aliases"));
        assert_eq!(instance.names().len(), 3);
        dns.say(|zone| zone.instead.clear());
        instance.until("it is over", |i| error(i).is_empty());
    }
    let nowhere = RData::A(A(Ipv4Addr::UNSPECIFIED));
    dns.say(|zone| {
        let records = zone.records.get_mut(&key()).unwrap();
        records.push(nowhere);
    });
    instance.until("0.0.0.0 is told", |i| error(i).contains("0.0.0.0"));
    assert_eq!(instance.names().len(), 3);
    dns.say(|zone| zone.records.clear());
    instance.until("one of three left", |i| i.names().len() == 2);
    let members = instance.members().unwrap();
    assert_eq!((members.held.len(), members.error), (2, None));
    instance.who();
    dns.say(|zone| {
        zone.records.insert(key(), all);
    });
    instance.until("all are back", |i| i.names().len() == 3);
}

#[test]
fn members_come_go_and_change_under_load_without_a_failed_request() {
    let long = std::env::var_os("EVENKEEL_LONG").is_some();
    let changes = if long { 1_000 } else { 50 };
    let ports: Vec<u16> = (0..6).map(|_| origin("127.0.0.1:0", "ok").port()).collect();
    let dns = Dns::start();
    let said = |turn: usize| -> Vec<(String, u16, u16)> {
        // Weights change each turn, and each third turn the service collapses to one.
        let named = |n: &usize| turn % 3 != 2 || *n == turn % 6;
        let weight = |n: usize| 10 + ((turn * 7 + n) % 5) as u16;
        let member = |n: usize| (format!("web-{n}"), ports[n], weight(n));
        (0..6).filter(named).map(member).collect()
    };
    dns.say_services(&said(0));
    let source = format!(
        "srv = \"_http._tcp.web.internal\"\nresolver = \"{}\"\nttl_min = \"100ms\"\nttl_max = \"100ms\"",
        dns.address
    );
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::start(directory, &config(&source, "min_healthy = 2"));
    assert_eq!(instance.names().len(), 6);
    let (front, is_over) = (instance.front(), Arc::new(AtomicBool::new(false)));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                let mut served = 0u32;
                while !is_over.load(Ordering::Relaxed) {
                    who(front).unwrap();
                    served += 1;
                }
                served
            })
        })
        .collect();
    let weights = |i: &Instance| -> Vec<(String, u32)> {
        let config = Arc::clone(&i.handle.published().config);
        let backends = config.pools[0].backends.iter();
        backends.map(|b| (b.name.to_string(), b.weight)).collect()
    };
    for turn in 1..=changes {
        let wanted = said(turn);
        dns.say_services(&wanted);
        instance.until("the members of the turn", |i| {
            let now = weights(i);
            let has = |(name, _, weight): &(String, u16, u16)| {
                now.contains(&(format!("{name}.internal"), u32::from(*weight)))
            };
            wanted.iter().all(has)
        });
        assert!(instance.names().len() >= 2);
    }
    is_over.store(true, Ordering::Relaxed);
    let served: Vec<u32> = load
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(served.iter().all(|served| *served > 50), "{served:?}");
}
