//! The tables: forecast beside measurement, one row per configuration, misses and gaps included.

use std::collections::BTreeMap;
use std::path::Path;

use super::corpus::{Peer, Row};
use super::forecast::Group;

/// Points of share within which forecast and measurement agree.
pub(crate) const POINTS: f64 = 2.0;
/// Points beyond a stated interval that the counting itself may add: 3 standard errors of 10,000 requests at most.
const COUNTING: f64 = 1.5;
/// Points that writing a share with few digits may add.
const ROUNDING: f64 = 0.1;
/// Part of repeated measurements that a 95 % interval has to hold; below 95 % because they are few.
const COVERAGE: f64 = 0.9;
/// Marks in the page, between which the tables stand.
const BEGIN: &str = "<!-- agreement:begin -->";
const END: &str = "<!-- agreement:end -->";

/// What came of one row.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) row: Row,
    /// The forecast, or why there is none.
    pub(crate) forecast: Result<Vec<Group>, String>,
    /// Requests by origin (port in the corpus) with the sum of good answers, or why nothing was measured.
    pub(crate) measured: Result<Measured, String>,
}

/// Requests by origin (port in the corpus).
pub(crate) type Counts = BTreeMap<u16, u64>;

/// What the origins counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// By repetition, each with other keys; mostly one.
    pub(crate) sets: Vec<Counts>,
    pub(crate) sent: u64,
    pub(crate) good: u64,
}

/// How a row is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// Within the bound; the largest difference in points.
    Agrees(f64),
    /// Repeated with other keys: so many shares of so many were inside the stated interval.
    Covers(usize, usize),
    /// Beyond it; `None`: one of the two has no share where the other has.
    Misses(Option<f64>),
    NotMeasured,
    NoForecast,
}

impl Verdict {
    /// Whether forecast and measurement agree.
    pub(crate) fn agrees(self) -> bool {
        match self {
            Self::Agrees(_) => true,
            Self::Covers(inside, of) => inside as f64 >= COVERAGE * of as f64,
            Self::Misses(_) | Self::NotMeasured | Self::NoForecast => false,
        }
    }
}

/// Share of one member: forecast with its interval in points, and measured; `None`: nobody is used.
struct Pair {
    expected: Option<(f64, f64, f64)>,
    measured: Option<f64>,
}

impl Outcome {
    pub(crate) fn verdict(&self) -> Verdict {
        let Ok(measured) = &self.measured else {
            return Verdict::NotMeasured;
        };
        let Ok(groups) = &self.forecast else {
            return Verdict::NoForecast;
        };
        if let [counts] = measured.sets.as_slice() {
            return self.judge(groups, counts);
        }
        let all = measured.sets.iter();
        let pairs = all.flat_map(|counts| groups.iter().flat_map(|group| pairs(group, counts)));
        let inside = pairs.map(|pair| match (pair.expected, pair.measured) {
            (Some((_, low, high)), Some(got)) => (low - ROUNDING..=high + ROUNDING).contains(&got),
            (expected, got) => expected.is_none() && got.is_none(),
        });
        let (mut covered, mut of) = (0, 0);
        for is_inside in inside {
            covered += usize::from(is_inside);
            of += 1;
        }
        Verdict::Covers(covered, of)
    }

    /// The verdict on a single measurement.
    fn judge(&self, groups: &[Group], counts: &Counts) -> Verdict {
        let mut worst = 0.0_f64;
        let mut agrees = true;
        for pair in groups.iter().flat_map(|group| pairs(group, counts)) {
            match (pair.expected, pair.measured) {
                (Some((share, low, high)), Some(got)) => {
                    let off = (share - got).abs();
                    worst = worst.max(off);
                    let inside = (low - COUNTING..=high + COUNTING).contains(&got);
                    agrees &= off <= POINTS || (self.row.interval && inside);
                }
                (None, None) => {}
                _ => return Verdict::Misses(None),
            }
        }
        if agrees {
            Verdict::Agrees(worst)
        } else {
            Verdict::Misses(Some(worst))
        }
    }

    fn expected_cell(&self) -> String {
        match &self.forecast {
            Err(why) => why.replace('|', "/"),
            Ok(groups) => cell(groups, |group| {
                pairs(group, &Counts::new())
                    .iter()
                    .map(|pair| match pair.expected {
                        None => "none".to_owned(),
                        Some((share, low, high)) if self.row.interval && high > low => {
                            format!("{share:.1} ({low:.1} to {high:.1})")
                        }
                        Some((share, ..)) => format!("{share:.1}"),
                    })
                    .collect()
            }),
        }
    }

