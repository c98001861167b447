//! `RBAC`, of HTTP and of connections, where it refuses everybody.
//!
//! Tried on Envoy 1.40: without `rules` the filter refuses nobody; rules that allow and hold no policy, and rules that
//! deny whatever comes from anyone, refuse everybody. Rules between these let some in and are no matter of the spread.
//!
//! Limits: only `any: true` is taken for everybody; `matcher` is not looked into.

use evenkeel_model::setup::Touches;

use crate::book::Book;
use crate::envoy::fields::{Fields, scalar};
use crate::envoy::node::{Node, Value};

/// Words of `action`.
const ACTIONS: &[&str] = &["ALLOW", "DENY", "LOG"];

/// Whether the filter with these fields refuses everybody.
pub(super) fn refuses_all(book: &mut Book<'_>, filter: &mut Fields<'_>) -> bool {
    if filter.take("matcher").is_some() {
        return false;
    }
    let Some(mut rules) = filter.message(book, "rules") else {
        return false;
    };
    let action = rules.word(book, "action", ACTIONS).unwrap_or("ALLOW");
    let policies: &[_] = match rules.take("policies").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    };
    let is_for_all = policies.iter().any(|(_, policy)| is_for_all(policy));
    rules.close(book, &["audit_logging_options"], &Touches::Resilience);
    match action {
        "ALLOW" => policies.is_empty(),
        "DENY" => is_for_all,
        _ => false,
    }
}

/// Whether a policy is for whatever anyone asks.
fn is_for_all(policy: &Node) -> bool {
    let Value::Map(entries) = &policy.value else {
        return false;
    };
    let has_any = |name: &str| {
        let list = entries.iter().find(|(key, _)| key.text == name);
        let Some(Value::List(items)) = list.map(|(_, node)| &node.value) else {
            return false;
        };
        items.iter().any(|item| is_any(item))
    };
    let is_plain = entries
        .iter()
        .all(|(key, _)| matches!(key.text.as_str(), "permissions" | "principals"));
    is_plain && has_any("permissions") && has_any("principals")
}

/// `{ any: true }`.
fn is_any(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    let is_true = |(key, value): &(crate::envoy::node::Key, std::rc::Rc<Node>)| {
        key.text == "any" && scalar(value) == Some("true")
    };
    entries.iter().any(is_true)
}
