//! RBK: whether the way back is there, and has been walked.

use std::time::Duration;

use evenkeel_balance::Standing;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool, Role};

use crate::rule::{Rule, Subject, Words};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[TARGET, REHEARSED];

/// How old a rehearsal may be.
const REHEARSED_MAX: Duration = Duration::from_secs(30 * 86_400);

/// RBK-01.
const TARGET: Rule = Rule {
    id: "RBK-01",
    title: "each pool has a rollback target with living backends",
    severity: Severity::Warning,
    limit: None,
    text: "\
The last verified revision is what a rollback goes back to. It should know each pool that runs, and of its
backends at least `min_healthy` (1 where nothing is set) must live now. Needs a running instance. Whether
they carry the load is CAP-08.

Why: a rollback to backends that were replaced since sends traffic to addresses where nobody answers.
Evenkeel does not act by itself then, so nothing undoes a bad change at night.

Example: all backends were replaced by new ones, one change at a time, and none of them verified yet.",
    check: check_target,
};

fn check_target(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(target) = &subject.facts.rollback_target else {
        return Vec::new();
    };
    let known: std::collections::BTreeMap<&str, &Pool> = target
        .pools
        .iter()
        .map(|pool| (pool.name.as_str(), pool))
        .collect();
    let pools = subject.setup.pools.iter();
    let lost = pools.filter_map(|pool| {
        let words = match known.get(pool.name.as_str()) {
            None => Words {
                message: format!(
                    "what a rollback goes back to does not know pool `{}`",
                    pool.name
                ),
                effect: "after a rollback its requests go wherever the older routes send them"
                    .to_owned(),
                fix: "let a revision with the pool verify, or confirm it".to_owned(),
            },
            Some(before) => too_few_live(subject, pool, before)?,
        };
        Some(subject.finding(
            "RBK-01",
            Severity::Warning,
            (&pool.path, &pool.path),
            0.0,
            words,
        ))
    });
    lost.collect()
}

fn too_few_live(subject: &Subject<'_>, pool: &Pool, before: &Pool) -> Option<Words> {
    let standings = &subject.facts.pools.get(&pool.name)?.standings;
    let can_serve = |b: &&Backend| b.role == Role::Active && b.weight > 0;
    let lives = |b: &&Backend| {
        let standing = standings.get(&b.name).copied().unwrap_or(Standing::Up);
        standing == Standing::Up
    };
    let count = before.backends.iter().filter(can_serve).count();
    let live = before
        .backends
        .iter()
        .filter(can_serve)
        .filter(lives)
        .count();
    let floor = usize::try_from(pool.min_healthy.unwrap_or(1)).unwrap_or(usize::MAX);
    (live < floor).then(|| Words {
        message: format!(
            "of the {count} backends of pool `{}` that a rollback goes back to, {live} live now; \
             the limit is {floor}",
            pool.name
        ),
        effect:
            "no automatic rollback is made; a bad change of this pool stays until somebody acts"
                .to_owned(),
        fix: "let a revision with the present backends verify, or repair the old ones".to_owned(),
    })
}

/// RBK-02.
const REHEARSED: Rule = Rule {
    id: "RBK-02",
    title: "a rollback was rehearsed within 30 days",
    severity: Severity::Info,
    limit: None,
    text: "\
A rollback should end well at least every 30 days: in a drill on this instance, by hand as a rehearsal, or in
earnest. It ended well when what it restored was verified or confirmed. Needs a running instance whose
changes are recorded for longer than 30 days. An info.

Why: a way back that nobody has walked for months is a hope. A rehearsal shows how long it takes and that
those on call know what they will see.

Example: the interval of the audit is changed at a quiet hour, and once that is verified `evenkeel rollback`
undoes it.",
    check: check_rehearsed,
};

