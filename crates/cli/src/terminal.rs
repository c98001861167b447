//! What is printed: data on standard output, words on standard error, colour only where a person looks.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::args::Global;
use crate::exit::Exit;

/// Clears the screen and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

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
    pub(crate) fn data(self, text: &str) {
        write_out(&tame(text, self.colour));
    }

    /// Data, where there is some.
    pub(crate) fn data_unless_empty(self, text: &str) {
        if !text.is_empty() {
            self.data(text);
        }
    }

    /// Data, as JSON.
    #[expect(
        clippy::unused_self,
        reason = "output goes through the terminal, whatever it needs of it today"
    )]
    pub(crate) fn json<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        write_out(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Empties the screen, where a person looks at one.
    #[expect(
        clippy::unused_self,
        reason = "output goes through the terminal, whatever it needs of it today"
    )]
    pub(crate) fn clear(self) {
        if std::io::stdout().is_terminal() {
            let mut out = std::io::stdout().lock();
            drop(out.write_all(CLEAR.as_bytes()));
        }
    }

    /// Words.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet && !text.is_empty() {
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

    fn write_err(self, text: &str) {
        let mut err = std::io::stderr().lock();
        drop(writeln!(err, "{}", tame(text, self.colour_err)));
    }
}

fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
            Ok(())
        } else {
            out.write_all(b"\n")
        }
    });
    // A reader that has seen enough (`| head`) is no fault; anything else means that the result is not there.
    if let Err(error) = written.and_then(|()| out.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        OUTPUT_LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether something of the result could not be written, so that the exit code must not say otherwise.
pub(crate) fn output_lost() -> bool {
    OUTPUT_LOST.load(Ordering::Relaxed)
}

/// Standard output is one for the process, and so is what became of it.
static OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// Marks that turn the direction of writing, so that a line reads otherwise than it is.
const DIRECTIONS: [char; 11] = [
    '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}',
];

/// `text` without what a terminal would obey, because names, titles and reasons come from elsewhere. Line ends and
/// tabs stay, and with `colour` the colours.
fn tame(text: &str, colour: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match style_length(rest) {
            Some(length) if colour => length,
            _ => next.len_utf8(),
        };
        let (part, tail) = rest.split_at(length);
        let harmless = length > next.len_utf8()
            || !(next.is_control() || DIRECTIONS.contains(&next))
            || "\n\t".contains(next);
        out.push_str(if harmless { part } else { "\u{fffd}" });
        rest = tail;
    }
    out
}

/// Length of the colour sequence that `text` begins with.
fn style_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    (parameters.as_bytes().get(end) == Some(&b'm')).then_some(end + 3)
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

#[cfg(test)]
mod tests {
    use super::tame;

    #[test]
    fn a_title_cannot_command_the_terminal() {
        let hostile = "a\u{1b}[2J\u{1b}]0;x\u{7}\r\u{9b}1mb\tc\nd";
        let shown = "a\u{fffd}[2J\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}1mb\tc\nd";
        assert_eq!(tame(hostile, false), shown);
        assert_eq!(tame(hostile, true), shown);
    }

    #[test]
    fn colours_stay_where_they_are_wanted() {
        assert_eq!(
            tame("\u{1b}[1;31mé\u{1b}[0m", true),
            "\u{1b}[1;31mé\u{1b}[0m"
        );
        assert_eq!(tame("\u{1b}[1m", false), "\u{fffd}[1m");
        assert_eq!(tame("\u{1b}[1", true), "\u{fffd}[1");
    }
}
