//! The JSON of dynamic security: `dynamic-security.json` as mosquitto 2.0 and 2.1 write and read it.
//!
//! Invariants: an entry without a name, or with a name that stands before, is left out, as mosquitto leaves it out; so
//! is a link to what does not exist. What is left out is reported. A password that is a PBKDF2 hash is written as
//! mosquitto 2.0 writes it, which 2.1 reads too; another one as 2.1 does.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::directory::{
    AclKind, DefaultAccess, Directory, DynamicClient, DynamicGroup, DynamicRole, Memberships, RoleAcl, Texts,
    bounded_priority,
};
use super::fields::Members;
use crate::auth::password::PasswordHash;
use crate::files::FileError;

/// The priority of a link for which none is given.
pub(super) const NO_PRIORITY: i64 = -1;

/// What a file says, and what in it is not taken.
#[derive(Debug)]
pub(super) struct ReadFile {
    pub(super) directory: Directory,
    /// Sentences for the log, none with a secret.
    pub(super) left_out: Vec<String>,
}

/// Reads the text of a file.
///
/// # Errors
/// It is no JSON object, or has something else where a list must be.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<ReadFile, FileError> {
    let wrong = |why: String| {
        let fix = "fix: restore it from a copy, or move it away to have a new one made at the next start";
        FileError::of_file(path, format!("is no file of dynamic security: {why}; {fix}"))
    };
    let mut read = ReadFile {
        directory: Directory::default(),
        left_out: Vec::new(),
    };
    if text.trim_ascii().is_empty() {
        return Ok(read);
    }
    let tree: Value = serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        wrong(format!("it is no JSON at line {line}, column {column}"))
    })?;
    let tree = Members::of(&tree).ok_or_else(|| wrong("it is no JSON object".to_owned()))?;
    for name in ["clients", "groups", "roles"] {
        if tree.get(name).is_some() && tree.list(name).is_none() {
            return Err(wrong(format!("{name} is no list")));
        }
    }
    read.general(tree);
    read.entries(tree, "roles", "rolename", ReadFile::role);
    read.entries(tree, "clients", "username", ReadFile::client);
    read.entries(tree, "groups", "groupname", ReadFile::group);
    let anonymous = tree.text("anonymousGroup");
    read.directory.anonymous_group = anonymous
        .filter(|name| read.directory.groups().contains_key(*name))
        .map(Into::into);
    Ok(read)
}

/// The text of a file that says what the directory says.
pub(super) fn text(directory: &Directory) -> String {
    let mut tree = Map::new();
    tree.insert("changeIndex".to_owned(), json!(directory.change_index));
    let access = directory.default_access.named();
    let access: Map<String, Value> = access
        .into_iter()
        .map(|(name, allows)| (name.to_owned(), json!(allows)))
        .collect();
    tree.insert("defaultACLAccess".to_owned(), Value::Object(access));
    let clients = directory.clients().iter().map(|(user, client)| {
        let mut entry = client_entry(user, client);
        if let Some(password) = &client.password {
            insert_password(&mut entry, password);
        }
        Value::Object(entry)
    });
    tree.insert("clients".to_owned(), clients.collect());
    let groups = directory.groups().iter();
    let groups = groups.map(|(name, group)| Value::Object(group_entry(name, group, true)));
    tree.insert("groups".to_owned(), groups.collect());
    let roles = directory.roles().iter();
    let roles = roles.map(|(name, role)| Value::Object(role_entry(name, role)));
    tree.insert("roles".to_owned(), roles.collect());
    if let Some(group) = &directory.anonymous_group {
        tree.insert("anonymousGroup".to_owned(), json!(group));
    }
    // A map of texts, numbers and lists cannot fail.
    serde_json::to_string_pretty(&tree).unwrap_or_default()
}

/// A client without its password and its groups.
pub(super) fn client_entry(user: &str, client: &DynamicClient) -> Map<String, Value> {
    let mut entry = named("username", user, &client.texts);
    if let Some(client_identifier) = &client.client_identifier {
        entry.insert("clientid".to_owned(), json!(client_identifier));
    }
    if client.is_disabled {
        entry.insert("disabled".to_owned(), json!(true));
    }
    entry.insert("roles".to_owned(), memberships("rolename", &client.roles));
    entry
}

