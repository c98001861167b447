//! Members come and go while requests are on their way: a further try goes to one that the request and the pool know.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::{Bench, Origin, PATIENCE, eventually, name, refused, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_further_try_after_a_change_of_members_goes_to_one_that_stayed() {
    for _ in 0..6 {
        let (told, asked) = channel();
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let leaving = Origin::start(move |mut conn| {
            if conn.request().is_some() {
                told.send(()).unwrap();
                released.lock().unwrap().recv().unwrap_or(());
            }
        });
        let staying = Origin::answering(OK);
        let mut bench = Bench::start(simple(&[leaving.address, staying.address]));
        let (mut one, mut other) = (bench.client(), bench.client());
        // Round robin: of two requests each member gets one.
        one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        asked.recv_timeout(PATIENCE).unwrap();
        // The other one is picked before the change as well, however busy the machine is.
        eventually("the other request", || staying.connections() == 1);
        let mut config = simple(&[refused(), refused(), refused(), staying.address]);
        let names = ["new-0", "new-1", "new-2", "b1"];
        for (backend, new) in config.pools[0].backends.iter_mut().zip(names) {
            backend.name = name(new);
        }
        bench.swap(config);
        release.send(()).unwrap();
        assert_eq!(one.response().text(), "ok");
        assert_eq!(other.response().text(), "ok");
        let tallies = bench.finish();
        let (_, cells) = &tallies[0];
        assert_eq!((cells[0].outcomes.reset, cells[1].picks_retry), (1, 1));
    }
}
