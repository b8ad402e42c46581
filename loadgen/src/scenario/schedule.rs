//! When each message of a publisher is meant to be sent: an absolute schedule, fixed before the run.
//!
//! Invariants: slot k of a uniform schedule lies at `phase + k * interval`, computed from k each time, so there is no
//! drift; no slot is ever skipped, however late the publisher is. Advancing from "now" would break this: it turns a
//! stall of the broker into a smaller load (coordinated omission).

use fastrand::Rng;

/// How the messages of one publisher are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    /// Equal intervals after a random phase.
    Uniform,
    /// Exponential intervals: the publishers together are a Poisson process.
    Poisson,
}

/// The slots of one publisher, in ns since the start of the load.
#[derive(Clone, Debug)]
pub struct Schedule {
    next_ns: u64,
    slot: u64,
    phase_ns: f64,
    interval_ns: f64,
    arrival: Arrival,
    random: Rng,
}

impl Schedule {
    /// A schedule with a mean interval of `interval_ns`; `random` gives the phase, or the intervals of
    /// [`Arrival::Poisson`].
    pub fn new(arrival: Arrival, interval_ns: f64, random: Rng) -> Schedule {
        let mut schedule = Schedule {
            next_ns: 0,
            slot: 0,
            phase_ns: 0.0,
            interval_ns,
            arrival,
            random,
        };
        schedule.phase_ns = match arrival {
            Arrival::Uniform => schedule.random.f64() * interval_ns,
            Arrival::Poisson => schedule.exponential_ns(),
        };
        schedule.next_ns = schedule.phase_ns as u64;
        schedule
    }

    /// Intended time of the next message, ns since the start of the load.
    #[inline]
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Advances to the following slot.
    #[inline]
    pub fn advance(&mut self) {
        self.slot += 1;
        let at_ns = match self.arrival {
            Arrival::Uniform => self.phase_ns + self.slot as f64 * self.interval_ns,
            Arrival::Poisson => {
                self.phase_ns += self.exponential_ns();
                self.phase_ns
            }
        };
        self.next_ns = at_ns as u64;
    }

    fn exponential_ns(&mut self) -> f64 {
        -self.interval_ns * (1.0 - self.random.f64()).ln()
    }
}

/// The random source of one publisher: the same for the same seed, unrelated between neighbours.
pub fn random_of(seed: u64, publisher: u32) -> Rng {
    Rng::with_seed(seed ^ (u64::from(publisher) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_schedule_does_not_drift() {
        let interval_ns = 1e9 / 3.0;
        let mut schedule = Schedule::new(Arrival::Uniform, interval_ns, random_of(1, 0));
        let first_ns = schedule.next_ns();
        for _ in 0..3_000_000 {
            schedule.advance();
        }
        let off_ns = (schedule.next_ns() - first_ns).abs_diff(1_000_000_000_000_000);
        assert!(off_ns <= 1, "a million seconds later it is {off_ns} ns off");
    }

    #[test]
    fn phases_are_spread_over_the_interval() {
        let mut tenths = [0_u32; 10];
        for publisher in 0..10_000 {
            let schedule = Schedule::new(Arrival::Uniform, 1_000.0, random_of(42, publisher));
            tenths[(schedule.next_ns() / 100) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|&count| (850..1_150).contains(&count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn poisson_intervals_have_the_mean_and_the_spread_of_an_exponential() {
        let mut schedule = Schedule::new(Arrival::Poisson, 1_000_000.0, random_of(3, 5));
        let mut intervals = Vec::new();
        let mut before_ns = 0;
        for _ in 0..100_000 {
            intervals.push((schedule.next_ns() - before_ns) as f64);
            before_ns = schedule.next_ns();
            schedule.advance();
        }
        let mean = intervals.iter().sum::<f64>() / intervals.len() as f64;
        let variance = intervals
            .iter()
            .map(|interval| (interval - mean).powi(2))
            .sum::<f64>()
            / intervals.len() as f64;
        assert!((mean / 1_000_000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.03,
            "deviation {}",
            variance.sqrt()
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_a_neighbour_another() {
        let slots = |seed, publisher| {
            let mut schedule = Schedule::new(Arrival::Poisson, 1e6, random_of(seed, publisher));
            (0..20)
                .map(|_| {
                    schedule.advance();
                    schedule.next_ns()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(slots(9, 4), slots(9, 4));
        assert_ne!(slots(9, 4), slots(9, 5));
        assert_ne!(slots(9, 4), slots(8, 4));
    }
}
