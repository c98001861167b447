//! Who may ask: Host and Origin always, a token for every change, a token for reads beyond loopback.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use evenkeel_control::{Handle, Who};
use evenkeel_model::config::Role;
use http::{HeaderMap, Method, StatusCode, header};
use subtle::ConstantTimeEq as _;

use crate::api::Problem;

/// What the check needs.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) handle: Handle,
    pub(crate) loopback: bool,
}

/// Lets a request through with its [`Who`], or refuses it.
pub(crate) async fn check(
    State(guarded): State<Guarded>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let Some(host) = host(headers, &request) else {
        return Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host must be an IP address or `localhost`; a name could be anybody's",
        )
        .into_response();
    };
    if !origin_fits(headers, &host) {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "a page of another origin may not use this address",
        )
        .into_response();
    }
    let changes = request.method() != Method::GET
        && request.method() != Method::HEAD
        && request.uri().path() != "/api/plan";
    let who = bearer(headers).map(|token| owner(&guarded.handle, token));
    let who = match who {
        Some(Some(who)) => Some(who),
        Some(None) => {
            return Problem::new(StatusCode::UNAUTHORIZED, "the token is not known here")
                .into_response();
        }
        None => None,
    };
    match (changes, &who) {
        (true, None) => Problem::new(
            StatusCode::UNAUTHORIZED,
            "a change needs a token; DIR/admin.token holds one",
        )
        .into_response(),
        (true, Some(who)) if who.role < Role::Operate => {
            let message = format!("the token `{}` only reads", who.name);
            Problem::new(StatusCode::FORBIDDEN, &message).into_response()
        }
        (false, None) if !guarded.loopback => Problem::new(
            StatusCode::UNAUTHORIZED,
            "beyond loopback a read needs a token",
        )
        .into_response(),
        _ => {
            let nobody = || Who {
                name: "anonymous".to_owned(),
                role: Role::Read,
            };
            request.extensions_mut().insert(who.unwrap_or_else(nobody));
            next.run(request).await
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::trim)
}

/// Compares with every token, so that the time tells nothing.
fn owner(handle: &Handle, token: &str) -> Option<Who> {
    let mut found = None;
    for (who, known) in handle.tokens().known() {
        if bool::from(known.as_bytes().ct_eq(token.as_bytes())) {
            found = Some(who.clone());
        }
    }
    found
}

/// The host that the client meant, if it is one that cannot be rebound: an address or localhost.
fn host(headers: &HeaderMap, request: &Request) -> Option<String> {
    let authority = request.uri().authority().map(ToString::to_string);
    let text = match headers.get(header::HOST) {
        Some(value) => value.to_str().ok()?.to_owned(),
        None => authority?,
    };
    let name = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => text.split(':').next()?,
    };
    (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()).then_some(text)
}

fn origin_fits(headers: &HeaderMap, host: &str) -> bool {
    match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => origin
            .to_str()
            .ok()
            .and_then(|origin| {
                origin
                    .strip_prefix("http://")
                    .or_else(|| origin.strip_prefix("https://"))
            })
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host)),
    }
}
