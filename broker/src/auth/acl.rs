//! `acl_file`: who may read and write which topics, in mosquitto's words.
//!
//! `user X` begins the section of a user; what stands above the first one is for clients without a user name. `topic
//! [read|write|readwrite|deny] FILTER` belongs to its section, `pattern ...` to everybody, with the client identifier for
//! `%c` and the user name for `%u`.
//!
//! Invariants: what no line allows is denied, also by an empty file. A denial is looked at before what allows, in the
//! section and again in the patterns; the section goes first. What a client calls itself never widens a pattern: names
//! with `+` or `#`, empty ones and such that would lead into a `$` topic void all patterns for that client.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mqtt::topic;

use super::file::{self, Lines};
use crate::config::ConfigError;
use crate::settings::ListenerId;

/// The rules of a file.
#[derive(Debug, Default)]
pub struct AclFile {
    anonymous: Arc<[Rule]>,
    users: HashMap<Box<str>, Arc<[Rule]>>,
    patterns: Vec<Pattern>,
}

/// What one client may do; cheap to clone. `Access::default()` allows everything.
#[derive(Clone, Debug, Default)]
pub struct Access(Option<Arc<Rules>>);

/// Whom rules are made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The listener, which decides the file.
    pub listener: ListenerId,
    /// The client identifier, for `%c`.
    pub client_identifier: Box<str>,
    /// The user name, for the section and `%u`.
    pub user_name: Option<Box<str>>,
}

/// The rules that apply to one client.
#[derive(Debug, Default)]
struct Rules {
    identity: Identity,
    /// Of the [`super::Policy`] that they come from.
    generation: u64,
    section: Arc<[Rule]>,
    /// With the client's names in place.
    patterns: Box<[Rule]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    filter: Box<str>,
    grant: Grant,
}

#[derive(Debug)]
struct Pattern {
    /// Filter with `%c` and `%u` in it.
    rule: Rule,
    names_user: bool,
    names_client: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    Deny,
    Read,
    Write,
    ReadWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

impl AclFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read or has a line that is wrong; each with its place.
    pub fn read(path: &Path) -> Result<AclFile, ConfigError> {
        Self::parse(path, &file::read(path)?)
    }

    /// Reads the text of a file of that name.
    ///
    /// # Errors
    /// A line is wrong; each with its place.
    pub fn parse(path: &Path, text: &[u8]) -> Result<AclFile, ConfigError> {
        let mut lines = Lines::new(path, text);
        let mut draft = Draft::default();
        while let Some(line) = lines.next() {
            if let Err(text) = draft.read(line) {
                lines.problem(text);
            }
        }
        lines.finish()?;
        Ok(draft.finish())
    }

    /// What a client may do; `generation` comes back from [`Access::generation`].
    #[must_use]
    pub fn access(&self, identity: Identity, generation: u64) -> Access {
        let user_name = identity.user_name.as_deref();
        let section = match user_name {
            None => Some(&self.anonymous),
            Some(user) => self.users.get(user),
        };
        Access(Some(Arc::new(Rules {
            section: section.cloned().unwrap_or_default(),
            patterns: self.patterns_for(&identity.client_identifier, user_name),
            identity,
            generation,
        })))
    }

    fn patterns_for(&self, client_identifier: &str, user_name: Option<&str>) -> Box<[Rule]> {
        let mut rules = Vec::with_capacity(self.patterns.len());
        let widens = |name: &str| name.is_empty() || name.contains(['+', '#', '\0']);
        if !self.patterns.is_empty() && (widens(client_identifier) || user_name.is_some_and(widens)) {
            return Box::default();
        }
        for pattern in &self.patterns {
            if pattern.names_user && user_name.is_none() {
                continue;
            }
            let filter = pattern.filter_for(client_identifier, user_name.unwrap_or_default());
            let leads_to_dollar = filter.starts_with('$') && !pattern.rule.filter.starts_with('$');
            if leads_to_dollar || topic::check_filter(&filter).is_err() {
                return Box::default();
            }
            rules.push(Rule {
                filter,
                grant: pattern.rule.grant,
            });
        }
        rules.into()
    }
}

impl Access {
    /// Whom the rules were made for, if there are any.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.as_ref().map(|rules| &rules.identity)
    }

    /// Which reading of the file the rules come from, if there are any.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.0.as_ref().map(|rules| rules.generation)
    }

    /// Whether there are no rules: everything is allowed.
    #[inline]
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a message may be published under this Topic Name.
    #[inline]
    #[must_use]
    pub fn may_write(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|rules| rules.allow(topic, Use::Write))
    }

    /// Whether a message under this Topic Name may be delivered.
    #[inline]
    #[must_use]
    pub fn may_read(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|rules| rules.allow(topic, Use::Read))
    }

    /// Whether there may be a topic under this Topic Filter that [`Self::may_read`]; a filter without one is not worth a
    /// subscription. `$share/{group}/` is looked through.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let filter = match topic::shared(filter) {
            Ok(Some(shared)) => shared.filter,
            _ => filter,
        };
        self.0.as_ref().is_none_or(|rules| rules.may_subscribe(filter))
    }
}

