//! The commands about roles and their access rules.
//!
//! Invariants: those of `command.rs`.

use mqtt::topic;
use serde_json::json;

use super::command::{
    CommandAnswer, CommandError, CommandResult, Edit, change_texts, is_text, new_texts, part, role_of,
};
use super::directory::{AclKind, RoleAcl, bounded_priority};
use super::fields::Members;
use super::file::{acls_of, role_entry};
use crate::limits;

const NOT_FOUND: CommandError = CommandError("Role not found");

pub(super) fn create(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = role_of(fields)?;
    if name.is_empty() {
        return Err(CommandError("Empty rolename"));
    }
    let texts = new_texts(fields)?;
    let wildcards = fields.optional_flag("allowwildcardsubs");
    let wildcards = wildcards.map_err(|_| CommandError("Invalid allowwildcardsubs"))?;
    if edit.directory.roles().contains_key(name) {
        return Err(CommandError("Role already exists"));
    }
    let mut role = acls_of(fields.list("acls").unwrap_or_default());
    role.texts = texts;
    role.allows_wildcards = wildcards.unwrap_or(true);
    edit.directory.insert_role(name, role);
    edit.changed(format_args!("createRole {name}"))
}

pub(super) fn delete(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = role_of(fields)?;
    if !edit.directory.remove_role(name) {
        return Err(NOT_FOUND);
    }
    edit.changed(format_args!("deleteRole {name}"))
}

pub(super) fn get(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = role_of(fields)?;
    let role = edit.directory.roles().get(name).ok_or(NOT_FOUND)?;
    Ok(CommandAnswer::Data(json!({"role": role_entry(name, role)})))
}

pub(super) fn list(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let roles = edit.directory.roles().iter();
    let (total, roles) = part(fields, roles, |name, role| role_entry(name, role));
    Ok(CommandAnswer::Data(json!({"totalCount": total, "roles": roles})))
}

pub(super) fn modify(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = role_of(fields)?;
    let role = edit
        .directory
        .role_mut(name)
        .ok_or(CommandError("Role does not exist"))?;
    if let Some(acls) = fields.list("acls") {
        role.acls = acls_of(acls).acls;
    }
    if let Some(allows) = fields.flag("allowwildcardsubs") {
        role.allows_wildcards = allows;
    }
    change_texts(fields, &mut role.texts);
    edit.changed(format_args!("modifyRole {name}"))
}

pub(super) fn add_acl(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = role_of(fields)?;
    let (kind, topic) = acl_of(edit, name, fields)?;
    let acl = RoleAcl {
        topic: topic.into(),
        priority: bounded_priority(fields.number("priority").unwrap_or(0)),
        allows: fields.flag("allow").unwrap_or(false),
    };
    let role = edit.directory.role_mut(name).ok_or(NOT_FOUND)?;
    if role.acls(kind).iter().count() >= limits::DYNAMIC_ACLS_MAX {
        return Err(CommandError("Too many ACLs of this type in the role"));
    }
    if !role.acls_mut(kind).add(acl) {
        return Err(CommandError("ACL with this topic already exists"));
    }
    edit.changed(format_args!("addRoleACL {name} {} {topic}", kind.name()))
}

pub(super) fn remove_acl(edit: &mut Edit, fields: Members<'_>) -> CommandResult {
    let name = role_of(fields)?;
    let (kind, topic) = acl_of(edit, name, fields)?;
    let role = edit.directory.role_mut(name).ok_or(NOT_FOUND)?;
    if !role.acls_mut(kind).remove(topic) {
        return Err(CommandError("ACL not found"));
    }
    edit.changed(format_args!("removeRoleACL {name} {} {topic}", kind.name()))
}

/// The kind and the topic of the rule that a command is about.
fn acl_of<'a>(edit: &Edit, role: &str, fields: Members<'a>) -> Result<(AclKind, &'a str), CommandError> {
    if !edit.directory.roles().contains_key(role) {
        return Err(NOT_FOUND);
    }
    let kind = fields
        .text("acltype")
        .ok_or(CommandError("Invalid/missing acltype"))?;
    let kind = AclKind::from_name(kind).ok_or(CommandError("Unknown acltype"))?;
    let topic = fields
        .text("topic")
        .ok_or(CommandError("Invalid/missing topic"))?;
    if !is_text(topic) {
        return Err(CommandError("Topic not valid UTF-8"));
    }
    if topic::check_filter(topic).is_err() {
        return Err(CommandError("Invalid ACL topic"));
    }
    Ok((kind, topic))
}
