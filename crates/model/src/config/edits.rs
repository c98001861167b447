//! What a route changes in the heads that pass: the target and the host of requests, and fields both ways.

use std::borrow::Cow;
use std::fmt;

use super::matching::Pattern;

/// What a route changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Edits {
    /// The path that the backend sees. `None`: that of the client.
    pub path: Option<PathEdit>,
    /// The host that the backend sees, with its port if it has one. `None`: that of the client.
    pub host: Option<String>,
    /// Fields of the request to the backend.
    pub request: FieldEdits,
    /// Fields of the response to the client.
    pub response: FieldEdits,
}

/// Another path for the backend.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PathEdit {
    /// This one, whatever was asked for.
    Whole(String),
    /// The one asked for without these whole segments at its start; where it does not begin so, it stays.
    Strip(String),
    /// The one asked for, with this in the place of the route's prefix. Without its trailing slash; `/`: nothing.
    Replace(String),
    /// Where the pattern fits the whole path, this text; elsewhere it stays.
    Regex {
        /// What the path must be.
        pattern: Pattern,
        /// The path then: `$1` to `$9` are what the groups took, `$$` is a dollar sign.
        to: String,
    },
}

/// Changes to fields. No name stands twice, and none that frames a message or that the balancer writes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FieldEdits {
    /// Fields with the one value that they have then; names in lower case, in their order.
    pub set: Vec<(String, Template)>,
    /// Further fields behind those that are there.
    pub add: Vec<(String, Template)>,
    /// Fields that are not passed on.
    pub remove: Vec<String>,
}

/// A value, parts of which come from the request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// What of a request stands in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Variable {
    /// The client's address; empty on a Unix socket.
    ClientIp,
    /// The host that the client named, without its port.
    Host,
    /// The method.
    Method,
    /// The path as the client sent it, without its query.
    Path,
    /// What `X-Request-Id` says.
    RequestId,
    /// `http` or `https`, as the client came to the listener.
    Scheme,
}

/// Why a text is no [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing is called so.
    #[error("there is no `{{{0}}}`")]
    Unknown(String),
    /// A brace without its other one.
    #[error("a brace stands alone")]
    Brace,
}

/// Why a path cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It has a byte or an escape that no request may have.
    #[error("it has a character or an escape that no path may have")]
    Syntax,
    /// A server may read a segment of it as `.` or `..`, and so serve another path.
    #[error("a server may read one of its segments as `.` or `..`")]
    Dots,
}

impl Edits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FieldEdits {
    /// Names of fields whose values are not passed on as they came.
    pub fn dropped(&self) -> impl Iterator<Item = &str> {
        let set = self.set.iter().map(|(name, _)| name);
        self.remove.iter().chain(set).map(String::as_str)
    }

    /// Fields that are written, with their values.
    pub fn written(&self) -> impl Iterator<Item = &(String, Template)> {
        self.set.iter().chain(&self.add)
    }
}

impl Variable {
    /// All, by name.
    pub const ALL: [Self; 6] = [
        Self::ClientIp,
        Self::Host,
        Self::Method,
        Self::Path,
        Self::RequestId,
        Self::Scheme,
    ];

    /// As it stands between braces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::Host => "host",
            Self::Method => "method",
            Self::Path => "path",
            Self::RequestId => "request_id",
            Self::Scheme => "scheme",
        }
    }
}

impl Template {
    /// Reads `text`: `{name}` is a [`Variable`], `{{` and `}}` are braces.
    ///
    /// # Errors
    /// When a brace stands alone or a variable is not known.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, braced) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = braced.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = braced.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inner = braced.strip_prefix('{').ok_or(TemplateError::Brace)?;
                let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
                let known = Variable::ALL.into_iter().find(|v| v.as_str() == name);
                let variable = known.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Variable(variable));
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The value, with what `of` says of the request.
    pub fn fill<'t>(&'t self, of: impl Fn(Variable) -> &'t str) -> Cow<'t, str> {
        match self.0.as_slice() {
            [] => Cow::Borrowed(""),
            [Piece::Text(text)] => Cow::Borrowed(text),
            [Piece::Variable(variable)] => Cow::Borrowed(of(*variable)),
            pieces => {
                let each = pieces.iter().map(|piece| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Variable(variable) => of(*variable),
                });
                Cow::Owned(each.collect())
            }
        }
    }
}

/// As it is written in a file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Piece::Variable(variable) => write!(f, "{{{}}}", variable.as_str())?,
            }
        }
        Ok(())
    }
}

/// Whether `path` may stand in a request line and every server reads the same segments in it.
///
/// # Errors
/// What is wrong with it.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath::Syntax);
    }
    let mut read = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if !byte.is_ascii_graphic() || b"?#<>`\\".contains(byte) {
            return Err(BadPath::Syntax);
        }
        if *byte != b'%' {
            read.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = after else {
            return Err(BadPath::Syntax);
        };
        match (hex(*high), hex(*low)) {
            (Some(0), Some(0)) | (None, _) | (_, None) => return Err(BadPath::Syntax),
            (Some(high), Some(low)) => read.push(high << 4 | low),
        }
        rest = after;
    }
    // Escapes may be decoded before or after `;` and what follows it is dropped.
    let is_dots = |segment: &[u8]| {
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    };
    if read.split(|b| matches!(b, b'/' | b'\\')).any(is_dots) {
        return Err(BadPath::Dots);
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::{BadPath, Template, TemplateError, Variable, check_path};

    #[test]
    fn a_template_says_what_the_request_says() {
        let filled = |text: &str| {
            let template = Template::new(text).unwrap();
            assert_eq!(Template::new(&template.to_string()).unwrap(), template);
            let value = template.fill(|variable| match variable {
                Variable::ClientIp => "192.0.2.1",
                Variable::Host => "a.test",
                _ => "",
            });
            value.into_owned()
        };
        assert_eq!(filled("plain"), "plain");
        assert_eq!(filled("{host}"), "a.test");
        assert_eq!(filled("for={client_ip};x"), "for=192.0.2.1;x");
        assert_eq!(filled("{{host}} {{}}{path}"), "{host} {}");
        let error = |text: &str| Template::new(text).unwrap_err();
        assert_eq!(
            error("{nobody}"),
            TemplateError::Unknown("nobody".to_owned())
        );
        for alone in ["{", "a}", "{host", "}{"] {
            assert_eq!(error(alone), TemplateError::Brace, "{alone}");
        }
    }

    #[test]
    fn a_path_that_servers_read_in_several_ways_is_none_to_send() {
        for good in ["/", "/a/b.c/..d/%41%c3", "/a;v=1/...", "//a", "/{x}|^\""] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for syntax in [
            "", "a", "/a b", "/a?b", "/a#", "/\\", "/%", "/%4", "/%zz", "/%00", "/\u{e9}",
        ] {
            assert_eq!(check_path(syntax), Err(BadPath::Syntax), "{syntax}");
        }
        for dots in [
            "/.",
            "/a/../b",
            "/a/%2e./b",
            "/%2E%2e",
            "/a/..;x/b",
            "/a%2f..",
            "/a%5c..%5cb",
            "/..%3bx",
        ] {
            assert_eq!(check_path(dots), Err(BadPath::Dots), "{dots}");
        }
    }
}
