//! The forecast as tables: each backend's share, rate and load, before and after a change, and what a failure does.

use evenkeel_web::views::{BackendForecastView, ForecastView, PoolForecastView, RouteView};

use super::{Text as _, percent, table};

/// Pools, and backends of a pool, that a person is shown.
const SHOWN_MAX: usize = 20;
/// Failure cases that a person is shown with `--cases`.
const CASES_MAX: usize = 200;
/// An interval narrower than this on both sides is not worth a column.
const EXACT: f64 = 0.000_5;

/// What is shown beside the tables.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Show {
    /// Every failure case instead of the worst of each pool.
    pub(crate) cases: bool,
}

/// The forecast; `current` gives the columns before.
pub(crate) fn forecast(
    forecast: &ForecastView,
    current: Option<&ForecastView>,
    show: Show,
) -> String {
    let mut out = String::new();
    for pool in forecast.pools.iter().take(SHOWN_MAX) {
        let before = current.and_then(|c| c.pools.iter().find(|p| p.name == pool.name));
        pool_table(&mut out, pool, before);
        match worst(pool, forecast) {
            Some(worst) => out.line(format_args!("  worst single loss: {worst}")),
            None if pool.backends.len() == 1 => {
                out.line(format_args!(
                    "  it is the only backend: its loss is the pool's"
                ));
            }
            None => {}
        }
    }
    let rest = forecast.pools.len().saturating_sub(SHOWN_MAX);
    if rest > 0 {
        out.line(format_args!("... and {rest} more pools; --json has all"));
    }
    if show.cases {
        out.push_str(&cases(forecast));
    }
    for note in &forecast.notes {
        out.line(format_args!("note: {note}"));
    }
    out
}

/// The routes that several pools share, with the part of each: the shares below are within a pool.
pub(crate) fn parts(routes: &[RouteView]) -> String {
    let mut out = String::new();
    let shared: Vec<&RouteView> = routes.iter().filter(|r| r.targets.len() > 1).collect();
    for route in shared.iter().take(SHOWN_MAX) {
        let host = route.host.as_deref().unwrap_or("every host");
        let path = route.path_prefix.as_deref().unwrap_or("/");
        let condition = route.condition.as_deref();
        let condition = condition.map_or_else(String::new, |c| format!(", {c}"));
        let part = |target: &evenkeel_web::views::TargetView| {
            format!("{} {}", target.pool, percent(Some(target.share)))
        };
        let targets: Vec<String> = route.targets.iter().take(SHOWN_MAX).map(part).collect();
        let more = match route.targets.len() - targets.len() {
            0 => String::new(),
            more => format!(" and {more} more pools"),
        };
        let listener = &route.listener;
        let targets = targets.join(", ");
        out.line(format_args!(
            "route {listener}, {host}, {path}{condition}: {targets}{more}"
        ));
    }
    if shared.len() > SHOWN_MAX {
        let rest = shared.len() - SHOWN_MAX;
        out.line(format_args!(
            "... and {rest} more such routes; --json has all"
        ));
    }
    out
}

fn pool_table(out: &mut String, pool: &PoolForecastView, before: Option<&PoolForecastView>) {
    let rate = pool.rps.map_or_else(
        || "peak not known".to_owned(),
        |rps| format!("at {rps:.0} requests/s"),
    );
    let method = match pool.method.as_str() {
        "low_load" => ", shares at low load",
        "simulated" => ", shares by simulation",
        "table" => ", shares of the hash table",
        "unknown" => ", shares not known",
        _ => "",
    };
    out.line(format_args!("pool {} ({rate}{method})", pool.name));
    let columns = Columns::of(pool, before);
    let mut rows = vec![columns.head()];
    for backend in chosen(pool) {
        let old = before.and_then(|pool| counterpart(pool, backend));
        rows.push(columns.row(backend, old));
    }
    let gone = before.map_or(&[][..], |p| &p.backends);
    for old in gone.iter().take(SHOWN_MAX) {
        if counterpart(pool, old).is_none() {
            rows.push(columns.removed(old));
        }
    }
    table(out, &rows);
    let rest = pool.backends.len().saturating_sub(SHOWN_MAX);
    if rest > 0 {
        out.line(format_args!(
            "  ... and {rest} more backends with smaller shares; --json has all"
        ));
    }
}

