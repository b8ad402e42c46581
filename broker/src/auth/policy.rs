//! What the password and ACL files of all listeners say, read as a whole.
//!
//! Invariants: a policy never changes; a reload makes another one or, if any file is wrong, none at all, and then the
//! old one goes on whole. Listeners that name the same file share it. What is known of the password of a user whose
//! line has not changed stays known, so that a reload costs no computation for those that are as they were.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access_file;
use super::acl::{Access, AclFile, Identity};
use super::password_file::PasswordFile;
use crate::files::{FileError, FileProblem};
use crate::settings::ListenerId;

/// The files of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFiles {
    /// The key `password_file`: users and passwords.
    pub password_file: Option<PathBuf>,
    /// The key `acl_file`: access rules.
    pub acl_file: Option<PathBuf>,
    /// The key `pattern_names_with_slash`: names with `/` get something out of a pattern.
    pub names_with_slash: bool,
}

impl AccessFiles {
    /// Whether there is neither file.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.password_file.is_none() && self.acl_file.is_none()
    }
}

/// Who may connect where, and do what.
#[derive(Debug, Default)]
pub struct Policy {
    listeners: Vec<ListenerPolicy>,
    /// Counts the policies of a broker.
    generation: u64,
    password_files: HashMap<PathBuf, LoadedPasswords>,
}

#[derive(Debug, Default)]
struct ListenerPolicy {
    passwords: Option<Arc<PasswordFile>>,
    acl: Option<Arc<AclFile>>,
    names_with_slash: bool,
}

/// A password file with the text that it was made from, as a hash.
#[derive(Clone, Debug)]
struct LoadedPasswords {
    file: Arc<PasswordFile>,
    digest: [u8; 32],
}

impl Policy {
    /// Reads the files of all listeners; those that `before` has and that are the same are taken from there.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn load(listeners: &[AccessFiles], before: Option<&Policy>) -> Result<Policy, FileError> {
        let mut reader = Reader::new(before);
        let mut problems: Vec<FileProblem> = Vec::new();
        for files in listeners {
            for failed in reader.read_listener(files) {
                // Listeners that share a file share its mistakes.
                let new = failed.error.problems.into_iter();
                problems.extend(
                    new.filter(|problem| !problems.contains(problem))
                        .collect::<Vec<_>>(),
                );
            }
        }
        if problems.is_empty() {
            Ok(reader.policy)
        } else {
            Err(FileError { problems })
        }
    }

    /// Reads the files of all listeners anew. A file that cannot be used leaves its listener with what it had before.
    pub(crate) fn reload(listeners: &[AccessFiles], before: &Policy) -> (Policy, Vec<KeptFile>) {
        let mut reader = Reader::new(Some(before));
        let mut kept = Vec::new();
        for files in listeners {
            kept.append(&mut reader.read_listener(files));
        }
        // Last, so that no listener takes for new what another one keeps.
        for failed in &kept {
            reader.keep(failed.listener, failed.key);
        }
        (reader.policy, kept)
    }

    /// The users of a listener, if it has a password file.
    #[must_use]
    pub fn passwords(&self, listener: ListenerId) -> Option<&Arc<PasswordFile>> {
        self.listeners.get(usize::from(listener.0))?.passwords.as_ref()
    }

    /// What a client may do.
    #[must_use]
    pub fn access(&self, listener: ListenerId, client_identifier: &str, user_name: Option<&str>) -> Access {
        let of_listener = self.listeners.get(usize::from(listener.0));
        let rules = of_listener.and_then(|it| Some((it.acl.as_ref()?, it.names_with_slash)));
        rules.map_or_else(Access::default, |(rules, names_with_slash)| {
            let identity = Identity {
                listener,
                client_identifier: client_identifier.into(),
                user_name: user_name.map(Into::into),
                names_with_slash,
            };
            rules.access(identity, self.generation)
        })
    }

    /// The rules that this policy has for whom `access` was made for: the same if they are from here.
    #[must_use]
    pub fn renewed(&self, access: &Access) -> Access {
        match access.identity() {
            Some(identity) if access.generation() != Some(self.generation) => self.access(
                identity.listener,
                &identity.client_identifier,
                identity.user_name.as_deref(),
            ),
            _ => access.clone(),
        }
    }

    /// Whether a user who was let in under `before` would be now: neither removed nor given another password.
    #[must_use]
    pub fn keeps(&self, before: &Policy, listener: ListenerId, user_name: &str) -> bool {
        match (self.passwords(listener), before.passwords(listener)) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before) || now.keeps(before, user_name),
            _ => true,
        }
    }

    /// Counts the policies of a broker.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// A warning for each password file that every user of the machine may read.
