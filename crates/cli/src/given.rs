//! A configuration file as a person names it, of whichever balancer: read, recognised, completed by facts, judged.
//!
//! `check`, `plan --offline` and `import` come through here, so that one file means the same to all of them.

use std::path::{Path, PathBuf};

use evenkeel_balance::Standing;
use evenkeel_control::certificates::Disk as Certificates;
use evenkeel_control::judge::{judge_sealed, judge_setup};
use evenkeel_control::{Judged, wall};
use evenkeel_forecast::Facts;
use evenkeel_import::{Aside, File};
use evenkeel_model::config::Config;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::parse::{self, Side};
use evenkeel_model::setup::{Balancer, Setup};

use crate::args::{Format, Reading};
use crate::disk::Disk;
use crate::exit::{Exit, coded};
use crate::input;
use crate::render::name;

/// Names that an error lists.
const NAMES_SHOWN: usize = 20;

/// A file that was read, and whose it is.
#[derive(Debug)]
pub(crate) struct Given {
    path: PathBuf,
    /// Of another balancer's file, with marks in place of what is no text.
    pub(crate) text: String,
    /// The file of another balancer.
    bytes: Vec<u8>,
    pub(crate) balancer: Balancer,
    disk: Disk,
}

/// What a file is compared with: what an earlier reading made of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) setup: &'a Setup,
    /// Where it is an evenkeel.toml.
    pub(crate) config: Option<&'a Config>,
}

impl Given {
    /// Reads the file at `path` and tells whose it is.
    pub(crate) fn read(path: &Path, reading: &Reading) -> anyhow::Result<Self> {
        let bytes = input::bytes(path)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let balancer = balancer_of(path, &text, reading)?;
        let (text, bytes) = if balancer == Balancer::Evenkeel {
            (input::as_text(path, bytes)?, Vec::new())
        } else {
            (text, bytes)
        };
        Ok(Self {
            path: path.to_owned(),
            text,
            bytes,
            balancer,
            disk: Disk::around(path, &reading.root)?,
        })
    }

    fn name(&self) -> String {
        if self.path == Path::new("-") {
            "standard input".to_owned()
        } else {
            self.path.to_string_lossy().into_owned()
        }
    }

    /// The same for an evenkeel.toml; `before` may be another balancer's.
    fn judge_own(&self, beside: &Beside, before: Option<Before<'_>>) -> anyhow::Result<Judged> {
        let is_foreign = before.is_some_and(|b| b.setup.balancer != Balancer::Evenkeel);
        if !is_foreign {
            beside.refuse_for_evenkeel()?;
        }
        let parsed = parse::parse(&self.text, None).config;
        let setup = parsed.as_ref().map(Setup::of);
        let facts = match &setup {
            Some(setup) => beside.facts(setup)?,
            None => Facts::default(),
        };
        let name = self.name();
        let config = before.and_then(|before| before.config);
        let files = Certificates::perhaps_beside(&self.path);
        let judged = judge_sealed(&files, &self.text, Some(&name), config, &facts, wall());
        let (Some(setup), true) = (setup, is_foreign) else {
            return Ok(judged);
        };
        let parsed = parse::parse(&self.text, Some(&name));
        let before = before.map(|before| before.setup);
        let against = judge_setup(
            setup,
            parsed.origin,
            parsed.findings,
            before,
            &facts,
            wall(),
        );
        Ok(Judged {
            config: judged.config,
            hash: judged.hash,
            ..against
        })
    }

    /// What it sets up and what is wrong with it, completed by what is known beside it, compared with `before`.
    pub(crate) fn judge(
        &self,
        beside: &Beside,
        before: Option<Before<'_>>,
    ) -> anyhow::Result<Judged> {
        if self.balancer == Balancer::Evenkeel {
            return self.judge_own(beside, before);
        }
        Ok(self.judge_other(beside, before)?.0)
    }

    /// The same for another balancer's file, with what it does besides spreading requests.
    pub(crate) fn judge_other(
        &self,
        beside: &Beside,
        before: Option<Before<'_>>,
    ) -> anyhow::Result<(Judged, Vec<Aside>)> {
        let main = File {
            name: self.name(),
            bytes: self.bytes.clone(),
        };
        let read = evenkeel_import::read(self.balancer, main, &self.disk);
        let (mut origin, mut findings) = (read.origin, read.findings);
        let mut setup = read.setup;
        if let Some(setup) = &mut setup {
            let applied = beside.side.apply(setup, &mut origin);
            refuse_flags(&applied)?;
            findings.extend(applied);
        }
        let is_whole = !findings.iter().any(|f| f.severity == Severity::Error);
        let Some(setup) = setup.filter(|_| is_whole) else {
            let judged = Judged {
                blocking: (0..findings.len()).collect(),
                findings,
                ..Judged::blank(&self.text, origin)
            };
            return Ok((judged, read.asides));
        };
        let facts = beside.facts(&setup)?;
        let before = before.map(|before| before.setup);
        let judged = judge_setup(setup, origin, findings, before, &facts, wall());
        Ok((judged, read.asides))
    }
}

