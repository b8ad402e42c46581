//! Options that scenarios and single measurements share: `--scenario`, and where an outcome is written.
//!
//! Invariants: the words of a scenario are inserted into the command line before these options are parsed
//! ([`super::expand`]), so `--scenario` itself is only accepted here.

use std::path::PathBuf;

use super::help::HelpArgument;
use crate::target::request::TargetRequest;

/// The scenario that is requested by name.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScenarioArgument {
    /// A named scenario (`loadgen scenarios` lists them), or a TOML file whose keys are the long options
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
}

/// Where the outcome of a single measurement is written besides the terminal.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct MeasurementOutput {
    /// Write the outcome to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    help: HelpArgument,
}

/// A single measurement, its broker, and where its outcome is written.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementRequest<M> {
    /// The measurement, with its load.
    pub measurement: M,
    /// The broker to measure.
    pub target: TargetRequest,
    /// File for the outcome.
    pub json: Option<PathBuf>,
}