impl Rules {
    fn allow(&self, topic: &str, access: Use) -> bool {
        let decided = decide(&self.section, topic, access).or_else(|| decide(&self.patterns, topic, access));
        decided.unwrap_or(false)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        readable(&self.section, &[], filter) || readable(&self.patterns, &self.section, filter)
    }
}

/// What the rules say of a topic, if anything; denials stand first.
fn decide(rules: &[Rule], topic: &str, access: Use) -> Option<bool> {
    let says = |rule: &&Rule| rule.grant == Grant::Deny || rule.grant.allows(access);
    let decisive = rules
        .iter()
        .filter(says)
        .find(|rule| topic::matches(&rule.filter, topic))?;
    Some(decisive.grant != Grant::Deny)
}

/// Whether a rule allows to read something under the filter that no denial takes away as a whole.
fn readable(rules: &[Rule], earlier: &[Rule], filter: &str) -> bool {
    let denials = || {
        rules
            .iter()
            .chain(earlier)
            .filter(|rule| rule.grant == Grant::Deny)
    };
    let open = |rule: &Rule| {
        !denials().any(|denial| covers(&denial.filter, filter) || covers(&denial.filter, &rule.filter))
    };
    let allowing = |rule: &&Rule| rule.grant.allows(Use::Read) && overlap(&rule.filter, filter);
    !denials().any(|denial| covers(&denial.filter, filter)) && rules.iter().filter(allowing).any(open)
}

impl Grant {
    fn allows(self, access: Use) -> bool {
        match self {
            Grant::Deny => false,
            Grant::Read => access == Use::Read,
            Grant::Write => access == Use::Write,
            Grant::ReadWrite => true,
        }
    }

    fn from_word(word: &str) -> Option<Grant> {
        Some(match word {
            "read" => Grant::Read,
            "write" => Grant::Write,
            "readwrite" => Grant::ReadWrite,
            "deny" => Grant::Deny,
            _ => return None,
        })
    }
}

impl Pattern {
    fn new(rule: Rule) -> Self {
        let (names_user, names_client) = (rule.filter.contains("%u"), rule.filter.contains("%c"));
        Self {
            rule,
            names_user,
            names_client,
        }
    }

    /// The filter with the names in place, once: what looks like `%u` in a client identifier stays as it is.
    fn filter_for(&self, client_identifier: &str, user_name: &str) -> Box<str> {
        if !self.names_user && !self.names_client {
            return self.rule.filter.clone();
        }
        let mut filter = String::with_capacity(self.rule.filter.len() + client_identifier.len());
        let mut rest: &str = &self.rule.filter;
        while let Some((before, after)) = rest.split_once('%') {
            filter.push_str(before);
            let (name, behind) = match after.as_bytes().first() {
                Some(b'c') => (client_identifier, after.get(1..)),
                Some(b'u') => (user_name, after.get(1..)),
                _ => ("%", Some(after)),
            };
            filter.push_str(name);
            rest = behind.unwrap_or_default();
        }
        filter.push_str(rest);
        filter.into()
    }
}

/// A file in the reading.
#[derive(Default)]
struct Draft {
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>>,
    patterns: Vec<Rule>,
    /// Whose section it is.
    user: Option<Box<str>>,
}

impl Draft {
    fn read(&mut self, line: &str) -> Result<(), String> {
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
            _ => return Err(format!("{word} is none of topic, pattern and user")),
        }
        Ok(())
    }

    fn finish(self) -> AclFile {
        AclFile {
            anonymous: denials_first(self.anonymous).into(),
            users: self
                .users
                .into_iter()
                .map(|(user, rules)| (user, denials_first(rules).into()))
                .collect(),
            patterns: denials_first(self.patterns)
                .into_iter()
                .map(Pattern::new)
                .collect(),
        }
    }
}

/// `[read|write|readwrite|deny] FILTER`; a filter with a blank in it needs the word.
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
                .ok_or_else(|| format!("{word} is none of read, write, readwrite and deny"))?;
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

fn denials_first(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort_by_key(|rule| rule.grant != Grant::Deny);
    rules
}

/// Whether there is a Topic Name that both filters match.
fn overlap(one: &str, other: &str) -> bool {
    if hides_dollar(one, other) || hides_dollar(other, one) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether `wide` matches each Topic Name that `narrow` matches.
fn covers(wide: &str, narrow: &str) -> bool {
    if hides_dollar(wide, narrow) {
        return false;
    }
    let (mut wides, mut narrows) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wides.next(), narrows.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(_), Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// A wildcard in the first level does not match what begins with `$` [MQTT-4.7.2-1].
fn hides_dollar(wild: &str, other: &str) -> bool {
    wild.starts_with(['+', '#']) && other.starts_with('$')
}

#[cfg(test)]
mod tests;
