//! The command line of `loadgen search`.

use std::path::PathBuf;
use std::time::Duration;

use crate::options::broker::BrokerArguments;
use crate::options::load::LoadArguments;
use crate::options::{HELP_COLUMNS, Options, half_the_cores};
use crate::scenario::{Load, Origin, Scenario};
use crate::target::request::TargetRequest;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchRequest {
    /// The load; its rate is the first that is tried.
    pub scenario: Scenario,
    /// Where it goes.
    pub target: TargetRequest,
    /// New folder for search.json and report.html.
    pub out: Option<PathBuf>,
}

/// The highest rate with a p99 within --slo-p99-ms (10 ms if not given): doubles, bisects to 3 %, confirms three times.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    after_help = "The highest rate with a p99 within --slo-p99-ms (10 ms if not given): it doubles the rate, bisects to 3 %, and confirms three times."
)]
pub struct SearchArguments {
    /// A load with a name (`loadgen scenarios` lists them), or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Write search.json and report.html into this new folder
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Output")]
    help: Option<bool>,
}

impl Options for SearchArguments {
    type Request = SearchRequest;

    const WORD: &'static str = "search";

    fn request(self, origin: Option<Origin>) -> Result<SearchRequest, String> {
        let half_the_cores = half_the_cores();
        let target = self.broker.target(half_the_cores)?;
        let mut scenario = self.load.scenario(&self.broker, origin, half_the_cores)?;
        scenario.slo_p99 = scenario.slo_p99.or(Some(SLO_P99_DEFAULT));
        check(&scenario)?;
        Ok(SearchRequest {
            scenario,
            target,
            out: self.out,
        })
    }

    fn password(&self) -> Option<&str> {
        self.broker.password()
    }
}

/// Whether a scenario can be run at other rates than its own.
///
/// # Errors
/// A sentence on why not.
pub(crate) fn check(scenario: &Scenario) -> Result<(), String> {
    scenario.check()?;
    if !matches!(scenario.load, Load::Paced { .. }) {
        return Err("the rate is varied: --rate gives the first one, not max, flood or --idle".to_owned());
    }
    if scenario.subscribers == 0 {
        return Err("what subscribers receive is looked at: give --subs".to_owned());
    }
    Ok(())
}

/// The objective where none is given.
pub(crate) const SLO_P99_DEFAULT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_as;
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
