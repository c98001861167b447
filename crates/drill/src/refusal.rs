//! What the guard said of a step, and what the step expects: to be let in, or to be refused by certain rules.

use evenkeel_guard::Outcome as Reply;
use evenkeel_model::finding::Finding;

/// A refusal in words.
pub(crate) fn said(findings: &[Finding]) -> String {
    let messages: Vec<&str> = findings.iter().map(|f| f.message.as_str()).collect();
    format!("refused: {}", messages.join("; "))
}

/// The findings by which a command was refused; `None`: it was carried out.
pub(crate) fn turned_away(reply: Reply) -> Result<Option<Vec<Finding>>, String> {
    match reply {
        Reply::Refused(refusal) => Ok(Some(refusal.findings)),
        Reply::Failed { why } => Err(why),
        _ => Ok(None),
    }
}

/// The answer to a command that must be carried out.
pub(crate) fn carried_out(reply: Reply) -> Result<(), String> {
    turned_away(reply)?.map_or(Ok(()), |findings| Err(said(&findings)))
}

/// Whether it was right that `what` was let in.
pub(crate) fn let_in(refused_by: &[String], what: &str) -> Result<(), String> {
    if refused_by.is_empty() {
        return Ok(());
    }
    let rules = refused_by.join(", ");
    Err(format!(
        "was let in as {what}, expected a refusal by {rules}"
    ))
}

/// Whether a refusal with these findings is what the step expects.
pub(crate) fn refused(refused_by: &[String], findings: &[Finding]) -> Result<(), String> {
    let has = |id: &&String| findings.iter().any(|finding| finding.id == id.as_str());
    let missing: Vec<&str> = refused_by
        .iter()
        .filter(|id| !has(id))
        .map(String::as_str)
        .collect();
    if refused_by.is_empty() {
        Err(format!("was {}", said(findings)))
    } else if missing.is_empty() {
        Ok(())
    } else {
        let ids: Vec<&str> = findings.iter().map(|f| f.id).collect();
        Err(format!(
            "was refused by {}, expected {}",
            ids.join(", "),
            missing.join(", ")
        ))
    }
}
