//! Medians with bootstrap intervals.
//!
//! Invariants: the same rounds give the same intervals (the seed is fixed); a ratio is resampled by rounds, so that
//! what disturbed both brokers of a round does not widen it; there is a difference only where the interval of the
//! difference does not contain 0.

use serde::{Deserialize, Serialize};

/// A median and the interval that holds it in 95 of 100 samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median over the rounds.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The rounds of Midge compared with those of another broker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The figure of Midge divided by that of the other broker.
    pub ratio: Estimate,
    /// Ours minus theirs, in the unit of the figure.
    pub difference: Estimate,
    /// Whether there is a difference, and for whom.
    pub sign: Sign,
}

/// Which of two figures is lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Ours is certainly the lower one.
    Lower,
    /// Ours is certainly the higher one.
    Higher,
    /// The interval of the difference holds 0.
    None,
    /// Fewer than [`ROUNDS_MIN`] rounds: no interval can be given.
    Unknown,
}

/// Fewest rounds that an interval is made of.
pub const ROUNDS_MIN: usize = 3;

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(middle.checked_sub(1)?)?;
    Some((lower + upper) / 2.0)
}

/// The median of some rounds with its interval; `None` of nothing.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let whole = median(values)?;
    let resampled = resample(values.len(), |picks| {
        median(
            &picks
                .iter()
                .filter_map(|&pick| values.get(pick).copied())
                .collect::<Vec<_>>(),
        )
    });
    Some(interval(whole, resampled))
}

/// Compares rounds of ours with rounds of theirs, the same index being the same round; `None` where there is nothing to
/// compare.
pub fn compare(ours: &[f64], theirs: &[f64]) -> Option<Comparison> {
    let rounds = ours.len().min(theirs.len());
    let (ours, theirs) = (ours.get(..rounds)?, theirs.get(..rounds)?);
    let both = |picks: &[usize]| {
        let of = |values: &[f64]| {
            median(
                &picks
                    .iter()
                    .filter_map(|&pick| values.get(pick).copied())
                    .collect::<Vec<_>>(),
            )
        };
        Some((of(ours)?, of(theirs)?))
    };
    let (our_median, their_median) = both(&(0..rounds).collect::<Vec<_>>())?;
    if their_median == 0.0 {
        return None;
    }
    let ratios = resample(rounds, |picks| both(picks).map(|(ours, theirs)| ours / theirs));
    let differences = resample(rounds, |picks| both(picks).map(|(ours, theirs)| ours - theirs));
    let difference = interval(our_median - their_median, differences);
    let sign = match difference {
        _ if rounds < ROUNDS_MIN => Sign::Unknown,
        Estimate { high, .. } if high < 0.0 => Sign::Lower,
        Estimate { low, .. } if low > 0.0 => Sign::Higher,
        _ => Sign::None,
    };
    Some(Comparison {
        ratio: interval(our_median / their_median, ratios),
        difference,
        sign,
    })
}

/// The figure of many samples of the rounds, each as large as the whole, drawn with replacement.
fn resample(rounds: usize, figure: impl Fn(&[usize]) -> Option<f64>) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut picks = vec![0; rounds];
    let mut samples = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        picks
            .iter_mut()
            .for_each(|pick| *pick = random.usize(0..rounds.max(1)));
        samples.extend(figure(&picks).filter(|value| value.is_finite()));
    }
    samples.sort_by(f64::total_cmp);
    samples
}

fn interval(median: f64, sorted: Vec<f64>) -> Estimate {
    let at = |share: f64| {
        let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(index).copied().unwrap_or(median)
    };
    Estimate {
        median,
        low: at(0.025),
        high: at(0.975),
    }
}

const RESAMPLES: usize = 2_000;
const SEED: u64 = 0x6d69_6467;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN, 1.0]), Some(1.0));
    }

    #[test]
    fn an_interval_holds_the_median_and_is_the_same_twice() {
        let values = [10.0, 11.0, 9.0, 10.5, 30.0];
        let one = estimate(&values).unwrap();
        assert_eq!(Some(one), estimate(&values));
        assert!(one.low <= one.median && one.median <= one.high, "{one:?}");
        assert!((one.low, one.high) == (9.0, 30.0) || one.low >= 9.0, "{one:?}");
        let alone = estimate(&[7.0]).unwrap();
        assert_eq!((alone.low, alone.median, alone.high), (7.0, 7.0, 7.0));
    }

    #[test]
    fn better_is_said_only_where_the_interval_does_not_hold_0() {
        let sign = |ours: &[f64], theirs: &[f64]| compare(ours, theirs).unwrap().sign;
        assert_eq!(
            sign(&[1.0, 1.1, 0.9, 1.0, 1.2], &[2.0, 2.1, 1.9, 2.2, 2.0]),
            Sign::Lower
        );
        assert_eq!(sign(&[3.0, 3.1, 2.9], &[2.0, 2.1, 1.9]), Sign::Higher);
        assert_eq!(
            sign(&[1.0, 2.0, 3.0, 2.0, 1.0], &[2.0, 1.0, 2.0, 3.0, 2.0]),
            Sign::None
        );
        assert_eq!(sign(&[1.0], &[2.0]), Sign::Unknown);
        assert_eq!(compare(&[], &[1.0]), None);
    }

    /// Both brokers of a round suffer alike: the ratio is sharp although the figures are not.
    #[test]
    fn rounds_are_resampled_together() {
        let theirs = [10.0, 20.0, 40.0, 15.0, 30.0];
        let ours = theirs.map(|value| value / 2.0);
        let comparison = compare(&ours, &theirs).unwrap();
        assert_eq!((comparison.ratio.low, comparison.ratio.high), (0.5, 0.5));
        assert_eq!(comparison.sign, Sign::Lower);
    }
}
