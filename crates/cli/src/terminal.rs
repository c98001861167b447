//! What is printed: data on standard output, words on standard error, colour only where a person looks.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::args::Global;
use crate::exit::Exit;

/// The terminal as this run may use it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// Colour on standard output.
    pub(crate) colour: bool,
    /// Colour and progress on standard error.
    pub(crate) colour_err: bool,
}

impl Terminal {
    pub(crate) fn new(global: &Global) -> Self {
        let allowed = !global.no_color
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            json: global.json,
            quiet: global.quiet,
            colour: allowed && std::io::stdout().is_terminal(),
            colour_err: allowed && std::io::stderr().is_terminal(),
        }
    }

    /// Data, as text. A closed pipe ends the output, not the program.
    #[expect(
        clippy::unused_self,
        reason = "output goes through the terminal, whatever it needs of it today"
    )]
    pub(crate) fn data(self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| {
            if text.ends_with('\n') {
                Ok(())
            } else {
                out.write_all(b"\n")
            }
        });
        drop(written.and_then(|()| out.flush()));
    }

    /// Data, as JSON.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        self.data(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Words.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            self.write_err(text);
        }
    }

    /// An error, with its causes.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let label = self.paint_err(
            "error",
            Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
        );
        self.write_err(&format!("{label}: {error:#}"));
    }

    pub(crate) fn paint_err(self, text: &str, style: Style) -> String {
        paint(text, style, self.colour_err)
    }

    pub(crate) fn paint(self, text: &str, style: Style) -> String {
        paint(text, style, self.colour)
    }

    #[expect(
        clippy::unused_self,
        reason = "output goes through the terminal, whatever it needs of it today"
    )]
    fn write_err(self, text: &str) {
        let mut err = std::io::stderr().lock();
        drop(writeln!(err, "{text}"));
    }
}

fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// Prints help, version or a usage error.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}
