//! `evenkeel run`: prepare, say what runs, serve until told to stop.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use evenkeel_control::{Options, Prepared, StartError, boot};
use evenkeel_proxy::Inherited;
use listenfd::ListenFd;

use crate::args::{Global, Run};
use crate::exit::{Exit, coded};
use crate::render;
use crate::render::Text as _;
use crate::terminal::Terminal;

pub(crate) fn run(options: &Run, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    log_to_stderr(global);
    raise_open_files();
    let prepared = match prepare(options, global, &inherited()) {
        Ok(prepared) => prepared,
        Err(error) => return fail(error, terminal),
    };
    announce(&prepared, terminal);
    serve(prepared, std::future::pending())
}

/// Runs a prepared instance on this thread until a signal or `stop`.
pub(crate) fn serve(prepared: Prepared, stop: impl Future<Output = ()>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(evenkeel_control::run(prepared, stop, evenkeel_web::serve))?;
    // Work that nobody waits for any more (a forecast, a webhook) must not hold up the end.
    runtime.shutdown_background();
    if ended.cut_off > 0 {
        tracing::warn!(
            connections = ended.cut_off,
            "cut off at the end of the drain"
        );
    }
    Ok(Exit::Ok)
}

fn prepare(options: &Run, global: &Global, inherited: &Inherited) -> Result<Prepared, StartError> {
    let seed = options.seed.or_else(|| getrandom::u64().ok()).unwrap_or(1);
    let options = Options {
        config: options.config.clone(),
        data: global.data.clone(),
        author: whoami(),
        force: options
            .force
            .then(|| options.reason.clone().unwrap_or_default()),
        adopt: options.adopt,
        drill: options.drill,
        drain: options.drain,
        seed,
    };
    boot::prepare_beside(options, inherited)
}

/// Listening sockets that a service manager passed (`LISTEN_FDS`). What is no such socket is left alone.
fn inherited() -> Inherited {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let socket = match passed.take_tcp_listener(index) {
            Ok(socket) => socket.map(OwnedFd::from),
            Err(_no_tcp) => passed
                .take_unix_listener(index)
                .ok()
                .flatten()
                .map(OwnedFd::from),
        };
        if let Some(socket) = socket {
            sockets.push(socket);
        } else {
            let what = "the service manager passed a descriptor that is no listening socket; it is not used";
            tracing::warn!(number = index, "{what}");
        }
    }
    Inherited::take(sockets).unwrap_or_else(|error| {
        tracing::warn!(%error, "the sockets that the service manager passed cannot be used");
        Inherited::default()
    })
}

fn announce(prepared: &Prepared, terminal: Terminal) {
    for note in &prepared.notes {
        terminal.say(note);
    }
    let mut text = String::new();
    for (name, address) in prepared.addresses() {
        text.line(format_args!("listener {name}: {address}"));
    }
    if let Some(address) = prepared.admin_address() {
        text.text(format_args!("page, API, metrics: http://{address}/"));
    }
    terminal.say(&text);
}

/// Shows why an instance does not start, with source lines where there are any.
fn fail(error: StartError, terminal: Terminal) -> anyhow::Result<Exit> {
    match error {
        StartError::Config { judged } => {
            terminal.say(&render::findings::findings(
                &judged.findings,
                &judged.origin,
                terminal.colour_err,
            ));
            let hint = if judged.config.is_some() {
                "; to run it all the same: --force --reason \"...\""
            } else {
                ""
            };
            Err(coded(
                Exit::Invalid,
                format!(
                    "the configuration cannot be the first revision; nothing was started{hint}"
                ),
            ))
        }
        StartError::Revision {
            ref findings,
            ref origin,
            ..
        } => {
            terminal.say(&render::findings::findings(
                findings,
                origin,
                terminal.colour_err,
            ));
            Err(coded(Exit::Invalid, error.to_string()))
        }
        StartError::Source(error) => Err(coded(
            Exit::Invalid,
            format!("{error}; write one with `evenkeel init --backend NAME=ADDR`"),
        )),
        StartError::Bind(_) | StartError::Admin { .. } | StartError::Journal(_) => {
            Err(coded(Exit::Failed, error.to_string()))
        }
        other => Err(anyhow::Error::new(other)).context("evenkeel did not start"),
    }
}

/// Raises the soft limit on open files to the hard one: a proxy needs two per request in flight, and the usual soft
/// limit of 1,024 is meant for programs that still use `select`. What is left is judged by the data plane.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the soft limit on open files stays as it is");
    }
}

/// Log lines on standard error; `EVENKEEL_LOG` chooses what (default: info), `--json` their form.
pub(crate) fn log_to_stderr(global: &Global) {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("EVENKEEL_LOG").unwrap_or_else(|_unset| {
            tracing_subscriber::EnvFilter::new(if global.quiet { "error" } else { "info" })
        });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(Terminal::new(global).colour_err)
        .with_target(false);
    let started = if global.json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    // A second set-up in one process keeps the first.
    drop(started);
}

fn whoami() -> String {
    std::env::var("USER")
        .or_else(|_unset| std::env::var("LOGNAME"))
        .unwrap_or_else(|_unset| "operator".to_owned())
}
