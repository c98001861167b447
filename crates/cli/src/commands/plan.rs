//! `evenkeel plan`: what an apply would do, against the running instance or between two files.

use std::path::Path;

use evenkeel_import::moves::moves;
use evenkeel_model::setup::{Balancer, Setup};
use evenkeel_web::requests::PlanRequest;
use evenkeel_web::views::{Against, ChangeView, PlanView};

use crate::admin::Admin;
use crate::args::{Global, Output, Plan};
use crate::commands::saved::{self, Saved};
use crate::exit::{Exit, coded};
use crate::given::{self, Before, Beside, Given};
use crate::render::findings::{self, Texts};
use crate::render::{changes, forecast, markdown, name, sarif, summary};
use crate::terminal::Terminal;

pub(crate) fn plan(options: &Plan, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let (view, shown) = match &options.current {
        Some(current) => offline(options, current)?,
        None => online(options, global)?,
    };
    let output = if terminal.json {
        Output::Json
    } else {
        options.output
    };
    match output {
        Output::Json => terminal.json(&view)?,
        Output::Sarif => {
            let base = std::env::current_dir().ok();
            terminal.json(&sarif::log(
                &view.findings,
                &options.config,
                base.as_deref(),
            ))?;
        }
        Output::Markdown => terminal.data(&markdown::plan(&view, &options.config)),
        Output::Text => show(&view, &shown.texts(), options.cases, terminal),
    }
    let exit = if !view.valid {
        Exit::Invalid
    } else if view.refused {
        Exit::Refused
    } else if options.detailed_exitcode && !view.changes.is_empty() {
        Exit::Pending
    } else {
        Exit::Ok
    };
    if let Some(out) = &options.out {
        if matches!(exit, Exit::Invalid | Exit::Refused) {
            terminal.say(&format!(
                "no plan is saved to `{}`: an apply of it would be refused",
                name(out)
            ));
        } else {
            saved::write(out, &Saved::of(&view, &shown.text, &options.config)?)?;
            terminal.say(&format!(
                "saved to `{}`; next: `evenkeel apply {}`",
                name(out),
                name(out)
            ));
        }
    }
    Ok(exit)
}

/// What the lines of findings are taken from.
struct Shown {
    text: String,
    origin: Option<evenkeel_model::finding::Origin>,
}

impl Shown {
    fn texts(&self) -> Texts<'_> {
        match &self.origin {
            Some(origin) => Texts::Read(origin),
            None => Texts::Sent(&self.text),
        }
    }
}

fn online(options: &Plan, global: &Global) -> anyhow::Result<(PlanView, Shown)> {
    let text = crate::input::text(&options.config)?;
    let balancer = given::balancer_of(&options.config, &text, &options.reading)?;
    if balancer != Balancer::Evenkeel {
        return Err(coded(
            Exit::Usage,
            format!(
                "`{}` is a configuration of {}; it is compared with another file: --offline --current FILE",
                name(&options.config),
                balancer.title()
            ),
        ));
    }
    if Beside::read(&options.reading)?.is_something() {
        return Err(coded(
            Exit::Usage,
            "--facts, --capacity, --peak-rps and --without are for --offline; a running instance knows its facts",
        ));
    }
    let request = PlanRequest {
        text: text.clone(),
        file: options.config.to_str().map(str::to_owned),
    };
    let view = Admin::new(global)?.ask("/api/plan", &request)?;
    Ok((view, Shown { text, origin: None }))
}

fn offline(options: &Plan, current: &Path) -> anyhow::Result<(PlanView, Shown)> {
    let beside = Beside::read(&options.reading)?;
    let before = Given::read(current, &options.reading)?;
    let after = Given::read(&options.config, &options.reading)?;
    let judged_before = before.judge(&beside, None)?;
    let Some(setup) = judged_before.setup.as_deref() else {
        let first = judged_before.findings.first();
        return Err(coded(
            Exit::Invalid,
            format!(
                "`{}` is not a configuration: {}",
                name(current),
                first.map_or("", |finding| finding.message.as_str())
            ),
        ));
    };
    let old = Before {
        setup,
        config: judged_before.config.as_deref(),
    };
    let judged = after.judge(&beside, Some(old))?;
    let against = Against {
        revision: None,
        hash: judged_before.hash.map(|hash| hash.to_string()),
        setup,
        rollback_to: None,
    };
    let mut view = PlanView::of(&judged, Some(against));
    after.balancer.as_str().clone_into(&mut view.format);
    let is_own = before.balancer == Balancer::Evenkeel && after.balancer == Balancer::Evenkeel;
    if let Some(new) = judged.setup.as_deref().filter(|_| !is_own) {
        view.changes = differences(setup, new);
        // Nothing of another balancer is verified or undone by Evenkeel.
        view.verify = None;
    }
    let shown = Shown {
        text: after.text,
        origin: Some(judged.origin),
    };
    Ok((view, shown))
}

fn differences(before: &Setup, after: &Setup) -> Vec<ChangeView> {
    ChangeView::list(&moves(before, after))
}

/// What a person reads before an apply.
pub(crate) fn show(view: &PlanView, texts: &Texts<'_>, cases: bool, terminal: Terminal) {
    let found = findings::shown(&view.findings, texts, terminal.colour_err);
    terminal.say(found.trim_end());
    if !view.valid {
        terminal.data("Not a configuration; nothing can be planned.");
        return;
    }
    if view.changes.is_empty() {
        let same = match view.revision {
            Some(_) => "No changes: this content runs already.",
            None => "No changes: both files say the same.",
        };
        terminal.data(same);
        return;
    }
    terminal.data(&changes::changes(&view.changes, terminal.colour));
    if let Some(shown) = &view.forecast {
        let show = forecast::Show { cases };
        terminal.data_unless_empty(&forecast::parts(&view.routes));
        terminal.data(&forecast::forecast(shown, view.current.as_ref(), show));
    }
    terminal.data_unless_empty(&findings::gaps(&view.gaps));
    let against = view.revision.as_deref().unwrap_or("the file given");
    let (_, risk) = summary::risk(view);
    terminal.data(&format!(
        "{} Against {against}.\nRisk: {risk}.",
        changes::count(&view.changes)
    ));
    if let Some(verify) = view.verify.as_ref().filter(|_| !view.refused) {
        terminal.data(summary::verify(verify).trim_end());
    }
}
