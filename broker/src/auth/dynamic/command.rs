//! The commands that mosquitto_ctrl sends, and their answers: `{"commands": [...]}` and `{"responses": [...]}`.
//!
//! Invariants: a command that fails changes nothing. The texts of failures are those of mosquitto, which programs
//! compare. No answer and no line of the log has a password or its hash.

use std::fmt;

use serde_json::{Map, Value, json};

use super::directory::{Directory, Memberships, bounded_priority};
use super::fields::Members;
use super::file::NO_PRIORITY;
use super::{clients, groups, roles};
use crate::limits;

/// A directory that commands change, and what has to be done besides.
pub(super) struct Edit {
    pub(super) directory: Directory,
    /// Something in the directory is another than before.
    pub(super) has_changed: bool,
    /// For the log, what was done: the command and its names.
    pub(super) done: Vec<String>,
}

/// What a command without a failure answers.
pub(super) enum CommandAnswer {
    /// Nothing but that it was done.
    Done,
    /// Something that was asked for.
    Data(Value),
}

/// Why a command was refused, in mosquitto's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommandError(pub(super) &'static str);

pub(super) type CommandResult = Result<CommandAnswer, CommandError>;

impl Edit {
    pub(super) fn new(directory: Directory) -> Self {
        Self {
            directory,
            has_changed: false,
            done: Vec::new(),
        }
    }

    /// Carries out all commands of a payload; the text of the answer.
    pub(super) fn run(&mut self, payload: &[u8]) -> Vec<Value> {
        let Ok(tree) = serde_json::from_slice::<Value>(payload) else {
            return vec![failed(UNKNOWN, None, "Payload not valid JSON")];
        };
        let Some(commands) = Members::of(&tree).and_then(|tree| tree.list("commands")) else {
            return vec![failed(UNKNOWN, None, "Invalid/missing commands")];
        };
        let mut responses = Vec::new();
        for command in commands {
            match self.run_one(command) {
                Ok(response) => responses.push(response),
                // Those behind it are not looked at.
                Err(response) => {
                    responses.push(response);
                    break;
                }
            }
            if responses.len() >= limits::DYNAMIC_COMMANDS_MAX {
                responses.push(failed(UNKNOWN, None, "Too many commands in one message"));
                break;
            }
        }
        responses
    }

    /// The response to one command; an error if it cannot be read as one.
    fn run_one(&mut self, command: &Value) -> Result<Value, Value> {
        let fields = Members::of(command).ok_or_else(|| failed(UNKNOWN, None, "Command not an object"))?;
        let name = fields
            .text("command")
            .ok_or_else(|| failed(UNKNOWN, None, "Missing command"))?;
        let correlation = match fields.get("correlationData") {
            None => None,
            Some(Value::String(text)) => Some(text.as_str()),
            Some(_) => return Err(failed(name, None, "Invalid correlationData data type.")),
        };
        Ok(match self.dispatch(name, fields) {
            Ok(CommandAnswer::Done) => response(name, correlation),
            Ok(CommandAnswer::Data(data)) => {
                let mut response = response(name, correlation);
                if let Some(response) = response.as_object_mut() {
                    response.insert("data".to_owned(), data);
                }
                response
            }
            Err(CommandError(why)) => failed(name, correlation, why),
        })
    }

    fn dispatch(&mut self, name: &str, fields: Members<'_>) -> CommandResult {
        let (_, run) = COMMANDS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .ok_or(CommandError("Unknown command"))?;
        run(self, fields)
    }

    /// Notes a change, for the log and for the count of changes.
    pub(super) fn changed(&mut self, what: impl fmt::Display) -> CommandResult {
        self.has_changed = true;
        self.directory.change_index += 1;
        self.done.push(what.to_string());
        Ok(CommandAnswer::Done)
    }

