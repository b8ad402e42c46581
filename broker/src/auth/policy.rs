//! The content of the password and ACL files of all listeners, read as a whole.
//!
//! Invariants: a policy never changes. A reload makes another one or, if any file is wrong, none at all, and then the
//! old one stays in effect as a whole. Listeners that name the same file share it. Verified passwords of users whose
//! line has not changed stay known, so that a reload causes no computation for unchanged users.

mod reader;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::reader::Reader;
use super::access_file;
use super::acl::{Access, AclFile, Identity};
use super::dynamic::{self, DynamicFiles, DynamicSecurity, Snapshot};
use super::password_file::PasswordFile;
use super::token::{TokenGrant, TokenSettings, TokenUsers};
use crate::files::{FileError, FileProblem};
use crate::settings::ListenerId;

/// The files of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFiles {
    /// The key `password_file`: users and passwords.
    pub password_file: Option<PathBuf>,
    /// The key `acl_file`: access rules.
    pub acl_file: Option<PathBuf>,
    /// The keys of mosquitto's plugin for dynamic security, instead of the two above.
    pub dynamic: Option<DynamicFiles>,
    /// The keys `jwt_keys` and so on: tokens in place of passwords.
    pub tokens: Option<TokenSettings>,
    /// The key `pattern_names_with_slash`: names with `/` get something out of a pattern.
    pub names_with_slash: bool,
}

impl AccessFiles {
    /// Whether there is no file.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.password_file.is_none()
            && self.acl_file.is_none()
            && self.dynamic.is_none()
            && self.tokens.is_none()
    }
}

/// Who may connect where, and what clients may do.
#[derive(Debug, Default)]
pub struct Policy {
    listeners: Vec<ListenerPolicy>,
    /// Counts the policies of a broker.
    generation: u64,
    password_files: HashMap<PathBuf, LoadedPasswords>,
    dynamic: HashMap<PathBuf, Arc<DynamicSecurity>>,
    /// The client whose commands led to this policy: it is not disconnected before it has the answer.
    spared: Option<Box<str>>,
}

#[derive(Clone, Debug, Default)]
struct ListenerPolicy {
    /// Those of the snapshot, where there is one.
    passwords: Option<Arc<PasswordFile>>,
    acl: Option<Arc<AclFile>>,
    dynamic: Option<DynamicPolicy>,
    tokens: Option<Arc<TokenUsers>>,
    names_with_slash: bool,
}

/// Dynamic security of a listener, as it was when the policy was created.
#[derive(Clone, Debug)]
struct DynamicPolicy {
    security: Arc<DynamicSecurity>,
    snapshot: Arc<Snapshot>,
}

/// A password file with the text that it was made from, as a hash.
#[derive(Clone, Debug)]
struct LoadedPasswords {
    file: Arc<PasswordFile>,
    digest: [u8; 32],
}

impl Policy {
    /// Reads the files of all listeners; unchanged ones are taken from `before`.
    ///
    /// # Errors
    /// All mistakes in all files.
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

