//! The table of HTTP/2 (`http2/table.txt`): frames to the binary, and the same to nginx and HAProxy, before an origin
//! that writes down what reaches it.
//!
//! A line is `name | clause | frames | what must come`, with a fifth column where something is taken here that both
//! others refuse: why. What comes is told by stream (`1 200`, `1 PROTOCOL_ERROR`), then `pong`, `goaway CODE` or `end`; what
//! the origin saw follows in brackets, in the words of HTTP/1. Behind a case that leaves the connection as it was
//! follows another request, which must be served.

mod frames;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::peers::{Peer, Verdict};
use super::table::none_wrong;
use super::talk::Recorder;
use crate::support::{Home, PATIENCE};
use crate::wire::config;
use frames::{Heard, Speaker, Step, probe, steps};

const TABLE: &str = include_str!("http2/table.txt");
/// The stream of the request behind a case: the highest that a client may open.
const PROBE: u32 = 0x7fff_ffff;
/// What all cases together may take; 2 s when nothing else runs.
const ALL_CASES: Duration = Duration::from_secs(30);
/// Longest wait for a peer's word: who waits for more does not refuse.
const WORD: Duration = Duration::from_secs(1);

/// One line of the table.
struct Case {
    name: &'static str,
    clause: &'static str,
    frames: &'static str,
    /// What the client must hear.
    want: Vec<&'static str>,
    /// What the origin must see; `None`: it is not looked at.
    seen: Option<Vec<&'static str>>,
    laxer: bool,
}

impl Case {
    fn of(line: &'static str) -> Self {
        let columns: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let (&[name, clause, frames, want] | &[name, clause, frames, want, _]) = columns.as_slice()
        else {
            panic!("not four or five columns: {line}");
        };
        let (want, seen) = match want.split_once('[') {
            Some((want, seen)) => {
                let seen = seen.trim_end_matches(']').split(" & ");
                let seen = seen.filter(|request| !request.is_empty());
                (want, Some(seen.collect()))
            }
            None => (want, None),
        };
        let want = want.trim().split(" & ").filter(|word| !word.is_empty());
        Self {
            name,
            clause,
            frames,
            want: want.collect(),
            seen,
            laxer: columns.len() == 5,
        }
    }

    /// Whether the connection ends by it.
    fn ends(&self) -> bool {
        let last = self.want.last();
        last.is_some_and(|want| want.starts_with("goaway") || *want == "end")
    }

    /// Whether everything is taken.
    fn is_taken(&self) -> bool {
        let is_served = |want: &&str| want.ends_with(" 200") || want.starts_with("pong");
        self.want.iter().all(is_served)
    }
}

fn cases() -> Vec<Case> {
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Case::of).collect()
}

/// Speaks one case and hears what comes, until `until` has come, nothing comes any more or the connection ends.
fn spoken(case: &Case, to: SocketAddr, patience: Duration) -> (Speaker, Vec<Heard>) {
    let mut speaker = Speaker::connect(to, patience);
    let mut heard: Vec<Heard> = Vec::new();
    for step in steps(case.frames) {
        match step {
            Step::Send(bytes) => speaker.send(&bytes),
            Step::Wait(stream) => {
                while !heard.iter().any(|h| h.stream() == Some(stream)) {
                    match speaker.hear() {
                        Some(more) => heard.push(more),
                        None => return (speaker, heard),
                    }
                    if heard.last() == Some(&Heard::End) {
                        return (speaker, heard);
                    }
                }
            }
        }
    }
    (speaker, heard)
}

/// What the client heard, by stream, and what the origin saw.
fn came_of(case: &Case, front: SocketAddr, origin: &Recorder) -> (Vec<String>, Vec<String>) {
    let (mut speaker, mut heard) = spoken(case, front, PATIENCE);
    let is_over = |heard: &[Heard]| heard.last() == Some(&Heard::End);
    if case.ends() {
        while !is_over(&heard) {
            let Some(more) = speaker.hear() else { break };
            heard.push(more);
        }
    } else {
        // What is wanted first, so that it cannot come behind the other request.
        while heard.len() < case.want.len() && !is_over(&heard) {
            let Some(more) = speaker.hear() else { break };
            heard.push(more);
        }
        speaker.send(&probe(PROBE));
        while !is_over(&heard) {
            match speaker.hear() {
                Some(more) if more != Heard::Status(PROBE, 200) => heard.push(more),
                _ => break,
            }
        }
    }
    if heard.iter().any(|h| matches!(h, Heard::Goaway(_))) {
        // The end behind it says nothing more.
        heard.retain(|h| *h != Heard::End);
    }
    heard.sort_by_key(|h| h.stream().unwrap_or(u32::MAX));
    // A stream that was answered and then reset without an error is one that was answered.
    heard.retain(|h| !matches!(h, Heard::Reset(_, 0)));
    let told = heard.iter().map(Heard::told).collect();
    let seen = std::iter::from_fn(|| origin.next());
    let mut seen: Vec<String> = seen
        .map(|request| String::from_utf8_lossy(&request).into_owned())
        .collect();
    if !case.ends() {
        let before = seen.len();
        seen.retain(|request| request != "GET /probe");
        if seen.len() + 1 != before {
            seen.push("and the next request is not served".to_owned());
        }
    }
    (told, seen)
}

