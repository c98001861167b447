//! The tables of crate `evenkeel-http1` (`tests/conformance`) over sockets: through the binary to an origin that writes
//! down what reaches it, and the same bytes through nginx and HAProxy to the same origin.
//!
//! Every verdict of the three is left in `conformance.tsv` in the directory of temporary files of the target; the figures
//! of docs/conformance.md come from there. Each case has a connection of its own, one after the other, so that what the origin saw belongs to one case.

mod http2;
mod peers;
#[path = "../../../../http1/tests/conformance/table.rs"]
mod table;
mod talk;

use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Home, PATIENCE};
use crate::wire::config;
use peers::{Peer, Verdict};
use table::{Case, To, none_wrong, says_close, shown, told_response};
use talk::{Client, Recorder, Response, Tapes};

/// What all cases together may take; 2 s when nothing else runs.
const ALL_CASES: Duration = Duration::from_secs(30);
/// What must never reach the origin behind a refused request, and what must reach it behind an accepted one.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n";

/// Whether what a table wants is an answer of the balancer: a status first.
fn is_refusal(want: &[u8]) -> bool {
    want.first().is_some_and(u8::is_ascii_digit)
}

/// An answer in the words of the tables, where the balancer gives it itself.
fn own_words(response: &Response) -> Vec<u8> {
    match response.field("x-evenkeel-error") {
        Some(code) => format!("{} {code}", response.status).into_bytes(),
        None => format!("own {}", response.status).into_bytes(),
    }
}

/// Sends one case and tells what came of it: each message as its table tells it, then what went wrong besides.
fn came_of(case: &Case, front: SocketAddr, origin: &Recorder) -> Vec<Vec<u8>> {
    let head_only = case.sent.starts_with(b"HEAD ");
    let mut client = Client::connect(front, PATIENCE);
    client.send(&case.sent);
    let last = case.want.last().map_or(b"".as_slice(), Vec::as_slice);
    if is_refusal(last) {
        client.send(SMUGGLED);
    } else if last == b"unfinished" {
        client.end();
    }
    let mut came = Vec::new();
    for want in &case.want {
        let Some(response) = client.response(head_only) else {
            came.push(b"unfinished".to_vec());
            break;
        };
        let closes = says_close(&response.head);
        if response.field("x-origin").is_none() {
            came.push(own_words(&response));
            if is_refusal(want) && !closes {
                came.push(b"the connection is not said to close".to_vec());
            }
        } else {
            let kept: &[u8] = if closes { b"close " } else { b"keep " };
            // A request that never came is told as nothing.
            came.push([kept, &origin.next().unwrap_or_default()].concat());
        }
    }
    if last.starts_with(b"keep ") {
        client.send(PROBE);
        if client.response(false).is_none() || origin.next().as_deref() != Some(b"GET /probe") {
            came.push(b"the next request is not understood".to_vec());
        }
    } else if !last.starts_with(b"own") && !client.is_over() {
        came.push(b"the connection stays open".to_vec());
    }
    while let Some(more) = origin.next() {
        came.push([b"the origin also saw ", more.as_slice()].concat());
    }
    came
}

fn told_wrong(case: &Case, came: &[Vec<u8>]) -> Option<String> {
    (came != case.want).then(|| {
        format!(
            "{} ({}):\n  wanted {}\n  came   {}",
            case.name,
            case.clause,
            shown(&case.want),
            shown(came)
        )
    })
}

#[test]
fn every_request_of_the_tables_is_refused_or_reaches_the_origin_as_they_say() {
    let origin = Recorder::start();
    let home = Home::new(&config(&[origin.address.to_string()], "", ""));
    let instance = home.start(&[]);
    let front = instance.front();
    let cases = table::requests();
    let started = Instant::now();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| told_wrong(case, &came_of(case, front, &origin)))
        .collect();
    none_wrong(&wrong, cases.len());
    assert!(started.elapsed() < ALL_CASES, "{:?}", started.elapsed());
}