/// The same backend in another forecast: by name, else by address, as names may be rewritten on the way.
pub(crate) fn counterpart<'p>(
    pool: &'p PoolForecastView,
    backend: &BackendForecastView,
) -> Option<&'p BackendForecastView> {
    let by_name = pool.backends.iter().find(|b| b.name == backend.name);
    by_name.or_else(|| {
        let same = |b: &&BackendForecastView| b.address.is_some() && b.address == backend.address;
        pool.backends.iter().find(same)
    })
}

/// The backends that are shown: all, or those with the largest loads and shares.
fn chosen(pool: &PoolForecastView) -> Vec<&BackendForecastView> {
    let mut backends: Vec<&BackendForecastView> = pool.backends.iter().collect();
    if backends.len() > SHOWN_MAX {
        let key = |b: &BackendForecastView| {
            (
                b.utilisation.unwrap_or(0.0),
                b.expected_share.unwrap_or(0.0),
            )
        };
        backends.sort_by(|a, b| {
            let ((load_a, share_a), (load_b, share_b)) = (key(a), key(b));
            load_b.total_cmp(&load_a).then(share_b.total_cmp(&share_a))
        });
        backends.truncate(SHOWN_MAX);
    }
    backends
}

/// Which columns a pool's table has.
struct Columns {
    before: bool,
    interval: bool,
    /// Whether the span runs from low to heavy load rather than over chance.
    by_load: bool,
    in_flight: bool,
}

impl Columns {
    fn of(pool: &PoolForecastView, before: Option<&PoolForecastView>) -> Self {
        let strays = |b: &BackendForecastView| {
            let (Some(share), Some(low), Some(high)) =
                (b.expected_share, b.share_low, b.share_high)
            else {
                return false;
            };
            share - low > EXACT || high - share > EXACT
        };
        Self {
            before: before.is_some(),
            interval: pool.backends.iter().any(strays),
            by_load: pool.method == "low_load",
            in_flight: pool.backends.iter().any(|b| b.in_flight.is_some()),
        }
    }

    fn head(&self) -> Vec<String> {
        let mut head = vec!["backend", "intended"];
        if self.before {
            head.push("before");
        }
        head.push(if self.before { "after" } else { "expected" });
        if self.interval {
            head.push(if self.by_load {
                "range by load"
            } else {
                "95 % interval"
            });
        }
        head.push("rate");
        if self.before {
            head.push("load before");
        }
        head.push(if self.before { "load after" } else { "load" });
        if self.in_flight {
            head.push("in flight");
        }
        head.into_iter().map(str::to_owned).collect()
    }

    fn row(&self, backend: &BackendForecastView, old: Option<&BackendForecastView>) -> Vec<String> {
        let mut row = vec![backend.name.clone(), percent(backend.intended_share)];
        if self.before {
            row.push(percent(old.and_then(|b| b.expected_share)));
        }
        row.push(percent(backend.expected_share));
        if self.interval {
            row.push(match (backend.share_low, backend.share_high) {
                (Some(low), Some(high)) => {
                    format!("{:.1} to {:.1} %", low * 100.0, high * 100.0)
                }
                _ => "-".to_owned(),
            });
        }
        let rate = backend.expected_rps;
        row.push(rate.map_or_else(|| "-".to_owned(), |rps| format!("{rps:.0}/s")));
        if self.before {
            row.push(percent(old.and_then(|b| b.utilisation)));
        }
        row.push(percent(backend.utilisation));
        if self.in_flight {
            let held = backend.in_flight;
            row.push(held.map_or_else(|| "-".to_owned(), |n| format!("{n:.1}")));
        }
        row
    }

