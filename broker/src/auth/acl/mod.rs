//! `acl_file`: who may read and write which topics, in mosquitto's syntax.
//!
//! `user X` begins the section of a user; rules above the first section are for clients without a user name. `topic
//! [read|write|readwrite|deny] FILTER` belongs to its section. `pattern ...` applies to everybody, with the client
//! identifier for `%c` and the user name for `%u`.
//!
//! `draft.rs` reads the lines of a file, `rule.rs` has a rule, `filters.rs` compares Topic Filters.
//!
//! Invariants: what no line allows is denied, also by an empty file. Denials take precedence over other rules, in the
//! section and again in the patterns; the section comes first. The names of a client never widen a pattern: empty
//! names, names with `+` or `#`, and names that would lead into a `$` topic disable all patterns for that client; so
//! do names with `/` that a pattern contains, unless the listener allows them.

mod draft;
mod filters;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mqtt::topic;

use self::draft::AclDraft;
use self::rule::{Pattern, Rule, TopicUse, decide, denials_first, readable};
use super::access_file;
use super::dynamic::{DynamicAccess, Names};
use crate::files::FileError;
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

/// The client for which rules are selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The listener, which determines the file.
    pub listener: ListenerId,
    /// The client identifier, for `%c`.
    pub client_identifier: Box<str>,
    /// The user name, for the section and `%u`.
    pub user_name: Option<Box<str>>,
    /// A name with `/` stands for several levels of a pattern, as in mosquitto 2.0.
    pub names_with_slash: bool,
}

/// The rules that apply to one client.
#[derive(Debug)]
struct Rules {
    identity: Identity,
    /// The generation of the [`super::Policy`] that they come from.
    generation: u64,
    source: RuleSource,
}

/// Stands for the generation of a policy where rules are a client's own.
const OF_TOKEN: u64 = u64::MAX;

/// Where the rules come from.
#[derive(Debug)]
enum RuleSource {
    /// The lines of an ACL file that apply to the client.
    File {
        section: Arc<[Rule]>,
        /// Patterns with the client's names inserted.
        patterns: Box<[Rule]>,
    },
    /// Roles of dynamic security.
    Dynamic(DynamicAccess),
}

