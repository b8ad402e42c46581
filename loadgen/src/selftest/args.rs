//! The command line of `loadgen selftest`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::Selftest;
use crate::options::usage;
use crate::options::words::seconds;
use crate::system::cpus::Cpus;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelftestRequest {
    /// The test.
    pub selftest: Selftest,
    /// File for the outcome.
    pub json: Option<PathBuf>,
}

/// Reads the command line, the word `selftest` first.
///
/// # Errors
/// Help, or what is wrong.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<SelftestRequest, clap::Error> {
    let arguments = Arguments::try_parse_from(words)?;
    if let Some(cpu) = arguments.cpus.as_ref().and_then(Cpus::first_forbidden) {
        return Err(usage::<Arguments>(&format!(
            "--cpus: this process may not use CPU {cpu}"
        )));
    }
    if arguments.duration.is_zero() || arguments.duration > DURATION_MAX {
        return Err(usage::<Arguments>(
            "--duration must be more than 0 and at most 60 s",
        ));
    }
    Ok(SelftestRequest {
        selftest: Selftest {
            duration: arguments.duration,
            cpus: arguments.cpus,
        },
        json: arguments.json,
    })
}

const DURATION_MAX: Duration = Duration::from_secs(60);

/// Proves the pacer and states what the generator itself can do, against a sink. Exit 4 if it does not keep its schedule.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen selftest",
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110
)]
struct Arguments {
    /// Seconds of each of the four runs
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    duration: Duration,
    /// CPU of the generator's thread
    #[arg(long, value_name = "LIST")]
    cpus: Option<Cpus>,
    /// Write the outcome to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}
