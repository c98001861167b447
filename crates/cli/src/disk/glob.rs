//! Shell patterns in paths: `*`, `?`, `[a-z]`, `[!a]`, `\` before a character taken as it is.
//!
//! Our own because it needs bounds: a pattern over a huge tree ends with an error instead of a long wait. A `*` does
//! not cross a `/` and does not match a leading dot, as glob(3), which nginx calls.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Whether `text` holds a character that makes it a pattern.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The existing paths that `pattern` matches, sorted; none is not an error. At most `entries_max` directory entries are
/// looked at and `found_max` paths found.
pub(super) fn matching(
    pattern: &Path,
    entries_max: usize,
    found_max: usize,
) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    let mut seen = 0;
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        let wild = matches!(part, Component::Normal(_)) && is_pattern(&text);
        let mut next = Vec::new();
        for place in found {
            if !wild {
                next.push(place.join(part));
                continue;
            }
            let here = if place.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &place
            };
            // What cannot be listed matches nothing, as for a shell.
            for entry in fs::read_dir(here).into_iter().flatten().flatten() {
                seen += 1;
                if seen > entries_max {
                    return Err(format!("it matches against more than {entries_max} files"));
                }
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let hidden = name.starts_with('.') && !text.starts_with('.');
                if !hidden && matches(&text, &name) {
                    next.push(place.join(entry.file_name()));
                }
            }
        }
        if next.len() > found_max {
            return Err(format!("it names more than {found_max} files"));
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

/// Whether `pattern` matches the whole of `name`. Two positions suffice: a later `*` never needs an earlier one again.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let one = name.get(n).and_then(|c| single(pattern.get(p..)?, *c));
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if let Some(length) = one {
            p += length;
            n += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            p = after;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

/// How many characters of the pattern match `c`; `None`: they do not.
fn single(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', rest @ ..] => match set(rest, c) {
            Some((true, length)) => Some(length + 1),
            Some((false, _)) => None,
            // A bracket that is never closed stands for itself.
            None => (c == '[').then_some(1),
        },
        ['\\', next, ..] => (*next == c).then_some(2),
        [first, ..] => (*first == c && *first != '*').then_some(1),
        [] => None,
    }
}

/// Whether `c` is in the set that `rest` begins with (after its `[`), and the length up to and with its `]`.
fn set(rest: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // A `]` that comes first is a member.
    let end = start + 1 + rest.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = rest.get(start..end)?;
    let mut inside = false;
    let mut at = 0;
    while let Some(low) = members.get(at) {
        let range = members.get(at + 1) == Some(&'-');
        if let Some(high) = members.get(at + 2).filter(|_| range) {
            inside |= (*low..=*high).contains(&c);
            at += 3;
        } else {
            inside |= *low == c;
            at += 1;
        }
    }
    Some((inside != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, wanted) in [
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("?.cfg", "ä.cfg", true),
            ("?.cfg", "ab.cfg", false),
            ("[a-c]1", "b1", true),
            ("[!a-c]1", "b1", false),
            ("[]x]1", "]1", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("**", "abc", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_does_not_take_long() {
        let (pattern, name) = ("*a".repeat(100), "a".repeat(10_000) + "b");
        assert!(!matches(&pattern, &name));
    }
}
