//! The options of `loadgen run`, which is also what `loadgen` does without a subcommand.
//!
//! Invariants: none.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::broker::BrokerArguments;
use super::help::HelpArgument;
use super::load::LoadArguments;
use super::measurement::ScenarioArgument;
use super::{HELP_COLUMNS, Options, half_the_cores};
use crate::scenario::{Origin, Scenario};
use crate::target::request::TargetRequest;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// The load that is asked for.
    pub scenario: Scenario,
    /// The broker that it goes to.
    pub target: TargetRequest,
    /// Where the outcome goes besides the terminal.
    pub output: OutcomeFiles,
}

/// Where an outcome goes besides the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeFiles {
    /// File for the outcome.
    pub json: Option<PathBuf>,
    /// Folder for everything: outcome, time series, histograms, report.
    pub folder: Option<PathBuf>,
    /// Where OpenMetrics are served while it runs.
    pub metrics: Option<SocketAddr>,
}

/// Options of a run.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS
)]
pub struct RunArguments {
    #[command(flatten)]
    scenario: ScenarioArgument,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten, next_help_heading = "Output")]
    help: HelpArgument,
    /// Print the version and end
    #[arg(long, action = clap::ArgAction::Version, help_heading = "Output")]
    version: Option<bool>,
}

/// Where an outcome goes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Write the outcome to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write result.json, windows.csv, latency.hgrm, latency.hlog and report.html into this new folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Serve OpenMetrics on this address and port while it runs
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

impl From<OutputArguments> for OutcomeFiles {
    fn from(arguments: OutputArguments) -> OutcomeFiles {
        let OutputArguments { json, out, metrics } = arguments;
        OutcomeFiles {
            json,
            folder: out,
            metrics,
        }
    }
}

impl Options for RunArguments {
    type Request = RunRequest;

    const WORD: &'static str = "run";

    fn request(self, origin: Option<Origin>) -> Result<RunRequest, String> {
        let half_the_cores = half_the_cores();
        let target = self.broker.target(half_the_cores)?;
        let scenario = self.load.scenario(&self.broker, origin, half_the_cores)?;
        scenario.check()?;
        Ok(RunRequest {
            scenario,
            target,
            output: self.output.into(),
        })
    }

    fn password(&self) -> Option<&str> {
        self.broker.password()
    }
}
