//! The format of `-F`, as mosquitto_sub(1) describes it: text with sequences of `%`, `@` and `\`, parsed once.
//!
//! A sequence of `%` is a field of the message, with optional flags, width and precision as in printf(3); one of `@` a
//! field of the time of day as in strftime(3); one of `\` an escaped character.
//!
//! Invariant: a parsed format can be written for every message. It differs from mosquitto_sub 2.0 in one point: a
//! payload with a width (`%p`, `%x`, `%X`) is never cut to it.

use std::fmt::Write as _;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local};
use mqtt::packet::Publish;
use mqtt::property::{Properties, Property};

use super::json_form::{PayloadForm, json_form};

/// A parsed format, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputFormat(Vec<FormatPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum FormatPart {
    Bytes(Vec<u8>),
    Field(Field, Layout),
    /// A format of strftime(3).
    Time(String),
    Nanoseconds,
    UnixTime,
    Json(PayloadForm),
}

/// A part of a message that can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    MessageExpiryInterval,
    PayloadFormatIndicator,
    Time,
    PayloadBytes,
    PacketIdentifier,
    UserProperties,
    Payload,
    Qos,
    ResponseTopic,
    Retain,
    SubscriptionIdentifier,
    Topic,
    LowerHex,
    UpperHex,
}

/// Flags, width and precision of a field; other fields ignore them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layout {
    left: bool,
    zero: bool,
    columns_min: usize,
    columns_max: Option<usize>,
}

/// A message to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printed<'a> {
    pub(super) publish: &'a Publish<'a>,
    /// Its topic, even if the packet has only an alias.
    pub(super) topic: &'a str,
    pub(super) at: DateTime<Local>,
    /// JSON on several lines.
    pub(super) pretty: bool,
}

impl OutputFormat {
    /// Parses a format; the error is one sentence.
    pub(super) fn parse(text: &str) -> Result<OutputFormat, String> {
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '%' => parts.push(percent(&mut rest)?),
                '@' => parts.push(time(rest.next())?),
                '\\' => push_text(&mut parts, escape(rest.next())?),
                _ => push_text(&mut parts, character),
            }
        }
        Ok(OutputFormat(parts))
    }

    /// Appends a message.
    ///
    /// # Errors
    /// Its payload should be printed as JSON but is not JSON; everything else is written.
    pub(super) fn write(&self, printed: Printed<'_>, out: &mut Vec<u8>) -> Result<(), NoJson> {
        let mut result = Ok(());
        for part in &self.0 {
            match part {
                FormatPart::Bytes(bytes) => out.extend_from_slice(bytes),
                FormatPart::Field(field, layout) => layout.append(*field, &field.bytes(printed), out),
                FormatPart::Time(format) => append_time(printed.at, format, out),
                FormatPart::Nanoseconds => {
                    append_text(out, format_args!("{:09}", printed.at.timestamp_subsec_nanos()))
                }
                FormatPart::UnixTime => append_time(printed.at, "%s.%9f", out),
                FormatPart::Json(form) => match json_form(printed, *form) {
                    Some(text) => out.extend_from_slice(&text),
                    None => result = Err(NoJson),
                },
            }
        }
        result
    }
}

/// A payload is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoJson;

fn push_text(parts: &mut Vec<FormatPart>, character: char) {
    let mut utf8 = [0; 4];
    let bytes = character.encode_utf8(&mut utf8).as_bytes();
    match parts.last_mut() {
        Some(FormatPart::Bytes(text)) => text.extend_from_slice(bytes),
        _ => parts.push(FormatPart::Bytes(bytes.to_vec())),
    }
}

/// The part after a `%`: flags, width, precision, and the letter of a field.
fn percent(rest: &mut std::str::Chars<'_>) -> Result<FormatPart, String> {
    let mut layout = Layout::default();
    let mut next = rest.next();
    while let Some(flag @ ('-' | '0')) = next {
        layout.left |= flag == '-';
        layout.zero |= flag == '0';
        next = rest.next();
    }
    let columns_min = digits(&mut next, rest)?;
    layout.columns_min = columns_min.unwrap_or(0);
    if next == Some('.') {
        next = rest.next();
        layout.columns_max = Some(digits(&mut next, rest)?.unwrap_or(0));
    }
    let letter = next.ok_or("the format ends within a sequence of %")?;
    Ok(match letter {
        '%' => FormatPart::Bytes(b"%".to_vec()),
        'j' => FormatPart::Json(PayloadForm::Text),
        'J' => FormatPart::Json(PayloadForm::Json),
        'U' => FormatPart::UnixTime,
        letter => match FIELDS.iter().find(|(known, _)| *known == letter) {
            Some((_, field)) => FormatPart::Field(*field, layout),
            None => {
                return Err(format!(
                    "%{letter} is not a field of a message; the fields are %A %C %D %E %F %I %J %j %l %m %P \
                    %p %q %R %r %S %t %U %X %x"
                ));
            }
        },
    })
}

/// A number, if there is one.
fn digits(next: &mut Option<char>, rest: &mut std::str::Chars<'_>) -> Result<Option<usize>, String> {
    let mut number = None;
    while let Some(digit) = next.and_then(|it| it.to_digit(10)) {
        let value = number.unwrap_or(0) * 10 + digit as usize;
        if value > COLUMNS_MAX {
            return Err(format!("a width in a format is at most {COLUMNS_MAX}"));
        }
        number = Some(value);
        *next = rest.next();
    }
    Ok(number)
}

