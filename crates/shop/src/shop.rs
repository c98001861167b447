//! The storefront: routes, and what each does in its slot of the worker pool.
//!
//! Each request but the health checks takes a slot for the service time; reading the store and making the page
//! are the work inside it. Answers are pages, or JSON where `Accept` names `application/json`.
//!
//! `GET /` (`?page=`), `GET /search?q=`, `GET /product/{id}`, `GET|POST /cart`, `POST /cart/empty`,
//! `GET|POST /checkout`, `GET /orders`, `GET /orders/{id}`, `GET /healthz`, `GET /readyz`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::answer::{Reply, answer};
use crate::capacity::Capacity;
use crate::checkout::Checkout;
use crate::machine::{Cut, Identity, Machine};
use crate::meter::CpuSource;
use crate::server::{Built, ControlAddress, ServerError, ServerHandle};
use crate::store::{QUANTITY_MAX, Store};
use crate::visit::{COOKIE, Fields, Visit, is_key};

/// Largest request body.
pub const BODY_MAX: usize = 64 * 1024;
/// Longest text of one form field, in bytes.
pub const FIELD_MAX: usize = 200;

/// How a shop runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ShopOptions {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where it takes control requests, if anywhere.
    pub control: Option<ControlAddress>,
    /// The SQLite file that all replicas share; made if it is not there.
    pub database: PathBuf,
    /// Told in `x-shop-instance`. No two replicas on one file may have the same.
    pub name: String,
    /// Told in `x-shop-version` until the next release.
    pub version: String,
    /// Told in `x-shop-zone`.
    pub zone: Option<String>,
    /// What it can carry.
    pub capacity: Capacity,
    /// Whether `/healthz` takes a slot like any other request.
    pub health_in_pool: bool,
    /// Products of a new store, 1 to 10,000.
    pub seed_products: u32,
    /// Pieces of each product in a new store.
    pub seed_stock: u32,
}

impl Default for ShopOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: None,
            database: PathBuf::from("shop.db"),
            name: "web-1".to_owned(),
            version: "v1".to_owned(),
            zone: None,
            capacity: Capacity::default(),
            health_in_pool: false,
            seed_products: 60,
            seed_stock: 1_000_000,
        }
    }
}

/// Serves a shop on the caller's runtime until SIGINT or SIGTERM; `ready` learns the address.
pub async fn run(options: ShopOptions, ready: impl FnOnce(SocketAddr)) -> Result<(), ServerError> {
    crate::server::run(build(options)?, ready).await
}

/// Starts a shop on a thread of its own.
pub fn spawn(options: ShopOptions) -> Result<ServerHandle, ServerError> {
    ServerHandle::spawn(move || build(options))
}

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) machine: Arc<Machine>,
    pub(crate) store: Arc<Store>,
    pub(crate) name: String,
    health_in_pool: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Home { page: u32 },
    Search { query: String },
    Product { id: i64 },
    Cart,
    Add { product_id: i64, quantity: u32 },
    EmptyCart,
    CheckoutForm,
    Checkout(Checkout),
    Orders,
    Order { id: i64 },
}

fn build(options: ShopOptions) -> Result<Built, ServerError> {
    let identity = Identity {
        name: options.name.clone(),
        version: options.version,
        zone: options.zone,
    };
    let machine = Machine::new(&identity, options.capacity, CpuSource::Process)?;
    let store = Store::open(
        &options.database,
        &options.name,
        options.seed_products,
        options.seed_stock,
    )?;
    let shop = Arc::new(Shop {
        machine: Arc::clone(&machine),
        store: Arc::new(store),
        name: options.name,
        health_in_pool: options.health_in_pool,
    });
    let app = Router::new()
        .route("/", get(home))
        .route("/search", get(search))
        .route("/product/{id}", get(product))
        .route("/cart", get(cart).post(add))
        .route("/cart/empty", post(empty))
        .route("/checkout", get(checkout_form).post(checkout))
        .route("/orders", get(orders))
        .route("/orders/{id}", get(order))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(Arc::clone(&shop), stamp))
        .with_state(shop);
    Ok(Built {
        listen: options.listen,
        control: options.control,
        machine,
        app,
    })
}

type Here = State<Arc<Shop>>;

async fn stamp(State(shop): Here, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    shop.machine.stamp(&mut response);
    response
}

