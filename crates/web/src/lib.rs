//! HTTP API, metrics endpoint and page; owns the types of the public JSON.
//!
//! Everything here reads the published present and hands commands to the control loop; nothing is decided here.
//! Changes need a token, reads on loopback do not; Host and Origin are checked on every request, so that a page in
//! somebody's browser cannot talk to the admin address by another name.
//!
//! Limits: no TLS yet, so the admin address belongs on loopback (rule ADM-01).

mod api;
mod auth;
mod door;
mod metrics;
mod page;
pub mod postmortem;
pub mod requests;
#[cfg(test)]
mod sample;
mod security;
pub mod views;

use std::future::Future;

use axum::Router;
use evenkeel_control::Handle;

/// Largest body of an API request: a configuration of 16 MiB in JSON.
const BODY_MAX: usize = 40 << 20;

/// Serves page, API and metrics until the listener fails.
pub fn serve(handle: Handle, listener: tokio::net::TcpListener) -> impl Future<Output = ()> + Send {
    let loopback = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
    let guard = auth::Guarded {
        handle: handle.clone(),
        loopback,
    };
    let router = Router::new()
        .merge(api::routes())
        .merge(metrics::routes())
        .merge(page::routes())
        .with_state(handle)
        .layer(axum::Extension(api::webhooks::Messages::default()))
        .layer(axum::middleware::from_fn_with_state(guard, auth::check))
        .layer(axum::middleware::from_fn(door::announced_size))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .layer(axum::middleware::map_response(security::headers));
    async move {
        if let Err(error) = axum::serve(door::Door::new(listener), router).await {
            tracing::error!(%error, "the admin server failed");
        }
    }
}
