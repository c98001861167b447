//! What a request must be to take a route, besides its listener and its host.
//!
//! Values are compared as bytes, as they were sent: nothing is decoded. Patterns run in linear time whatever a client
//! sends (finite automata, no backtracking); their compiled size is bounded.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use crate::canonical::{path_segment, quote};

/// What a request must be; all of it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Matcher {
    /// Its path.
    pub path: PathMatch,
    /// One of these methods, in order; empty: any.
    pub methods: Vec<String>,
    /// Header fields, names in lower case, in their order.
    pub headers: Vec<Field>,
    /// Cookies, in the order of their names.
    pub cookies: Vec<Field>,
    /// Query parameters, in the order of their names.
    pub query: Vec<Field>,
}

/// Which paths.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum PathMatch {
    /// Whole segments from the start: `/cart` matches `/cart` and `/cart/x`, not `/cartoon`. Without its trailing
    /// slash; `/` is every path.
    Prefix(String),
    /// This one only.
    Exact(String),
    /// Those that the pattern matches as a whole.
    Regex(Pattern),
}

/// A header, cookie or parameter that a request must have, or must not have. One of several with the name is enough.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// Which values.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum ValueMatch {
    /// This one.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
    /// Those that the pattern matches as a whole.
    Regex(Pattern),
    /// Any; an empty one too.
    Present,
    /// None: the request has nothing of the name.
    Absent,
}

/// A regular expression that was found sound; it matches a text as a whole.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Pattern(String);

/// A [`Pattern`] that can be run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CompiledPattern(Regex);

/// Why a text is no [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a regular expression.
    #[error("{what}, at character {at}")]
    Syntax {
        /// What is wrong.
        what: String,
        /// Where, from 1.
        at: usize,
    },
    /// Its automaton would be larger than [`Pattern::SIZE_MAX`].
    #[error("it is too large when compiled")]
    Size,
}

impl Pattern {
    /// Longest text of a pattern, in bytes.
    pub const LENGTH_MAX: usize = 1_024;
    /// Largest automaton of one pattern, and largest cache of one that runs, in bytes.
    pub const SIZE_MAX: usize = 256 << 10;
    /// Deepest nesting.
    const NEST_MAX: u32 = 50;

    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not a regular expression, or one too large.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        use regex_syntax::Error;
        let mut parser = regex_syntax::ParserBuilder::new();
        parser.unicode(false).utf8(false).nest_limit(Self::NEST_MAX);
        // By itself first: what only fits together with the anchors around it is not anchored.
        parser.build().parse(text).map_err(|error| match error {
            Error::Parse(error) => PatternError::Syntax {
                what: error.kind().to_string(),
                at: error.span().start.column,
            },
            Error::Translate(error) => PatternError::Syntax {
                what: error.kind().to_string(),
                at: error.span().start.column,
            },
            other => PatternError::Syntax {
                what: other.to_string(),
                at: 1,
            },
        })?;
        let pattern = Self(text.to_owned());
        match pattern.build() {
            Ok(_sound) => Ok(pattern),
            Err(regex::Error::CompiledTooBig(_)) => Err(PatternError::Size),
            Err(_commented_out) => Err(PatternError::Syntax {
                what: "the pattern does not end where its text does".to_owned(),
                at: text.chars().count(),
            }),
        }
    }

    /// Makes it run. `None` only for a value that [`Pattern::new`] never saw.
    pub fn compile(&self) -> Option<CompiledPattern> {
        self.build().ok().map(CompiledPattern)
    }

    /// How many groups it has that take something.
    pub fn groups(&self) -> usize {
        self.build().map_or(0, |regex| regex.captures_len() - 1)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn build(&self) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&format!(r"\A(?:{})\z", self.0))
            .unicode(false)
            .size_limit(Self::SIZE_MAX)
            .dfa_size_limit(Self::SIZE_MAX)
            .nest_limit(Self::NEST_MAX + 2)
            .build()
    }
}

impl CompiledPattern {
    /// Whether all of `text` fits.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// `to`, with what the groups took of `text` for `$1` to `$9` and a dollar sign for `$$`. `None`: not all of `text`
    /// fits.
    pub fn replace(&self, text: &str, to: &str) -> Option<String> {
        let taken = self.0.captures(text.as_bytes())?;
        let group = |digit: char| {
            let found = taken.get(digit.to_digit(10)? as usize)?;
            text.get(found.range())
        };
        let mut out = String::with_capacity(text.len() + to.len());
        let mut rest = to;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let mut chars = after.chars();
            match chars.next() {
                Some('$') => out.push('$'),
                Some(digit) => out.push_str(group(digit).unwrap_or_default()),
                None => {}
            }
            rest = chars.as_str();
        }
        out.push_str(rest);
        Some(out)
    }
}

