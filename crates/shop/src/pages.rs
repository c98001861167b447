//! The pages, made on the server; they work without JavaScript.

use maud::{DOCTYPE, Markup, html};

use crate::store::{Cart, Line, Order, Product};

const STYLE: &str = "
:root{--ink:#1d2a33;--soft:#5d6b75;--line:#dfe5e8;--paper:#fbfaf7;--card:#fff;--accent:#1f5f7a}
*{box-sizing:border-box}body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
header{background:var(--card);border-bottom:1px solid var(--line)}
header>div,main,footer{max-width:64rem;margin:0 auto;padding:1rem 1.25rem}
header>div{display:flex;flex-wrap:wrap;gap:1rem;align-items:center}header .brand{font-weight:700;font-size:1.25rem;margin-right:auto}
input{font:inherit;padding:.45rem .6rem;border:1px solid var(--line);border-radius:.4rem;background:#fff;color:inherit}
button{font:inherit;padding:.5rem 1rem;border:0;border-radius:.4rem;background:var(--accent);color:#fff;cursor:pointer}
button.plain{background:none;color:var(--accent);padding:.5rem 0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:1.25rem;padding:0;list-style:none}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow:hidden;display:block;color:inherit}
.card svg{display:block;width:100%;height:8rem}.card div{padding:.75rem 1rem}.soft{color:var(--soft)}
.two{display:grid;grid-template-columns:minmax(14rem,1fr) 1fr;gap:2rem}.two svg{width:100%;border-radius:.6rem}
table{border-collapse:collapse;width:100%;background:var(--card)}td,th{padding:.6rem .75rem;border-bottom:1px solid var(--line);text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}form.stack{display:grid;gap:.75rem;max-width:24rem}label{display:grid;gap:.25rem}
nav.pages{display:flex;gap:1rem;justify-content:center;margin:1.5rem}footer{color:var(--soft);font-size:.85rem}
@media(max-width:40rem){.two{grid-template-columns:1fr}}";

/// Who made the page.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    pub(crate) instance: String,
    pub(crate) version: String,
}

/// Cents as a price.
fn price(cents: i64) -> String {
    format!("€ {}.{:02}", cents / 100, cents % 100)
}

fn layout(title: &str, footer: &Footer, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Harbour & Home" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                header { div {
                    a.brand href="/" { "Harbour & Home" }
                    form action="/search" { input type="search" name="q" placeholder="Search" aria-label="Search"; }
                    a href="/cart" { "Cart" }
                    a href="/orders" { "Orders" }
                } }
                main { (body) }
                footer { "Served by " (footer.instance) " · " (footer.version) }
            }
        }
    }
}

/// A drawing in the place of a photograph: its colour comes from the product's number.
fn picture(product: &Product) -> Markup {
    let hue = (product.id * 47) % 360;
    let (back, front) = (format!("hsl({hue} 35% 88%)"), format!("hsl({hue} 40% 45%)"));
    html! {
        svg viewBox="0 0 160 100" role="img" aria-label=(product.name) preserveAspectRatio="xMidYMid slice" {
            rect width="160" height="100" fill=(back) {}
            @match product.category.as_str() {
                "Lighting" => { path d="M58 50 72 22h16l14 28zM79 50h2v28h-2zM66 78h28v4H66z" fill=(front) {} }
                "Kitchen" => { path d="M58 34h36v34a10 10 0 0 1-10 10H68a10 10 0 0 1-10-10zM94 42h8a8 8 0 0 1 0 22h-8v-5h7a4 4 0 0 0 0-12h-7z" fill=(front) {} }
                "Textiles" => { path d="M48 30h64v40H48zM48 38h64v3H48zM48 58h64v3H48z" fill=(front) fill-rule="evenodd" {} }
                _ => { path d="M58 20h6v26h32V20h6v62h-6V54H64v28h-6z" fill=(front) {} }
            }
        }
    }
}

fn grid(products: &[Product]) -> Markup {
    html! {
        ul.grid {
            @for product in products {
                li { a.card href={ "/product/" (product.id) } {
                    (picture(product))
                    div { strong { (product.name) } br; span.soft { (product.category) } " · " (price(product.price_cents)) }
                } }
            }
        }
    }
}