    /// The roles that a command names; `None` if it names none.
    pub(super) fn roles_of(&self, fields: Members<'_>) -> Result<Option<Memberships>, CommandError> {
        const WRONG: CommandError = CommandError("'roles' not an array or missing/invalid rolename");
        if fields.get("roles").is_none() {
            return Ok(None);
        }
        let mut memberships = Memberships::default();
        for role in fields.list("roles").ok_or(WRONG)? {
            let role = Members::of(role).ok_or(WRONG)?;
            let name = role.text("rolename").ok_or(WRONG)?;
            if !self.directory.roles().contains_key(name) {
                return Err(CommandError("Role not found"));
            }
            memberships.add(name, priority(role));
        }
        Ok(Some(memberships))
    }

    fn set_default_access(&mut self, fields: Members<'_>) -> CommandResult {
        let acls = fields
            .list("acls")
            .ok_or(CommandError("Missing/invalid actions array"))?;
        let mut access = self.directory.default_access;
        for acl in acls.iter().filter_map(Members::of) {
            if let (Some(kind), Some(allows)) = (acl.text("acltype"), acl.flag("allow")) {
                access.set(kind, allows);
            }
        }
        self.directory.default_access = access;
        self.changed("setDefaultACLAccess")
    }

    fn get_default_access(&mut self, _: Members<'_>) -> CommandResult {
        let acls = self.directory.default_access.named();
        let acls = acls.map(|(kind, allows)| json!({"acltype": kind, "allow": allows}));
        Ok(CommandAnswer::Data(json!({"acls": acls})))
    }

    fn get_details(&mut self, _: Members<'_>) -> CommandResult {
        let directory = &self.directory;
        Ok(CommandAnswer::Data(json!({
            "clientCount": directory.clients().len(),
            "groupCount": directory.groups().len(),
            "roleCount": directory.roles().len(),
            "changeIndex": directory.change_index,
        })))
    }
}

type RunCommand = fn(&mut Edit, Members<'_>) -> CommandResult;

/// All commands of mosquitto 2.0 and 2.1.
const COMMANDS: [(&str, RunCommand); 32] = [
    ("setDefaultACLAccess", Edit::set_default_access),
    ("getDefaultACLAccess", Edit::get_default_access),
    ("getDetails", Edit::get_details),
    ("createClient", clients::create),
    ("deleteClient", clients::delete),
    ("getClient", clients::get),
    ("listClients", clients::list),
    ("modifyClient", clients::modify),
    ("setClientPassword", clients::set_password),
    ("setClientId", clients::set_identifier),
    ("addClientRole", clients::add_role),
    ("removeClientRole", clients::remove_role),
    ("enableClient", clients::enable),
    ("disableClient", clients::disable),
    ("addGroupClient", groups::add_client),
    ("createGroup", groups::create),
    ("deleteGroup", groups::delete),
    ("getGroup", groups::get),
    ("listGroups", groups::list),
    ("modifyGroup", groups::modify),
    ("removeGroupClient", groups::remove_client),
    ("addGroupRole", groups::add_role),
    ("removeGroupRole", groups::remove_role),
    ("setAnonymousGroup", groups::set_anonymous),
    ("getAnonymousGroup", groups::get_anonymous),
    ("createRole", roles::create),
    ("getRole", roles::get),
    ("listRoles", roles::list),
    ("modifyRole", roles::modify),
    ("deleteRole", roles::delete),
    ("addRoleACL", roles::add_acl),
    ("removeRoleACL", roles::remove_acl),
];

/// What stands for the name of a command that has none.
const UNKNOWN: &str = "Unknown command";

/// The text of a message with these responses.
pub(super) fn payload_of(responses: &[Value]) -> String {
    json!({"responses": responses}).to_string()
}

/// The same responses as failures: nothing of what was asked was done.
pub(super) fn all_failed(responses: &[Value], why: &str) -> Vec<Value> {
    let failed = responses.iter().filter_map(Value::as_object).map(|response| {
        let mut response = response.clone();
        response.remove("data");
        response.entry("error").or_insert_with(|| json!(why));
        Value::Object(response)
    });
    failed.collect()
}

fn response(command: &str, correlation: Option<&str>) -> Value {
    let mut response = Map::new();
    response.insert("command".to_owned(), json!(command));
    if let Some(correlation) = correlation {
        response.insert("correlationData".to_owned(), json!(correlation));
    }
    Value::Object(response)
}

fn failed(command: &str, correlation: Option<&str>, why: &str) -> Value {
    let mut response = response(command, correlation);
    if let Some(response) = response.as_object_mut() {
        response.insert("error".to_owned(), json!(why));
    }
    response
}

/// A name that a command must have: `missing` if it is not there, `wrong` if it is none that MQTT can carry.
pub(super) fn name<'a>(
    fields: Members<'a>,
    key: &str,
    missing: &'static str,
    wrong: &'static str,
) -> Result<&'a str, CommandError> {
    let name = fields.text(key).ok_or(CommandError(missing))?;
    if is_text(name) {
        Ok(name)
    } else {
        Err(CommandError(wrong))
    }
}