    fn measured_cell(&self) -> String {
        let measured = match &self.measured {
            Err(why) => return format!("not measured: {}", why.replace('|', "/")),
            Ok(measured) => measured,
        };
        let share =
            |got: &Option<f64>| got.map_or_else(|| "none".to_owned(), |s| format!("{s:.1}"));
        let Ok(groups) = &self.forecast else {
            // Nothing to group by: shares of the whole, in file order.
            let counts = measured.sets.first().cloned().unwrap_or_default();
            let total: u64 = counts.values().sum();
            let shares = counts.values().map(|n| share(&percent(*n, total)));
            return shares.collect::<Vec<_>>().join(" / ");
        };
        cell(groups, |group| {
            let sets = measured.sets.iter();
            let sets: Vec<Vec<Pair>> = sets.map(|counts| pairs(group, counts)).collect();
            let member = |index: usize| {
                let shares = sets.iter().filter_map(|set| set.get(index)?.measured);
                let shares: Vec<f64> = shares.collect();
                let low = shares.iter().copied().reduce(f64::min);
                let high = shares.iter().copied().reduce(f64::max);
                if sets.len() > 1 {
                    format!("{} to {}", share(&low), share(&high))
                } else {
                    share(&low)
                }
            };
            (0..group.members.len()).map(member).collect()
        })
    }

    /// What was sent and how, and what was not answered with 200.
    fn load_cell(&self) -> String {
        let load = &self.row.load;
        let connections = if load.new_connections() {
            "a connection each"
        } else {
            "kept"
        };
        let at_once = load.clients;
        match &self.measured {
            Err(_) => "none".to_owned(),
            Ok(m) if m.good == m.sent => format!("{}, {at_once} at once, {connections}", m.sent),
            Ok(m) => {
                let refused = m.sent - m.good;
                format!(
                    "{}, {at_once} at once, {connections}; {refused} refused",
                    m.sent
                )
            }
        }
    }

    /// The row of the table.
    pub(crate) fn line(&self) -> String {
        let (off, verdict) = match self.verdict() {
            Verdict::Agrees(off) => (format!("{off:.2}"), "yes"),
            Verdict::Covers(inside, of) => {
                let words = if self.verdict().agrees() {
                    "yes"
                } else {
                    "**no**"
                };
                (format!("in the interval {inside} of {of} times"), words)
            }
            Verdict::Misses(Some(off)) => (format!("{off:.2}"), "**no**"),
            Verdict::Misses(None) => ("-".to_owned(), "**no**"),
            Verdict::NotMeasured => ("-".to_owned(), "not measured"),
            Verdict::NoForecast => ("-".to_owned(), "**no forecast**"),
        };
        format!(
            "| {} | {} | {} | {} | {} | {off} | {verdict} |",
            self.row.name(),
            self.row.shows,
            self.expected_cell(),
            self.measured_cell(),
            self.load_cell(),
        )
    }
}

fn cell(groups: &[Group], shares: impl Fn(&Group) -> Vec<String>) -> String {
    let one = |group: &Group| {
        let list = shares(group).join(" / ");
        if groups.len() > 1 {
            format!("{}: {list}", group.name)
        } else {
            list
        }
    };
    groups.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn pairs(group: &Group, measured: &Counts) -> Vec<Pair> {
    let count = |origins: &[u16]| -> u64 {
        let counts = origins.iter().filter_map(|o| measured.get(o));
        counts.sum()
    };
    let total: u64 = group
        .members
        .iter()
        .map(|(origins, _)| count(origins))
        .sum();
    let somebody = group.members.iter().any(|(_, expected)| expected.is_some());
    let pair = |(origins, expected): &(Vec<u16>, Option<super::forecast::Expected>)| {
        // Who is out has no share; that is 0 as soon as somebody else has one.
        let expected = expected.unwrap_or_default();
        let share = expected.share * 100.0;
        let interval = [expected.low, expected.high].map(|bound| bound.map(|b| b * 100.0));
        Pair {
            expected: somebody.then_some((
                share,
                interval[0].unwrap_or(share),
                interval[1].unwrap_or(share),
            )),
            measured: percent(count(origins), total),
        }
    };
    group.members.iter().map(pair).collect()
}

fn percent(part: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| part as f64 * 100.0 / total as f64)
}

/// The section of one balancer.
pub(crate) fn section(peer: Peer, version: Option<&str>, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "### {} {}\n\n",
        peer.title(),
        version.unwrap_or("(not here)")
    );
    text.push_str("| configuration | what it shows | forecast, % | measured, % | requests, connections | largest difference, points | agrees |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for outcome in outcomes {
        text.push_str(&outcome.line());
        text.push('\n');
    }
    let notes = outcomes
        .iter()
        .filter_map(|o| Some((o, o.row.note.as_ref()?)));
    let notes: String = notes
        .map(|(outcome, note)| format!("- {}: {note}\n", outcome.row.name()))
        .collect();
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text
}

/// Counts over all rows, in one line.
pub(crate) fn summary(outcomes: &[Outcome]) -> String {
    let [mut agree, mut miss, mut silent, mut unmeasured] = [0_u32; 4];
    for outcome in outcomes {
        match outcome.verdict() {
            verdict if verdict.agrees() => agree += 1,
            Verdict::Agrees(_) | Verdict::Covers(..) | Verdict::Misses(_) => miss += 1,
            Verdict::NoForecast => silent += 1,
            Verdict::NotMeasured => unmeasured += 1,
        }
    }
    let mut parts = vec![format!(
        "{agree} of {} configurations agree",
        outcomes.len()
    )];
    let rest = [
        (miss, "miss"),
        (silent, "without a forecast"),
        (unmeasured, "not measured"),
    ];
    for (n, words) in rest.into_iter().filter(|(n, _)| *n > 0) {
        parts.push(format!("{n} {words}"));
    }
    parts.join(", ")
}

