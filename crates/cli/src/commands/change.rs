//! `apply`, `confirm` and `rollback`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use evenkeel_web::requests::{ApplyRequest, ConfirmRequest, PlanRequest, RollbackRequest};
use evenkeel_web::views::{ChangeOutcomeView, FindingView, PlanView, RevisionView, StatusView};
use serde::Serialize;

use crate::admin::Admin;
use crate::args::{Apply, Global, Rollback};
use crate::commands::{plan, saved};
use crate::exit::{Exit, coded};
use crate::render::Text as _;
use crate::render::findings::{self, Texts};
use crate::terminal::Terminal;

/// Between two looks at a revision that gathers evidence.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn apply(options: &Apply, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let (text, file, base) = candidate(options)?;
    let admin = Admin::new(global)?;
    if let Some(saved) = &base {
        saved.fits(&admin)?;
    }
    let base = base.map(|saved| saved.base).or(options.base.clone());
    if !options.yes && std::io::stdin().is_terminal() && !terminal.json {
        let view: PlanView = admin.ask(
            "/api/plan",
            &PlanRequest {
                text: text.clone(),
                file: file.clone(),
            },
        )?;
        plan::show(&view, &Texts::Sent(&text), false, terminal);
        if view.valid && !view.changes.is_empty() && !asked("Apply this change?")? {
            return Err(coded(Exit::Failed, "not applied"));
        }
    }
    let started = Instant::now();
    let request = ApplyRequest {
        text: text.clone(),
        file,
        base,
        reason: options.reason.clone().unwrap_or_default(),
        force: options.force,
        confirm_within_ms: options.confirm_within.map(millis),
        keep_ms: options.keep.map(millis),
    };
    let mut view: ChangeOutcomeView = admin.post("/api/apply", &request)?;
    if matches!(view.state.as_str(), "applying" | "verifying") && !options.wait.is_zero() {
        wait(&admin, &mut view, started, options.wait, terminal)?;
    }
    view.waited_seconds = started.elapsed().as_secs_f64();
    if terminal.json {
        terminal.json(&view)?;
    } else {
        let shown = findings::shown(&view.findings, &Texts::Sent(&text), terminal.colour_err);
        terminal.say(shown.trim_end());
        terminal.data(&sentence(&view, options));
        if view.state == "verifying" && !options.wait.is_zero() {
            terminal.data(&missing(&admin.get("/api/status")?));
        }
    }
    Ok(match view.state.as_str() {
        "invalid" => Exit::Invalid,
        "refused" => Exit::Refused,
        "rolling_back" | "rolled_back" => Exit::RolledBack,
        "failed" => Exit::Failed,
        _ => Exit::Ok,
    })
}

/// The text to apply, the name of its file, and the saved plan that it came in.
fn candidate(options: &Apply) -> anyhow::Result<(String, Option<String>, Option<saved::Saved>)> {
    let text = crate::input::text(&options.config)?;
    let Some(plan) = saved::parse(&text)? else {
        return Ok((text, options.config.to_str().map(str::to_owned), None));
    };
    if options.base.as_ref().is_some_and(|base| *base != plan.base) {
        return Err(coded(
            Exit::Usage,
            format!("the plan was made on {}; leave --base out", plan.base),
        ));
    }
    Ok((plan.text.clone(), Some(plan.file.clone()), Some(plan)))
}

/// Follows the revision until its evidence is in, it is undone, or the time is over.
fn wait(
    admin: &Admin,
    view: &mut ChangeOutcomeView,
    started: Instant,
    longest: Duration,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let Some(id) = view.revision.clone() else {
        return Ok(());
    };
    terminal.say(&format!("{id}: verifying, at most {} s", longest.as_secs()));
    // Nothing is ever sent: the channel is a pause that ends by itself.
    let (_keep, pause) = channel::<()>();
    while started.elapsed() < longest {
        if pause.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
        let revision: RevisionView = admin.get(&format!("/api/revisions/{id}"))?;
        view.state = revision.state;
        view.incident = revision.incident;
        if !matches!(
            view.state.as_str(),
            "applying" | "verifying" | "rolling_back"
        ) {
            break;
        }
    }
    Ok(())
}

/// Why a revision is not verified: what its evidence lacks, and the incident that speaks against it.
fn missing(status: &StatusView) -> String {
    let mut text = String::new();
    for what in status.verifying.iter().flatten() {
        text.line(format_args!("  missing: {what}"));
    }
    if let Some(incident) = &status.incident {
        text.line(format_args!(
            "  incident {incident} is open: `evenkeel incident show {incident}`; to undo the change: `evenkeel rollback`"
        ));
    }
    text
}

fn sentence(view: &ChangeOutcomeView, options: &Apply) -> String {
    let id = view.revision.as_deref().unwrap_or("-");
    let waited = format!("after {:.1} s", view.waited_seconds);
    match view.state.as_str() {
        "verified" | "confirmed" if options.confirm_within.is_some() => {
            format!(
                "{id} verified {waited}. Next: `evenkeel confirm {id}` before the confirm window ends, or it is rolled back."
            )
        }
        "verified" | "confirmed" => format!("{id} verified {waited}."),
        "verifying" => {
            format!("{id} runs; not verified {waited}. Next: `evenkeel status`.")
        }
        "held" => format!(
            "{id} runs without enough traffic to verify it; the rollback target stays the last verified revision."
        ),
        "rolled_back" | "rolling_back" => format!(
            "{id} was rolled back {waited}{}.",
            view.incident
                .as_ref()
                .map(|i| format!("; see `evenkeel incident show {i}`"))
                .unwrap_or_default()
        ),
        _ => view.message.clone(),
    }
}

pub(crate) fn confirm(
    revision: Option<String>,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let admin = Admin::new(global)?;
    let view: ChangeOutcomeView = admin.post("/api/confirm", &ConfirmRequest { revision })?;
    conclude(&view, terminal)
}

pub(crate) fn rollback(
    options: &Rollback,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    if !options.yes && std::io::stdin().is_terminal() && !terminal.json {
        let to = options
            .revision
            .as_deref()
            .unwrap_or("the last verified revision");
        if !asked(&format!("Go back to {to}?"))? {
            return Err(coded(Exit::Failed, "nothing was changed"));
        }
    }
    let admin = Admin::new(global)?;
    let request = RollbackRequest {
        to: options.revision.clone(),
        reason: options.reason.clone().unwrap_or_default(),
        force: options.force,
    };
    let view: ChangeOutcomeView = admin.post("/api/rollback", &request)?;
    conclude(&view, terminal)
}

fn conclude(view: &ChangeOutcomeView, terminal: Terminal) -> anyhow::Result<Exit> {
    concluded(view, (&view.state, &view.findings, &view.message), terminal)
}

/// Shows what came of a change, and with which code the command ends: `view` to a program, its findings and its message
/// to a person.
pub(crate) fn concluded(
    view: &impl Serialize,
    (state, found, message): (&str, &[FindingView], &str),
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    if terminal.json {
        terminal.json(view)?;
    } else {
        let shown = findings::shown(found, &Texts::None, terminal.colour_err);
        terminal.say(shown.trim_end());
        terminal.data(message);
    }
    Ok(match state {
        "refused" => Exit::Refused,
        "failed" | "invalid" => Exit::Failed,
        _ => Exit::Ok,
    })
}

fn asked(question: &str) -> anyhow::Result<bool> {
    let mut err = std::io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
