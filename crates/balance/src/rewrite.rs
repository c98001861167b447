//! The path that a backend sees where its route rewrites it.
//!
//! Parts of it come from the client, and a route was chosen by the path as it was before. So what comes out is judged
//! like a path of a configuration: were a server to read a segment of it as `..`, it would serve what the rewriting
//! was meant to keep requests away from (`/api/..;/admin` behind `strip_prefix = "/api"`). Such a request is refused;
//! one whose path stays as it is goes on as sent.

use evenkeel_model::config::{BadPath, CompiledPattern, PathEdit, PathMatch, check_path};

/// A [`PathEdit`] of a route that can be run.
#[derive(Debug, Clone)]
pub struct Rewriter(Way);

#[derive(Debug, Clone)]
enum Way {
    Whole(String),
    /// Whole segments at the start, without trailing slash, and what stands for them.
    Start {
        old: String,
        new: String,
    },
    Regex {
        pattern: CompiledPattern,
        to: String,
    },
    /// What the parser refuses.
    Never,
}

impl Rewriter {
    /// What `edit` does on a route that takes such paths.
    pub fn new(edit: &PathEdit, taken: &PathMatch) -> Self {
        let start = |old: &str, new: &str| {
            let [old, new] = [old, new].map(|path| path.trim_end_matches('/').to_owned());
            Way::Start { old, new }
        };
        Self(match (edit, taken) {
            (PathEdit::Whole(path), _) => Way::Whole(path.clone()),
            (PathEdit::Strip(prefix), _) => start(prefix, ""),
            (PathEdit::Replace(new), PathMatch::Prefix(old)) => start(old, new),
            (PathEdit::Replace(_), _) => Way::Never,
            (PathEdit::Regex { pattern, to }, _) => match pattern.compile() {
                Some(pattern) => {
                    let to = to.clone();
                    Way::Regex { pattern, to }
                }
                None => Way::Never,
            },
        })
    }

    /// The path in place of `asked`, a path without its query. `None`: it stays.
    ///
    /// # Errors
    /// When what comes out is nothing to send.
    pub fn path(&self, asked: &str) -> Result<Option<String>, BadPath> {
        let mut path = match &self.0 {
            // Sound since it was read.
            Way::Whole(path) => return Ok(Some(path.clone())),
            Way::Start { old, new } => {
                let rest = asked.strip_prefix(old.as_str());
                let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'))
                else {
                    return Ok(None);
                };
                format!("{new}{rest}")
            }
            Way::Regex { pattern, to } => match pattern.replace(asked, to) {
                Some(path) => path,
                None => return Ok(None),
            },
            Way::Never => return Ok(None),
        };
        if path.is_empty() {
            path.push('/');
        }
        // Two slashes at the start would be a host to some servers.
        let slashes = path.bytes().take_while(|byte| *byte == b'/').count();
        if slashes > 1 {
            path.drain(1..slashes);
        }
        check_path(&path).map(|()| Some(path))
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::config::{BadPath, PathEdit, PathMatch, Pattern, check_path};
    use proptest::prelude::*;

    use super::Rewriter;

    fn under(prefix: &str) -> PathMatch {
        PathMatch::Prefix(prefix.to_owned())
    }

    fn regex(text: &str, to: &str) -> PathEdit {
        PathEdit::Regex {
            pattern: Pattern::new(text).unwrap(),
            to: to.to_owned(),
        }
    }

    fn sent(edit: &PathEdit, taken: &str, asked: &str) -> Result<Option<String>, BadPath> {
        Rewriter::new(edit, &under(taken)).path(asked)
    }

    #[test]
    fn a_path_is_rewritten_by_whole_segments() {
        let strip = PathEdit::Strip("/api".to_owned());
        let replace = PathEdit::Replace("/v2".to_owned());
        let nothing = PathEdit::Replace("/".to_owned());
        let whole = PathEdit::Whole("/fixed".to_owned());
        for (edit, taken, asked, expected) in [
            (&strip, "/api/v1", "/api/v1/x", Some("/v1/x")),
            (&strip, "/", "/api", Some("/")),
            (&strip, "/", "/api/", Some("/")),
            (&strip, "/", "/apis", None),
            (&strip, "/", "/other", None),
            (&replace, "/v1", "/v1/a%2Fb", Some("/v2/a%2Fb")),
            (&replace, "/v1", "/v1", Some("/v2")),
            (&replace, "/", "/a", Some("/v2/a")),
            (&nothing, "/v1", "/v1", Some("/")),
            (&whole, "/", "/a/../b", Some("/fixed")),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(sent(edit, taken, asked), Ok(expected), "{edit:?} {asked}");
        }
    }

    #[test]
    fn a_pattern_that_does_not_fit_leaves_the_path() {
        let edit = regex("/user/([0-9]+)(/.*)?", "/people/$1$2");
        let sent = |asked| sent(&edit, "/", asked).unwrap();
        assert_eq!(sent("/user/7/x").as_deref(), Some("/people/7/x"));
        assert_eq!(sent("/user/7").as_deref(), Some("/people/7"));
        assert_eq!(sent("/user/x"), None);
        // What is not rewritten goes on as it came.
        assert_eq!(sent("/a/../b"), None);
    }

    #[test]
    fn what_a_client_sends_makes_no_other_path_of_it() {
        let strip = PathEdit::Strip("/api".to_owned());
        for asked in [
            "/api/../x",
            "/api/..;/x",
            "/api/%2e%2E/x",
            "/api/a/./b",
            "/api/..%2fx",
            "/api/..%5cx",
        ] {
            assert_eq!(sent(&strip, "/", asked), Err(BadPath::Dots), "{asked}");
        }
        let slashes = sent(&strip, "/", "/api//evil.test/x").unwrap();
        assert_eq!(slashes.as_deref(), Some("/evil.test/x"));
        // Two halves that are harmless by themselves.
        let joined = regex("/(.*)-(.*)", "/$1$2");
        assert_eq!(sent(&joined, "/", "/a/.-./b"), Err(BadPath::Dots));
        assert_eq!(sent(&joined, "/", "/%-41"), Ok(Some("/%41".to_owned())));
        assert_eq!(sent(&joined, "/", "/%4-"), Err(BadPath::Syntax));
    }

    proptest! {
        #[test]
        fn whatever_comes_out_can_be_sent(
            rest in "[/a.;%25e\\\\f-]{0,12}",
            (old, new) in ("/a", "(/[a-z]{1,3}){0,2}/?"),
            n in 0..3usize,
        ) {
            let new = if new.is_empty() { "/" } else { &new };
            let edit = [
                PathEdit::Strip(old.clone()),
                PathEdit::Replace(new.to_owned()),
                regex("/a(.*)/(.*)", "/$2$1"),
            ];
            if let Ok(Some(path)) = sent(&edit[n], &old, &format!("/a/{rest}")) {
                prop_assert_eq!(check_path(&path), Ok(()));
                prop_assert!(!path.starts_with("//"), "{}", path);
            }
        }
    }
}
