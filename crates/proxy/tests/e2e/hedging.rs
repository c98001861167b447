//! A second backend for requests whose first one is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_model::config::{Config, Hedge, HedgeAfter};
use evenkeel_model::units::Ratio;
use evenkeel_proxy::Hedges;

use crate::support::{Bench, Client, Origin, PATIENCE, eventually, refused, simple};

/// An origin that answers `text`, after `slow` where it is not zero or when the client has gone.
fn origin(text: &'static str, slow_ms: Arc<AtomicU64>) -> (Origin, Arc<AtomicU32>, Arc<AtomicU32>) {
    let (asked, gone) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (asks, goes) = (Arc::clone(&asked), Arc::clone(&gone));
    let origin = Origin::start(move |mut conn| {
        while conn.request().is_some() {
            asks.fetch_add(1, Ordering::SeqCst);
            let wait = Duration::from_millis(slow_ms.load(Ordering::SeqCst));
            if !wait.is_zero() {
                conn.stream.set_read_timeout(Some(wait)).unwrap();
                let mut byte = [0];
                // Ends early when the other side closes.
                if matches!(std::io::Read::read(&mut conn.stream, &mut byte), Ok(0)) {
                    goes.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                conn.stream.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            if !conn.send(&answer) {
                return;
            }
        }
    });
    (origin, asked, gone)
}

fn hedging(mut config: Config, after: HedgeAfter, percent: u32) -> Config {
    config.pools[0].hedge = Some(Hedge {
        after,
        budget: Ratio::from_percent(percent),
    });
    config
}

const SOON: HedgeAfter = HedgeAfter::Time(Duration::from_millis(30));

fn ms(n: u64) -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(n))
}

fn hedges(bench: &Bench) -> Hedges {
    bench.proxy.hedges()[0].1
}

fn in_flight(bench: &Bench) -> u32 {
    bench.proxy.vitals()[0]
        .1
        .iter()
        .map(|b| b.1.in_flight)
        .sum()
}

#[test]
fn the_first_answer_wins_and_the_other_is_closed_and_counted_as_cancelled() {
    let (slow, asked_slow, gone) = origin("slow", ms(9_000));
    let (quick, asked_quick, _) = origin("quick", ms(0));
    let config = hedging(simple(&[slow.address, quick.address]), SOON, 100);
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "quick");
    }
    let seen = hedges(&bench);
    assert_eq!(asked_slow.load(Ordering::SeqCst), 5, "each second request");
    assert_eq!((seen.made, seen.won, seen.failed), (5, 5, 0));
    assert_eq!(asked_quick.load(Ordering::SeqCst), 10);
    eventually("the losers are closed", || gone.load(Ordering::SeqCst) == 5);
    eventually("the slots are given back", || in_flight(&bench) == 0);
    let tally = bench.finish().remove(0).1;
    assert_eq!(tally[0].outcomes.cancelled, 5);
    assert_eq!(
        (tally[0].outcomes.total(), tally[0].latency.count()),
        (5, 0)
    );
    assert_eq!(
        (tally[0].harmed, tally[1].outcomes.ok, tally[1].picks_retry),
        (0, 10, 5)
    );
    assert_eq!(tally[1].latency.count(), 10);
}

#[test]
fn a_quick_failure_of_the_second_does_not_win_over_a_first_that_is_still_at_it() {
    for head in ["503 Busy", "500 Oops", "429 Too Many Requests"] {
        let (first, ..) = origin("first", ms(150));
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        let second = Origin::answering(answer.leak());
        let config = hedging(simple(&[first.address, second.address]), SOON, 100);
        let bench = Bench::start(config);
        let mut client = bench.client();
        // Every second request goes to the failing one first, and nothing is retried.
        let texts: Vec<String> = (0..4).map(|_| client.get("/").text().to_owned()).collect();
        assert!(
            texts.iter().filter(|text| *text == "first").count() >= 2,
            "{texts:?}"
        );
        let seen = hedges(&bench);
        assert!(seen.failed >= 2 && seen.won == 0, "{seen:?}");
        let tally = bench.finish().remove(0).1;
        let told = tally[1].outcomes;
        assert!(told.server_error + told.client_error >= 2, "{told:?}");
    }
}

#[test]
fn a_first_answer_that_comes_while_the_second_is_asked_cancels_the_second() {
    let (first, ..) = origin("first", ms(150));
    let (second, asked, gone) = origin("second", ms(9_000));
    let config = hedging(simple(&[first.address, second.address]), SOON, 100);
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "first");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    eventually("the losers are closed", || gone.load(Ordering::SeqCst) == 4);
    let seen = hedges(&bench);
    assert_eq!((seen.made, seen.won, seen.failed), (4, 2, 0));
    eventually("the slots are given back", || in_flight(&bench) == 0);
    let tally = bench.finish().remove(0).1;
    let [first, second] = [&tally[0].outcomes, &tally[1].outcomes];
    assert_eq!(
        (first.ok, first.cancelled, second.ok, second.cancelled),
        (4, 0, 0, 4)
    );
}

