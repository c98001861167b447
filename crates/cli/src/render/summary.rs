//! What it comes to, in single lines: the verdict of a check, how far it can be trusted, the risk of a change and what
//! an apply would be held to.

use std::path::Path;

use evenkeel_model::finding::Severity;
use evenkeel_web::views::{ForecastView, PlanView, PoolForecastView, VerifyView};

use super::{Text as _, counted, findings, forecast, name, percent};

/// A share that moves by more than this is worth a canary.
const MOVED_MUCH: f64 = 0.10;
/// A load above this in a failure is a risk.
const FULL: f64 = 1.0;

/// How much a person should mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Risk {
    Low,
    Medium,
    High,
}

impl Risk {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How far the forecast can be trusted and why; `None`: there is none.
pub(crate) fn confidence(view: &PlanView) -> Option<String> {
    let level = view.confidence.as_deref()?;
    let of = |touches: &str| {
        view.gaps
            .iter()
            .filter(|gap| gap.touches == touches)
            .count()
    };
    let mut why = Vec::new();
    for (touches, about) in [
        ("pool", "the spread within a pool"),
        ("routing", "routing"),
        ("resilience", "limits, timeouts or checks"),
    ] {
        let count = of(touches);
        if count > 0 {
            why.push(format!("{} about {about}", counted(count, "directive")));
        }
    }
    Some(match (why.is_empty(), level) {
        (true, "high") => "confidence: high, everything was understood".to_owned(),
        (true, level) if view.forecast.as_ref().is_none_or(|f| f.pools.is_empty()) => {
            format!("confidence: {level}, no pool stands in it")
        }
        (true, level) => {
            format!("confidence: {level}, the way a pool chooses its backends is not known")
        }
        (false, level) => format!("confidence: {level}, not judged: {}", why.join(", ")),
    })
}

/// The one line at the end of a check.
pub(crate) fn verdict(path: &Path, view: &PlanView, failed: bool) -> String {
    let path = name(path);
    let count = findings::count(&view.findings);
    let Some(shown) = &view.forecast else {
        return format!("{path}: not a configuration that can be judged ({count})");
    };
    let own = view.format == "evenkeel";
    let has = |severity: Severity| {
        let word = severity.as_str();
        view.findings.iter().any(|f| f.severity == word)
    };
    let errors = has(Severity::Error);
    let word = match (failed, errors, own) {
        (true, true, true) => "would be refused",
        (true, true, false) => "has errors",
        (true, false, _) => "has warnings, which are denied",
        (false, false, _) if shown.pools.is_empty() => "nothing to judge, no pool stands in it",
        (false, false, _) if has(Severity::Warning) => "no error, see the warnings",
        _ => "sound",
    };
    let backends: usize = shown.pools.iter().map(|pool| pool.backends.len()).sum();
    let pools = counted(shown.pools.len(), "pool");
    let backends = counted(backends, "backend");
    let title = match view.format.as_str() {
        "haproxy" => "HAProxy, ",
        "nginx" => "nginx, ",
        "envoy" => "Envoy, ",
        _ => "",
    };
    format!("{path}: {word} ({count}); {title}{pools} with {backends}")
}

/// The risk of a change with its numbers, in one line.
pub(crate) fn risk(view: &PlanView) -> (Risk, String) {
    let Some(forecast) = &view.forecast else {
        return (Risk::High, "high: it is no configuration".to_owned());
    };
    let mut numbers = Vec::new();
    let moved = view
        .current
        .as_ref()
        .and_then(|c| largest_move(c, forecast));
    let mut risk = Risk::Low;
    match &moved {
        Some((points, words)) => {
            numbers.push(words.clone());
            risk = risk.max(if *points > MOVED_MUCH {
                Risk::Medium
            } else {
                Risk::Low
            });
        }
        None if view.current.is_some() => numbers.push("no share moves".to_owned()),
        None => {}
    }
    let load = highest(&forecast.pools);
    if let Some((load, backend)) = &load {
        numbers.push(format!("highest load {} ({backend})", percent(Some(*load))));
        risk = risk.max(if *load > FULL { Risk::High } else { Risk::Low });
    }
    let failures = forecast.failures.iter();
    let worst = failures
        .filter_map(|failure| Some((highest(&failure.pools)?, &failure.out)))
        .max_by(|a, b| a.0.0.total_cmp(&b.0.0));
    if let Some(((load, backend), out)) = worst {
        numbers.push(format!(
            "{} ({backend}) with {out} out",
            percent(Some(load))
        ));
        risk = risk.max(if load > FULL { Risk::Medium } else { Risk::Low });
    } else if load.is_none() {
        numbers.push("loads are not known".to_owned());
    }
    if view.findings.iter().any(|f| f.severity == "warning") {
        risk = risk.max(Risk::Medium);
    }
    let blocking = view
        .findings
        .iter()
        .find(|f| f.blocking && f.severity == "error");
    if let Some(finding) = blocking.filter(|_| view.refused) {
        risk = Risk::High;
        numbers.insert(0, format!("an apply would be refused ({})", finding.id));
    }
    (risk, format!("{}: {}", risk.as_str(), numbers.join(", ")))
}

/// The share that moves most, in points and in words.
fn largest_move(before: &ForecastView, after: &ForecastView) -> Option<(f64, String)> {
    const NOTHING: f64 = 0.000_5;
    let mut largest: Option<(f64, String)> = None;
    for pool in &after.pools {
        let old = before.pools.iter().find(|p| p.name == pool.name);
        for (index, backend) in pool.backends.iter().enumerate() {
            // Mostly nothing moved in the file, and ten thousand backends are not looked up one by one.
            let there = old.and_then(|p| p.backends.get(index));
            let there = there.filter(|b| b.name == backend.name);
            let same = there.or_else(|| forecast::counterpart(old?, backend));
            let from = match same {
                Some(same) => same.expected_share,
                None => Some(0.0),
            };
            let (Some(from), Some(to)) = (from, backend.expected_share) else {
                continue;
            };
            let points = (to - from).abs();
            if points > NOTHING && largest.as_ref().is_none_or(|(most, _)| points > *most) {
                let words = format!(
                    "{} goes from {} to {} of `{}`",
                    backend.name,
                    percent(Some(from)),
                    percent(Some(to)),
                    pool.name
                );
                largest = Some((points, words));
            }
        }
    }
    largest
}

fn highest(pools: &[PoolForecastView]) -> Option<(f64, String)> {
    let backends = pools.iter().flat_map(|pool| &pool.backends);
    let known = backends.filter_map(|b| Some((b.utilisation?, b.name.clone())));
    known.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// What verification and rollback will do.
pub(crate) fn verify(view: &VerifyView) -> String {
    let mut out = String::new();
    let held = view.held_after_seconds / 60.0;
    if view.pools.is_empty() {
        out.line(format_args!(
            "Verification: {:.0} s under observation; the change touches no pool.",
            view.after_seconds
        ));
    } else {
        let pools: Vec<String> = view
            .pools
            .iter()
            .map(|pool| {
                format!(
                    "`{}` within {} of its intent",
                    pool.name,
                    percent(Some(pool.tolerance))
                )
            })
            .collect();
        out.line(format_args!(
            "Verification: at least {:.0} s, and each share of {} at 99 % confidence; held after {held:.0} min without that evidence.",
            view.after_seconds,
            pools.join(", ")
        ));
    }
    let floors: Vec<String> = view
        .pools
        .iter()
        .map(|pool| {
            format!(
                "{} of {} in `{}`",
                pool.min_healthy, pool.backends, pool.name
            )
        })
        .collect();
    let target = view.rollback_to.as_deref().map_or_else(
        || "the last verified revision".to_owned(),
        |revision| format!("{revision}, the last verified revision"),
    );
    let floor = if floors.is_empty() {
        String::new()
    } else {
        format!(", with at least {} live", floors.join(", "))
    };
    out.line(format_args!(
        "Rollback: if users are harmed or a backend is overloaded by it, {target}, is restored{floor}."
    ));
    out
}
