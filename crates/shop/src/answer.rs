//! What the shop answers: the work inside the slot, and its form as a page or as JSON.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::Markup;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::checkout::{Checkout, Claim, Outcome, claim, complete};
use crate::pages::{self, Footer};
use crate::shop::{Ask, Shop};
use crate::store::{self, Added, StoreError};
use crate::visit::{Visit, fresh_id};

/// An answer before it is a response.
pub(crate) enum Reply {
    Page(StatusCode, Markup),
    Json(StatusCode, Value),
    /// 303 to another page.
    See(String),
    /// 409 for now.
    Later(Box<Self>),
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Page(status, markup) => (status, Html(markup.into_string())).into_response(),
            Self::Json(status, value) => (status, Json(value)).into_response(),
            Self::See(place) => {
                (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
            }
            Self::Later(reply) => {
                let mut response = reply.into_response();
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
        }
    }
}

impl Reply {
    pub(crate) fn problem(shop: &Shop, json: bool, status: StatusCode, text: &str) -> Self {
        if json {
            Self::Json(status, json!({ "error": text }))
        } else {
            Self::Page(status, pages::problem(&footer(shop), text))
        }
    }
}

fn footer(shop: &Shop) -> Footer {
    Footer {
        instance: shop.name.clone(),
        version: shop.machine.faults().running().version,
    }
}

/// Does the work; `held` is for how long the slot is taken.
pub(crate) async fn answer(shop: &Shop, visit: &Visit, ask: Ask, held: Duration) -> Reply {
    let result = match ask {
        Ask::Checkout(checkout) => check_out(shop, visit, checkout, held).await,
        Ask::Home { .. } | Ask::Search { .. } | Ask::Product { .. } => {
            browse(shop, visit, ask).await
        }
        Ask::Cart | Ask::Add { .. } | Ask::EmptyCart | Ask::CheckoutForm => {
            fill(shop, visit, ask).await
        }
        Ask::Orders => orders(shop, visit).await,
        Ask::Order { id } => order(shop, visit, id).await,
    };
    result.unwrap_or_else(|error| {
        tracing::error!(%error, instance = %shop.name, "a request failed");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Reply::problem(
            shop,
            visit.json,
            status,
            "The shop's store does not answer.",
        )
    })
}

fn missing(shop: &Shop, visit: &Visit, what: &str) -> Reply {
    let text = format!("There is no such {what}.");
    Reply::problem(shop, visit.json, StatusCode::NOT_FOUND, &text)
}

/// A page or its JSON.
fn either(visit: &Visit, value: impl FnOnce() -> Value, page: impl FnOnce() -> Markup) -> Reply {
    if visit.json {
        Reply::Json(StatusCode::OK, value())
    } else {
        Reply::Page(StatusCode::OK, page())
    }
}

async fn browse(shop: &Shop, visit: &Visit, ask: Ask) -> Result<Reply, StoreError> {
    match ask {
        Ask::Search { query } => {
            let text = query.clone();
            let found = shop.store.call(move |c| store::search(c, &text)).await?;
            Ok(either(
                visit,
                || json!({ "query": query, "products": found }),
                || pages::search(&footer(shop), &query, &found),
            ))
        }
        Ask::Product { id } => {
            let product = shop.store.call(move |c| store::product(c, id)).await?;
            Ok(product.map_or_else(
                || missing(shop, visit, "product"),
                |product| {
                    either(
                        visit,
                        || json!(product),
                        || pages::product(&footer(shop), &product),
                    )
                },
            ))
        }
        other => {
            let page = if let Ask::Home { page } = other {
                page
            } else {
                1
            };
            let (products, pages) = shop.store.call(move |c| store::page(c, page)).await?;
            Ok(either(
                visit,
                || json!({ "page": page, "pages": pages, "products": products }),
                || pages::home(&footer(shop), &products, page, pages),
            ))
        }
    }
}

