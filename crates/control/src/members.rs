//! Finding the members of pools while the process runs: one task per pool looks, the loop decides what becomes of it.
//!
//! A task only looks (a file once a second, DNS when an answer's time to live is over) and hands in what it found. How
//! fast the pool follows is bounded in one place (`balance::membership`); a look that fails changes nothing. The
//! members are runtime state: they stand, marked as found, in the effective configuration that the loop, the guard and
//! the data plane share, and in no revision.
//!
//! Limits: a file is read whole, [`crate::source::SIZE_MAX`] at most; answers wait in a bounded queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_balance::membership::{Floor, Membership, Peer, Step};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Address, Backend, Config, Intent, Members, MembersSource, Pool};
use evenkeel_model::ids::Name;
use evenkeel_model::parse::{MEMBERS_MAX, list_of_members};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::source;

mod dns;

/// Between two looks at a file.
const FILE_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the first answers before traffic is served with what there is.
const FIRST_WAIT: Duration = Duration::from_secs(3);
/// Names that a sentence lists.
const NAMED_MAX: usize = 5;

/// What a look needs to know of its pool.
#[derive(Debug, Clone, PartialEq)]
struct Target {
    members: Members,
    intent: Intent,
    /// The pool's own backends: their names are taken.
    declared: Vec<(Name, Address)>,
}

impl Target {
    fn of(pool: &Pool) -> Option<Self> {
        let declared = pool.backends.iter().filter(|b| !b.discovered);
        Some(Self {
            members: pool.members.clone()?,
            intent: pool.intent,
            declared: declared
                .map(|b| (b.name.clone(), b.address.clone()))
                .collect(),
        })
    }
}

/// What a look found.
#[derive(Debug, Clone, PartialEq)]
struct Listed {
    members: Vec<Backend>,
    /// What is wrong with it, though it is used.
    warning: Option<String>,
}

/// What a look found, and for how long the answer is good.
type Found = Result<(Listed, Duration), String>;

/// What one look found for a pool.
#[derive(Debug)]
pub(crate) struct Answer {
    pool: Name,
    target: Arc<Target>,
    found: Found,
}

/// What became of the looks for the members of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// Looks that gave no list that can be used.
    pub failed: u64,
    /// How long ago the last one gave one; `None`: none did yet.
    pub age: Option<Duration>,
}

/// The looks of a follower.
#[derive(Debug, Default)]
struct Counted {
    failed: u64,
    good_at: Option<Instant>,
}

impl Counted {
    fn count(&mut self, good: bool) {
        if good {
            self.good_at = Some(Instant::now());
        } else {
            self.failed += 1;
        }
    }
}

