//! Files of TLS: from their names in a configuration to what was seen of them, and to the bytes that workers need.
//!
//! A text is sealed before it is judged: behind it come tables that say which bytes its files had ([`Disk::seal`]). So
//! a renewed certificate is another text, another hash and another revision, and goes the ordinary guarded way; the
//! rules judge what was seen without opening a file; and the journal has hashes, names and days, never a key. The
//! bytes are held in memory by hash, so that a revision can be gone back to whose certificate on disk is another by now.
//!
//! At the start the disk is all there is: where a file is another than the revision to boot saw, the one on disk is
//! used in its place, and the difference shows as drift. Serving comes before identity there.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use evenkeel_model::canonical::{certificate_tables, path_segment};
use evenkeel_model::config::{BackendTls, CertificateFiles, Config, Listener, Pool, SeenFile, Tls};
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::parse;
use evenkeel_proxy::tls::{FileError, KeyRing, Role, see};

/// Largest file of certificates that is read.
const SIZE_MAX: u64 = 1 << 20;

/// Where the files are that a configuration names, and what is held of them.
#[derive(Debug, Clone)]
pub struct Disk {
    base: PathBuf,
    ring: KeyRing,
    /// Files that are not here are not judged: another machine has them.
    is_elsewhere: bool,
}

/// A text with what was seen of its files.
#[derive(Debug)]
pub struct Sealed {
    /// The text, and the tables behind it.
    pub text: String,
    /// What was not judged.
    pub warnings: Vec<Finding>,
}

/// Why a text cannot be sealed: its files cannot be used.
#[derive(Debug)]
pub struct Unsealable {
    /// Where each value stands.
    pub origin: Origin,
    /// What is wrong, and what else the parser says.
    pub findings: Vec<Finding>,
}

/// That a file of the revision to boot cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the certificate file `{}` cannot be used: it {why}; the listener or pool that names it could not serve, so nothing was started; put the file back", path.display()
)]
pub struct Missing {
    /// The file.
    pub path: PathBuf,
    why: String,
}

/// Why a file has nothing to be seen.
enum Fault {
    Absent(String),
    File(FileError),
    Other(String),
}

impl Fault {
    fn words(&self) -> String {
        match self {
            Self::Absent(why) => format!("cannot be read: {why}"),
            Self::File(error) => error.to_string(),
            Self::Other(why) => why.clone(),
        }
    }
}

/// Who is spoken to with a file.
#[derive(Debug, Clone, Copy)]
enum Side {
    Clients,
    Backends,
}

impl Side {
    const fn effect(self) -> &'static str {
        match self {
            Self::Clients => {
                "the listener could not be served with it, so the file is not used; what runs goes on with the certificates that it has"
            }
            Self::Backends => {
                "no backend of the pool could be spoken to with it, so the file is not used; what runs goes on with the files that it has"
            }
        }
    }

    fn fix(at: &str) -> &'static str {
        if at.rsplit('.').next() == Some("ca") {
            "put a PEM file with the certificates of the authorities there"
        } else {
            "put a PEM file with the certificate, its chain and its key there"
        }
    }
}

