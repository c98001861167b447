//! The promises of room detect, by seeded simulation: how soon a fault is seen and how rarely
//! anything is seen that is not there. The seed of a failing run is in the message.

#[cfg(test)]
mod draw;
#[cfg(test)]
mod harm;
#[cfg(test)]
mod load;
#[cfg(test)]
mod nulls;
#[cfg(test)]
mod onset;
#[cfg(test)]
mod round_robin;
#[cfg(test)]
mod sequence;
#[cfg(test)]
mod share;
#[cfg(test)]
mod shift;
