//! The CPU time that the shard has used for each client, second by second, while that is measured.
//!
//! Invariants: the shell measures, and reports nothing unless asked. The seconds of all shards begin at the same
//! moments. In each second [`limits::CLIENTS_MEASURED_MAX`] connections are measured individually and the others
//! together. As many seconds are kept as may be asked for, and some more. The client of a connection that has ended is
//! remembered as long, up to the same number: a client that connects, uses much CPU time and leaves is named too.

use std::collections::{HashMap, VecDeque};

use super::{BusyClient, BusyClients, MeasuredSeconds};
use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::connection::ConnectionId;
use crate::logic::session::Session;
use crate::time::Timestamp;
use crate::turn::WorkBudget;

/// The measurements of a shard's connections, while there are any.
#[derive(Debug, Default)]
pub struct ClientTimes(Option<Box<Measured>>);

/// The measurements since the first request.
#[derive(Debug)]
struct Measured {
    /// When the measurement began, in all shards.
    since: Timestamp,
    /// The number of the current second.
    number: u64,
    /// The last seconds in which there was work.
    seconds: VecDeque<OneSecond>,
    /// The clients of connections that have ended in these seconds.
    ended: HashMap<ConnectionId, EndedClient>,
}

/// The client of an ended connection.
#[derive(Debug)]
struct EndedClient {
    client_identifier: Box<str>,
    user: Option<Box<str>>,
    /// The second of its end.
    number: u64,
}

/// The measurements of one second.
#[derive(Debug, Default)]
struct OneSecond {
    number: u64,
    ns: HashMap<ConnectionId, u64>,
    /// The time of connections beyond the bound, and of those without a client.
    others_ns: u64,
}

impl Measured {
    fn new(since: Timestamp) -> Self {
        Self {
            since,
            number: 0,
            seconds: VecDeque::new(),
            ended: HashMap::new(),
        }
    }

    /// A turn begins, possibly in another second.
    fn begin_turn(&mut self, now: Timestamp) {
        let number = now.since_s(self.since);
        if number == self.number {
            return;
        }
        self.number = number;
        let first = self
            .number
            .saturating_sub(limits::MEASURED_SECONDS_MAX + SECONDS_LATE_MAX);
        while self.seconds.front().is_some_and(|second| second.number < first) {
            self.seconds.pop_front();
        }
        self.ended.retain(|_, ended| ended.number >= first);
    }

    /// The client of a current or ended connection, with the user.
    fn client<'a>(&'a self, clients: &'a Clients, id: ConnectionId) -> Option<(&'a str, Option<&'a str>)> {
        if let Some(ended) = self.ended.get(&id) {
            return Some((&ended.client_identifier, ended.user.as_deref()));
        }
        let session = clients.session(clients.connection_by_id(id)?.session()?)?;
        Some((session.client_identifier(), session.user()))
    }

    /// Adds to the current second; without `id` the time belongs to no single client.
    fn add(&mut self, id: Option<ConnectionId>, took_ns: u64) {
        let number = self.number;
        if self.seconds.back().is_none_or(|second| second.number != number) {
            self.seconds.push_back(OneSecond {
                number,
                ..OneSecond::default()
            });
        }
        if let Some(second) = self.seconds.back_mut() {
            second.add(id, took_ns);
        }
    }

    /// The sums of these seconds: of each connection, and of all together.
    fn sums(&self, asked: MeasuredSeconds) -> (HashMap<ConnectionId, u64>, u64) {
        let (mut sums, mut all_ns) = (HashMap::new(), 0);
        let is_asked =
            |second: &&OneSecond| asked.since == self.since && asked.numbers().contains(&second.number);
        for second in self.seconds.iter().filter(is_asked) {
            all_ns += second.others_ns;
            for (id, ns) in &second.ns {
                all_ns += ns;
                *sums.entry(*id).or_default() += ns;
            }
        }
        (sums, all_ns)
    }
}

impl OneSecond {
    fn add(&mut self, id: Option<ConnectionId>, took_ns: u64) {
        let Some(id) = id else {
            // Its connection has ended, and had no client.
            self.others_ns += took_ns;
            return;
        };
        let is_full = self.ns.len() >= limits::CLIENTS_MEASURED_MAX;
        match self.ns.get_mut(&id) {
            Some(ns) => *ns += took_ns,
            None if is_full => self.others_ns += took_ns,
            None => drop(self.ns.insert(id, took_ns)),
        }
    }
}

impl ClientTimes {
    /// Starts the measurement for each client, since that time; or stops it.
    #[inline]
    pub fn measure(&mut self, now: Timestamp, since: Option<Timestamp>) {
        if since.is_some() || self.is_measured() {
            self.begin_turn(now, since);
        }
    }

