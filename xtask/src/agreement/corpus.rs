//! The corpus: configurations as people write them, with what is to be sent and compared in `#=` comment lines.
//!
//! The files are valid as they stand, so that `check` and the balancer's own checker can read them; the runner puts
//! free ports in place of the ones below before anybody reads them. Lines:
//!
//! ```text
//! #= shows: equal weights          what the row is about (required)
//! #= requests: 20000               how many are sent; default 10000, more where chance has a part
//! #= clients: 4                    connections at once (default 4)
//! #= connections: new              one per request; default keep
//! #= method: POST                  default GET
//! #= keys: 5000 header x-key       so many different values; or `uri`, `cookie NAME`, `source`
//! #= key-sets: 40                  repeats with so many sets of other keys; judged by how often the interval holds
//! #= jars: 2000                    so many clients that return the cookies they get, each in turn
//! #= paths: /a /b                  in turn; default /
//! #= sick: 19002                   fails its checks, serves requests
//! #= broken: 19002                 answers 503 to everything
//! #= closed: 19002                 nothing listens
//! #= slow: 19002 20ms              answers after this time
//! #= against: out backend:app/b    the forecast of a failure; or `case NAME`, `routes`, `base` (default)
//! #= against: without app/a app/b  the forecast with these down, as `check --without` gives it
//! #= keys-known: app 20            distinct keys of the pool, told to the forecast in its side file
//! #= within: interval              the stated interval is the bound where it is wider; default 2 points
//! #= note: ...                     printed below the table
//! #= short: yes                    part of the short run
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// Where the balancer listens, in the files.
const LISTEN: u16 = 18_080;
/// Where its admin interface listens, in the files.
const ADMIN: u16 = 17_700;
/// Origins in the files: one of these.
const ORIGINS: std::ops::RangeInclusive<u16> = 19_001..=19_009;
/// Requests of a row that asks for no other number.
pub(crate) const REQUESTS: u64 = 10_000;
/// Most requests that a row may send.
const REQUESTS_MAX: u64 = 50_000;

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Peer {
    Evenkeel,
    Haproxy,
    Nginx,
    Envoy,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Evenkeel, Self::Haproxy, Self::Nginx, Self::Envoy];

    /// The folder in the corpus, and the word on the command line.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
        }
    }
}

/// How an origin behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Checks and requests succeed.
    #[default]
    Up,
    /// Checks fail, requests succeed.
    Sick,
    /// Everything is answered with 503.
    Broken,
    /// Nothing listens.
    Closed,
}

/// An origin that a configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OriginPlan {
    pub(crate) mode: Mode,
    pub(crate) delay: Duration,
}

/// Where the varying value of a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    Header(String),
    Uri,
    Cookie(String),
    /// The client's address.
    Source,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadPlan {
    pub(crate) requests: u64,
    pub(crate) clients: usize,
    pub(crate) each_connects: bool,
    pub(crate) method: String,
    pub(crate) keys: Option<(u64, KeyPlace)>,
    /// Added to every key's number.
    pub(crate) first_key: u64,
    /// Repetitions, each with other keys.
    pub(crate) key_sets: u64,
    pub(crate) jars: Option<usize>,
    pub(crate) paths: Vec<String>,
}

impl LoadPlan {
    /// Whether every request has a connection of its own; so it is when the client's address is the key.
    pub(crate) const fn new_connections(&self) -> bool {
        self.each_connects || matches!(self.keys, Some((_, KeyPlace::Source)))
    }
}

/// What the measured shares are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Against {
    Base,
    /// `forecast.failures[out = ..]`.
    Out(String),
    /// `forecast.cases[case = ..]`.
    Case(String),
    /// `check --without` of these.
    Without(Vec<String>),
    /// The parts of the targets of the first route; measured by pool.
    Routes,
}

