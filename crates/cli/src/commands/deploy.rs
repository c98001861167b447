//! `deploy`: start, promote, abort, status, record.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use evenkeel_web::requests::{AbortRequest, DeployStartRequest, DeploymentRequest, PromoteRequest};
use evenkeel_web::views::{DeploymentView, RolloutOutcomeView, RolloutView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::Admin;
use crate::args::{Deploy, DeployStart, Global};
use crate::commands::change::concluded;
use crate::exit::Exit;
use crate::render;
use crate::render::Text as _;
use crate::terminal::Terminal;

/// Between two looks at a deployment.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// `GET /api/deployments`.
#[derive(Debug, Serialize, Deserialize)]
struct Deployments {
    rollouts: Vec<RolloutView>,
    deployments: Vec<DeploymentView>,
}

pub(crate) fn deploy(command: Deploy, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = Admin::new(global)?;
    match command {
        Deploy::Start(options) => start(&options, &admin, terminal),
        Deploy::Promote {
            pool,
            all,
            reason,
            force,
        } => {
            let reason = reason.unwrap_or_default();
            let request = PromoteRequest {
                pool,
                all,
                reason,
                force,
            };
            conclude(
                &admin.post_about("/api/deployments/promote", &request)?,
                terminal,
            )
        }
        Deploy::Abort { pool, reason } => {
            let reason = reason.unwrap_or_default();
            let request = AbortRequest { pool, reason };
            conclude(
                &admin.post_about("/api/deployments/abort", &request)?,
                terminal,
            )
        }
        Deploy::Record {
            pool,
            version,
            backends,
            at,
            state,
            note,
        } => {
            let request = DeploymentRequest {
                pool,
                version,
                backends,
                at,
                state: Some(state),
                note,
            };
            record(&request, &admin, terminal)
        }
        Deploy::Status => status(&admin, terminal),
    }
}

fn start(options: &DeployStart, admin: &Admin, terminal: Terminal) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let request = DeployStartRequest {
        pool: options.pool.clone(),
        version: options.version.clone(),
        strategy: Some(options.strategy.as_str().to_owned()),
        steps: options.steps.clone(),
        step_min_ms: Some(u64::try_from(options.step_min.as_millis()).unwrap_or(u64::MAX)),
        reason: options.reason.clone().unwrap_or_default(),
        force: options.force,
    };
    let mut view: RolloutOutcomeView = admin.post_about("/api/deployments/start", &request)?;
    if view.state == "running" && !options.wait.is_zero() {
        terminal.say(&view.message);
        wait(admin, &mut view, started, options.wait, terminal)?;
    }
    view.waited_seconds = started.elapsed().as_secs_f64();
    let exit = conclude(&view, terminal)?;
    Ok(match view.state.as_str() {
        "aborting" | "aborted" => Exit::RolledBack,
        _ => exit,
    })
}

/// Looks at the deployment until it is over or the time is.
fn wait(
    admin: &Admin,
    view: &mut RolloutOutcomeView,
    started: Instant,
    longest: Duration,
    terminal: Terminal,
) -> anyhow::Result<()> {
    // Nothing is ever sent: the channel is a pause that ends by itself.
    let (_keep, pause) = channel::<()>();
    loop {
        let known: Deployments = admin.get("/api/deployments")?;
        let mine = |d: &&DeploymentView| Some(&d.id) == view.deployment.as_ref();
        let Some(told) = known.deployments.iter().find(mine) else {
            return Ok(());
        };
        view.state = told.state.clone().unwrap_or_else(|| view.state.clone());
        view.incident.clone_from(&told.incident);
        let rollout = known.rollouts.iter().find(|r| r.id == told.id);
        if let Some(rollout) = rollout {
            if view.share != Some(rollout.share) {
                let share = render::percent(Some(rollout.share));
                terminal.say(&format!("{} gets {share}", rollout.version));
            }
            view.share = Some(rollout.share);
        }
        if matches!(view.state.as_str(), "done" | "aborted") {
            let (id, version) = (&told.id, &told.version);
            let incident = told.incident.as_ref();
            let incident = incident.map_or_else(String::new, |incident| {
                format!("; see `evenkeel incident show {incident}`")
            });
            view.message = format!("deployment {id} of {version} is {}{incident}", view.state);
            return Ok(());
        }
        let is_over = started.elapsed() >= longest;
        if is_over || pause.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
            let id = &told.id;
            view.message = format!("deployment {id} goes on; see `evenkeel deploy status`");
            return Ok(());
        }
    }
}

