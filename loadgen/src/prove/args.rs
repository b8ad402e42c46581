//! The command line of `loadgen prove`.
//!
//! Invariants: none.

use std::path::PathBuf;

use super::cases::{self, Case};
use crate::options::measurement::MeasurementOutput;
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;

/// The request on the command line.
pub struct ProveRequest {
    /// The cases to run.
    pub cases: Vec<Case>,
    /// The command of another generator; `None`: this one.
    pub against: Option<Vec<String>>,
    /// File for the table.
    pub json: Option<PathBuf>,
}

/// Injects faults of the path and the machine, and checks the verdicts of this generator
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS,
    after_help = "A proxy drops, repeats, swaps, corrupts, delays, stalls, slows and cuts what a broker \
        sends; busy loops and a quota take CPU time from the generator. The table shows the fault, the \
        verdict and the correct verdict. Exit 1 if a verdict is wrong, 4 if the machine was too busy for \
        one."
)]
pub struct ProveArguments {
    /// A case by its name; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    #[command(flatten)]
    output: MeasurementOutput,
    /// Another generator, as the last option: its command, in which %h is the host and %p the port. Only its exit code
    /// is interpreted
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    against: Option<Vec<String>>,
}

impl Options for ProveArguments {
    type Request = ProveRequest;

    const WORD: &'static str = "prove";

    fn request(self, _: Option<Origin>) -> Result<ProveRequest, String> {
        let names = || {
            let names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
            names.join(", ")
        };
        let of = |name: &String| {
            let found = cases::ALL.iter().find(|case| case.name == name);
            found
                .copied()
                .ok_or_else(|| format!("--case {name}: the cases are {}", names()))
        };
        let mut chosen: Vec<Case> = self.case.iter().map(of).collect::<Result<_, _>>()?;
        if chosen.is_empty() {
            chosen = cases::ALL.to_vec();
        }
        Ok(ProveRequest {
            cases: chosen,
            against: self.against,
            json: self.output.json,
        })
    }
}
