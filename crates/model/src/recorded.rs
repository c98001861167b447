//! How values that serde does not carry by itself stand in a recording of the control loop.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, Error as _};

/// Arrays of any length, as sequences.
pub mod array {
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Serialize, Serializer};

    /// Writes an array.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S, T, const N: usize>(array: &[T; N], to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Serialize,
    {
        array.as_slice().serialize(to)
    }

    /// Reads an array.
    ///
    /// # Errors
    /// When it is longer or shorter.
    pub fn deserialize<'de, D, T, const N: usize>(from: D) -> Result<[T; N], D::Error>
    where
        D: Deserializer<'de>,
        T: Deserialize<'de>,
    {
        let all = Vec::<T>::deserialize(from)?;
        let length = all.len();
        all.try_into()
            .map_err(|_all| D::Error::invalid_length(length, &"another length"))
    }
}

/// A word that the program knows as a constant. By this name serde does not take it for text that it may borrow.
pub type Word = &'static str;

/// Longest word that [`word`] takes.
const WORD_MAX: usize = 64;
/// Most different words.
const WORDS_MAX: usize = 1_024;

/// Reads a word that the program knows as a constant, such as the id of a rule. Each different one is kept for as long
/// as the process lives, so their number is bounded.
///
/// # Errors
/// When it is too long, or one too many.
pub fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
    static WORDS: Mutex<BTreeSet<Word>> = Mutex::new(BTreeSet::new());
    let text = String::deserialize(from)?;
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(text.as_str()) {
        return Ok(known);
    }
    if text.len() > WORD_MAX || words.len() >= WORDS_MAX {
        return Err(D::Error::custom("an unknown word"));
    }
    let kept: Word = text.leak();
    words.insert(kept);
    Ok(kept)
}

/// As [`word`], where there may be none.
///
/// # Errors
/// As [`word`].
pub fn word_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Word>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Known(#[serde(deserialize_with = "word")] Word);
    Ok(Option::<Known>::deserialize(from)?.map(|known| known.0))
}
