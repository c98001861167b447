//! Live facts: the highest minute of each pool, and the load that a configuration implies at present rates.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_forecast::Facts;
use evenkeel_guard::{GuardView, PoolLoad, PoolRate};
use evenkeel_model::config::Config;
use evenkeel_model::ids::Name;

/// Utilisation of every backend at the rates and with the backends of `pools`. Where load decides the share, the
/// intended one is taken: that is what such an algorithm tends to.
pub fn forecast_load(config: &Config, pools: &[PoolRate]) -> Vec<PoolLoad> {
    pools
        .iter()
        .filter_map(|rate| {
            let pool = config.pool(rate.pool.as_str())?;
            let (members, _) = evenkeel_balance::effective_members(pool, |index| {
                pool.backends
                    .get(index)
                    .is_some_and(|b| rate.eligible.contains(&b.name))
            });
            let shares = evenkeel_balance::expected_shares(pool.algorithm, &members);
            let shares = shares.unwrap_or_else(|| {
                pool.intended_shares(|index| members.get(index).is_some_and(|m| m.eligible))
            });
            let utilisation = pool
                .backends
                .iter()
                .zip(shares)
                .map(|(backend, share)| Some(rate.rps? * share / backend.capacity_rps?));
            Some(PoolLoad {
                pool: pool.name.clone(),
                utilisation: utilisation.collect(),
            })
        })
        .collect()
}

/// The highest whole minute of each pool, for pools that declare no peak.
#[derive(Debug, Default)]
pub(crate) struct Busiest {
    pools: BTreeMap<Name, Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    seconds: VecDeque<f64>,
    highest_rps: Option<f64>,
}

impl Busiest {
    pub(crate) fn take(&mut self, view: &GuardView) {
        for pool in &view.pools {
            let Some(rps) = pool.rps else { continue };
            let minute = self.pools.entry(pool.name.clone()).or_default();
            minute.seconds.push_back(rps);
            if minute.seconds.len() > 60 {
                minute.seconds.pop_front();
                let mean = minute.seconds.iter().sum::<f64>() / 60.0;
                minute.highest_rps = Some(minute.highest_rps.map_or(mean, |high| high.max(mean)));
            }
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for (name, minute) in &self.pools {
            facts
                .pools
                .entry(name.to_string())
                .or_default()
                .highest_minute_rps = minute.highest_rps;
        }
        facts
    }
}
