//! What the roles of a user allow, and all that shards need to know of a directory.
//!
//! Invariants: a snapshot never changes. Of the roles of a user, and then those of its groups, the first rule that
//! matches decides; without one the default access does, but for `$CONTROL`, which only a rule gives. A user whom the
//! directory does not have, or has disabled, may do nothing. Users whose roles have not changed share their rules with
//! the snapshot before, by which it is known whom a change is about.

use std::collections::HashMap;
use std::sync::Arc;

use mqtt::topic;

use super::directory::{AclKind, DefaultAccess, Directory, DynamicRole, Memberships};
use crate::auth::password::MakeError;
use crate::auth::password_file::PasswordFile;

/// Who may connect and do what, as the directory said at one moment.
#[derive(Debug)]
pub(in crate::auth) struct Snapshot {
    pub(in crate::auth) passwords: Arc<PasswordFile>,
    /// Users that are not disabled.
    users: HashMap<Box<str>, DynamicUser>,
    anonymous: Arc<RoleRules>,
    default_access: DefaultAccess,
}

#[derive(Debug)]
struct DynamicUser {
    rules: Arc<RoleRules>,
    /// The only client identifier that the user may connect with.
    client_identifier: Option<Box<str>>,
}

/// Roles in the order in which they are asked.
#[derive(Debug, Default)]
struct RoleRules(Box<[Arc<DynamicRole>]>);

/// What one client may do.
#[derive(Clone, Debug)]
pub(in crate::auth) struct DynamicAccess {
    /// None for a user whom there is not.
    rules: Option<Arc<RoleRules>>,
    default_access: DefaultAccess,
}

/// The names that stand for `%c` and `%u` in a topic of a rule.
#[derive(Clone, Copy, Debug)]
pub(in crate::auth) struct Names<'a> {
    pub(in crate::auth) client_identifier: &'a str,
    pub(in crate::auth) user: Option<&'a str>,
}

impl Snapshot {
    /// What the directory says; what `before` knows of passwords and rules that are the same is taken from there.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn of(directory: &Directory, before: Option<&Snapshot>) -> Result<Snapshot, MakeError> {
        let enabled = || {
            directory
                .clients()
                .iter()
                .filter(|(_, client)| !client.is_disabled)
        };
        let passwords = enabled().filter_map(|(user, client)| Some((&**user, client.password.as_ref()?)));
        let passwords = PasswordFile::of(passwords, before.map(|before| &*before.passwords))?;
        let users = enabled().map(|(user, client)| {
            let groups = client.groups().iter();
            let groups = groups.filter_map(|link| directory.groups().get(&link.name));
            let memberships = std::iter::once(&client.roles).chain(groups.map(|group| &group.roles));
            let known = before.and_then(|before| before.users.get(user));
            let user_now = DynamicUser {
                rules: rules(directory, memberships, known.map(|known| &known.rules)),
                client_identifier: client.client_identifier.clone(),
            };
            (user.clone(), user_now)
        });
        let group = directory.anonymous_group.as_ref();
        let group = group.and_then(|group| directory.groups().get(group));
        let anonymous = group.map(|group| &group.roles).into_iter();
        Ok(Snapshot {
            passwords: Arc::new(passwords),
            users: users.collect(),
            anonymous: rules(directory, anonymous, before.map(|before| &before.anonymous)),
            default_access: directory.default_access,
        })
    }

    /// What a user may do, or a client without one.
    pub(in crate::auth) fn access(&self, user: Option<&str>) -> DynamicAccess {
        let rules = match user {
            Some(user) => self.users.get(user).map(|user| &user.rules),
            None => Some(&self.anonymous),
        };
        DynamicAccess {
            rules: rules.cloned(),
            default_access: self.default_access,
        }
    }

    /// Whether the user may connect with that client identifier, if the password is right.
    pub(in crate::auth) fn takes_identifier(&self, user: &str, client_identifier: &str) -> bool {
        let user = self.users.get(user);
        let only = user.and_then(|user| user.client_identifier.as_deref());
        only.is_none_or(|only| only == client_identifier)
    }

    /// Whether the user may connect with one client identifier alone.
    pub(in crate::auth) fn binds(&self, user: &str) -> bool {
        let user = self.users.get(user);
        user.is_some_and(|user| user.client_identifier.is_some())
    }

    /// Whether a user who was let in under `before` would be now. One who was not there before came in since.
    pub(in crate::auth) fn keeps(&self, before: &Snapshot, user: &str) -> bool {
        let Some(had) = before.users.get(user) else {
            return true;
        };
        self.users
            .get(user)
            .is_some_and(|has| has.client_identifier == had.client_identifier)
            && self.passwords.has_same(&before.passwords, user)
    }
}

impl DynamicAccess {
    /// Whether it decides as the other does, because nothing in it has changed.
    pub(in crate::auth) fn is_same(&self, other: &DynamicAccess) -> bool {
        let same_rules = match (&self.rules, &other.rules) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_rules && self.default_access == other.default_access
    }

    pub(in crate::auth) fn may_write(&self, names: Names<'_>, topic: &str) -> bool {
        let granted = self.decide(|role| decide_topic(role, AclKind::Send, names, topic));
        self.or_default(granted, self.default_access.send, topic)
    }

    pub(in crate::auth) fn may_read(&self, names: Names<'_>, topic: &str) -> bool {
        let granted = self.decide(|role| decide_topic(role, AclKind::Receive, names, topic));
        self.or_default(granted, self.default_access.receive, topic)
    }

