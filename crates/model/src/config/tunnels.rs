//! Tunnels: connections that left HTTP by an upgrade, such as WebSocket.

use std::time::Duration;

/// Protocols that requests of a route may be upgraded to, lower case, in file order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Upgrades(pub Vec<String>);

impl Upgrades {
    /// What a route passes on that says nothing.
    pub const DEFAULT: &'static str = "websocket";

    /// Whether requests may be upgraded to `protocol`, in any case.
    pub fn allows(&self, protocol: &str) -> bool {
        let mut allowed = self.0.iter();
        allowed.any(|name| name.eq_ignore_ascii_case(protocol))
    }
}

impl Default for Upgrades {
    fn default() -> Self {
        Self(vec![Self::DEFAULT.to_owned()])
    }
}

/// How long the tunnels of a pool last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tunnels {
    /// `tunnel_idle`: one without a byte in either direction for this long is closed. Default 1 h.
    pub idle: Duration,
    /// `tunnel_drain`: how long one goes on after its backend was drained or removed, or its listener removed.
    /// Default 5 min.
    pub drain: Duration,
}

impl Default for Tunnels {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(1),
            drain: Duration::from_mins(5),
        }
    }
}
