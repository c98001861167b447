//! Diagnoses of synthetic faults, over many seeds.
//!
//! A world draws arrivals (Poisson), picks (multinomial by the shares that the configuration implies), failures and
//! response times, and fills the evidence as the guard does. It knows the truth, so the share of right answers counts.

#[cfg(test)]
mod build;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod decoys;
#[cfg(test)]
mod feeding;
#[cfg(test)]
mod hostile;