fn conclude(view: &RolloutOutcomeView, terminal: Terminal) -> anyhow::Result<Exit> {
    concluded(view, (&view.state, &view.findings, &view.message), terminal)
}

fn record(request: &DeploymentRequest, admin: &Admin, terminal: Terminal) -> anyhow::Result<Exit> {
    let answer: Value = admin.post("/api/deployments", request)?;
    if terminal.json {
        terminal.json(&answer)?;
    } else {
        let id = answer.get("deployment").and_then(Value::as_str);
        let id = id.unwrap_or("-");
        terminal.data(&format!(
            "{id}: {} {} recorded",
            request.pool, request.version
        ));
    }
    Ok(Exit::Ok)
}

fn status(admin: &Admin, terminal: Terminal) -> anyhow::Result<Exit> {
    let known: Deployments = admin.get("/api/deployments")?;
    if terminal.json {
        terminal.json(&known)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    for rollout in &known.rollouts {
        rollout_text(&mut out, rollout);
        out.push('\n');
    }
    deployments_text(&mut out, &known.deployments);
    terminal.data(&out);
    Ok(Exit::Ok)
}

/// A deployment under way, or one whose outcome is in force.
pub(crate) fn rollout_text(out: &mut String, rollout: &RolloutView) {
    let RolloutView {
        id,
        pool,
        version,
        stable,
        strategy,
        state,
        ..
    } = rollout;
    let share = render::percent(Some(rollout.share));
    let (step, steps) = (rollout.step, rollout.steps.len());
    out.line(format_args!(
        "deployment {id} of pool {pool}: {version} in place of {stable}, {strategy}, {state}: {share}, step {step} of {steps}, since {}",
        rollout.since
    ));
    if !rollout.why.is_empty() {
        out.line(format_args!("why: {}", rollout.why));
    }
    for held in &rollout.held {
        out.line(format_args!("waits for: {held}"));
    }
    if rollout.file_differs {
        out.line(format_args!(
            "the running configuration does not say so yet: it decides again from the revision on that does"
        ));
    }
    let head = [
        "version", "intended", "observed", "requests", "errors", "p50", "p99",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
    for side in &rollout.versions {
        rows.push(vec![
            side.version.clone(),
            render::percent(side.intended_share),
            render::percent(side.observed_share),
            side.requests.to_string(),
            render::percent(side.error_rate),
            ms(side.p50_ms),
            ms(side.p99_ms),
        ]);
    }
    render::table(out, &rows);
    out.line(format_args!(
        "comparison: {}: {}",
        rollout.verdict, rollout.verdict_reason
    ));
}

/// Where one stands, as carried out or as told.
fn state_of(d: &DeploymentView) -> String {
    let told = d.told.iter().map(|told| format!("recorded: {told}"));
    let state = d.state.iter().cloned().chain(told).next();
    state.unwrap_or_else(|| "recorded".to_owned())
}

/// Deployments, newest first.
pub(crate) fn deployments_text(out: &mut String, deployments: &[DeploymentView]) {
    let head = [
        "id", "pool", "version", "state", "at", "by", "revision", "incident", "note",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for d in deployments {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            d.id.clone(),
            d.pool.clone(),
            d.version.clone(),
            state_of(d),
            d.at.clone(),
            d.author.clone(),
            or_dash(&d.revision),
            or_dash(&d.incident),
            d.note.clone(),
        ]);
    }
    render::list(out, &rows);
}
