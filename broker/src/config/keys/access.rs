//! Keys of authentication and access control: who may connect and what clients may do.
//!
//! Invariants: none.

use super::key::{Key, Scope, Show, Status, Value, either, file_path, key, of_listener, or, shown, shown_if};
use crate::config::draft::Draft;
use crate::limits::ASSIGNED_PREFIX_BYTES_MAX;

pub(super) const KEYS: &[Key] = &[
    or(
        "false",
        key(
            "per_listener_settings",
            Scope::Global,
            "Keys of this section apply to the listener above them instead of all listeners. Must be above \
            them.",
            Status::Effective(
                Value::Flag(Draft::set_per_listener_settings),
                Show::Global(|_| shown(true)),
            ),
        ),
    ),
    or(
        "false; true if no listener, TLS, password_file or acl_file is configured",
        either(
            "allow_anonymous",
            "Clients without a user name are accepted.",
            Value::Flag(|draft, value| draft.access().allow_anonymous = Some(value)),
            Show::Listener(|settings, _| shown(settings.allow_anonymous)),
        ),
    ),
    of_listener(
        "listener_allow_anonymous",
        "`allow_anonymous` for one listener; overrides the general key.",
        Value::Flag(|draft, value| draft.listener().allow_anonymous = Some(value)),
        Show::Nothing,
    ),
    or(
        "true",
        either(
            "allow_zero_length_clientid",
            "A client without a client identifier is accepted and assigned one.",
            Value::Flag(|draft, value| draft.access().allow_zero_length_client_identifier = Some(value)),
            Show::Listener(|settings, _| shown(settings.allow_zero_length_client_identifier)),
        ),
    ),
    or(
        "auto-",
        either(
            "auto_id_prefix",
            "The beginning of such client identifiers.",
            Value::Text {
                shape: "at most 50 bytes",
                set: |draft, prefix| {
                    draft.access().assigned_client_identifier_prefix = Some(checked_prefix(prefix)?);
                    Ok(())
                },
            },
            Show::Listener(|settings, _| shown(&settings.assigned_client_identifier_prefix)),
        ),
    ),
    of_listener(
        "listener_auto_id_prefix",
        "`auto_id_prefix` for one listener.",
        Value::Text {
            shape: "at most 50 bytes",
            set: |draft, prefix| {
                draft.listener().assigned_client_identifier_prefix = Some(checked_prefix(prefix)?);
                Ok(())
            },
        },
        Show::Nothing,
    ),
    either(
        "password_file",
        "Users and the hashes of their passwords, as `broker passwd` and mosquitto_passwd write them. Users \
        with a SCRAM-SHA-256 verifier (`broker passwd -H scram-sha-256`, or copied from PostgreSQL) may \
        also authenticate with AUTH packets. A relative path is resolved against the working directory, \
        then against the folder of the configuration file. Read again at SIGHUP.",
        file_path(|draft, path| {
            draft.access().files.password_file = Some(draft.path(path));
            Ok(())
        }),
        Show::Listener(|_, socket| shown_if(socket.access.password_file.as_ref().map(|path| path.display()))),
    ),
    either(
        "acl_file",
        "Rules for who may read and write which topics, in the syntax of mosquitto. A relative path is \
        resolved as that of `password_file`. Read again at SIGHUP.",
        file_path(|draft, path| {
            draft.access().files.acl_file = Some(draft.path(path));
            Ok(())
        }),
        Show::Listener(|_, socket| shown_if(socket.access.acl_file.as_ref().map(|path| path.display()))),
    ),
    or(
        "false",
        either(
            "pattern_names_with_slash",
            "A client identifier or user name that contains `/` stands for several levels where a `pattern` \
            of `acl_file` has `%c` or `%u`, as in mosquitto 2.0: the client `a/b` gets the rights of `b` \
            below `a`. If false, a pattern gives no rights to a client whose name in it contains `/`.",
            Value::Flag(|draft, value| draft.access().files.names_with_slash = value),
            Show::Listener(|_, socket| shown(socket.access.names_with_slash)),
        ),
    ),
    or(
        "false",
        of_listener(
            "use_username_as_clientid",
            "The user name replaces the client identifier, so that no user can end another's connection. \
            Clients without a user name are refused.",
            Value::Flag(|draft, value| draft.listener().settings.user_name_is_client_identifier = value),
            Show::Listener(|settings, _| shown(settings.user_name_is_client_identifier)),
        ),
    ),
    or(
        "false",
        of_listener(
            "require_scram",
            "Only MQTT 5.0 clients that prove their password by SCRAM-SHA-256 (AUTH packets) are accepted, \
            so that no client sends its password. Needs `password_file`; not together with certificates \
            that name the users.",
            Value::Flag(|draft, value| draft.listener().settings.scram_required = value),
            Show::Listener(|settings, _| shown(settings.scram_required)),
        ),
    ),
];

fn checked_prefix(prefix: &str) -> Result<String, String> {
    if prefix.len() > ASSIGNED_PREFIX_BYTES_MAX {
        return Err(format!("must be at most {ASSIGNED_PREFIX_BYTES_MAX} bytes"));
    }
    Ok(prefix.to_owned())
}
