//! The broker as a program: arguments, subcommands, exit code.
//!
//! Invariants: a mistake in the command line or the configuration is one sentence on standard error, or in the log
//! once it is open, and has its own exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use crate::args::{self, Args, Command};
use crate::background::{self, Background};
use crate::exit_code::EXIT_INVALID;
use crate::log::LogDestination;
use crate::server::{ServerError, serve};
use crate::{certs, check, config, ctl, import, log, passwd, store_command, test_config};

/// Reads the arguments and the configuration, and serves until SIGTERM or SIGINT.
///
/// Exit codes are mosquitto's: 0 after a signal, 1 if it could not start or failed, 3 for a wrong command line or
/// configuration.
pub fn run<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args = args::parse_from(arguments);
    match &args.command {
        Some(Command::Certs(certs)) => return certs::run(certs),
        Some(Command::Check(check)) => return check::run(check),
        Some(Command::Ctl(ctl)) => return ctl::run(ctl),
        Some(Command::Import(import)) => return import::run(import),
        Some(Command::Passwd(passwd)) => return passwd::run(passwd),
        Some(Command::Store(store)) => return store_command::run(store),
        None => {}
    }
    let configuration = match config::load(&args) {
        Ok(configuration) => configuration,
        Err(error) => {
            print_error(&error);
            return ExitCode::from(EXIT_INVALID);
        }
    };
    if args.test_config {
        return print_configuration(&configuration);
    }
    if args.daemon {
        match background::start() {
            Ok(Background::Second) => {}
            Ok(Background::First(code)) => return code,
            Err(error) => {
                print_error(&format!("cannot go to the background: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    let log = match log::start(&configuration.log) {
        Ok(log) => log,
        Err(error) => {
            print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    for warning in &configuration.warnings {
        tracing::warn!("{warning}");
    }
    let ending = log.clone();
    let code = serve_to_end(&args, &configuration, log);
    ending.drain();
    code
}

/// Serves, and reports the error if that fails.
fn serve_to_end(args: &Args, configuration: &config::Configuration, log: log::Log) -> ExitCode {
    match serve(args, configuration, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if !configuration.log.destinations.contains(&LogDestination::Stderr) {
                // Whoever started it looks at the terminal, not into the log.
                print_error(&error);
            }
            match error {
                ServerError::Access(_) => ExitCode::from(EXIT_INVALID),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// `--test-config`: prints the settings that would be in effect, and what is wrong with them.
fn print_configuration(configuration: &config::Configuration) -> ExitCode {
    let findings = test_config::check(configuration);
    for warning in &findings.warnings {
        // A standard error that cannot be written must not change the exit code.
        let _failed = writeln!(std::io::stderr(), "Warning: {warning}");
    }
    for problem in &findings.problems {
        print_error(problem);
    }
    if !findings.problems.is_empty() {
        return ExitCode::from(EXIT_INVALID);
    }
    // The reader may close its end early: that is no failure of the configuration.
    let _read = write!(std::io::stdout(), "{}", configuration.effective());
    ExitCode::SUCCESS
}

/// Prints mistakes on the terminal. A standard error that cannot be written must not change the exit code.
fn print_error(error: &dyn std::fmt::Display) {
    let _failed = writeln!(std::io::stderr(), "Error: {error}");
}
