//! The options for the published message, which `loadgen pub` and `loadgen rr` share.
//!
//! Invariant: at most one source is given.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Message;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MessageArguments {
    /// Text of the message
    #[arg(
        short,
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        group = "source"
    )]
    message: Option<OsString>,
    /// Publish the content of a file
    #[arg(short, long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,
    /// Publish the whole standard input as one message
    #[arg(short = 's', long, group = "source")]
    stdin_file: bool,
    /// Publish an empty message
    #[arg(short, long, group = "source")]
    null_message: bool,
}

impl MessageArguments {
    /// The message, if there is one.
    pub(super) fn given(self) -> Option<Message> {
        let text = self.message.map(|text| Message::Text(text.into_encoded_bytes()));
        text.or(self.file.map(Message::File))
            .or(self.stdin_file.then_some(Message::StandardInput))
            .or(self.null_message.then(|| Message::Text(Vec::new())))
    }
}
