//! Configurations of other balancers, read into the form that forecast and audit judge.
//!
//! Each reader covers the directives that decide routing, pools, weights, checks, limits, timeouts, retries and
//! stickiness, with the defaults of that balancer. It knows by name the directives that have nothing to do with the
//! spread; whatever else it meets is listed as a gap, never silently skipped. Files are handed in through [`Files`],
//! so that the room itself opens nothing and every include can be bounded and tested.
//!
//! Limits: names are not resolved, variables only where their value stands in the file, and the bounds below hold for
//! every input, hostile ones included.

use evenkeel_model::finding::{Finding, Origin};
use evenkeel_model::setup::{Balancer, Setup};

mod book;
pub mod carry;
mod envoy;
mod haproxy;
pub mod moves;
mod nginx;

/// Longest text of one file, bytes.
pub const TEXT_MAX: usize = 16 << 20;
/// Most bytes over all files of one configuration.
pub const TOTAL_MAX: usize = 64 << 20;
/// Most files of one configuration.
pub const FILES_MAX: usize = 1_000;
/// How deep files may include each other, and blocks may nest.
pub const DEPTH_MAX: usize = 64;
/// Most backends over all pools.
pub const BACKENDS_MAX: usize = 100_000;
/// Most findings of one configuration; the count of the rest is said.
pub const FINDINGS_MAX: usize = 1_000;
/// Most gaps of one configuration; the count of the rest is said.
pub const GAPS_MAX: usize = 1_000;
/// Most asides of one configuration; further ones are left out.
pub const ASIDES_MAX: usize = 1_000;

/// Opens what a configuration includes.
pub trait Files {
    /// The files that `pattern` names, sorted by name. `from`: the file that asks, as it was named; a relative pattern is
    /// relative to where that balancer looks. A pattern with `*`, `?` or `[` may name none.
    /// The error says in words why a file cannot be read.
    fn open(&self, from: &str, pattern: &str) -> Result<Vec<File>, String>;

    /// Whether the file with this name lies outside of where the configuration lies, links resolved. Where such a file
    /// is no configuration, findings quote nothing of it.
    fn is_outside(&self, _name: &str) -> bool {
        false
    }
}

/// One file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, as it shall appear in findings.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// No file includes another.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn open(&self, _from: &str, pattern: &str) -> Result<Vec<File>, String> {
        Err(format!("`{pattern}` is not at hand"))
    }
}

/// What came out of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What it sets up; present exactly when no finding is an error.
    pub setup: Option<Setup>,
    /// The texts and the place of every value in them.
    pub origin: Origin,
    /// Everything that is wrong or was not understood, by file and position.
    pub findings: Vec<Finding>,
    /// What the file does to requests besides spreading them, by file and position: nothing of it changes a share, and
    /// all of it would be missed by whoever moves to another balancer.
    pub asides: Vec<Aside>,
}

/// Something that a file does to requests besides spreading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Configuration path, placed by the origin.
    pub path: String,
    /// What stands there, in short: the directive with its first words.
    pub what: String,
    /// What would be missed.
    pub kind: AsideKind,
}

/// What would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AsideKind {
    /// Who may do what: denials, authentication, rate limits, address lists.
    Access,
    /// Requests or responses that are changed: headers, paths, redirects, caches, compression.
    Rewrite,
    /// A protocol to backends or clients other than plain HTTP/1: FastCGI, gRPC, WebSocket, PROXY.
    Protocol,
}

/// Whether a text looks like a balancer's.
type LooksLike = fn(&str) -> bool;

/// Which balancer the file is for, by its name and its text; `None`: no telling.
pub fn recognise(name: &str, text: &str) -> Option<Balancer> {
    let lower = name.to_ascii_lowercase();
    let file = lower.rsplit('/').next().unwrap_or(&lower);
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| file.ends_with(suffix));
    if ends(&[".toml"]) {
        return Some(Balancer::Evenkeel);
    }
    let readers: [(LooksLike, Balancer); 3] = [
        (haproxy::looks_like, Balancer::Haproxy),
        (nginx::looks_like, Balancer::Nginx),
        (envoy::looks_like, Balancer::Envoy),
    ];
    let by_text = readers.iter().find(|(looks_like, _)| looks_like(text));
    by_text.map(|(_, balancer)| *balancer).or_else(|| {
        if file.contains("haproxy") || ends(&[".cfg"]) {
            Some(Balancer::Haproxy)
        } else if file.contains("nginx") || ends(&[".conf"]) {
            Some(Balancer::Nginx)
        } else if file.contains("envoy") || ends(&[".yaml", ".yml", ".json"]) {
            Some(Balancer::Envoy)
        } else {
            None
        }
    })
}

/// Reads the configuration `main` of another balancer and what it includes.
/// Evenkeel's own is read by [`evenkeel_model::parse`], not here: it gives a finding that says so.
pub fn read(balancer: Balancer, main: File, files: &dyn Files) -> Imported {
    let mut book = book::Book::new(files);
    if matches!(balancer, Balancer::Haproxy | Balancer::Nginx) {
        book.bear_torn();
    }
    let setup = book.open(main).and_then(|source| match balancer {
        Balancer::Haproxy => haproxy::read(&mut book, source),
        Balancer::Nginx => nginx::read(&mut book, source),
        Balancer::Envoy => envoy::read(&mut book, source),
        Balancer::Evenkeel => {
            book.error(
                "",
                book::Words {
                    id: "IMP-01",
                    message: "this is Evenkeel's own format".to_owned(),
                    effect: "nothing is read".to_owned(),
                    fix: "use `evenkeel check` on it as it is".to_owned(),
                },
            );
            None
        }
    });
    book.close(setup)
}
