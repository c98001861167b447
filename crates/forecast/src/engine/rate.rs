//! Rate limits of routes, judged by the same code as in the proxy.

use evenkeel_balance::rate::Gcra;
use evenkeel_model::clock::Mono;

use super::Engine;

impl Engine {
    /// Counts a request on a route with a limit; whether it is beyond it. `asked`: client, kind and key.
    pub(super) fn is_limited(&mut self, route: u32, stream: u32, asked: (u32, u16, u32)) -> bool {
        let Some(limit) = self.limits.get(&route) else {
            return false;
        };
        let source = &self.sources[stream as usize];
        let key = limit.by.as_ref().map_or(0, |by| source.hash(by, asked));
        let gcra = Gcra::new(limit.rps, limit.burst);
        let tat = self.rates.entry((route, key)).or_default();
        let judged = gcra.judge(*tat, Mono(self.now));
        if let Ok(next) = judged {
            *tat = next;
        }
        judged.is_err()
    }
}
