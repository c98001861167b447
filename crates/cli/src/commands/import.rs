//! `evenkeel import`: an evenkeel.toml from the configuration of another balancer, and what could not come along.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use evenkeel_control::judge::judge;
use evenkeel_control::wall;
use evenkeel_forecast::Facts;
use evenkeel_import::AsideKind;
use evenkeel_import::carry::{Addresses, Carried, Loss, carry};
use evenkeel_model::finding::{Origin, Severity};
use evenkeel_model::setup::{Balancer, Touches};
use evenkeel_web::views::{CarriedView, LossView, RenamedView};

use crate::args::Import;
use crate::exit::{Exit, coded};
use crate::given::{Beside, Given};
use crate::render::findings;
use crate::render::{Text as _, counted, name, named};
use crate::terminal::Terminal;

/// Losses that a person is shown.
const SHOWN_MAX: usize = 50;

pub(crate) fn import(options: &Import, terminal: Terminal) -> anyhow::Result<Exit> {
    let beside = Beside::read(&options.reading)?;
    let addresses = addresses(&options.resolve)?;
    let given = Given::read(&options.config, &options.reading)?;
    if given.balancer == Balancer::Evenkeel {
        return Err(coded(
            Exit::Usage,
            format!("`{}` is an evenkeel.toml already", name(&options.config)),
        ));
    }
    let (judged, asides) = given.judge_other(&beside, None)?;
    let Some(setup) = &judged.setup else {
        let shown = findings::findings(&judged.findings, &judged.origin, terminal.colour_err);
        terminal.say(shown.trim_end());
        return Err(coded(
            Exit::Invalid,
            format!(
                "`{}` cannot be read; nothing was written",
                name(&options.config)
            ),
        ));
    };
    let carried = carry(setup, &judged.origin, &asides, &addresses);
    let view = view(&carried, &judged.origin);
    if terminal.json {
        terminal.json(&view)?;
    } else {
        terminal.say(report(&view, setup.balancer).trim_end());
    }
    let Some(text) = &carried.text else {
        return Err(coded(
            Exit::Failed,
            "nothing of it can be served by Evenkeel: no HTTP listener with a route to a pool is left; nothing was written",
        ));
    };
    match &options.to {
        Some(path) => write(path, text, options.overwrite)?,
        None if terminal.json => {}
        None => terminal.data(text),
    }
    if !terminal.json {
        conclude(options.to.as_deref(), text, terminal);
    }
    Ok(Exit::Ok)
}

fn addresses(given: &[String]) -> anyhow::Result<Addresses> {
    let pair = |text: &String| {
        let known = text.split_once('=');
        let known =
            known.and_then(|(name, ip)| Some((name.to_owned(), ip.parse::<IpAddr>().ok()?)));
        known.ok_or_else(|| {
            coded(
                Exit::Usage,
                format!("`--resolve {text}` must be NAME=IP, such as web.internal=10.0.0.5"),
            )
        })
    };
    given.iter().map(pair).collect()
}

fn view(carried: &Carried, origin: &Origin) -> CarriedView {
    let loss = |loss: &Loss| {
        let (file, place) = origin.locate(&loss.path);
        let (touches, pool) = match (loss.aside, &loss.touches) {
            (Some(AsideKind::Access), _) => ("access", None),
            (Some(AsideKind::Protocol), _) => ("protocol", None),
            (Some(AsideKind::Rewrite), _) => ("rewrite", None),
            (None, Touches::Routing) => ("routing", None),
            (None, Touches::Pool(pool)) => ("pool", Some(pool.clone())),
            (None, Touches::Resilience) => ("resilience", None),
        };
        LossView {
            what: loss.what.clone(),
            why: loss.why.clone(),
            consequence: loss.consequence.clone(),
            alternative: loss.alternative.clone(),
            touches: touches.to_owned(),
            pool,
            path: loss.path.clone(),
            file,
            line: place.map(|place| place.line),
        }
    };
    CarriedView {
        text: carried.text.clone(),
        losses: carried.losses.iter().map(loss).collect(),
        renamed: carried
            .renamed
            .iter()
            .map(|renamed| RenamedView {
                kind: renamed.kind.clone(),
                from: renamed.from.clone(),
                to: renamed.to.clone(),
            })
            .collect(),
    }
}

/// What could not come along: protection first, then what fails, then what changes shares.
fn report(view: &CarriedView, balancer: Balancer) -> String {
    let mut out = String::new();
    let of = |touches: &str| view.losses.iter().filter(|l| l.touches == touches).count();
    if view.losses.is_empty() {
        out.line(format_args!(
            "everything of this {} configuration was carried over",
            balancer.title()
        ));
    } else {
        out.line(format_args!(
            "not carried over: {} about who may do what, {} about protocols, {} about the spread within a pool, \
             {} about routing, {} about limits, timeouts and checks, {} about changed requests and responses\n",
            of("access"),
            of("protocol"),
            of("pool"),
            of("routing"),
            of("resilience"),
            of("rewrite")
        ));
    }
    let mut losses: Vec<&LossView> = view.losses.iter().collect();
    let order = |loss: &&LossView| match loss.touches.as_str() {
        "access" => 0,
        "protocol" => 1,
        "pool" => 2,
        "routing" => 3,
        "resilience" => 4,
        _ => 5,
    };
    losses.sort_by_key(order);
    for loss in losses.iter().take(SHOWN_MAX) {
        let place = match (&loss.file, loss.line) {
            (Some(file), Some(line)) => format!("{}:{line}: ", named(file)),
            _ => String::new(),
        };
        out.line(format_args!("{place}{}", loss.what));
        out.line(format_args!("  why:         {}", loss.why));
        out.line(format_args!("  consequence: {}", loss.consequence));
        out.line(format_args!("  instead:     {}", loss.alternative));
    }
    if losses.len() > SHOWN_MAX {
        let rest = losses.len() - SHOWN_MAX;
        out.line(format_args!("... and {rest} more; --json has all"));
    }
    for renamed in view.renamed.iter().take(SHOWN_MAX) {
        out.line(format_args!(
            "renamed {}: `{}` is now `{}`",
            renamed.kind, renamed.from, renamed.to
        ));
    }
    out
}

/// Judges what was written, so that a sound file is never only assumed.
fn conclude(path: Option<&Path>, text: &str, terminal: Terminal) {
    let file = path.map(|path| path.to_string_lossy().into_owned());
    let judged = judge(text, file.as_deref(), None, &Facts::default(), wall());
    let only_errors: Vec<_> = judged
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .cloned()
        .collect();
    let shown = findings::findings(&only_errors, &judged.origin, terminal.colour_err);
    terminal.say(shown.trim_end());
    let errors = judged.count(Severity::Error);
    let Some(path) = path else { return };
    let path = name(path);
    let next = if errors > 0 {
        format!(
            "{} to put right, then `evenkeel check {path}`",
            counted(errors, "error")
        )
    } else {
        format!("`evenkeel check {path}`, then `evenkeel run {path}`")
    };
    terminal.say(&format!("wrote {path}\nnext: {next}"));
}

fn write(path: &Path, text: &str, overwrite: bool) -> anyhow::Result<()> {
    let mut open = std::fs::File::options();
    open.write(true);
    if overwrite {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let failed = |error: std::io::Error| {
        let path = name(path);
        let words = match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("`{path}` exists; nothing was written; use --overwrite to replace it")
            }
            _ => format!("cannot write `{path}`: {error}"),
        };
        coded(Exit::Failed, words)
    };
    let mut file = open.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
