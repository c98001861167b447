//! What a file says about the audit: `[pool.NAME.audit]` and `[[audit.waiver]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{Reader, Report, Section, clip, list};
use super::reference::sub;
use super::suggest::suggestion;
use super::typed::{Expected, Limits};
use super::{WAIVERS_MAX, keys, too_many};
use crate::day::Day;
use crate::finding::Severity;
use crate::ids::Name;
use crate::policy::{Policy, RULES, RuleId, Waiver, rule};

/// What a limit of a rule may be.
const RULE_LIMIT: Limits<f64> = Limits {
    min: 0.0,
    max: 1e9,
    outside: "the rule would never speak, or always",
};

const SEVERITIES: [(&str, Severity); 3] = [
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("error", Severity::Error),
];

/// The `audit` table of a pool.
pub(super) fn of_pool(reader: &mut Reader, pool: &Section<'_>) -> Policy {
    let mut policy = Policy::default();
    let Some(audit) = sub(reader, pool, "audit", &keys::POOL_AUDIT) else {
        return policy;
    };
    if let Some(table) = by_rule(reader, &audit, "severity") {
        for (rule, key) in rules_of(reader, &table, |_| true) {
            if let Some(severity) = table.choice(reader, key, &SEVERITIES) {
                policy.severities.insert(rule.id.to_owned(), severity);
            }
        }
    }
    if let Some(table) = by_rule(reader, &audit, "limit") {
        for (rule, key) in rules_of(reader, &table, |rule| rule.limit.is_some()) {
            if let Some(limit) = table.number(reader, key, &RULE_LIMIT) {
                policy.limits.insert(rule.id.to_owned(), limit);
            }
        }
    }
    policy
}

fn by_rule<'d>(reader: &mut Reader, audit: &Section<'d>, key: &str) -> Option<Section<'d>> {
    reader.open(audit.child_path(key), audit.raw(key)?)
}

/// The rules that the keys of `table` name. One that does not exist, or that is not `fit`, is a finding.
fn rules_of<'d>(
    reader: &mut Reader,
    table: &Section<'d>,
    fit: impl Fn(&RuleId) -> bool,
) -> Vec<(&'static RuleId, &'d str)> {
    let mut rules = Vec::new();
    for (key, span) in table.keys() {
        let path = table.child_path(&crate::canonical::path_segment(&clip(key)));
        match rule(key) {
            Some(rule) if fit(rule) => rules.push((rule, key)),
            Some(rule) => reader.error(&path, span, without_limit(rule)),
            None => unknown_rule(reader, &path, span, key),
        }
    }
    rules
}

fn unknown_rule(reader: &mut Reader, path: &str, span: Range<usize>, written: &str) {
    let suggested = suggestion(written, RULES.iter().map(|rule| rule.id));
    let report = Report {
        id: "CFG-05",
        message: format!(
            "`{path}` names the rule \"{}\", which does not exist",
            clip(written)
        ),
        effect: "the setting would change nothing, so the file is not used".to_owned(),
        fix: suggested.map_or_else(
            || "take an id from `evenkeel explain`".to_owned(),
            |id| format!("did you mean `{id}`?"),
        ),
    };
    reader.error(path, span, report);
}

fn without_limit(rule: &RuleId) -> Report {
    let limited: Vec<&str> = RULES
        .iter()
        .filter(|r| r.limit.is_some())
        .map(|r| r.id)
        .collect();
    Report {
        id: "CFG-06",
        message: format!("{} has no limit that can be set", rule.id),
        effect: "the setting would change nothing, so the file is not used".to_owned(),
        fix: format!("remove it; a limit have {}", list(&limited)),
    }
}