fn lock(looks: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    looks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One pool that finds members.
#[derive(Debug)]
struct Follower {
    target: Arc<Target>,
    task: AbortHandle,
    membership: Membership,
    held: Vec<Name>,
    next: Option<Mono>,
    looks: Arc<Mutex<Counted>>,
    error: Option<String>,
    /// Whether the last look gave no list that can be used.
    failed: bool,
    /// The error that the loop was told last.
    told: Option<String>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Moved {
    /// Every member that is in the pool now.
    pub(crate) found: Vec<Backend>,
    /// Those that stay although nobody names them.
    pub(crate) held: Vec<Name>,
    /// When the next of them may leave.
    pub(crate) next: Option<Mono>,
    /// Why the last look gave no answer, or what is wrong with it.
    pub(crate) error: Option<String>,
    /// Whether the last look gave no list that can be used.
    pub(crate) failed: bool,
    /// What changed, in words; empty: the members are the same.
    pub(crate) text: String,
}

/// The pools that find members.
#[derive(Debug)]
pub(crate) struct Finder {
    answers: mpsc::Sender<Answer>,
    followers: BTreeMap<Name, Follower>,
}

impl Finder {
    /// Looks for nobody yet; answers go to `answers`.
    pub(crate) fn new(answers: mpsc::Sender<Answer>) -> Self {
        Self {
            answers,
            followers: BTreeMap::new(),
        }
    }

    /// Follows what `config` says from now on. A pool keeps its members when its source changes: those that the new
    /// source does not name leave at the bounded rate.
    pub(crate) fn update(&mut self, config: &Config) {
        self.followers.retain(|name, _| {
            config
                .pool(name.as_str())
                .is_some_and(|pool| pool.members.is_some())
        });
        for pool in &config.pools {
            let Some(target) = Target::of(pool) else {
                continue;
            };
            let known = self.followers.get(&pool.name);
            if known.is_some_and(|known| *known.target == target) {
                continue;
            }
            let target = Arc::new(target);
            let looks = known
                .map(|known| Arc::clone(&known.looks))
                .unwrap_or_default();
            let look = follow(
                pool.name.clone(),
                Arc::clone(&target),
                Arc::clone(&looks),
                self.answers.clone(),
            );
            let follower = Follower {
                task: tokio::spawn(look).abort_handle(),
                target,
                membership: Membership::new(pool.discovered().cloned()),
                held: Vec::new(),
                next: None,
                looks,
                error: None,
                failed: false,
                told: None,
            };
            self.followers.insert(pool.name.clone(), follower);
        }
    }

    /// Takes what a look found; the pool to go on with, if it is still asked for.
    pub(crate) fn take(&mut self, answer: Answer) -> Option<Name> {
        let follower = self.followers.get_mut(&answer.pool)?;
        if !Arc::ptr_eq(&follower.target, &answer.target) {
            return None; // of a source that the pool no longer has
        }
        let before = follower.error.take();
        let is_new = |text: &String| before.as_ref() != Some(text);
        follower.failed = answer.found.is_err();
        match answer.found {
            Ok((listed, _)) => {
                if let Some(warning) = listed.warning.as_ref().filter(|w| is_new(w)) {
                    tracing::warn!(pool = %answer.pool, warning, "members");
                }
                follower.error = listed.warning;
                follower.membership.answer(listed.members);
            }
            Err(error) => {
                if is_new(&error) {
                    tracing::warn!(pool = %answer.pool, error, "no list of members that can be used; those before stay");
                }
                follower.error = Some(error);
            }
        }
        Some(answer.pool)
    }

    /// What became of the looks, by pool that finds members.
    pub(crate) fn looks(&self) -> Vec<(Name, Looks)> {
        let followers = self.followers.iter();
        followers
            .map(|(name, follower)| {
                let counted = lock(&follower.looks);
                let looks = Looks {
                    failed: counted.failed,
                    age: counted.good_at.map(|at| at.elapsed()),
                };
                (name.clone(), looks)
            })
            .collect()
    }

    /// The pools that hold members back and may go on.
    pub(crate) fn waiting(&self) -> Vec<Name> {
        let waiting = self.followers.iter().filter(|(_, f)| !f.held.is_empty());
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// Goes on with the members of `pool`; `None`: nothing is new. `up` says who takes traffic.
    pub(crate) fn step(
        &mut self,
        pool: &Pool,
        now: Mono,
        up: impl Fn(&Name) -> bool,
    ) -> Option<Moved> {
        let follower = self.followers.get_mut(&pool.name)?;
        let declared = pool.backends.iter().filter(|b| !b.discovered);
        let peer = |backend: &Backend| Peer {
            level: backend.priority,
            weight: backend.weight,
            is_up: up(&backend.name),
        };
        let declared: Vec<Peer> = declared.map(peer).collect();
        let floor = Floor {
            declared: &declared,
            min_healthy: pool.min_healthy as usize,
        };
        let step = follower.membership.step(now, floor, up);
        let before = std::mem::replace(&mut follower.held, step.held.clone());
        let next = std::mem::replace(&mut follower.next, step.next);
        let told = std::mem::replace(&mut follower.told, follower.error.clone());
        let is_told = before == step.held && next == step.next && told == follower.error;
        if !step.moves() && is_told {
            return None;
        }
        Some(Moved {
            found: follower.membership.current().cloned().collect(),
            text: step_in_words(pool, &follower.target.members.source, &step),
            held: step.held,
            next: step.next,
            error: follower.error.clone(),
            failed: follower.failed,
        })
    }
}

/// What a step did, in words; empty when nothing did.
pub fn step_in_words(pool: &Pool, source: &MembersSource, step: &Step) -> String {
    if !step.moves() {
        return String::new();
    }
    let mut parts = Vec::new();
    for (names, what) in [
        (&step.added, "joined"),
        (&step.removed, "left"),
        (&step.changed, "changed"),
        (&step.held, "held back"),
    ] {
        if names.is_empty() {
            continue;
        }
        let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(Name::as_str).collect();
        let more = names.len() - shown.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        parts.push(format!("{}{more} {what}", shown.join(", ")));
    }
    format!("pool {}, {source}: {}", pool.name, parts.join("; "))
}

/// Looks for ever.
async fn follow(
    pool: Name,
    target: Arc<Target>,
    looks: Arc<Mutex<Counted>>,
    answers: mpsc::Sender<Answer>,
) {
    let mut known: Option<Result<Listed, String>> = None;
    loop {
        let found = look(&target).await;
        lock(&looks).count(found.is_ok());
        let again = match &found {
            Ok((_, good_for)) => *good_for,
            Err(_) => target.members.ttl_min.max(FILE_EVERY),
        };
        let news = found.clone().map(|(listed, _)| listed);
        if known.as_ref() != Some(&news) {
            let answer = Answer {
                pool: pool.clone(),
                target: Arc::clone(&target),
                found,
            };
            if answers.send(answer).await.is_err() {
                return;
            }
            known = Some(news);
        }
        tokio::time::sleep(again).await;
    }
}

/// Looks once.
async fn look(target: &Arc<Target>) -> Found {
    let found = match &target.members.source {
        MembersSource::File(_) => {
            let target = Arc::clone(target);
            let read = tokio::task::spawn_blocking(move || read_file(&target));
            let read = read.await.map_err(|error| error.to_string())?;
            (read?, FILE_EVERY)
        }
        MembersSource::Dns { host, port } => dns::addresses(&target.members, host, *port).await?,
        MembersSource::Srv(service) => dns::services(&target.members, service).await?,
    };
    if found.0.len() > MEMBERS_MAX {
        return Err(format!(
            "{} members were found, a pool holds at most {MEMBERS_MAX}",
            found.0.len()
        ));
    }
    let (members, good_for) = found;
    Ok((usable(members, &target.declared)?, good_for))
}

/// The members of `found` that can serve, beside the pool's own backends. What no host can have as its address is left
/// out, and said; so is that two share one address.
fn usable(found: Vec<Backend>, declared: &[(Name, Address)]) -> Result<Listed, String> {
    let taken = |member: &&Backend| declared.iter().any(|(name, _)| *name == member.name);
    if let Some(member) = found.iter().find(taken) {
        return Err(format!(
            "a member is called `{}`, as a backend of the configuration is",
            member.name
        ));
    }
    let mut said = Vec::new();
    let (mut members, all) = (Vec::new(), found.len());
    let mut known: BTreeMap<Address, Name> = declared
        .iter()
        .map(|(name, address)| (address.clone(), name.clone()))
        .collect();
    for member in found {
        let Backend { name, address, .. } = &member;
        if let Some(why) = address.why_no_host() {
            said.push(format!("{address} is left out: {why}"));
            continue;
        }
        match known.get(address) {
            Some(other) => said.push(format!(
                "`{other}` and `{name}` have one address, {address}, which gets the share of both"
            )),
            None => {
                known.insert(address.clone(), name.clone());
            }
        }
        members.push(member);
    }
    let more = said.len().saturating_sub(NAMED_MAX);
    said.truncate(NAMED_MAX);
    if more > 0 {
        said.push(format!("{more} more of this kind"));
    }
    let warning = (!said.is_empty()).then(|| said.join("; "));
    match warning {
        Some(why) if members.is_empty() && all > 0 => Err(why),
        warning => Ok(Listed { members, warning }),
    }
}

fn read_file(target: &Target) -> Result<Vec<Backend>, String> {
    let MembersSource::File(path) = &target.members.source else {
        return Ok(Vec::new());
    };
    let text = source::read(path).map_err(|error| {
        let why = match error.cause {
            source::Cause::Pipe => "it is a named pipe".to_owned(),
            cause => cause.to_string(),
        };
        format!(
            "cannot read the list of members `{}`: {why}",
            path.display()
        )
    })?;
    let taken: Vec<&Name> = target.declared.iter().map(|(name, _)| name).collect();
    let listed = list_of_members(&text, path.to_str(), target.intent, &taken);
    listed.members.ok_or_else(|| {
        let said = listed.findings.iter().take(NAMED_MAX).map(|finding| {
            let line = finding.location.as_ref().map_or(0, |l| l.line);
            format!("line {line}: {} ({})", finding.message, finding.fix)
        });
        let said: Vec<String> = said.collect();
        format!("`{}` {}", path.display(), said.join("; "))
    })
}

/// Looks once for every pool of `config` before traffic is served; who does not answer within [`FIRST_WAIT`] is taken
/// up when it does.
pub(crate) async fn first(config: &mut Arc<Config>) {
    let looks: Vec<_> = config
        .pools
        .iter()
        .filter_map(|pool| Some((pool.name.clone(), Arc::new(Target::of(pool)?))))
        .map(|(name, target)| (name, tokio::spawn(async move { look(&target).await })))
        .collect();
    let until = tokio::time::Instant::now() + FIRST_WAIT;
    for (pool, look) in looks {
        let stop = look.abort_handle();
        match tokio::time::timeout_at(until, look).await {
            Ok(Ok(Ok((found, _)))) => {
                Arc::make_mut(config).set_members(pool.as_str(), &found.members);
            }
            // The follower that starts now looks again, and tells what is wrong.
            Ok(Ok(Err(error))) => tracing::debug!(%pool, error, "no members yet"),
            Ok(Err(error)) => tracing::error!(%pool, %error, "members not looked for"),
            Err(_elapsed) => {
                stop.abort();
                tracing::warn!(%pool, "members not found yet: no answer in time");
            }
        }
    }
}

#[cfg(test)]
mod tests;
