//! The commands about groups.
//!
//! Invariants: those of `command.rs`.

use serde_json::json;

use super::command::{
    CommandAnswer, CommandError, CommandResult, Edit, change_texts, group_of, new_texts, part, priority,
    role_of, user_of,
};
use super::directory::DynamicGroup;
use super::fields::Members;
use super::file::group_entry;

const NOT_FOUND: CommandError = CommandError("Group not found");

pub(super) fn create(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let group = group_of(fields)?;
    if group.is_empty() {
        return Err(CommandError("Empty groupname"));
    }
    let texts = new_texts(fields)?;
    if edit.directory.groups().contains_key(group) {
        return Err(CommandError("Group already exists"));
    }
    let roles = match edit.roles_of(fields) {
        Err(CommandError(why)) if why != "Role not found" => return Err(CommandError("Internal error")),
        roles => roles?.unwrap_or_default(),
    };
    let mut made = DynamicGroup::default();
    made.texts = texts;
    made.roles = roles;
    edit.directory.insert_group(group, made);
    edit.changed(format_args!("createGroup {group}"))
}

pub(super) fn delete(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let group = group_of(fields)?;
    if edit.directory.anonymous_group.as_deref() == Some(group) {
        return Err(CommandError("Deleting the anonymous group is forbidden"));
    }
    if !edit.directory.remove_group(group) {
        return Err(NOT_FOUND);
    }
    edit.changed(format_args!("deleteGroup {group}"))
}

pub(super) fn get(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = group_of(fields)?;
    let group = edit.directory.groups().get(name).ok_or(NOT_FOUND)?;
    Ok(CommandAnswer::Data(
        json!({"group": group_entry(name, group, false)}),
    ))
}

pub(super) fn list(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let groups = edit.directory.groups().iter();
    let (total, groups) = part(fields, groups, |name, group| group_entry(name, group, false));
    Ok(CommandAnswer::Data(
        json!({"totalCount": total, "groups": groups}),
    ))
}

pub(super) fn modify(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = group_of(fields)?;
    known(edit, name)?;
    let roles = edit.roles_of(fields)?;
    let clients = clients_of(edit, fields)?;
    if let Some(clients) = clients {
        edit.directory.empty_group(name);
        for (user, priority) in clients {
            edit.directory.join(user, name, priority);
        }
    }
    let group = edit.directory.group_mut(name).ok_or(NOT_FOUND)?;
    if let Some(roles) = roles {
        group.roles = roles;
    }
    change_texts(fields, &mut group.texts);
    edit.changed(format_args!("modifyGroup {name}"))
}

pub(super) fn add_client(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let (user, group) = (user_of(fields)?, group_of(fields)?);
    check_pair(edit, user, group)?;
    if !edit.directory.join(user, group, priority(fields)) {
        return Err(CommandError("Client is already in this group"));
    }
    edit.changed(format_args!("addGroupClient {group} {user}"))
}

pub(super) fn remove_client(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let (user, group) = (user_of(fields)?, group_of(fields)?);
    check_pair(edit, user, group)?;
    edit.directory.leave(user, group);
    edit.changed(format_args!("removeGroupClient {group} {user}"))
}

pub(super) fn add_role(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let (name, role) = (group_of(fields)?, role_of(fields)?);
    check_role(edit, name, role)?;
    let group = edit.directory.group_mut(name).ok_or(NOT_FOUND)?;
    if !group.roles.add(role, priority(fields)) {
        return Err(CommandError("Group is already in this role"));
    }
    edit.changed(format_args!("addGroupRole {name} {role}"))
}

pub(super) fn remove_role(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let (name, role) = (group_of(fields)?, role_of(fields)?);
    check_role(edit, name, role)?;
    edit.directory
        .group_mut(name)
        .ok_or(NOT_FOUND)?
        .roles
        .remove(role);
    edit.changed(format_args!("removeGroupRole {name} {role}"))
}

pub(super) fn set_anonymous(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let group = group_of(fields)?;
    known(edit, group)?;
    edit.directory.anonymous_group = Some(group.into());
    edit.changed(format_args!("setAnonymousGroup {group}"))
}

pub(super) fn get_anonymous(edit: &mut Edit, _: Members<'_>) -> CommandResult {
    let group = edit.directory.anonymous_group.as_deref().unwrap_or_default();
    Ok(CommandAnswer::Data(json!({"group": {"groupname": group}})))
}

fn known(edit: &Edit, group: &str) -> Result<(), CommandError> {
    match edit.directory.groups().contains_key(group) {
        true => Ok(()),
        false => Err(NOT_FOUND),
    }
}

fn check_pair(edit: &Edit, user: &str, group: &str) -> Result<(), CommandError> {
    if !edit.directory.clients().contains_key(user) {
        return Err(CommandError("Client not found"));
    }
    known(edit, group)
}

fn check_role(edit: &Edit, group: &str, role: &str) -> Result<(), CommandError> {
    known(edit, group)?;
    match edit.directory.roles().contains_key(role) {
        true => Ok(()),
        false => Err(CommandError("Role not found")),
    }
}

/// The clients that a command names for a group; `None` if it names none.
fn clients_of<'a>(edit: &Edit, fields: Members<'a>) -> Result<Option<Vec<(&'a str, i32)>>, CommandError> {
    let Some(list) = fields.list("clients") else {
        return Ok(None);
    };
    let client = |client: Members<'a>| {
        let user = client.text("username");
        let user = user.ok_or(CommandError(
            "'clients' contains an object with an invalid 'username'",
        ))?;
        match edit.directory.clients().contains_key(user) {
            true => Ok((user, priority(client))),
            false => Err(CommandError(
                "'clients' contains an object with a 'username' that does not exist",
            )),
        }
    };
    let clients: Result<Vec<_>, _> = list.iter().filter_map(Members::of).map(client).collect();
    clients.map(Some)
}