impl PathMatch {
    /// The longest prefix, by whole segments, of every path that it matches.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Prefix(path) | Self::Exact(path) => match path.trim_end_matches('/') {
                "" => "/",
                path => path,
            },
            Self::Regex(_) => "/",
        }
    }

    /// Whether it matches every path that `other` matches, as far as that shows without running patterns.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(prefix), _) if prefix == "/" => true,
            (Self::Prefix(wide), Self::Prefix(path) | Self::Exact(path)) => path
                .strip_prefix(wide.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            _ => self == other,
        }
    }
}

impl ValueMatch {
    /// Whether every value that `other` matches fits, as far as that shows without running patterns.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, other) => *other != Self::Absent,
            (Self::Prefix(wide), Self::Prefix(text) | Self::Exact(text)) => text.starts_with(wide),
            _ => self == other,
        }
    }
}

impl Matcher {
    /// Every path under `prefix`, nothing else asked for.
    pub fn prefix(prefix: &str) -> Self {
        Self::of(PathMatch::Prefix(prefix.to_owned()))
    }

    /// Every path that `path` matches, nothing else asked for.
    pub const fn of(path: PathMatch) -> Self {
        Self {
            path,
            methods: Vec::new(),
            headers: Vec::new(),
            cookies: Vec::new(),
            query: Vec::new(),
        }
    }

    /// Whether anything but the path is asked for.
    pub const fn is_path_only(&self) -> bool {
        self.methods.is_empty()
            && self.headers.is_empty()
            && self.cookies.is_empty()
            && self.query.is_empty()
    }

    /// Whether it matches every request that `other` matches. Patterns are compared as written, so `false` may only
    /// mean that it does not show.
    pub fn covers(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|m| self.methods.contains(m)));
        let fields = |mine: &[Field], theirs: &[Field]| {
            mine.iter().all(|field| {
                let same = |other: &&Field| other.name == field.name;
                let other = theirs.iter().find(same);
                other.is_some_and(|other| field.value.covers(&other.value))
            })
        };
        methods
            && self.path.covers(&other.path)
            && fields(&self.headers, &other.headers)
            && fields(&self.cookies, &other.cookies)
            && fields(&self.query, &other.query)
    }

    /// What it asks for beyond [`PathMatch::prefix`], in the words of the file; `None`: nothing. Two matchers with one
    /// prefix and one condition are equal.
    pub fn condition(&self) -> Option<String> {
        let entries = self.entries();
        let mut beyond = entries.iter().filter(|(key, _)| *key != "path_prefix");
        let first = beyond
            .next()
            .map(|(key, value)| format!("{key} = {value}"))?;
        Some(beyond.fold(first, |all, (key, value)| format!("{all}, {key} = {value}")))
    }

    /// Its keys with their values as TOML.
    pub(crate) fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = vec![match &self.path {
            PathMatch::Prefix(path) => ("path_prefix", quote(path)),
            PathMatch::Exact(path) => ("path", quote(path)),
            PathMatch::Regex(pattern) => ("path_regex", quote(pattern.as_str())),
        }];
        if !self.methods.is_empty() {
            let methods: Vec<String> = self.methods.iter().map(|m| quote(m)).collect();
            entries.push(("methods", format!("[{}]", methods.join(", "))));
        }
        let tables = [
            ("headers", &self.headers),
            ("cookies", &self.cookies),
            ("query", &self.query),
        ];
        for (key, fields) in tables.into_iter().filter(|(_, fields)| !fields.is_empty()) {
            let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
            entries.push((key, format!("{{ {} }}", fields.join(", "))));
        }
        entries
    }
}

