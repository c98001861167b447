//! Who is let in: `allow` and `deny` of the innermost block that has any of them.
//!
//! Tried on nginx 1.22.1: the first rule that fits decides; one `allow` or `deny` in a block puts aside all of the
//! blocks around it; `return`, `rewrite` and `if` are done before, so they still answer; with `satisfy any` a
//! password, a token or a sub-request lets in whom the rules do not.
//!
//! Limits: addresses are carried as written, not compared with each other.

use crate::nginx::content::Case;
use crate::nginx::scope::Scope;
use crate::nginx::tree::Directive;

/// Directives by which a client shows who it is.
pub(super) const PROOFS: &[&str] = &["auth_basic", "auth_jwt", "auth_request"];
/// Most addresses that a condition names.
const NAMED_MAX: usize = 3;

/// Who is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nobody.
    Nobody,
    /// Clients of which this holds.
    Some(String),
    /// Everybody.
    Everybody,
}

/// Who is refused within `scope`.
pub(super) fn refused(scope: &Scope<'_>) -> Refused {
    let has_proof = PROOFS
        .iter()
        .any(|name| scope.word(name).is_some_and(|word| word.text != "off"));
    let is_enough = scope.word("satisfy").is_some_and(|word| word.text == "any");
    match by_rules(scope.access()) {
        Refused::Everybody if has_proof && is_enough => {
            Refused::Some("the client does not show who it is".to_owned())
        }
        Refused::Some(_) if has_proof && is_enough => Refused::Some(
            "the client has none of the allowed addresses and does not show who it is".to_owned(),
        ),
        refused => refused,
    }
}

/// Who is refused by these rules, the first of which that fits decides.
pub(super) fn by_rules(rules: &[&Directive]) -> Refused {
    let mut allowed = Vec::new();
    let mut denied = Vec::new();
    for rule in rules {
        let is_all = rule.arg(0) == "all";
        match (rule.name(), is_all) {
            ("allow", true) if denied.is_empty() => return Refused::Nobody,
            ("allow", true) => break,
            ("deny", true) if allowed.is_empty() => return Refused::Everybody,
            ("deny", true) => {
                let words = list(&allowed);
                return Refused::Some(format!("the client is not {words}"));
            }
            ("allow", false) => allowed.push(rule.arg(0)),
            _ => denied.push(rule.arg(0)),
        }
    }
    if denied.is_empty() {
        return Refused::Nobody;
    }
    Refused::Some(format!("the client is {}", list(&denied)))
}

fn list(addresses: &[&str]) -> String {
    let some: Vec<&str> = addresses.iter().take(NAMED_MAX).copied().collect();
    match addresses.len().saturating_sub(NAMED_MAX) {
        0 => some.join(" or "),
        more => format!("{} or {more} more", some.join(", ")),
    }
}

/// `cases` where `refused` are answered before a pool is chosen.
pub(super) fn apply(refused: &Refused, mut cases: Vec<Case>) -> Vec<Case> {
    let Some(first) = cases.iter().position(|case| !case.targets.is_empty()) else {
        return cases;
    };
    match refused {
        Refused::Nobody => {}
        Refused::Everybody => cases.iter_mut().for_each(|case| case.targets.clear()),
        Refused::Some(who) => cases.insert(first, Case::bare(Some(who.clone()))),
    }
    cases
}