    #[cold]
    fn begin_turn(&mut self, now: Timestamp, since: Option<Timestamp>) {
        let known = self.0.take().filter(|times| Some(times.since) == since);
        self.0 = since.map(|since| {
            let mut times = known.unwrap_or_else(|| Box::new(Measured::new(since)));
            times.begin_turn(now);
            times
        });
    }

    /// Whether the shell is to measure.
    #[inline]
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.0.is_some()
    }

    /// Adds the time of the shell's work for a connection, which may have ended by it.
    #[cold]
    pub(in crate::logic) fn add(&mut self, clients: &Clients, id: ConnectionId, took_ns: u64) {
        if let Some(times) = &mut self.0 {
            let is_known = clients.connection_by_id(id).is_some() || times.ended.contains_key(&id);
            times.add(is_known.then_some(id), took_ns);
        }
    }

    /// The connection of a session ends; its time still belongs to its client.
    #[inline]
    pub(in crate::logic) fn ended(&mut self, id: ConnectionId, session: &Session) {
        let times = self.0.as_mut();
        if let Some(times) = times.filter(|times| times.ended.len() < limits::CLIENTS_MEASURED_MAX) {
            times.ended.insert(
                id,
                EndedClient {
                    client_identifier: session.client_identifier().into(),
                    user: session.user().map(Into::into),
                    number: times.number,
                },
            );
        }
    }

    /// A connection is gone: if its client is not known, its time is added to that of the others.
    pub(in crate::logic) fn forget(&mut self, id: ConnectionId) {
        let times = self.0.as_mut().filter(|times| !times.ended.contains_key(&id));
        for second in times.into_iter().flat_map(|times| &mut times.seconds) {
            second.others_ns += second.ns.remove(&id).unwrap_or(0);
        }
    }

    /// The clients that used the most CPU time in these seconds, in descending order.
    pub(super) fn busiest(
        &self,
        clients: &Clients,
        work: &mut WorkBudget,
        count: usize,
        asked: MeasuredSeconds,
    ) -> BusyClients {
        let Some(times) = &self.0 else {
            // Nothing is measured.
            return BusyClients::default();
        };
        let (sums, cpu_ns) = times.sums(asked);
        work.spend(sums.len() as u64 * asked.count / CONNECTIONS_PER_UNIT);
        // A client may have had several connections.
        let mut by_client: HashMap<&str, (u64, Option<&str>)> = HashMap::new();
        for (id, ns) in sums {
            if let Some((client, user)) = times.client(clients, id) {
                let (sum, last_user) = by_client.entry(client).or_default();
                *sum += ns;
                *last_user = last_user.or(user);
            }
        }
        let mut all: Vec<_> = by_client.into_iter().collect();
        let count = count.min(all.len());
        if count < all.len() {
            all.select_nth_unstable_by_key(count, |(_, (ns, _))| std::cmp::Reverse(*ns));
        }
        all.truncate(count);
        all.sort_unstable_by_key(|(_, (ns, _))| std::cmp::Reverse(*ns));
        let is_connected = |client| {
            let session = clients.sessions().find(client);
            session.is_some_and(|session| clients.link(session).is_some())
        };
        let clients = all.into_iter().map(|(client, (cpu_ns, user))| BusyClient {
            client_identifier: client.into(),
            user: user.map(Into::into),
            is_connected: is_connected(client),
            cpu_ns,
        });
        BusyClients {
            clients: clients.collect(),
            cpu_ns,
        }
    }
}

/// How many seconds after its period a question may come.
const SECONDS_LATE_MAX: u64 = 8;
/// Number of connections of one second that are visited for about one unit of work.
const CONNECTIONS_PER_UNIT: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::ids::ConnectionSlot;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId {
            slot: ConnectionSlot::from_u32(slot),
            generation: 0,
        }
    }

    /// The current second is in no answer, and past seconds do not change.
    #[test]
    fn seconds_are_summed_up_when_they_are_over() {
        let since = Timestamp(500);
        let mut times = Measured::new(since);
        let at = |second: u64| since.plus_s(second).plus_ns(7);
        for second in 0..5 {
            times.begin_turn(at(second));
            times.add(Some(id(1)), 10);
            times.add(None, 1);
        }
        let asked = |first, count| MeasuredSeconds { since, first, count };
        let sums = |times: &Measured, asked| {
            let (sums, all) = times.sums(asked);
            (sums.get(&id(1)).copied().unwrap_or(0), all)
        };
        assert_eq!(sums(&times, asked(1, 3)), (30, 33));
        times.add(Some(id(1)), 1000);
        assert_eq!(
            sums(&times, asked(1, 3)),
            (30, 33),
            "the running second is not in it"
        );
        assert_eq!(sums(&times, asked(0, 0)), (0, 0));
        let others = MeasuredSeconds {
            since: Timestamp(0),
            first: 0,
            count: 5,
        };
        assert_eq!(sums(&times, others), (0, 0), "of another measurement");
        times.begin_turn(at(1000));
        assert!(times.seconds.is_empty(), "old ones go");
    }
}
