//! The options of the command line: each subcommand's become one typed request, once.
//!
//! [`Options`] is what every subcommand's struct can do. [`run`] has those of a run; [`rates`] what those of a search
//! and of a sweep have in common, [`measurement`] what those of `conn`, `retained` and `selftest` have; [`broker`],
//! [`load`], [`properties`], [`hosts`] and [`help`] are groups that subcommands share, [`words`] reads single values,
//! [`letters`] refuses what is ambiguous.
//!
//! Invariant: a letter means what it means to mosquitto_pub; a letter that means different things to the known tools
//! is refused with the long option named, never guessed. What breaks it: clap's automatic `-h` and `-V`, which are
//! turned off. A scenario's words stand before those of the command line, so that these have the last word.

pub(crate) mod broker;
pub(crate) mod help;
pub(crate) mod hosts;
pub(crate) mod letters;
pub(crate) mod load;
pub mod measurement;
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
    /// What they ask for.
    type Request;

    /// The subcommand's word.
    const WORD: &'static str;

    /// What they ask for; `origin` is the scenario that they named.
    ///
    /// # Errors
    /// One sentence on what cannot be.
    fn request(self, origin: Option<Origin>) -> Result<Self::Request, String>;

    /// Whether a signal is the way to end it, so that it is no interruption: its exit code is 0 then.
    const ENDS_BY_SIGNAL: bool = false;

    /// The password among them.
    fn password(&self) -> Option<&str> {
        None
    }
}

/// Reads the words of a subcommand, its own word first.
///
/// # Errors
/// Help, version, or what is wrong; [`clap::Error::exit_code`] and its text are ready to be shown.
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

/// Reads the words of a run, the program's name first.
///
/// # Errors
/// As [`parse_as`].
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<RunRequest, clap::Error> {
    parse_as::<RunArguments>(words)
}

/// Puts the words of the scenario that `words` name before them, behind the first word, for who takes scenarios.
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

/// Half of the cores, at least one: what a broker of our own and the generator take each.
pub(crate) fn half_the_cores() -> usize {
    std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .div_euclid(2)
        .max(1)
}

/// Columns of help texts.
pub(crate) const HELP_COLUMNS: usize = 80;

#[cfg(test)]
mod tests;
