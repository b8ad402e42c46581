//! Connections that wait until an older connection of their session has been read to its end.
//!
//! A client that sends a PUBLISH and a DISCONNECT, closes, and reconnects at once has done the one before the other;
//! but the bytes of the first connection may still be in the kernel when the CONNECT of the second has reached the
//! shard by another path. So the bytes of the older connection are read and handled before the newer one is adopted.
//!
//! Invariants: connections of one client identifier are adopted one after the other, in the order in which they came,
//! each after everything that the previous one had sent. The driver reads a bounded number of bytes, so no connection
//! waits for ever.

use std::collections::VecDeque;

/// The connections that wait. `T` is the newer connection, `C` identifies the older one.
#[derive(Debug)]
pub struct TakeOvers<T, C> {
    lines: Vec<Line<T, C>>,
}

/// The waiting connections of one client identifier, in order.
#[derive(Debug)]
struct Line<T, C> {
    client_identifier: Box<str>,
    /// The connection that is to be read to its end; `None` if the next one may be adopted.
    older: Option<C>,
    connections: VecDeque<T>,
}

/// What to do with a new connection of a session.
#[derive(Debug, PartialEq, Eq)]
pub enum TakeOver<T> {
    /// The connection may be adopted at once.
    Adopt(T),
    /// It waits for the older connection, which is to be read to its end.
    AwaitOlder,
    /// The connection waits behind another one of the same client identifier.
    Queued,
}

impl<T, C> Default for TakeOvers<T, C> {
    fn default() -> Self {
        Self { lines: Vec::new() }
    }
}

impl<T, C: Copy + PartialEq> TakeOvers<T, C> {
    /// What to do with a new connection for a session that `older` is connected to, if there is one.
    pub fn request_for(&mut self, client_identifier: &str, older: Option<C>, connection: T) -> TakeOver<T> {
        let mut lines = self.lines.iter_mut();
        if let Some(line) = lines.find(|line| &*line.client_identifier == client_identifier) {
            line.connections.push_back(connection);
            return TakeOver::Queued;
        }
        if older.is_none() {
            return TakeOver::Adopt(connection);
        }
        self.lines.push(Line {
            client_identifier: client_identifier.into(),
            older,
            connections: VecDeque::from([connection]),
        });
        TakeOver::AwaitOlder
    }

    /// The next connection that may be adopted, the older one that it waited for, and its client identifier. The driver
    /// adopts it and then calls [`Self::connected`].
    pub fn next_ready(
        &mut self,
        mut is_at_its_end: impl FnMut(C) -> bool,
    ) -> Option<(T, Option<C>, Box<str>)> {
        let ready = |line: &Line<T, C>| line.older.is_none_or(&mut is_at_its_end);
        let at = self.lines.iter().position(ready)?;
        let line = self.lines.get_mut(at)?;
        let older = line.older.take();
        let connection = line.connections.pop_front()?;
        Some((connection, older, line.client_identifier.clone()))
    }

    /// Whether [`Self::next_ready`] returns one. While it does, the driver has something to do and may not sleep:
    /// nothing else wakes it for a connection whose older one is gone.
    pub fn is_any_ready(&self, mut is_at_its_end: impl FnMut(C) -> bool) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line.older.is_none_or(&mut is_at_its_end))
    }

    /// The result of [`Self::next_ready`] is connected, if `connected` names it. Returns it if another one waits for
    /// it.
    pub fn connected(&mut self, client_identifier: &str, connected: Option<C>) -> Option<C> {
        let is_it = |line: &Line<T, C>| &*line.client_identifier == client_identifier;
        let at = self.lines.iter().position(is_it)?;
        let line = self.lines.get_mut(at)?;
        if line.connections.is_empty() {
            self.lines.swap_remove(at);
            return None;
        }
        line.older = connected;
        connected
    }

    /// Whether no connection waits for an older one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Removes all, in their order.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.lines)
            .into_iter()
            .flat_map(|line| line.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_one_client_come_in_one_after_the_other() {
        let mut waiting: TakeOvers<&str, u32> = TakeOvers::default();
        assert_eq!(waiting.request_for("a", None, "first"), TakeOver::Adopt("first"));
        assert_eq!(waiting.request_for("a", Some(1), "second"), TakeOver::AwaitOlder);
        assert_eq!(waiting.request_for("b", Some(2), "other"), TakeOver::AwaitOlder);
        assert_eq!(waiting.request_for("a", Some(1), "third"), TakeOver::Queued);
        assert_eq!(waiting.next_ready(|_| false), None);
        assert_eq!(
            waiting.next_ready(|older| older == 2),
            Some(("other", Some(2), "b".into()))
        );
        assert_eq!(waiting.connected("b", Some(4)), None);
        assert_eq!(
            waiting.next_ready(|older| older == 1),
            Some(("second", Some(1), "a".into()))
        );
        assert_eq!(
            waiting.connected("a", Some(3)),
            Some(3),
            "the third waits for the second"
        );
        assert_eq!(waiting.request_for("a", Some(3), "fourth"), TakeOver::Queued);
        assert_eq!(
            waiting.next_ready(|older| older == 3),
            Some(("third", Some(3), "a".into()))
        );
        assert_eq!(waiting.connected("a", None), None, "it was refused");
        assert_eq!(waiting.next_ready(|_| false), Some(("fourth", None, "a".into())));
        assert_eq!(waiting.connected("a", Some(5)), None);
        assert!(waiting.is_empty());
    }
}
