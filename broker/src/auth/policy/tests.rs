//! Policies of several listeners: what a load refuses, and what a reload changes and keeps.

use std::num::NonZeroU32;

use super::*;
use crate::auth::password::{Algorithm, PasswordHash};

fn line(user: &str, password: &str) -> String {
    let cheap = Algorithm::Sha512Pbkdf2 {
        iterations: NonZeroU32::MIN,
    };
    format!(
        "{user}:{}\n",
        PasswordHash::make(password.as_bytes(), cheap).unwrap()
    )
}

fn files(folder: &Path, password: Option<&str>, acl: Option<&str>) -> AccessFiles {
    let path = |name: Option<&str>| name.map(|name| folder.join(name));
    AccessFiles {
        password_file: path(password),
        acl_file: path(acl),
        dynamic: None,
        tokens: None,
        names_with_slash: false,
    }
}

/// V17: each listener has its own files, including the first one; without a file there are no rules.
#[test]
fn v17_files_of_each_listener() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p1"), line("ann", "1")).unwrap();
    std::fs::write(folder.path().join("p2"), line("ann", "2")).unwrap();
    std::fs::write(folder.path().join("a1"), "user ann\ntopic one\n").unwrap();
    std::fs::write(folder.path().join("a2"), "user ann\ntopic two\n").unwrap();
    let listeners = [
        files(folder.path(), Some("p1"), Some("a1")),
        files(folder.path(), Some("p2"), Some("a2")),
        files(folder.path(), None, None),
    ];
    let policy = Policy::load(&listeners, None).unwrap();
    for (listener, right, topic) in [(0, "1", "one"), (1, "2", "two")] {
        let listener = ListenerId(listener);
        let file = policy.passwords(listener).unwrap();
        for password in ["1", "2"] {
            assert_eq!(
                file.verify(file.find("ann"), password.as_bytes()),
                password == right
            );
        }
        let access = policy.access(listener, "c", Some("ann"));
        for other in ["one", "two"] {
            assert_eq!(access.may_write(other), other == topic, "{listener:?} {other}");
        }
    }
    assert!(policy.passwords(ListenerId(2)).is_none());
    assert!(policy.access(ListenerId(2), "c", None).is_unrestricted());
}

#[test]
fn a_reload_with_a_wrong_file_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    std::fs::write(&path, line("ann", "1")).unwrap();
    let listeners = [files(folder.path(), Some("p"), None)];
    let policy = Policy::load(&listeners, None).unwrap();
    std::fs::write(&path, "ann\n").unwrap();
    let error = Policy::load(&listeners, Some(&policy)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("p:1: the line must be user:hash; there is no colon"),
        "{error}"
    );
    std::fs::remove_file(&path).unwrap();
    let error = Policy::load(&listeners, Some(&policy)).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_line_that_is_the_same_keeps_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    let ann = line("ann", "1");
    std::fs::write(&path, &ann).unwrap();
    let listeners = [files(folder.path(), Some("p"), None)];
    let first = Policy::load(&listeners, None).unwrap();
    let file = first.passwords(ListenerId(0)).unwrap();
    assert!(file.verify(file.find("ann"), b"1"));
    let same = Policy::load(&listeners, Some(&first)).unwrap();
    let file = same.passwords(ListenerId(0)).unwrap();
    assert!(file.remembers(file.find("ann"), b"1"));
    assert!(same.keeps(&first, ListenerId(0), "ann"));
    std::fs::write(&path, format!("{}{ann}", line("bob", "1"))).unwrap();
    let changed = Policy::load(&listeners, Some(&same)).unwrap();
    let file = changed.passwords(ListenerId(0)).unwrap();
    assert!(file.remembers(file.find("ann"), b"1"), "her line is the same");
    assert!(!file.remembers(file.find("bob"), b"1"));
    assert!(changed.keeps(&same, ListenerId(0), "ann") && !same.keeps(&changed, ListenerId(0), "bob"));
    assert_eq!((first.generation(), changed.generation()), (0, 2));
    std::fs::write(&path, line("ann", "1")).unwrap();
    let anew = Policy::load(&listeners, Some(&changed)).unwrap();
    let file = anew.passwords(ListenerId(0)).unwrap();
    assert!(!file.remembers(file.find("ann"), b"1"), "another hash");
}

/// What one listener keeps is not used for another one that names the same file anew.
#[test]
fn a_kept_file_hides_no_new_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p"), line("ann", "1")).unwrap();
    let both = [
        files(folder.path(), Some("p"), None),
        files(folder.path(), Some("p"), None),
    ];
    let first = Policy::load(&both, None).unwrap();
    std::fs::write(folder.path().join("p"), line("bob", "1")).unwrap();
    let changed = [
        files(folder.path(), Some("gone"), None),
        files(folder.path(), Some("p"), None),
    ];
    let (policy, kept) = Policy::reload(&changed, &first);
    let names: Vec<_> = kept.iter().map(|file| (file.listener, file.key)).collect();
    assert_eq!(names, [(0, "password_file")]);
    for (listener, user) in [(0, "ann"), (1, "bob")] {
        for other in ["ann", "bob"] {
            let file = policy.passwords(ListenerId(listener)).unwrap();
            assert_eq!(
                file.verify(file.find(other), b"1"),
                other == user,
                "{listener} {other}"
            );
        }
    }
}
