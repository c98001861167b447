//! Files on disk for the readers of room `import`: includes with globs, another root, and a bound on every read.
//!
//! A relative include is looked for beside the main file, as nginx does. An absolute one is taken as it stands, unless
//! `--root` says where that part of the file system lies: `--root DIR` for all of it, `--root /etc/nginx=DIR` for a
//! part, so that a checkout can be judged on a machine without the balancer.
//!
//! Limits: only regular files are included (a pipe could wait for ever); at most [`ENTRIES_MAX`] directory entries
//! are looked at for one pattern; hidden files match only a pattern that begins with a dot, as in a shell.

mod glob;

use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use evenkeel_import::{FILES_MAX, File, Files, TEXT_MAX};

use crate::exit::{Exit, coded};

/// Directory entries that one pattern may look at.
const ENTRIES_MAX: usize = 100_000;

/// Where a part of the file system lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    /// The part, as configurations name it.
    prefix: PathBuf,
    /// Where it is here.
    dir: PathBuf,
}

/// The files around one configuration.
#[derive(Debug)]
pub(crate) struct Disk {
    base: PathBuf,
    roots: Vec<Root>,
}

impl Disk {
    /// The files around `main`, with `--root` as it was given: `DIR` or `PREFIX=DIR`.
    pub(crate) fn around(main: &Path, roots: &[String]) -> anyhow::Result<Self> {
        let base = main.parent().map(Path::to_owned).unwrap_or_default();
        let mut roots = roots
            .iter()
            .map(|given| root(given))
            .collect::<anyhow::Result<Vec<_>>>()?;
        // The longest prefix decides.
        roots.sort_by_key(|root| std::cmp::Reverse(root.prefix.components().count()));
        Ok(Self { base, roots })
    }

    /// Where `pattern` is looked for.
    fn place(&self, pattern: &str) -> PathBuf {
        let asked = Path::new(pattern);
        if asked.is_relative() {
            return plain(&self.base.join(asked));
        }
        let asked = plain(asked);
        let mapped = self.roots.iter().find_map(|root| {
            let rest = asked.strip_prefix(&root.prefix).ok()?;
            Some(root.dir.join(rest))
        });
        mapped.unwrap_or(asked)
    }
}

fn root(given: &str) -> anyhow::Result<Root> {
    let (prefix, dir) = match given.split_once('=') {
        Some((prefix, dir)) => (prefix, dir),
        None => ("/", given),
    };
    let root = Root {
        prefix: plain(Path::new(prefix)),
        dir: PathBuf::from(dir),
    };
    if !root.prefix.is_absolute() {
        return Err(coded(
            Exit::Usage,
            format!("`--root {given}`: `{prefix}` must be absolute, as in --root /etc/nginx=conf"),
        ));
    }
    if !root.dir.is_dir() {
        return Err(coded(
            Exit::Usage,
            format!("`--root {given}`: `{dir}` is not a directory"),
        ));
    }
    Ok(root)
}

/// `path` without `.` and, where it is not the first thing, `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

impl Files for Disk {
    fn open(&self, _from: &str, pattern: &str) -> Result<Vec<File>, String> {
        let place = self.place(pattern);
        if !glob::is_pattern(pattern) {
            return Ok(vec![read(&place)?]);
        }
        let paths = glob::matching(&place, ENTRIES_MAX, FILES_MAX)?;
        paths.iter().map(|path| read(path)).collect()
    }

    fn is_outside(&self, name: &str) -> bool {
        let base = if self.base.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.base
        };
        let trees = self.roots.iter().map(|root| root.dir.as_path());
        let mut trees = trees
            .chain([base])
            .filter_map(|tree| fs::canonicalize(tree).ok());
        // What cannot be found again is nobody's to quote.
        fs::canonicalize(name).map_or(true, |real| !trees.any(|tree| real.starts_with(tree)))
    }
}

