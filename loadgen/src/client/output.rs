//! Prints received messages: payload, topic and payload, or the format of `-F`.
//!
//! Invariant: a message is on standard output, completely, before [`Printer::print`] returns.

use std::collections::HashMap;
use std::io::{self, Write as _};

use chrono::Local;
use mqtt::packet::Publish;

use super::args::OutputChoices;
use super::format::Printed;
use crate::system::output::note;

/// The destination and format of printed messages.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    choices: &'a OutputChoices,
    /// With `-w`: the line of the terminal for each topic.
    lines: HashMap<String, usize>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(choices: &'a OutputChoices) -> Printer<'a> {
        Printer {
            choices,
            lines: HashMap::new(),
        }
    }

    /// Prints a message.
    ///
    /// # Errors
    /// The error of standard output.
    pub(super) fn print(&mut self, publish: &Publish<'_>, topic: &str) -> io::Result<()> {
        let mut text = Vec::new();
        if self.choices.watch {
            self.move_to_line(topic, &mut text);
        }
        match &self.choices.format {
            Some(format) => {
                let printed = Printed {
                    publish,
                    topic,
                    at: Local::now(),
                    pretty: self.choices.pretty,
                };
                if format.write(printed, &mut text).is_err() {
                    let topic = topic.escape_debug();
                    note(&format!(
                        "%J needs JSON, but a payload on topic {topic} is not JSON"
                    ));
                }
            }
            None => {
                if self.choices.verbose {
                    text.extend_from_slice(topic.as_bytes());
                    text.push(b' ');
                }
                text.extend_from_slice(publish.payload);
            }
        }
        if !self.choices.no_newline && !self.choices.watch {
            text.push(b'\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    }

    /// Moves to the line of the topic and clears it; the screen is cleared first (ECMA-48: ED, CUP, EL).
    fn move_to_line(&mut self, topic: &str, text: &mut Vec<u8>) {
        if self.lines.is_empty() {
            text.extend_from_slice(b"\x1b[2J");
        }
        let next = self.lines.len() + 1;
        let line = *self.lines.entry(topic.to_owned()).or_insert(next);
        text.extend_from_slice(format!("\x1b[{line};1H\x1b[K").as_bytes());
    }
}
