//! The commands about clients.
//!
//! Invariants: those of `command.rs`.

use serde_json::{Map, Value, json};

use super::command::{
    CommandAnswer, CommandError, CommandResult, Edit, change_texts, is_text, new_texts, part, priority,
    role_of, user_of,
};
use super::directory::{Directory, DynamicClient, Memberships};
use super::fields::Members;
use super::file;
use crate::auth::password::PasswordHash;
use crate::limits;

const NOT_FOUND: CommandError = CommandError("Client not found");

pub(super) fn create(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    if user.is_empty() {
        return Err(CommandError("Empty username"));
    }
    let password = optional(fields, "password", "Invalid/missing password")?;
    let client_identifier = optional(fields, "clientid", "Invalid/missing client id")?;
    check_identifier(client_identifier)?;
    let texts = new_texts(fields)?;
    if edit.directory.clients().contains_key(user) {
        return Err(CommandError("Client already exists"));
    }
    let roles = edit.roles_of(fields)?;
    let groups = groups_of(&edit.directory, fields, "Group not found")?;
    let mut client = DynamicClient::default();
    // An empty one is no password, as it is one that anybody would send first.
    client.password = password.filter(|text| !text.is_empty()).map(hash).transpose()?;
    client.client_identifier = client_identifier.filter(|text| !text.is_empty()).map(Into::into);
    client.texts = texts;
    client.roles = roles.unwrap_or_default();
    edit.directory.insert_client(user, client);
    for link in groups.unwrap_or_default().iter() {
        edit.directory.join(user, &link.name, link.priority);
    }
    edit.changed(format_args!("createClient {user}"))
}

pub(super) fn delete(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = fields
        .text("username")
        .ok_or(CommandError("Invalid/missing username"))?;
    if !edit.directory.remove_client(user) {
        return Err(NOT_FOUND);
    }
    edit.changed(format_args!("deleteClient {user}"))
}

pub(super) fn get(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    let client = edit.directory.clients().get(user).ok_or(NOT_FOUND)?;
    Ok(CommandAnswer::Data(json!({"client": whole(user, client)})))
}

pub(super) fn list(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let clients = edit.directory.clients().iter();
    let (total, clients) = part(fields, clients, |user, client| whole(user, client));
    Ok(CommandAnswer::Data(
        json!({"totalCount": total, "clients": clients}),
    ))
}

pub(super) fn modify(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    known(edit, user)?;
    let roles = edit.roles_of(fields)?;
    let missing = "'groups' contains an object with a 'groupname' that does not exist";
    let groups = groups_of(&edit.directory, fields, missing)?;
    let password = fields.text("password").filter(|text| !text.is_empty());
    let password = password.map(hash).transpose()?;
    let client_identifier = fields.text("clientid");
    check_identifier(client_identifier)?;
    if let Some(groups) = groups {
        edit.directory.leave_all_groups(user);
        for link in groups.iter() {
            edit.directory.join(user, &link.name, link.priority);
        }
    }
    let client = edit.directory.client_mut(user).ok_or(NOT_FOUND)?;
    if password.is_some() {
        client.password = password;
    }
    if let Some(client_identifier) = client_identifier {
        client.client_identifier = (!client_identifier.is_empty()).then(|| client_identifier.into());
    }
    if let Some(roles) = roles {
        client.roles = roles;
    }
    change_texts(fields, &mut client.texts);
    edit.changed(format_args!("modifyClient {user}"))
}

pub(super) fn set_password(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    let password = fields
        .text("password")
        .ok_or(CommandError("Invalid/missing password"))?;
    if password.is_empty() {
        return Err(CommandError("Empty password is not allowed"));
    }
    known(edit, user)?;
    let password = hash(password)?;
    edit.directory.client_mut(user).ok_or(NOT_FOUND)?.password = Some(password);
    edit.changed(format_args!("setClientPassword {user}"))
}

pub(super) fn set_identifier(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    let client_identifier = optional(fields, "clientid", "Invalid/missing client ID")?;
    check_identifier(client_identifier)?;
    let client = edit.directory.client_mut(user).ok_or(NOT_FOUND)?;
    client.client_identifier = client_identifier.filter(|text| !text.is_empty()).map(Into::into);
    edit.changed(format_args!("setClientId {user}"))
}

pub(super) fn enable(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    edit.directory.client_mut(user).ok_or(NOT_FOUND)?.is_disabled = false;
    edit.changed(format_args!("enableClient {user}"))
}

pub(super) fn disable(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let user = user_of(fields)?;
    edit.directory.client_mut(user).ok_or(NOT_FOUND)?.is_disabled = true;
    edit.changed(format_args!("disableClient {user}"))
}

pub(super) fn add_role(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let (user, role) = (user_of(fields)?, role_of(fields)?);
    known(edit, user)?;
    if !edit.directory.roles().contains_key(role) {
        return Err(CommandError("Role not found"));
    }
    let client = edit.directory.client_mut(user).ok_or(NOT_FOUND)?;
    if !client.roles.add(role, priority(fields)) {
        // mosquitto has no better word for a role that the client has already.
        return Err(CommandError("Internal error"));
    }
    edit.changed(format_args!("addClientRole {user} {role}"))
}

pub(super) fn remove_role(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let (user, role) = (user_of(fields)?, role_of(fields)?);
    known(edit, user)?;
    if !edit.directory.roles().contains_key(role) {
        return Err(CommandError("Role not found"));
    }
    edit.directory
        .client_mut(user)
        .ok_or(NOT_FOUND)?
        .roles
        .remove(role);
    edit.changed(format_args!("removeClientRole {user} {role}"))
}

fn whole(user: &str, client: &DynamicClient) -> Map<String, Value> {
    let mut entry = file::client_entry(user, client);
    entry.insert(
        "groups".to_owned(),
        file::memberships("groupname", client.groups()),
    );
    entry
}

fn known(edit: &Edit, user: &str) -> Result<(), CommandError> {
    match edit.directory.clients().contains_key(user) {
        true => Ok(()),
        false => Err(NOT_FOUND),
    }
}

fn optional<'a>(
    fields: Members<'a>,
    key: &str,
    wrong: &'static str,
) -> Result<Option<&'a str>, CommandError> {
    fields.optional_text(key).map_err(|_| CommandError(wrong))
}

fn check_identifier(client_identifier: Option<&str>) -> Result<(), CommandError> {
    match client_identifier.is_none_or(is_text) {
        true => Ok(()),
        false => Err(CommandError("Client ID not valid UTF-8")),
    }
}

/// The groups that a command names; `None` if it names none.
fn groups_of(
    directory: &Directory,
    fields: Members<'_>,
    missing: &'static str,
) -> Result<Option<Memberships>, CommandError> {
    let Some(list) = fields.list("groups") else {
        return Ok(None);
    };
    let mut memberships = Memberships::default();
    for group in list.iter().filter_map(Members::of) {
        let name = group.text("groupname");
        let name = name.ok_or(CommandError(
            "'groups' contains an object with an invalid 'groupname'",
        ))?;
        if !directory.groups().contains_key(name) {
            return Err(CommandError(missing));
        }
        memberships.add(name, priority(group));
    }
    Ok(Some(memberships))
}

fn hash(password: &str) -> Result<PasswordHash, CommandError> {
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(CommandError("Password too long"));
    }
    PasswordHash::make(password.as_bytes(), super::NEW_HASH).map_err(|_| CommandError("Internal error"))
}
