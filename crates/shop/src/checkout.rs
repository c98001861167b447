//! Checkout: exactly one order for a key, whatever is retried, repeated or killed.
//!
//! The protocol of draft-ietf-httpapi-idempotency-key-header-07. A short transaction claims the key; the order,
//! its lines, the stock and the key's outcome are then written in one further transaction, which first makes sure
//! that the claim still stands. Who dies in between leaves a claim and nothing else; it may be taken over after
//! [`LEASE`], and whoever was only slow finds on waking that the claim is no longer its own.
//!
//! Limits: the scope of a key is the session; keys of orders are kept for good, others for a day.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::store::{Order, StoreError, cart, now_ms, order};

/// How long a claim keeps others out.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// Longest key in bytes.
pub(crate) const KEY_MAX: usize = 255;

/// Who buys, and under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkout {
    pub(crate) session: String,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) address: String,
}

impl Checkout {
    /// What must be the same in each request with one key. Control characters cannot occur in the parts.
    fn payload(&self) -> String {
        format!("{}\n{}\n{}", self.name, self.email, self.address)
    }
}

/// What a finished checkout came to, and comes to again under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Placed(Box<Order>),
    EmptyCart,
    OutOfStock { product_id: i64 },
}

/// What the key says before anything is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Ours to carry out.
    Ours { token: i64 },
    /// Another request with this key is being carried out.
    Running,
    /// The key was used with another payload.
    Mismatch,
    /// Done before.
    Done(Outcome),
}

struct Row {
    payload: String,
    claimed_at: i64,
    outcome: Option<String>,
    reference: Option<i64>,
}

fn read_row(connection: &Connection, checkout: &Checkout) -> Result<Option<Row>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT payload, claimed_at, outcome, reference FROM idempotency WHERE session = ?1 AND key = ?2",
        )?
        .query_row(params![checkout.session, checkout.key], |row| {
            Ok(Row {
                payload: row.get(0)?,
                claimed_at: row.get(1)?,
                outcome: row.get(2)?,
                reference: row.get(3)?,
            })
        })
        .optional()?)
}

fn replay(
    connection: &Connection,
    session: &str,
    outcome: &str,
    reference: Option<i64>,
) -> Result<Outcome, StoreError> {
    let id = reference.unwrap_or_default();
    match outcome {
        "placed" => {
            let order = order(connection, session, id)?;
            let order = order.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            Ok(Outcome::Placed(Box::new(order)))
        }
        "out_of_stock" => Ok(Outcome::OutOfStock { product_id: id }),
        _ => Ok(Outcome::EmptyCart),
    }
}

/// Claims the key for `owner`, or tells what stands against it.
pub(crate) fn claim(
    connection: &mut Connection,
    checkout: &Checkout,
    owner: &str,
) -> Result<Claim, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = now_ms();
    if let Some(row) = read_row(&tx, checkout)? {
        if row.payload != checkout.payload() {
            return Ok(Claim::Mismatch);
        }
        if let Some(outcome) = row.outcome {
            let outcome = replay(&tx, &checkout.session, &outcome, row.reference)?;
            return Ok(Claim::Done(outcome));
        }
        if now < row.claimed_at.saturating_add(LEASE.as_millis() as i64) {
            return Ok(Claim::Running);
        }
    }
    let token: i64 = tx
        .prepare_cached(
            "INSERT INTO idempotency (session, key, payload, owner, token, claimed_at)
             VALUES (?1, ?2, ?3, ?4, 1, ?5)
             ON CONFLICT DO UPDATE SET owner = ?4, token = token + 1, claimed_at = ?5 RETURNING token",
        )?
        .query_row(
            params![checkout.session, checkout.key, checkout.payload(), owner, now],
            |row| row.get(0),
        )?;
    tx.commit()?;
    Ok(Claim::Ours { token })
}

