//! A limit that is found out from the response times.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use evenkeel_model::config::{Adaptive, Queue};
use evenkeel_model::rng::Rng;

use crate::support::{Bench, Client, Origin, PATIENCE, eventually, simple};

/// So many that the limit settles well away from where it starts: near 1.8 times as many, from 8.
const SLOTS: u32 = 8;
const SERVICE: Duration = Duration::from_millis(4);
const CLIENTS: usize = 40;

/// What an origin with slots has done.
#[derive(Debug, Default)]
struct Work {
    /// Requests that it holds, worked on or not.
    held: AtomicU32,
    /// Time that its slots were busy.
    busy_ns: AtomicU64,
}

/// An origin that works on [`SLOTS`] requests at once, each for [`SERVICE`] or, if `is_random`, exponential with that
/// mean; the others wait in it.
fn station(is_random: bool) -> (Origin, Arc<Work>) {
    let work = Arc::new(Work::default());
    let does = Arc::clone(&work);
    let slots = Arc::new((Mutex::new((SLOTS, Rng::new(5))), Condvar::new()));
    let origin = Origin::start(move |mut conn| {
        while conn.request().is_some() {
            does.held.fetch_add(1, Ordering::SeqCst);
            let (state, freed) = &*slots;
            let state = state.lock().unwrap();
            let (mut state, _) = freed
                .wait_timeout_while(state, PATIENCE, |(free, _)| *free == 0)
                .unwrap();
            state.0 -= 1;
            let part = if is_random {
                state.1.exponential(1.0)
            } else {
                1.0
            };
            drop(state);
            let began = Instant::now();
            let by = began + SERVICE.mul_f64(part);
            while let Some(left) = by.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap();
            does.busy_ns.fetch_add(took, Ordering::SeqCst);
            slots.0.lock().unwrap().0 += 1;
            freed.notify_one();
            does.held.fetch_sub(1, Ordering::SeqCst);
            if !conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
                return;
            }
        }
    });
    (origin, work)
}

/// Stops the clients when it goes out of scope.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn a_station_is_kept_busy_and_not_flooded(is_random: bool) {
    let (origin, work) = station(is_random);
    let mut config = simple(&[origin.address]);
    config.pools[0].adaptive = Some(Adaptive::default());
    config.pools[0].queue = Some(Queue {
        length: 1_000,
        timeout: PATIENCE,
    });
    let bench = Bench::start_with(config, 2);
    let (address, stop) = (bench.address(), AtomicBool::new(false));
    let limit = || bench.proxy.vitals()[0].1[0].1.limit.unwrap();
    let before = limit();
    let (mut most_held, mut most) = (0, 0);
    let mut busy = 0.0;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
        // However this ends, the clients do: the scope waits for them.
        let _ends = Stops(&stop);
        eventually("the limit moves", || limit() != before);
        let (began, busy_before) = (Instant::now(), work.busy_ns.load(Ordering::SeqCst));
        while began.elapsed() < Duration::from_secs(2) {
            most_held = most_held.max(work.held.load(Ordering::SeqCst));
            most = most.max(limit());
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let busy_ns = work.busy_ns.load(Ordering::SeqCst) - busy_before;
        busy = busy_ns as f64 / 1e9 / began.elapsed().as_secs_f64() / f64::from(SLOTS);
    });
    println!("random {is_random}: at most {most} allowed, {most_held} held, {busy:.3} busy");
    assert!(most_held <= most, "{most_held} held of {most}");
    assert!(
        (most as usize) < CLIENTS,
        "{most}: what does not fit waits here"
    );
    // Without load on this machine 0.9 and more; the way between two requests is idle time too.
    assert!(busy >= 0.6, "{busy}");
    // A client has its answer a moment before the slot is given back.
    eventually("nothing is in flight", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 0
    });
}

#[test]
fn a_backend_with_even_service_times_is_kept_busy_and_the_others_wait_here() {
    a_station_is_kept_busy_and_not_flooded(false);
}

#[test]
fn a_backend_with_random_service_times_is_kept_busy_and_the_others_wait_here() {
    a_station_is_kept_busy_and_not_flooded(true);
}
