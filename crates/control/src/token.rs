//! Admin tokens: one that the first start writes, and further ones from files that the configuration names.
//!
//! A token is 32 random bytes in hexadecimal. It is compared in constant time and never shown, logged or journalled;
//! its name is the author in the journal.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use evenkeel_model::config::{Admin, Role};
use evenkeel_proxy::StickyKey;

/// File of the first token inside the data directory.
pub(crate) const FILE: &str = "admin.token";
/// Shortest token accepted from a file.
const LENGTH_MIN: usize = 16;

/// Why tokens cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A token file cannot be read or written.
    #[error("cannot use the token file `{}`: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A token is too short to be a secret.
    #[error("the token in `{}` has {got} characters; at least {LENGTH_MIN} are needed", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// Its length.
        got: usize,
    },
}

/// Whose token it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The author in the journal.
    pub name: String,
    /// What the token allows.
    pub role: Role,
}

/// The tokens of an instance.
#[derive(Clone)]
pub struct Tokens {
    known: Vec<(Who, String)>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .known
            .iter()
            .map(|(who, _)| who.name.as_str())
            .collect();
        f.debug_struct("Tokens")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads or makes DIR/admin.token and reads the further ones.
    pub fn load(dir: &Path, admin: &Admin) -> Result<Self, TokenError> {
        let first = dir.join(FILE);
        if !first.exists() {
            create(&first)?;
        }
        let operator = Who {
            name: "admin".to_owned(),
            role: Role::Operate,
        };
        let mut known = vec![(operator, read(&first)?)];
        for token in &admin.tokens {
            let who = Who {
                name: token.name.to_string(),
                role: token.role,
            };
            known.push((who, read(&token.file)?));
        }
        Ok(Self { known })
    }

    /// Every token with its owner; compare in constant time.
    pub fn known(&self) -> impl Iterator<Item = (&Who, &str)> {
        self.known.iter().map(|(who, token)| (who, token.as_str()))
    }
}

/// File of the key of sticky cookies inside the data directory.
const STICKY_FILE: &str = "sticky.key";

/// Reads or makes DIR/sticky.key. Instances that share a copy of it know each other's cookies.
pub(crate) fn sticky_key(dir: &Path) -> Result<StickyKey, TokenError> {
    let path = dir.join(STICKY_FILE);
    if !path.exists() {
        create(&path)?;
    }
    read(&path).map(|text| StickyKey::of(&text))
}

fn create(path: &Path) -> Result<(), TokenError> {
    let fail = |why: String| TokenError::File {
        path: path.to_owned(),
        why,
    };
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| fail(error.to_string()))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fail(error.to_string()))?;
    writeln!(file, "{text}").map_err(|error| fail(error.to_string()))
}

fn read(path: &Path) -> Result<String, TokenError> {
    let text = fs::read_to_string(path).map_err(|error| TokenError::File {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    let token = text.trim().to_owned();
    if token.len() < LENGTH_MIN {
        return Err(TokenError::Short {
            path: path.to_owned(),
            got: token.len(),
        });
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::{FILE, STICKY_FILE, TokenError, Tokens, sticky_key};
    use evenkeel_model::config::{Admin, AdminToken, Role};
    use evenkeel_model::ids::Name;
    use std::os::unix::fs::PermissionsExt as _;

    fn admin(tokens: Vec<AdminToken>) -> Admin {
        Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            tokens,
        }
    }

    #[test]
    fn the_first_start_writes_a_token_that_only_the_owner_reads_and_later_starts_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Tokens::load(dir.path(), &admin(vec![])).unwrap();
        let file = dir.path().join(FILE);
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = Tokens::load(dir.path(), &admin(vec![])).unwrap();
        assert_eq!(first.known().next(), again.known().next());
        assert!(!format!("{first:?}").contains(first.known().next().unwrap().1));
    }

    #[test]
    fn a_short_or_missing_further_token_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ci.token");
        let token = AdminToken {
            name: Name::new("ci").unwrap(),
            file: file.clone(),
            role: Role::Read,
        };
        let missing = Tokens::load(dir.path(), &admin(vec![token.clone()])).unwrap_err();
        assert!(matches!(missing, TokenError::File { .. }));
        std::fs::write(&file, "short\n").unwrap();
        let short = Tokens::load(dir.path(), &admin(vec![token])).unwrap_err();
        assert!(matches!(short, TokenError::Short { got: 5, .. }));
    }

    #[test]
    fn the_key_of_sticky_cookies_outlives_a_restart_and_is_of_this_directory() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = sticky_key(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join(STICKY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(sticky_key(dir.path()).unwrap(), key);
        assert_ne!(sticky_key(other.path()).unwrap(), key);
        // A copy of the file makes two instances one.
        std::fs::copy(dir.path().join(STICKY_FILE), other.path().join(STICKY_FILE)).unwrap();
        assert_eq!(sticky_key(other.path()).unwrap(), key);
    }
}