/// A group; the priorities of its clients are for files alone, as with mosquitto.
pub(super) fn group_entry(name: &str, group: &DynamicGroup, priorities: bool) -> Map<String, Value> {
    let mut entry = named("groupname", name, &group.texts);
    entry.insert("roles".to_owned(), memberships("rolename", &group.roles));
    let clients = group.clients().iter().map(|(user, priority)| {
        let shown = priorities && i64::from(*priority) != NO_PRIORITY;
        link("username", user, shown.then_some(*priority))
    });
    entry.insert("clients".to_owned(), clients.collect());
    entry
}

/// A role with all of its rules.
pub(super) fn role_entry(name: &str, role: &DynamicRole) -> Map<String, Value> {
    let mut entry = named("rolename", name, &role.texts);
    entry.insert("allowwildcardsubs".to_owned(), json!(role.allows_wildcards));
    let rules = AclKind::ALL.into_iter().flat_map(|kind| {
        role.acls(kind).iter().map(move |acl| {
            json!({
                "acltype": kind.name(), "topic": acl.topic, "priority": acl.priority, "allow": acl.allows,
            })
        })
    });
    entry.insert("acls".to_owned(), rules.collect());
    entry
}

/// The names of roles or groups as a list of objects.
pub(super) fn memberships(key: &str, memberships: &Memberships) -> Value {
    let entries = memberships.iter().map(|linked| {
        let shown = i64::from(linked.priority) != NO_PRIORITY;
        link(key, &linked.name, shown.then_some(linked.priority))
    });
    entries.collect()
}

/// The rules of a list; those without a kind, a topic or with the topic of an earlier one are left out.
pub(super) fn acls_of(list: &[Value]) -> DynamicRole {
    let mut role = DynamicRole::default();
    for acl in list.iter().filter_map(Members::of) {
        let kind = acl.text("acltype").and_then(AclKind::from_name);
        let topic = acl.text("topic").filter(|topic| !topic.is_empty());
        let (Some(kind), Some(topic)) = (kind, topic) else {
            continue;
        };
        role.acls_mut(kind).add(RoleAcl {
            topic: topic.into(),
            priority: bounded_priority(acl.number("priority").unwrap_or(0)),
            allows: acl.flag("allow").unwrap_or(false),
        });
    }
    role
}

impl ReadFile {
    fn general(&mut self, tree: Members<'_>) {
        let index = tree.get("changeIndex").and_then(Value::as_f64);
        self.directory.change_index = index.unwrap_or(0.0) as i64;
        let access = tree.get("defaultACLAccess").and_then(Members::of);
        let mut default_access = DefaultAccess::default();
        for (name, _) in DefaultAccess::default().named() {
            let allows = access.and_then(|access| access.flag(name));
            default_access.set(name, allows.unwrap_or(false));
        }
        self.directory.default_access = default_access;
    }

