//! Whether the measured part was one steady state or several different ones.
//!
//! Invariants: variation that is explained by chance is not reported: the fewer the messages, the more the parts may
//! vary.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the measured part was one state or several.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Steadiness {
    /// Deliveries in a window, on average.
    pub deliveries_mean: f64,
    /// Their coefficient of variation, in percent.
    pub variation_percent: f64,
    /// Change from the first to the last window by a fitted line, in percent of the mean.
    pub trend_percent: f64,
    /// Growth of the messages sent but not received, in percent of the deliveries.
    pub backlog_percent: f64,
}

impl Steadiness {
    /// Computed from the deliveries of each window and the backlog (deliveries due but not received) at moments of the
    /// measured part. `None` if nothing was delivered.
    pub fn of(deliveries: &[u64], backlog: &[u64]) -> Option<Steadiness> {
        let values: Vec<f64> = deliveries.iter().map(|&count| count as f64).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        if values.len() < 2 || mean <= 0.0 {
            return None;
        }
        let variance =
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
        let total: f64 = values.iter().sum();
        let backlog: Vec<f64> = backlog.iter().map(|&count| count as f64).collect();
        Some(Steadiness {
            deliveries_mean: mean,
            variation_percent: 100.0 * variance.sqrt() / mean,
            trend_percent: 100.0 * rise(&values) / mean,
            backlog_percent: 100.0 * rise(&backlog) / total,
        })
    }

    /// Whether the number of messages sent but not received grows.
    pub fn backlog_grows(&self) -> bool {
        self.backlog_percent > BACKLOG_PERCENT_MAX
    }

    /// What is wrong with it, in one sentence.
    pub fn complaint(&self) -> Option<String> {
        // Small numbers of messages vary by chance.
        let by_chance = 200.0 / self.deliveries_mean.sqrt();
        let allowed = VARIATION_PERCENT_MAX.max(by_chance);
        let Steadiness {
            variation_percent,
            trend_percent,
            backlog_percent,
            ..
        } = *self;
        if variation_percent > allowed {
            Some(format!(
                "not steady: deliveries vary by {variation_percent:.1} % between five parts of the run"
            ))
        } else if trend_percent.abs() > 2.0 * allowed {
            Some(format!(
                "not steady: deliveries change by {trend_percent:+.1} % over the run"
            ))
        } else if self.backlog_grows() {
            Some(format!(
                "not steady: the backlog grew by {backlog_percent:.1} % of what was delivered"
            ))
        } else {
            None
        }
    }
}

const VARIATION_PERCENT_MAX: f64 = 5.0;
const BACKLOG_PERCENT_MAX: f64 = 1.0;

/// The rise of the least-squares line through equidistant values from the first to the last.
fn rise(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if count < 2.0 {
        return 0.0;
    }
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let points = values
        .iter()
        .enumerate()
        .map(|(index, &value)| (index as f64 - mean_x, value - mean_y));
    let (covariance, variance) = points.fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + x * y, xx + x * x));
    covariance / variance * (count - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steadiness_of_windows() {
        let complaint =
            |deliveries: &[u64], backlog: &[u64]| Steadiness::of(deliveries, backlog)?.complaint();
        assert_eq!(complaint(&[10_000; 5], &[0; 5]), None);
        assert!(
            complaint(&[10_000, 12_000, 9_000, 10_000, 11_000], &[])
                .unwrap()
                .contains("vary")
        );
        assert!(
            complaint(&[9_400, 9_700, 10_000, 10_300, 10_600], &[])
                .unwrap()
                .contains("change by +12")
        );
        assert!(
            complaint(&[10_000; 5], &[0, 1_000, 2_000])
                .unwrap()
                .contains("backlog")
        );
        assert_eq!(complaint(&[10, 12, 9, 10, 11], &[]), None, "by chance");
        assert_eq!(Steadiness::of(&[0; 5], &[]), None);
    }
}
