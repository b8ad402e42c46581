//! From a mosquitto.conf and the command line to typed settings.
//!
//! `parse` splits a file into keys and values. `reader` looks each key up in the table `keys`, whose entries change
//! the `draft`. `resolve` makes the [`Configuration`] from it (`bridge` its bridges). `effective` writes that back as
//! a file, and `document` makes the page for operators. `addresses` is where listeners are, `network`
//! an address range that a listener trusts, `plugin_draft` has the plugins of a listener; `without_effect` warns of
//! keys that have no effect; `survey` is what comes of each line.
//!
//! Invariants: a configuration is usable as a whole or refused as a whole, with every mistake named by file and line.
//! No setting that would make the broker safer is ignored silently.

mod addresses;
mod bridge;
mod configuration;
mod document;
mod draft;
mod effective;
mod keys;
mod network;
mod parse;
mod plugin_draft;
mod reader;
mod resolve;
mod survey;
mod without_effect;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::bridges_of;

pub(crate) use self::configuration::FixedAtStart;
pub use self::configuration::{
    AddressFamily, Configuration, Durability, ListenerSocket, ListenerTls, Persistence, Protocol,
    ProxyProtocol, UnixSocket,
};
pub use self::document::{moving_tables, reference};
pub use self::network::Network;
pub(crate) use self::survey::{LineVerdict, Survey, SurveyedLine, survey};
use crate::args::Args;
use crate::files::FileError;

/// The configuration that the command line selects.
///
/// # Errors
/// A file cannot be read, a key is unknown or not supported, a value is wrong, or keys contradict each other.
pub fn load(args: &Args) -> Result<Configuration, FileError> {
    let mut draft = draft::Draft::default();
    if let Some(path) = &args.config_file {
        draft.read_file(path);
    }
    resolve::configuration(draft, args)
}
