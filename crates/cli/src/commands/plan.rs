//! `check` and `plan`: what a configuration would do, before it does it.

use std::path::Path;

use evenkeel_control::judge::judge;
use evenkeel_control::{Judged, source, wall};
use evenkeel_forecast::Facts;
use evenkeel_model::finding::Severity;
use evenkeel_model::parse;
use evenkeel_model::setup::Setup;
use evenkeel_web::requests::PlanRequest;
use evenkeel_web::views::PlanView;

use crate::admin::Admin;
use crate::args::{Check, Global, Plan};
use crate::exit::{Exit, coded};
use crate::render;
use crate::terminal::Terminal;

/// Reads a configuration; `-` is standard input.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let text = if path == Path::new("-") {
        source::read_from(std::io::stdin(), Path::new("standard input"))
    } else {
        source::read(path)
    };
    text.map_err(|error| coded(Exit::Invalid, error.to_string()))
}

pub(crate) fn check(options: &Check, terminal: Terminal) -> anyhow::Result<Exit> {
    let text = read(&options.config)?;
    let judged = judge(
        &text,
        options.config.to_str(),
        None,
        &Facts::default(),
        wall(),
    );
    let failed =
        judged.has_errors() || (options.deny.is_some() && judged.count(Severity::Warning) > 0);
    let view = PlanView::of(&judged, None, None);
    if terminal.json {
        terminal.json(&view)?;
    } else {
        terminal.say(
            render::findings(&judged.findings, &judged.origin, terminal.colour_err).trim_end(),
        );
        if let Some(forecast) = &view.forecast {
            terminal.data(&render::forecast(forecast, None));
        }
        let verdict = if judged.config.is_none() {
            "not a configuration"
        } else if failed {
            "would be refused"
        } else {
            "sound"
        };
        terminal.data(&format!(
            "{}: {verdict} ({})",
            options.config.display(),
            render::count(&view.findings)
        ));
    }
    Ok(if failed { Exit::Invalid } else { Exit::Ok })
}

pub(crate) fn plan(options: &Plan, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let text = read(&options.config)?;
    let view = if let Some(current) = &options.current {
        offline(&text, &options.config, current)?
    } else {
        let file = options.config.to_str().map(str::to_owned);
        let request = PlanRequest {
            text: text.clone(),
            file,
        };
        Admin::new(global)?.ask("/api/plan", &request)?
    };
    if terminal.json {
        terminal.json(&view)?;
    } else {
        show(&view, &text, &options.config, terminal);
    }
    Ok(if !view.valid {
        Exit::Invalid
    } else if view.refused {
        Exit::Refused
    } else if options.detailed_exitcode && !view.changes.is_empty() {
        Exit::Pending
    } else {
        Exit::Ok
    })
}

fn offline(text: &str, file: &Path, current: &Path) -> anyhow::Result<PlanView> {
    let running = read(current)?;
    let parsed = parse::parse(&running, current.to_str());
    let Some(running) = parsed.config else {
        let first = parsed
            .findings
            .first()
            .map(|f| f.message.clone())
            .unwrap_or_default();
        return Err(coded(
            Exit::Invalid,
            format!("`{}` is not a configuration: {first}", current.display()),
        ));
    };
    let facts = Facts::default();
    let judged: Judged = judge(text, file.to_str(), Some(&running), &facts, wall());
    let forecast = evenkeel_forecast::forecast(&Setup::of(&running), &facts);
    Ok(PlanView::of(&judged, None, Some(&forecast)))
}

/// What a person reads before an apply.
pub(crate) fn show(view: &PlanView, text: &str, file: &Path, terminal: Terminal) {
    terminal.say(
        render::finding_views(&view.findings, text, file.to_str(), terminal.colour_err).trim_end(),
    );
    if !view.valid {
        terminal.data("Not a configuration; nothing can be planned.");
        return;
    }
    if view.changes.is_empty() {
        terminal.data("No changes: this content runs already.");
        return;
    }
    terminal.data(&render::changes(&view.changes));
    if let Some(forecast) = &view.forecast {
        terminal.data(&render::forecast(forecast, view.current.as_ref()));
    }
    let risk = if view.refused {
        "Risk: an apply would be refused (see the errors above)."
    } else if view.findings.iter().any(|f| f.severity == "warning") {
        "Risk: see the warnings above."
    } else {
        "Risk: low."
    };
    let against = view.revision.as_deref().unwrap_or("the file given");
    terminal.data(&format!(
        "{} Against {against}. {risk}\nAn apply is verified by measurement; if traffic does not follow the intent and users are harmed or a backend is overloaded, it is undone by itself.",
        render::change_count(&view.changes)
    ));
}
