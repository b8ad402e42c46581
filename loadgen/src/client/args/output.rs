//! The options for the output of `loadgen sub` and `loadgen rr`.
//!
//! Invariants: none.

use crate::client::format::OutputFormat;

/// The format of printed messages.
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
    /// Output format: %t topic, %p payload, %q QoS, %j JSON, @Y year,
    /// \n new line; see mosquitto_sub(1)
    #[arg(short = 'F', value_name = "FORMAT", value_parser = OutputFormat::parse, conflicts_with = "verbose")]
    format: Option<OutputFormat>,
    /// Print the JSON of -F on several lines
    #[arg(long, requires = "format")]
    pretty: bool,
    /// Print no newline after a message
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