pub(crate) fn world_readable_warnings(listeners: &[AccessFiles]) -> Vec<String> {
    let mut paths: Vec<_> = listeners
        .iter()
        .filter_map(|files| files.password_file.as_deref())
        .filter(|path| access_file::is_world_readable(path))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    let warning = |path: &Path| {
        let path = path.display();
        format!("{path} may be read by every user of this machine; fix: chmod 0600 {path}")
    };
    paths.into_iter().map(warning).collect()
}

/// Logs what [`world_readable_warnings`] finds.
pub(crate) fn warn_of_world_readable(listeners: &[AccessFiles]) {
    for warning in world_readable_warnings(listeners) {
        tracing::warn!("{warning}");
    }
}

/// A file that could not be used, so that its listener keeps what it had.
#[derive(Debug)]
pub(crate) struct KeptFile {
    /// The index of the listener.
    pub(crate) listener: usize,
    /// The key that names the file.
    pub(crate) key: &'static str,
    /// What is wrong with it.
    pub(crate) error: FileError,
}

/// A policy in the reading.
struct Reader<'a> {
    before: Option<&'a Policy>,
    policy: Policy,
    acls: HashMap<PathBuf, Arc<AclFile>>,
}

impl<'a> Reader<'a> {
    fn new(before: Option<&'a Policy>) -> Self {
        let generation = before.map_or(0, |before| before.generation + 1);
        Self {
            before,
            policy: Policy {
                generation,
                ..Policy::default()
            },
            acls: HashMap::new(),
        }
    }

    /// Reads the files of the next listener; those that cannot be used.
    fn read_listener(&mut self, files: &AccessFiles) -> Vec<KeptFile> {
        let mut failed = Vec::new();
        let listener = self.policy.listeners.len();
        let mut note = |key, error| {
            failed.push(KeptFile { listener, key, error });
        };
        let passwords = files
            .password_file
            .as_deref()
            .map(|path| self.password_file(path));
        let passwords = passwords.transpose().unwrap_or_else(|error| {
            note(PASSWORD_FILE, error);
            None
        });
        let acl = files.acl_file.as_deref().map(|path| self.acl_file(path));
        let acl = acl.transpose().unwrap_or_else(|error| {
            note(ACL_FILE, error);
            None
        });
        self.policy.listeners.push(ListenerPolicy {
            passwords,
            acl,
            names_with_slash: files.names_with_slash,
        });
        failed
    }

    /// Gives a listener what it had before of this kind.
    fn keep(&mut self, index: usize, key: &str) {
        let Some(before) = self.before else {
            return;
        };
        let (Some(had), Some(now)) = (before.listeners.get(index), self.policy.listeners.get_mut(index))
        else {
            return;
        };
        if key == ACL_FILE {
            now.acl.clone_from(&had.acl);
            return;
        }
        now.passwords.clone_from(&had.passwords);
        // The next reload compares the file with what is in effect.
        let loaded = before.password_files.iter().filter(|(_, loaded)| {
            had.passwords
                .as_ref()
                .is_some_and(|had| Arc::ptr_eq(had, &loaded.file))
        });
        for (path, loaded) in loaded {
            self.policy
                .password_files
                .entry(path.clone())
                .or_insert_with(|| loaded.clone());
        }
    }

    fn password_file(&mut self, path: &Path) -> Result<Arc<PasswordFile>, FileError> {
        if let Some(known) = self.policy.password_files.get(path) {
            return Ok(Arc::clone(&known.file));
        }
        let text = access_file::read(path)?;
        let digest = digest(&text);
        let before = self.before.and_then(|before| before.password_files.get(path));
        let file = match before {
            Some(known) if known.digest == digest => Arc::clone(&known.file),
            _ => {
                let before = before.map(|known| &*known.file);
                Arc::new(PasswordFile::parse_again(path, &text, before)?)
            }
        };
        let loaded = LoadedPasswords {
            file: Arc::clone(&file),
            digest,
        };
        self.policy.password_files.insert(path.to_owned(), loaded);
        Ok(file)
    }

    fn acl_file(&mut self, path: &Path) -> Result<Arc<AclFile>, FileError> {
        if let Some(known) = self.acls.get(path) {
            return Ok(Arc::clone(known));
        }
        let file = Arc::new(AclFile::read(path)?);
        self.acls.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

const PASSWORD_FILE: &str = "password_file";
const ACL_FILE: &str = "acl_file";

fn digest(text: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests;