#[test]
fn no_more_is_hedged_than_the_budget_allows() {
    let (a, asked_a, _) = origin("a", ms(60));
    let (b, asked_b, _) = origin("b", ms(60));
    let bench = Bench::start(hedging(simple(&[a.address, b.address]), SOON, 10));
    let mut clients: Vec<Client> = (0..10).map(|_| bench.client()).collect();
    for _ in 0..4 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
    let seen = hedges(&bench);
    assert!(seen.made <= 4 && seen.made >= 2, "{seen:?}");
    assert_eq!(seen.made + seen.over_budget, 40);
    let asked = asked_a.load(Ordering::SeqCst) + asked_b.load(Ordering::SeqCst);
    assert_eq!(u64::from(asked), 40 + seen.made);
}

#[test]
fn what_may_do_harm_twice_or_has_no_other_place_to_go_is_never_hedged() {
    let (a, asked_a, _) = origin("a", ms(60));
    let (b, asked_b, _) = origin("b", ms(60));
    let asked = || asked_a.load(Ordering::SeqCst) + asked_b.load(Ordering::SeqCst);
    let mut bench = Bench::start(hedging(simple(&[a.address, b.address]), SOON, 100));
    let mut client = bench.client();
    for (n, request) in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    ]
    .into_iter()
    .cycle()
    .take(9)
    .enumerate()
    {
        client.send(request);
        assert_eq!(client.response().status, 200);
        assert_eq!(asked(), n as u32 + 1, "{request}");
    }
    assert_eq!(hedges(&bench), Hedges::default());
    // No room: the other backend is at its limit.
    let mut full = bench.config.clone();
    full.pools[0].max_in_flight_total = Some(1);
    bench.swap(full);
    for _ in 0..6 {
        assert_eq!(client.get("/").status, 200);
    }
    let seen = hedges(&bench);
    assert_eq!((seen.made, seen.no_room > 0), (0, true), "{seen:?}");
    assert_eq!(asked(), 9 + 6);
}

#[test]
fn a_second_backend_that_fails_leaves_the_first_to_answer_and_a_first_that_fails_the_second() {
    let slow = ms(120);
    let (origin, ..) = origin("good", slow);
    let mut config = hedging(simple(&[origin.address, refused()]), SOON, 100);
    config.pools[0].retry.attempts = 0;
    config.pools[0].backends[1].weight = 1;
    let bench = Bench::start(config);
    let mut client = bench.client();
    let mut said = Vec::new();
    for _ in 0..8 {
        said.push(client.get("/").said().0);
    }
    // Round robin: each second request goes to the dead one first, without a retry.
    assert_eq!(
        said.iter().filter(|status| **status == 200).count(),
        4,
        "{said:?}"
    );
    let seen = hedges(&bench);
    assert!(seen.failed >= 1 && seen.won == 0, "{seen:?}");
    eventually("the slots are given back", || in_flight(&bench) == 0);
}

#[test]
fn a_percentile_is_learned_from_the_pool_itself() {
    let slow = ms(0);
    let (a, ..) = origin("a", Arc::clone(&slow));
    let (b, ..) = origin("b", ms(0));
    let p95 = HedgeAfter::Percentile(95);
    let bench = Bench::start(hedging(simple(&[a.address, b.address]), p95, 100));
    let mut client = bench.client();
    for _ in 0..120 {
        assert_eq!(client.get("/").status, 200);
    }
    slow.store(5_000, Ordering::SeqCst);
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "b");
    }
    assert!(hedges(&bench).won >= 3);
}

#[test]
fn an_interim_response_ends_the_race() {
    let begun = Origin::start(|mut conn| {
        while conn.request().is_some() {
            if !conn.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(120));
            if !conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbegun") {
                return;
            }
        }
    });
    let (quick, ..) = origin("quick", ms(0));
    let bench = Bench::start(hedging(simple(&[begun.address, quick.address]), SOON, 100));
    let mut client = bench.client();
    let mut texts = Vec::new();
    for _ in 0..6 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut response = client.response();
        if response.status == 103 {
            response = client.response();
        }
        texts.push(response.text().to_owned());
    }
    assert_eq!(
        texts.iter().filter(|text| *text == "begun").count(),
        3,
        "{texts:?}"
    );
    assert_eq!(hedges(&bench).won, 0);
}
