//! The paths that the configuration names: an operator's trace may not be written there.
//!
//! Invariants: a file is recognized by any path that leads to it, also through links, and also if it does not exist
//! yet.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files and folders that the configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedPaths {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

/// How the configuration names a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedPath {
    /// It is named itself, possibly by another path.
    File(PathBuf),
    /// A folder that is named contains it.
    Folder(PathBuf),
}

impl NamedPaths {
    /// Adds a file, which need not exist.
    pub(crate) fn add_file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// Adds a folder with everything in it.
    pub(crate) fn add_folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
    }

    /// How the configuration names this file, or a folder that contains it.
    pub(crate) fn naming(&self, path: &Path) -> Option<NamedPath> {
        let (real, inode) = (real_path(path), inode(path));
        let is_it =
            |file: &&PathBuf| real_path(file) == real || inode.is_some() && self::inode(file) == inode;
        let has_it = |folder: &&PathBuf| real.starts_with(real_path(folder));
        let file = self.files.iter().find(is_it).cloned().map(NamedPath::File);
        file.or_else(|| self.folders.iter().find(has_it).cloned().map(NamedPath::Folder))
    }
}

impl fmt::Display for NamedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "is named in the configuration as {}", path.display()),
            Self::Folder(path) => write!(f, "is in {}, which is named in the configuration", path.display()),
        }
    }
}

/// The path without links; for a file that does not exist, that of its folder with its name.
fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = absolute.parent().and_then(|folder| folder.canonicalize().ok());
        match (folder, absolute.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => absolute,
        }
    })
}

/// Identifies a file regardless of its name.
fn inode(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_found_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("pages")).unwrap();
        for name in ["passwords", "other"] {
            std::fs::write(path(name), "").unwrap();
        }
        symlink(path("passwords"), path("link")).unwrap();
        symlink(folder.path(), path("here")).unwrap();
        std::fs::hard_link(path("passwords"), path("hard")).unwrap();
        let mut named = NamedPaths::default();
        named.add_file(&path("passwords"));
        named.add_file(&path("not-yet.log"));
        named.add_folder(&path("pages"));
        for (name, is_named) in [
            ("passwords", true),
            ("link", true),
            ("hard", true),
            ("here/passwords", true),
            ("pages/../passwords", true),
            ("not-yet.log", true),
            ("here/not-yet.log", true),
            ("pages/new", true),
            ("here/pages/new", true),
            ("other", false),
            ("pages-too", false),
            ("new", false),
        ] {
            assert_eq!(named.naming(&path(name)).is_some(), is_named, "{name}");
        }
    }
}
