//! Commands, their failures, and what they leave.

use super::*;

fn run(edit: &mut Edit, command: Value) -> Value {
    let payload = json!({"commands": [command]}).to_string();
    let mut responses = edit.run(payload.as_bytes());
    assert_eq!(responses.len(), 1);
    responses.remove(0)
}

fn edit() -> Edit {
    Edit::new(Directory::default())
}

fn error(response: &Value) -> &str {
    response.get("error").and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn each_command_stands_once() {
    let mut names = COMMANDS.map(|(name, _)| name.to_ascii_lowercase());
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn what_is_no_command_is_answered() {
    for (payload, why) in [
        (&b"\xff"[..], "Payload not valid JSON"),
        (b"{}", "Invalid/missing commands"),
        (br#"{"commands": 1}"#, "Invalid/missing commands"),
        (
            br#"{"commands": [1, {"command": "getDetails"}]}"#,
            "Command not an object",
        ),
        (br#"{"commands": [{}]}"#, "Missing command"),
        (br#"{"commands": [{"command": "x"}]}"#, "Unknown command"),
        (
            br#"{"commands": [{"command": "getDetails", "correlationData": 1}]}"#,
            "Invalid correlationData data type.",
        ),
    ] {
        let mut edit = edit();
        let responses = edit.run(payload);
        assert_eq!(responses.len(), 1);
        assert_eq!(error(&responses[0]), why);
        assert!(!edit.has_changed);
    }
}

#[test]
fn a_command_that_fails_changes_nothing() {
    let mut edit = edit();
    run(&mut edit, json!({"command": "createRole", "rolename": "r"}));
    run(&mut edit, json!({"command": "createGroup", "groupname": "g"}));
    run(
        &mut edit,
        json!({"command": "createClient", "username": "a", "groups": [{"groupname": "g"}]}),
    );
    let before = crate::auth::dynamic::file::text(&edit.directory);
    for command in [
        json!({"command": "createClient", "username": "b", "roles": [{"rolename": "none"}]}),
        json!({"command": "createClient", "username": "b", "groups": [{"groupname": "none"}]}),
        json!({"command": "createClient", "username": "b\u{1}"}),
        json!({"command": "createClient", "username": ""}),
        json!({"command": "createClient", "username": "a"}),
        json!({"command": "modifyClient", "username": "a", "textname": "x", "groups": [{"groupname": "none"}]}),
        json!({"command": "modifyClient", "username": "a", "password": "x", "roles": 1}),
        json!({"command": "modifyGroup", "groupname": "g", "textname": "x", "clients": [{"username": "none"}]}),
        json!({"command": "setClientPassword", "username": "a", "password": ""}),
        json!({"command": "addRoleACL", "rolename": "r", "acltype": "publishClientSend", "topic": "a/#/b"}),
        json!({"command": "addRoleACL", "rolename": "r", "acltype": "x", "topic": "a"}),
        json!({"command": "addGroupRole", "groupname": "g", "rolename": "none"}),
        json!({"command": "setDefaultACLAccess"}),
    ] {
        let response = run(&mut edit, command.clone());
        assert!(!error(&response).is_empty(), "{command}");
        assert_eq!(
            crate::auth::dynamic::file::text(&edit.directory),
            before,
            "{command}"
        );
    }
}

#[test]
fn no_answer_and_no_line_of_the_log_has_a_password() {
    let mut edit = edit();
    for command in [
        json!({"command": "createClient", "username": "a", "password": "hunter2"}),
        json!({"command": "setClientPassword", "username": "a", "password": "hunter2"}),
        json!({"command": "modifyClient", "username": "a", "password": "hunter2"}),
        json!({"command": "getClient", "username": "a"}),
        json!({"command": "listClients", "verbose": true}),
    ] {
        let response = run(&mut edit, command).to_string();
        assert!(
            !response.contains("hunter2") && !response.contains("$7$"),
            "{response}"
        );
        assert!(
            !response.contains("salt") && !response.contains("password\":"),
            "{response}"
        );
    }
    assert!(!edit.done.concat().contains("hunter2"));
    assert!(
        edit.directory
            .clients()
            .get("a")
            .unwrap()
            .password
            .as_ref()
            .unwrap()
            .verify(b"hunter2")
    );
}

#[test]
fn what_is_removed_leaves_no_link() {
    let mut edit = edit();
    run(&mut edit, json!({"command": "createRole", "rolename": "r"}));
    run(
        &mut edit,
        json!({"command": "createGroup", "groupname": "g", "roles": [{"rolename": "r"}]}),
    );
    let client = json!({
        "command": "createClient", "username": "a", "roles": [{"rolename": "r"}], "groups": [{"groupname": "g"}],
    });
    run(&mut edit, client);
    run(&mut edit, json!({"command": "deleteRole", "rolename": "r"}));
    assert!(!edit.directory.clients().get("a").unwrap().roles.has("r"));
    assert!(!edit.directory.groups().get("g").unwrap().roles.has("r"));
    run(&mut edit, json!({"command": "deleteClient", "username": "a"}));
    assert!(edit.directory.groups().get("g").unwrap().clients().is_empty());
    run(
        &mut edit,
        json!({"command": "createClient", "username": "a", "groups": [{"groupname": "g"}]}),
    );
    run(&mut edit, json!({"command": "deleteGroup", "groupname": "g"}));
    assert!(!edit.directory.clients().get("a").unwrap().groups().has("g"));
}

#[test]
fn parts_of_lists() {
    let mut edit = edit();
    for user in ["c", "a", "b"] {
        run(&mut edit, json!({"command": "createClient", "username": user}));
    }
    for (command, users) in [
        (json!({"command": "listClients"}), &["a", "b", "c"][..]),
        (json!({"command": "listClients", "count": 2}), &["a", "b"]),
        (json!({"command": "listClients", "count": 0}), &["a"]),
        (
            json!({"command": "listClients", "count": 5, "offset": 1}),
            &["b", "c"],
        ),
        (json!({"command": "listClients", "offset": 9}), &[]),
    ] {
        let data = run(&mut edit, command.clone());
        assert_eq!(data["data"]["clients"], json!(users), "{command}");
        assert_eq!(data["data"]["totalCount"], json!(3));
    }
}