    /// Whether a rule allows to read the topic: the default access does not count.
    pub(in crate::auth) fn is_given_to_read(&self, names: Names<'_>, topic: &str) -> bool {
        let granted = self.decide(|role| decide_topic(role, AclKind::Receive, names, topic));
        granted == Some(true)
    }

    /// The filter may be one of a Shared Subscription: its rules are those for what it shares.
    pub(in crate::auth) fn may_subscribe(&self, names: Names<'_>, filter: &str) -> bool {
        let inner = inner(filter);
        let granted = self.decide(|role| {
            if !role.allows_wildcards && inner.contains(['+', '#']) {
                return Some(false);
            }
            let (literal, pattern) = (AclKind::SubscribeLiteral, AclKind::SubscribePattern);
            decide_filter(role, [literal, pattern], names, filter)
        });
        self.or_default(granted, self.default_access.subscribe, inner)
    }

    pub(in crate::auth) fn may_unsubscribe(&self, names: Names<'_>, filter: &str) -> bool {
        let (literal, pattern) = (AclKind::UnsubscribeLiteral, AclKind::UnsubscribePattern);
        let granted = self.decide(|role| decide_filter(role, [literal, pattern], names, filter));
        self.or_default(granted, self.default_access.unsubscribe, inner(filter))
    }

    fn decide(&self, ask: impl Fn(&DynamicRole) -> Option<bool>) -> Option<bool> {
        let Some(rules) = &self.rules else {
            return Some(false);
        };
        rules.0.iter().find_map(|role| ask(role))
    }

    fn or_default(&self, granted: Option<bool>, default: bool, topic: &str) -> bool {
        granted.unwrap_or(default && !topic.starts_with("$CONTROL"))
    }
}

/// The roles of these memberships in their order; those of before if they are the same.
fn rules<'a>(
    directory: &Directory,
    memberships: impl Iterator<Item = &'a Memberships>,
    before: Option<&Arc<RoleRules>>,
) -> Arc<RoleRules> {
    let names = memberships.flat_map(Memberships::iter).map(|link| &link.name);
    let roles: Box<[_]> = names
        .filter_map(|name| directory.roles().get(name).cloned())
        .collect();
    let is_same = |before: &&Arc<RoleRules>| {
        let pairs = || before.0.iter().zip(&roles);
        before.0.len() == roles.len() && pairs().all(|(one, other)| Arc::ptr_eq(one, other))
    };
    match before.filter(is_same) {
        Some(before) => Arc::clone(before),
        None => Arc::new(RoleRules(roles)),
    }
}

fn decide_topic(role: &DynamicRole, kind: AclKind, names: Names<'_>, topic: &str) -> Option<bool> {
    let mut rules = role.acls(kind).iter();
    let first = rules.find(|acl| covers(&acl.topic, topic, names))?;
    Some(first.allows)
}

fn decide_filter(
    role: &DynamicRole,
    [literal, pattern]: [AclKind; 2],
    names: Names<'_>,
    filter: &str,
) -> Option<bool> {
    let inner = inner(filter);
    let literals = role.acls(literal);
    if let Some(acl) = literals.find(filter).or_else(|| literals.find(inner)) {
        return Some(acl.allows);
    }
    let mut patterns = role.acls(pattern).iter();
    let first = patterns.find(|acl| covers(&acl.topic, inner, names) || covers(&acl.topic, filter, names))?;
    Some(first.allows)
}

/// The filter without `$share/{group}/`.
fn inner(filter: &str) -> &str {
    match topic::shared(filter) {
        Ok(Some(shared)) => shared.filter,
        _ => filter,
    }
}

/// Whether the topic of a rule covers all that another filter, or a Topic Name, matches. `%c` and `%u` stand for the
/// client's names where they are a whole level, as in mosquitto 2.1.
fn covers(rule: &str, other: &str, names: Names<'_>) -> bool {
    if rule.starts_with('$') != other.starts_with('$') {
        return false;
    }
    let (mut rules, mut others) = (rule.split('/'), other.split('/'));
    loop {
        match (rules.next(), others.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some("%c"), Some(level)) if is_name(names.client_identifier, level) => {}
            (Some("%u"), Some(level)) if names.user.is_some_and(|user| is_name(user, level)) => {}
            (Some("%c" | "%u"), _) => return false,
            (Some(one), Some(level)) if one == level => {}
            _ => return false,
        }
    }
}

/// Whether a level is that name; one that is a wildcard stands for nothing.
fn is_name(name: &str, level: &str) -> bool {
    name == level && !name.is_empty() && !matches!(name, "+" | "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names {
        client_identifier: "c1",
        user: Some("u1"),
    };

    #[test]
    fn what_the_topic_of_a_rule_covers() {
        for (rule, other) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("a/#", "a"),
            ("a/#", "a/b/#"),
            ("#", "a/+/b"),
            ("$SYS/#", "$SYS/#"),
            ("%c/x", "c1/x"),
            ("a/%u/#", "a/u1/b"),
            ("+/%c", "+/c1"),
        ] {
            assert!(covers(rule, other, NAMES), "{rule} {other}");
        }
        for (rule, other) in [
            ("a/b", "a/+"),
            ("a/+", "a/#"),
            ("a/+", "a"),
            ("a", "a/b"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("$SYS/#", "a"),
            ("%c/x", "%c/x"),
            ("%c/x", "+/x"),
            ("a%c", "ac1"),
        ] {
            assert!(!covers(rule, other, NAMES), "{rule} {other}");
        }
        let wild = Names {
            client_identifier: "+",
            user: None,
        };
        assert!(!covers("a/%c", "a/+", wild), "a name that is a wildcard");
        assert!(!covers("a/%u", "a/%u", wild), "no user");
    }
}