/// Folders in which no configuration lies.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// One regular file of bounded size.
fn read(path: &Path) -> Result<File, String> {
    let in_words = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{}`", path.display()),
        std::io::ErrorKind::PermissionDenied => format!("`{}` must not be read", path.display()),
        _ => format!("`{}`: {error}", path.display()),
    };
    // Asked before it is opened: opening a pipe that nobody writes to waits for ever.
    let meta = fs::metadata(path).map_err(in_words)?;
    // What the system shows of processes and devices is no configuration, and may hold secrets that a finding would quote.
    let real = fs::canonicalize(path).map_err(in_words)?;
    if SYSTEM.iter().any(|folder| real.starts_with(folder)) {
        return Err(format!(
            "`{}` lies in a folder of the system",
            path.display()
        ));
    }
    if meta.is_dir() {
        return Err(format!("`{}` is a directory", path.display()));
    }
    if !meta.is_file() {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    let most = u64::try_from(TEXT_MAX).unwrap_or(u64::MAX);
    if meta.len() > most {
        return Err(format!(
            "`{}` has {} bytes; at most {most} are read",
            path.display(),
            meta.len()
        ));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(in_words)?;
    // It may grow between the question and the read.
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(in_words)?;
    Ok(File {
        name: path.to_string_lossy().into_owned(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::Disk;
    use evenkeel_import::Files as _;
    use std::fs;
    use std::path::Path;

    fn names(disk: &Disk, pattern: &str) -> Result<Vec<String>, String> {
        let files = disk.open("main", pattern)?;
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(files.iter().map(|file| last(&file.name)).collect())
    }

    #[test]
    fn a_relative_include_lies_beside_the_main_file_and_a_glob_is_sorted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            fs::write(dir.path().join("conf.d").join(name), name).unwrap();
        }
        let disk = Disk::around(&dir.path().join("nginx.conf"), &[]).unwrap();
        assert_eq!(names(&disk, "conf.d/*.conf").unwrap(), ["a.conf", "b.conf"]);
        assert_eq!(
            names(&disk, "conf.d/?.[ct]*").unwrap(),
            ["a.conf", "b.conf", "c.txt"]
        );
        assert_eq!(names(&disk, "./conf.d/../conf.d/c.txt").unwrap(), ["c.txt"]);
        assert_eq!(names(&disk, "none/*.conf").unwrap(), [""; 0]);
        assert!(
            names(&disk, "none.conf")
                .unwrap_err()
                .contains("there is no file")
        );
        assert!(
            names(&disk, "conf.d")
                .unwrap_err()
                .contains("is a directory")
        );
    }

    #[test]
    fn an_absolute_include_is_found_under_the_longest_root_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["all/etc/nginx", "own"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        fs::write(dir.path().join("all/etc/other"), "").unwrap();
        fs::write(dir.path().join("own/up.conf"), "").unwrap();
        let all = dir.path().join("all").display().to_string();
        let own = format!("/etc/nginx={}", dir.path().join("own").display());
        let disk = Disk::around(Path::new("nginx.conf"), &[all, own]).unwrap();
        assert_eq!(names(&disk, "/etc/nginx/up.conf").unwrap(), ["up.conf"]);
        assert_eq!(names(&disk, "/etc/nginx/*.conf").unwrap(), ["up.conf"]);
        assert_eq!(names(&disk, "/etc/nginx/../other").unwrap(), ["other"]);
        assert!(Disk::around(Path::new("x"), &["/no/such/place".to_owned()]).is_err());
        assert!(Disk::around(Path::new("x"), &["etc=/".to_owned()]).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_file_is_outside_when_it_lies_in_none_of_the_trees_links_resolved() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["conf", "own", "else"] {
            fs::create_dir(dir.path().join(part)).unwrap();
            fs::write(dir.path().join(part).join("a"), "").unwrap();
        }
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::os::unix::fs::symlink(at("else/a"), at("conf/link")).unwrap();
        let own = format!("/etc/nginx={}", at("own"));
        let disk = Disk::around(&dir.path().join("conf/main"), &[own]).unwrap();
        for (name, is_outside) in [
            ("conf/a", false),
            ("own/a", false),
            ("else/a", true),
            ("conf/../else/a", true),
            ("conf/link", true),
            ("conf/none", true),
        ] {
            assert_eq!(disk.is_outside(&at(name)), is_outside, "{name}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("big")).unwrap();
        file.set_len(100 << 20).unwrap();
        let disk = Disk::around(&dir.path().join("main"), &[]).unwrap();
        let why = names(&disk, "big").unwrap_err();
        assert!(why.contains("104857600 bytes"), "{why}");
    }
}
