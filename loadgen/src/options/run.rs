//! The options of `loadgen run`, which is the default command.
//!
//! Invariants: none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::broker::BrokerArguments;
use super::help::HelpArgument;
use super::load::LoadArguments;
use super::measurement::ScenarioArgument;
use super::words::seconds;
use super::{HELP_COLUMNS, Options, half_the_cores};
use crate::scenario::{Origin, Scenario};
use crate::target::request::TargetRequest;

/// The request on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// The load that is requested.
    pub scenario: Scenario,
    /// The broker to load.
    pub target: TargetRequest,
    /// Where the outcome is written besides the terminal.
    pub output: OutcomeFiles,
}

/// Where an outcome is written besides the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeFiles {
    /// File for the outcome.
    pub json: Option<PathBuf>,
    /// Folder for everything: outcome, time series, histograms, report.
    pub folder: Option<PathBuf>,
    /// Where OpenMetrics are served during the run.
    pub metrics: Option<MetricsRequest>,
}

/// Where metrics are served, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsRequest {
    /// The address and port to listen on.
    pub address: SocketAddr,
    /// The value of the label `run`.
    pub run: String,
    /// How long the last figures and the verdict are served after the run.
    pub keep: Duration,
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
    /// Print the version and exit
    #[arg(long, action = clap::ArgAction::Version, help_heading = "Output")]
    version: Option<bool>,
}

/// Where an outcome is written.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Write the outcome to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write result.json, windows.csv, latency.hgrm, latency.hlog and report.html into this new folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Serve OpenMetrics on this address and port during the run
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// The label `run` of these metrics [default: the time when the run began]
    #[arg(long, value_name = "NAME", requires = "metrics")]
    run_label: Option<String>,
    /// Serve them for this long after the run, with the verdict, so that a scrape finds it
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, requires = "metrics")]
    metrics_keep: Duration,
}

impl From<OutputArguments> for OutcomeFiles {
    fn from(arguments: OutputArguments) -> OutcomeFiles {
        let OutputArguments {
            json,
            out,
            metrics,
            run_label,
            metrics_keep,
        } = arguments;
        let metrics = metrics.map(|address| MetricsRequest {
            address,
            run: run_label.unwrap_or_else(now),
            keep: metrics_keep,
        });
        OutcomeFiles {
            json,
            folder: out,
            metrics,
        }
    }
}

/// The current time in the format of RFC 3339, UTC.
fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
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
