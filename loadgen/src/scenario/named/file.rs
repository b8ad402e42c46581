//! A scenario in a TOML file: its keys are the long options of a subcommand.
//!
//! Invariants: none.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{Command, Found};

/// The scenario in the file; its name is that of the file, unless the file contains a name.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn read(path: &Path) -> Result<Found, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("--scenario {shown}: {error}"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| format!("--scenario {shown}: {error}"))?;
    let stem = path.file_stem().map(OsStr::to_string_lossy).unwrap_or_default();
    let mut found = Found {
        name: stem.into_owned(),
        command: Command::Run,
        words: Vec::new(),
    };
    for (key, value) in &table {
        match (key.as_str(), value) {
            ("name", toml::Value::String(name)) => found.name.clone_from(name),
            ("command", toml::Value::String(word)) => {
                let commands = [Command::Run, Command::Sweep, Command::Conn, Command::Retained];
                let known = commands.into_iter().find(|command| command.word() == word);
                found.command = known.ok_or_else(|| {
                    format!("--scenario {shown}: command must be run, sweep, conn or retained, not {word}")
                })?;
            }
            ("scenario", _) => {
                return Err(format!("--scenario {shown}: a file cannot name another scenario"));
            }
            _ => found
                .words
                .extend(option_words(key, value).map_err(|why| format!("--scenario {shown}: {key}: {why}"))?),
        }
    }
    Ok(found)
}

/// A key and its value as a long option.
fn option_words(key: &str, value: &toml::Value) -> Result<Vec<OsString>, String> {
    let option = format!("--{}", key.replace('_', "-"));
    let with = |text: String| Ok(vec![OsString::from(format!("{option}={text}"))]);
    match value {
        toml::Value::Boolean(true) => Ok(vec![OsString::from(option)]),
        toml::Value::Boolean(false) => Ok(Vec::new()),
        // An option with several words, repeated for each list.
        toml::Value::Array(values) if values.first().is_some_and(toml::Value::is_array) => {
            let mut words = Vec::new();
            for list in values {
                let list = list.as_array().ok_or("a list of lists must contain only lists")?;
                words.push(OsString::from(option.clone()));
                for value in list {
                    words.push(OsString::from(scalar(value)?));
                }
            }
            Ok(words)
        }
        toml::Value::Array(values) => {
            let texts: Result<Vec<String>, String> = values.iter().map(scalar).collect();
            with(texts?.join(","))
        }
        value => with(scalar(value)?),
    }
}

fn scalar(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        _ => Err("it must be a number, a text, true or false, or a list of these".to_owned()),
    }
}
