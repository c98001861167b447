//! `evenkeel init`: a commented, sound configuration from a few facts. Weights are left out on purpose: they follow
//! from capacity, so the typo that overloads a backend cannot be made.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use evenkeel_control::judge::judge;
use evenkeel_control::wall;
use evenkeel_forecast::Facts;
use evenkeel_model::ids::Name;

use crate::args::{Global, Init};
use crate::exit::{Exit, coded};
use crate::render;
use crate::render::Text as _;
use crate::terminal::Terminal;

/// Where the admin listener is put unless `--admin` says otherwise.
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);

pub(crate) fn init(options: &Init, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let mut backends = Vec::new();
    for given in &options.backends {
        let (name, address) = given.split_once('=').ok_or_else(|| {
            coded(
                Exit::Usage,
                format!("`--backend {given}` must be NAME=ADDR, such as web-1=127.0.0.1:8081"),
            )
        })?;
        Name::new(name)
            .map_err(|error| coded(Exit::Usage, format!("`--backend {given}`: {error}")))?;
        backends.push((name, address));
    }
    let admin = global.admin.unwrap_or(ADMIN_DEFAULT);
    let text = compose(options, admin, &backends);
    let judged = judge(
        &text,
        options.path.to_str(),
        None,
        &Facts::default(),
        wall(),
    );
    if judged.has_errors() {
        terminal.say(
            render::findings::findings(&judged.findings, &judged.origin, terminal.colour_err)
                .trim_end(),
        );
        return Err(coded(
            Exit::Usage,
            "these facts make no sound configuration; nothing was written",
        ));
    }
    if options.path.as_os_str() == "-" {
        terminal.data(&text);
        return Ok(Exit::Ok);
    }
    write_file(options, &text)?;
    terminal.say(
        render::findings::findings(&judged.findings, &judged.origin, terminal.colour_err)
            .trim_end(),
    );
    let path = options.path.display();
    terminal.say(&format!(
        "wrote {path}\nnext: `evenkeel check {path}`, then `evenkeel run {path}`"
    ));
    Ok(Exit::Ok)
}

fn write_file(options: &Init, text: &str) -> anyhow::Result<()> {
    let mut open = std::fs::File::options();
    open.write(true);
    if options.overwrite {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let path = options.path.display();
    let mut file = open
        .open(&options.path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => coded(
                Exit::Failed,
                format!("`{path}` exists; nothing was written; use --overwrite to replace it"),
            ),
            _ => coded(Exit::Failed, format!("cannot write `{path}`: {error}")),
        })?;
    file.write_all(text.as_bytes())
        .map_err(|error| coded(Exit::Failed, format!("cannot write `{path}`: {error}")))
}

/// The fewest backends that carry the peak, where it is known.
fn floor(known: Option<(f64, f64)>, backends: usize) -> usize {
    let needed = known.map_or(1.0, |(peak, capacity)| (peak / capacity).ceil());
    (needed as usize).clamp(1, backends.max(1))
}

fn compose(options: &Init, admin: SocketAddr, backends: &[(&str, &str)]) -> String {
    let mut text = String::new();
    text.text(format_args!(r#"# Evenkeel. `evenkeel check` judges this file, `evenkeel plan` shows what it would change,
# `evenkeel apply` makes it run: verified by measurement, undone if it harms.

[admin]
address = "{admin}"           # page, API, metrics; keep it on loopback

[listener.web]
address = "{listen}"

[[route]]                            # the first match wins
listener = "web"
path_prefix = "/"
pool = "main"

[pool.main]
algorithm = "round_robin"            # `evenkeel explain algorithms`
{peak}headroom = "20%"                     # no backend is planned above 80 % of its capacity
tolerance = "20%"                    # relative deviation from the intended share that is still fine
min_healthy = {floor}                      # no action of Evenkeel leaves fewer than this
objective = {{ error_rate = "1%", p99 = "500ms" }}   # a request beyond it is harmed

[pool.main.health]
path = "{health}"
interval = "1s"
"#,
        listen = options.listen,
        health = options.health_path,
        floor = floor(options.peak_rps.zip(options.capacity_rps), backends.len()),
        peak = match options.peak_rps {
            Some(peak) => format!("peak_rps = {peak}                       # what the pool must carry\n"),
            None => "# peak_rps = 900                     # what the pool must carry; without it capacity is not judged\n".to_owned(),
        },
    ));
    for (name, address) in backends {
        text.text(format_args!(
            "\n[pool.main.backend.{}]\naddress = \"{address}\"\n",
            evenkeel_model::canonical::path_segment(name)
        ));
        match options.capacity_rps {
            Some(capacity) => text.line(format_args!("capacity_rps = {capacity}                   # what it can carry; its weight follows from it")),
            None => text.push_str("# capacity_rps = 600                 # what it can carry; declare it for all, and weights follow from it\n"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::floor;

    #[test]
    fn as_many_must_stay_as_carry_the_peak() {
        assert_eq!(floor(None, 3), 1);
        assert_eq!(floor(Some((900.0, 600.0)), 3), 2);
        assert_eq!(floor(Some((1_200.0, 600.0)), 3), 2);
        assert_eq!(floor(Some((9_000.0, 600.0)), 3), 3);
        assert_eq!(floor(Some((10.0, 600.0)), 0), 1);
    }
}