    fn removed(&self, old: &BackendForecastView) -> Vec<String> {
        let mut row = vec![
            format!("{} (removed)", old.name),
            "-".to_owned(),
            percent(old.expected_share),
            "-".to_owned(),
        ];
        if self.interval {
            row.push("-".to_owned());
        }
        row.extend(["-".to_owned(), percent(old.utilisation), "-".to_owned()]);
        if self.in_flight {
            row.push("-".to_owned());
        }
        row
    }
}

/// The loss that hurts most, in words: by load where loads are known, else by share.
pub(crate) fn worst(pool: &PoolForecastView, forecast: &ForecastView) -> Option<String> {
    let mut worst: Option<(f64, String)> = None;
    for failure in &forecast.failures {
        for after in failure.pools.iter().filter(|p| p.name == pool.name) {
            let Some((value, words)) = heaviest(after) else {
                continue;
            };
            if worst.as_ref().is_none_or(|(most, _)| value > *most) {
                worst = Some((value, format!("{} out puts {words}", failure.out)));
            }
        }
    }
    worst.map(|(_, words)| words)
}

/// The backend with the highest load, or with the largest share where no load is known.
fn heaviest(pool: &PoolForecastView) -> Option<(f64, String)> {
    let highest = |value: fn(&BackendForecastView) -> Option<f64>| {
        let known = pool.backends.iter().filter_map(|b| Some((value(b)?, b)));
        known.max_by(|a, b| a.0.total_cmp(&b.0))
    };
    let load = highest(|b| b.utilisation).map(|(load, b)| {
        let words = format!("{} at {} of its capacity", b.name, percent(Some(load)));
        (load, words)
    });
    load.or_else(|| {
        let (share, b) = highest(|b| b.expected_share)?;
        let words = format!("{} at {} of the traffic", b.name, percent(Some(share)));
        (share > 0.0).then_some((share, words))
    })
}

/// Every failure and every other day, a line each.
fn cases(forecast: &ForecastView) -> String {
    let mut out = String::from("failure cases\n");
    let mut rows = vec![
        ["case", "pool", "heaviest backend"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let failures = forecast.failures.iter();
    let failures = failures.map(|failure| (format!("{} out", failure.out), &failure.pools));
    let days = forecast.cases.iter();
    let days = days.map(|case| (case.title.clone(), &case.pools));
    let all = failures.chain(days).flat_map(|(title, pools)| {
        pools.iter().map(move |pool| {
            let words = heaviest(pool).map_or_else(|| "-".to_owned(), |(_, words)| words);
            vec![title.clone(), pool.name.clone(), words]
        })
    });
    let all: Vec<Vec<String>> = all.collect();
    let rest = all.len().saturating_sub(CASES_MAX);
    rows.extend(all.into_iter().take(CASES_MAX));
    super::list(&mut out, &rows);
    if rest > 0 {
        out.line(format_args!("  ... and {rest} more; --json has all"));
    }
    out
}

#[cfg(test)]
mod tests {
    use evenkeel_web::views::{RouteView, TargetView};

    use super::parts;

    fn route(targets: &[(&str, f64)]) -> RouteView {
        let target = |(pool, share): &(&str, f64)| TargetView {
            pool: (*pool).to_owned(),
            share: *share,
        };
        RouteView {
            listener: "web".to_owned(),
            host: None,
            path_prefix: None,
            condition: None,
            targets: targets.iter().map(target).collect(),
        }
    }

    #[test]
    fn a_canary_is_shown_with_its_part_and_a_route_to_one_pool_is_not() {
        let routes = [
            route(&[("stable", 1.0)]),
            route(&[("stable", 0.97), ("canary", 0.03)]),
        ];
        assert_eq!(
            parts(&routes),
            "route web, every host, /: stable 97.0 %, canary 3.0 %\n"
        );
        assert_eq!(parts(&[route(&[("stable", 1.0)]), route(&[])]), "");
    }
}