/// The waivers in `[audit]`. `pools` are those that exist; `None`: that is not known yet.
pub(super) fn waivers(
    reader: &mut Reader,
    audit: &Section<'_>,
    pools: Option<&BTreeSet<Name>>,
) -> Vec<Waiver> {
    let mut elements = audit.elements(reader, "waiver");
    if elements.len() > WAIVERS_MAX {
        let span = elements
            .get(WAIVERS_MAX)
            .map_or(0..0, |(_, value)| value.span());
        let report = too_many("waivers", WAIVERS_MAX, elements.len());
        reader.error(&audit.child_path("waiver"), span, report);
        elements.truncate(WAIVERS_MAX);
    }
    let mut first: BTreeMap<(String, Option<String>), String> = BTreeMap::new();
    let mut waivers = Vec::with_capacity(elements.len());
    for (path, value) in elements {
        let Some(waiver) = waiver(reader, &path, value, pools) else {
            continue;
        };
        let same = (waiver.rule.clone(), waiver.pool.clone());
        match first.get(&same) {
            Some(other) => reader.error(&path, value.span(), twice(&path, other)),
            None => {
                first.insert(same, path);
            }
        }
        waivers.push(waiver);
    }
    waivers
}

fn waiver(
    reader: &mut Reader,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    pools: Option<&BTreeSet<Name>>,
) -> Option<Waiver> {
    let s = reader.section(path.to_owned(), value, &keys::WAIVER)?;
    s.require(
        reader,
        "rule",
        "nothing would be waived",
        "rule = \"TRF-02\"",
    );
    let effect = "nobody could tell later whether it still holds";
    s.require(
        reader,
        "reason",
        effect,
        "reason = \"a canary of one backend\"",
    );
    s.require(
        reader,
        "until",
        "it would be waived for ever",
        "until = \"2027-01-31\"",
    );
    let id = s.text(reader, "rule").and_then(|(text, found)| {
        let known = rule(text);
        if known.is_none() {
            unknown_rule(reader, &found.path, found.span, text);
        }
        known
    });
    let reason = s.read(reader, "reason", |text| {
        let text = text.trim();
        let why = || Expected::new("a reason in words", "write why the finding is accepted");
        if text.is_empty() {
            Err(why())
        } else {
            Ok(text.to_owned())
        }
    });
    let until = day(reader, &s);
    let pool = match s.has("pool").then(|| pool(reader, &s, pools)) {
        None => None,
        Some(pool) => Some(pool?),
    };
    Some(Waiver {
        path: path.to_owned(),
        rule: id?.id.to_owned(),
        pool,
        reason: reason?,
        until: until?.end(),
    })
}

/// The pool that a waiver names. Another balancer's may have any name.
fn pool(reader: &mut Reader, s: &Section<'_>, pools: Option<&BTreeSet<Name>>) -> Option<String> {
    let (text, found) = s.text(reader, "pool")?;
    let Some(pools) = pools.filter(|pools| !pools.iter().any(|pool| *pool == *text)) else {
        return Some(text.to_owned());
    };
    let suggested = suggestion(text, pools.iter().map(Name::as_str));
    reader.error(
        &found.path,
        found.span,
        no_such_pool(&found.path, text, suggested),
    );
    None
}

/// The report for a pool that a waiver or a side file names and that is not there.
pub(super) fn no_such_pool(path: &str, written: &str, suggested: Option<&str>) -> Report {
    Report {
        id: "CFG-05",
        message: format!(
            "`{path}` names the pool \"{}\", which does not exist",
            clip(written)
        ),
        effect: "it would change nothing, so the file is not used".to_owned(),
        fix: suggested.map_or_else(
            || "name a pool that exists".to_owned(),
            |pool| format!("did you mean \"{}\"?", clip(pool)),
        ),
    }
}

/// `"2027-01-31"` or a bare date of TOML.
fn day(reader: &mut Reader, s: &Section<'_>) -> Option<Day> {
    let found = s.get(reader, "until")?;
    let day = match found.value {
        DeValue::String(text) => Day::parse(text),
        DeValue::Datetime(moment) => Day::parse(&moment.to_string()),
        _ => None,
    };
    if day.is_none() {
        let fix = "write the last day on which it holds: `until = \"2027-01-31\"`".to_owned();
        reader.wrong(&found, "a day of the calendar", fix);
    }
    day
}

fn twice(path: &str, other: &str) -> Report {
    Report {
        id: "CFG-07",
        message: format!("`{path}` waives what `{other}` already does"),
        effect: "which reason and which day hold would not be clear".to_owned(),
        fix: "keep one of the two".to_owned(),
    }
}
