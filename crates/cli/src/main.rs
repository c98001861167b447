//! The `evenkeel` binary: arguments in, one command carried out, an exit code of the contract out.
//!
//! The only room that writes to standard output and uses anyhow. Data goes to standard output, words to standard
//! error.

mod admin;
mod args;
mod commands;
mod disk;
mod exit;
mod given;
mod input;
mod render;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

/// Gives memory back when a peak is over; the one of glibc keeps it, and a limit on memory would refuse for ever.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match args::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return terminal::usage(&error),
    };
    let terminal = terminal::Terminal::new(&arguments.global);
    match commands::run(arguments.command, &arguments.global, terminal) {
        Ok(_) if terminal::output_lost() => {
            terminal.error(&anyhow::anyhow!(
                "the result could not be written to standard output"
            ));
            exit::Exit::Failed.into()
        }
        Ok(code) => code.into(),
        Err(error) => {
            terminal.error(&error);
            exit::of(&error).into()
        }
    }
}