/// Asks for the response of one case and tells what the client got, without what only the room knows (`reuse`, `drop`).
fn got(case: &Case, number: usize, front: SocketAddr) -> Vec<Vec<u8>> {
    let (method, rest) = match case.to {
        To::Get => ("GET", "HTTP/1.1\r\nHost: a\r\n\r\n"),
        To::Head => ("HEAD", "HTTP/1.1\r\nHost: a\r\n\r\n"),
        To::Old => (
            "GET",
            "HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        ),
    };
    let mut client = Client::connect(front, PATIENCE);
    client.send(format!("{method} /{number} {rest}").as_bytes());
    let mut came = Vec::new();
    while let Some(response) = client.any_response(case.to == To::Head) {
        if response.status < 200 {
            came.push(told_response(&response.head, b"", b""));
            continue;
        }
        came.push(if response.is_cut {
            format!("cut {}", response.status).into_bytes()
        } else if response.field("x-evenkeel-error").is_some() {
            own_words(&response)
        } else {
            let kept: &[u8] = if says_close(&response.head) {
                b"close "
            } else {
                b"keep "
            };
            let told = told_response(&response.head, &response.body, &response.trailers);
            [kept, &told].concat()
        });
        break;
    }
    came
}

/// What the client is to get of a response.
fn for_client(want: &[u8]) -> Vec<u8> {
    let text = [&b"keep "[..], b"close "].into_iter().find_map(|kept| {
        let rest = want.strip_prefix(kept)?;
        let rest = rest
            .strip_prefix(b"reuse ")
            .or_else(|| rest.strip_prefix(b"drop "))?;
        Some([kept, rest].concat())
    });
    text.unwrap_or_else(|| want.to_vec())
}

#[test]
fn every_response_of_the_table_is_502_or_passed_on_as_it_says() {
    let cases = table::responses();
    let tapes = Tapes::start(&cases);
    let pool = "retry = { attempts = 0 }";
    let home = Home::new(&config(&[tapes.address.to_string()], "", pool));
    let instance = home.start(&[]);
    let front = instance.front();
    let started = Instant::now();
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let want: Vec<Vec<u8>> = case.want.iter().map(|want| for_client(want)).collect();
        let came = got(case, number, front);
        // A response that cannot be finished is reset: what was sent of it may be lost on the way, or all of it.
        let is_cut = |m: &Vec<u8>| m.starts_with(b"cut ") || m.starts_with(b"502 response_body");
        let as_good = want.iter().all(is_cut) && came.iter().all(is_cut);
        if came != want && !as_good {
            wrong.push(format!(
                "{} ({}):\n  wanted {}\n  came   {}",
                case.name,
                case.clause,
                shown(&want),
                shown(&came)
            ));
        }
    }
    wrong.extend(tapes.asked_again());
    none_wrong(&wrong, cases.len());
    assert!(started.elapsed() < ALL_CASES, "{:?}", started.elapsed());
}

#[test]
fn what_nginx_and_haproxy_both_refuse_is_refused_here_unless_the_table_says_why() {
    let origin = Recorder::start();
    let dir = tempfile::tempdir().unwrap();
    let cases: Vec<Case> = table::requests()
        .into_iter()
        .filter(|case| case.want.last().is_none_or(|want| want != b"unfinished"))
        .collect();
    let nginx = Peer::nginx(dir.path(), origin.address, "");
    let haproxy = Peer::haproxy(dir.path(), origin.address, "");
    let (by_nginx, by_haproxy) = std::thread::scope(|scope| {
        let other = scope.spawn(|| nginx.judge(&cases));
        let own = haproxy.judge(&cases);
        (other.join().unwrap(), own)
    });
    write_down(&cases, &by_nginx, &by_haproxy);
    let mut wrong = Vec::new();
    for ((case, nginx), haproxy) in cases.iter().zip(&by_nginx).zip(&by_haproxy) {
        let taken = case.want.last().is_some_and(|want| !is_refusal(want));
        let both = *nginx == Verdict::Refused && *haproxy == Verdict::Refused;
        let unknown = *nginx == Verdict::Unknown || *haproxy == Verdict::Unknown;
        if taken && both && case.laxer.is_none() {
            wrong.push(format!(
                "{}: both refuse it, here it is taken, and the table gives no reason",
                case.name
            ));
        }
        if case.laxer.is_some() && !(taken && both) && !unknown {
            wrong.push(format!("{}: the reason is out of date", case.name));
        }
    }
    none_wrong(&wrong, cases.len());
    let judged = |verdicts: &[Verdict]| {
        let known = |v: &&Verdict| **v != Verdict::Unknown;
        verdicts.iter().filter(known).count()
    };
    // Otherwise a balancer did not run and the test says nothing.
    let least = judged(&by_nginx).min(judged(&by_haproxy));
    assert!(least * 10 > cases.len() * 9, "only {least} were judged");
}

/// Leaves every verdict in a file beside the test program, for docs/conformance.md.
fn write_down(cases: &[Case], nginx: &[Verdict], haproxy: &[Verdict]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance.tsv");
    let mut file = fs::File::create(path).unwrap();
    writeln!(file, "case\tevenkeel\tnginx\thaproxy").unwrap();
    for ((case, nginx), haproxy) in cases.iter().zip(nginx).zip(haproxy) {
        let last = case.want.last().map_or(b"".as_slice(), Vec::as_slice);
        let own = if is_refusal(last) {
            Verdict::Refused
        } else {
            Verdict::Forwarded
        };
        let name = &case.name;
        writeln!(file, "{name}\t{own:?}\t{nginx:?}\t{haproxy:?}").unwrap();
    }
}

/// Ends the sending side only.
fn half_close(stream: &std::net::TcpStream) {
    drop(stream.shutdown(Shutdown::Write));
}
