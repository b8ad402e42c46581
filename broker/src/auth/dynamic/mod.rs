//! mosquitto's dynamic security: users, groups and roles that commands on `$CONTROL/dynamic-security/v1` change.
//!
//! `directory.rs` is what there is, `file.rs` its JSON (`fields.rs` reads objects), `initial.rs` makes the first file,
//! `rules.rs` is what shards go by. `command.rs` carries commands out; those about `clients.rs`, `groups.rs` and
//! `roles.rs` have a file each.
//!
//! Invariants: what a command has changed is in the file before it is in effect and before it is answered; if it cannot
//! be written, nothing has changed. One command is carried out at a time, on a thread that is no shard's.

mod clients;
mod command;
mod directory;
mod fields;
mod file;
mod groups;
mod initial;
mod roles;
mod rules;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::command::{Edit, all_failed, payload_of};
use self::directory::Directory;
pub(in crate::auth) use self::rules::{DynamicAccess, Names, Snapshot};
use super::password::{Algorithm, SCRAM_ITERATIONS_DEFAULT};
use crate::files::{self, FileError};
use crate::limits;

/// Where commands come in.
pub const CONTROL_TOPIC: &str = "$CONTROL/dynamic-security/v1";
/// Where their answers go.
pub const RESPONSE_TOPIC: &str = "$CONTROL/dynamic-security/v1/response";
/// What all topics of controls begin with: messages there are for the broker alone.
pub const CONTROLS: &str = "$CONTROL/";

/// How new passwords are hashed: as mosquitto does, with more iterations. Those of devices come by the thousand, and
/// are checked anew after each start, so these are fewer than those of a password file.
const NEW_HASH: Algorithm = Algorithm::Sha512Pbkdf2 {
    iterations: match NonZeroU32::new(SCRAM_ITERATIONS_DEFAULT) {
        Some(iterations) => iterations,
        None => NonZeroU32::MIN,
    },
};

/// The files of dynamic security.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicFiles {
    /// `plugin_opt_config_file`: the JSON file.
    pub config: PathBuf,
    /// `plugin_opt_password_init_file`: the password of `admin` in a file that is made.
    pub password_init: Option<PathBuf>,
}

/// The users of one file, while commands change them.
#[derive(Debug)]
pub(in crate::auth) struct DynamicSecurity {
    path: PathBuf,
    state: Mutex<DynamicState>,
}

#[derive(Debug)]
struct DynamicState {
    directory: Directory,
    snapshot: Arc<Snapshot>,
    /// What the file has, as it was read or written last.
    text: Vec<u8>,
}

/// What became of a message with commands.
#[derive(Debug)]
pub(in crate::auth) struct Executed {
    /// The text of the answer.
    pub(in crate::auth) response: String,
    /// Something in the directory is another than before.
    pub(in crate::auth) has_changed: bool,
}

/// Makes the files that do not exist.
///
/// # Errors
/// One cannot be made.
pub(in crate::auth) fn create_missing(files: &DynamicFiles) -> Result<(), FileError> {
    initial::create(&files.config, files.password_init.as_deref()).map(|_| ())
}

impl DynamicSecurity {
    /// Reads a file; one that does not exist has no users.
    ///
    /// # Errors
    /// It cannot be read, or is no file of dynamic security.
    pub(in crate::auth) fn load(path: &Path) -> Result<DynamicSecurity, FileError> {
        let text = read(path)?;
        let directory = directory(path, &text)?;
        let snapshot = Snapshot::of(&directory, None).map_err(|error| no_secrets(path, &error))?;
        Ok(DynamicSecurity {
            path: path.to_owned(),
            state: Mutex::new(DynamicState {
                directory,
                snapshot: Arc::new(snapshot),
                text,
            }),
        })
    }

    /// Reads the file again, if it is another one than that which was read or written last.
    ///
    /// # Errors
    /// As [`Self::load`]; everything is as it was then.
    pub(in crate::auth) fn reload(&self) -> Result<(), FileError> {
        let mut state = self.lock();
        let text = read(&self.path)?;
        if text == state.text {
            return Ok(());
        }
        let directory = directory(&self.path, &text)?;
        let snapshot = Snapshot::of(&directory, Some(&state.snapshot));
        let snapshot = snapshot.map_err(|error| no_secrets(&self.path, &error))?;
        *state = DynamicState {
            directory,
            snapshot: Arc::new(snapshot),
            text,
        };
        Ok(())
    }

    /// What is so now.
    pub(in crate::auth) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock().snapshot)
    }

    /// Carries out the commands of a message; `who` is for the log.
    pub(in crate::auth) fn execute(&self, payload: &[u8], who: &str) -> Executed {
        let mut state = self.lock();
        let mut edit = Edit::new(state.directory.clone());
        let mut responses = edit.run(payload);
        let mut has_changed = edit.has_changed;
        if has_changed {
            if let Err(error) = self.take(&mut state, edit.directory) {
                tracing::error!("{error}");
                responses = all_failed(&responses, &format!("Nothing is changed: {error}"));
                has_changed = false;
            } else {
                for done in &edit.done {
                    tracing::info!("dynamic security: {who}: {}", done.escape_debug());
                }
            }
        }
        Executed {
            response: payload_of(&responses),
            has_changed,
        }
    }

    /// Writes a directory to the file, and goes by it.
    fn take(&self, state: &mut DynamicState, directory: Directory) -> Result<(), FileError> {
        let snapshot = Snapshot::of(&directory, Some(&state.snapshot));
        let snapshot = snapshot.map_err(|error| no_secrets(&self.path, &error))?;
        let text = file::text(&directory).into_bytes();
        files::replace(&self.path, &text).map_err(|error| {
            let fix = "fix: check that the user who runs the broker may write the file and its folder, and that there \
                       is space";
            FileError::of_file(&self.path, format!("cannot be written: {error}; {fix}"))
        })?;
        *state = DynamicState {
            directory,
            snapshot: Arc::new(snapshot),
            text,
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, DynamicState> {
        // It is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory(path: &Path, text: &[u8]) -> Result<Directory, FileError> {
    let read = file::parse(path, text)?;
    for left_out in read.left_out.iter().take(limits::FILE_PROBLEMS_MAX) {
        tracing::warn!("{}: not taken: {left_out}", path.display());
    }
    Ok(read.directory)
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    if !path.try_exists().unwrap_or(true) {
        return Ok(Vec::new());
    }
    files::read_bounded(path, "file of dynamic security", limits::ACCESS_FILE_BYTES_MAX).map_err(|cause| {
        let fix =
            "fix: check the path (plugin_opt_config_file) and that the user who runs the broker may read it";
        FileError::of_file(path, format!("cannot be read: {cause}; {fix}"))
    })
}

fn no_secrets(path: &Path, error: &super::password::MakeError) -> FileError {
    FileError::of_file(path, error.to_string())
}

#[cfg(test)]
mod tests;
