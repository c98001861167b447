//! Why a backend has its share: the pieces of text that status and page show.

use evenkeel_model::config::{Affinity, Algorithm};

use crate::member::{FailOpen, Member, Standing};

/// What the members of a pool are together, counted once for the reasons of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Sum of the effective weights.
    total: u64,
    /// Members with weight that take no traffic.
    out: usize,
}

impl Crowd {
    /// Of `members`.
    pub fn of(members: &[Member]) -> Self {
        let weights = members.iter().map(|m| u64::from(m.effective_weight()));
        let is_out = |m: &&Member| m.weight > 0 && !m.eligible;
        Self {
            total: weights.sum(),
            out: members.iter().filter(is_out).count(),
        }
    }
}

/// Why `member` of a pool should get what it gets, such as `weight 10 of 12` or `not eligible: health check`.
/// `standing` is that of this backend; `fail_open` that of its pool.
pub fn share(
    algorithm: Algorithm,
    crowd: Crowd,
    member: &Member,
    standing: Standing,
    fail_open: FailOpen,
) -> String {
    if member.weight == 0 {
        return "weight 0: takes no traffic".to_owned();
    }
    match standing {
        Standing::Drained => return "not eligible: drained".to_owned(),
        Standing::Down if !member.eligible => return "not eligible: health check".to_owned(),
        Standing::Up if !member.eligible => return "not eligible".to_owned(),
        Standing::Up | Standing::Down => {}
    }
    let Crowd { total, out } = crowd;
    let mut text = match algorithm {
        Algorithm::RoundRobin | Algorithm::Random => format!("weight {} of {total}", member.weight),
        Algorithm::LeastRequest => format!(
            "the least loaded of those drawn by weight ({} of {total})",
            member.weight
        ),
        Algorithm::PeakEwma => format!(
            "the quicker of two drawn by weight ({} of {total}): answer time x requests in flight",
            member.weight
        ),
        Algorithm::Prequal => format!(
            "the fastest of those drawn by weight ({} of {total}) that hold no more than usual",
            member.weight
        ),
        Algorithm::RingHash | Algorithm::Maglev | Algorithm::Rendezvous => {
            format!(
                "requests without a key by weight ({} of {total})",
                member.weight
            )
        }
    };
    match (out, fail_open) {
        (_, FailOpen::Yes) => {
            text.push_str("; no backend is healthy, so all take traffic (fail-open)");
        }
        (0, _) => {}
        (1, _) => text.push_str("; 1 backend is out"),
        (n, _) => text = format!("{text}; {n} backends are out"),
    }
    text
}

/// What keys give a backend: `hash of header x-user: 33.1 % of the key space`. `part` is its part as
/// [`crate::KeyTable::parts`] has it.
pub fn keys(affinity: &Affinity, part: f64) -> Option<String> {
    let hash = affinity.hash.as_ref()?;
    let bound = affinity.bounded_load.map_or_else(String::new, |factor| {
        format!(", at most {factor} times its part of the requests in flight")
    });
    let percent = part * 100.0;
    Some(format!(
        "hash of {hash}: {percent:.1} % of the key space{bound}"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Crowd, keys, share};
    use crate::member::{FailOpen, Member, Standing};
    use evenkeel_model::config::{Affinity, Algorithm, HashKey};
    use evenkeel_model::ids::Name;

    fn member(name: &str, weight: u32, eligible: bool) -> Member {
        Member {
            name: Name::new(name).unwrap(),
            weight,
            eligible,
        }
    }

    #[test]
    fn a_share_comes_with_its_reason() {
        let members = [
            member("a", 10, true),
            member("b", 1, true),
            member("c", 1, true),
            member("d", 5, false),
            member("e", 0, true),
        ];
        let crowd = Crowd::of(&members);
        let say = |index: usize, standing| {
            let member = &members[index];
            share(Algorithm::RoundRobin, crowd, member, standing, FailOpen::No)
        };
        assert_eq!(say(0, Standing::Up), "weight 10 of 12; 1 backend is out");
        assert_eq!(say(3, Standing::Down), "not eligible: health check");
        assert_eq!(say(3, Standing::Drained), "not eligible: drained");
        assert_eq!(say(4, Standing::Up), "weight 0: takes no traffic");
    }

    #[test]
    fn a_part_of_the_keys_comes_with_its_key_and_its_bound() {
        let mut affinity = Affinity {
            hash: Some(HashKey::Header("x-user".to_owned())),
            ..Affinity::default()
        };
        let text = "hash of header x-user: 33.1 % of the key space";
        assert_eq!(keys(&affinity, 0.3312).as_deref(), Some(text));
        affinity.bounded_load = Some(1.25);
        let bound = ", at most 1.25 times its part of the requests in flight";
        assert_eq!(keys(&affinity, 0.3312), Some(format!("{text}{bound}")));
        assert_eq!(keys(&Affinity::default(), 0.5), None);
    }

    #[test]
    fn a_pool_that_fails_open_says_so() {
        let members = [member("a", 1, true), member("b", 1, true)];
        let text = share(
            Algorithm::Random,
            Crowd::of(&members),
            &members[0],
            Standing::Down,
            FailOpen::Yes,
        );
        assert!(
            text.starts_with("weight 1 of 2;") && text.contains("fail-open"),
            "{text}"
        );
    }
}
