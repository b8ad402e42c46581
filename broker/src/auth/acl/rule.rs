//! One rule of an `acl_file`, and the decision of several.
//!
//! Invariants: denials come before all other rules of a list ([`denials_first`]).

use mqtt::topic;

use super::filters::{covers, overlap};

/// What clients may do with the topics that a filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) filter: Box<str>,
    pub(super) grant: Grant,
}

/// A rule for everybody, with placeholders for the client's names.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Filter with `%c` and `%u` in it.
    pub(super) rule: Rule,
    pub(super) names_user: bool,
    pub(super) names_client: bool,
}

/// The right that a rule grants or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    Deny,
    Read,
    Write,
    ReadWrite,
}

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicUse {
    Read,
    Write,
}

/// The decision of the rules about a topic, if there is one; denials come first.
pub(super) fn decide(rules: &[Rule], topic: &str, access: TopicUse) -> Option<bool> {
    let is_decisive = |rule: &&Rule| rule.grant == Grant::Deny || rule.grant.allows(access);
    let decisive = rules
        .iter()
        .filter(is_decisive)
        .find(|rule| topic::matches(&rule.filter, topic))?;
    Some(decisive.grant != Grant::Deny)
}

/// Whether a rule allows reading something under the filter that no denial covers completely.
pub(super) fn readable(rules: &[Rule], earlier: &[Rule], filter: &str) -> bool {
    let denials = || {
        rules
            .iter()
            .chain(earlier)
            .filter(|rule| rule.grant == Grant::Deny)
    };
    let open = |rule: &Rule| {
        !denials().any(|denial| covers(&denial.filter, filter) || covers(&denial.filter, &rule.filter))
    };
    let allowing = |rule: &&Rule| rule.grant.allows(TopicUse::Read) && overlap(&rule.filter, filter);
    !denials().any(|denial| covers(&denial.filter, filter)) && rules.iter().filter(allowing).any(open)
}

impl Grant {
    pub(super) fn allows(self, access: TopicUse) -> bool {
        match self {
            Grant::Deny => false,
            Grant::Read => access == TopicUse::Read,
            Grant::Write => access == TopicUse::Write,
            Grant::ReadWrite => true,
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Grant> {
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
    pub(super) fn new(rule: Rule) -> Self {
        let (names_user, names_client) = (rule.filter.contains("%u"), rule.filter.contains("%c"));
        Self {
            rule,
            names_user,
            names_client,
        }
    }

    /// The filter with the names inserted, once: `%u` in a client identifier is not replaced.
    pub(super) fn filter_for(&self, client_identifier: &str, user_name: &str) -> Box<str> {
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

/// Moves denials to the front, and keeps the order otherwise.
pub(super) fn denials_first(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort_by_key(|rule| rule.grant != Grant::Deny);
    rules
}