async fn fill(shop: &Shop, visit: &Visit, ask: Ask) -> Result<Reply, StoreError> {
    let session = visit.session.clone();
    match ask {
        Ask::Add {
            product_id,
            quantity,
        } => {
            let added = shop
                .store
                .call(move |c| store::add_to_cart(c, &session, product_id, quantity))
                .await?;
            match added {
                Added::NoSuchProduct => return Ok(missing(shop, visit, "product")),
                Added::CartFull => {
                    let text = "The cart holds no more different products.";
                    let status = StatusCode::CONFLICT;
                    return Ok(Reply::problem(shop, visit.json, status, text));
                }
                Added::Yes => {}
            }
        }
        Ask::EmptyCart => {
            shop.store
                .call(move |c| store::empty_cart(c, &session))
                .await?;
        }
        Ask::CheckoutForm => return checkout_form(shop, visit).await,
        _ => return show_cart(shop, visit).await,
    }
    if visit.json {
        show_cart(shop, visit).await
    } else {
        Ok(Reply::See("/cart".to_owned()))
    }
}

async fn show_cart(shop: &Shop, visit: &Visit) -> Result<Reply, StoreError> {
    let session = visit.session.clone();
    let cart = shop.store.call(move |c| store::cart(c, &session)).await?;
    Ok(either(
        visit,
        || json!(cart),
        || pages::cart(&footer(shop), &cart),
    ))
}

async fn checkout_form(shop: &Shop, visit: &Visit) -> Result<Reply, StoreError> {
    let session = visit.session.clone();
    let cart = shop.store.call(move |c| store::cart(c, &session)).await?;
    let key = fresh_id().ok_or(StoreError::Lost)?;
    Ok(either(
        visit,
        || json!({ "cart": cart, "idempotency_key": key }),
        || pages::checkout(&footer(shop), &cart, &key),
    ))
}

async fn check_out(
    shop: &Shop,
    visit: &Visit,
    checkout: Checkout,
    held: Duration,
) -> Result<Reply, StoreError> {
    let (theirs, owner) = (checkout.clone(), shop.name.clone());
    let claimed = shop.store.call(move |c| claim(c, &theirs, &owner)).await?;
    let outcome = match claimed {
        Claim::Done(outcome) => Some(outcome),
        Claim::Running => None,
        Claim::Mismatch => {
            let text = "This `Idempotency-Key` was used for another order.";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(Reply::problem(shop, visit.json, status, text));
        }
        Claim::Ours { token } => {
            // The payment: half of the service time, in which the key is seen as running.
            sleep(held / 2).await;
            let owner = shop.name.clone();
            shop.store
                .call(move |c| complete(c, &checkout, &owner, token))
                .await?
        }
    };
    Ok(if let Some(outcome) = outcome {
        concluded(shop, visit, outcome)
    } else {
        let text = "An order with this `Idempotency-Key` is still being placed.";
        let reply = Reply::problem(shop, visit.json, StatusCode::CONFLICT, text);
        Reply::Later(Box::new(reply))
    })
}

fn concluded(shop: &Shop, visit: &Visit, outcome: Outcome) -> Reply {
    let conflict = |text: &str| Reply::problem(shop, visit.json, StatusCode::CONFLICT, text);
    match outcome {
        Outcome::Placed(order) if visit.json => Reply::Json(StatusCode::CREATED, json!(order)),
        Outcome::Placed(order) => Reply::See(format!("/orders/{}", order.id)),
        Outcome::EmptyCart => conflict("The cart is empty."),
        Outcome::OutOfStock { product_id } => {
            conflict(&format!("Product {product_id} is sold out."))
        }
    }
}

async fn orders(shop: &Shop, visit: &Visit) -> Result<Reply, StoreError> {
    let session = visit.session.clone();
    let orders = shop.store.call(move |c| store::orders(c, &session)).await?;
    Ok(either(
        visit,
        || json!({ "orders": orders }),
        || pages::orders(&footer(shop), &orders),
    ))
}

async fn order(shop: &Shop, visit: &Visit, id: i64) -> Result<Reply, StoreError> {
    let session = visit.session.clone();
    let order = shop
        .store
        .call(move |c| store::order(c, &session, id))
        .await?;
    Ok(order.map_or_else(
        || missing(shop, visit, "order"),
        |order| {
            either(
                visit,
                || json!(order),
                || pages::order(&footer(shop), &order),
            )
        },
    ))
}
