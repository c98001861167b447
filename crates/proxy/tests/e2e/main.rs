//! The data plane end to end: real sockets, scripted raw origins, everything bounded in time.

#[cfg(test)]
mod adaptive;
#[cfg(test)]
mod affinity;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod aware;
#[cfg(test)]
mod backend_tls;
#[cfg(test)]
mod backend_tls_use;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod hedging;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod http2_abuse;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod proxy_protocol;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod secure;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tallies;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod turnover;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod workers;
