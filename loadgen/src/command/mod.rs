//! The subcommands: from the command line to the exit code.
//!
//! [`Subcommand`] has a variant for each, with the struct of its options. [`loads`] runs loads of messages, [`single`]
//! the single measurements; [`files`] writes files.
//!
//! Invariant: before anything else happens, a password on the command line is hidden, for every subcommand. What
//! breaks it: a subcommand whose [`Options::password`] does not return it.

mod files;
mod loads;
mod single;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::client::{self, PublishArguments, RequestArguments, SubscribeArguments};
use crate::compare::{self, args::CompareArguments, diff::DiffArguments};
use crate::connect::args::ConnectArguments;
use crate::html::{self, args::ReportArguments};
use crate::options::help::HelpArgument;
use crate::options::run::RunArguments;
use crate::options::{HELP_COLUMNS, Options, expand};
use crate::prove::args::ProveArguments;
use crate::retained::args::RetainedArguments;
use crate::scenario::Origin;
use crate::scenario::named;
use crate::search::args::SearchArguments;
use crate::selftest::args::SelftestArguments;
use crate::sweep::args::SweepArguments;
use crate::system::error::{EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Failure};
use crate::system::hide_password;
use crate::system::output::{note, print};
use crate::target::process;

/// An MQTT load generator. Without -h it starts its own broker, over TLS, for the run
#[derive(Debug, clap::Parser)]
#[command(
    name = "loadgen",
    version,
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    subcommand_help_heading = "Commands, each with its own --help; without one, run"
)]
struct Program {
    #[command(subcommand)]
    subcommand: Option<Subcommand>,
    #[command(flatten)]
    run: RunArguments,
}

/// The subcommands of the program.
#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Run a load of messages; the default command
    Run(Box<RunArguments>),
    /// Compare Midge and other brokers under the same load
    Compare(CompareArguments),
    /// Compare two runs or two folders of results
    Diff(DiffArguments),
    /// Find the highest rate within an objective
    Search(Box<SearchArguments>),
    /// Measure the latency at increasing rates
    Sweep(Box<SweepArguments>),
    /// Measure connections that are made and closed again
    Conn(Box<ConnectArguments>),
    /// Measure publishing retained messages and receiving them with one subscriber
    Retained(Box<RetainedArguments>),
    /// Measure the limits of the generator itself
    Selftest(SelftestArguments),
    /// Inject faults and check the verdicts of the generator
    Prove(ProveArguments),
    /// Write the HTML report of a folder of results
    Report(ReportArguments),
    /// List the named loads
    Scenarios(ScenariosArguments),
    /// Publish as mosquitto_pub does
    Pub(Box<PublishArguments>),
    /// Subscribe as mosquitto_sub does
    Sub(Box<SubscribeArguments>),
    /// Publish a request and print its response, as mosquitto_rr does
    Rr(Box<RequestArguments>),
    /// The broker of a run, started by loadgen itself
    #[command(hide = true)]
    Broker(ChildArguments),
    /// A peer of a comparison, started by loadgen itself
    #[command(hide = true)]
    Peer(ChildArguments),
}

/// Scenarios need no options.
#[derive(Clone, Debug, clap::Args)]
struct ScenariosArguments {
    #[command(flatten)]
    help: HelpArgument,
}

/// The arguments that [`process`] passes to the processes that it starts.
#[derive(Clone, Debug, clap::Args)]
struct ChildArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Runs the command line, which begins with the program's name.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let (subcommand, origin) = match read(words) {
        Ok(read) => read,
        Err(error) => return refuse(&error),
    };
    if let Some(password) = subcommand.password() {
        hide_password::hide(password);
    }
    subcommand.run(origin)
}

/// The subcommand of the command line, and the scenario that it names.
fn read(words: Vec<OsString>) -> Result<(Subcommand, Option<Origin>), clap::Error> {
    let first = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let is_bare = first.is_empty() || first.starts_with('-');
    let word = if is_bare { RunArguments::WORD } else { first }.to_owned();
    let mut words = words;
    let mut expanded: Vec<OsString> = words.drain(..usize::from(!is_bare).min(words.len())).collect();
    let (words, origin) =
        expand(words, named::Command::taken_by(&word)).map_err(|sentence| usage(&word, &sentence))?;
    expanded.extend(words);
    let program = Program::try_parse_from(expanded)?;
    let run = program.run;
    Ok((
        program
            .subcommand
            .unwrap_or_else(|| Subcommand::Run(Box::new(run))),
        origin,
    ))
}