pub(super) fn user_of(fields: Members<'_>) -> Result<&str, CommandError> {
    name(
        fields,
        "username",
        "Invalid/missing username",
        "Username not valid UTF-8",
    )
}

pub(super) fn group_of(fields: Members<'_>) -> Result<&str, CommandError> {
    name(
        fields,
        "groupname",
        "Invalid/missing groupname",
        "Group name not valid UTF-8",
    )
}

pub(super) fn role_of(fields: Members<'_>) -> Result<&str, CommandError> {
    name(
        fields,
        "rolename",
        "Invalid/missing rolename",
        "Role name not valid UTF-8",
    )
}

/// The priority of a link.
pub(super) fn priority(fields: Members<'_>) -> i32 {
    bounded_priority(fields.number("priority").unwrap_or(NO_PRIORITY))
}

/// Whether mosquitto takes it for a text of MQTT: no control characters.
pub(super) fn is_text(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && !text.contains(char::is_control)
}

/// What a person writes about something that is made: `name` and `description`.
pub(super) fn new_texts(fields: Members<'_>) -> Result<super::directory::Texts, CommandError> {
    let text = |key, wrong| fields.optional_text(key).map_err(|_| CommandError(wrong));
    Ok(super::directory::Texts {
        name: text("textname", "Invalid/missing textname")?.map(Into::into),
        description: text("textdescription", "Invalid/missing textdescription")?.map(Into::into),
    })
}

/// Replaces the texts that a command has.
pub(super) fn change_texts(fields: Members<'_>, texts: &mut super::directory::Texts) {
    if let Some(name) = fields.text("textname") {
        texts.name = Some(name.into());
    }
    if let Some(description) = fields.text("textdescription") {
        texts.description = Some(description.into());
    }
}

/// The part of a list that a command asks for: `count` entries from `offset` on, whole if it is `verbose`.
pub(super) fn part<'a, T: 'a>(
    fields: Members<'_>,
    entries: impl ExactSizeIterator<Item = (&'a Box<str>, T)>,
    whole: impl Fn(&str, T) -> Map<String, Value>,
) -> (usize, Vec<Value>) {
    let verbose = fields.flag("verbose").unwrap_or(false);
    let offset = usize::try_from(fields.number("offset").unwrap_or(0)).unwrap_or(0);
    // As mosquitto: 0 gives one entry, a negative number all.
    let count = fields
        .number("count")
        .and_then(|count| usize::try_from(count).ok());
    let count = count.map_or(usize::MAX, |count| count.max(1));
    let total = entries.len();
    let shown = entries
        .skip(offset)
        .take(count)
        .map(|(name, entry)| match verbose {
            true => Value::Object(whole(name, entry)),
            false => json!(name),
        });
    (total, shown.collect())
}

#[cfg(test)]
mod tests;
