//! Arguments: exactly what the user typed. Meaning is given to them by the commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use evenkeel_model::record::Strategy;
use evenkeel_model::units;

#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    about = "A load balancer that knows how traffic should be spread, proves that it is, and undoes the change that broke it",
    after_help = "Start here:\n  evenkeel demo                                 a real shop, balanced, in one command\n  evenkeel init --backend web-1=127.0.0.1:8081 --backend web-2=127.0.0.1:8082\n  evenkeel check evenkeel.toml                  what a configuration would do\n  evenkeel run evenkeel.toml                    serve\n\nExit codes: 0 ok, 1 failed, 2 changes pending, 3 refused by the guard, 4 rolled back,\n64 usage, 69 no running instance, 78 configuration invalid.",
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print data as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Admin address of the running instance [default: the `[admin] address` of ./evenkeel.toml, else 127.0.0.1:7700]
    #[arg(long, global = true, value_name = "ADDR", env = "EVENKEEL_ADMIN")]
    pub(crate) admin: Option<std::net::SocketAddr>,
    /// Data directory: journal and admin token
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "./evenkeel-data"
    )]
    pub(crate) data: PathBuf,
    /// File with the admin token [default: $EVENKEEL_TOKEN_FILE, else DIR/admin.token]
    #[arg(long, global = true, value_name = "FILE", env = "EVENKEEL_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print without colour; so does NO_COLOR
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve traffic
    Run(Run),
    /// Three shops, the balancer, real traffic and the page
    Demo(Demo),
    /// Write a commented, sound configuration
    Init(Init),
    /// Audit and forecast a configuration, offline: evenkeel.toml, haproxy.cfg, nginx.conf, Envoy
    Check(Check),
    /// Write an evenkeel.toml from the configuration of another balancer
    Import(Import),
    /// Explain a rule (TRF-01) or a topic (algorithms)
    Explain {
        /// Id of a rule, or `algorithms`; without it, a list
        topic: Option<String>,
    },
    /// Print the JSON Schema of evenkeel.toml, for editors
    Schema {
        /// That of the side file for other balancers' configurations instead
        #[arg(long)]
        facts: bool,
    },
    /// Show what an apply would do
    Plan(Plan),
    /// Apply a configuration as a guarded change
    Apply(Apply),
    /// Confirm the running revision
    Confirm {
        /// Which revision [default: what runs]
        revision: Option<String>,
    },
    /// Go back to an earlier revision
    Rollback(Rollback),
    /// Take a backend out of traffic for a while, judged first
    Drain(Drain),
    /// End a drain
    Undrain {
        /// Which backend
        #[arg(value_name = "POOL/BACKEND", value_parser = whom)]
        whom: Whom,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// List revisions, and what became of drains
    History {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show what differs between two revisions
    Diff {
        /// The earlier one, such as r1
        from: String,
        /// The later one, such as r2
        to: String,
    },
    /// Show intended, expected and observed share per backend
    Status,
    /// The same, live in the terminal, once a second
    Top {
        /// End after so many looks
        #[arg(long)]
        looks: Option<u64>,
    },
    /// Move traffic from one version to another, or tell of a deployment
    #[command(subcommand)]
    Deploy(Deploy),
    /// Incidents: list, show, acknowledge, note, escalate, resolve, post-mortem
    #[command(subcommand)]
    Incident(Incident),
    /// Rehearse outages
    #[command(subcommand)]
    Drill(Drill),
    /// Print shell completions
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Print the version
    Version,
    /// The reference shop (used by demo and drills)
    #[command(hide = true)]
    Shop(Shop),
    /// The seeded load generator (used by demo and drills)
    #[command(hide = true)]
    Load(Load),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration
    #[arg(default_value = "./evenkeel.toml")]
    pub(crate) config: PathBuf,
    /// Run a first configuration although the audit finds errors; needs --reason
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// If CONFIG differs from the last verified revision, apply it as a guarded change after boot
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Longest wait for requests in flight at the end
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) drain: Duration,
    /// Seed of every random choice that is not a secret
    #[arg(long, hide = true)]
    pub(crate) seed: Option<u64>,
    /// This instance belongs to a drill; its incidents are marked
    #[arg(long, hide = true)]
    pub(crate) drill: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// No page is announced and nothing waits for a person; ends after the drill or --for
    #[arg(long)]
    pub(crate) headless: bool,
    /// Play a drill on the running demo, such as weight-typo
    #[arg(long, value_name = "NAME")]
    pub(crate) drill: Option<String>,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) limit: Option<Duration>,
    /// Requests per second of the traffic
    #[arg(long, default_value_t = 300.0)]
    pub(crate) rate: f64,
    /// Address of the shop
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: std::net::SocketAddr,
    /// Seed of the traffic
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where to write; `-` is standard output
    #[arg(default_value = "./evenkeel.toml")]
    pub(crate) path: PathBuf,
    /// A backend, repeated: web-1=127.0.0.1:8081
    #[arg(long = "backend", value_name = "NAME=ADDR", required = true)]
    pub(crate) backends: Vec<String>,
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub(crate) listen: String,
    /// What each backend can carry, requests per second
    #[arg(long, value_name = "RPS")]
    pub(crate) capacity_rps: Option<f64>,
    /// What the pool must carry, requests per second
    #[arg(long, value_name = "RPS")]
    pub(crate) peak_rps: Option<f64>,
    /// Path of the health check
    #[arg(long, default_value = "/healthz")]
    pub(crate) health_path: String,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For a person at a terminal
    Text,
    /// For programs; the same as --json
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
    /// For a comment on a change request
    Markdown,
}

