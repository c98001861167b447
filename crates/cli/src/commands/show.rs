//! `status`, `history`, `diff` and `explain`.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use evenkeel_model::{diff as difference, parse};
use evenkeel_web::views::{
    CertificateView, ChangeView, DeploymentView, EventView, PoolView, RevisionView, StatusView,
};
use serde_json::Value;

use crate::admin::Admin;
use crate::args::Global;
use crate::commands::deploy;
use crate::exit::{Exit, coded};
use crate::render;
use crate::render::Text as _;
use crate::terminal::Terminal;

pub(crate) fn status(global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = Admin::new(global)?;
    if terminal.json {
        let value: Value = admin.get("/api/status")?;
        terminal.json(&value)?;
        return Ok(Exit::Ok);
    }
    let view: StatusView = admin.get("/api/status")?;
    terminal.data(&status_text(&view, terminal));
    Ok(Exit::Ok)
}

/// Between two looks of `top`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `status` again and again, until Ctrl-C or `looks`. Off a terminal the looks follow one another.
pub(crate) fn top(looks: Option<u64>, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = Admin::new(global)?;
    // Nothing is ever sent: the channel is a pause that ends by itself.
    let (_keep, pause) = channel::<()>();
    let mut left = looks.unwrap_or(u64::MAX);
    while left > 0 {
        left -= 1;
        let view: StatusView = admin.get("/api/status")?;
        if terminal.json {
            terminal.json(&view)?;
        } else {
            terminal.clear();
            terminal.data(&status_text(&view, terminal));
        }
        if left > 0 && pause.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    Ok(Exit::Ok)
}

fn status_text(view: &StatusView, terminal: Terminal) -> String {
    let mut out = String::new();
    let colour = match view.state.as_str() {
        "ok" => AnsiColor::Green,
        "incident" | "rolling_back" => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    let state = terminal.paint(
        &view.state.to_uppercase(),
        Style::new().bold().fg_color(Some(colour.into())),
    );
    let incident = view.incident.as_deref().unwrap_or("none");
    out.line(format_args!(
        "{state}  revision {} ({})  incident {incident}  journal {}  at {}",
        view.revision, view.revision_state, view.journal, view.at
    ));
    for (name, text) in [
        ("drift", &view.drift),
        ("hold", &view.hold),
        ("confirm by", &view.confirm_by),
        ("kept until", &view.keep_until),
    ] {
        if let Some(text) = text {
            out.line(format_args!("{name}: {text}"));
        }
    }
    for drain in &view.drains {
        let minutes = drain.seconds_left.div_ceil(60);
        let in_flight = drain
            .in_flight
            .map_or_else(|| "not known yet".to_owned(), |n| n.to_string());
        let why = if drain.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", drain.reason)
        };
        out.line(format_args!(
            "drained: {}/{} until {} ({minutes} min left), in flight {in_flight}, by {}{why}",
            drain.pool, drain.backend, drain.until, drain.author
        ));
    }
    for rollout in &view.rollouts {
        deploy::rollout_text(&mut out, rollout);
    }
    for missing in view.verifying.iter().flatten() {
        out.line(format_args!("evidence missing: {missing}"));
    }
    for listener in &view.listeners {
        for certificate in &listener.certificates {
            certificate_text(&mut out, &listener.name, certificate);
        }
    }
    for pool in &view.pools {
        pool_text(&mut out, pool);
    }
    out
}

/// So many days before its end a certificate is worth a line.
const CERTIFICATE_DAYS: i64 = 21;

fn certificate_text(out: &mut String, listener: &str, certificate: &CertificateView) {
    let (Some(days), Some(end)) = (certificate.days_left, &certificate.not_after) else {
        return;
    };
    if days >= CERTIFICATE_DAYS {
        return;
    }
    let ends = if days < 0 {
        "ended".to_owned()
    } else {
        format!("ends in {days} d")
    };
    out.line(format_args!(
        "certificate: `{}` of listener {listener} {ends}, at {end}",
        certificate.file
    ));
}

fn pool_text(out: &mut String, pool: &PoolView) {
    let number = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "-".to_owned(), |v| format!("{v:.0}{unit}"))
    };
    let refused = match pool.refused_rps {
        rps if rps > 0.0 => format!("  refused {rps:.1}/s"),
        _ => String::new(),
    };
    out.line(format_args!(
        "\npool {}  {}  intent {}  {}/s{refused}  p99 {}  errors {}",
        pool.name,
        pool.algorithm,
        pool.intent,
        number(pool.rps, ""),
        number(pool.p99_ms, " ms"),
        render::percent(pool.error_rate)
    ));
    if let Some(members) = &pool.members {
        out.line(format_args!("members: {}", members.in_words()));
    }
    let head = [
        "backend",
        "intended",
        "expected",
        "observed",
        "95 % between",
        "verdict",
        "rate",
        "p99",
        "errors",
        "health",
        "why",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for b in &pool.backends {
        let between = match (b.ci_low, b.ci_high) {
            (Some(low), Some(high)) => format!("{:.1}-{:.1} %", low * 100.0, high * 100.0),
            _ => "-".to_owned(),
        };
        rows.push(vec![
            b.name.clone(),
            render::percent(b.intended_share),
            render::percent(b.expected_share),
            render::percent(b.observed_share),
            between,
            b.verdict.clone(),
            number(b.rps, "/s"),
            number(b.p99_ms, " ms"),
            render::percent(b.error_rate),
            b.health.clone(),
            b.reason.clone(),
        ]);
    }
    render::table(out, &rows);
}

