//! `user`: changes from root to a user with fewer rights once the ports are open.
//!
//! Invariants: the change is complete or the broker does not start. The groups are set before the user, because only
//! root may set groups.

use std::io;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

/// A user of this system, looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemUser {
    /// The name of the user.
    pub name: String,
    /// The number of the user.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
}

/// The user of this name.
///
/// # Errors There is no such user, or the user database cannot be read.
pub(crate) fn find(name: &str) -> Result<SystemUser, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(SystemUser {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }),
        Ok(None) => Err("there is no such user on this system".to_owned()),
        Err(error) => Err(format!("the user database cannot be read: {error}")),
    }
}

/// The user as which a broker runs once its ports are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunsAs {
    /// It was not started as root.
    Itself,
    Root,
    Named(SystemUser),
    /// The default user of mosquitto, if there is no `user`.
    Default(SystemUser),
}

impl RunsAs {
    /// The user for this process and the `user` of its configuration.
    pub(crate) fn find(user: Option<&SystemUser>, stays_root: bool) -> Self {
        let default = || DEFAULTS.into_iter().find_map(|name| find(name).ok());
        match user {
            _ if !is_root() => Self::Itself,
            Some(user) => Self::Named(user.clone()),
            None if stays_root => Self::Root,
            None => default().map_or(Self::Root, Self::Default),
        }
    }

    /// The user to change to, if it is another one.
    pub(crate) fn user(&self) -> Option<&SystemUser> {
        match self {
            Self::Itself | Self::Root => None,
            Self::Named(user) | Self::Default(user) => Some(user),
        }
    }

    /// A warning about it for the operator.
    pub(crate) fn warning(&self) -> Option<String> {
        match self {
            Self::Itself | Self::Named(_) => None,
            Self::Root => Some(
                "The broker runs as root: set `user NAME` in the configuration to change that.".to_owned(),
            ),
            Self::Default(user) => Some(format!(
                "The broker was started as root and has changed to the user {}, who must be able to read \
                the files that SIGHUP reads again: `user NAME` in the configuration selects another user, \
                `user root` none.",
                user.name
            )),
        }
    }
}

const DEFAULTS: [&str; 2] = ["mosquitto", "nobody"];

/// Changes to the user, with all threads. `files` were created as root and are written again later: the user becomes
/// their owner.
///
/// # Errors
/// The error of the operating system.
pub(crate) fn drop_to<'a>(user: &SystemUser, files: impl IntoIterator<Item = &'a Path>) -> io::Result<()> {
    for path in files {
        give(path, user)?;
    }
    let name = std::ffi::CString::new(user.name.as_str())?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    initgroups(&name, gid)?;
    setgid(gid)?;
    setuid(uid)?;
    Ok(())
}

fn give(path: &Path, user: &SystemUser) -> io::Result<()> {
    // Only regular files, because a log may be a device.
    if path.is_file() {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// Whether this process may change to another user.
pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up() {
        let root = find("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(find("no-such-user-here").is_err());
        assert!(
            RunsAs::find(None, false)
                .user()
                .cloned()
                .is_none_or(|user| user.uid != 0)
        );
    }
}