/// Puts `tables` between the marks of `page`.
pub(crate) fn publish(page: &Path, tables: &str) -> anyhow::Result<()> {
    crate::page::publish(page, (BEGIN, END), tables)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::super::corpus::{Peer, rows};
    use super::super::forecast::{Expected, Group};
    use super::{BEGIN, END, Measured, Outcome, Verdict, publish, summary};

    /// Share with the bounds of its interval; `None`: not used.
    type Interval = Option<(f64, f64, f64)>;

    /// A row of two backends, told `shares` (with an interval when given) and measured with `counts`.
    fn outcome(shares: [Interval; 2], counts: [u64; 2], interval: bool) -> Outcome {
        let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/agreement"));
        let mut row = rows(corpus, Peer::Haproxy).unwrap().remove(0);
        row.interval = interval;
        let member = |(port, share): (u16, Interval)| {
            let expected = share.map(|(share, low, high)| Expected {
                share,
                low: Some(low),
                high: Some(high),
            });
            (vec![port], expected)
        };
        let members = [19_001, 19_002].into_iter().zip(shares).map(member);
        let group = Group {
            name: "app".to_owned(),
            members: members.collect(),
        };
        let origins = BTreeMap::from([(19_001, counts[0]), (19_002, counts[1])]);
        let sent = counts.iter().sum();
        let measured = Measured {
            sets: vec![origins],
            sent,
            good: sent,
        };
        Outcome {
            row,
            forecast: Ok(vec![group]),
            measured: Ok(measured),
        }
    }

    /// Half of the requests, without doubt.
    const HALF: Interval = Some((0.5, 0.5, 0.5));

    #[test]
    fn two_points_agree_and_three_miss() {
        let near = outcome([HALF, HALF], [519, 481], false);
        assert!(matches!(near.verdict(), Verdict::Agrees(off) if (off - 1.9).abs() < 1e-9));
        let far = outcome([HALF, HALF], [530, 470], false);
        assert!(matches!(far.verdict(), Verdict::Misses(Some(off)) if (off - 3.0).abs() < 1e-9));
        assert!(far.line().contains("**no**"), "{}", far.line());
    }

    #[test]
    fn a_stated_interval_counts_only_where_the_row_asks_for_it() {
        let wide = [Some((0.5, 0.3, 0.7)); 2];
        let counts = [650, 350];
        assert!(matches!(
            outcome(wide, counts, true).verdict(),
            Verdict::Agrees(_)
        ));
        assert!(matches!(
            outcome(wide, counts, false).verdict(),
            Verdict::Misses(_)
        ));
        let beyond = outcome(wide, [750, 250], true);
        assert!(matches!(beyond.verdict(), Verdict::Misses(_)));
    }

    #[test]
    fn nobody_forecast_and_nobody_used_agree_but_not_one_without_the_other() {
        let none = [None, None];
        let silent = outcome(none, [0, 0], false);
        assert!(matches!(silent.verdict(), Verdict::Agrees(_)));
        assert_eq!(
            outcome(none, [5, 5], false).verdict(),
            Verdict::Misses(None)
        );
        let refused = outcome([HALF, HALF], [0, 0], false);
        assert_eq!(refused.verdict(), Verdict::Misses(None));
    }

    #[test]
    fn an_interval_has_to_hold_in_nine_of_ten_repetitions() {
        let repeated = |inside: usize, outside: usize| {
            let mut row = outcome([Some((0.5, 0.4, 0.6)); 2], [1, 1], true);
            let counts = |first| BTreeMap::from([(19_001, first), (19_002, 100 - first)]);
            let sets = std::iter::repeat_n(counts(58), inside);
            let sets = sets.chain(std::iter::repeat_n(counts(65), outside));
            row.measured.as_mut().unwrap().sets = sets.collect();
            row.verdict()
        };
        assert_eq!(repeated(38, 2), Verdict::Covers(76, 80));
        assert!(repeated(38, 2).agrees());
        assert!(!repeated(34, 6).agrees());
    }

    #[test]
    fn a_row_without_forecast_or_measurement_is_never_an_agreement() {
        let mut row = outcome([HALF, HALF], [500, 500], false);
        row.forecast = Err("no reader".to_owned());
        assert_eq!(row.verdict(), Verdict::NoForecast);
        row.measured = Err("it is missing".to_owned());
        assert_eq!(row.verdict(), Verdict::NotMeasured);
        assert!(row.line().contains("not measured: it is missing"));
        let line = summary(&[row]);
        assert_eq!(line, "0 of 1 configurations agree, 1 not measured");
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page: PathBuf = std::env::temp_dir().join(format!("agreement-{}", std::process::id()));
        std::fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        publish(&page, "new").unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert_eq!(text, format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        std::fs::write(&page, "no marks").unwrap();
        assert!(publish(&page, "new").is_err());
        std::fs::remove_file(&page).unwrap();
    }
}
