//! The options of what `loadgen sub` and `loadgen rr` print.
//!
//! Invariants: none.

use crate::client::format::OutputFormat;

/// How messages are printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::client) struct OutputChoices {
    pub(in crate::client) format: Option<OutputFormat>,
    pub(in crate::client) pretty: bool,
    pub(in crate::client) verbose: bool,
    pub(in crate::client) no_newline: bool,
    pub(in crate::client) watch: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PrintArguments {
    /// Print the topic before each message
    #[arg(short, long)]
    verbose: bool,
    /// Print each message so: %t topic, %p payload, %q QoS, %j JSON, @Y year, \n new line; mosquitto_sub(1) has all
    #[arg(short = 'F', value_name = "FORMAT", value_parser = OutputFormat::parse, conflicts_with = "verbose")]
    format: Option<OutputFormat>,
    /// JSON of -F on several lines
    #[arg(long, requires = "format")]
    pretty: bool,
    /// No newline behind a message
    #[arg(short = 'N')]
    no_newline: bool,
}

impl PrintArguments {
    pub(super) fn choices(self, watch: bool) -> OutputChoices {
        OutputChoices {
            format: self.format,
            pretty: self.pretty,
            verbose: self.verbose,
            no_newline: self.no_newline,
            watch,
        }
    }
}
