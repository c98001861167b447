//! The shop's store: one SQLite file that all replicas share.
//!
//! Write-ahead log, so that readers do not wait for the writer; every writing transaction is `BEGIN IMMEDIATE`,
//! because a deferred one that reads first and writes later gets SQLITE_BUSY at once whatever the timeout
//! (sqlite.org, "Transaction", section 2.1). Money is whole cents.
//!
//! Limits: one machine (the log lives in shared memory); at most [`LINES_MAX`] different products in a cart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;

use crate::catalog::{PRODUCTS_MAX, goods};

/// Different products in one cart.
pub const LINES_MAX: u32 = 50;
/// Most of one product in a cart.
pub const QUANTITY_MAX: u32 = 99;
/// Orders shown to a session.
pub const ORDERS_SHOWN: u32 = 50;
/// Products found by a search.
pub const FOUND_MAX: u32 = 48;
/// Products on a page.
pub const PAGE_SIZE: u32 = 12;
/// How long a connection waits for the writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept.
const IDLE_MAX: usize = 32;
/// Age at which keys without an order and untouched carts are removed at a start.
const KEEP_MS: i64 = 24 * 3_600 * 1_000;
/// Version of the schema.
const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE product (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, description TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents > 0), initial_stock INTEGER NOT NULL,
    stock INTEGER NOT NULL CHECK (stock >= 0)) STRICT;
CREATE TABLE cart_line (
    session TEXT NOT NULL, product_id INTEGER NOT NULL REFERENCES product (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0), changed_at INTEGER NOT NULL,
    PRIMARY KEY (session, product_id)) STRICT, WITHOUT ROWID;
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, session TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
    email TEXT NOT NULL, address TEXT NOT NULL, total_cents INTEGER NOT NULL,
    placed_at INTEGER NOT NULL, instance TEXT NOT NULL, UNIQUE (session, key)) STRICT;
CREATE TABLE order_line (
    order_id INTEGER NOT NULL REFERENCES orders (id), product_id INTEGER NOT NULL REFERENCES product (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0), price_cents INTEGER NOT NULL,
    PRIMARY KEY (order_id, product_id)) STRICT, WITHOUT ROWID;
CREATE INDEX order_line_by_product ON order_line (product_id);
CREATE TABLE idempotency (
    session TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, owner TEXT NOT NULL,
    token INTEGER NOT NULL, claimed_at INTEGER NOT NULL,
    outcome TEXT CHECK (outcome IN ('placed', 'empty_cart', 'out_of_stock')),
    reference INTEGER, PRIMARY KEY (session, key)) STRICT, WITHOUT ROWID;
";

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a newer version.
    #[error("`{path}` has schema {found}, this version knows {SCHEMA}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// The task that held the connection ended.
    #[error("the store's task ended")]
    Lost,
}

/// A product on sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) description: String,
    pub(crate) price_cents: i64,
    pub(crate) stock: i64,
}

/// One line of a cart or of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) product_id: i64,
    pub(crate) name: String,
    pub(crate) quantity: i64,
    pub(crate) price_cents: i64,
}

/// What a session is about to buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cart {
    pub(crate) lines: Vec<Line>,
    pub(crate) total_cents: i64,
}

/// What a session bought. `lines` is empty in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) address: String,
    pub(crate) total_cents: i64,
    pub(crate) placed_at_ms: i64,
    pub(crate) lines: Vec<Line>,
}

/// What came of adding to a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    Yes,
    NoSuchProduct,
    CartFull,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // With the write-ahead log a killed process loses nothing that was committed; only a power cut could.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