pub(crate) fn history(limit: usize, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let value: Value = Admin::new(global)?.get(&format!("/api/history?limit={limit}"))?;
    if terminal.json {
        terminal.json(&value)?;
        return Ok(Exit::Ok);
    }
    let revisions: Vec<RevisionView> =
        serde_json::from_value(value.get("revisions").cloned().unwrap_or_default())?;
    let mut rows = vec![
        ["id", "state", "at", "by", "parent", "hash", "reason"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for r in &revisions {
        rows.push(vec![
            r.id.clone(),
            r.state.clone(),
            r.at.clone(),
            r.author.clone(),
            r.parent.clone().unwrap_or_else(|| "-".to_owned()),
            r.hash.chars().take(12).collect(),
            r.reason.clone(),
        ]);
    }
    let mut out = String::new();
    render::list(&mut out, &rows);
    let deployments: Vec<DeploymentView> =
        serde_json::from_value(value.get("deployments").cloned().unwrap_or_default())?;
    if !deployments.is_empty() {
        out.push('\n');
        deploy::deployments_text(&mut out, &deployments);
    }
    let drains: Vec<EventView> =
        serde_json::from_value(value.get("drains").cloned().unwrap_or_default())?;
    for line in &drains {
        out.line(format_args!("{}  {}: {}", line.at, line.kind, line.text));
    }
    terminal.data(&out);
    Ok(Exit::Ok)
}

pub(crate) fn diff(
    from: &str,
    to: &str,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let admin = Admin::new(global)?;
    let config = |id: &str| -> anyhow::Result<evenkeel_model::config::Config> {
        let view: RevisionView = admin.get(&format!("/api/revisions/{id}"))?;
        let text = view.text.unwrap_or_default();
        parse::parse(&text, None).config.ok_or_else(|| {
            coded(
                Exit::Failed,
                format!("revision {id} is not valid for this version"),
            )
        })
    };
    let changes = ChangeView::list(&difference::diff(&config(from)?, &config(to)?));
    if terminal.json {
        terminal.json(&serde_json::json!({ "from": from, "to": to, "changes": changes }))?;
    } else if changes.is_empty() {
        terminal.data(&format!("{from} and {to} have the same content."));
    } else {
        terminal.data(&render::changes::changes(&changes, terminal.colour));
    }
    Ok(Exit::Ok)
}

pub(crate) fn explain(topic: Option<&str>, terminal: Terminal) -> anyhow::Result<Exit> {
    let Some(topic) = topic else {
        let mut out = String::new();
        let mut rows = vec![["id", "title"].map(str::to_owned).to_vec()];
        for explanation in evenkeel_audit::topics() {
            rows.push(vec![
                explanation.id.to_owned(),
                explanation.title.to_owned(),
            ]);
        }
        for row in &rows {
            out.line(format_args!(
                "  {:<12}{}",
                row.first().map_or("", String::as_str),
                row.get(1).map_or("", String::as_str)
            ));
        }
        terminal.data(&out);
        return Ok(Exit::Ok);
    };
    let Some(explanation) = evenkeel_audit::explain(topic) else {
        return Err(coded(
            Exit::Failed,
            format!("there is no rule or topic `{topic}`; `evenkeel explain` lists them"),
        ));
    };
    if terminal.json {
        terminal.json(&serde_json::json!({
            "id": explanation.id, "title": explanation.title, "text": explanation.text,
        }))?;
    } else {
        terminal.data(&format!(
            "{}: {}\n\n{}",
            explanation.id, explanation.title, explanation.text
        ));
    }
    Ok(Exit::Ok)
}
