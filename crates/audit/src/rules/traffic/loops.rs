//! Backends that are the balancer itself: the second half of TRF-07.
//!
//! Limits: only the loop of a listener to itself is seen, not one over a second listener, and an address that the
//! machine has beside those of the loopback is known only where the listener names it.

use std::collections::BTreeMap;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Listener, Pool, Role};

use super::address;
use crate::rule::{Subject, Words};

/// One finding a pool, at the first backend that leads back.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    let listeners = setup.listeners.iter();
    let listeners: BTreeMap<&str, &Listener> = listeners.map(|l| (l.name.as_str(), l)).collect();
    // Of each pool the listeners that lead to it, and whether always under a condition.
    let mut fed: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for route in &setup.routes {
        for (pool, _) in &route.targets {
            let by = fed.entry(pool).or_default();
            let is_conditional = by.entry(&route.listener).or_insert(true);
            *is_conditional &= route.condition.is_some();
        }
    }
    let mut findings = Vec::new();
    for pool in &setup.pools {
        let by = fed.get(pool.name.as_str()).into_iter().flatten();
        let by = by.filter_map(|(name, conditional)| Some((*listeners.get(name)?, *conditional)));
        let found = by.into_iter().find_map(|(listener, is_conditional)| {
            let mut backends = pool.backends.iter().filter(|b| b.role != Role::Disabled);
            let own = backends.find(|b| is_at(&b.address, &listener.address))?;
            Some(finding(subject, pool, own, listener, is_conditional))
        });
        findings.extend(found);
    }
    findings
}

/// Whether a connection to `backend` ends at the listener that is bound to `bound`.
fn is_at(backend: &str, bound: &str) -> bool {
    if address::plain(backend) == address::plain(bound) {
        return true;
    }
    let (host, port) = match address::parsed(backend) {
        Some(address) => (address.ip().is_loopback(), address.port()),
        None => match backend.rsplit_once(':') {
            Some((host, port)) if host.eq_ignore_ascii_case("localhost") => match port.parse() {
                Ok(port) => (true, port),
                Err(_) => return false,
            },
            _ => return false,
        },
    };
    host && listens_on_loopback(bound, port)
}

/// Whether `bound` takes every address of the machine, at `port`.
fn listens_on_loopback(bound: &str, port: u16) -> bool {
    if let Some(bound) = address::parsed(bound) {
        return bound.ip().is_unspecified() && bound.port() == port;
    }
    // `*:80` and `:80` of HAProxy, `80` of nginx.
    let written = bound.trim_start_matches('*').trim_start_matches(':');
    written.parse() == Ok(port)
}

fn finding(
    subject: &Subject<'_>,
    pool: &Pool,
    own: &Backend,
    listener: &Listener,
    is_conditional: bool,
) -> Finding {
    let (severity, effect) = if is_conditional {
        let effect = "a request that meets the condition again comes back, until a limit stops it";
        (Severity::Warning, effect)
    } else {
        let effect =
            "every request that it gets comes back and is sent again, until connections run out";
        (Severity::Error, effect)
    };
    let words = Words {
        message: format!(
            "`{}` of pool `{}` is at {}, where listener `{}` is, which leads to the pool: a loop",
            own.name, pool.name, own.address, listener.name
        ),
        effect: effect.to_owned(),
        fix: format!("give `{}` the address of a server", own.name),
    };
    let at = format!("{}.address", own.path);
    subject.finding("TRF-07", severity, (&own.path, &at), 1.0, words)
}

#[cfg(test)]
mod tests {
    use evenkeel_model::setup::{Balancer, Route};

    use super::is_at;
    use crate::rules::probe::{heads, pool, says, setup};

    #[test]
    fn a_backend_at_the_listener_that_leads_to_it_is_a_loop() {
        let with = |address: &str, listener: &str, condition: Option<&str>| {
            let mut app = pool("app", 2);
            app.backends[0].address = address.to_owned();
            let mut setup = setup(Balancer::Haproxy, vec![app]);
            setup.listeners[0].address = "127.0.0.1:8080".to_owned();
            setup.routes.push(Route {
                path: "frontend.web.default".to_owned(),
                listener: listener.to_owned(),
                host: None,
                path_prefix: None,
                whole_segments: false,
                condition: condition.map(str::to_owned),
                matcher: None,
                answer: None,
                edits: evenkeel_model::config::Edits::default(),
                targets: vec![("app".to_owned(), 1.0)],
            });
            heads(&says(&setup, "TRF-07"))
        };
        let own = "127.0.0.1:8080";
        assert_eq!(with(own, "web", None), ["error backend.app.server.s1"]);
        let conditional = with(own, "web", Some("{ src ::1 }"));
        assert_eq!(conditional, ["warning backend.app.server.s1"]);
        // A second listener that passes on to the first is no loop, as are other ports.
        assert!(with(own, "outer", None).is_empty());
        assert!(with("127.0.0.1:8081", "web", None).is_empty());
    }

    #[test]
    fn a_listener_on_every_address_is_met_by_the_loopback_at_its_port() {
        for bound in ["0.0.0.0:80", "[::]:80", "*:80", ":80", "80", "127.0.0.1:80"] {
            assert!(is_at("127.0.0.1:80", bound), "{bound}");
            assert!(!is_at("127.0.0.1:81", bound), "{bound}");
            assert!(!is_at("10.0.0.1:80", bound), "{bound}");
        }
        assert!(is_at("localhost:80", "*:80") && !is_at("app:80", "*:80"));
        assert!(is_at("unix:/run/./a.sock", "unix:/run/a.sock"));
    }
}