impl Store {
    /// Opens the file, makes its tables and goods if it is new, and clears what `owner` left when it died.
    pub(crate) fn open(
        path: &Path,
        owner: &str,
        products: u32,
        stock: u32,
    ) -> Result<Self, StoreError> {
        let mut connection = open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > SCHEMA {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
            });
        }
        if found == 0 {
            tx.execute_batch(TABLES)?;
            seed(&tx, products, stock)?;
            tx.pragma_update(None, "user_version", SCHEMA)?;
        }
        let old = now_ms() - KEEP_MS;
        // A claim that this instance left running belongs to a process that is no more.
        tx.execute(
            "DELETE FROM idempotency WHERE (claimed_at < ?1 AND outcome IS NOT 'placed')
             OR (owner = ?2 AND outcome IS NULL)",
            params![old, owner],
        )?;
        tx.execute("DELETE FROM cart_line WHERE changed_at < ?1", [old])?;
        tx.commit()?;
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(vec![connection]),
        })
    }

    /// Runs `work` with a connection on the runtime's blocking threads.
    pub(crate) async fn call<T, F>(self: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let store = Arc::clone(self);
        tokio::task::spawn_blocking(move || store.with(work))
            .await
            .unwrap_or(Err(StoreError::Lost))
    }

    /// Runs `work` with a connection on this thread.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.idle().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        let result = work(&mut connection);
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seed(connection: &Connection, products: u32, stock: u32) -> Result<(), StoreError> {
    let mut insert = connection.prepare(
        "INSERT INTO product (id, name, category, description, price_cents, initial_stock, stock)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    for id in 1..=products.clamp(1, PRODUCTS_MAX) {
        let goods = goods(id);
        insert.execute(params![
            id,
            goods.name,
            goods.category,
            goods.description,
            goods.price_cents,
            stock
        ])?;
    }
    Ok(())
}

const PRODUCT: &str = "SELECT id, name, category, description, price_cents, stock FROM product";

fn read_product(row: &rusqlite::Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row.get(0)?,
        name: row.get(1)?,
        category: row.get(2)?,
        description: row.get(3)?,
        price_cents: row.get(4)?,
        stock: row.get(5)?,
    })
}

/// One page of the goods, and how many pages there are.
pub(crate) fn page(connection: &Connection, page: u32) -> Result<(Vec<Product>, u32), StoreError> {
    let count: u32 = connection
        .prepare_cached("SELECT count(*) FROM product")?
        .query_row([], |row| row.get(0))?;
    let products = connection
        .prepare_cached(&format!("{PRODUCT} ORDER BY id LIMIT ?1 OFFSET ?2"))?
        .query_map(
            params![
                PAGE_SIZE,
                i64::from(page.saturating_sub(1)) * i64::from(PAGE_SIZE)
            ],
            read_product,
        )?
        .collect::<Result<_, _>>()?;
    Ok((products, count.div_ceil(PAGE_SIZE)))
}

/// Products whose name, category or description holds `text`, without regard to case.
pub(crate) fn search(connection: &Connection, text: &str) -> Result<Vec<Product>, StoreError> {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    let found = connection
        .prepare_cached(&format!(
            "{PRODUCT} WHERE name LIKE ?1 ESCAPE '\\' OR category LIKE ?1 ESCAPE '\\'
             OR description LIKE ?1 ESCAPE '\\' ORDER BY id LIMIT ?2"
        ))?
        .query_map(params![format!("%{escaped}%"), FOUND_MAX], read_product)?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

pub(crate) fn product(connection: &Connection, id: i64) -> Result<Option<Product>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("{PRODUCT} WHERE id = ?1"))?
        .query_row([id], read_product)
        .optional()?)
}

fn read_line(row: &rusqlite::Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        product_id: row.get(0)?,
        name: row.get(1)?,
        quantity: row.get(2)?,
        price_cents: row.get(3)?,
    })
}

pub(crate) fn cart(connection: &Connection, session: &str) -> Result<Cart, StoreError> {
    let lines: Vec<Line> = connection
        .prepare_cached(
            "SELECT p.id, p.name, c.quantity, p.price_cents FROM cart_line c
             JOIN product p ON p.id = c.product_id WHERE c.session = ?1 ORDER BY p.id",
        )?
        .query_map([session], read_line)?
        .collect::<Result<_, _>>()?;
    let total_cents = lines
        .iter()
        .map(|line| line.quantity * line.price_cents)
        .sum();
    Ok(Cart { lines, total_cents })
}

/// Adds to a cart; more than [`QUANTITY_MAX`] of one product become that many.
pub(crate) fn add_to_cart(
    connection: &mut Connection,
    session: &str,
    product_id: i64,
    quantity: u32,
) -> Result<Added, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known = tx
        .prepare_cached("SELECT 1 FROM product WHERE id = ?1")?
        .exists([product_id])?;
    if !known {
        return Ok(Added::NoSuchProduct);
    }
    let others: u32 = tx
        .prepare_cached("SELECT count(*) FROM cart_line WHERE session = ?1 AND product_id <> ?2")?
        .query_row(params![session, product_id], |row| row.get(0))?;
    if others >= LINES_MAX {
        return Ok(Added::CartFull);
    }
    tx.prepare_cached(
        "INSERT INTO cart_line (session, product_id, quantity, changed_at) VALUES (?1, ?2, min(?3, ?5), ?4)
         ON CONFLICT DO UPDATE SET quantity = min(quantity + excluded.quantity, ?5), changed_at = ?4",
    )?
    .execute(params![session, product_id, quantity, now_ms(), QUANTITY_MAX])?;
    tx.commit()?;
    Ok(Added::Yes)
}

