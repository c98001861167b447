//! What the balancer and its admin address must survive, each beside honest traffic that must not notice.

mod admin;
mod backends;
mod conformance;
mod endless;
mod floods;
mod heads;
mod slow;
mod start;
