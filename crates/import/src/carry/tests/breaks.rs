//! What would break is left out and told; what the audit would refuse is brought within its bounds and told.

use std::time::Duration;

use evenkeel_model::config::Intent;
use evenkeel_model::finding::Origin;
use evenkeel_model::setup::{CheckKind, Health, Listener, Passive, Route, Setup, Wait};

use super::{back, carried, lost, shop};
use crate::carry::{Addresses, Carried, carry};
use crate::{Aside, AsideKind};

fn protocol(path: &str, what: &str) -> Aside {
    Aside {
        path: path.to_owned(),
        what: what.to_owned(),
        kind: AsideKind::Protocol,
    }
}

fn carried_with(setup: &Setup, aside: Aside) -> Carried {
    carry(setup, &Origin::default(), &[aside], &Addresses::new())
}

/// A listener of its own on port 9090 with the route of the first.
fn with_second_listener(is_tls: bool) -> Setup {
    let mut setup = shop(&[1]);
    setup.listeners.push(Listener {
        is_tls,
        ..Listener::blank("second", "frontend.fe.bind.1", ":9090")
    });
    setup.routes.push(Route {
        listener: "second".to_owned(),
        ..setup.routes[0].clone()
    });
    setup
}

#[test]
fn a_listener_whose_clients_speak_another_protocol_is_left_out_unless_a_terminator_stands_before_it()
 {
    let proxied = protocol("frontend.fe.line.7", "bind *:9090 .. accept-proxy");
    let plain = carried_with(&with_second_listener(false), proxied.clone());
    let new = back(&plain);
    assert_eq!((new.listeners.len(), new.routes.len()), (1, 1));
    assert_eq!(new.listeners[0].address, "0.0.0.0:8080");
    assert!(
        lost(&plain, "listener `second`")
            .why
            .contains("accept-proxy")
    );
    let terminated = back(&carried_with(&with_second_listener(true), proxied));
    assert_eq!(terminated.listeners[1].address, "127.0.0.1:9090");
}

#[test]
fn every_listener_of_a_section_that_expects_the_proxy_protocol_is_left_out() {
    let expects = protocol(
        "frontend.fe.line.3",
        "tcp-request connection expect-proxy layer4",
    );
    assert_eq!(
        carried_with(&with_second_listener(false), expects).text,
        None
    );
}

#[test]
fn a_route_that_passes_on_upgrades_is_left_out_and_its_neighbour_stays() {
    let mut setup = shop(&[1]);
    let mut chat = setup.routes[0].clone();
    chat.path = "server.0.location./ws/".to_owned();
    chat.path_prefix = Some("/ws/".to_owned());
    setup.routes[0].path = "server.0.location./".to_owned();
    setup.routes.insert(0, chat);
    let at = |path: &str| protocol(path, "upgrade_configs CONNECT");
    let told = carried_with(&setup, at("server.0.location./ws/.proxy_set_header.line.9"));
    let new = back(&told);
    assert_eq!(
        (new.routes.len(), &new.routes[0].path_prefix),
        (1, &Some("/".to_owned()))
    );
    let loss = lost(&told, "the route `/ws/` to `app`");
    assert!(loss.why.contains("CONNECT"), "{loss:?}");
    let text = told.text.unwrap();
    assert!(
        text.contains("# left out: the route `/ws/` to `app`"),
        "{text}"
    );
    // A place that is no route's own, such as a location within a location, holds for the whole server.
    let nested = at("server.0.location./a.location./a/b.proxy_set_header.line.9");
    assert_eq!(carried_with(&setup, nested).text, None);
}

#[test]
fn a_route_that_passes_on_web_sockets_comes_along() {
    let mut setup = shop(&[1]);
    setup.routes[0].path = "server.0.location./ws/".to_owned();
    for what in [
        "proxy_set_header Upgrade $http_upgrade",
        "upgrade_configs websocket",
        "upgrade_configs WebSocket true",
    ] {
        let told = carried_with(&setup, protocol("server.0.location./ws/.x.line.9", what));
        assert_eq!(back(&told).routes.len(), 1, "{what}");
    }
}

#[test]
fn an_upgrade_of_one_route_or_of_a_whole_chain_leaves_out_just_that() {
    let mut setup = shop(&[1]);
    let mut chat = setup.routes[0].clone();
    chat.path = "listener.web.chain.0.virtual_host.all.route.0".to_owned();
    chat.path_prefix = Some("/ws".to_owned());
    setup.routes[0].path = "listener.web.chain.0.virtual_host.all.route.1".to_owned();
    setup.routes.insert(0, chat);
    let at = |path: &str| protocol(path, "upgrade_configs websocket spdy/3.1");
    let one = at("listener.web.chain.0.virtual_host.all.route.0.route.upgrade_configs");
    assert_eq!(back(&carried_with(&setup, one)).routes.len(), 1);
    let all = at("listener.web.chain.0.filter.0.typed_config.upgrade_configs");
    assert_eq!(carried_with(&setup, all).text, None);
}

