//! The command line of `loadgen search`.
//!
//! Invariants: none.

use crate::options::rates::{RatesArguments, RatesRequest};
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;

/// Options of a search for the highest rate.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    after_help = "Finds the highest rate with a p99 within --slo-p99-ms (10 ms if not given): it doubles the rate, \
                  bisects to 3 %, and confirms three times."
)]
pub struct SearchArguments {
    #[command(flatten)]
    rates: RatesArguments,
}

impl Options for SearchArguments {
    type Request = RatesRequest;

    const WORD: &'static str = "search";

    fn request(self, origin: Option<Origin>) -> Result<RatesRequest, String> {
        self.rates.request(origin)
    }

    fn password(&self) -> Option<&str> {
        self.rates.password()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::parse_as;
    use crate::options::rates::SLO_P99_DEFAULT;
    use std::ffi::OsString;

    #[test]
    fn the_objective_has_a_default_and_the_load_a_rate() {
        let request = |line: &str| {
            parse_as::<SearchArguments>(format!("search {line}").split_whitespace().map(OsString::from))
        };
        let plain = request("--pubs 10 --subs 10").unwrap().scenario;
        assert_eq!(plain.slo_p99, Some(SLO_P99_DEFAULT));
        let given = request("--slo-p99-ms 2 --scenario singlenode-p2p-1K-1K-1K-1K")
            .unwrap()
            .scenario;
        assert_eq!(
            (given.slo_p99, given.publishers),
            (Some(Duration::from_millis(2)), 1_000)
        );
        for (line, part) in [
            ("--rate max", "--rate"),
            ("--idle", "--idle"),
            ("--subs 0", "--subs"),
        ] {
            assert!(request(line).unwrap_err().to_string().contains(part), "{line}");
        }
    }
}
