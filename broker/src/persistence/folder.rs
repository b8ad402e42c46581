//! Whether a start could use the folder of the store, without changing or locking it.
//!
//! Invariants: a broker may be using it. No advice gives the broker's user a folder that others may use:
//! `tests::advice_gives_away_no_folder_but_the_stores_own`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;
use store::Damage;

use crate::config::Persistence;
use crate::privileges::SystemUser;

/// Checks the folder, or the one in which it would be created, for the user to which the broker changes.
///
/// # Errors
/// Why a start would be refused.
pub(crate) fn check_folder(persistence: &Persistence, user: Option<&SystemUser>) -> Result<(), String> {
    let folder = persistence.folder.as_path();
    if folder.exists() {
        if !is_writable(folder, user)? {
            return Err(unwritable(folder, user));
        }
        return store::check_version(folder).map_err(|error| error.to_string());
    }
    let mut above = folder.ancestors().skip(1).map(|above| match above {
        _ if above.as_os_str().is_empty() => Path::new("."),
        above => above,
    });
    match above.find(|above| above.exists()) {
        Some(above) if !is_writable(above, user)? => Err(unmakeable(persistence, above, user)),
        _ => Ok(()),
    }
}

/// The damage in the folder that a start would report, if there is any.
pub(crate) fn find_damage(persistence: &Persistence) -> Option<String> {
    let damage = store::damage(&persistence.folder).ok()?;
    damage_warning(persistence, &damage)
}

/// What was damaged, and how it is handled.
pub(super) fn damage_warning(persistence: &Persistence, damage: &Damage) -> Option<String> {
    let findings = damage.findings.join("; ");
    let folder = persistence.folder.display();
    (!damage.is_none()).then(|| format!("{folder}: {damage}; damaged parts are skipped: {findings}."))
}

fn is_writable(folder: &Path, user: Option<&SystemUser>) -> Result<bool, String> {
    let path = folder.display();
    let metadata = fs::metadata(folder).map_err(|error| format!("cannot read {path}: {error}"))?;
    if !metadata.is_dir() {
        return Err(format!(
            "persistence_location: {path} is not a folder; fix: name another one"
        ));
    }
    Ok(match user {
        None => rustix::fs::access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        Some(user) => {
            let needed = if metadata.uid() == user.uid {
                0o700
            } else if metadata.gid() == user.gid {
                0o070
            } else {
                0o007
            };
            metadata.mode() & needed == needed
        }
    })
}

/// The folder of the store exists, with its files, and does not belong to the user.
fn unwritable(folder: &Path, user: Option<&SystemUser>) -> String {
    let (path, who) = (folder.display(), name(user));
    format!("persistence_location: the user {who} may not write into {path}; fix: chown -R {who} {path}")
}

/// The folder does not exist, and the one above it does not belong to the user: others may use that.
fn unmakeable(persistence: &Persistence, above: &Path, user: Option<&SystemUser>) -> String {
    let missing = match persistence.location.exists() {
        true => &persistence.folder,
        false => &persistence.location,
    };
    let (path, above, who) = (missing.display(), above.display(), name(user));
    format!(
        "persistence_location: {path} does not exist, and the user {who} may not make it in {above}; fix: \
        install -d -o {who} {path}"
    )
}

/// The user to which the broker changes, or as which it runs.
fn name(user: Option<&SystemUser>) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let itself = || nix::unistd::User::from_uid(uid.into()).ok().flatten();
    match user {
        Some(user) => user.name.clone(),
        None => itself().map_or_else(|| uid.to_string(), |user| user.name),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Durability;

    fn advice(location: &Path) -> String {
        let user = SystemUser {
            name: "somebody".to_owned(),
            uid: 4_000_000,
            gid: 4_000_000,
        };
        let persistence = Persistence {
            folder: location.join("mosquitto.db.midge"),
            location: location.to_owned(),
            file: "mosquitto.db".to_owned(),
            durability: Durability::default(),
            size_max: None,
        };
        check_folder(&persistence, Some(&user)).unwrap_err()
    }

    #[test]
    fn advice_gives_away_no_folder_but_the_stores_own() {
        for there in ["/", "/etc", "/var/lib"] {
            let store = Path::new(there).join("mosquitto.db.midge");
            let fix = format!("fix: install -d -o somebody {}", store.display());
            let text = advice(Path::new(there));
            assert!(text.ends_with(&fix), "{text}");
        }
        for missing in ["/no-such-folder/x", "/etc/no-such-folder", "/var/lib/no-such/x/y"] {
            let text = advice(Path::new(missing));
            let fix = format!("fix: install -d -o somebody {missing}");
            assert!(text.ends_with(&fix), "{text}");
        }
        let location = tempfile::tempdir().unwrap();
        let store = location.path().join("mosquitto.db.midge");
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        let text = advice(location.path());
        let fix = format!("fix: chown -R somebody {}", store.display());
        assert!(text.ends_with(&fix), "{text}");
    }
}
