//! Requests by route, over all workers and over reloads that move it: the highest whole minute of each for a forecast,
//! the total of each and of where it leads for metrics. What a worker counted in the second of a move goes to the pool
//! after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use evenkeel_forecast::RouteFacts;
use evenkeel_model::config::{Config, Target};
use evenkeel_model::ids::{Name, WorkerId};
use evenkeel_model::tally::{RouteKey, RouteTally};

/// Seconds of a minute.
const MINUTE: usize = 60;

/// What was counted at the routes of the running configuration.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_key: BTreeMap<Arc<RouteKey>, Seen>,
    /// Seconds that were counted, up to a whole minute.
    seconds: usize,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// To this pool.
    Pool(Name),
    /// To an answer with this status.
    Status(u16),
}

/// Requests that a route led where it leads since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCounter {
    /// What it matches.
    pub route: Arc<RouteKey>,
    /// Where it leads now.
    pub leads: Leads,
    /// Requests that it led there.
    pub requests: u64,
}

#[derive(Debug)]
struct Seen {
    /// Where it leads.
    leads: Leads,
    /// Requests by where it led, of the pools that are still there.
    totals: BTreeMap<Leads, u64>,
    /// The last count of each worker.
    told: BTreeMap<WorkerId, u64>,
    /// Requests of the second that is being counted.
    second: u64,
    /// Requests by second, at most a minute, and their sum.
    seconds: VecDeque<u64>,
    sum: u64,
    /// Most requests in a whole minute.
    highest: u64,
}

impl Leads {
    fn of(target: &Target) -> Self {
        match target {
            Target::Pool(pool) => Self::Pool(pool.clone()),
            Target::Answer(answer) => Self::Status(answer.status()),
        }
    }
}

impl Seen {
    const fn new(leads: Leads) -> Self {
        Self {
            leads,
            totals: BTreeMap::new(),
            told: BTreeMap::new(),
            second: 0,
            seconds: VecDeque::new(),
            sum: 0,
            highest: 0,
        }
    }

    fn rps(&self) -> f64 {
        self.highest as f64 / MINUTE as f64
    }
}

impl Routes {
    /// Takes where the routes lead from now on. Returns the pools that get other counted routes than before, with the
    /// sum of what those had.
    pub(super) fn lead(&mut self, config: &Config) -> BTreeMap<Name, f64> {
        let before = self.feeds();
        let mut old = std::mem::take(&mut self.by_key);
        for route in &config.routes {
            let key = Arc::new(RouteKey::of(route));
            let leads = Leads::of(&route.target);
            let (key, mut seen) = old
                .remove_entry(&key)
                .unwrap_or_else(|| (key, Seen::new(leads.clone())));
            // The first of two alike gets the requests.
            self.by_key.entry(key).or_insert_with(|| {
                seen.leads = leads;
                let is_there = |leads: &Leads| match leads {
                    Leads::Pool(name) => config.pool(name.as_str()).is_some(),
                    Leads::Status(_) => true,
                };
                seen.totals.retain(|leads, _| is_there(leads));
                seen
            });
        }
        let after = self.feeds();
        let pools = before.keys().chain(after.keys());
        let moved = pools.filter(|pool| before.get(*pool) != after.get(*pool));
        let rps = |pool: &Name| {
            let feeds = after.get(pool).into_iter().flatten();
            feeds
                .filter_map(|key| self.by_key.get(key))
                .map(Seen::rps)
                .sum()
        };
        moved.map(|pool| (pool.clone(), rps(pool))).collect()
    }

    /// The counted routes of each pool.
    fn feeds(&self) -> BTreeMap<Name, Vec<Arc<RouteKey>>> {
        let mut feeds: BTreeMap<Name, Vec<Arc<RouteKey>>> = BTreeMap::new();
        for (key, seen) in self.by_key.iter().filter(|(_, seen)| seen.highest > 0) {
            if let Leads::Pool(pool) = &seen.leads {
                let pool = feeds.entry(pool.clone()).or_default();
                pool.push(Arc::clone(key));
            }
        }
        feeds
    }

    /// Takes the counts of a worker. A count that fell began anew.
    pub(super) fn take(&mut self, worker: WorkerId, tallies: &[RouteTally]) {
        for tally in tallies {
            if let Some(seen) = self.by_key.get_mut(&tally.route) {
                let before = seen.told.insert(worker, tally.requests).unwrap_or(0);
                let more = tally.requests.checked_sub(before);
                let more = more.unwrap_or(tally.requests);
                seen.second += more;
                *seen.totals.entry(seen.leads.clone()).or_default() += more;
            }
        }
    }

    /// Ends a second.
    pub(super) fn second(&mut self) {
        self.seconds = (self.seconds + 1).min(MINUTE + 1);
        for seen in self.by_key.values_mut() {
            let second = std::mem::take(&mut seen.second);
            seen.seconds.push_back(second);
            seen.sum += second;
            if seen.seconds.len() > MINUTE {
                seen.sum -= seen.seconds.pop_front().unwrap_or(0);
            }
            // The first second may hold what came before anybody looked.
            if self.seconds > MINUTE {
                seen.highest = seen.highest.max(seen.sum);
            }
        }
    }

    /// The total of every route of the running configuration.
    pub(super) fn counters(&self) -> Vec<RouteCounter> {
        let counter = |(key, seen): (&Arc<RouteKey>, &Seen)| RouteCounter {
            route: Arc::clone(key),
            leads: seen.leads.clone(),
            requests: seen.totals.get(&seen.leads).copied().unwrap_or(0),
        };
        self.by_key.iter().map(counter).collect()
    }

