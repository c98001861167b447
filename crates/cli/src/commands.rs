//! One module per group of commands. Each says what it does in the terms of the user and returns an exit code.

mod change;
mod check;
mod demo;
mod deploy;
mod drain;
mod drill;
mod import;
mod incident;
mod init;
mod plan;
mod replay;
mod run;
mod saved;
mod schema;
mod shop;
mod show;

use evenkeel_model::parse::keys;

use crate::args::{Arguments, Command, Global};
use crate::exit::Exit;
use crate::terminal::Terminal;

/// Carries out one command.
pub(crate) fn run(command: Command, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    match command {
        Command::Run(options) => run::run(&options, global, terminal),
        Command::Demo(options) => demo::demo(&options, global, terminal),
        Command::Init(options) => init::init(&options, global, terminal),
        Command::Check(options) => check::check(&options, terminal),
        Command::Explain { topic } => show::explain(topic.as_deref(), terminal),
        Command::Import(options) => import::import(&options, terminal),
        Command::Schema { facts } => {
            let table = if facts { &keys::SIDE } else { &keys::FILE };
            terminal.data(&schema::schema(table));
            Ok(Exit::Ok)
        }
        Command::Plan(options) => plan::plan(&options, global, terminal),
        Command::Apply(options) => change::apply(&options, global, terminal),
        Command::Confirm { revision } => change::confirm(revision, global, terminal),
        Command::Rollback(options) => change::rollback(&options, global, terminal),
        Command::Drain(options) => drain::drain(&options, global, terminal),
        Command::Undrain { whom, reason } => drain::undrain(&whom, reason, global, terminal),
        Command::History { limit } => show::history(limit, global, terminal),
        Command::Diff { from, to } => show::diff(&from, &to, global, terminal),
        Command::Status => show::status(global, terminal),
        Command::Top { looks } => show::top(looks, global, terminal),
        Command::Deploy(command) => deploy::deploy(command, global, terminal),
        Command::Incident(command) => incident::incident(command, global, terminal),
        Command::Drill(command) => drill::drill(command, terminal),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(
                shell,
                &mut <Arguments as clap::CommandFactory>::command(),
                "evenkeel",
                &mut text,
            );
            terminal.data(&String::from_utf8_lossy(&text));
            Ok(Exit::Ok)
        }
        Command::Man => {
            let mut text = Vec::new();
            clap_mangen::Man::new(<Arguments as clap::CommandFactory>::command())
                .render(&mut text)?;
            terminal.data(&String::from_utf8_lossy(&text));
            Ok(Exit::Ok)
        }
        Command::Version => {
            terminal.data(concat!("evenkeel ", env!("CARGO_PKG_VERSION")));
            Ok(Exit::Ok)
        }
        Command::Shop(options) => shop::shop(options, terminal),
        Command::Load(options) => shop::load(&options, terminal),
    }
}