pub(crate) fn empty_cart(connection: &Connection, session: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM cart_line WHERE session = ?1")?
        .execute([session])?;
    Ok(())
}

const ORDER: &str = "SELECT id, name, email, address, total_cents, placed_at FROM orders";

fn read_order(row: &rusqlite::Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        id: row.get(0)?,
        name: row.get(1)?,
        email: row.get(2)?,
        address: row.get(3)?,
        total_cents: row.get(4)?,
        placed_at_ms: row.get(5)?,
        lines: Vec::new(),
    })
}

/// The newest orders of a session, without their lines.
pub(crate) fn orders(connection: &Connection, session: &str) -> Result<Vec<Order>, StoreError> {
    let orders = connection
        .prepare_cached(&format!(
            "{ORDER} WHERE session = ?1 ORDER BY id DESC LIMIT ?2"
        ))?
        .query_map(params![session, ORDERS_SHOWN], read_order)?
        .collect::<Result<_, _>>()?;
    Ok(orders)
}

/// An order of this session; nobody sees another's.
pub(crate) fn order(
    connection: &Connection,
    session: &str,
    id: i64,
) -> Result<Option<Order>, StoreError> {
    let found = connection
        .prepare_cached(&format!("{ORDER} WHERE id = ?1 AND session = ?2"))?
        .query_row(params![id, session], read_order)
        .optional()?;
    let Some(mut order) = found else {
        return Ok(None);
    };
    order.lines = connection
        .prepare_cached(
            "SELECT p.id, p.name, l.quantity, l.price_cents FROM order_line l
             JOIN product p ON p.id = l.product_id WHERE l.order_id = ?1 ORDER BY p.id",
        )?
        .query_map([id], read_line)?
        .collect::<Result<_, _>>()?;
    Ok(Some(order))
}

/// What must hold in a shop's file whatever was killed, retried or overloaded. Every count but `orders`,
/// `products` and `running` is of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Products on sale.
    pub products: u64,
    /// Orders placed.
    pub orders: u64,
    /// Checkouts that were begun and not finished; normal while the shop runs.
    pub running: u64,
    /// Products whose stock and sold pieces do not add up to what was there at first.
    pub stock_broken: u64,
    /// Keys under which a session got more than one order.
    pub keys_twice: u64,
    /// Orders whose total is not the sum of their lines, or that have none.
    pub totals_broken: u64,
    /// Keys answered with an order that is not there, or is another's.
    pub orders_lost: u64,
}

impl Report {
    /// Whether nothing is violated.
    pub fn holds(&self) -> bool {
        self.stock_broken + self.keys_twice + self.totals_broken + self.orders_lost == 0
    }
}

/// Checks a shop's file in one read transaction, also while the shop runs.
pub fn check_invariants(database: &Path) -> Result<Report, StoreError> {
    let mut connection = open(database)?;
    let tx = connection.transaction()?;
    let count = |sql: &str| {
        tx.query_row(sql, [], |row| row.get::<_, u32>(0))
            .map(u64::from)
    };
    Ok(Report {
        products: count("SELECT count(*) FROM product")?,
        orders: count("SELECT count(*) FROM orders")?,
        running: count("SELECT count(*) FROM idempotency WHERE outcome IS NULL")?,
        stock_broken: count(
            "SELECT count(*) FROM product p WHERE stock < 0 OR stock + coalesce(
             (SELECT sum(quantity) FROM order_line WHERE product_id = p.id), 0) <> initial_stock",
        )?,
        keys_twice: count(
            "SELECT count(*) FROM (SELECT 1 FROM orders GROUP BY session, key HAVING count(*) > 1)",
        )?,
        totals_broken: count(
            "SELECT count(*) FROM orders o WHERE total_cents <> coalesce(
             (SELECT sum(quantity * price_cents) FROM order_line WHERE order_id = o.id), -1)",
        )?,
        orders_lost: count(
            "SELECT count(*) FROM idempotency i WHERE outcome = 'placed' AND NOT EXISTS
             (SELECT 1 FROM orders o WHERE o.id = i.reference AND o.session = i.session AND o.key = i.key)",
        )?,
    })
}
