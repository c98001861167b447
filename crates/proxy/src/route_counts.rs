//! Requests by route in one worker. No atomics: only the worker's own thread touches it.
//!
//! A cell belongs to what the route matches, not to where it leads, so its count goes on over a reload that moves the
//! route to another pool.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_model::tally::{RouteKey, RouteTally};

use crate::traffic::{RouteTraffic, Routes};

/// The count of one route.
#[derive(Debug)]
pub(crate) struct RouteCell {
    route: Arc<RouteKey>,
    requests: Cell<u64>,
    /// What the last tally said.
    told: Cell<u64>,
    /// What passed since it was handed over.
    traffic: RefCell<Option<Box<RouteTraffic>>>,
}

impl RouteCell {
    /// Counts a request that the route matched.
    pub(crate) fn matched(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Counts a request that is over: its status, its time, its bytes in and out.
    pub(crate) fn ended(&self, status: u16, took: Duration, bytes: (u64, u64)) {
        let mut traffic = self.traffic.borrow_mut();
        let traffic = traffic.get_or_insert_default();
        traffic.ended(status, took, bytes);
    }
}

/// Whether `cells` are those of the routes with these keys, in their order.
pub(crate) fn fit(cells: &[Rc<RouteCell>], keys: &[Arc<RouteKey>]) -> bool {
    cells.iter().map(|cell| &cell.route).eq(keys)
}

/// The cells of the routes with these keys, in their order; those that `before` has go on.
pub(crate) fn cells(keys: &[Arc<RouteKey>], before: &[Rc<RouteCell>]) -> Vec<Rc<RouteCell>> {
    let mut known: BTreeMap<&RouteKey, Rc<RouteCell>> = before
        .iter()
        .map(|cell| (&*cell.route, Rc::clone(cell)))
        .collect();
    let mut cell = |key| {
        let new = || {
            Rc::new(RouteCell {
                route: Arc::clone(key),
                requests: Cell::new(0),
                told: Cell::new(0),
                traffic: RefCell::default(),
            })
        };
        Rc::clone(known.entry(&**key).or_insert_with(new))
    };
    keys.iter().map(&mut cell).collect()
}

/// The counts that changed since the last tally.
pub(crate) fn tally(cells: &[Rc<RouteCell>]) -> Vec<RouteTally> {
    let changed =
        |cell: &&Rc<RouteCell>| cell.told.replace(cell.requests.get()) != cell.requests.get();
    let tally = |cell: &Rc<RouteCell>| RouteTally {
        route: Arc::clone(&cell.route),
        requests: cell.requests.get(),
    };
    cells.iter().filter(changed).map(tally).collect()
}

/// Hands over what passed.
pub(crate) fn hand_over(cells: &[Rc<RouteCell>], routes: &Routes) {
    let new = cells.iter().filter_map(|cell| {
        let traffic = cell.traffic.take()?;
        Some((Arc::clone(&cell.route), traffic))
    });
    let mut routes = routes.lock();
    for (route, traffic) in new {
        routes.entry(route).or_default().add(&traffic);
    }
}

/// Makes the next tally tell every count, because one was not taken.
pub(crate) fn tell_again(cells: &[Rc<RouteCell>]) {
    for cell in cells {
        cell.told.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evenkeel_model::tally::RouteKey;

    use super::{cells, tally, tell_again};

    fn key(path_prefix: &str) -> Arc<RouteKey> {
        Arc::new(RouteKey {
            listener: "web".to_owned(),
            host: None,
            path_prefix: path_prefix.to_owned(),
            condition: None,
        })
    }

    #[test]
    fn a_count_survives_a_reload_by_what_the_route_matches() {
        let first = cells(&[key("/cart"), key("/")], &[]);
        first[0].matched();
        first[1].matched();
        first[1].matched();
        assert_eq!(tally(&first).len(), 2);
        // Another order and a new route in front: the counts stay with their routes.
        let second = cells(&[key("/new"), key("/"), key("/cart")], &first);
        assert_eq!(tally(&second), []);
        second[2].matched();
        let told = tally(&second);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].route.path_prefix.as_str(), told[0].requests),
            ("/cart", 2)
        );
    }

    #[test]
    fn a_tally_that_was_not_taken_is_told_again() {
        let cells = cells(&[key("/a"), key("/b")], &[]);
        cells[0].matched();
        assert_eq!(tally(&cells).len(), 1);
        tell_again(&cells);
        assert_eq!(tally(&cells)[0].requests, 1);
        assert_eq!(tally(&cells), []);
    }
}
