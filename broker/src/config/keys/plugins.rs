//! Keys of mosquitto's plugins that are part of the broker: dynamic security.
//!
//! Invariants: none.

use super::key::{
    Key, Repetition, Scope, Show, Status, Value, either, file_path, global, key, of_listener, shown, with,
};
use crate::config::draft::Draft;
use crate::config::plugin_draft::{PluginDraft, PluginKind};

pub(super) const KEYS: &[Key] = &[
    with(
        Repetition::Allowed,
        either(
            "plugin",
            "A plugin of mosquitto that is part of the broker: `mosquitto_dynamic_security.so`, in whatever folder; \
             the file need not exist. Users, groups and roles are in a JSON file that `mosquitto_ctrl dynsec` \
             changes while the broker runs: it sends commands to `$CONTROL/dynamic-security/v1`, as far as its user's \
             roles allow it to publish there. It takes the place of `password_file` and `acl_file`. Roles, groups and \
             ACL types are those of mosquitto 2.1, with `%c` and `%u`. What changes is in effect at once: users that \
             are deleted, disabled or have another password are disconnected, and so are clients that lose a \
             subscription.",
            Value::Text {
                shape: "path",
                set: |draft, path| {
                    let index = draft.add_plugin(PluginKind::from_path(path)?, None);
                    draft.access().plugins.push(index);
                    Ok(())
                },
            },
            Show::Listener(|_, socket| match &socket.access.dynamic {
                Some(_) => shown(PluginKind::DynamicSecurity.file_name()),
                None => Vec::new(),
            }),
        ),
    ),
    with(
        Repetition::Allowed,
        either(
            "auth_plugin",
            "The same as `plugin`, as older files have it.",
            Value::Text {
                shape: "path",
                set: |draft, path| {
                    let index = draft.add_plugin(PluginKind::from_path(path)?, None);
                    draft.access().plugins.push(index);
                    Ok(())
                },
            },
            Show::Nothing,
        ),
    ),
    with(
        Repetition::Allowed,
        global(
            "global_plugin",
            "",
            "As `plugin`, for all listeners also with `per_listener_settings true`.",
            Value::Text {
                shape: "path",
                set: |draft, path| {
                    let index = draft.add_plugin(PluginKind::from_path(path)?, None);
                    draft.global_plugins.push(index);
                    Ok(())
                },
            },
            Show::Nothing,
        ),
    ),
    with(
        Repetition::Allowed,
        global(
            "plugin_load",
            "",
            "As `plugin`, for the listeners alone that name it in `plugin_use`.",
            Value::Text {
                shape: "NAME PATH",
                set: load_plugin,
            },
            Show::Nothing,
        ),
    ),
    with(
        Repetition::Allowed,
        of_listener(
            "plugin_use",
            "The listener goes by the plugin that a `plugin_load` above it names so.",
            Value::Word {
                shape: "the NAME of a plugin_load",
                set: |draft, name| {
                    let index = draft.plugin_named(name)?;
                    draft.listener().plugins.push(index);
                    Ok(())
                },
            },
            Show::Nothing,
        ),
    ),
    with(
        Repetition::Allowed,
        key(
            "plugin_opt_config_file",
            Scope::Global,
            "The JSON file of the plugin above it, as `mosquitto_ctrl dynsec init` and mosquitto write it. One that \
             does not exist is made at the start with a user `admin`, whose password stands then in a file of the \
             same name with `.pw` behind it. It is replaced as a whole at each change, by one that only its owner may \
             read. One that somebody else has changed is read again at SIGHUP. Also `auth_opt_config_file`.",
            Status::Effective(
                file_path(|draft, path| {
                    let path = draft.path(path);
                    draft.last_plugin()?.config = Some(path);
                    Ok(())
                }),
                Show::Listener(|_, socket| match &socket.access.dynamic {
                    Some(files) => shown(files.config.display()),
                    None => Vec::new(),
                }),
            ),
        ),
    ),
    with(
        Repetition::Allowed,
        key(
            "plugin_opt_password_init_file",
            Scope::Global,
            "A file whose first line is the password of `admin`, where the JSON file of the plugin above it is made. \
             Without it the environment variable `MOSQUITTO_DYNSEC_PASSWORD` is taken, which needs 12 bytes; without \
             that the password is drawn.",
            Status::Effective(
                file_path(|draft, path| {
                    let path = draft.path(path);
                    draft.last_plugin()?.password_init = Some(path);
                    Ok(())
                }),
                Show::Nothing,
            ),
        ),
    ),
];

fn load_plugin(draft: &mut Draft, text: &str) -> Result<(), String> {
    let (name, path) = text.split_once([' ', '\t']).ok_or("must be a name and a path")?;
    if draft.plugin_named(name).is_ok() {
        return Err("there is a plugin of that name already".to_owned());
    }
    let kind = PluginKind::from_path(path.trim())?;
    draft.add_plugin(kind, Some(name));
    Ok(())
}

/// The plugin that the line is about, if a line above names one.
impl Draft {
    fn last_plugin(&mut self) -> Result<&mut PluginDraft, String> {
        let missing = "no plugin stands above it; fix: put it below the line `plugin` that it belongs to";
        self.plugins.last_mut().ok_or_else(|| missing.to_owned())
    }
}
