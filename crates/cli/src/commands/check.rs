//! `evenkeel check`: what a configuration would do, offline, whichever balancer it is for.

use std::collections::BTreeSet;
use std::path::Path;

use evenkeel_model::finding::{Origin, Severity};
use evenkeel_web::views::PlanView;

use crate::args::{Check, Output};
use crate::exit::Exit;
use crate::given::{Beside, Given};
use crate::render::findings::{self, Texts};
use crate::render::{Text as _, name};
use crate::render::{forecast, markdown, sarif, summary};
use crate::terminal::Terminal;

pub(crate) fn check(options: &Check, terminal: Terminal) -> anyhow::Result<Exit> {
    let beside = Beside::read(&options.reading)?;
    let given = Given::read(&options.config, &options.reading)?;
    let judged = given.judge(&beside, None)?;
    if options.files {
        terminal.data_unless_empty(&files(&judged.origin));
        return Ok(if judged.setup.is_some() {
            Exit::Ok
        } else {
            Exit::Invalid
        });
    }
    let denied = options.deny.is_some() && judged.count(Severity::Warning) > 0;
    let failed = judged.has_errors() || denied;
    let mut view = PlanView::of(&judged, None);
    // The text may be no configuration; whose it would be is known all the same.
    given.balancer.as_str().clone_into(&mut view.format);
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
        Output::Markdown => {
            terminal.data(&markdown::check(&view, &options.config, failed));
        }
        Output::Text => {
            let texts = Texts::Read(&judged.origin);
            let shown = findings::shown(&view.findings, &texts, terminal.colour_err);
            terminal.say(shown.trim_end());
            if let Some(shown) = &view.forecast {
                let show = forecast::Show {
                    cases: options.cases,
                };
                terminal.data_unless_empty(&forecast::parts(&view.routes));
                terminal.data(&forecast::forecast(shown, None, show));
            }
            terminal.data_unless_empty(&findings::gaps(&view.gaps));
            if view.format != "evenkeel"
                && let Some(words) = summary::confidence(&view)
            {
                terminal.data(&words);
            }
            terminal.data(&summary::verdict(&options.config, &view, failed));
        }
    }
    Ok(if failed { Exit::Invalid } else { Exit::Ok })
}

/// The files of `origin` as absolute paths: as they were named, and, where that is another, without symbolic links.
fn files(origin: &Origin) -> String {
    let mut paths = BTreeSet::new();
    for file in origin.sources.iter().filter_map(|s| s.file.as_deref()) {
        let path = Path::new(file);
        paths.extend(std::path::absolute(path).ok().filter(|path| path.exists()));
        paths.extend(std::fs::canonicalize(path).ok());
    }
    let mut out = String::new();
    for path in paths {
        out.line(format_args!("{}", name(&path)));
    }
    out
}
