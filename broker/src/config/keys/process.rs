//! Keys of the process as a whole: the files it reads and writes, its user, its memory.
//!
//! Invariants: none.

use std::path::PathBuf;

use super::key::{Key, Show, Value, file_path, global, ignored, shown, shown_if};
use super::numbers::{U16_MAX, or_unlimited, or_zero, to_u32};
use crate::config::configuration::Protocol;
use crate::config::draft::Draft;
use crate::privileges;

pub(super) const KEYS: &[Key] = &[
    global(
        "include_dir",
        "",
        "Reads the files of a folder that end in `.conf`, in the order of their names, as if they stood here. Only in \
         the main file.",
        Value::IncludeDirectory,
        Show::Nothing,
    ),
    global(
        "user",
        "",
        "The user to become when started as root, with its groups, once the ports are open and the files are read. \
         Without it `mosquitto`, or `nobody` if there is no such user, with a warning; `root` stays root. What SIGHUP \
         reads again, and `http_dir`, must be readable for that user.",
        Value::Text {
            shape: "user name",
            set: set_user,
        },
        Show::Global(|c| match &c.user {
            Some(user) => shown(&user.name),
            None => shown_if(c.stays_root.then_some("root")),
        }),
    ),
    global(
        "pid_file",
        "",
        "File to write the process identifier to.",
        file_path(|draft, path| {
            draft.pid_file = Some(PathBuf::from(path));
            Ok(())
        }),
        Show::Global(|c| shown_if(c.pid_file.as_ref().map(|path| path.display()))),
    ),
    global(
        "control_socket",
        "",
        "A Unix socket on which `broker ctl` asks the broker and does what the HTTP API does. Only root and the \
         broker's user may open it. mosquitto does not have it.",
        file_path(|draft, path| {
            draft.control_socket = Some(PathBuf::from(path));
            Ok(())
        }),
        Show::Global(|c| shown_if(c.control_socket.as_ref().map(|path| path.display()))),
    ),
    global(
        "memory_limit",
        "four fifths of the memory of the cgroup or the machine",
        "Bytes of memory (resident). From nine tenths of it on nothing more is queued or retained, no session is made \
         and less waits for sockets, until less is in use; looked at twenty times a second. 0: no limit, which is \
         mosquitto's default. systemd's MemoryMax= is a harder bound.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.memory_bytes_max = Some(or_unlimited(bytes)),
        },
        Show::Global(|c| shown(or_zero(c.settings.memory_bytes_max))),
    ),
    global(
        "sys_interval",
        "10",
        "Seconds between two updates of the topics under `$SYS`; 0 turns them off. `packet/out/count` alone is an \
         estimate: the bytes that wait for sockets, which are counted, by the mean length of the packets that were \
         sent, as counting them would cost something for each packet.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, seconds| draft.settings.sys_interval_s = to_u32(seconds),
        },
        Show::Global(|c| shown(c.settings.sys_interval_s)),
    ),
    global(
        "client_events",
        "false",
        "Publishes on `$SYS/broker/clients/ID/connected` and `disconnected` who comes and goes, with the reason, as \
         JSON; `/`, `+`, `#` and `%` of the identifier are percent-encoded. mosquitto does not have it.",
        Value::Flag(|draft, value| draft.settings.client_events = value),
        Show::Global(|c| shown(c.settings.client_events)),
    ),
    global(
        "set_tcp_nodelay",
        "true",
        "Accepted; Nagle's algorithm is always off.",
        Value::Flag(|draft, value| {
            if !value {
                draft.warn("set_tcp_nodelay false has no effect: Nagle's algorithm is always off");
            }
        }),
        Show::Nothing,
    ),
    global(
        "websockets_headers_size",
        "0",
        "Bytes that the header of a request for WebSocket or a page may have; with a longer one, such as many cookies, \
         it is refused. 0: 4096.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, bytes| {
                draft.websocket_header_bytes_max = usize::try_from(bytes).ok().filter(|&bytes| bytes > 0);
            },
        },
        Show::Global(|c| {
            shown_if(c.listeners.iter().find_map(|listener| match &listener.protocol {
                Protocol::WebSockets(wanted) => Some(wanted.header_bytes_max),
                Protocol::Mqtt | Protocol::HttpApi => None,
            }))
        }),
    ),
    ignored(
        "mptcp",
        "Whether a listener takes Multipath TCP.",
        "plain TCP is used",
    ),
    ignored(
        "packet_buffer_size",
        "Size of the buffer for reading.",
        "buffers grow and shrink by themselves",
    ),
];

fn set_user(draft: &mut Draft, name: &str) -> Result<(), String> {
    draft.stays_root = name == "root";
    if draft.stays_root {
        draft.user = None;
    } else if privileges::is_root() {
        draft.user = Some(privileges::find(name)?);
    } else {
        draft.warn("user has no effect: the broker was not started as root");
    }
    Ok(())
}
