//! Formats one event as one line.
//!
//! Invariants: a line contains no control character, whatever a client put into its identifier or topic (test
//! `v29_control_characters_are_escaped`).

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::json::json_line;
use super::settings::LogFormat;
use super::time_prefix::TimePrefix;
use super::types::LogTypes;

/// The form of a line, without the time: syslog has its own.
pub(super) struct LineFormat;

/// The form of the lines of a destination, with their time.
#[derive(Debug)]
pub(super) struct LineForm {
    pub(super) timestamp: TimePrefix,
    pub(super) format: LogFormat,
}

impl LineForm {
    /// The line as it is written, of a text that ends in a newline.
    pub(super) fn whole(&self, types: LogTypes, line: &[u8]) -> Vec<u8> {
        match self.format {
            LogFormat::Text => {
                let mut time = String::new();
                // The format was checked; a time that cannot be written is omitted.
                let _written = self.timestamp.write(&mut Escaped(&mut time));
                let mut whole = time.into_bytes();
                whole.extend_from_slice(line);
                whole
            }
            LogFormat::Json => json_line(&self.timestamp, types, line),
        }
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Escaped(&mut out);
        match *event.metadata().level() {
            Level::ERROR => line.write_str("Error: ")?,
            Level::WARN => line.write_str("Warning: ")?,
            _ => {}
        }
        let mut fields = Fields {
            out: &mut line,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        out.write_char('\n')
    }
}

/// The text of an event, then its other fields as ` name=value`.
struct Fields<'a, W> {
    out: &'a mut W,
    result: fmt::Result,
}

impl<W: fmt::Write> Visit for Fields<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let result = match field.name() {
            "message" => write!(self.out, "{value:?}"),
            name => write!(self.out, " {name}={value:?}"),
        };
        self.result = self.result.and(result);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Writes characters that [`is_unsafe`] names as `\u{1b}`.
pub(super) struct Escaped<'a, W>(pub(super) &'a mut W);

impl<W: fmt::Write> fmt::Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, tail) = rest.split_at(at);
            self.0.write_str(safe)?;
            let mut characters = tail.chars();
            for character in characters.by_ref().take(1) {
                write!(self.0, "{}", character.escape_unicode())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Whether a character is invisible and changes how others are shown: control codes of a terminal, directions of text,
/// line ends.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{feff}')
        || ('\u{200b}'..='\u{200f}').contains(&character)
        || ('\u{2028}'..='\u{202e}').contains(&character)
        || ('\u{2060}'..='\u{206f}').contains(&character)
}

/// The text on one line, with such characters escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _written = Escaped(&mut line).write_str(text);
    line
}
