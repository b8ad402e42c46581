//! The command line: words become one typed [`Request`], once.
//!
//! Invariant: a letter means what it means to mosquitto_pub; a letter that means different things to the known tools
//! is refused with the long option named, never guessed. What breaks it: clap's automatic `-h` and `-V`, which are
//! turned off here. A scenario's words stand before those of the command line, so that these have the last word.

pub(crate) mod broker;
pub(crate) mod hosts;
pub(crate) mod letters;
pub(crate) mod load;
pub(crate) mod properties;
pub(crate) mod words;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::scenario::Scenario;
use crate::scenario::named::{self, Command};
use crate::target::request::TargetRequest;
use broker::BrokerArguments;
use load::LoadArguments;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The load.
    pub scenario: Scenario,
    /// Where it goes.
    pub target: TargetRequest,
    /// Where the outcome goes besides the terminal.
    pub output: Output,
}

/// Where an outcome goes besides the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// File for the outcome.
    pub json: Option<PathBuf>,
    /// Folder for everything: outcome, time series, histograms, report.
    pub folder: Option<PathBuf>,
    /// Where OpenMetrics are served while it runs.
    pub metrics: Option<SocketAddr>,
}

/// Reads the command line of a run, the program's name first.
///
/// # Errors
/// Help, version, or what is wrong; [`clap::Error::exit_code`] and its text are ready to be shown.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
    let words = words_of_a_run(words);
    let (arguments, origin) = parsed::<Arguments>(words, Command::Run)?;
    let request = arguments.request(origin);
    request.map_err(|sentence| usage::<Arguments>(&sentence))
}

/// The password among the words, the program's name first, if they can be understood.
pub fn password(words: impl IntoIterator<Item = OsString>) -> Option<String> {
    let words = words_of_a_run(words);
    Arguments::try_parse_from(words).ok()?.broker.password()
}

fn words_of_a_run(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|word| word == "run") {
        words.remove(1);
    }
    words
}

/// The arguments, with those of the scenario that they name.
pub(crate) fn parsed<P: Parser + CommandFactory>(
    words: Vec<OsString>,
    command: Command,
) -> Result<(P, Option<crate::scenario::Origin>), clap::Error> {
    let refuse = |sentence: String| usage::<P>(&sentence);
    letters::refuse_clashing_letters(&words).map_err(refuse)?;
    let (words, origin) = named::expand(words, command).map_err(refuse)?;
    Ok((P::try_parse_from(words)?, origin))
}

/// Half of the cores, at least one: what a broker of our own and the generator take each.
pub(crate) fn half_the_cores() -> usize {
    std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .div_euclid(2)
        .max(1)
}

/// A usage error of a command.
pub(crate) fn usage<P: CommandFactory>(sentence: &str) -> clap::Error {
    P::command().error(ErrorKind::InvalidValue, sentence)
}

/// An MQTT load generator. Without -h it starts a broker of its own, over TLS, for the run.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 110,
    after_help = COMMANDS
)]
struct Arguments {
    /// A load with a name (`loadgen scenarios` lists them), or a TOML file whose keys are the long options
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Output")]
    help: Option<bool>,
    /// Print the version
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

impl From<OutputArguments> for Output {
    fn from(arguments: OutputArguments) -> Output {
        let OutputArguments { json, out, metrics } = arguments;
        Output {
            json,
            folder: out,
            metrics,
        }
    }
}

impl Arguments {
    fn request(self, origin: Option<crate::scenario::Origin>) -> Result<Request, String> {
        let half_the_cores = half_the_cores();
        let target = self.broker.target(half_the_cores)?;
        let scenario = self.load.scenario(&self.broker, origin, half_the_cores)?;
        scenario.check()?;
        Ok(Request {
            scenario,
            target,
            output: self.output.into(),
        })
    }
}

const COMMANDS: &str = "\
Commands, each with a --help of its own:
  loadgen run        the same as without a word
  loadgen compare    Midge and other brokers on the same work, side by side
  loadgen search     the highest rate within an objective
  loadgen sweep      the latency at one rate after the other
  loadgen conn       connections made and closed again
  loadgen selftest   what the generator itself can do
  loadgen report     the HTML report of a folder of results
  loadgen scenarios  the loads that have names
  loadgen pub, sub   publish and subscribe as mosquitto_pub and mosquitto_sub do";

#[cfg(test)]
mod tests;