/// As TOML.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = path_segment(&self.name);
        match &self.value {
            ValueMatch::Exact(text) => write!(f, "{name} = {}", quote(text)),
            ValueMatch::Prefix(text) => write!(f, "{name} = {{ prefix = {} }}", quote(text)),
            ValueMatch::Regex(pattern) => {
                write!(f, "{name} = {{ regex = {} }}", quote(pattern.as_str()))
            }
            ValueMatch::Present => write!(f, "{name} = {{ present = true }}"),
            ValueMatch::Absent => write!(f, "{name} = {{ present = false }}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Matcher, PathMatch, Pattern, PatternError, ValueMatch};

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn field(name: &str, value: ValueMatch) -> Field {
        let name = name.to_owned();
        Field { name, value }
    }

    #[test]
    fn a_pattern_matches_the_whole_text_and_nothing_less() {
        let is_match = |text: &str, sent: &str| {
            let compiled = pattern(text).compile().unwrap();
            compiled.is_match(sent.as_bytes())
        };
        assert!(is_match("/user/[0-9]+", "/user/12"));
        assert!(!is_match("/user/[0-9]+", "/user/12/x"));
        assert!(!is_match("/user/[0-9]+", "/a/user/12"));
        // An alternative does not escape the anchors.
        assert!(!is_match("/a|/b", "/bc"));
        assert!(!is_match("/a", "/a\n"));
        assert!(is_match("(?i)/ADMIN", "/admin"));
    }

    #[test]
    fn what_the_groups_took_stands_where_the_text_says() {
        let replaced = |text: &str, sent: &str, to: &str| {
            let compiled = pattern(text).compile().unwrap();
            compiled.replace(sent, to)
        };
        let sent = "/user/12/x";
        let to = |to| replaced("/user/([0-9]+)/(y)?(.*)", sent, to);
        assert_eq!(to("/u/$3/$1"), Some("/u/x/12".to_owned()));
        assert_eq!(to("/$$1$10$2"), Some("/$1120".to_owned()));
        assert_eq!(replaced("/user", sent, "/"), None);
        assert_eq!(pattern("(a)(?:b)(c)?").groups(), 2);
    }

    #[test]
    fn a_text_that_is_no_pattern_is_refused_with_its_place() {
        let error = |text: &str| Pattern::new(text).unwrap_err();
        assert_eq!(error("/a(b").to_string(), "unclosed group, at character 3");
        for text in ["a)|(?:b", "(?x) a # b", r"\p{Greek}", r"(a)\1", "(?=a)"] {
            let error = error(text);
            assert!(matches!(error, PatternError::Syntax { .. }), "{text}");
        }
        assert_eq!(error("(?:[a-z]{100}){1000}"), PatternError::Size);
        assert!(matches!(
            error(&"(".repeat(500)),
            PatternError::Syntax { .. }
        ));
    }

    #[test]
    fn the_wider_matcher_covers_the_narrower_one_and_not_the_other_way_round() {
        let plain = |path: &str| Matcher::prefix(path);
        let exact = |path: &str| Matcher::of(PathMatch::Exact(path.to_owned()));
        let regex = |text: &str| Matcher::of(PathMatch::Regex(pattern(text)));
        let get = Matcher {
            methods: vec!["GET".to_owned()],
            ..plain("/a")
        };
        let both = Matcher {
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            ..plain("/a")
        };
        let header = |value: ValueMatch| Matcher {
            headers: vec![field("x-a", value)],
            ..plain("/a")
        };
        let text = || "canary".to_owned();
        let pairs = [
            (plain("/"), regex("/x.*")),
            (plain("/a"), plain("/a/b")),
            (plain("/a"), exact("/a")),
            (plain("/a"), exact("/a/")),
            (plain("/a"), get.clone()),
            (both, get),
            (plain("/a"), header(ValueMatch::Absent)),
            (
                header(ValueMatch::Present),
                header(ValueMatch::Exact(text())),
            ),
            (
                header(ValueMatch::Prefix("can".to_owned())),
                header(ValueMatch::Exact(text())),
            ),
        ];
        for (wide, narrow) in &pairs {
            assert!(
                wide.covers(narrow) && !narrow.covers(wide),
                "{wide:?} {narrow:?}"
            );
        }
        let apart = [
            (plain("/a"), plain("/ab")),
            (exact("/a"), exact("/b")),
            (header(ValueMatch::Present), header(ValueMatch::Absent)),
        ];
        for (one, other) in &apart {
            assert!(
                !one.covers(other) && !other.covers(one),
                "{one:?} {other:?}"
            );
        }
        assert!(regex("/x").covers(&regex("/x")));
    }

    #[test]
    fn a_condition_says_what_is_asked_for_beyond_the_prefix() {
        assert_eq!(Matcher::prefix("/a").condition(), None);
        let mut matcher = Matcher::of(PathMatch::Exact("/a".to_owned()));
        matcher.headers = vec![field("x-a", ValueMatch::Exact("1".to_owned()))];
        matcher.query = vec![field("v.1", ValueMatch::Absent)];
        assert_eq!(
            matcher.condition().as_deref(),
            Some(
                "path = \"/a\", headers = { x-a = \"1\" }, query = { \"v.1\" = { present = false } }"
            )
        );
        assert_eq!(matcher.path.prefix(), "/a");
    }
}
