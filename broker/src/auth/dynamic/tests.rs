//! Files that commands change.

use std::fs;

use super::*;

fn execute(security: &DynamicSecurity, commands: &str) -> Executed {
    let payload = format!(r#"{{"commands": [{commands}]}}"#);
    security.execute(payload.as_bytes(), "test")
}

#[test]
fn what_is_answered_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.json");
    let security = DynamicSecurity::load(&path).unwrap();
    let done = execute(
        &security,
        r#"{"command": "createClient", "username": "a", "password": "pw"}"#,
    );
    assert!(done.has_changed, "{}", done.response);
    let again = DynamicSecurity::load(&path).unwrap();
    let passwords = Arc::clone(&again.snapshot().passwords);
    assert!(passwords.verify(passwords.find("a"), b"pw"));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_cannot_be_written_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none").join("d.json");
    let security = DynamicSecurity::load(&path).unwrap();
    let two = r#"{"command": "createClient", "username": "a", "correlationData": "7"},
        {"command": "getClient", "username": "a"}"#;
    let failed = execute(&security, two);
    assert!(!failed.has_changed);
    let responses: serde_json::Value = serde_json::from_str(&failed.response).unwrap();
    for response in responses["responses"].as_array().unwrap() {
        assert!(
            response["error"]
                .as_str()
                .unwrap()
                .starts_with("Nothing is changed: "),
            "{response}"
        );
        assert!(response.get("data").is_none());
    }
    assert_eq!(responses["responses"][0]["correlationData"], "7");
    let shown = execute(&security, r#"{"command": "getClient", "username": "a"}"#);
    assert!(shown.response.contains("Client not found"), "{}", shown.response);
}

#[test]
fn a_file_that_was_changed_is_read_again_and_a_damaged_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.json");
    let security = DynamicSecurity::load(&path).unwrap();
    execute(
        &security,
        r#"{"command": "createClient", "username": "a", "password": "pw"}"#,
    );
    let before = security.snapshot();
    security.reload().unwrap();
    assert!(
        Arc::ptr_eq(&before, &security.snapshot()),
        "its own file is no news"
    );
    fs::write(&path, "{").unwrap();
    assert!(security.reload().is_err());
    assert!(Arc::ptr_eq(&before, &security.snapshot()));
    fs::write(&path, r#"{"clients": []}"#).unwrap();
    security.reload().unwrap();
    assert!(!security.snapshot().keeps(&before, "a"));
}

#[test]
fn whom_a_change_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let security = DynamicSecurity::load(&folder.path().join("d.json")).unwrap();
    for user in ["a", "b"] {
        let create = format!(r#"{{"command": "createClient", "username": "{user}", "password": "pw"}}"#);
        execute(&security, &create);
    }
    let mut before = security.snapshot();
    for (command, kept) in [
        (r#"{"command": "createClient", "username": "c"}"#, true),
        (
            r#"{"command": "modifyClient", "username": "a", "textname": "x"}"#,
            true,
        ),
        (
            r#"{"command": "setClientId", "username": "a", "clientid": "x"}"#,
            false,
        ),
        (
            r#"{"command": "setClientPassword", "username": "a", "password": "other"}"#,
            false,
        ),
        (r#"{"command": "disableClient", "username": "a"}"#, false),
        (r#"{"command": "enableClient", "username": "a"}"#, true),
        (r#"{"command": "deleteClient", "username": "a"}"#, false),
    ] {
        execute(&security, command);
        let now = security.snapshot();
        assert_eq!(now.keeps(&before, "a"), kept, "{command}");
        assert!(now.keeps(&before, "b"), "{command}");
        assert!(
            now.access(Some("b")).is_same(&before.access(Some("b"))),
            "{command}"
        );
        before = now;
    }
}

#[test]
fn the_first_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = DynamicFiles {
        config: folder.path().join("d.json"),
        password_init: None,
    };
    create_missing(&files).unwrap();
    let written = fs::read_to_string(folder.path().join("d.json.pw")).unwrap();
    let password = written.strip_prefix("admin ").unwrap().trim();
    let security = DynamicSecurity::load(&files.config).unwrap();
    let snapshot = security.snapshot();
    assert!(
        snapshot
            .passwords
            .verify(snapshot.passwords.find("admin"), password.as_bytes())
    );
    let names = Names {
        client_identifier: "c",
        user: Some("admin"),
    };
    let admin = snapshot.access(Some("admin"));
    assert!(admin.may_write(names, CONTROL_TOPIC) && admin.may_subscribe(names, RESPONSE_TOPIC));
    assert!(!admin.may_write(names, "a") && admin.may_subscribe(names, "a"));
    let anonymous = snapshot.access(None);
    assert!(!anonymous.may_write(names, CONTROL_TOPIC) && !anonymous.may_subscribe(names, "a"));
    let text = fs::read(&files.config).unwrap();
    create_missing(&files).unwrap();
    assert_eq!(fs::read(&files.config).unwrap(), text, "one that exists stays");

    let init = folder.path().join("init");
    fs::write(&init, "secret\n").unwrap();
    let files = DynamicFiles {
        config: folder.path().join("e.json"),
        password_init: Some(init.clone()),
    };
    create_missing(&files).unwrap();
    assert!(!folder.path().join("e.json.pw").exists());
    fs::write(&init, "\n").unwrap();
    fs::remove_file(&files.config).unwrap();
    let error = create_missing(&files).unwrap_err().to_string();
    assert!(error.contains("has no password; fix: "), "{error}");
}
