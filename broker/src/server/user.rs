//! Changes from root to the broker's user.
//!
//! Invariants: everything that needs root is done before.

use super::error::ServerError;
use super::requirements;
use crate::config::Configuration;
use crate::privileges::{self, RunsAs};

/// Changes to the user of `user`, or to mosquitto's default, if the process runs as root.
///
/// # Errors
/// The operating system refuses.
pub(super) fn become_user(configuration: &Configuration) -> Result<(), ServerError> {
    let runs_as = RunsAs::find(configuration.user.as_ref(), configuration.stays_root);
    if let Some(user) = runs_as.user() {
        let files = configuration.log.files().chain(configuration.pid_file.as_deref());
        privileges::drop_to(user, files).map_err(|source| ServerError::User {
            name: user.name.clone(),
            source,
        })?;
        // The change of the user has reset this to the default.
        requirements::forbid_looks_into_memory();
    }
    if let RunsAs::Named(user) = &runs_as {
        tracing::info!("Running as the user {}.", user.name);
    }
    if let Some(warning) = runs_as.warning() {
        tracing::warn!("{warning}");
    }
    Ok(())
}