/// Places the order under a claim. `None`: the claim was taken over meanwhile.
pub(crate) fn complete(
    connection: &mut Connection,
    checkout: &Checkout,
    owner: &str,
    token: i64,
) -> Result<Option<Outcome>, StoreError> {
    let mut tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mine = tx
        .prepare_cached(
            "SELECT 1 FROM idempotency
             WHERE session = ?1 AND key = ?2 AND token = ?3 AND owner = ?4 AND outcome IS NULL",
        )?
        .exists(params![checkout.session, checkout.key, token, owner])?;
    if !mine {
        return Ok(None);
    }
    // What was taken from the stock before a product ran out is given back by the savepoint.
    let mut savepoint = tx.savepoint()?;
    let (name, reference) = match place(&savepoint, checkout, owner)? {
        Placing::Placed(id) => ("placed", Some(id)),
        Placing::EmptyCart => ("empty_cart", None),
        Placing::OutOfStock(product_id) => {
            savepoint.rollback()?;
            ("out_of_stock", Some(product_id))
        }
    };
    savepoint.commit()?;
    finish(&tx, checkout, name, reference)?;
    let outcome = replay(&tx, &checkout.session, name, reference)?;
    tx.commit()?;
    Ok(Some(outcome))
}

enum Placing {
    Placed(i64),
    EmptyCart,
    OutOfStock(i64),
}

fn place(connection: &Connection, checkout: &Checkout, owner: &str) -> Result<Placing, StoreError> {
    let cart = cart(connection, &checkout.session)?;
    if cart.lines.is_empty() {
        return Ok(Placing::EmptyCart);
    }
    let mut take = connection
        .prepare_cached("UPDATE product SET stock = stock - ?1 WHERE id = ?2 AND stock >= ?1")?;
    for line in &cart.lines {
        if take.execute(params![line.quantity, line.product_id])? == 0 {
            return Ok(Placing::OutOfStock(line.product_id));
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO orders (session, key, name, email, address, total_cents, placed_at, instance)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            checkout.session,
            checkout.key,
            checkout.name,
            checkout.email,
            checkout.address,
            cart.total_cents,
            now_ms(),
            owner
        ])?;
    let id = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached(
        "INSERT INTO order_line (order_id, product_id, quantity, price_cents) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for line in &cart.lines {
        insert.execute(params![
            id,
            line.product_id,
            line.quantity,
            line.price_cents
        ])?;
    }
    connection
        .prepare_cached("DELETE FROM cart_line WHERE session = ?1")?
        .execute([&checkout.session])?;
    Ok(Placing::Placed(id))
}

