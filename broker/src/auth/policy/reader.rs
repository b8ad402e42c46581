//! Reads the files of a policy.
//!
//! Invariants: those of `policy.rs`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AccessFiles, DynamicPolicy, KeptFile, ListenerPolicy, LoadedPasswords, Policy};
use crate::auth::access_file;
use crate::auth::acl::AclFile;
use crate::auth::dynamic::{DynamicFiles, DynamicSecurity};
use crate::auth::password_file::PasswordFile;
use crate::auth::token::{TokenSettings, TokenUsers};
use crate::files::FileError;

/// A policy in the reading.
pub(super) struct Reader<'a> {
    before: Option<&'a Policy>,
    pub(super) policy: Policy,
    acls: HashMap<PathBuf, Arc<AclFile>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(before: Option<&'a Policy>) -> Self {
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
    pub(super) fn read_listener(&mut self, files: &AccessFiles) -> Vec<KeptFile> {
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
        let dynamic = files.dynamic.as_ref().map(|files| self.dynamic(files));
        let dynamic = dynamic.transpose().unwrap_or_else(|error| {
            note(DYNAMIC_FILE, error);
            None
        });
        let tokens = files.tokens.as_ref().map(|settings| self.tokens(settings));
        let tokens = tokens.transpose().unwrap_or_else(|error| {
            note(TOKEN_KEYS, error);
            None
        });
        let of_snapshot = dynamic
            .as_ref()
            .map(|dynamic| Arc::clone(&dynamic.snapshot.passwords));
        self.policy.listeners.push(ListenerPolicy {
            passwords: of_snapshot.or(passwords),
            acl,
            dynamic,
            tokens,
            names_with_slash: files.names_with_slash,
        });
        failed
    }

    /// Gives a listener what it had before of this kind.
    pub(super) fn keep(&mut self, index: usize, key: &str) {
        let Some(before) = self.before else {
            return;
        };
        let (Some(had), Some(now)) = (before.listeners.get(index), self.policy.listeners.get_mut(index))
        else {
            return;
        };
        if key == TOKEN_KEYS {
            now.tokens.clone_from(&had.tokens);
            return;
        }
        if key == ACL_FILE {
            now.acl.clone_from(&had.acl);
            return;
        }
        if key == DYNAMIC_FILE {
            now.dynamic.clone_from(&had.dynamic);
            now.passwords.clone_from(&had.passwords);
            if had.dynamic.is_none() {
                // It had other rules, or none: nobody gets in by those that were to replace them.
                now.acl.clone_from(&had.acl);
            }
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

    /// Who checks tokens by these settings: of before, or of another listener, or new.
    fn tokens(&self, settings: &TokenSettings) -> Result<Arc<TokenUsers>, FileError> {
        let same = |policy: &Policy| {
            let all = policy
                .listeners
                .iter()
                .filter_map(|listener| listener.tokens.as_ref());
            let mut same = all.filter(|tokens| tokens.settings() == settings);
            same.next().cloned()
        };
        if let Some(known) = same(&self.policy) {
            return Ok(known);
        }
        match self.before.and_then(same) {
            Some(before) => before.reload().map(|()| before),
            None => TokenUsers::load(settings).map(Arc::new),
        }
    }

    /// The dynamic security of a file: of before, or begun now.
    fn dynamic(&mut self, files: &DynamicFiles) -> Result<DynamicPolicy, FileError> {
        let path = &files.config;
        let security = match self.policy.dynamic.get(path) {
            Some(known) => Arc::clone(known),
            None => {
                let before = self.before.and_then(|before| before.dynamic.get(path));
                let security = match before {
                    Some(before) => before.reload().map(|()| Arc::clone(before)),
                    None => DynamicSecurity::load(path).map(Arc::new),
                }?;
                self.policy.dynamic.insert(path.clone(), Arc::clone(&security));
                security
            }
        };
        let snapshot = security.snapshot();
        Ok(DynamicPolicy { security, snapshot })
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
const TOKEN_KEYS: &str = "jwt_keys";
const DYNAMIC_FILE: &str = "plugin_opt_config_file";

fn digest(text: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