/// One configuration of the corpus.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) file: PathBuf,
    pub(crate) shows: String,
    pub(crate) load: LoadPlan,
    pub(crate) origins: BTreeMap<u16, OriginPlan>,
    pub(crate) against: Against,
    pub(crate) keys_known: Vec<(String, u64)>,
    pub(crate) interval: bool,
    pub(crate) note: Option<String>,
    pub(crate) short: bool,
    pub(crate) text: String,
}

impl Row {
    /// The text with real ports: the listener's, the admin interface's and those of the origins.
    pub(crate) fn filled(&self, listen: u16, admin: u16, origins: &BTreeMap<u16, u16>) -> String {
        let mut text = self
            .text
            .replace(&LISTEN.to_string(), &listen.to_string())
            .replace(&ADMIN.to_string(), &admin.to_string());
        for (planned, real) in origins {
            text = text.replace(&planned.to_string(), &real.to_string());
        }
        text
    }

    /// The name without folder and ending.
    pub(crate) fn name(&self) -> String {
        let stem = self.file.file_stem();
        stem.map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// The rows of a peer, by file name.
pub(crate) fn rows(corpus: &Path, peer: Peer) -> anyhow::Result<Vec<Row>> {
    let folder = corpus.join(peer.folder());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let row = |file: &PathBuf| {
        let text = fs::read_to_string(file)?;
        parse(peer, file, text).with_context(|| format!("in {}", file.display()))
    };
    files.iter().map(row).collect()
}

fn parse(peer: Peer, file: &Path, text: String) -> anyhow::Result<Row> {
    let mut row = Row {
        peer,
        file: file.to_owned(),
        shows: String::new(),
        load: LoadPlan {
            requests: REQUESTS,
            clients: 4,
            each_connects: false,
            method: "GET".to_owned(),
            keys: None,
            first_key: 0,
            key_sets: 1,
            jars: None,
            paths: vec!["/".to_owned()],
        },
        origins: BTreeMap::new(),
        against: Against::Base,
        keys_known: Vec::new(),
        interval: false,
        note: None,
        short: false,
        text: String::new(),
    };
    for port in ORIGINS {
        let is_named = |line: &str| !line.starts_with("#=") && line.contains(&port.to_string());
        if text.lines().any(is_named) {
            row.origins.insert(port, OriginPlan::default());
        }
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#=") {
            let (key, value) = rest.split_once(':').context("`#=` without a colon")?;
            set(&mut row, key.trim(), value.trim())
                .with_context(|| format!("cannot use `{line}`"))?;
        }
    }
    ensure!(!row.shows.is_empty(), "`#= shows:` is missing");
    ensure!(!row.origins.is_empty(), "it names no origin");
    let sent = row.load.requests.saturating_mul(row.load.key_sets);
    ensure!(
        (1..=REQUESTS_MAX).contains(&sent),
        "1 to {REQUESTS_MAX} requests, not {sent}"
    );
    row.text = text;
    Ok(row)
}

fn set(row: &mut Row, key: &str, value: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = value.split_whitespace().collect();
    match (key, words.as_slice()) {
        ("shows", _) => value.clone_into(&mut row.shows),
        ("note", _) => row.note = Some(value.to_owned()),
        ("requests", [n]) => row.load.requests = n.parse()?,
        ("clients", [n]) => row.load.clients = n.parse()?,
        ("connections", [word]) => row.load.each_connects = *word == "new",
        ("method", [word]) => (*word).clone_into(&mut row.load.method),
        ("keys", [n, place @ ..]) => {
            let place = match place {
                ["header", name] => KeyPlace::Header((*name).to_owned()),
                ["cookie", name] => KeyPlace::Cookie((*name).to_owned()),
                ["uri"] => KeyPlace::Uri,
                ["source"] => KeyPlace::Source,
                _ => bail!("keys stand in header NAME, cookie NAME, uri or source"),
            };
            row.load.keys = Some((n.parse()?, place));
        }
        ("key-sets", [n]) => row.load.key_sets = n.parse()?,
        ("jars", [n]) => row.load.jars = Some(n.parse()?),
        ("paths", paths) => row.load.paths = paths.iter().map(|p| (*p).to_owned()).collect(),
        ("sick", ports) => mode(row, ports, Mode::Sick)?,
        ("broken", ports) => mode(row, ports, Mode::Broken)?,
        ("closed", ports) => mode(row, ports, Mode::Closed)?,
        ("slow", [port, time]) => {
            let ms = time.strip_suffix("ms").context("a time in ms")?.parse()?;
            origin(row, port)?.delay = Duration::from_millis(ms);
        }
        ("against", ["base"]) => row.against = Against::Base,
        ("against", ["routes"]) => row.against = Against::Routes,
        ("against", ["out", what]) => row.against = Against::Out((*what).to_owned()),
        ("against", ["case", what]) => row.against = Against::Case((*what).to_owned()),
        ("against", ["without", backends @ ..]) => {
            let backends = backends.iter().map(|b| (*b).to_owned());
            row.against = Against::Without(backends.collect());
        }
        ("keys-known", [pool, n]) => row.keys_known.push(((*pool).to_owned(), n.parse()?)),
        ("within", [word]) => row.interval = *word == "interval",
        ("short", [word]) => row.short = *word == "yes",
        _ => bail!("`{key}` is not known, or its value is not"),
    }
    Ok(())
}

fn mode(row: &mut Row, ports: &[&str], mode: Mode) -> anyhow::Result<()> {
    for port in ports {
        origin(row, port)?.mode = mode;
    }
    Ok(())
}

fn origin<'a>(row: &'a mut Row, port: &str) -> anyhow::Result<&'a mut OriginPlan> {
    let port: u16 = port.parse()?;
    row.origins
        .get_mut(&port)
        .with_context(|| format!("no backend has port {port}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::{Against, KeyPlace, Mode, Peer, parse, rows};

    const TEXT: &str = "#= shows: a thing\n#= requests: 500\n#= keys: 20 header x-user\n\
        #= sick: 19002\n#= against: out backend:app/b\n\nlisten 18080\nserver 19001 19002\n";

    #[test]
    fn the_comment_lines_say_what_is_sent_and_compared() {
        let row = parse(Peer::Haproxy, Path::new("x/a.cfg"), TEXT.to_owned()).unwrap();
        assert_eq!(row.name(), "a");
        assert_eq!(row.load.requests, 500);
        let header = KeyPlace::Header("x-user".to_owned());
        assert_eq!(row.load.keys, Some((20, header)));
        assert_eq!(row.origins.get(&19_002).unwrap().mode, Mode::Sick);
        assert_eq!(row.origins.get(&19_001).unwrap().mode, Mode::Up);
        assert_eq!(row.against, Against::Out("backend:app/b".to_owned()));
    }

    #[test]
    fn every_port_is_replaced() {
        let row = parse(Peer::Haproxy, Path::new("a.cfg"), TEXT.to_owned()).unwrap();
        let real = BTreeMap::from([(19_001, 41), (19_002, 42)]);
        let text = row.filled(40, 39, &real);
        assert!(text.ends_with("listen 40\nserver 41 42\n"), "{text}");
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused() {
        for line in [
            "#= reqeusts: 5",
            "#= requests: many",
            "#= requests: 999999999",
            "#= sick: 19003",
            "#= keys: 5 heder x",
        ] {
            let parsed = parse(Peer::Nginx, Path::new("a.conf"), format!("{TEXT}{line}\n"));
            assert!(parsed.is_err(), "{line}");
        }
    }

    #[test]
    fn every_file_of_the_corpus_is_understood() {
        let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/agreement"));
        for peer in Peer::ALL {
            let rows = rows(corpus, peer).unwrap();
            assert!(rows.len() >= 10, "{}: {}", peer.folder(), rows.len());
            assert!(rows.iter().any(|row| row.short), "{}", peer.folder());
        }
    }
}
