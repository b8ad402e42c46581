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
        "Reads the files of a folder that end in `.conf`, in the order of their names, as if they stood \
        here. Only in the main file.",
        Value::IncludeDirectory,
        Show::Nothing,
    ),
    global(
        "user",
        "",
        "The user to change to when started as root, with its groups, after the ports are open and the \
        files are read. The default is `mosquitto`, or `nobody` with a warning if there is no such user; \
        with `root` the broker stays root. This user must be able to read `http_dir` and the files that \
        SIGHUP reads again.",
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
        "A Unix socket over which `broker ctl` offers the functions of the HTTP API. Only root and the \
        broker's user may open it. Not in mosquitto.",
        file_path(|draft, path| {
            draft.control_socket = Some(PathBuf::from(path));
            Ok(())
        }),
        Show::Global(|c| shown_if(c.control_socket.as_ref().map(|path| path.display()))),
    ),
    global(
        "memory_limit",
        "four fifths of the memory of the cgroup or the machine",
        "Where load is shed, in bytes of the process's resident memory, which is looked at twenty times a second. \
         Above nine tenths of it, nothing more is queued or retained, no session is created, and less output may \
         wait for sockets, until less memory is in use. It is no bound that memory cannot exceed: what is on its way \
         still finds room, and a burst between two looks does too. mosquitto's key of this name refuses single \
         allocations of its heap. A start is refused where the broker alone, without clients and stored messages, \
         would take nine tenths. 0: no limit, which is mosquitto's default. systemd's MemoryMax= is a harder \
         bound.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.memory_bytes_max = Some(or_unlimited(bytes)),
        },
        Show::Global(|c| shown(or_zero(c.settings.memory_bytes_max))),
    ),
    global(
        "sys_interval",
        "10",
        "Seconds between two updates of the topics under `$SYS`; 0 turns them off. Only `packet/out/count` \
        is an estimate, because counting would have a cost for each packet: the bytes that wait for \
        sockets, which are counted, divided by the mean length of the packets that were sent.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, seconds| draft.settings.sys_interval_s = to_u32(seconds),
        },
        Show::Global(|c| shown(c.settings.sys_interval_s)),
    ),
    global(
        "client_events",
        "false",
        "Publishes connects and disconnects, with the reason, as JSON on `$SYS/broker/clients/ID/connected` \
        and `disconnected`; `/`, `+`, `#` and `%` of the identifier are percent-encoded. Not in mosquitto.",
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
        "Largest header, in bytes, of a request for WebSocket or a page; a request with a longer one, for \
        example with many cookies, is refused. 0: 4096.",
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
        "Whether a listener uses Multipath TCP.",
        "plain TCP is used",
    ),
    ignored(
        "packet_buffer_size",
        "Size of the read buffer.",
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
