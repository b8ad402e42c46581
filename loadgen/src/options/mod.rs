//! The options of the command line: those of each subcommand are parsed once, into a typed request.
//!
//! [`Options`] is the trait of every subcommand's struct. [`run`] has the options of a run, [`rates`] those that a
//! search and a sweep share, [`measurement`] those that `conn`, `retained` and `selftest` share. [`broker`], [`load`],
//! [`properties`], [`objectives`], [`hosts`] and [`help`] are groups that several subcommands use. [`words`] parses
//! single values, [`letters`] refuses ambiguous letters.
//!
//! Invariant: a letter has the meaning that it has in mosquitto_pub. A letter with different meanings in the known
//! tools is refused, and the error names the long option. What breaks it: clap's automatic `-h` and `-V`, which are
//! turned off. A scenario's arguments come before those of the command line, so the command line overrides them.

pub(crate) mod broker;
pub(crate) mod help;
pub(crate) mod hosts;
pub(crate) mod letters;
pub(crate) mod load;
pub mod measurement;
pub(crate) mod objectives;
pub(crate) mod properties;
pub mod rates;
pub mod run;
pub(crate) mod words;

use std::ffi::OsString;
use std::num::NonZeroUsize;

use clap::error::ErrorKind;

use crate::scenario::Origin;
use crate::scenario::named::{self, Command};
use run::{RunArguments, RunRequest};

/// The options of one subcommand.
pub trait Options: clap::Args {
    /// The typed request that the options are parsed into.
    type Request;

    /// The name of the subcommand.
    const WORD: &'static str;

    /// The request of the options; `origin` is the scenario that they named.
    ///
    /// # Errors
    /// One sentence about what is impossible.
    fn request(self, origin: Option<Origin>) -> Result<Self::Request, String>;

    /// Whether a signal is the normal way to end it, and not an interruption: its exit code is 0 then.
    const ENDS_BY_SIGNAL: bool = false;

    /// The password among the options, or the argument that contains it, so that it can be hidden.
    fn password(&self) -> Option<&str> {
        None
    }
}

/// Parses the arguments of a subcommand, which begin with its name.
///
/// # Errors
/// Help, version, or what is wrong; [`clap::Error::exit_code`] and its text can be used directly.
pub fn parse_as<O: Options>(words: impl IntoIterator<Item = OsString>) -> Result<O::Request, clap::Error> {
    let command = || {
        let named = clap::Command::new("loadgen").bin_name(format!("loadgen {}", O::WORD));
        O::augment_args(named.version(env!("CARGO_PKG_VERSION")))
    };
    let refuse = |sentence: String| command().error(ErrorKind::InvalidValue, sentence);
    let (words, origin) = expand(words.into_iter().collect(), Command::taken_by(O::WORD)).map_err(refuse)?;
    let mut matches = command().try_get_matches_from(words)?;
    let arguments = O::from_arg_matches_mut(&mut matches)?;
    arguments.request(origin).map_err(refuse)
}

/// Parses the arguments of a run, which begin with the program's name.
///
/// # Errors
/// As [`parse_as`].
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<RunRequest, clap::Error> {
    parse_as::<RunArguments>(words)
}

/// Inserts the arguments of the scenario that `words` name after the first one, for subcommands that support
/// scenarios.
pub(crate) fn expand(
    words: Vec<OsString>,
    taker: Option<Command>,
) -> Result<(Vec<OsString>, Option<Origin>), String> {
    let Some(taker) = taker else {
        return Ok((words, None));
    };
    letters::refuse_clashing_letters(&words)?;
    named::expand(words, taker)
}

/// The command line as it was typed, for files of results.
pub fn command_line() -> String {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    format!("loadgen {}", words.join(" "))
}

/// Half of the cores, at least one: the default for a started broker and for the generator.
pub(crate) fn half_the_cores() -> usize {
    std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .div_euclid(2)
        .max(1)
}

/// The width of help texts.
pub(crate) const HELP_COLUMNS: usize = 80;

#[cfg(test)]
mod tests;