impl AclFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or has wrong lines; each with its place.
    pub fn read(path: &Path) -> Result<AclFile, FileError> {
        Self::parse(path, &access_file::read(path)?)
    }

    /// Reads the text of a file of that name.
    ///
    /// # Errors
    /// Lines are wrong; each with its place.
    pub fn parse(path: &Path, text: &[u8]) -> Result<AclFile, FileError> {
        let mut draft = AclDraft::default();
        access_file::for_each_line(path, text, |line| draft.read(line))?;
        Ok(AclFile::from(draft))
    }

    /// Rules that stand in no file, one a line.
    ///
    /// # Errors
    /// What is wrong with the first line that is none.
    pub fn of_lines(lines: &[String]) -> Result<AclFile, String> {
        let mut draft = AclDraft::default();
        lines.iter().try_for_each(|line| draft.read(line))?;
        Ok(AclFile::from(draft))
    }

    /// What a client may do by its own token, whatever the policy.
    #[must_use]
    pub fn access_by_token(&self, identity: Identity) -> Access {
        self.access(identity, OF_TOKEN)
    }

    /// What a client may do; `generation` comes back from [`Access::generation`].
    #[must_use]
    pub fn access(&self, identity: Identity, generation: u64) -> Access {
        let user_name = identity.user_name.as_deref();
        let section = match user_name {
            None => Some(&self.anonymous),
            Some(user) => self.users.get(user),
        };
        let source = RuleSource::File {
            section: section.cloned().unwrap_or_default(),
            patterns: self.patterns_for(&identity, user_name),
        };
        Access(Some(Arc::new(Rules {
            identity,
            generation,
            source,
        })))
    }

    fn patterns_for(&self, identity: &Identity, user_name: Option<&str>) -> Box<[Rule]> {
        let client_identifier = &*identity.client_identifier;
        let mut rules = Vec::with_capacity(self.patterns.len());
        let widens = |name: &str| name.is_empty() || name.contains(['+', '#', '\0']);
        if !self.patterns.is_empty() && (widens(client_identifier) || user_name.is_some_and(widens)) {
            return Box::default();
        }
        let has_levels = |name: &str| !identity.names_with_slash && name.contains('/');
        let (client_has, user_has) = (has_levels(client_identifier), user_name.is_some_and(has_levels));
        let takes_in =
            |pattern: &Pattern| pattern.names_client && client_has || pattern.names_user && user_has;
        // All of them: if one that denies were missing, the others would allow more.
        if self.patterns.iter().any(takes_in) {
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

impl From<AclDraft> for AclFile {
    fn from(draft: AclDraft) -> Self {
        let sections = draft.users.into_iter();
        let patterns = denials_first(draft.patterns).into_iter();
        Self {
            anonymous: denials_first(draft.anonymous).into(),
            users: sections
                .map(|(user, rules)| (user, denials_first(rules).into()))
                .collect(),
            patterns: patterns.map(Pattern::new).collect(),
        }
    }
}

impl Access {
    /// What roles of dynamic security grant to a client.
    pub(super) fn dynamic(identity: Identity, generation: u64, access: DynamicAccess) -> Access {
        Access(Some(Arc::new(Rules {
            identity,
            generation,
            source: RuleSource::Dynamic(access),
        })))
    }

    /// Whether the rules are those of dynamic security, which takes commands.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.dynamic_rules().is_some()
    }

    /// Whether both come from dynamic security, and decide alike.
    #[must_use]
    pub fn is_same_dynamic(&self, other: &Access) -> bool {
        let pair = self.dynamic_rules().zip(other.dynamic_rules());
        pair.is_some_and(|(one, other)| one.is_same(other))
    }

    fn dynamic_rules(&self) -> Option<&DynamicAccess> {
        match &self.0.as_ref()?.source {
            RuleSource::Dynamic(access) => Some(access),
            RuleSource::File { .. } => None,
        }
    }

    /// Whether the rules are those of the client's token, which no policy changes.
    #[must_use]
    pub fn is_of_token(&self) -> bool {
        self.generation() == Some(OF_TOKEN)
    }

    /// Whom the rules were made for, if there are any.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.as_ref().map(|rules| &rules.identity)
    }

    /// The reading of the file that the rules come from, if there are any.
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
        self.0
            .as_ref()
            .is_none_or(|rules| rules.allow(topic, TopicUse::Write) || rules.is_state_of_bridge(topic))
    }

    /// Whether a message under this Topic Name may be delivered.
    #[inline]
    #[must_use]
    pub fn may_read(&self, topic: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|rules| rules.allow(topic, TopicUse::Read))
    }

    /// Whether a rule allows reading what is under this name. What is allowed because there is no rule does not count.
    #[must_use]
    pub fn is_given_to_read(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|rules| match &rules.source {
            RuleSource::File { .. } => rules.allow(topic, TopicUse::Read),
            RuleSource::Dynamic(access) => access.is_given_to_read(rules.names(), topic),
        })
    }

    /// Whether the client may have a subscription to this Topic Filter. With an ACL file it may if there is a topic
    /// under the filter that it [`Self::may_read`]. The part `$share/{group}/` is ignored.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.0.as_ref().is_none_or(|rules| rules.may_subscribe(filter))
    }

    /// Whether the client may end a subscription to this Topic Filter.
    #[must_use]
    pub fn may_unsubscribe(&self, filter: &str) -> bool {
        self.0.as_ref().is_none_or(|rules| match &rules.source {
            RuleSource::File { .. } => true,
            RuleSource::Dynamic(access) => access.may_unsubscribe(rules.names(), filter),
        })
    }
}

impl Rules {
    fn names(&self) -> Names<'_> {
        Names {
            client_identifier: &self.identity.client_identifier,
            user: self.identity.user_name.as_deref(),
        }
    }

    fn allow(&self, topic: &str, use_of_topic: TopicUse) -> bool {
        match (&self.source, use_of_topic) {
            (RuleSource::File { section, patterns }, access) => {
                let decided = decide(section, topic, access).or_else(|| decide(patterns, topic, access));
                decided.unwrap_or(false)
            }
            (RuleSource::Dynamic(access), TopicUse::Write) => access.may_write(self.names(), topic),
            (RuleSource::Dynamic(access), TopicUse::Read) => access.may_read(self.names(), topic),
        }
    }

    /// As in mosquitto, no rule keeps a bridge of the broker itself from publishing whether it is connected.
    fn is_state_of_bridge(&self, topic: &str) -> bool {
        self.identity.listener == ListenerId::BRIDGES && topic.starts_with("$SYS/broker/connection/")
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        match &self.source {
            RuleSource::File { section, patterns } => {
                let filter = match topic::shared(filter) {
                    Ok(Some(shared)) => shared.filter,
                    _ => filter,
                };
                readable(section, &[], filter) || readable(patterns, section, filter)
            }
            RuleSource::Dynamic(access) => access.may_subscribe(self.names(), filter),
        }
    }
}
