//! Rate limits of routes, judged by the same code as in the proxy. A client is who it is in whatever it is known by.

use evenkeel_balance::digest;
use evenkeel_balance::rate::Gcra;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::HashKey;

use super::Engine;

impl Engine {
    /// Counts a request on a route with a limit; whether it is beyond it.
    pub(super) fn is_limited(&mut self, route: u32, stream: u32, client: u32, kind: u16) -> bool {
        let Some(limit) = self.limits.get(&route) else {
            return false;
        };
        let source = &self.sources[stream as usize];
        let key = match &limit.by {
            None => 0,
            Some(HashKey::Path) => {
                let path = &source.kinds[usize::from(kind)].path;
                digest::key(path.split('?').next().unwrap_or(path).as_bytes())
            }
            Some(_) => source.client_hash(client),
        };
        let gcra = Gcra::new(limit.rps, limit.burst);
        let tat = self.rates.entry((route, key)).or_default();
        let judged = gcra.judge(*tat, Mono(self.now));
        if let Ok(next) = judged {
            *tat = next;
        }
        judged.is_err()
    }
}
