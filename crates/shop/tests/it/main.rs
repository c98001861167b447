//! Shop, stub and load generator over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking like the tests themselves"
)]

mod client;
mod faults;
mod load;
mod storefront;