pub(crate) fn home(footer: &Footer, products: &[Product], page: u32, pages: u32) -> Markup {
    let body = html! {
        h1 { "Things for a calm house" }
        (grid(products))
        nav.pages {
            @if page > 1 { a href={ "/?page=" (page - 1) } rel="prev" { "Back" } }
            span.soft { "Page " (page) " of " (pages) }
            @if page < pages { a href={ "/?page=" (page + 1) } rel="next" { "More" } }
        }
    };
    layout("Home", footer, &body)
}

pub(crate) fn search(footer: &Footer, query: &str, products: &[Product]) -> Markup {
    let body = html! {
        h1 { "Search: " (query) }
        @if products.is_empty() { p.soft { "Nothing was found." } }
        (grid(products))
    };
    layout("Search", footer, &body)
}

pub(crate) fn product(footer: &Footer, product: &Product) -> Markup {
    let body = html! {
        div.two {
            (picture(product))
            div {
                h1 { (product.name) }
                p { (product.description) }
                p { strong { (price(product.price_cents)) } " "
                    span.soft { @match product.stock {
                        0 => "Sold out",
                        1..=9 => { "Only " (product.stock) " left" },
                        _ => "In stock",
                    } } }
                form method="post" action="/cart" {
                    input type="hidden" name="product_id" value=(product.id);
                    input type="number" name="quantity" value="1" min="1" max="99" aria-label="Quantity";
                    " " button { "Add to cart" }
                }
            }
        }
    };
    layout(&product.name, footer, &body)
}

fn lines(lines: &[Line], total_cents: i64) -> Markup {
    html! {
        table {
            tr { th { "Product" } th.n { "Quantity" } th.n { "Price" } th.n { "Sum" } }
            @for line in lines {
                tr {
                    td { a href={ "/product/" (line.product_id) } { (line.name) } }
                    td.n { (line.quantity) }
                    td.n { (price(line.price_cents)) }
                    td.n { (price(line.quantity * line.price_cents)) }
                }
            }
            tr { th { "Total" } td {} td {} th.n { (price(total_cents)) } }
        }
    }
}

pub(crate) fn cart(footer: &Footer, cart: &Cart) -> Markup {
    let body = html! {
        h1 { "Your cart" }
        @if cart.lines.is_empty() {
            p.soft { "It is empty." }
        } @else {
            (lines(&cart.lines, cart.total_cents))
            p { a href="/checkout" { button { "Check out" } } }
            form method="post" action="/cart/empty" { button.plain { "Empty the cart" } }
        }
    };
    layout("Cart", footer, &body)
}

pub(crate) fn checkout(footer: &Footer, cart: &Cart, key: &str) -> Markup {
    let body = html! {
        h1 { "Check out" }
        (lines(&cart.lines, cart.total_cents))
        form.stack method="post" action="/checkout" {
            input type="hidden" name="idempotency_key" value=(key);
            label { "Name" input name="name" required maxlength="100"; }
            label { "E-mail" input name="email" type="email" required maxlength="100"; }
            label { "Address" input name="address" required maxlength="200"; }
            button { "Order for " (price(cart.total_cents)) }
        }
    };
    layout("Check out", footer, &body)
}

pub(crate) fn orders(footer: &Footer, orders: &[Order]) -> Markup {
    let body = html! {
        h1 { "Your orders" }
        @if orders.is_empty() {
            p.soft { "There are none yet." }
        } @else {
            table {
                tr { th { "Order" } th { "To" } th.n { "Total" } }
                @for order in orders {
                    tr {
                        td { a href={ "/orders/" (order.id) } { "No. " (order.id) } }
                        td { (order.name) }
                        td.n { (price(order.total_cents)) }
                    }
                }
            }
        }
    };
    layout("Orders", footer, &body)
}

pub(crate) fn order(footer: &Footer, order: &Order) -> Markup {
    let body = html! {
        h1 { "Order No. " (order.id) }
        p { "Thank you, " (order.name) ". It goes to " (order.address) "." }
        (lines(&order.lines, order.total_cents))
    };
    layout("Order", footer, &body)
}

pub(crate) fn problem(footer: &Footer, text: &str) -> Markup {
    let body = html! { h1 { "That did not work" } p { (text) } p { a href="/" { "To the shop" } } };
    layout("Problem", footer, &body)
}
