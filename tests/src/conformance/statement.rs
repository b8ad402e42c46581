//! The lists of statements: lines of `number`, `whom`, `text` and perhaps a mark, separated by tabs.
//!
//! Invariant: the numbers of each section are there without a gap, each once. Version 5.0 has no `[MQTT-2.2.1-1]`.

use std::collections::BTreeMap;
use std::fmt;

use super::tag::Tag;

/// Whose specification a statement is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.1, OASIS Standard of 29 October 2014.
    V3_1_1,
    /// MQTT 5.0, OASIS Standard of 7 March 2019.
    V5,
}

/// Whom a statement binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The broker, which is a server.
    Server,
    /// Its clients; `loadgen` may implement it.
    Client,
    /// Both, so the broker too.
    Both,
}

/// Why a statement about the server has no test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It does not apply, for this reason.
    Exempt(String),
    /// It is not done yet; the mark goes when its test is there.
    Open(String),
}

/// One numbered statement of a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whose number it is.
    pub version: Version,
    /// Its number as the specification has it, such as `3.1.2-24`.
    pub number: String,
    /// Which side of a connection it binds.
    pub whom: Whom,
    /// What it asks for, in our words.
    pub text: String,
    /// Why it has no test.
    pub mark: Option<Mark>,
}

impl Version {
    /// The file with its statements, from the root of the tree.
    pub fn list(self) -> &'static str {
        match self {
            Self::V3_1_1 => "tests/statements/mqtt-3.1.1.tsv",
            Self::V5 => "tests/statements/mqtt-5.0.tsv",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
        })
    }
}

impl Statement {
    /// Its tag, as code and tests carry it.
    pub fn tag(&self) -> String {
        let tag = Tag {
            version: self.version,
            number: self.number.clone(),
        };
        tag.to_string()
    }
}

/// The statements of a list, in its order.
pub(super) fn parse(version: Version, text: &str) -> Result<Vec<Statement>, String> {
    let statements: Vec<_> = text
        .lines()
        .map(|line| parse_line(version, line).ok_or(format!("{}: no statement: {line}", version.list())))
        .collect::<Result<_, _>>()?;
    let mut last: BTreeMap<&str, u32> = BTreeMap::from([("2.2.1", u32::from(version == Version::V5))]);
    for statement in &statements {
        let (section, item) = statement.number.split_once('-').unwrap_or_default();
        let before = last.entry(section).or_default();
        if item.parse() != Ok(*before + 1) {
            return Err(format!("{} does not follow {section}-{before}", statement.tag()));
        }
        *before += 1;
    }
    Ok(statements)
}

fn parse_line(version: Version, line: &str) -> Option<Statement> {
    let mut fields = line.split('\t');
    let number = fields.next()?.to_owned();
    let whom = match fields.next()? {
        "server" => Whom::Server,
        "client" => Whom::Client,
        "both" => Whom::Both,
        _ => return None,
    };
    let text = fields.next().filter(|text| !text.is_empty())?.to_owned();
    let mark = match fields.next().map(|mark| mark.split_once(": ")) {
        None => None,
        Some(Some(("exempt", why))) => Some(Mark::Exempt(why.to_owned())),
        Some(Some(("open", what))) => Some(Mark::Open(what.to_owned())),
        Some(_) => return None,
    };
    fields.next().is_none().then_some(Statement {
        version,
        number,
        whom,
        text,
        mark,
    })
}