/// What is gathered while a text is sealed.
struct Gathered<'a> {
    origin: &'a Origin,
    seen: BTreeMap<PathBuf, SeenFile>,
    faults: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Disk {
    /// The files beside the configuration at `config`, which this process will serve with.
    pub fn beside(config: &Path) -> Self {
        Self {
            base: config.parent().map(Path::to_owned).unwrap_or_default(),
            ring: KeyRing::default(),
            is_elsewhere: false,
        }
    }

    /// The same for whoever only looks at the configuration: the files may be on another machine.
    pub fn perhaps_beside(config: &Path) -> Self {
        Self {
            is_elsewhere: true,
            ..Self::beside(config)
        }
    }

    /// What is held of the files.
    pub(crate) fn ring(&self) -> KeyRing {
        self.ring.clone()
    }

    /// `text` with what is seen of the files that it names now. Without TLS it is the text itself.
    pub fn seal(&self, text: &str, file: Option<&str>) -> Result<Sealed, Unsealable> {
        let mut sealed = Sealed {
            text: text.to_owned(),
            warnings: Vec::new(),
        };
        let parsed = parse::parse(text, file);
        // What is no configuration is told by whoever judges it.
        let Some(config) = parsed
            .config
            .filter(|config| !config.tls_files().is_empty())
        else {
            return Ok(sealed);
        };
        let mut gathered = Gathered {
            origin: &parsed.origin,
            seen: BTreeMap::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        };
        for listener in &config.listeners {
            if let Some(tls) = &listener.tls {
                self.look(listener, tls, &mut gathered);
            }
        }
        for pool in &config.pools {
            if let Some(tls) = &pool.tls {
                self.look_at_pool(pool, tls, &mut gathered);
            }
        }
        gathered.compare(&config);
        let Gathered { seen, faults, .. } = gathered;
        if !faults.is_empty() {
            let findings = [parsed.findings, faults].concat();
            return Err(Unsealable {
                findings,
                origin: parsed.origin,
            });
        }
        sealed.warnings = gathered.warnings;
        let new = seen.values();
        let new = new.filter(|seen| config.seen_file(&seen.path).is_none());
        sealed.text.push_str(&certificate_tables(new));
        Ok(sealed)
    }

    fn look(&self, listener: &Listener, tls: &Tls, gathered: &mut Gathered<'_>) {
        let path = format!("listener.{}.tls", path_segment(listener.name.as_str()));
        for files in &tls.certificates {
            let at = format!("{path}.certificates");
            self.look_at_pair(files, (Side::Clients, &at, &at), gathered);
        }
        if let Some(client) = &tls.client {
            let at = format!("{path}.client.ca");
            self.look_at_authorities(&client.ca, (Side::Clients, &at), gathered);
        }
    }

    fn look_at_pool(&self, pool: &Pool, tls: &BackendTls, gathered: &mut Gathered<'_>) {
        let path = format!("pool.{}.tls", path_segment(pool.name.as_str()));
        if let Some(files) = &tls.certificate {
            let (chain, key) = (format!("{path}.certificate"), format!("{path}.key"));
            self.look_at_pair(files, (Side::Backends, &chain, &key), gathered);
        }
        if let Some(ca) = &tls.ca {
            let at = format!("{path}.ca");
            self.look_at_authorities(ca, (Side::Backends, &at), gathered);
        }
    }

    /// A certificate and its key, which stand in the configuration where the two texts say.
    fn look_at_pair(
        &self,
        CertificateFiles { chain, key }: &CertificateFiles,
        (side, at, key_at): (Side, &str, &str),
        gathered: &mut Gathered<'_>,
    ) {
        let key_bytes = match key {
            None => None,
            Some(key) => match self.read(key) {
                Ok(bytes) => {
                    gathered.take(self, key, &bytes, Role::Key, (side, key_at));
                    Some(bytes)
                }
                Err(fault) => {
                    gathered.fault(self, key, &fault, (side, key_at));
                    return;
                }
            },
        };
        match self.read(chain) {
            Ok(bytes) => {
                let role = Role::Certificate {
                    key: key_bytes.as_deref(),
                };
                gathered.take(self, chain, &bytes, role, (side, at));
            }
            Err(fault) => gathered.fault(self, chain, &fault, (side, at)),
        }
    }

    fn look_at_authorities(&self, ca: &Path, at: (Side, &str), gathered: &mut Gathered<'_>) {
        match self.read(ca) {
            Ok(bytes) => gathered.take(self, ca, &bytes, Role::Authorities, at),
            Err(fault) => gathered.fault(self, ca, &fault, at),
        }
    }

    /// The bytes of the file that a configuration calls `path`.
    fn read(&self, path: &Path) -> Result<Vec<u8>, Fault> {
        let absent = |error: std::io::Error| Fault::Absent(error.to_string());
        let place = self.base.join(path);
        let meta = std::fs::metadata(&place).map_err(absent)?;
        // Opening a pipe would wait for somebody who writes.
        if !meta.is_file() {
            return Err(Fault::Other("is no ordinary file".to_owned()));
        }
        let file = std::fs::File::open(&place).map_err(absent)?;
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(absent)?;
        if bytes.len() as u64 > SIZE_MAX {
            return Err(Fault::Other(format!("is larger than {SIZE_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// Holds what `config` needs and the disk still has. What is gone is told by whoever needs it.
    pub(crate) fn fetch(&self, config: &Config) {
        for path in config.tls_files() {
            let seen = config.seen_file(path).map(|seen| seen.sha256.as_str());
            if seen.is_none_or(|sha256| self.ring.holds(sha256)) {
                continue;
            }
            // Held by its own hash: another file than the one that was seen helps nobody.
            if let Ok(bytes) = self.read(path) {
                self.ring.hold(&bytes);
            }
        }
    }

    /// Holds what the revision to boot needs, in the place of what is gone too; a line for each such file.
    pub(crate) fn boot(&self, config: &Config) -> Result<Vec<String>, Missing> {
        let mut notes = Vec::new();
        for path in config.tls_files() {
            let Some(seen) = config.seen_file(path) else {
                continue;
            };
            let bytes = self.read(path).map_err(|fault| Missing {
                path: path.to_owned(),
                why: fault.words(),
            })?;
            self.ring.hold(&bytes);
            if !self.ring.holds(&seen.sha256) {
                self.ring.hold_as(seen.sha256.clone(), &bytes);
                notes.push(format!(
                    "`{}` is another file than the running revision saw; it is used in its place, `evenkeel apply` makes it a revision",
                    path.display()
                ));
            }
        }
        Ok(notes)
    }

    /// What tells one state of the files of `config` from another, without reading them.
    pub(crate) fn stamps(&self, files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(self.base.join(path)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        files.iter().map(stamp).collect()
    }
}

impl Gathered<'_> {
    fn take(&mut self, disk: &Disk, path: &Path, bytes: &[u8], role: Role<'_>, at: (Side, &str)) {
        match see(path, bytes, role) {
            Ok(seen) => {
                disk.ring.hold(bytes);
                // One file may serve as certificate and as authority; the certificate's names are told.
                let known = self
                    .seen
                    .entry(path.to_owned())
                    .or_insert_with(|| seen.clone());
                if known.names.is_empty() {
                    *known = seen;
                }
            }
            Err(error) => self.fault(disk, path, &Fault::File(error), at),
        }
    }

    fn fault(&mut self, disk: &Disk, path: &Path, fault: &Fault, (side, at): (Side, &str)) {
        let is_elsewhere = disk.is_elsewhere && matches!(fault, Fault::Absent(_));
        let words = fault.words();
        let (severity, effect, fix) = if is_elsewhere {
            (
                Severity::Warning,
                "what it is for and when it ends is not judged here",
                "check the configuration where its files are, or ask the running instance: `evenkeel plan`",
            )
        } else {
            (Severity::Error, side.effect(), Side::fix(at))
        };
        let finding = finding(
            self.origin,
            at,
            severity,
            (format!("`{}` {words}", path.display()), effect, fix),
        );
        if is_elsewhere {
            self.warnings.push(finding);
        } else {
            self.faults.push(finding);
        }
    }

    /// What the text itself says of a file must be what the file is.
    fn compare(&mut self, config: &Config) {
        for said in &config.certificates {
            let Some(seen) = self.seen.get(&said.path).filter(|seen| *seen != said) else {
                continue;
            };
            let path = said.path.display();
            let words = if said.sha256 == seen.sha256 {
                "says of the file what does not stand in it"
            } else {
                "is about another file than the one on disk"
            };
            let at = format!("certificate.{}", path_segment(&said.path.to_string_lossy()));
            self.faults.push(finding(
                self.origin,
                &at,
                Severity::Error,
                (
                    format!("`[{at}]` {words} `{path}`"),
                    "it would not be known which certificate is meant, so the file is not used",
                    "remove the table: evenkeel writes it anew",
                ),
            ));
        }
    }
}

fn finding(
    origin: &Origin,
    at: &str,
    severity: Severity,
    (message, effect, fix): (String, &str, &str),
) -> Finding {
    let (file, location) = origin.locate(at);
    Finding {
        id: "CFG-08",
        severity,
        message,
        effect: effect.to_owned(),
        fix: fix.to_owned(),
        path: at.to_owned(),
        magnitude_ppm: 0,
        file,
        location,
        waived: None,
        effect_of: None,
    }
}
