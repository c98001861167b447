//! Who is refused when there is too much: by how full the memory is, and by how full a pool is.
//!
//! Memory: from [`TIGHT`] of the limit on no connection is kept for another request; from the limit on the lowest
//! priority is refused, and each further [`STEP`] takes the next one. The steps are narrow because a refusal costs next
//! to nothing: what is in flight ends, and the memory with it.
//!
//! A pool: requests of the highest priority that comes to it may use all of `max_in_flight_total`, those below only
//! [`part`] of it. So the lower ones are refused first, and a pool to which all come alike loses nothing.
//!
//! Limits: memory is what the process holds, and an allocator gives it back late; the limit is to stand well above what
//! the instance needs at its peak.

use evenkeel_model::config::Priority;

/// From this part of the memory limit on connections end with their request, percent.
pub const TIGHT: u64 = 90;
/// Beyond the limit each further part of it takes the next priority, percent.
pub const STEP: u64 = 5;

/// How full the memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// There is room.
    #[default]
    Calm,
    /// No connection is kept for another request.
    Tight,
    /// Low priority is refused as well.
    Over,
    /// Normal priority is refused as well.
    Far,
    /// Everything is refused.
    Full,
}

impl Pressure {
    /// Every pressure, the lowest first.
    pub const ALL: [Self; 5] = [Self::Calm, Self::Tight, Self::Over, Self::Far, Self::Full];

    /// The pressure of `used` bytes under a `limit`.
    pub fn of(used: u64, limit: u64) -> Self {
        let used = u128::from(used) * 100;
        let reaches = |percent: u64| used >= u128::from(limit) * u128::from(percent);
        if reaches(100 + 2 * STEP) {
            Self::Full
        } else if reaches(100 + STEP) {
            Self::Far
        } else if reaches(100) {
            Self::Over
        } else if reaches(TIGHT) {
            Self::Tight
        } else {
            Self::Calm
        }
    }

    /// Whether no connection is kept for another request.
    pub const fn is_tight(self) -> bool {
        !matches!(self, Self::Calm)
    }

    /// Whether requests of `priority` are refused.
    pub const fn refuses(self, priority: Priority) -> bool {
        match self {
            Self::Calm | Self::Tight => false,
            Self::Over => matches!(priority, Priority::Low),
            Self::Far => !matches!(priority, Priority::High),
            Self::Full => true,
        }
    }
}

/// Percent of a pool's limit that requests of `priority` may use where `highest` comes to the pool as well.
pub const fn part(priority: Priority, highest: Priority) -> u32 {
    if priority as u8 >= highest as u8 {
        return 100;
    }
    match priority {
        Priority::Low => 80,
        Priority::Normal => 90,
        Priority::High => 100,
    }
}

/// What requests of `priority` may use of `limit`, rounded up: at least one where the limit is.
pub const fn limit(limit: u32, priority: Priority, highest: Priority) -> u32 {
    let part = limit as u64 * part(priority, highest) as u64;
    part.div_ceil(100) as u32
}

#[cfg(test)]
mod tests {
    use super::{Pressure, limit};
    use evenkeel_model::config::Priority;
    use proptest::prelude::*;

    #[test]
    fn priorities_are_refused_one_after_the_other_as_memory_fills() {
        let refused = |used| {
            let pressure = Pressure::of(used, 1_000);
            let refused = Priority::ALL.iter().filter(|p| pressure.refuses(**p));
            (pressure.is_tight(), refused.count())
        };
        assert_eq!(refused(899), (false, 0));
        assert_eq!(refused(900), (true, 0));
        assert_eq!(refused(1_000), (true, 1));
        assert_eq!(refused(1_050), (true, 2));
        assert_eq!(refused(1_100), (true, 3));
        assert_eq!(Pressure::of(u64::MAX, u64::MAX), Pressure::Over);
    }

    #[test]
    fn the_lower_ones_leave_room_only_where_a_higher_one_comes() {
        use Priority::{High, Low, Normal};
        let of = |priority, highest| limit(10, priority, highest);
        assert_eq!(
            [of(Low, High), of(Normal, High), of(High, High)],
            [8, 9, 10]
        );
        assert_eq!([of(Low, Normal), of(Normal, Normal)], [8, 10]);
        assert_eq!(of(Low, Low), 10);
        assert_eq!(limit(1, Low, High), 1);
    }

    proptest! {
        #[test]
        fn more_memory_never_lets_more_in_and_a_higher_priority_is_never_refused_before_a_lower(
            a in 0u64..3_000, b in 0u64..3_000, most in 1u64..2_000
        ) {
            let (less, more) = (Pressure::of(a.min(b), most), Pressure::of(a.max(b), most));
            prop_assert!(less <= more);
            for pair in Priority::ALL.windows(2) {
                prop_assert!(less.refuses(pair[0]) || !less.refuses(pair[1]));
                prop_assert!(!less.refuses(pair[0]) || more.refuses(pair[0]));
            }
        }

        #[test]
        fn parts_of_a_limit_grow_with_the_priority_and_are_never_nothing(most in 1u32..2_000_000) {
            for highest in Priority::ALL {
                let parts: Vec<u32> = Priority::ALL.iter().map(|p| limit(most, *p, *highest)).collect();
                prop_assert!(parts.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", parts);
                prop_assert!(parts[0] >= 1 && parts[2] == most, "{:?}", parts);
            }
        }
    }
}
