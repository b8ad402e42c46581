//! Whether a start could use the folder of the store, without changing or locking it.
//!
//! Invariants: a broker may run on it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;
use store::Damage;

use crate::config::Persistence;
use crate::privileges::SystemUser;

/// Looks at the folder, or at the one in which it would be made, for whoever the broker becomes.
///
/// # Errors
/// Why a start would be refused.
pub(crate) fn check_folder(persistence: &Persistence, user: Option<&SystemUser>) -> Result<(), String> {
    let folder = persistence.folder.as_path();
    if folder.exists() {
        may_write(folder, user)?;
        return store::check_version(folder).map_err(|error| error.to_string());
    }
    let mut above = folder.ancestors().skip(1);
    match above.find(|folder| folder.exists()) {
        Some(folder) => may_write(folder, user),
        None => Ok(()),
    }
}

/// What a start would report of damage in the folder, if there is some.
pub(crate) fn find_damage(persistence: &Persistence) -> Option<String> {
    let damage = store::damage(&persistence.folder).ok()?;
    damage_warning(persistence, &damage)
}

/// What was damaged, and what becomes of it.
pub(super) fn damage_warning(persistence: &Persistence, damage: &Damage) -> Option<String> {
    let findings = damage.findings.join("; ");
    let folder = persistence.folder.display();
    (!damage.is_none()).then(|| format!("{folder}: {damage}; what is damaged is left out: {findings}."))
}

fn may_write(folder: &Path, user: Option<&SystemUser>) -> Result<(), String> {
    let path = folder.display();
    let metadata = fs::metadata(folder).map_err(|error| format!("cannot read {path}: {error}"))?;
    if !metadata.is_dir() {
        return Err(format!(
            "persistence_location: {path} is no folder; fix: name another one"
        ));
    }
    let may = match user {
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
    };
    if may {
        return Ok(());
    }
    let who = user.map_or("this user", |user| &user.name);
    Err(format!(
        "persistence_location: {who} may not write into {path}; fix: chown {who} {path}"
    ))
}
