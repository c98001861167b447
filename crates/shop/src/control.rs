//! The control endpoint of a server, on an address of its own so that clients never reach it.
//!
//! `GET /` tells version, faults and usage; `POST /fault` injects `{"kind": "slow", "factor": 5, "ttl_ms": 60000}`;
//! `DELETE /fault` ends all; `POST /release` rolls out `{"version": "v2", "slow_factor": 1.5, "error_rate": 0.02}`.
//! A bad request is 400 with the reason in `error`.
//!
//! Limits: no authentication; meant for loopback or a unix socket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::fault::{Fault, FaultError, FaultKind, Release};
use crate::machine::Machine;

pub(crate) fn router(machine: Arc<Machine>) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/fault", post(inject).delete(clear))
        .route("/release", post(release))
        .with_state(machine)
}

async fn show(State(machine): State<Arc<Machine>>) -> Json<Value> {
    Json(view(&machine))
}

fn view(machine: &Machine) -> Value {
    let usage = machine.usage();
    let faults: Vec<Value> = machine
        .faults()
        .list()
        .iter()
        .map(|fault| {
            let mut value = json!(fault.kind);
            if let Some(object) = value.as_object_mut() {
                object.insert("ttl_ms".to_owned(), json!(fault.ttl.as_millis() as u64));
            }
            value
        })
        .collect();
    json!({
        "release": machine.faults().running(),
        "faults": faults,
        "busy": usage.busy,
        "waiting": usage.waiting,
        "admitted": usage.admitted,
        "rejected": usage.rejected,
    })
}

async fn inject(State(machine): State<Arc<Machine>>, Json(body): Json<Value>) -> Response {
    match read_fault(body) {
        Err(reason) => bad(&reason),
        Ok(fault) => done(&machine, machine.faults().inject(fault)),
    }
}

fn read_fault(mut body: Value) -> Result<Fault, String> {
    let ttl = body
        .as_object_mut()
        .and_then(|object| object.remove("ttl_ms"))
        .and_then(|ttl| ttl.as_u64())
        .ok_or("`ttl_ms` is missing or not a whole number of milliseconds")?;
    let kind: FaultKind = serde_json::from_value(body).map_err(|error| error.to_string())?;
    Ok(Fault {
        kind,
        ttl: Duration::from_millis(ttl),
    })
}

async fn clear(State(machine): State<Arc<Machine>>) -> Response {
    machine.faults().clear();
    done(&machine, Ok(()))
}

async fn release(State(machine): State<Arc<Machine>>, Json(body): Json<Release>) -> Response {
    done(&machine, machine.faults().release(body))
}

fn done(machine: &Machine, result: Result<(), FaultError>) -> Response {
    match result {
        Ok(()) => Json(view(machine)).into_response(),
        Err(error) => bad(&error.to_string()),
    }
}

fn bad(reason: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": reason }))).into_response()
}
