//! The guard as a whole: over the event engine, by its rules of change, and under random events.

#[cfg(test)]
mod audits;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod closed_loop;
#[cfg(test)]
mod drains;
#[cfg(test)]
mod drills;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod keyed;
#[cfg(test)]
mod ramps;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod remedies;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod spread;
#[cfg(test)]
mod told;
#[cfg(test)]
mod world;
