//! The plugins that a configuration names, while it is read.
//!
//! Invariants: an index of a plugin is one of [`Draft::plugins`], which only grows.

use std::path::PathBuf;

use super::draft::{AccessDraft, Draft, ListenerDraft};
use crate::auth::AccessFiles;
use crate::auth::dynamic::DynamicFiles;
use crate::files::FilePlace;

/// A plugin with its options.
#[derive(Clone, Debug)]
pub(super) struct PluginDraft {
    pub(super) kind: PluginKind,
    /// What `plugin_load` calls it.
    name: Option<String>,
    place: FilePlace,
    pub(super) config: Option<PathBuf>,
    pub(super) password_init: Option<PathBuf>,
}

/// The plugins of mosquitto that are part of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PluginKind {
    DynamicSecurity,
}

impl PluginKind {
    /// Which plugin is at a path: the name of the file decides.
    pub(super) fn from_path(path: &str) -> Result<PluginKind, String> {
        let known = [PluginKind::DynamicSecurity];
        let name = path.rsplit('/').next().unwrap_or_default();
        let found = known.into_iter().find(|kind| kind.file_name() == name);
        found.ok_or_else(|| {
            "plugins for mosquitto cannot be loaded, and this one is no part of the broker, as \
             mosquitto_dynamic_security.so is; fix: use that, or password_file and acl_file"
                .to_owned()
        })
    }

    pub(super) fn file_name(self) -> &'static str {
        match self {
            PluginKind::DynamicSecurity => "mosquitto_dynamic_security.so",
        }
    }
}

impl Draft {
    /// Adds the plugin of a line; its index.
    pub(super) fn add_plugin(&mut self, kind: PluginKind, name: Option<&str>) -> usize {
        self.plugins.push(PluginDraft {
            kind,
            name: name.map(str::to_owned),
            place: self.place(),
            config: None,
            password_init: None,
        });
        self.plugins.len() - 1
    }

    /// The plugin of a `plugin_load`.
    pub(super) fn plugin_named(&self, name: &str) -> Result<usize, String> {
        let found = self
            .plugins
            .iter()
            .position(|plugin| plugin.name.as_deref() == Some(name));
        found.ok_or_else(|| format!("no plugin_load above it names a plugin {name}"))
    }

    /// The files of a listener, with what its plugins add.
    pub(super) fn files_of(
        &self,
        listener: &ListenerDraft,
        access: &AccessDraft,
    ) -> Result<AccessFiles, String> {
        let mut files = access.files.clone();
        files.tokens = self.tokens_of(access)?;
        let indices = access
            .plugins
            .iter()
            .chain(&self.global_plugins)
            .chain(&listener.plugins);
        let mut plugins = indices.filter_map(|&index| self.plugins.get(index));
        let Some(plugin) = plugins.next() else {
            return Ok(files);
        };
        let name = plugin.kind.file_name();
        if let Some(second) = plugins.next() {
            return Err(format!(
                "{name} is given twice, in {} and {}; fix: remove one of the lines",
                plugin.place, second.place
            ));
        }
        let config = plugin
            .config
            .clone()
            .ok_or_else(|| format!("{}: {name} needs a plugin_opt_config_file below it", plugin.place))?;
        let other = [
            ("password_file", &files.password_file),
            ("acl_file", &files.acl_file),
        ];
        if let Some((key, _)) = other.into_iter().find(|(_, path)| path.is_some()) {
            return Err(format!(
                "{key} and {name} speak of the same listener; fix: leave out one of them: `mosquitto_ctrl dynsec` \
                 makes the users and roles that {key} has"
            ));
        }
        files.dynamic = Some(DynamicFiles {
            config,
            password_init: plugin.password_init.clone(),
        });
        Ok(files)
    }
}
