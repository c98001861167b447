//! The audit over a restart: what it knew before, and when it comes again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evenkeel_journal::{Append as _, Read as _, SqliteJournal};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{Entry, LastAudit, RevisionRecord, RevisionState};
use evenkeel_model::{canonical, parse};

use crate::support::{Home, Instance, PATIENCE, config, nobody};

/// Longer ago than the audit schedule of [`refusable`].
const LONG_AGO: Duration = Duration::from_hours(48);

/// A configuration with an audit error, as an earlier version without the rule may have taken it.
fn refusable() -> String {
    config(&nobody(), [10, 1, 1], "\n[audit]\nevery = \"24h\"\n")
}

/// A home whose journal says that [`refusable`] runs and was audited long ago with these errors.
fn audited_long_ago(errors: &[String]) -> Home {
    let text = refusable();
    let home = Home::new(&text);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let at = Wall(u64::try_from(now.unwrap().saturating_sub(LONG_AGO).as_millis()).unwrap());
    let running = parse::parse(&text, None).config.unwrap();
    let revision = RevisionRecord {
        id: RevisionId(1),
        parent: None,
        hash: canonical::content_hash(&running),
        text: Arc::from(text),
        author: "alice".to_owned(),
        reason: "first start".to_owned(),
        state: RevisionState::Verified,
        at,
        forced: false,
        confirm_by: None,
        keep_until: None,
        incident: None,
    };
    let audit = Entry::Audit {
        at,
        revision: RevisionId(1),
        errors: u32::try_from(errors.len()).unwrap(),
        warnings: 0,
        findings: errors.to_vec(),
    };
    let mut journal = SqliteJournal::open(&home.data()).unwrap();
    journal
        .append(&[Entry::Revision(revision), audit], at)
        .unwrap();
    home
}

/// The audit that the journal of a stopped instance ends with.
fn last_audit(home: &Home) -> LastAudit {
    let journal = SqliteJournal::open(&home.data()).unwrap();
    let state = journal.reader().unwrap().state().unwrap();
    state.last_audit.unwrap()
}

/// Waits for the audit at the start, and gives the titles of the incidents.
fn audited(instance: &Instance) -> Vec<String> {
    instance.when("an audit", PATIENCE, |status| {
        status["audit"]["errors"].as_u64() > Some(0)
    });
    titles(instance)
}

fn titles(instance: &Instance) -> Vec<String> {
    let view = instance.ask("incident list");
    let incidents = view["incidents"].as_array().unwrap().iter();
    let title = |i: &serde_json::Value| i["title"].as_str().unwrap().to_owned();
    incidents.map(title).collect()
}

#[test]
fn an_audit_error_that_is_new_across_a_restart_opens_one_incident() {
    let home = audited_long_ago(&[]);
    let instance = home.start(&[]);
    let first = audited(&instance);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].starts_with("audit: TRF-02"), "{first:?}");
    assert!(instance.stop().success());
    let audit = last_audit(&home);

    // The next one is due in a day: a further start neither audits nor opens again, and still knows the last.
    let instance = home.start(&[]);
    assert_eq!(audited(&instance), first);
    assert!(instance.stop().success());
    assert_eq!(last_audit(&home), audit);

    // Where the audit before the restart had the same errors, nothing is new.
    let errors = usize::try_from(audit.errors).unwrap();
    let known = audited_long_ago(&audit.findings[..errors]);
    let instance = known.start(&[]);
    assert_eq!(audited(&instance), Vec::<String>::new());
    assert!(instance.stop().success());
    assert!(last_audit(&known).at > audit.at);
}