    /// Hands each entry of a list to `take`, which says whether it is the first of its name.
    fn entries(
        &mut self,
        tree: Members<'_>,
        list: &str,
        key: &str,
        take: fn(&mut Self, &str, Members<'_>) -> bool,
    ) {
        for (index, entry) in (1..).zip(tree.list(list).unwrap_or_default()) {
            let fields = Members::of(entry);
            let name = fields.and_then(|fields| Some((fields, fields.text(key)?)));
            match name.filter(|(_, name)| !name.is_empty()) {
                None => self
                    .left_out
                    .push(format!("entry {index} of {list} has no {key}")),
                Some((fields, name)) if !take(self, name, fields) => {
                    let name = name.escape_debug();
                    self.left_out
                        .push(format!("entry {index} of {list}: {key} {name} stands before"));
                }
                Some(_) => {}
            }
        }
    }

    fn role(&mut self, name: &str, fields: Members<'_>) -> bool {
        if self.directory.roles().contains_key(name) {
            return false;
        }
        let mut role = acls_of(fields.list("acls").unwrap_or_default());
        role.texts = texts(fields);
        role.allows_wildcards = fields.flag("allowwildcardsubs").unwrap_or(true);
        self.directory.insert_role(name, role);
        true
    }

    fn client(&mut self, user: &str, fields: Members<'_>) -> bool {
        if self.directory.clients().contains_key(user) {
            return false;
        }
        let password = password(fields).unwrap_or_else(|why| {
            let user = user.escape_debug();
            self.left_out.push(format!(
                "the password of {user}, who cannot log in with it: {why}"
            ));
            None
        });
        let mut client = DynamicClient::default();
        client.password = password;
        client.client_identifier = fields.text("clientid").map(Into::into);
        client.texts = texts(fields);
        client.is_disabled = fields.flag("disabled").unwrap_or(false);
        client.roles = self.roles_of(user, fields);
        self.directory.insert_client(user, client);
        true
    }

    fn group(&mut self, name: &str, fields: Members<'_>) -> bool {
        if self.directory.groups().contains_key(name) {
            return false;
        }
        let mut group = DynamicGroup::default();
        group.texts = texts(fields);
        group.roles = self.roles_of(name, fields);
        self.directory.insert_group(name, group);
        for client in fields.list("clients").unwrap_or_default() {
            let client = Members::of(client);
            let Some(user) = client.and_then(|client| client.text("username")) else {
                continue;
            };
            let priority = client.and_then(|client| client.number("priority"));
            let priority = bounded_priority(priority.unwrap_or(NO_PRIORITY));
            if !self.directory.clients().contains_key(user) {
                let (user, name) = (user.escape_debug(), name.escape_debug());
                self.left_out
                    .push(format!("group {name}: there is no client {user}"));
            } else {
                self.directory.join(user, name, priority);
            }
        }
        true
    }

    fn roles_of(&mut self, whose: &str, fields: Members<'_>) -> Memberships {
        let mut memberships = Memberships::default();
        for role in fields.list("roles").unwrap_or_default() {
            let role = Members::of(role);
            let Some(name) = role.and_then(|role| role.text("rolename")) else {
                continue;
            };
            let priority = role.and_then(|role| role.number("priority"));
            if self.directory.roles().contains_key(name) {
                memberships.add(name, bounded_priority(priority.unwrap_or(NO_PRIORITY)));
            } else {
                let (whose, name) = (whose.escape_debug(), name.escape_debug());
                self.left_out.push(format!("{whose}: there is no role {name}"));
            }
        }
        memberships
    }
}

/// The hash of a password: whole as mosquitto 2.1 writes it, or in parts as 2.0 does; `None` if there is none.
fn password(fields: Members<'_>) -> Result<Option<PasswordHash>, String> {
    let hash = match fields.text("encoded_password") {
        Some(encoded) => encoded.to_owned(),
        None => {
            let parts = (fields.text("password"), fields.text("salt"));
            let (Some(hash), Some(salt)) = parts else {
                return Ok(None);
            };
            let iterations = fields.number("iterations").unwrap_or(0);
            if iterations < 1 {
                return Ok(None);
            }
            format!("$7${iterations}${salt}${hash}")
        }
    };
    PasswordHash::parse(&hash)
        .map(Some)
        .map_err(|error| error.to_string())
}

fn insert_password(entry: &mut Map<String, Value>, password: &PasswordHash) {
    let encoded = password.to_string();
    let parts = encoded.strip_prefix("$7$").map(|rest| rest.split('$'));
    let parts: Option<Vec<&str>> = parts.map(Iterator::collect);
    if let Some([iterations, salt, hash]) = parts.as_deref()
        && let Ok(iterations) = iterations.parse::<u32>()
    {
        entry.insert("password".to_owned(), json!(hash));
        entry.insert("salt".to_owned(), json!(salt));
        entry.insert("iterations".to_owned(), json!(iterations));
    } else {
        entry.insert("encoded_password".to_owned(), json!(encoded));
    }
}

fn named(key: &str, name: &str, texts: &Texts) -> Map<String, Value> {
    let texts = [("textname", &texts.name), ("textdescription", &texts.description)];
    let texts = texts
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_deref()?))));
    std::iter::once((key.to_owned(), json!(name)))
        .chain(texts)
        .collect()
}

fn link(key: &str, name: &str, priority: Option<i32>) -> Value {
    let mut entry = Map::new();
    entry.insert(key.to_owned(), json!(name));
    if let Some(priority) = priority {
        entry.insert("priority".to_owned(), json!(priority));
    }
    Value::Object(entry)
}

fn texts(fields: Members<'_>) -> Texts {
    Texts {
        name: fields.text("textname").map(Into::into),
        description: fields.text("textdescription").map(Into::into),
    }
}

#[cfg(test)]
mod tests;
