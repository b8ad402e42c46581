//! Options of commands that run one load at several rates: `loadgen search` and `loadgen sweep`.
//!
//! Invariants: a load that was parsed here has a rate that can be varied, subscribers, and an objective for its p99.

use std::path::PathBuf;
use std::time::Duration;

use super::broker::BrokerArguments;
use super::half_the_cores;
use super::help::HelpArgument;
use super::load::LoadArguments;
use super::measurement::ScenarioArgument;
use crate::scenario::{Load, Origin, Scenario};
use crate::target::request::TargetRequest;

/// The load, the broker, and where the outcome is written.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RatesArguments {
    #[command(flatten)]
    scenario: ScenarioArgument,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Write the outcome as JSON, with report.html, into this new folder
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    help: HelpArgument,
}

/// A load that is run at several rates.
#[derive(Clone, Debug, PartialEq)]
pub struct RatesRequest {
    /// The load; its rate is the first one.
    pub scenario: Scenario,
    /// The broker to load.
    pub target: TargetRequest,
    /// New folder for the outcome and report.html.
    pub out: Option<PathBuf>,
}

impl RatesArguments {
    /// The request of the options, or what is wrong with them.
    pub(crate) fn request(self, origin: Option<Origin>) -> Result<RatesRequest, String> {
        let half_the_cores = half_the_cores();
        let target = self.broker.target(half_the_cores)?;
        let mut scenario = self.load.scenario(&self.broker, origin, half_the_cores)?;
        scenario.slo_p99 = scenario.slo_p99.or(Some(SLO_P99_DEFAULT));
        check(&scenario)?;
        Ok(RatesRequest {
            scenario,
            target,
            out: self.out,
        })
    }

    /// The password in the options, if any.
    pub(crate) fn password(&self) -> Option<&str> {
        self.broker.password()
    }
}

/// Whether a scenario can be run at other rates than its own.
fn check(scenario: &Scenario) -> Result<(), String> {
    scenario.check()?;
    if !matches!(scenario.load, Load::Scheduled { .. }) {
        return Err("the rate is varied: --rate gives the first one, not max, flood or --idle".to_owned());
    }
    if scenario.subscribers == 0 {
        return Err("the measurement needs subscribers: give --subs".to_owned());
    }
    Ok(())
}

/// The objective if none is given.
pub(crate) const SLO_P99_DEFAULT: Duration = Duration::from_millis(10);