/// Whose configuration a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// evenkeel.toml
    Evenkeel,
    /// haproxy.cfg
    Haproxy,
    /// nginx.conf
    Nginx,
    /// An Envoy bootstrap, YAML or JSON
    Envoy,
}

/// How a configuration is read, and what is known beside it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reading {
    /// Whose configuration it is [default: told by name and text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Where absolute includes lie: DIR for all, /etc/nginx=DIR for a part; repeated
    #[arg(long, value_name = "[PREFIX=]DIR")]
    pub(crate) root: Vec<String>,
    /// A file with what the configuration cannot say: capacities, peaks, intent, waivers
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// What backends can carry, requests per second: 600, POOL=600, POOL/BACKEND=600; repeated
    #[arg(long, value_name = "[POOL[/BACKEND]=]RPS")]
    pub(crate) capacity: Vec<String>,
    /// What pools must carry, requests per second: 900, POOL=900; repeated
    #[arg(long, value_name = "[POOL=]RPS")]
    pub(crate) peak_rps: Vec<String>,
    /// Forecast with this backend down, as if its check failed; repeated
    #[arg(long, value_name = "POOL/BACKEND")]
    pub(crate) without: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// evenkeel.toml, haproxy.cfg, nginx.conf or an Envoy bootstrap; `-` is standard input
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Also end with 78 on findings of this severity
    #[arg(long, value_parser = ["warnings"])]
    pub(crate) deny: Option<String>,
    /// How the result is printed
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: Output,
    /// Show every failure case
    #[arg(long)]
    pub(crate) cases: bool,
    /// Only name the files that are read, one on each line; 78 where one cannot be
    #[arg(long)]
    pub(crate) files: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// haproxy.cfg, nginx.conf or an Envoy bootstrap; `-` is standard input
    pub(crate) config: PathBuf,
    /// Where the evenkeel.toml is written [default: standard output]
    #[arg(long = "to", short = 'o', value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// The address of a host name, repeated: web.internal=10.0.0.5
    #[arg(long, value_name = "NAME=IP")]
    pub(crate) resolve: Vec<String>,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The configuration; `-` is standard input
    pub(crate) config: PathBuf,
    /// Compare with a file instead of the running instance
    #[arg(long, requires = "current")]
    pub(crate) offline: bool,
    /// The file that runs now, for --offline; of any balancer
    #[arg(long, value_name = "FILE")]
    pub(crate) current: Option<PathBuf>,
    /// End with 2 when there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Save the plan, for `evenkeel apply FILE`
    #[arg(long, value_name = "FILE", conflicts_with = "current")]
    pub(crate) out: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: Output,
    /// Show every failure case
    #[arg(long)]
    pub(crate) cases: bool,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The configuration, or a plan that `plan --out` saved; `-` is standard input
    pub(crate) config: PathBuf,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Refuse unless this revision runs
    #[arg(long, value_name = "REV")]
    pub(crate) base: Option<String>,
    /// Roll back unless `evenkeel confirm` comes within
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) confirm_within: Option<Duration>,
    /// Wait at most this long for the evidence; 0: return after the swap
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) wait: Duration,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Override error findings; needs --reason
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
    /// Suspend automatic rollback of this revision for so long (at most 4h)
    #[arg(long, value_name = "TIME", value_parser = keep)]
    pub(crate) keep: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// To which revision [default: the last verified one]
    pub(crate) revision: Option<String>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Even if it overloads a backend that is not overloaded now
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// POOL/BACKEND.
#[derive(Debug, Clone)]
pub(crate) struct Whom {
    pub(crate) pool: String,
    pub(crate) backend: String,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND", value_parser = whom)]
    pub(crate) whom: Whom,
    /// How long, at most 24h; it ends by itself
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = drain_time)]
    pub(crate) lasts: Duration,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Although what is left cannot carry the peak; needs --reason
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
    /// Return when nothing is in flight on it any more, at most after this time
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployStart {
    /// The pool
    pub(crate) pool: String,
    /// The version of its backends that gets the traffic
    pub(crate) version: String,
    /// How: canary, rolling or blue-green
    #[arg(long, default_value = "canary", value_parser = strategy)]
    pub(crate) strategy: Strategy,
    /// Shares of the version, such as 5%,25%,50%,100% [default: those of the strategy]
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    pub(crate) steps: Vec<String>,
    /// Shortest step
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) step_min: Duration,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Although the backends of some step cannot carry the peak; needs --reason
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
    /// Return when it is over, at most after this time
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(crate) wait: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Deploy {
    /// Move traffic to a version, step by step, on evidence
    Start(DeployStart),
    /// Take the next step now
    Promote {
        /// The pool
        pool: String,
        /// The last step at once
        #[arg(long)]
        all: bool,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// Although the backends cannot carry it; needs --reason
        #[arg(long, requires = "reason")]
        force: bool,
    },
    /// Return the traffic to the version that had it
    Abort {
        /// The pool
        pool: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Record that a version was deployed
    Record {
        /// The pool
        pool: String,
        /// The version
        version: String,
        /// A backend that it reached, repeated [default: all of the pool]
        #[arg(long = "backend", value_name = "NAME")]
        backends: Vec<String>,
        /// When it happened, RFC 3339 [default: now]
        #[arg(long)]
        at: Option<String>,
        /// What is said of it; the begin and the end of one deployment become one record
        #[arg(long, value_name = "STATE", default_value = "finished", value_parser = ["started", "finished", "failed", "rolled_back"])]
        state: String,
        /// In words
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Show deployments under way, and list those that were
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Incident {
    /// List incidents, newest first
    List {
        /// Only those that are not over
        #[arg(long)]
        open: bool,
    },
    /// Show one with its timeline
    Show {
        /// Such as i1
        id: String,
    },
    /// Take it: paging stops
    Ack {
        /// Such as i1
        id: String,
    },
    /// Put a line on its timeline
    Note {
        /// Such as i1
        id: String,
        /// The line
        text: String,
    },
    /// Page the next level now
    Escalate {
        /// Such as i1
        id: String,
    },
    /// It is over
    Resolve {
        /// Such as i1
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// Nothing was wrong
        #[arg(long)]
        false_alarm: bool,
    },
    /// Print the post-mortem draft
    Postmortem {
        /// Such as i1
        id: String,
    },
    /// Decide the recorded events again and compare; needs no instance
    Replay {
        /// Such as i1, of --data; or a recording
        #[arg(value_name = "ID|FILE")]
        what: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Drill {
    /// List the shipped drills
    List,
    /// Show a drill: what happens and what must hold
    Show {
        /// Its name or file
        drill: String,
    },
    /// Run a drill
    Run(DrillRun),
    /// Print the JSON Schema of the scenario format
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct DrillRun {
    /// A shipped name or a scenario file
    pub(crate) drill: String,
    /// Simulated: virtual clock over the real guard and balancer (default)
    #[arg(long, conflicts_with = "live")]
    pub(crate) sim: bool,
    /// Live: real data plane, real sockets, real backends
    #[arg(long)]
    pub(crate) live: bool,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    pub(crate) seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Shop {
    #[arg(long)]
    pub(crate) listen: std::net::SocketAddr,
    #[arg(long)]
    pub(crate) database: Option<PathBuf>,
    #[arg(long, default_value_t = 12)]
    pub(crate) workers: usize,
    #[arg(long, value_parser = duration, default_value = "20ms")]
    pub(crate) service_time: Duration,
    #[arg(long, default_value_t = 200)]
    pub(crate) queue: usize,
    #[arg(long, default_value = "web-1")]
    pub(crate) name: String,
    #[arg(long, default_value = "v1")]
    pub(crate) version: String,
    #[arg(long, default_value = "a")]
    pub(crate) zone: String,
    #[arg(long)]
    pub(crate) health_in_pool: bool,
    #[arg(long)]
    pub(crate) control: Option<std::net::SocketAddr>,
    /// End when standard input ends: the parent is gone
    #[arg(long)]
    pub(crate) exit_with_stdin: bool,
    /// A plain stub without a shop behind it
    #[arg(long)]
    pub(crate) stub: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[arg(long)]
    pub(crate) target: std::net::SocketAddr,
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|error| error.to_string())
}

fn whom(text: &str) -> Result<Whom, String> {
    match text.split_once('/') {
        Some((pool, backend)) if !pool.is_empty() && !backend.is_empty() => Ok(Whom {
            pool: pool.to_owned(),
            backend: backend.to_owned(),
        }),
        _ => Err("it must be POOL/BACKEND, such as shop/web-1".to_owned()),
    }
}

fn strategy(text: &str) -> Result<Strategy, String> {
    Strategy::from_word(text).ok_or_else(|| "it must be canary, rolling or blue-green".to_owned())
}

fn drain_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() || time > evenkeel_guard::DRAIN_MAX {
        let most = units::format_duration(evenkeel_guard::DRAIN_MAX);
        return Err(format!(
            "a drain lasts more than nothing and at most {most}; who is out for longer belongs out of the configuration"
        ));
    }
    Ok(time)
}

/// The guard would cut a longer time short; whoever asks for it must know.
fn keep(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time > evenkeel_guard::KEEP_MAX {
        let most = units::format_duration(evenkeel_guard::KEEP_MAX);
        return Err(format!(
            "automatic rollback is suspended for at most {most}"
        ));
    }
    Ok(time)
}
