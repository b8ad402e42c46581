//! Files as mosquitto writes them, and damaged ones.

use super::*;

fn read(text: &str) -> ReadFile {
    parse(Path::new("d.json"), text.as_bytes()).unwrap()
}

/// As mosquitto 2.0.11 writes it.
const OF_MOSQUITTO: &str = r#"{
  "defaultACLAccess": {
    "publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true
  },
  "clients": [
    {"username": "admin", "textName": "Dynsec admin user", "salt": "Ei7qOFYfgmaDVkHf", "iterations": 101,
      "password":
        "T8X8e4s61qZ6RfBjkHZ8RR6lG9jAcm2iiEdjnVQUn0x7Il5rp1P9l3Q2bfoq1nnGRN1h8jW8C5sx8Q4ZSNy4gw==",
      "roles": [{"rolename": "admin"}]},
    {"username": "b", "clientid": "only", "disabled": true,
      "roles": [{"rolename": "x", "priority": 5}, {"rolename": "admin", "priority": 9}, {"rolename": "none"}]},
    {"username": "b"}, {"textname": "nobody"}
  ],
  "groups": [{"groupname": "g", "roles": [], "clients": [{"username": "b", "priority": 3}, {"username": "gone"}]}],
  "roles": [
    {"rolename": "admin", "acls": [
      {"acltype": "publishClientSend", "topic": "$CONTROL/#", "priority": 0, "allow": true}]},
    {"rolename": "x", "allowwildcardsubs": false, "acls": [
      {"acltype": "subscribePattern", "topic": "low", "priority": 1, "allow": true},
      {"acltype": "subscribePattern", "topic": "high", "priority": 1000000},
      {"acltype": "subscribePattern", "topic": "low", "priority": 7, "allow": false}]}
  ],
  "anonymousGroup": "g"
}"#;

#[test]
fn what_mosquitto_writes_is_read() {
    let read = read(OF_MOSQUITTO);
    let directory = &read.directory;
    assert!(directory.clients().get("admin").unwrap().password.is_some());
    assert_eq!(directory.anonymous_group.as_deref(), Some("g"));
    assert_eq!(
        directory.default_access.named().map(|(_, allows)| allows),
        [false, true, false, true]
    );
    let client = directory.clients().get("b").unwrap();
    assert!(client.is_disabled && client.client_identifier.as_deref() == Some("only"));
    let roles: Vec<_> = client
        .roles
        .iter()
        .map(|link| (&*link.name, link.priority))
        .collect();
    assert_eq!(roles, [("admin", 9), ("x", 5)], "the highest priority first");
    assert!(client.groups().has("g"));
    let acls = directory
        .roles()
        .get("x")
        .unwrap()
        .acls(AclKind::SubscribePattern);
    let acls: Vec<_> = acls
        .iter()
        .map(|acl| (&*acl.topic, acl.priority, acl.allows))
        .collect();
    assert_eq!(acls, [("high", 100_000, false), ("low", 1, true)]);
    assert_eq!(read.left_out.len(), 4, "{:?}", read.left_out);
}

#[test]
fn what_is_written_is_read_again() {
    let first = read(OF_MOSQUITTO);
    let written = text(&first.directory);
    let again = read(&written);
    assert_eq!(text(&again.directory), written);
    assert!(again.left_out.is_empty(), "{:?}", again.left_out);
    assert!(written.contains("\"salt\""), "mosquitto 2.0 reads it");
}

#[test]
fn a_password_of_mosquitto_2_1_stays_as_it_is() {
    let hash = PasswordHash::make(b"pw", crate::auth::password::Algorithm::Argon2id).unwrap();
    let file = format!(r#"{{"clients": [{{"username": "a", "encoded_password": "{hash}"}}]}}"#);
    let read = read(&file);
    assert!(read.left_out.is_empty());
    assert!(text(&read.directory).contains(&hash.to_string()));
}

#[test]
fn a_password_that_cannot_be_read_lets_nobody_in() {
    for password in [
        r#""password": "x", "salt": "y", "iterations": 101"#,
        r#""encoded_password": "plain""#,
        r#""password": "eA==", "salt": "eA==", "iterations": 999999999"#,
    ] {
        let read = read(&format!(r#"{{"clients": [{{"username": "a", {password}}}]}}"#));
        assert_eq!(read.left_out.len(), 1, "{password}");
        assert!(read.directory.clients().get("a").unwrap().password.is_none());
        assert!(!read.left_out.concat().contains("plain"), "it may be a password");
    }
}

#[test]
fn what_is_no_file_of_dynamic_security_is_refused() {
    for (wrong, why) in [
        ("{", "it is no JSON at line 1"),
        ("[]", "it is no JSON object"),
        (r#"{"clients": {}}"#, "clients is no list"),
        ("user:$7$101$x", "it is no JSON"),
    ] {
        let error = parse(Path::new("d.json"), wrong.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(why) && error.contains("fix: "), "{wrong}: {error}");
    }
    assert!(
        read(" \n").directory.clients().is_empty(),
        "mosquitto takes an empty file"
    );
}

#[test]
fn any_bytes_are_read_or_refused() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let mut text = OF_MOSQUITTO.as_bytes().to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..text.len());
            text[at] = random.u8(..);
        }
        let _either = parse(Path::new("d.json"), &text);
    }
}