/// A flag that names what the file does not hold does not fit, as `--without` does not; what stands in a side file has
/// a place there and is a finding.
fn refuse_flags(applied: &[Finding]) -> anyhow::Result<()> {
    let is_of_flag = |f: &&Finding| f.id == "CFG-05" && f.path.is_empty();
    applied.iter().find(is_of_flag).map_or(Ok(()), |finding| {
        let (message, fix) = (&finding.message, &finding.fix);
        Err(coded(
            Exit::Usage,
            format!("{message}\n  effect: nothing was judged\n  fix: {fix}"),
        ))
    })
}

/// What is known beside a configuration: the side file and the flags.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    side: Side,
    without: Vec<(String, String)>,
}

impl Beside {
    pub(crate) fn read(reading: &Reading) -> anyhow::Result<Self> {
        let mut side = match &reading.facts {
            Some(path) => parse::side(&input::text(path)?, path.to_str()),
            None => Side::default(),
        };
        let usage = |error: parse::FlagError| coded(Exit::Usage, error.to_string());
        for text in &reading.capacity {
            side.capacity(text).map_err(usage)?;
        }
        for text in &reading.peak_rps {
            side.peak_rps(text).map_err(usage)?;
        }
        let pair = |text: &String| {
            let (pool, backend) = text.rsplit_once('/').ok_or_else(|| {
                let words = format!("`--without {text}` must be POOL/BACKEND, such as app/web-1");
                coded(Exit::Usage, words)
            })?;
            Ok((pool.to_owned(), backend.to_owned()))
        };
        let without = reading.without.iter().map(pair);
        Ok(Self {
            side,
            without: without.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Whether anything is known beside the configuration.
    pub(crate) fn is_something(&self) -> bool {
        !self.side.is_empty() || !self.side.findings.is_empty() || !self.without.is_empty()
    }

    fn refuse_for_evenkeel(&self) -> anyhow::Result<()> {
        if self.side.is_empty() && self.side.findings.is_empty() {
            return Ok(());
        }
        Err(coded(
            Exit::Usage,
            "--facts, --capacity and --peak-rps are for the files of other balancers; an evenkeel.toml says these things itself (`capacity_rps`, `peak_rps`)",
        ))
    }

    /// What the forecast is told: who is down.
    pub(crate) fn facts(&self, setup: &Setup) -> anyhow::Result<Facts> {
        let mut facts = Facts::default();
        for (pool_name, backend) in &self.without {
            let pool = pool_name;
            let known = setup.pool(pool).and_then(|known| known.backend(backend));
            if known.is_none() {
                let names = setup.pools.iter().flat_map(|pool| {
                    pool.backends
                        .iter()
                        .map(move |backend| format!("{}/{}", pool.name, backend.name))
                });
                let some: Vec<String> = names.take(NAMES_SHOWN).collect();
                return Err(coded(
                    Exit::Usage,
                    format!(
                        "`--without {pool}/{backend}`: there is no such backend; there are {}",
                        some.join(", ")
                    ),
                ));
            }
            let pool = facts.pools.entry(pool.clone()).or_default();
            pool.standings.insert(backend.clone(), Standing::Down);
            for (follower, name) in followers(setup, pool_name, backend) {
                let pool = facts.pools.entry(follower).or_default();
                pool.standings.insert(name, Standing::Down);
            }
        }
        Ok(facts)
    }
}

/// The backends, with their pools, that are out whenever `backend` of `pool` is.
fn followers(setup: &Setup, pool: &str, backend: &str) -> Vec<(String, String)> {
    let all = setup.pools.iter();
    let all = all.flat_map(|pool| pool.backends.iter().map(move |b| (&pool.name, b)));
    let follows = |b: &evenkeel_model::setup::Backend| {
        let of = b.follows.as_ref();
        of.is_some_and(|(of, name)| of == pool && name == backend)
    };
    all.filter(|(_, b)| follows(b))
        .map(|(pool, b)| (pool.clone(), b.name.clone()))
        .collect()
}

/// Whose configuration it is: as it was said, else by name and text.
pub(crate) fn balancer_of(path: &Path, text: &str, reading: &Reading) -> anyhow::Result<Balancer> {
    match reading.format {
        Some(format) => Ok(balancer(format)),
        None => recognise(path, text),
    }
}

const fn balancer(format: Format) -> Balancer {
    match format {
        Format::Evenkeel => Balancer::Evenkeel,
        Format::Haproxy => Balancer::Haproxy,
        Format::Nginx => Balancer::Nginx,
        Format::Envoy => Balancer::Envoy,
    }
}

fn recognise(path: &Path, text: &str) -> anyhow::Result<Balancer> {
    let file = match path.to_str() {
        Some("-") | None => "",
        Some(name) => name,
    };
    let known = evenkeel_import::recognise(file, text);
    // TOML is what no other balancer writes.
    let own = || {
        text.parse::<toml::Table>()
            .is_ok()
            .then_some(Balancer::Evenkeel)
    };
    known.or_else(own).ok_or_else(|| {
        coded(
            Exit::Usage,
            format!(
                "no telling whose configuration `{}` is; say it with --format evenkeel, haproxy, nginx or envoy",
                name(path)
            ),
        )
    })
}
