//! The command line of `loadgen sweep`.
//!
//! Invariants: the last rate of a parsed sweep is one that a load can have.

use std::path::PathBuf;

use super::Sweep;
use crate::options::rates::{RatesArguments, RatesRequest};
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;
use crate::target::request::TargetRequest;

/// What the command line requests.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRequest {
    /// The load and its rates.
    pub sweep: Sweep,
    /// The broker to which it is sent.
    pub target: TargetRequest,
    /// New folder for sweep.json and report.html.
    pub out: Option<PathBuf>,
}

/// Options of a sweep over rates.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    after_help = "From --rate upwards, until two steps beyond the first rate with a p99 above --slo-p99-ms (10 ms if \
    not given)."
)]
pub struct SweepArguments {
    /// Largest number of rates to try
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    /// Ratio of each rate to the previous one
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0)]
    factor: f64,
    #[command(flatten)]
    rates: RatesArguments,
}

impl Options for SweepArguments {
    type Request = SweepRequest;

    const WORD: &'static str = "sweep";

    fn request(self, origin: Option<Origin>) -> Result<SweepRequest, String> {
        let RatesRequest {
            scenario,
            target,
            out,
        } = self.rates.request(origin)?;
        if !(self.factor > 1.0 && self.factor <= 100.0) {
            return Err("--factor must be more than 1 and at most 100".to_owned());
        }
        let sweep = Sweep {
            scenario,
            steps: self.steps,
            factor: self.factor,
        };
        // The last rate must be a valid one too.
        if sweep.rates().last().is_some_and(|rate| *rate > RATE_MAX) {
            return Err(format!(
                "the rate of the last of the --steps is more than {RATE_MAX} messages per second"
            ));
        }
        Ok(SweepRequest { sweep, target, out })
    }

    fn password(&self) -> Option<&str> {
        self.rates.password()
    }
}

const RATE_MAX: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_as;
    use std::ffi::OsString;

    fn request(line: &str) -> Result<SweepRequest, clap::Error> {
        parse_as::<SweepArguments>(format!("sweep {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_rates_are_geometric() {
        let sweep = request("--rate 10 --steps 4 --factor 3").unwrap().sweep;
        assert_eq!(sweep.rates(), [10.0, 30.0, 90.0, 270.0]);
        let sweep = request("--scenario hockey-p2p").unwrap().sweep;
        assert_eq!(sweep.rates().len(), 10);
        assert!(sweep.scenario.slo_p99.is_some());
        let sweep = request("--scenario rate-10k-q1").unwrap().sweep;
        assert_eq!(sweep.rates().first(), Some(&10_000.0), "any load with a rate");
    }

    #[test]
    fn what_cannot_be_swept_is_refused() {
        for (line, part) in [
            ("--rate max", "--rate"),
            ("--rate flood", "--rate"),
            ("--subs 0", "--subs"),
            ("--factor 1", "--factor"),
            ("--factor 100 --steps 100", "--steps"),
            ("--steps 0", "--steps"),
            ("--scenario retained-100k", "loadgen retained"),
        ] {
            assert!(request(line).unwrap_err().to_string().contains(part), "{line}");
        }
    }
}
