//! Places of names in lists that nearly always have the same order: a hint first, a sorted list only when it misses.
//!
//! A diagnosis runs every second over up to a thousand backends; looking each name up in turn would be a million
//! comparisons a candidate.

use std::cell::OnceCell;

use evenkeel_model::ids::Name;

/// Places of names.
pub(crate) struct Index<'a> {
    names: Vec<&'a str>,
    sorted: OnceCell<Vec<usize>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(names: impl Iterator<Item = &'a Name>) -> Self {
        Self {
            names: names.map(Name::as_str).collect(),
            sorted: OnceCell::new(),
        }
    }

    /// The place of `name`, looked for at `hint` first.
    pub(crate) fn place(&self, name: &Name, hint: usize) -> Option<usize> {
        let name = name.as_str();
        let at = |place: usize| self.names.get(place).copied().unwrap_or_default();
        if at(hint) == name {
            return Some(hint);
        }
        let sorted = self.sorted.get_or_init(|| {
            let mut places: Vec<usize> = (0..self.names.len()).collect();
            places.sort_by_key(|place| at(*place));
            places
        });
        let found = sorted.binary_search_by(|place| at(*place).cmp(name)).ok()?;
        sorted.get(found).copied()
    }

    pub(crate) fn has(&self, name: &Name, hint: usize) -> bool {
        self.place(name, hint).is_some()
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::ids::Name;

    use super::Index;

    #[test]
    fn every_name_is_found_with_a_right_a_wrong_and_an_impossible_hint() {
        let names: Vec<Name> = (0..50)
            .map(|n| Name::new(&format!("web-{}", n * 7 % 50)).unwrap())
            .collect();
        let index = Index::new(names.iter());
        for (place, name) in names.iter().enumerate() {
            for hint in [place, 0, 49, 1_000] {
                assert_eq!(index.place(name, hint), Some(place));
            }
        }
        assert!(!index.has(&Name::new("other").unwrap(), 3));
        assert!(!Index::new([].iter()).has(&names[0], 0));
    }
}
