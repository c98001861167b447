//! Traffic through the real binary: real clients, real origins, the shop, the end of an instance, what is seen of it.

mod backend_tls;
mod clients;
mod forwarded;
mod http2;
mod life;
mod proxied;
mod reloads;
mod routes;
mod seen;
mod shop;
mod sockets;
mod swaps;
mod tls;
mod traces;
