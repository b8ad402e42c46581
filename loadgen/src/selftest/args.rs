//! The command line of `loadgen selftest`.
//!
//! Invariants: none.

use std::path::PathBuf;
use std::time::Duration;

use super::Selftest;
use crate::options::measurement::MeasurementOutput;
use crate::options::words::seconds;
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;
use crate::system::cpus::Cpus;

/// What the command line requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelftestRequest {
    /// The selftest that is asked for.
    pub selftest: Selftest,
    /// File for the outcome.
    pub json: Option<PathBuf>,
}

const DURATION_MAX: Duration = Duration::from_secs(60);

/// Checks that the generator keeps its schedule, and measures what it can do, against a sink. Exit 4 if it does
/// not keep its schedule.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS,
    after_help = "Checks that the generator keeps its schedule, and measures what it can do, against a sink. \
                  Exit 4 if it does not keep its schedule."
)]
pub struct SelftestArguments {
    /// Duration of each of the four runs, in seconds
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    duration: Duration,
    /// CPU of the generator's thread
    #[arg(long, value_name = "LIST")]
    cpus: Option<Cpus>,
    #[command(flatten)]
    output: MeasurementOutput,
}

impl Options for SelftestArguments {
    type Request = SelftestRequest;

    const WORD: &'static str = "selftest";

    fn request(self, _: Option<Origin>) -> Result<SelftestRequest, String> {
        if let Some(cpu) = self.cpus.as_ref().and_then(Cpus::first_forbidden) {
            return Err(format!("--cpus: this process may not use CPU {cpu}"));
        }
        if self.duration.is_zero() || self.duration > DURATION_MAX {
            return Err("--duration must be more than 0 and at most 60 s".to_owned());
        }
        Ok(SelftestRequest {
            selftest: Selftest {
                duration: self.duration,
                cpus: self.cpus,
            },
            json: self.output.json,
        })
    }
}