/// A field of the time of day, after an `@`.
fn time(letter: Option<char>) -> Result<FormatPart, String> {
    let letter = letter.ok_or("the format ends with @")?;
    match letter {
        '@' => return Ok(FormatPart::Bytes(b"@".to_vec())),
        'N' => return Ok(FormatPart::Nanoseconds),
        _ => {}
    }
    let format = format!("%{letter}");
    if StrftimeItems::new(&format).any(|item| item == Item::Error) {
        return Err(format!(
            "@{letter} is not a field of a time: strftime(3) lists them"
        ));
    }
    Ok(FormatPart::Time(format))
}

/// The escape after a backslash.
fn escape(letter: Option<char>) -> Result<char, String> {
    Ok(match letter.ok_or("the format ends with a backslash")? {
        '\\' => '\\',
        '0' => '\0',
        'a' => '\x07',
        'e' => '\x1b',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        letter => {
            return Err(format!(
                "\\{letter} is not an escape; the escapes are \\\\ \\0 \\a \\e \\n \\r \\t \\v"
            ));
        }
    })
}

impl Field {
    fn bytes(self, printed: Printed<'_>) -> Vec<u8> {
        let publish = printed.publish;
        let properties = publish.properties;
        let hex = |digits: &[u8; 16]| {
            let byte =
                |byte: &u8| [byte >> 4, byte & 15].map(|digit| digits.get(usize::from(digit)).copied());
            publish.payload.iter().flat_map(byte).flatten().collect()
        };
        match self {
            Field::Topic => printed.topic.into(),
            Field::Payload => publish.payload.to_vec(),
            Field::PayloadBytes => number(Some(publish.payload.len() as u64)),
            Field::Qos => number(Some(publish.qos as u64)),
            Field::Retain => number(Some(publish.retain.into())),
            Field::PacketIdentifier => {
                number(Some(publish.packet_identifier.map_or(0, |it| it.get().into())))
            }
            Field::LowerHex => hex(b"0123456789abcdef"),
            Field::UpperHex => hex(b"0123456789ABCDEF"),
            Field::Time => {
                let mut text = Vec::new();
                append_time(printed.at, ISO_8601, &mut text);
                text
            }
            Field::TopicAlias => number(properties.topic_alias().map(|alias| alias.get().into())),
            Field::MessageExpiryInterval => number(properties.message_expiry_interval_s().map(u64::from)),
            Field::PayloadFormatIndicator => number(properties.payload_format_indicator().map(u64::from)),
            Field::SubscriptionIdentifier => number(properties.subscription_identifier().map(u64::from)),
            Field::ContentType => properties.content_type().unwrap_or_default().into(),
            Field::ResponseTopic => properties.response_topic().unwrap_or_default().into(),
            Field::CorrelationData => properties.correlation_data().unwrap_or_default().to_vec(),
            Field::UserProperties => user_properties(properties).into_bytes(),
        }
    }

    fn has_width(self) -> bool {
        !matches!(
            self,
            Field::CorrelationData | Field::UserProperties | Field::Qos | Field::Retain
        )
    }

    fn has_precision(self) -> bool {
        matches!(
            self,
            Field::ContentType | Field::ResponseTopic | Field::Time | Field::Topic
        )
    }

    fn is_zero_padded(self) -> bool {
        self.has_width() && !self.has_precision()
    }
}

impl Layout {
    fn append(self, field: Field, bytes: &[u8], out: &mut Vec<u8>) {
        let columns_max = self.columns_max.filter(|_| field.has_precision());
        let bytes = bytes
            .get(..columns_max.unwrap_or(usize::MAX).min(bytes.len()))
            .unwrap_or(bytes);
        let columns = if field.has_width() { self.columns_min } else { 0 };
        let padding = columns.saturating_sub(bytes.len());
        let (sign, left) = match field.is_zero_padded() && self.zero && !self.left {
            true => (b'0', false),
            false => (b' ', self.left),
        };
        if left {
            out.extend_from_slice(bytes);
        }
        out.extend(std::iter::repeat_n(sign, padding));
        if !left {
            out.extend_from_slice(bytes);
        }
    }
}

/// Writes nothing for a missing property.
fn number(value: Option<u64>) -> Vec<u8> {
    value
        .map(|value| value.to_string().into_bytes())
        .unwrap_or_default()
}

fn user_properties(properties: Properties<'_>) -> String {
    let pair = |property| match property {
        Property::UserProperty(name, value) => Some(format!("{name}:{value}")),
        _ => None,
    };
    properties.iter().filter_map(pair).collect::<Vec<_>>().join(" ")
}

/// Appends a time in a parsed format.
fn append_time(at: DateTime<Local>, format: &str, out: &mut Vec<u8>) {
    append_text(out, format_args!("{}", at.format(format)));
}

fn append_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let mut written = String::new();
    // Writing to a string does not fail.
    let _ = written.write_fmt(text);
    out.extend_from_slice(written.as_bytes());
}

/// The letters of fields.
const FIELDS: &[(char, Field)] = &[
    ('A', Field::TopicAlias),
    ('C', Field::ContentType),
    ('D', Field::CorrelationData),
    ('E', Field::MessageExpiryInterval),
    ('F', Field::PayloadFormatIndicator),
    ('I', Field::Time),
    ('l', Field::PayloadBytes),
    ('m', Field::PacketIdentifier),
    ('P', Field::UserProperties),
    ('p', Field::Payload),
    ('q', Field::Qos),
    ('R', Field::ResponseTopic),
    ('r', Field::Retain),
    ('S', Field::SubscriptionIdentifier),
    ('t', Field::Topic),
    ('x', Field::LowerHex),
    ('X', Field::UpperHex),
];

/// mosquitto_sub's form of ISO 8601: `2016-08-10T09:47:38+0100`.
const ISO_8601: &str = "%Y-%m-%dT%H:%M:%S%z";
/// Largest number of columns of a padded field.
const COLUMNS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
