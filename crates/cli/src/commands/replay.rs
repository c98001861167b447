//! `evenkeel incident replay`: the recorded events through the guard again.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use evenkeel_control::recordings;
use evenkeel_guard::recording::{Difference, Replayed, replay as again};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::IncidentId;
use evenkeel_web::views::time;
use serde_json::{Value, json};

use crate::args::Global;
use crate::exit::Exit;
use crate::render::Text as _;
use crate::terminal::Terminal;

/// Characters of an event or a decision that are shown.
const SHOWN: usize = 1_000;

pub(crate) fn replay(what: &str, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let file = place(what, &global.data)?;
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let replayed = again(&bytes).with_context(|| file.display().to_string())?;
    if terminal.json {
        terminal.json(&data(&replayed, &file))?;
    } else {
        terminal.data(&words(&replayed, what));
    }
    Ok(match replayed.difference {
        None => Exit::Ok,
        Some(_) => Exit::Failed,
    })
}

/// An incident of the data directory, or a file.
fn place(what: &str, data: &Path) -> anyhow::Result<PathBuf> {
    let Ok(incident) = what.parse::<IncidentId>() else {
        return Ok(PathBuf::from(what));
    };
    let file = recordings::path(data, incident);
    anyhow::ensure!(
        file.exists(),
        "there is no recording of {incident} in {}: an instance writes it when the incident changes, and keeps those \
         of the newest incidents; give --data, or the file itself",
        data.display()
    );
    Ok(file)
}

fn data(replayed: &Replayed, file: &Path) -> Value {
    let difference = replayed.difference.as_ref().map(|difference| {
        let Difference {
            event,
            at,
            told,
            recorded,
            replayed,
        } = difference;
        let at = time(*at);
        json!({"event": event, "at": at, "told": told, "recorded": recorded, "replayed": replayed})
    });
    json!({
        "file": file.display().to_string(),
        "incidents": replayed.incidents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "from": time(replayed.from),
        "to": time(replayed.to),
        "events": replayed.events,
        "decisions": replayed.actions,
        "states_compared": replayed.compared,
        "cut": replayed.is_cut,
        "same": replayed.difference.is_none(),
        "difference": difference,
    })
}

fn words(replayed: &Replayed, what: &str) -> String {
    let mut out = String::new();
    let Replayed {
        events,
        actions,
        compared,
        from,
        to,
        ..
    } = replayed;
    let (from, to): (Wall, Wall) = (*from, *to);
    out.line(format_args!(
        "{what}: {events} events from {} to {}, {actions} decisions, the whole state {compared} times",
        time(from),
        time(to)
    ));
    if replayed.is_cut {
        out.line(format_args!(
            "the recording reached its limit while an incident was open and ends before that one"
        ));
    }
    match &replayed.difference {
        None => out.line(format_args!("decided again: the same, bit for bit")),
        Some(other) => {
            out.line(format_args!(
                "event {} at {} is decided otherwise",
                other.event,
                time(other.at)
            ));
            let rows = [
                ("told", &other.told),
                ("recorded", &other.recorded),
                ("replayed", &other.replayed),
            ];
            for (name, text) in rows {
                let shown: String = text.chars().take(SHOWN).collect();
                out.line(format_args!("  {name:<9} {shown}"));
            }
        }
    }
    out
}
