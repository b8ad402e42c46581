//! Options that scenarios and single measurements share: `--scenario`, and where an outcome is written.
//!
//! Invariants: the words of a scenario are inserted into the command line before these options are parsed
//! ([`super::expand`]), so `--scenario` itself is only accepted here.

use std::path::PathBuf;

use super::help::HelpArgument;
use crate::target::request::TargetRequest;

/// The scenario that is asked for by its name.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScenarioArgument {
    /// A scenario with a name (`loadgen scenarios` lists them), or a TOML file whose keys are the long options
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
}

/// Where the outcome of a single measurement goes besides the terminal.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct MeasurementOutput {
    /// Write the outcome to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    help: HelpArgument,
}

/// A single measurement, the broker that it is taken of, and where its outcome goes.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementRequest<M> {
    /// What is measured, and at which load.
    pub measurement: M,
    /// The broker that it is measured at.
    pub target: TargetRequest,
    /// File for the outcome.
    pub json: Option<PathBuf>,
}
