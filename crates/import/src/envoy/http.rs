//! The HTTP connection manager: timeouts of the listener, filters, and where the routes are.

use std::time::Duration;

use evenkeel_model::setup::{Touches, Wait};

use crate::envoy::Reading;
use crate::envoy::fields::{Fields, put, refuse};
use crate::envoy::known;
use crate::envoy::link::Stated;
use crate::envoy::listener::{Chain, HOUR, is_known};
use crate::envoy::node::Place;
use crate::envoy::rbac;
use crate::envoy::route;
use crate::envoy::typed::{Typed, typed};
use crate::envoy::upstream::{close_common, common_options, wait};
use crate::envoy::{asides, discovery};

/// No progress of a stream for this long, unless set.
const STREAM_IDLE: Wait = Wait::For(Duration::from_secs(300));

/// What the routes of a connection manager share.
pub(super) struct Web {
    pub(super) listener: String,
    pub(super) condition: Option<String>,
    /// No progress of a stream.
    pub(super) idle: Stated<Wait>,
    /// Cookie or header of a stateful session.
    pub(super) sticky: Option<(String, Wait, Place)>,
    /// Routes and findings are under this path.
    pub(super) path: String,
    /// A filter refuses every request, unless a route sets that filter up anew.
    pub(super) is_refused: bool,
    /// Envoy looks at once whether the clusters are there.
    pub(super) is_checked: bool,
}

/// Reads an `HttpConnectionManager`.
pub(super) fn read(reading: &mut Reading<'_, '_>, mut fields: Fields<'_>, chain: &mut Chain<'_>) {
    let idle = timeouts(reading, &mut fields, chain);
    chain.listener.is_http = true;
    let Filters { sticky, is_refused } = filters(reading, &mut fields);
    let mut web = Web {
        listener: chain.listener.name.clone(),
        condition: chain.condition.clone(),
        idle,
        sticky,
        path: chain.path.clone(),
        is_refused: is_refused || chain.is_refused,
        is_checked: true,
    };
    let place = fields.start();
    let is_scoped = fields.unknown(reading.book, "scoped_routes", &Touches::Routing);
    if let Some(config) = fields.message(reading.book, "route_config") {
        route::read(reading, config, &web);
    } else if let Some(rds) = fields.message(reading.book, "rds") {
        web.is_checked = false;
        discovery::routes(reading, rds, &web);
    } else if !is_scoped && let Some(place) = place {
        let message = "an HTTP connection manager needs `route_config` or `rds`".to_owned();
        refuse(reading.book, &chain.path, place, message);
    }
    asides::fields(reading.book, &mut fields, asides::MANAGER);
    asides::codec(reading.book, &mut fields);
    fields.close(reading.book, known::MANAGER, &Touches::Resilience);
}

/// Sets the timeouts of the listener; no progress of a stream.
fn timeouts(
    reading: &mut Reading<'_, '_>,
    fields: &mut Fields<'_>,
    chain: &mut Chain<'_>,
) -> Stated<Wait> {
    let book = &mut *reading.book;
    let path = chain.listener.path.clone();
    let mut idle = HOUR;
    if let Some(mut common) = fields.message(book, "common_http_protocol_options") {
        idle = common_options(book, &mut common, &format!("{path}.timeout.idle"), idle);
        close_common(book, common);
    }
    let stream = fields
        .duration(book, "stream_idle_timeout")
        .map_or(STREAM_IDLE, wait);
    let head = fields
        .duration(book, "request_headers_timeout")
        .map_or(Wait::Endless, wait);
    let request = fields
        .duration(book, "request_timeout")
        .map_or(Wait::Endless, wait);
    let place = fields.take("stream_idle_timeout").map(|node| node.place);
    if !chain.is_settled {
        chain.listener.idle_timeout = idle;
        chain.listener.client_timeout = stream;
        // The limit on the whole request ends a slow head too.
        chain.listener.head_timeout = match (head.duration(), request.duration()) {
            (Some(head), Some(request)) => Wait::For(head.min(request)),
            (None, Some(request)) => Wait::For(request),
            (_, None) => head,
        };
        fields.place(
            book,
            "stream_idle_timeout",
            &format!("{path}.timeout.client"),
        );
        fields.place(book, "request_timeout", &format!("{path}.timeout.head"));
        fields.place(
            book,
            "request_headers_timeout",
            &format!("{path}.timeout.head"),
        );
    }
    (stream, place)
}

/// What the HTTP filters do.
#[derive(Default)]
struct Filters {
    /// What a stateful session binds a client by.
    sticky: Option<(String, Wait, Place)>,
    /// Every request is refused.
    is_refused: bool,
}

/// Reads the HTTP filters.
fn filters(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>) -> Filters {
    let mut found = Filters::default();
    let at = fields.at("http_filters");
    for (index, node) in fields.list(reading.book, "http_filters").iter().enumerate() {
        let at = format!("{at}.{index}");
        let Some(mut filter) = Fields::open(reading.book, node, &at) else {
            continue;
        };
        put(reading.book, &at, node.place);
        if filter.unknown(reading.book, "config_discovery", &Touches::Routing) {
            continue;
        }
        if filter.flag(reading.book, "disabled") {
            continue;
        }
        let Some(mut filter) = typed(reading.book, filter) else {
            continue;
        };
        asides::filter(reading.book, &filter, &at, node.place);
        match filter.name.rsplit('.').next().unwrap_or("") {
            "StatefulSession" => found.sticky = session(reading, filter, &at),
            "RBAC" => found.is_refused |= rbac::refuses_all(reading.book, &mut filter.fields),
            "HTTPFault" | "AdmissionControl" | "AdaptiveConcurrency" => {
                let what = format!("http filter {}", filter.alias);
                reading.book.gap(&at, &what, Touches::Resilience);
            }
            _ if is_known(&filter, known::HTTP_FILTERS) => {}
            _ => {
                let what = format!("http filter {}", filter.alias);
                reading.book.gap(&at, &what, Touches::Routing);
            }
        }
    }
    found
}

/// The cookie or header of a `StatefulSession`.
fn session(
    reading: &mut Reading<'_, '_>,
    filter: Typed<'_>,
    at: &str,
) -> Option<(String, Wait, Place)> {
    let book = &mut *reading.book;
    let place = filter.place?;
    let mut fields = filter.fields;
    // Strict sessions refuse when their host is gone, others choose a new one.
    let _is_strict = fields.flag(book, "strict");
    let state = fields.message(book, "session_state");
    fields.close(
        book,
        &["stat_prefix", "status_on_error"],
        &Touches::Resilience,
    );
    let mut state = typed(book, state?)?;
    let found = match state.name.rsplit('.').next().unwrap_or("") {
        "CookieBasedSessionState" => state.fields.message(book, "cookie").map(|mut cookie| {
            let name = cookie.text(book, "name").unwrap_or("").to_owned();
            let ttl = cookie.duration(book, "ttl").map_or(Wait::Endless, wait);
            cookie.close(book, &["path", "attributes"], &Touches::Resilience);
            (format!("cookie {name}"), ttl)
        }),
        "HeaderBasedSessionState" => {
            let name = state.fields.text(book, "name").unwrap_or("").to_owned();
            Some((format!("header {name}"), Wait::Endless))
        }
        _ => None,
    };
    if found.is_none() {
        book.gap(
            at,
            &format!("session_state {}", state.alias),
            Touches::Routing,
        );
    }
    found.map(|(by, lasts)| (by, lasts, place))
}
