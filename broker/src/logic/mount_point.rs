//! `mount_point`: the clients of a listener use topics below a prefix that is invisible to them.
//!
//! Invariants: inside the logic every topic includes the mount point: in subscriptions, queues, retained messages and
//! access rules. It is prepended where a packet of such a client is read and removed where one is written. Messages
//! outside the mount point are not sent to the client.

use std::borrow::Cow;

use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::settings::Settings;

/// Bytes of a topic at most: its length is two bytes [MQTT-4.7.3-3].
const TOPIC_BYTES_MAX: usize = 65_535;

/// The mount point of a connection's listener; costs the check of a flag for those that have none.
#[inline]
pub(super) fn mount_point<'a>(connection: &Connection, settings: &'a Settings) -> Option<&'a str> {
    if !connection.is_mounted() {
        return None;
    }
    settings.listener(connection.listener()).mount_point.as_deref()
}

/// The topic without the mount point, in the client's form; `None` if it is outside.
#[inline]
pub(super) fn without_mount_point<'a>(topic: &'a str, mount_point: Option<&str>) -> Option<&'a str> {
    match mount_point {
        None => Some(topic),
        Some(mount_point) => topic.strip_prefix(mount_point).filter(|seen| !seen.is_empty()),
    }
}

/// The topic with the mount point, in the broker's form; `None` if it becomes too long.
pub(super) fn with_mount_point<'a>(topic: &'a str, mount_point: Option<&str>) -> Option<Cow<'a, str>> {
    match mount_point {
        None => Some(Cow::Borrowed(topic)),
        Some(mount_point) if mount_point.len() + topic.len() > TOPIC_BYTES_MAX => None,
        Some(mount_point) => Some(Cow::Owned(format!("{mount_point}{topic}"))),
    }
}

/// The same for a filter: in a shared subscription it follows the group. One that becomes too long is left as a filter
/// that no client may have.
fn with_mount_point_in_filter<'a>(filter: &'a str, mount_point: Option<&str>) -> Cow<'a, str> {
    let Some(prefix) = mount_point else {
        return Cow::Borrowed(filter);
    };
    let group_end = filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.find('/'))
        .map_or(0, |at| "$share/".len() + at + 1);
    let (group, rest) = filter.split_at_checked(group_end).unwrap_or(("", filter));
    match with_mount_point(rest, Some(prefix)) {
        Some(rest) => Cow::Owned(format!("{group}{rest}")),
        None => Cow::Borrowed("$share/"),
    }
}

/// A client's topic name in the broker's form; `None` if it becomes too long.
#[inline]
pub(super) fn mounted_topic<'a>(
    clients: &Clients,
    settings: &Settings,
    slot: ConnectionSlot,
    topic: &'a str,
) -> Option<Cow<'a, str>> {
    with_mount_point(topic, mount_point_of(clients, settings, slot))
}

/// A client's topic filter in the broker's form.
pub(super) fn mounted_filter<'a>(
    clients: &Clients,
    settings: &Settings,
    slot: ConnectionSlot,
    filter: &'a str,
) -> Cow<'a, str> {
    with_mount_point_in_filter(filter, mount_point_of(clients, settings, slot))
}

#[inline]
fn mount_point_of<'a>(clients: &Clients, settings: &'a Settings, slot: ConnectionSlot) -> Option<&'a str> {
    mount_point(clients.connections().get(slot)?, settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_their_group() {
        let mounted = |filter| with_mount_point_in_filter(filter, Some("m/")).into_owned();
        assert_eq!(mounted("a/#"), "m/a/#");
        assert_eq!(mounted("$share/g/a/+"), "$share/g/m/a/+");
        assert_eq!(mounted("$SYS/#"), "m/$SYS/#");
        assert_eq!(mounted("$share/g"), "m/$share/g");
        assert_eq!(mounted(&"x".repeat(65_535)), "$share/");
        assert_eq!(with_mount_point_in_filter("a", None), "a");
    }

    #[test]
    fn what_was_put_in_front_is_taken_away() {
        assert_eq!(with_mount_point("a", Some("m/")).as_deref(), Some("m/a"));
        assert_eq!(with_mount_point(&"x".repeat(65_534), Some("m/")), None);
        assert_eq!(without_mount_point("m/a", Some("m/")), Some("a"));
        assert_eq!(without_mount_point("m/", Some("m/")), None);
        assert_eq!(without_mount_point("n/a", Some("m/")), None);
        assert_eq!(without_mount_point("n/a", None), Some("n/a"));
    }
}