    /// Reads the files of all listeners again. For a file that cannot be used, its listener keeps the previous one.
    pub(crate) fn reload(listeners: &[AccessFiles], before: &Policy) -> (Policy, Vec<KeptFile>) {
        let mut reader = Reader::new(Some(before));
        let mut kept = Vec::new();
        for files in listeners {
            kept.append(&mut reader.read_listener(files));
        }
        // Done last, so that no listener uses a new file that another one rejected.
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

    /// Whether a listener has dynamic security.
    #[must_use]
    pub fn is_dynamic(&self, listener: ListenerId) -> bool {
        self.dynamic(listener).is_some()
    }

    /// The dynamic security of a listener, if it has it.
    pub(super) fn dynamic(&self, listener: ListenerId) -> Option<&Arc<DynamicSecurity>> {
        Some(&self.dynamic_policy(listener)?.security)
    }

    fn dynamic_policy(&self, listener: ListenerId) -> Option<&DynamicPolicy> {
        self.listeners.get(usize::from(listener.0))?.dynamic.as_ref()
    }

    /// Whether the user may connect with that client identifier, if the password is right.
    pub(super) fn takes_identifier(&self, listener: ListenerId, user: &str, client_identifier: &str) -> bool {
        let dynamic = self.dynamic_policy(listener);
        dynamic.is_none_or(|dynamic| dynamic.snapshot.takes_identifier(user, client_identifier))
    }

    /// Whether the user may connect with only one client identifier.
    pub(super) fn binds(&self, listener: ListenerId, user: &str) -> bool {
        let dynamic = self.dynamic_policy(listener);
        dynamic.is_some_and(|dynamic| dynamic.snapshot.binds(user))
    }

    /// The same policy with the present state of dynamic security. `spared` is the client whose commands changed it.
    pub(super) fn with_dynamic_of_now(&self, generation: u64, spared: Option<&str>) -> Policy {
        let mut listeners = self.listeners.clone();
        for listener in &mut listeners {
            if let Some(dynamic) = &mut listener.dynamic {
                dynamic.snapshot = dynamic.security.snapshot();
                listener.passwords = Some(Arc::clone(&dynamic.snapshot.passwords));
            }
        }
        Policy {
            listeners,
            generation,
            password_files: self.password_files.clone(),
            dynamic: self.dynamic.clone(),
            spared: spared.map(Into::into),
        }
    }

    /// Whether the client is not to be disconnected for this policy.
    #[must_use]
    pub fn spares(&self, client_identifier: &str) -> bool {
        self.spared.as_deref() == Some(client_identifier)
    }

    /// What a client may do that proved itself by a token: what that says, or the listener's rules.
    #[must_use]
    pub fn access_by(&self, grant: &TokenGrant, listener: ListenerId, client_identifier: &str) -> Access {
        let Some(rules) = &grant.rules else {
            return self.access(listener, client_identifier, Some(&grant.user));
        };
        let of_listener = self.listeners.get(usize::from(listener.0));
        rules.access_by_token(Identity {
            listener,
            client_identifier: client_identifier.into(),
            user_name: Some(grant.user.clone()),
            names_with_slash: of_listener.is_some_and(|it| it.names_with_slash),
        })
    }

    /// Who checks the tokens of a listener, if it takes any.
    pub(super) fn tokens(&self, listener: ListenerId) -> Option<&Arc<TokenUsers>> {
        self.listeners.get(usize::from(listener.0))?.tokens.as_ref()
    }

    /// Starts what checks tokens, where it does not run.
    pub(super) fn start_tokens(&self) {
        let all = self
            .listeners
            .iter()
            .filter_map(|listener| listener.tokens.as_ref());
        all.for_each(|tokens| tokens.start());
    }

    /// What a client may do.
    #[must_use]
    pub fn access(&self, listener: ListenerId, client_identifier: &str, user_name: Option<&str>) -> Access {
        let of_listener = match (listener, user_name) {
            // A bridge of the broker itself: without a user it may do everything, as in mosquitto.
            (ListenerId::BRIDGES, None) => None,
            (ListenerId::BRIDGES, Some(_)) => self.listeners.first(),
            _ => self.listeners.get(usize::from(listener.0)),
        };
        let Some(of_listener) = of_listener else {
            return Access::default();
        };
        let identity = || Identity {
            listener,
            client_identifier: client_identifier.into(),
            user_name: user_name.map(Into::into),
            names_with_slash: of_listener.names_with_slash,
        };
        match (&of_listener.dynamic, &of_listener.acl) {
            (Some(dynamic), _) => {
                let access = dynamic.snapshot.access(user_name);
                Access::dynamic(identity(), self.generation, access)
            }
            (None, Some(rules)) => rules.access(identity(), self.generation),
            (None, None) => Access::default(),
        }
    }

    /// The rules of this policy for the client of `access`; unchanged if they come from this policy.
    #[must_use]
    pub fn renewed(&self, access: &Access) -> Access {
        match access.identity() {
            Some(identity) if access.generation() != Some(self.generation) && !access.is_of_token() => self
                .access(
                    identity.listener,
                    &identity.client_identifier,
                    identity.user_name.as_deref(),
                ),
            _ => access.clone(),
        }
    }

    /// Whether a user who was accepted under `before` would be accepted now: neither removed nor with another
    /// password.
    #[must_use]
    pub fn keeps(&self, before: &Policy, listener: ListenerId, user_name: &str) -> bool {
        if let (Some(now), Some(before)) = (self.dynamic_policy(listener), before.dynamic_policy(listener)) {
            return Arc::ptr_eq(&now.snapshot, &before.snapshot)
                || now.snapshot.keeps(&before.snapshot, user_name);
        }
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

/// Creates the files of dynamic security that do not exist.
///
/// # Errors
/// One of them cannot be created.
pub(crate) fn create_missing(listeners: &[AccessFiles]) -> Result<(), FileError> {
    let mut all = listeners.iter().filter_map(|files| files.dynamic.as_ref());
    all.try_for_each(dynamic::create_missing)
}

/// A warning for each password file that every user of the machine may read.
pub(crate) fn world_readable_warnings(listeners: &[AccessFiles]) -> Vec<String> {
    let mut paths: Vec<_> = listeners
        .iter()
        .flat_map(|files| {
            let dynamic = files.dynamic.as_ref().map(|files| &*files.config);
            files.password_file.as_deref().into_iter().chain(dynamic)
        })
        .filter(|path| access_file::is_world_readable(path))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    let warning = |path: &Path| {
        let path = path.display();
        format!("{path} is readable by every user of this machine; fix: chmod 0600 {path}")
    };
    paths.into_iter().map(warning).collect()
}

/// Logs the result of [`world_readable_warnings`].
pub(crate) fn warn_of_world_readable(listeners: &[AccessFiles]) {
    for warning in world_readable_warnings(listeners) {
        tracing::warn!("{warning}");
    }
}

/// A file that could not be used, so that its listener kept the previous one.
#[derive(Debug)]
pub(crate) struct KeptFile {
    /// The index of the listener.
    pub(crate) listener: usize,
    /// The key that names the file.
    pub(crate) key: &'static str,
    /// What is wrong with it.
    pub(crate) error: FileError,
}

#[cfg(test)]
mod tests;
