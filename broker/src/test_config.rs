//! `--test-config`: what a start would find wrong with the files that a configuration names.
//!
//! Invariants: nothing is asked for and nothing is bound.

use std::fs::File;

use crate::auth::Policy;
use crate::config::{Configuration, ListenerSocket};

/// Looks at the password, ACL and TLS files.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(configuration: &Configuration) -> Result<(), String> {
    Policy::load(&configuration.access_files(), None).map_err(|error| error.to_string())?;
    configuration.listeners.iter().try_for_each(check_tls_files)
}

/// That the files of the listener's TLS can be opened. What is in them is looked at by a start, which may ask for a
/// passphrase.
fn check_tls_files(listener: &ListenerSocket) -> Result<(), String> {
    let Some(tls) = &listener.tls else {
        return Ok(());
    };
    let files = [
        ("certfile", Some(&tls.certificate_chain)),
        ("keyfile", Some(&tls.private_key)),
        ("cafile", tls.client_ca.as_ref()),
        ("crlfile", tls.revocation_list.as_ref()),
    ];
    for (key, path) in files {
        let Some(path) = path else { continue };
        File::open(path).map_err(|cause| format!("{key} {} cannot be read: {cause}", path.display()))?;
    }
    Ok(())
}