/// A usage error of a subcommand.
fn usage(word: &str, sentence: &str) -> clap::Error {
    let mut program = Program::command();
    program.build();
    match program.find_subcommand_mut(word) {
        Some(subcommand) => subcommand.error(ErrorKind::InvalidValue, sentence),
        None => program.error(ErrorKind::InvalidValue, sentence),
    }
}

impl Subcommand {
    fn password(&self) -> Option<&str> {
        match self {
            Subcommand::Run(options) => options.password(),
            Subcommand::Search(options) => options.password(),
            Subcommand::Sweep(options) => options.password(),
            Subcommand::Conn(options) => options.password(),
            Subcommand::Retained(options) => options.password(),
            Subcommand::Pub(options) => options.password(),
            Subcommand::Sub(options) => options.password(),
            Subcommand::Rr(options) => options.password(),
            Subcommand::Compare(options) => options.password(),
            Subcommand::Diff(options) => options.password(),
            Subcommand::Selftest(options) => options.password(),
            Subcommand::Prove(options) => options.password(),
            Subcommand::Report(options) => options.password(),
            Subcommand::Scenarios(_) | Subcommand::Broker(_) | Subcommand::Peer(_) => None,
        }
    }

    fn run(self, origin: Option<Origin>) -> ExitCode {
        match self {
            Subcommand::Run(options) => run(*options, origin, loads::run),
            Subcommand::Search(options) => run(*options, origin, loads::search),
            Subcommand::Sweep(options) => run(*options, origin, loads::sweep),
            Subcommand::Conn(options) => run(*options, origin, single::connect),
            Subcommand::Retained(options) => run(*options, origin, single::retained),
            Subcommand::Selftest(options) => run(options, origin, single::selftest),
            Subcommand::Prove(options) => run(options, origin, single::prove),
            Subcommand::Compare(options) => run(options, origin, compare::run),
            Subcommand::Diff(options) => run(options, origin, |request, _| compare::diff::run(request)),
            Subcommand::Report(options) => run(options, origin, |folder, _| report(folder)),
            Subcommand::Pub(options) => run(*options, origin, client::publish),
            Subcommand::Sub(options) => run(*options, origin, client::subscribe),
            Subcommand::Rr(options) => run(*options, origin, client::request),
            Subcommand::Scenarios(_) => end(print(&named::list()).map(|()| EXIT_OK)),
            Subcommand::Broker(child) => process::become_broker(child.words),
            Subcommand::Peer(child) => process::become_peer(child.words),
        }
    }
}

/// Runs a subcommand with its options, or prints what is wrong with them.
fn run<O: Options>(
    options: O,
    origin: Option<Origin>,
    program: impl FnOnce(&O::Request, &AtomicBool) -> Result<u8, Failure>,
) -> ExitCode {
    match options.request(origin) {
        Ok(request) => end(watch_signals().and_then(|interrupted| {
            let exit_code = program(&request, &interrupted)?;
            // Whenever the interruption came and whatever there was until then: scripts depend on this one code.
            let is_interruption = !O::ENDS_BY_SIGNAL && interrupted.load(Ordering::Relaxed);
            Ok(if is_interruption {
                EXIT_INTERRUPTED
            } else {
                exit_code
            })
        })),
        Err(sentence) => refuse(&usage(O::WORD, &sentence)),
    }
}

fn end(ended: Result<u8, Failure>) -> ExitCode {
    ExitCode::from(ended.unwrap_or_else(|failure| {
        note(&failure.to_string());
        failure.exit_code()
    }))
}

fn refuse(error: &clap::Error) -> ExitCode {
    match error.print() {
        // Help that could not be written; a pipe whose reader has gone is no error.
        Err(cause) if !error.use_stderr() && cause.kind() != io::ErrorKind::BrokenPipe => {
            end(Err(Failure::system("cannot write to standard output")(cause)))
        }
        // If a mistake cannot be printed, there is still the exit code.
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE)),
    }
}

fn report(folder: &Path) -> Result<u8, Failure> {
    if folder.join("raw").is_dir() {
        let written = compare::folder::sum_up_again(folder);
        written.map_err(Failure::system("cannot summarize the rounds"))?;
    }
    let written = html::write(folder);
    let path = written.map_err(Failure::system(format!("cannot report on {}", folder.display())))?;
    print(&format!("{}\n", path.display()))?;
    Ok(EXIT_OK)
}

/// The first SIGINT or SIGTERM ends the load early, the second one ends the program.
fn watch_signals() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let code = 128 + signal;
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(Failure::system("cannot handle signals"))?;
    }
    Ok(interrupted)
}