fn told_wrong(case: &Case, front: SocketAddr, origin: &Recorder) -> Option<String> {
    let (told, seen) = came_of(case, front, origin);
    let as_wanted = told == case.want && case.seen.as_ref().is_none_or(|want| *want == seen);
    (!as_wanted).then(|| {
        format!(
            "{} ({}):\n  wanted {:?} {:?}\n  came   {told:?} {seen:?}",
            case.name, case.clause, case.want, case.seen
        )
    })
}

#[test]
fn every_line_of_the_table_is_refused_or_reaches_the_origin_as_it_says() {
    let origin = Recorder::start();
    let listener = "protocols = [\"h2\"]";
    let home = Home::new(&config(&[origin.address.to_string()], listener, ""));
    let instance = home.start(&[]);
    let front = instance.front();
    let cases = cases();
    assert!(cases.len() >= 140, "{}", cases.len());
    let started = Instant::now();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| told_wrong(case, front, &origin))
        .collect();
    none_wrong(&wrong, cases.len());
    assert!(started.elapsed() < ALL_CASES, "{:?}", started.elapsed());
}

/// What a peer does with a case, and with a request behind it.
fn judged(case: &Case, peer: SocketAddr) -> Verdict {
    let (mut speaker, mut heard) = spoken(case, peer, WORD);
    speaker.send(&probe(PROBE));
    while !matches!(heard.last(), Some(Heard::End)) && heard.len() < 100 {
        match speaker.hear() {
            Some(Heard::Status(PROBE, 200)) => break,
            Some(more) => heard.push(more),
            None => return Verdict::Unknown,
        }
    }
    let is_refusal = |heard: &Heard| match heard {
        Heard::Status(_, status) => *status >= 400,
        Heard::Reset(_, code) => *code != 0,
        Heard::Goaway(_) | Heard::End => true,
        Heard::Pong(_) => false,
    };
    if heard.iter().any(is_refusal) {
        Verdict::Refused
    } else {
        Verdict::Forwarded
    }
}

#[test]
fn what_nginx_and_haproxy_both_refuse_of_http_2_is_refused_here_unless_the_table_says_why() {
    let origin = Recorder::start();
    let dir = tempfile::tempdir().unwrap();
    let nginx = Peer::nginx(dir.path(), origin.address, " http2");
    let haproxy = Peer::haproxy(dir.path(), origin.address, " proto h2");
    let cases = cases();
    let all = |peer: &Peer| -> Vec<Verdict> {
        cases
            .iter()
            .map(|case| judged(case, peer.address))
            .collect()
    };
    let (by_nginx, by_haproxy) = std::thread::scope(|scope| {
        let other = scope.spawn(|| all(&nginx));
        let own = all(&haproxy);
        (other.join().unwrap(), own)
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-http2.tsv");
    let mut file = fs::File::create(path).unwrap();
    let mut wrong = Vec::new();
    for ((case, nginx), haproxy) in cases.iter().zip(&by_nginx).zip(&by_haproxy) {
        let name = case.name;
        let own = if case.is_taken() {
            Verdict::Forwarded
        } else {
            Verdict::Refused
        };
        writeln!(file, "{name}\t{own:?}\t{nginx:?}\t{haproxy:?}").unwrap();
        let both = *nginx == Verdict::Refused && *haproxy == Verdict::Refused;
        if both && case.is_taken() != case.laxer {
            wrong.push(format!(
                "{name}: both refuse it, here it is taken: {}; with a reason: {}",
                case.is_taken(),
                case.laxer
            ));
        }
    }
    none_wrong(&wrong, cases.len());
    let known = |verdicts: &[Verdict]| {
        let known = verdicts.iter().filter(|v| **v != Verdict::Unknown);
        known.count()
    };
    // Otherwise a balancer did not run and the test says nothing.
    let least = known(&by_nginx).min(known(&by_haproxy));
    assert!(least * 10 > cases.len() * 9, "only {least} were judged");
}