#[test]
fn a_pool_that_no_route_leads_to_is_left_out_and_told() {
    let mut setup = shop(&[1]);
    let mut idle = setup.pools[0].clone();
    idle.name = "idle".to_owned();
    setup.pools.push(idle);
    let carried = carried(&setup);
    assert_eq!(back(&carried).pools.len(), 1);
    let told = carried.losses.iter().find(|l| l.what == "pool `idle`");
    assert!(told.unwrap().why.contains("no route"));
    assert!(carried.text.unwrap().contains("# left out: pool `idle`"));
}

#[test]
fn tls_that_does_not_come_along_stands_among_what_is_not_protected() {
    let mut setup = shop(&[1]);
    setup.listeners[0].is_tls = true;
    let carried = carried(&setup);
    assert_eq!(carried.losses[0].aside, Some(AsideKind::Access));
    let text = carried.text.unwrap();
    let (_, told) = text.split_once("# NOT PROTECTED").unwrap();
    assert!(
        told.contains("#   TLS of listener `fe` on *:8080"),
        "{text}"
    );
}

#[test]
fn a_budget_beyond_what_the_audit_accepts_is_cut_and_told() {
    let mut setup = shop(&[1, 1]);
    setup.pools[0].retry.attempts = Some(2);
    setup.pools[0].retry.budget = Some(1.0);
    let carried = carried(&setup);
    let retry = back(&carried).pools[0].retry;
    assert_eq!((retry.attempts, retry.budget), (Some(2), Some(0.2)));
    let told = &lost(&carried, "retries of pool `app`").consequence;
    assert!(told.contains("five requests over time, not 100%"), "{told}");
    setup.pools[0].retry.budget = Some(0.1);
    assert_eq!(
        back(&super::carried(&setup)).pools[0].retry.budget,
        Some(0.1)
    );
}

#[test]
fn tries_without_a_limit_become_one_for_each_other_backend_up_to_three() {
    for (backends, attempts) in [(1, 0), (2, 1), (3, 2), (9, 3)] {
        let mut setup = shop(&vec![1; backends]);
        setup.pools[0].retry.attempts = None;
        let retry = back(&carried(&setup)).pools[0].retry;
        assert_eq!(retry.attempts, Some(attempts), "{backends}");
    }
}

#[test]
fn a_request_outlasts_its_tries_where_one_try_may_take_all_of_it() {
    let times = |response, request| {
        let mut setup = shop(&[1, 1]);
        setup.pools[0].retry.attempts = Some(2);
        setup.pools[0].timeouts.response = response;
        setup.pools[0].timeouts.request = request;
        let times = back(&carried(&setup)).pools[0].timeouts;
        (times.response, times.request)
    };
    let seconds = |n| Wait::For(Duration::from_secs(n));
    assert_eq!(times(seconds(3), seconds(3)), (seconds(3), seconds(9)));
    assert_eq!(times(seconds(3), seconds(5)), (seconds(3), seconds(5)));
    let endless = times(Wait::Endless, Wait::Endless);
    assert_eq!(endless, (seconds(1_200), seconds(3_600)));
}

#[test]
fn counting_failed_requests_becomes_a_check_that_any_answer_passes() {
    let mut setup = shop(&[1, 1]);
    assert_eq!(back(&carried(&setup)).pools[0].health, None);
    setup.pools[0].backends[1].passive = Some(Passive {
        failures: 1,
        window: Duration::from_secs(10),
    });
    let carried = carried(&setup);
    let health = back(&carried).pools[0].health.clone();
    let any = CheckKind::Http {
        path: "/".to_owned(),
        expect: (100, 599),
    };
    assert_eq!(health.map(|health| health.kind), Some(any));
    assert!(lost(&carried, "who is dead").consequence.contains("`/`"));
}

#[test]
fn an_intent_that_was_stated_wins_over_the_one_that_weights_suggest() {
    let setup = shop(&[5, 3]);
    let mut origin = Origin::default();
    let place = evenkeel_model::finding::Span {
        source: 0,
        range: 0..0,
    };
    origin.spans.insert("backend.app.intent".to_owned(), place);
    let stated = carry(&setup, &origin, &[], &Addresses::new());
    assert_eq!(back(&stated).pools[0].intent, Intent::Even);
    assert_eq!(back(&carried(&setup)).pools[0].intent, Intent::Weight);
}

#[test]
fn one_status_is_written_as_a_number() {
    let mut setup = shop(&[1]);
    setup.pools[0].health = Some(Health {
        path: "backend.app.health".to_owned(),
        kind: CheckKind::Http {
            path: "/up".to_owned(),
            expect: (200, 200),
        },
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    });
    let text = carried(&setup).text.unwrap();
    assert!(text.contains("expect_status = 200\n"), "{text}");
}