    /// What a forecast can use; routes without requests are left out.
    pub(super) fn facts(&self) -> BTreeMap<RouteKey, RouteFacts> {
        let counted = self.by_key.iter().filter(|(_, seen)| seen.highest > 0);
        let facts = |(key, seen): (&Arc<RouteKey>, &Seen)| {
            let facts = RouteFacts {
                highest_minute_rps: seen.rps(),
                pool: match &seen.leads {
                    Leads::Pool(pool) => Some(pool.to_string()),
                    Leads::Status(_) => None,
                },
            };
            (RouteKey::clone(key), facts)
        };
        counted.map(facts).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evenkeel_model::config::Config;
    use evenkeel_model::ids::WorkerId;
    use evenkeel_model::parse::parse;
    use evenkeel_model::tally::{RouteKey, RouteTally};

    use super::{Leads, MINUTE, Routes};

    /// `/cart` and `/` lead to these pools.
    fn config(cart: &str, rest: &str) -> Config {
        let text = format!(
            "[listener.l]\naddress = \"127.0.0.1:1\"\n\
             [[route]]\nlistener = \"l\"\npath_prefix = \"/cart\"\npool = \"{cart}\"\n\
             [[route]]\nlistener = \"l\"\npool = \"{rest}\"\n\
             [pool.a.backend.b]\naddress = \"127.0.0.1:2\"\n[pool.b.backend.b]\naddress = \"127.0.0.1:3\"\n"
        );
        parse(&text, None).config.unwrap()
    }

    fn tally(config: &Config, route: usize, requests: u64) -> RouteTally {
        RouteTally {
            route: Arc::new(RouteKey::of(&config.routes[route])),
            requests,
        }
    }

    fn seen(routes: &Routes, config: &Config, route: usize) -> Option<(f64, String)> {
        let facts = routes.facts();
        let facts = facts.get(&RouteKey::of(&config.routes[route]));
        facts.map(|facts| {
            (
                facts.highest_minute_rps,
                facts.pool.clone().unwrap_or_default(),
            )
        })
    }

    #[test]
    fn the_highest_minute_adds_up_the_workers_and_outlives_a_reload() {
        let config = config("a", "b");
        let mut routes = Routes::default();
        routes.lead(&config);
        for n in 1..=60 {
            routes.take(
                WorkerId(0),
                &[tally(&config, 0, n * 4), tally(&config, 1, n)],
            );
            routes.take(WorkerId(1), &[tally(&config, 0, n * 2)]);
            routes.second();
        }
        assert_eq!(seen(&routes, &config, 0), None, "no whole minute yet");
        routes.take(
            WorkerId(0),
            &[tally(&config, 0, 61 * 4), tally(&config, 1, 61)],
        );
        routes.take(WorkerId(1), &[tally(&config, 0, 61 * 2)]);
        routes.second();
        assert_eq!(seen(&routes, &config, 0), Some((6.0, "a".to_owned())));
        // Quiet minutes do not take the peak away, and neither does a reload that moves the route.
        (0..2 * MINUTE).for_each(|_| routes.second());
        let moved = self::config("b", "b");
        let pools = routes.lead(&moved);
        assert_eq!(seen(&routes, &moved, 0), Some((6.0, "b".to_owned())));
        let pools: Vec<_> = pools
            .iter()
            .map(|(pool, rps)| (pool.as_str(), *rps))
            .collect();
        assert_eq!(pools, [("a", 0.0), ("b", 7.0)]);
        assert!(routes.lead(&moved).is_empty(), "nothing moved");
    }

    #[test]
    fn a_count_that_began_anew_is_not_lost() {
        let config = config("a", "b");
        let mut routes = Routes::default();
        routes.lead(&config);
        (0..MINUTE).for_each(|_| routes.second());
        routes.take(WorkerId(0), &[tally(&config, 0, 600)]);
        routes.take(WorkerId(0), &[tally(&config, 0, 60)]);
        routes.second();
        assert_eq!(seen(&routes, &config, 0), Some((11.0, "a".to_owned())));
    }

    /// Totals of `/` and `/cart`, in this order, with the pools they lead to.
    fn totals(routes: &Routes) -> Vec<(String, u64)> {
        let counters = routes.counters().into_iter();
        counters
            .map(|counter| match counter.leads {
                Leads::Pool(pool) => (pool.to_string(), counter.requests),
                Leads::Status(status) => (status.to_string(), counter.requests),
            })
            .collect()
    }

    #[test]
    fn totals_go_by_where_the_route_leads_and_never_fall() {
        let (at_a, at_b) = (config("a", "b"), config("b", "b"));
        let mut routes = Routes::default();
        routes.lead(&at_a);
        let to = |pool: &str, requests| (pool.to_owned(), requests);
        assert_eq!(totals(&routes), [to("b", 0), to("a", 0)]);
        routes.take(WorkerId(0), &[tally(&at_a, 0, 5), tally(&at_a, 1, 2)]);
        routes.take(WorkerId(1), &[tally(&at_a, 0, 3)]);
        assert_eq!(totals(&routes), [to("b", 2), to("a", 8)]);
        // Elsewhere it begins at 0; back again it goes on from where it was.
        routes.lead(&at_b);
        routes.take(WorkerId(0), &[tally(&at_b, 0, 6)]);
        assert_eq!(totals(&routes), [to("b", 2), to("b", 1)]);
        routes.lead(&at_a);
        assert_eq!(totals(&routes), [to("b", 2), to("a", 8)]);
    }
}
