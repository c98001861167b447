//! A plain backend for live drills: any path is answered with a small body, under the same capacity and the
//! same faults as the shop, without a store.
//!
//! It reports the utilisation of its slots as its CPU, because the machine it models is its slots.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::capacity::Capacity;
use crate::machine::{Cut, Identity, Machine};
use crate::meter::CpuSource;
use crate::server::{Built, ControlAddress, ServerError, ServerHandle, run};

/// Largest request body that is read.
pub const BODY_MAX: usize = 1 << 20;
/// Largest response body.
pub const ANSWER_MAX: usize = 1 << 20;

/// Requests below a path that are treated in their own way. The first that matches wins.
#[derive(Debug, Clone, PartialEq)]
pub struct StubRoute {
    /// Text with which the path starts.
    pub path_prefix: String,
    /// Status answered.
    pub status: u16,
    /// Multiplier of the service time: a path that costs more.
    pub cost: f64,
    /// Length of the body in bytes, up to [`ANSWER_MAX`].
    pub body_bytes: usize,
}

/// How a stub runs.
#[derive(Debug, Clone, PartialEq)]
pub struct StubOptions {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where it takes control requests, if anywhere.
    pub control: Option<ControlAddress>,
    /// Told in `x-shop-instance`.
    pub name: String,
    /// Told in `x-shop-version` until the next release.
    pub version: String,
    /// Told in `x-shop-zone`.
    pub zone: Option<String>,
    /// What it can carry.
    pub capacity: Capacity,
    /// Path of the health check.
    pub health_path: String,
    /// Whether a health check takes a slot like any other request.
    pub health_in_pool: bool,
    /// Time that it takes to answer a health check, without a fault.
    pub health_latency: Duration,
    /// Length of the body of every other answer, in bytes, up to [`ANSWER_MAX`].
    pub body_bytes: usize,
    /// Paths with a treatment of their own.
    pub routes: Vec<StubRoute>,
}

impl Default for StubOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: None,
            name: "stub".to_owned(),
            version: "v1".to_owned(),
            zone: None,
            capacity: Capacity::default(),
            health_path: "/healthz".to_owned(),
            health_in_pool: false,
            health_latency: Duration::ZERO,
            body_bytes: 64,
            routes: Vec::new(),
        }
    }
}

/// Serves a stub on the caller's runtime until SIGINT or SIGTERM; `ready` learns the address.
pub async fn run_stub(
    options: StubOptions,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServerError> {
    run(build(options)?, ready).await
}

/// Starts a stub on a thread of its own.
pub fn spawn_stub(options: StubOptions) -> Result<ServerHandle, ServerError> {
    ServerHandle::spawn(move || build(options))
}

struct Stub {
    machine: Arc<Machine>,
    health_path: String,
    health_in_pool: bool,
    health_latency: Duration,
    body: Bytes,
    routes: Vec<(String, StatusCode, f64, Bytes)>,
}

fn build(options: StubOptions) -> Result<Built, ServerError> {
    let identity = Identity {
        name: options.name,
        version: options.version,
        zone: options.zone,
    };
    let machine = Machine::new(&identity, options.capacity, CpuSource::Slots)?;
    let routes = options.routes.into_iter().map(|route| {
        let status = StatusCode::from_u16(route.status).unwrap_or(StatusCode::OK);
        (
            route.path_prefix,
            status,
            route.cost,
            filler(route.body_bytes),
        )
    });
    let stub = Arc::new(Stub {
        machine: Arc::clone(&machine),
        health_path: options.health_path,
        health_in_pool: options.health_in_pool,
        health_latency: options.health_latency,
        body: filler(options.body_bytes),
        routes: routes.collect(),
    });
    let app = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(stub);
    Ok(Built {
        listen: options.listen,
        control: options.control,
        machine,
        app,
    })
}

fn filler(length: usize) -> Bytes {
    let mut body = vec![b'.'; length.min(ANSWER_MAX)];
    if let Some(last) = body.last_mut() {
        *last = b'\n';
    }
    body.into()
}

async fn answer(
    State(stub): State<Arc<Stub>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let mut response = if head.uri.path() == stub.health_path {
        health(&stub, &cut).await
    } else if let Err(error) = axum::body::to_bytes(body, BODY_MAX).await {
        (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")).into_response()
    } else {
        serve(&stub, head.uri.path(), &cut).await
    };
    stub.machine.stamp(&mut response);
    response
}

async fn health(stub: &Stub, cut: &Cut) -> Response {
    if stub.health_in_pool
        && let Err(refusal) = stub.machine.perform(1.0, |_| std::future::ready(())).await
    {
        return stub.machine.refuse(refusal, cut);
    }
    if !stub.health_latency.is_zero() {
        tokio::time::sleep(stub.health_latency).await;
    }
    stub.machine.health().await.into_response()
}

async fn serve(stub: &Stub, path: &str, cut: &Cut) -> Response {
    let route = stub
        .routes
        .iter()
        .find(|(prefix, ..)| path.starts_with(prefix.as_str()));
    let (status, cost, body) = route.map_or((StatusCode::OK, 1.0, &stub.body), |(_, s, c, b)| {
        (*s, *c, b)
    });
    match stub.machine.perform(cost, |_| std::future::ready(())).await {
        Ok(()) => (
            status,
            [(header::CONTENT_TYPE, "text/plain")],
            Body::from(body.clone()),
        )
            .into_response(),
        Err(refusal) => stub.machine.refuse(refusal, cut),
    }
}