fn finish(
    tx: &Transaction<'_>,
    checkout: &Checkout,
    outcome: &str,
    reference: Option<i64>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE idempotency SET outcome = ?3, reference = ?4 WHERE session = ?1 AND key = ?2",
    )?
    .execute(params![checkout.session, checkout.key, outcome, reference])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Checkout, Claim, LEASE, Outcome, claim, complete};
    use crate::store::{Store, add_to_cart, cart, check_invariants, orders, product};

    struct Fixture {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
        store: Store,
    }

    fn fixture(stock: u32) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let store = Store::open(&path, "web-1", 5, stock).unwrap();
        Fixture {
            _dir: dir,
            path,
            store,
        }
    }

    fn checkout(key: &str) -> Checkout {
        Checkout {
            session: "s1".into(),
            key: key.into(),
            name: "Ada".into(),
            email: "ada@example.com".into(),
            address: "Harbour Road 1".into(),
        }
    }

    fn order(store: &Store, wanted: &Checkout) -> Option<Outcome> {
        store
            .with(|c| {
                let Claim::Ours { token } = claim(c, wanted, "web-1")? else {
                    panic!("not ours");
                };
                complete(c, wanted, "web-1", token)
            })
            .unwrap()
    }

    fn claimed(store: &Store, wanted: &Checkout) -> Claim {
        store.with(|c| claim(c, wanted, "web-2")).unwrap()
    }

    #[test]
    fn a_finished_key_replays_its_order_and_takes_nothing_twice() {
        let f = fixture(10);
        f.store.with(|c| add_to_cart(c, "s1", 2, 3)).unwrap();
        let Some(Outcome::Placed(first)) = order(&f.store, &checkout("k")) else {
            panic!("not placed")
        };
        f.store.with(|c| add_to_cart(c, "s1", 2, 1)).unwrap();
        let again = claimed(&f.store, &checkout("k"));
        assert_eq!(again, Claim::Done(Outcome::Placed(first)));
        assert_eq!(f.store.with(|c| product(c, 2)).unwrap().unwrap().stock, 7);
        assert_eq!(f.store.with(|c| orders(c, "s1")).unwrap().len(), 1);
        assert!(check_invariants(&f.path).unwrap().holds());
    }

    #[test]
    fn another_payload_under_a_key_is_a_mismatch_but_another_session_is_free() {
        let f = fixture(10);
        order(&f.store, &checkout("k"));
        let mut other = checkout("k");
        other.address = "Elsewhere 2".into();
        assert_eq!(claimed(&f.store, &other), Claim::Mismatch);
        other.session = "s2".into();
        assert!(matches!(claimed(&f.store, &other), Claim::Ours { .. }));
    }

    #[test]
    fn a_running_key_keeps_others_out_until_its_lease_ends_and_the_late_owner_finds_out() {
        let f = fixture(10);
        f.store.with(|c| add_to_cart(c, "s1", 1, 1)).unwrap();
        let wanted = checkout("k");
        let Claim::Ours { token: slow } = f.store.with(|c| claim(c, &wanted, "web-1")).unwrap()
        else {
            panic!("not ours")
        };
        assert_eq!(claimed(&f.store, &wanted), Claim::Running);
        let lease = LEASE.as_millis() as i64;
        f.store
            .with(|c| {
                Ok(c.execute(
                    "UPDATE idempotency SET claimed_at = claimed_at - ?1",
                    [lease],
                )?)
            })
            .unwrap();
        let Claim::Ours { token } = claimed(&f.store, &wanted) else {
            panic!("not taken over")
        };
        let late = f
            .store
            .with(|c| complete(c, &wanted, "web-1", slow))
            .unwrap();
        assert_eq!(late, None);
        let done = f
            .store
            .with(|c| complete(c, &wanted, "web-2", token))
            .unwrap();
        assert!(matches!(done, Some(Outcome::Placed(_))));
        assert!(check_invariants(&f.path).unwrap().holds());
    }

    #[test]
    fn an_instance_that_starts_again_frees_the_claims_it_died_with() {
        let f = fixture(10);
        let wanted = checkout("k");
        f.store.with(|c| claim(c, &wanted, "web-1")).unwrap();
        Store::open(&f.path, "web-2", 5, 10).unwrap();
        assert_eq!(claimed(&f.store, &wanted), Claim::Running);
        Store::open(&f.path, "web-1", 5, 10).unwrap();
        assert!(matches!(claimed(&f.store, &wanted), Claim::Ours { .. }));
    }

    #[test]
    fn a_product_that_runs_out_leaves_stock_and_cart_as_they_were() {
        let f = fixture(5);
        f.store.with(|c| add_to_cart(c, "s1", 1, 2)).unwrap();
        f.store.with(|c| add_to_cart(c, "s1", 3, 6)).unwrap();
        let outcome = order(&f.store, &checkout("k"));
        assert_eq!(outcome, Some(Outcome::OutOfStock { product_id: 3 }));
        assert_eq!(f.store.with(|c| product(c, 1)).unwrap().unwrap().stock, 5);
        assert_eq!(f.store.with(|c| cart(c, "s1")).unwrap().lines.len(), 2);
        assert!(check_invariants(&f.path).unwrap().holds());
        let empty = Checkout {
            session: "s9".into(),
            ..checkout("k")
        };
        assert_eq!(order(&f.store, &empty), Some(Outcome::EmptyCart));
    }

    #[test]
    fn the_check_finds_each_kind_of_damage() {
        let damages = [
            "UPDATE product SET stock = stock - 1 WHERE id = 4",
            "UPDATE orders SET total_cents = total_cents + 1",
            "DELETE FROM order_line",
            "UPDATE idempotency SET reference = 99",
        ];
        for damage in damages {
            let f = fixture(10);
            f.store.with(|c| add_to_cart(c, "s1", 2, 3)).unwrap();
            order(&f.store, &checkout("k"));
            assert!(check_invariants(&f.path).unwrap().holds());
            f.store.with(|c| Ok(c.execute(damage, [])?)).unwrap();
            assert!(!check_invariants(&f.path).unwrap().holds(), "{damage}");
        }
    }
}
