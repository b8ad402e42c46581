//! The file of dynamic security that is made when there is none, as mosquitto 2.1 makes one.
//!
//! Invariants: a file that exists is left as it is. There is one user, `admin`. Its password is nowhere but in the
//! file or the variable that it is taken from or, if it is drawn here, in a file that only its owner may read.
//! mosquitto also makes a user who may read and write everything: this does not.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::{
    AclKind, DefaultAccess, Directory, DynamicClient, DynamicGroup, DynamicRole, RoleAcl, Texts,
};
use super::file::{self, NO_PRIORITY};
use crate::auth::password::PasswordHash;
use crate::files::{self, FileError};
use crate::limits;

/// Makes a file at `path`; the password of `admin` is the first line of `password_file`, what the environment says, or
/// drawn and written to `PATH.pw`. True if there was none.
///
/// # Errors
/// It cannot be written, or there is no password that can be used.
pub(super) fn create(path: &Path, password_file: Option<&Path>) -> Result<bool, FileError> {
    if path.try_exists().unwrap_or(true) {
        return Ok(false);
    }
    let cannot = |error: &dyn std::fmt::Display| {
        let fix = "fix: check the path (plugin_opt_config_file) and that the user who runs the broker may write there";
        FileError::of_file(path, format!("cannot be made: {error}; {fix}"))
    };
    let (password, drawn) = match password_file {
        Some(file) => (first_line(file)?, None),
        None => match std::env::var(PASSWORD_VARIABLE) {
            Ok(password) if password.len() >= PASSWORD_BYTES_MIN => (password, None),
            Ok(_) => {
                return Err(cannot(&format_args!(
                    "{PASSWORD_VARIABLE} has fewer than {PASSWORD_BYTES_MIN} bytes"
                )));
            }
            Err(_) => (draw().map_err(|error| cannot(&error))?, Some(beside(path))),
        },
    };
    let hash = PasswordHash::make(password.as_bytes(), super::NEW_HASH).map_err(|error| cannot(&error))?;
    // Beside the file, and so for the same reasons.
    if let Some(file) = &drawn {
        let text = format!("{ADMIN} {password}\n");
        files::replace(file, text.as_bytes()).map_err(|error| cannot(&error))?;
    }
    files::replace(path, file::text(&directory(hash)).as_bytes()).map_err(|error| cannot(&error))?;
    match drawn {
        Some(file) => tracing::warn!(
            "{} is new: its user {ADMIN} has the password that stands in {}; fix: set another one with \
             mosquitto_ctrl, then delete that file",
            path.display(),
            file.display()
        ),
        None => tracing::warn!("{} is new: its only user is {ADMIN}.", path.display()),
    }
    Ok(true)
}

/// The variable of the environment that mosquitto takes the password from.
const PASSWORD_VARIABLE: &str = "MOSQUITTO_DYNSEC_PASSWORD";
const PASSWORD_BYTES_MIN: usize = 12;
const ADMIN: &str = "admin";
/// Letters and digits of a password that is drawn: 119 bits.
const DRAWN_CHARACTERS: usize = 20;

fn first_line(path: &Path) -> Result<String, FileError> {
    let wrong = |why: &dyn std::fmt::Display| {
        let fix = "fix: put a password into its first line (plugin_opt_password_init_file)";
        FileError::of_file(path, format!("{why}; {fix}"))
    };
    let bytes_max = limits::PASSWORD_BYTES_MAX as u64;
    let bytes = files::read_bounded(path, "file with a password", bytes_max)
        .map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong(&"is not UTF-8"))?;
    match text.lines().next().map(str::trim_end) {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(wrong(&"has no password")),
    }
}

fn draw() -> io::Result<String> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; DRAWN_CHARACTERS];
    getrandom::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let letters = bytes
        .iter()
        .filter_map(|byte| LETTERS.get(usize::from(byte % 64)));
    Ok(letters.map(|letter| char::from(*letter)).collect())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pw");
    PathBuf::from(name)
}

fn directory(admin: PasswordHash) -> Directory {
    let mut directory = Directory::default();
    directory.default_access = DefaultAccess {
        send: false,
        receive: true,
        subscribe: false,
        unsubscribe: true,
    };
    let all = [
        AclKind::Send,
        AclKind::Receive,
        AclKind::SubscribePattern,
        AclKind::UnsubscribePattern,
    ];
    let reading = [
        AclKind::Receive,
        AclKind::SubscribePattern,
        AclKind::UnsubscribePattern,
    ];
    for (name, description, topic, kinds) in [
        ("client", "Read and write all application topics.", "#", &all[..]),
        (
            "broker-admin",
            "Administer the broker's configuration.",
            "$CONTROL/broker/#",
            &all[..],
        ),
        (
            "dynsec-admin",
            "Administer clients, groups and roles.",
            "$CONTROL/dynamic-security/#",
            &all[..],
        ),
        ("super-admin", "Administer everything.", "$CONTROL/#", &all[..]),
        (
            "sys-notify",
            "Let bridges publish their state.",
            "$SYS/broker/connection/%c/state",
            &all[..1],
        ),
        ("sys-observe", "Read $SYS.", "$SYS/#", &reading[..2]),
        ("topic-observe", "Read all application topics.", "#", &reading[..]),
    ] {
        directory.insert_role(name, role(description, topic, kinds));
    }
    let mut client = DynamicClient::default();
    client.password = Some(admin);
    client.texts = Texts {
        name: Some("Admin user".into()),
        description: None,
    };
    for role in ["super-admin", "sys-observe", "topic-observe"] {
        client.roles.add(role, NO_PRIORITY as i32);
    }
    directory.insert_client(ADMIN, client);
    let mut group = DynamicGroup::default();
    group.texts = Texts {
        name: Some("Unauthenticated group".into()),
        description: Some("What clients without a user name may do, where they are let in.".into()),
    };
    directory.insert_group("unauthenticated", group);
    directory.anonymous_group = Some("unauthenticated".into());
    directory
}

fn role(description: &str, topic: &str, kinds: &[AclKind]) -> DynamicRole {
    let mut role = DynamicRole::default();
    role.texts.description = Some(description.into());
    for kind in kinds {
        role.acls_mut(*kind).add(RoleAcl {
            topic: topic.into(),
            priority: 0,
            allows: true,
        });
    }
    role
}