/// Carries out what is asked in a slot, and tells a new session its id.
async fn serve(shop: Arc<Shop>, visit: Visit, ask: Ask) -> Response {
    let cut = visit.cut.clone();
    let cookie = visit
        .new
        .then(|| format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax", visit.session));
    let inner = Arc::clone(&shop);
    let work = move |held: Duration| async move { answer(&inner, &visit, ask, held).await };
    let mut response = match shop.machine.perform(1.0, work).await {
        Ok(reply) => reply.into_response(),
        Err(refusal) => return shop.machine.refuse(refusal, &cut),
    };
    if let Some(value) = cookie.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

fn bad(shop: &Shop, visit: &Visit, text: &str) -> Response {
    Reply::problem(shop, visit.json, StatusCode::BAD_REQUEST, text).into_response()
}

#[derive(Deserialize)]
struct PageQuery {
    page: Option<u32>,
}

async fn home(State(shop): Here, visit: Visit, Query(query): Query<PageQuery>) -> Response {
    let page = query.page.unwrap_or(1).max(1);
    serve(shop, visit, Ask::Home { page }).await
}

#[derive(Deserialize)]
struct SearchQuery {
    #[serde(default)]
    q: String,
}

async fn search(State(shop): Here, visit: Visit, Query(query): Query<SearchQuery>) -> Response {
    if query.q.len() > FIELD_MAX {
        return bad(&shop, &visit, "`q` is too long");
    }
    serve(shop, visit, Ask::Search { query: query.q }).await
}

async fn product(State(shop): Here, visit: Visit, Path(id): Path<i64>) -> Response {
    serve(shop, visit, Ask::Product { id }).await
}

async fn cart(State(shop): Here, visit: Visit) -> Response {
    serve(shop, visit, Ask::Cart).await
}

#[derive(Deserialize)]
struct AddFields {
    product_id: i64,
    #[serde(default = "one")]
    quantity: u32,
}

fn one() -> u32 {
    1
}

async fn add(State(shop): Here, visit: Visit, Fields(fields): Fields<AddFields>) -> Response {
    if !(1..=QUANTITY_MAX).contains(&fields.quantity) {
        return bad(&shop, &visit, "`quantity` must be 1 to 99");
    }
    let ask = Ask::Add {
        product_id: fields.product_id,
        quantity: fields.quantity,
    };
    serve(shop, visit, ask).await
}

async fn empty(State(shop): Here, visit: Visit) -> Response {
    serve(shop, visit, Ask::EmptyCart).await
}

async fn checkout_form(State(shop): Here, visit: Visit) -> Response {
    serve(shop, visit, Ask::CheckoutForm).await
}

#[derive(Deserialize)]
struct CheckoutFields {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    address: String,
    /// Browsers cannot set a header from a form.
    idempotency_key: Option<String>,
}

async fn checkout(
    State(shop): Here,
    visit: Visit,
    Fields(fields): Fields<CheckoutFields>,
) -> Response {
    let Some(key) = visit.key.clone().or(fields.idempotency_key) else {
        return bad(&shop, &visit, "`Idempotency-Key` is missing");
    };
    if !is_key(&key) {
        return bad(
            &shop,
            &visit,
            "`Idempotency-Key` must be 1 to 255 printable characters",
        );
    }
    for (name, value) in [
        ("name", &fields.name),
        ("email", &fields.email),
        ("address", &fields.address),
    ] {
        let clean = !value.trim().is_empty() && !value.chars().any(char::is_control);
        if !clean || value.len() > FIELD_MAX {
            return bad(
                &shop,
                &visit,
                &format!("`{name}` must be 1 to 200 characters on one line"),
            );
        }
    }
    let ask = Ask::Checkout(Checkout {
        session: visit.session.clone(),
        key,
        name: fields.name,
        email: fields.email,
        address: fields.address,
    });
    serve(shop, visit, ask).await
}

async fn orders(State(shop): Here, visit: Visit) -> Response {
    serve(shop, visit, Ask::Orders).await
}

async fn order(State(shop): Here, visit: Visit, Path(id): Path<i64>) -> Response {
    serve(shop, visit, Ask::Order { id }).await
}

async fn healthz(State(shop): Here, ConnectInfo(cut): ConnectInfo<Cut>) -> Response {
    if shop.health_in_pool
        && let Err(refusal) = shop.machine.perform(1.0, |_| std::future::ready(())).await
    {
        return shop.machine.refuse(refusal, &cut);
    }
    shop.machine.health().await.into_response()
}

/// Ready: not stopping, and the store answers.
async fn readyz(State(shop): Here) -> StatusCode {
    let alive = shop
        .store
        .call(|connection| crate::store::page(connection, 1))
        .await
        .is_ok();
    if alive && !shop.machine.is_leaving() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
