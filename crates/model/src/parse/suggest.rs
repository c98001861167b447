//! "Did you mean": the known word that is nearest to what was written.
//!
//! Optimal string alignment, because most typos in a key are one letter missing, doubled or swapped.
//! A word is offered only when at most a third of it differs: a wild guess is worse than the list of keys.

/// Longest word that is compared; a longer one is no typo.
const LENGTH_MAX: usize = 64;

/// Most candidates that are looked at, so that a large file with many wrong references stays fast.
const CANDIDATES_MAX: usize = 1_000;

/// The nearest of `candidates` to `word`, the first of equals.
pub fn suggestion<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if word.len() > LENGTH_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .map(|candidate| {
            let target = candidate.to_ascii_lowercase().replace('-', "_");
            (strsim::osa_distance(&lower, &target), candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_finds_none() {
        let known = ["algorithm", "intent", "peak_rps", "headroom", "tolerance"];
        assert_eq!(suggestion("algoritm", known), Some("algorithm"));
        assert_eq!(suggestion("peak-rps", known), Some("peak_rps"));
        assert_eq!(suggestion("Intetn", known), Some("intent"));
        assert_eq!(suggestion("maxconn", known), None);
        assert_eq!(suggestion(&"x".repeat(10_000), known), None);
    }
}
