//! Medians, and the intervals of paired ratios.
//!
//! Invariants: rounds are compared in pairs, so that a disturbance of both brokers in a round does not widen the
//! interval.
//! The interval of a ratio is that of order statistics: it contains the true median with the requested confidence for
//! every distribution, and nothing is drawn at random. The probability that one of several verdicts on equal brokers
//! is wrong is at most 5 %, so with more verdicts each requires more rounds. With fewer rounds there is no verdict.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A median, and the lowest and the highest round.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Estimate {
    /// The median over the rounds.
    pub median: f64,
    /// Lower end of the interval; the lowest round for single figures.
    pub low: f64,
    /// Upper end of the interval; the highest round for single figures.
    pub high: f64,
}

/// The rounds of one broker compared with those of another.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Comparison {
    /// The figure of the first divided by that of the other: the median of the rounds' ratios with its interval.
    pub ratio: Estimate,
    /// The first minus the other in the unit of the figure, likewise.
    pub difference: Estimate,
    /// Whether there is a difference, and in which direction.
    pub sign: Sign,
    /// Rounds in which both have the figure.
    #[serde(default)]
    pub rounds: usize,
    /// Rounds that a verdict requires.
    #[serde(default)]
    pub rounds_needed: usize,
}

/// Which of two figures is lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The first is certainly the lower one.
    Lower,
    /// The first is certainly the higher one.
    Higher,
    /// The interval of the ratio contains 1.
    None,
    /// Too few rounds for a verdict.
    Unknown,
}

/// Smallest number of rounds for a verdict: with five rounds of equal brokers the interval of all ratios misses 1
/// in 6 % of all cases.
pub const ROUNDS_MIN: usize = 6;

/// Share of all tables in which a verdict on equal brokers may be wrong.
const WRONG_MAX: f64 = 0.05;

/// Rounds that each verdict requires if there are this many verdicts.
pub fn rounds_needed(verdicts: usize) -> usize {
    let needed = 1.0 + (verdicts.max(1) as f64 / WRONG_MAX).log2();
    (needed.ceil() as usize).max(ROUNDS_MIN)
}

/// The median; `None` if there are no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    middle_of(&sorted)
}

/// The median of some rounds with the lowest and the highest; `None` if there are none.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    Some(Estimate {
        median: median(values)?,
        low: finite().min_by(f64::total_cmp)?,
        high: finite().max_by(f64::total_cmp)?,
    })
}

/// Compares rounds in pairs, as one of this many verdicts; `None` if there is nothing to compare.
pub fn compare(pairs: &[(f64, f64)], verdicts: usize) -> Option<Comparison> {
    let wrong = WRONG_MAX / verdicts.max(1) as f64;
    let has_ratio = |(ours, theirs): &&(f64, f64)| *ours > 0.0 && *theirs > 0.0;
    let sorted = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = pairs.iter().filter(has_ratio).map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let ratios = sorted(|(ours, theirs)| (ours / theirs).ln());
    let differences = sorted(|(ours, theirs)| ours - theirs);
    let rounds = ratios.len();
    let rounds_needed = rounds_needed(verdicts);
    let (low, high) = interval(&ratios, wrong)?;
    let (lowest, highest) = interval(&differences, wrong)?;
    let sign = match () {
        () if rounds < rounds_needed => Sign::Unknown,
        () if high < 0.0 => Sign::Lower,
        () if low > 0.0 => Sign::Higher,
        () => Sign::None,
    };
    Some(Comparison {
        ratio: Estimate {
            median: middle_of(&ratios)?.exp(),
            low: low.exp(),
            high: high.exp(),
        },
        difference: Estimate {
            median: middle_of(&differences)?,
            low: lowest,
            high: highest,
        },
        sign,
        rounds,
        rounds_needed,
    })
}

fn middle_of(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(middle.checked_sub(1)?)?;
    Some((lower + upper) / 2.0)
}

