//! Makes the connections of a thread, a bounded number at a time.
//!
//! Invariant: the number of connections that are being made never exceeds what the scenario allows this thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use transport::clock::monotonic_ns;
use transport::ring::Token;

use super::{Client, Role, Worker};
use crate::connection::opening::{Opening, Stage};
use crate::connection::{Broken, Connection, SlotToken, local_address};
use crate::generator::handshake;
use crate::generator::identity::Who;
use crate::generator::publisher::Publisher;
use crate::generator::subscriber::{Member, Subscriber, SubscriberLedger};
use crate::measure::ledger::Ledger;
use crate::measure::timeline::nanoseconds;
use crate::scenario::Scenario;
use crate::system::error::Failure;

impl Worker<'_> {
    /// Connects all clients; the first that fails ends the run.
    pub(super) fn connect_all(&mut self) -> Result<(), Failure> {
        let share = self
            .run
            .scenario
            .connect_concurrency
            .div_ceil(self.run.scenario.threads);
        let began_ns = monotonic_ns();
        while self.ready < self.order.len() {
            if self.run.timeline.is_over() {
                return Err(Failure::Interrupted);
            }
            let allowed = self.allowed(began_ns);
            while self.clients.len() < allowed && self.clients.len() - self.ready < share {
                self.start_next()?;
            }
            self.turn(if allowed < self.order.len() {
                RAMP_TURN
            } else {
                TURN
            })?;
            self.flush_dirty();
            self.refuse_late();
            self.publish_gauges();
            if let Some(cause) = self.load.causes.first() {
                return Err(Failure::Connect(format!("cannot connect {cause}")));
            }
        }
        Ok(())
    }

    /// How many connections may have begun by now: all, or as many as the ramp allows.
    fn allowed(&self, began_ns: u64) -> usize {
        let Some(ramp) = self.run.scenario.ramp.filter(|ramp| !ramp.is_zero()) else {
            return self.order.len();
        };
        let share = (monotonic_ns() - began_ns) as f64 / nanoseconds(ramp) as f64;
        ((share * self.order.len() as f64) as usize + 1).min(self.order.len())
    }

    fn start_next(&mut self) -> Result<(), Failure> {
        let slot = self.clients.len();
        let Some(&who) = self.order.get(slot) else {
            return Ok(());
        };
        let client = self.new_client(who, SlotToken::new(slot, 0).into());
        let host = self.run.endpoint.host(who.number());
        let client =
            client.map_err(|broken| Failure::Connect(format!("cannot connect {who} to {host}: {broken}")))?;
        self.clients.push(client);
        Ok(())
    }

    fn new_client(&mut self, who: Who, token: Token) -> Result<Client, Broken> {
        let run = self.run;
        let role = match who {
            Who::Publisher(number) => {
                let mut publisher = Publisher::new(&run.scenario, run.number, number, &run.plan.name(number))
                    .map_err(|error| Broken::Refused(error.to_string()))?;
                publisher.subscribers = run.plan.subscribers_of(number);
                Role::Publisher(publisher)
            }
            Who::Slow(number) => {
                let publishers = run.plan.publishers_of(run.scenario.model_of(number));
                let ledger = SubscriberLedger::Own(Ledger::new(publishers));
                Role::Subscriber(Subscriber::slow(run.number, run.scenario.version, ledger))
            }
            Who::Subscriber(number) => {
                let group = run
                    .plan
                    .group(number)
                    .and_then(|group| run.groups.get(group as usize));
                let ledger = match group {
                    Some(group) => {
                        SubscriberLedger::Group(Member::new(Arc::clone(group), run.scenario.publishers))
                    }
                    None => SubscriberLedger::Own(Ledger::new(run.plan.publishers_of(number))),
                };
                Role::Subscriber(Subscriber::new(run.number, run.scenario.version, ledger))
            }
        };
        let connection = self.new_connection(who, token)?;
        let now_ns = monotonic_ns();
        Ok(Client {
            connection,
            role,
            opening: Opening::new(now_ns, true),
            who,
            generation: 0,
            stalled: false,
            again_at_ns: 0,
            started_at_ns: now_ns,
            dirty: false,
        })
    }

    fn new_connection(&mut self, who: Who, token: Token) -> Result<Connection, Broken> {
        let run = self.run;
        let endpoint = &run.endpoint;
        let local = local_address(&run.scenario.bind, who.number() as usize);
        let stream = endpoint.stream(who.number())?;
        let Scenario {
            payload_bytes,
            properties,
            ..
        } = &run.scenario;
        let packet_bytes_max = (payload_bytes + properties.bytes_max() + PACKET_BYTES_SPARE) as u32;
        let mut connection = Connection::start(
            &mut self.ring,
            endpoint.host(who.number()).address,
            local,
            stream,
            token,
            packet_bytes_max,
        )?;
        if self.is_sampled(who) {
            connection.note_arrivals();
        }
        Ok(connection)
    }

    /// Whether a client is one of the few whose delay between arrival and read is measured.
    fn is_sampled(&self, who: Who) -> bool {
        let Who::Subscriber(number) = who else {
            return false;
        };
        let place = number as usize / self.run.scenario.threads;
        let step = self.subscribers.div_ceil(SAMPLED_A_THREAD).max(1);
        self.load.scheduled && place.is_multiple_of(step)
    }

    /// Reconnects the clients whose time has come; their ledgers and schedules continue.
    pub(super) fn reconnect_lost(&mut self, now_ns: u64) {
        if !self.run.scenario.reconnect {
            return;
        }
        self.refuse_late();
        for slot in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(slot) else {
                return;
            };
            if client.again_at_ns == 0 || client.again_at_ns > now_ns || client.opening.stage != Stage::Closed
            {
                continue;
            }
            client.generation += 1;
            client.again_at_ns = 0;
            let (who, token) = (client.who, SlotToken::new(slot, client.generation).into());
            let connection = self.new_connection(who, token);
            let Some(client) = self.clients.get_mut(slot) else {
                return;
            };
            match connection {
                Ok(connection) => {
                    client.connection = connection;
                    client.opening = Opening::new(now_ns, true);
                    client.started_at_ns = now_ns;
                }
                Err(_) => client.again_at_ns = now_ns + nanoseconds(TURN),
            }
        }
    }

    /// The TCP connection is established, or failed.
    pub(super) fn connected(&mut self, token: Token, result: io::Result<()>) {
        let Some(slot) = self.slot_of_token(token) else {
            return;
        };
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        if let Err(error) = result {
            return self.connection_lost(slot, &Broken::Socket(error));
        }
        let now_ns = monotonic_ns();
        client
            .opening
            .connected(now_ns, &mut self.load.measurements.stages);
        client.connection.connected(&mut self.ring);
        self.advance(slot, now_ns);
        self.mark_dirty(slot);
    }

    /// Advances a connection from stage to stage, as far as the received bytes allow.
    pub(super) fn advance(&mut self, slot: usize, now_ns: u64) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        let Client {
            opening,
            connection,
            who,
            ..
        } = client;
        if opening.advance(connection.stream(), now_ns, &mut self.load.measurements.stages)
            && let Err(broken) = handshake::connect(self.run, *who, connection.out())
        {
            return self.connection_lost(slot, &broken);
        }
        if client.opening.stage == Stage::Ready && client.started_at_ns != 0 {
            client.started_at_ns = 0;
            self.ready += 1;
            if client.generation > 0 {
                self.load.reconnected += 1;
                self.load.resumed.push(slot as u32);
                if let Role::Subscriber(subscriber) = &mut client.role {
                    let interruptions = &self.run.interruptions;
                    subscriber.reconnected(|publisher| interruptions.sent(publisher));
                }
            }
        }
    }

    /// Ends the clients whose time to become ready is over.
    fn refuse_late(&mut self) {
        let timeout = self.run.scenario.connect_timeout;
        let now_ns = monotonic_ns();
        let late = |client: &Client| {
            client.started_at_ns != 0 && now_ns.saturating_sub(client.started_at_ns) > nanoseconds(timeout)
        };
        if let Some(slot) = self.clients.iter().position(late) {
            self.connection_lost(slot, &Broken::Timeout(timeout.as_secs()));
        }
    }
}

/// Largest number of subscribers of a thread whose reads are timed.
const SAMPLED_A_THREAD: usize = 4;

/// Longest sleep while connections are being made.
const TURN: Duration = Duration::from_millis(100);

/// Longest sleep while a ramp decides when the next connection begins.
const RAMP_TURN: Duration = Duration::from_millis(1);

/// Additional size of a received packet beside the payload and the given properties: header, topic, more properties.
const PACKET_BYTES_SPARE: usize = 64 * 1024 + 1024;
