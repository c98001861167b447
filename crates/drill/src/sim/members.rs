//! Members of the simulated pools: looked for once a second, joined and left by the rules of the product.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_balance::membership::{Floor, Membership, Peer, Step};
use evenkeel_control::step_in_words;
use evenkeel_forecast::engine::spec::BackendKey;
use evenkeel_guard::{Event, MembersFact};
use evenkeel_model::config::{Backend, Config, Pool};
use evenkeel_model::ids::Name;

use super::actions::name;
use super::world::World;
use crate::registry::{Registry, read};
use crate::scenario::{Discovery, Scenario};

/// Why a look gave nothing.
const NO_ANSWER: &str = "the registry gives no answer";

/// The members of one pool.
#[derive(Debug)]
pub(super) struct Follower {
    registry: Registry,
    membership: Membership,
    last: Step,
    failed: bool,
}

/// Those of every pool that finds its members; `config` gets those that are named at the start.
pub(super) fn followers(
    scenario: &Scenario,
    config: &mut Config,
) -> Result<BTreeMap<Name, Follower>, String> {
    let mut all = BTreeMap::new();
    for (name, registry) in Registry::all(scenario, config) {
        let pool = config.pool(name.as_str()).ok_or("no such pool")?;
        let found = read(&registry.list(1.0, |_| None).unwrap_or_default(), pool)?;
        config.set_members(name.as_str(), &found);
        let follower = Follower {
            registry,
            membership: Membership::new(found),
            last: Step::default(),
            failed: false,
        };
        all.insert(name, follower);
    }
    Ok(all)
}

impl Follower {
    /// Looks, and goes on; the fact where anything is new.
    fn look(
        &mut self,
        pool: &Pool,
        step: impl FnOnce(&mut Membership) -> Step,
    ) -> Option<MembersFact> {
        let list = self.registry.list(1.0, |_| None);
        let found = list.and_then(|text| read(&text, pool).ok());
        let failed = found.is_none();
        if let Some(found) = found {
            self.membership.answer(found);
        }
        let step = step(&mut self.membership);
        let is_told =
            self.failed == failed && (&self.last.held, self.last.next) == (&step.held, step.next);
        self.failed = failed;
        if !step.moves() && is_told {
            return None;
        }
        let source = pool.members.as_ref().map(|members| &members.source);
        let fact = MembersFact {
            pool: pool.name.clone(),
            found: self.membership.current().cloned().collect(),
            held: step.held.clone(),
            next: step.next,
            error: failed.then(|| NO_ANSWER.to_owned()),
            failed,
            text: source.map_or_else(String::new, |source| step_in_words(pool, source, &step)),
        };
        self.last = step;
        Some(fact)
    }
}

impl World<'_> {
    /// Carries out a step: who is gone although the pool does not learn it refuses connections.
    pub(super) fn discover(&mut self, change: &Discovery) -> Result<(), String> {
        let pool = name(&change.pool)?;
        let follower = self.followers.get_mut(&pool).ok_or("no such pool")?;
        for gone in follower.registry.change(change) {
            self.refuse_for_good(&(pool.clone(), name(gone)?))?;
        }
        Ok(())
    }

    /// Once a second: every pool looks for its members.
    pub(super) fn look_for_members(&mut self) {
        let names: Vec<Name> = self.followers.keys().cloned().collect();
        for name in names {
            let (plane, now) = (Arc::clone(&self.plane), self.now());
            let Some(pool) = plane.pool(name.as_str()) else {
                continue;
            };
            let (ward, follower) = (&self.ward, self.followers.get_mut(&name));
            let is_up = |place: usize| ward.is_up(pool, place);
            let declared = pool.backends.iter().enumerate();
            let declared = declared.filter(|(_, backend)| !backend.discovered);
            let peer = |(place, backend): (usize, &Backend)| Peer {
                level: backend.priority,
                weight: backend.weight,
                is_up: is_up(place),
            };
            let declared: Vec<Peer> = declared.map(peer).collect();
            let floor = Floor {
                declared: &declared,
                min_healthy: pool.min_healthy as usize,
            };
            let up = |member: &Name| {
                let found = pool.backend(member.as_str());
                found.is_none_or(|(place, _)| is_up(place))
            };
            let fact = follower.and_then(|f| f.look(pool, |m| m.step(now, floor, up)));
            if let Some(fact) = fact {
                self.moved(fact);
            }
        }
    }

    /// Whether discovery may name this backend, and its pool does not have it.
    pub(super) fn awaits(&self, key: &BackendKey) -> bool {
        let (pool, name) = key;
        let follower = self.followers.get(pool);
        let known = follower.is_some_and(|f| f.registry.knows(name.as_str()));
        let there = self.plane.pool(pool.as_str());
        known && there.is_some_and(|pool| pool.backend(name.as_str()).is_none())
    }

    fn moved(&mut self, fact: MembersFact) {
        let (pool, moves) = (fact.pool.clone(), !fact.text.is_empty());
        if moves {
            let before = Arc::clone(&self.plane);
            Arc::make_mut(&mut self.config).set_members(pool.as_str(), &fact.found);
            let mut plane = Config::clone(&before);
            plane.set_members(pool.as_str(), &fact.found);
            if let Some(pool) = plane.pool(pool.as_str()) {
                for place in 0..pool.backends.len() {
                    self.introduce(pool, place);
                }
            }
            self.plane = Arc::new(plane);
        }
        self.send(Event::Members(fact));
        if moves {
            self.refresh(false);
            self.schedule_probes();
            if let Err(why) = self.faults_of(&pool) {
                tracing::error!(why, "a member came without its faults");
            }
        }
    }
}
