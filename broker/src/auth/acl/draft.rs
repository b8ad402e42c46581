//! The lines of an `acl_file`: `user NAME`, `topic [read|write|readwrite|deny] FILTER`, `pattern ...`.
//!
//! Invariants: none.

use std::collections::HashMap;

use mqtt::topic;

use super::rule::{Grant, Rule};

/// The rules of the lines read so far.
#[derive(Default)]
pub(super) struct AclDraft {
    pub(super) anonymous: Vec<Rule>,
    pub(super) users: HashMap<Box<str>, Vec<Rule>>,
    pub(super) patterns: Vec<Rule>,
    /// The user whose section is being read; `None` above the first `user` line.
    user: Option<Box<str>>,
}

impl AclDraft {
    /// Takes one line.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn read(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = cut(line);
        match word {
            "user" if rest.is_empty() => return Err("the user name is missing".to_owned()),
            "user" => {
                self.users.entry(Box::from(rest)).or_default();
                self.user = Some(Box::from(rest));
            }
            "topic" => {
                let rule = rule(rest)?;
                match &self.user {
                    None => self.anonymous.push(rule),
                    Some(user) => self.users.entry(user.clone()).or_default().push(rule),
                }
            }
            "pattern" => self.patterns.push(pattern(rest)?),
            _ => return Err(format!("{word} is not topic, pattern or user")),
        }
        Ok(())
    }
}

/// `[read|write|readwrite|deny] FILTER`; a filter that contains a blank needs the word.
fn rule(text: &str) -> Result<Rule, String> {
    let rule = word_and_filter(text)?;
    topic::check_filter(&rule.filter).map_err(|error| format!("{}: {error}", rule.filter))?;
    Ok(rule)
}

/// As [`rule`], with `%c` and `%u` in the filter.
fn pattern(text: &str) -> Result<Rule, String> {
    let rule = word_and_filter(text)?;
    let example = rule.filter.replace("%c", "c").replace("%u", "u");
    topic::check_filter(&example).map_err(|error| format!("{}: {error}", rule.filter))?;
    Ok(rule)
}

fn word_and_filter(text: &str) -> Result<Rule, String> {
    let (word, rest) = cut(text);
    let (grant, filter) = match (word, rest) {
        ("", _) => return Err("the topic is missing".to_owned()),
        (filter, "") => (Grant::ReadWrite, filter),
        (word, filter) => {
            let grant = Grant::from_word(word)
                .ok_or_else(|| format!("{word} is not read, write, readwrite or deny"))?;
            (grant, filter)
        }
    };
    Ok(Rule {
        filter: filter.into(),
        grant,
    })
}

fn cut(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim())
}
