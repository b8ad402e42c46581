//! From root to the user that the broker runs as.
//!
//! Invariants: everything that needs root is done before.

use super::error::ServerError;
use crate::config::Configuration;
use crate::privileges;

/// Becomes the user of `user`, or mosquitto's default, if the process is root's.
///
/// # Errors
/// The system refuses.
pub(super) fn become_user(configuration: &Configuration) -> Result<(), ServerError> {
    if !privileges::is_root() {
        return Ok(());
    }
    let default = || privileges::default().filter(|_| !configuration.stays_root);
    let Some(user) = configuration.user.clone().or_else(default) else {
        tracing::warn!("The broker runs as root: `user NAME` in the configuration makes it give that up.");
        return Ok(());
    };
    let files = configuration.log.files().chain(configuration.pid_file.as_deref());
    privileges::drop_to(&user, files).map_err(|source| ServerError::User {
        name: user.name.clone(),
        source,
    })?;
    if configuration.user.is_some() {
        tracing::info!("Running as the user {}.", user.name);
    } else {
        tracing::warn!(
            "The broker was started as root and has become the user {}, who must be able to read what SIGHUP reads \
             again: `user NAME` in the configuration chooses another one, `user root` none.",
            user.name
        );
    }
    Ok(())
}
