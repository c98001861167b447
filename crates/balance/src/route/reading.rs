//! How other servers may read a path.
//!
//! A rule is compared with the path as it was sent. A backend may decode it, resolve its dot segments, merge slashes
//! or drop `;` parameters first, each in its own order (Orange Tsai, "Breaking Parser Logic", Black Hat 2018; RFC 3986
//! section 6.2.2), and so serve what the rule was meant to keep apart. [`READINGS`] are the combinations that are
//! seen. Not among them: decoding twice, and case, which differ from server to server and would be a guess.
//!
//! Decoding is that of visible ASCII; other escapes are kept, in capitals, and raw bytes beyond ASCII become escapes,
//! so that two spellings of one character are one reading.

/// One order of steps, each taken or not.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// `;` and what follows it in a segment is dropped, before anything is decoded.
    drops_first: bool,
    decodes: bool,
    /// The same, after decoding.
    drops: bool,
    /// `\` is `/`.
    backslash: bool,
    merges: bool,
    resolves: bool,
}

const AS_SENT: Reading = Reading {
    drops_first: false,
    decodes: false,
    drops: false,
    backslash: false,
    merges: false,
    resolves: false,
};
const DECODED: Reading = Reading {
    decodes: true,
    ..AS_SENT
};
const TIDY: Reading = Reading {
    merges: true,
    resolves: true,
    ..AS_SENT
};

const READINGS: [Reading; COUNT] = [
    DECODED,
    Reading {
        merges: true,
        ..AS_SENT
    },
    Reading {
        resolves: true,
        ..AS_SENT
    },
    TIDY,
    Reading {
        drops: true,
        ..TIDY
    },
    Reading {
        merges: true,
        ..DECODED
    },
    Reading {
        resolves: true,
        ..DECODED
    },
    Reading {
        decodes: true,
        ..TIDY
    },
    Reading {
        drops_first: true,
        decodes: true,
        ..TIDY
    },
    Reading {
        decodes: true,
        drops: true,
        ..TIDY
    },
    Reading {
        decodes: true,
        backslash: true,
        ..TIDY
    },
];

/// How many readings there are besides the path as it was sent.
pub(super) const COUNT: usize = 11;

/// Whether every reading of `path` is `path` itself, so that nobody needs to look further.
pub(super) fn is_plain(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        let is_plain = match byte {
            b'%' => !escape(after).is_some_and(|byte| byte.is_ascii_graphic()) && is_capital(after),
            b'/' => !matches!(
                after,
                [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
            ),
            b';' | b'\\' => false,
            byte => byte.is_ascii(),
        };
        if !is_plain {
            return false;
        }
        rest = after;
    }
    true
}

/// The readings of `path`, in a fixed order.
pub(super) fn all(path: &str) -> impl Iterator<Item = String> {
    READINGS.iter().map(move |reading| reading.of(path))
}

impl Reading {
    fn of(self, path: &str) -> String {
        let mut text = path.to_owned();
        if self.drops_first {
            text = without_parameters(&text);
        }
        if self.decodes {
            text = decoded(&text);
        }
        if self.drops {
            text = without_parameters(&text);
        }
        if self.backslash {
            text = text.replace('\\', "/");
        }
        if self.merges {
            text = merged(&text);
        }
        if self.resolves {
            text = resolved(&text);
        }
        text
    }
}

/// The byte that two hexadecimal digits at the start of `after` stand for.
fn escape(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Whether the two digits of an escape are in capitals.
fn is_capital(after: &[u8]) -> bool {
    !after.iter().take(2).any(u8::is_ascii_lowercase)
}

fn decoded(path: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(path.len());
    let escaped = |text: &mut String, byte: u8| {
        text.push('%');
        for digit in [byte >> 4, byte & 0xf] {
            let digit = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
            text.push(char::from(digit));
        }
    };
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let found = if *byte == b'%' { escape(after) } else { None };
        match found {
            Some(byte) => {
                rest = after.get(2..).unwrap_or_default();
                if byte.is_ascii_graphic() {
                    text.push(char::from(byte));
                } else {
                    escaped(&mut text, byte);
                }
            }
            None if byte.is_ascii() => text.push(char::from(*byte)),
            None => escaped(&mut text, *byte),
        }
    }
    text
}

/// Without `;` and what follows it, in each segment.
fn without_parameters(path: &str) -> String {
    let bare = |segment: &str| segment.split(';').next().unwrap_or("").to_owned();
    let segments: Vec<String> = path.split('/').map(bare).collect();
    segments.join("/")
}

fn merged(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !text.ends_with('/') {
            text.push(c);
        }
    }
    text
}

/// RFC 3986 section 5.2.4.
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // A dot segment at the end leaves the slash in front of it.
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{COUNT, all, decoded, is_plain, merged, resolved, without_parameters};
    use proptest::prelude::*;

    #[test]
    fn each_step_does_what_servers_do() {
        assert_eq!(decoded("/%61%2Fb%20c%e4é"), "/a/b%20c%E4%C3%A9");
        assert_eq!(decoded("/%252e%2"), "/%2e%2");
        assert_eq!(without_parameters("/a;x=1/b;/..;"), "/a/b/..");
        assert_eq!(merged("//a///b/"), "/a/b/");
        for (path, resolved_path) in [
            ("/a/b/../c", "/a/c"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/..", "/"),
            ("/a//../b", "/a/b"),
            ("/...", "/..."),
        ] {
            assert_eq!(resolved(path), resolved_path, "{path}");
        }
    }

    #[test]
    fn ordinary_paths_are_plain_and_those_that_are_read_in_several_ways_are_not() {
        for path in [
            "/",
            "/a.b/c",
            "/.well-known/x",
            "/..a",
            "/a%20b%C3%A9",
            "*",
            "/a.",
            "/a/b/",
        ] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "//", "/a//b", "/.", "/./", "/a/..", "/a/../b", "/a;b", "/%61", "/%2F", "/%2e",
            "/a%c3%a9", "/é", "/a\\b",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_path_has_one_reading(path in "/[a-c/.;%25eE\\\\é]{0,9}") {
            let mut readings = all(&path);
            if is_plain(&path) {
                prop_assert!(readings.all(|reading| reading == path));
            } else {
                prop_assert_eq!(readings.count(), COUNT);
            }
        }
    }
}