fn check_rehearsed(subject: &Subject<'_>) -> Vec<Finding> {
    // Only an instance knows its rollback target; without one nothing is known of rehearsals either.
    if subject.facts.rollback_target.is_none() {
        return Vec::new();
    }
    let (rehearsed, since) = (subject.facts.rehearsed_at, subject.facts.recorded_since);
    let Some(age) = rehearsed.or(since).map(|at| subject.now.since(at)) else {
        return Vec::new();
    };
    // A new instance had no time to rehearse yet.
    if age <= REHEARSED_MAX {
        return Vec::new();
    }
    let days = age.as_secs() / 86_400;
    let message = match rehearsed {
        Some(_) => {
            format!("the last rollback that ended well is {days} days ago; the limit is 30 days")
        }
        None => format!(
            "no rollback has ended well in the {days} days that changes are recorded; the limit is 30 days"
        ),
    };
    let words = Words {
        message,
        effect: "how long a rollback would take is not known by experience".to_owned(),
        fix: "rehearse one in a quiet hour: apply a harmless change, let it verify, and `evenkeel rollback`"
            .to_owned(),
    };
    vec![subject.finding("RBK-02", Severity::Info, ("", ""), 0.0, words)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evenkeel_balance::Standing;
    use evenkeel_forecast::{Facts, PoolFacts, forecast};
    use evenkeel_model::clock::Wall;
    use evenkeel_model::finding::{Finding, Origin};
    use evenkeel_model::setup::{Balancer, Setup};

    use crate::rules::probe::{pool, setup};
    use crate::{Subject, audit};

    const DAY_MS: u64 = 86_400_000;

    fn found(setup: &Setup, facts: &Facts, now: Wall, id: &str) -> Vec<Finding> {
        let findings = audit(&Subject {
            setup,
            origin: &Origin::default(),
            forecast: &forecast(setup, facts),
            facts,
            running: None,
            now,
        });
        findings.into_iter().filter(|f| f.id == id).collect()
    }

    fn running(pools: &[&str]) -> Setup {
        let pools = pools.iter().map(|name| pool(name, 3)).collect();
        setup(Balancer::Evenkeel, pools)
    }

    #[test]
    fn a_target_that_lacks_a_pool_or_whose_backends_are_gone_is_a_warning() {
        let mut now = running(&["app", "new"]);
        now.pools[0].min_healthy = Some(2);
        let spoken = |facts: &Facts| {
            let found = found(&now, facts, Wall(0), "RBK-01");
            found.into_iter().map(|f| f.path).collect::<Vec<_>>()
        };
        let mut facts = Facts::default();
        assert!(spoken(&facts).is_empty());
        facts.rollback_target = Some(Arc::new(running(&["app"])));
        assert_eq!(spoken(&facts), ["backend.new"]);
        facts.rollback_target = Some(Arc::new(now.clone()));
        let mut standings = PoolFacts::default();
        standings.standings.insert("s1".to_owned(), Standing::Down);
        facts.pools.insert("app".to_owned(), standings.clone());
        assert!(spoken(&facts).is_empty());
        standings
            .standings
            .insert("s2".to_owned(), Standing::Drained);
        facts.pools.insert("app".to_owned(), standings);
        assert_eq!(spoken(&facts), ["backend.app"]);
    }

    #[test]
    fn a_rehearsal_is_asked_for_every_thirty_days_where_an_instance_runs() {
        let now = running(&["app"]);
        let mut facts = Facts::default();
        let asked = |facts: &Facts| {
            let found = found(&now, facts, Wall(100 * DAY_MS), "RBK-02");
            found.first().map(|f| f.message.clone())
        };
        assert_eq!(asked(&facts), None);
        facts.rollback_target = Some(Arc::new(now.clone()));
        assert_eq!(
            asked(&facts),
            None,
            "nothing is known of the instance's age"
        );
        facts.recorded_since = Some(Wall(70 * DAY_MS));
        assert_eq!(asked(&facts), None, "too young");
        facts.recorded_since = Some(Wall(60 * DAY_MS));
        assert_eq!(
            asked(&facts).unwrap(),
            "no rollback has ended well in the 40 days that changes are recorded; the limit is 30 days"
        );
        facts.rehearsed_at = Some(Wall(70 * DAY_MS));
        assert_eq!(asked(&facts), None);
        facts.rehearsed_at = Some(Wall(69 * DAY_MS));
        assert!(asked(&facts).unwrap().contains("is 31 days ago"));
    }
}