/// The narrowest interval between two order statistics that misses the median in at most `wrong` of all cases; all
/// values if none is narrow enough.
fn interval(sorted: &[f64], wrong: f64) -> Option<(f64, f64)> {
    let count = sorted.len();
    // Probability that at most `left_out` of the values lie on one side of the median, which is 1/2 for each.
    let mut left_out = 0;
    let mut term = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut below = term;
    while left_out + 1 < count.div_ceil(2) {
        term *= (count - left_out) as f64 / (left_out + 1) as f64;
        if 2.0 * (below + term) > wrong {
            break;
        }
        below += term;
        left_out += 1;
    }
    Some((
        *sorted.get(left_out)?,
        *sorted.get(count.checked_sub(left_out + 1)?)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN, 1.0]), Some(1.0));
        let all = estimate(&[10.0, 11.0, 9.0, 30.0, f64::NAN]).unwrap();
        assert_eq!((all.low, all.median, all.high), (9.0, 10.5, 30.0));
    }

    #[test]
    fn a_table_needs_more_rounds_than_one_verdict() {
        let needed = [1, 2, 10, 30, 100].map(rounds_needed);
        assert_eq!(needed, [6, 7, 9, 11, 12]);
    }

    #[test]
    fn the_interval_leaves_out_as_many_as_the_confidence_allows() {
        let values = |count: u32| -> Vec<f64> { (0..count).map(f64::from).collect() };
        // The tables of the sign test at 5 %.
        for (count, low) in [
            (5, 0.0),
            (6, 0.0),
            (8, 0.0),
            (9, 1.0),
            (12, 2.0),
            (15, 3.0),
            (20, 5.0),
        ] {
            let (from, to) = interval(&values(count), 0.05).unwrap();
            assert_eq!((from, to), (low, f64::from(count) - 1.0 - low), "{count}");
        }
        assert_eq!(interval(&[], 0.05), None);
        assert_eq!(interval(&[1.0], 0.05), Some((1.0, 1.0)));
    }

    fn sign(ours: &[f64], theirs: &[f64]) -> Sign {
        let pairs: Vec<(f64, f64)> = ours.iter().copied().zip(theirs.iter().copied()).collect();
        compare(&pairs, 1).unwrap().sign
    }

    #[test]
    fn better_is_said_only_where_the_interval_does_not_hold_1() {
        let theirs = [2.0, 2.1, 1.9, 2.2, 2.0, 2.1];
        assert_eq!(sign(&[1.0, 1.1, 0.9, 1.0, 1.2, 1.1], &theirs), Sign::Lower);
        assert_eq!(sign(&[3.0, 3.1, 2.9, 3.0, 3.2, 3.1], &theirs), Sign::Higher);
        assert_eq!(sign(&[3.0, 3.1, 1.5, 3.0, 3.2, 3.1], &theirs), Sign::None);
        assert_eq!(
            sign(&[1.0, 1.1, 0.9, 1.0, 1.2], &theirs),
            Sign::Unknown,
            "five rounds"
        );
        let pairs = [(1.0, 2.0); 6];
        assert_eq!(
            compare(&pairs, 2).unwrap().sign,
            Sign::Unknown,
            "two verdicts of six rounds"
        );
        assert_eq!(compare(&[], 1), None);
        assert_eq!(compare(&[(0.0, 1.0)], 1), None, "a ratio to zero does not exist");
    }

    /// Both brokers of a round are disturbed alike: the ratio is precise although the figures are not.
    #[test]
    fn rounds_are_compared_in_pairs() {
        let theirs = [10.0, 20.0, 40.0, 15.0, 30.0, 12.0];
        let pairs = theirs.map(|value| (value / 2.0, value));
        let comparison = compare(&pairs, 1).unwrap();
        assert!((comparison.ratio.low - 0.5).abs() < 1e-12 && (comparison.ratio.high - 0.5).abs() < 1e-12);
        assert_eq!(comparison.sign, Sign::Lower);
    }

    /// Equal brokers, with realistic noise: a table of ten verdicts is wrong at most once in twenty.
    #[test]
    fn equals_are_hardly_ever_called_different() {
        let mut random = fastrand::Rng::with_seed(7);
        let (tables, verdicts) = (1_000, 10);
        let rounds = rounds_needed(verdicts);
        let noise = move || {
            let sum: f64 = (0..4).map(|_| random.f64()).sum();
            (sum - 2.0).exp()
        };
        let mut noise = noise;
        let wrong = (0..tables).filter(|_| {
            let differs = |_| {
                let pairs: Vec<(f64, f64)> = (0..rounds).map(|_| (noise(), noise())).collect();
                compare(&pairs, verdicts).unwrap().sign != Sign::None
            };
            let differ: Vec<bool> = (0..verdicts).map(differs).collect();
            differ.contains(&true)
        });
        let wrong = wrong.count();
        assert!(
            wrong <= 65,
            "{wrong} of {tables} tables, and 50 are expected at most"
        );
    }
}
