//! Random batches as shards would append them, and the states that result.
//!
//! Invariants: a seed gives the same batches. Order numbers, publications and sessions are never used twice.

use store::{Log, Record, Reference, ReferenceList, Session, ShardList, ShardLog, Will};

use super::model::{Model, OpenSession};
use super::redb_store::RedbStore;

/// Number of shards that append.
pub(super) const SHARDS: u16 = 3;

/// What was submitted, and the resulting states.
pub(super) struct Workload {
    pub(super) random: fastrand::Rng,
    /// The state after each batch that was submitted since the last start, and before the first one.
    states: Vec<Model>,
    /// The handles of the shards.
    handles: Vec<ShardLog>,
    /// For each batch since the last start: its shard and its number there.
    batches: Vec<(usize, u64)>,
    next: u64,
    /// Whether what is reported as durable must exist.
    waits: bool,
    /// Messages are up to this long, with rare exceptions.
    message_max: usize,
    /// A second store that receives the same batches.
    pub(super) redb: Option<RedbStore>,
}

impl Workload {
    pub(super) fn new(seed: u64, waits: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let message_max = [40, 400, 4000][random.usize(0..3)];
        Self {
            random,
            states: vec![Model::default()],
            handles: Vec::new(),
            batches: Vec::new(),
            next: 1,
            waits,
            message_max,
            redb: None,
        }
    }

    /// The log was opened: the workload continues from what was recovered.
    pub(super) fn start(&mut self, log: &Log, recovered: Model) {
        self.handles = (0..SHARDS).map(|shard| log.shard(shard)).collect();
        self.batches.clear();
        self.states = vec![recovered];
    }

    /// Which of the states was recovered, and which cleared topics were dropped.
    pub(super) fn state_of(&self, recovered: &Model) -> Option<Model> {
        let durable = self.durable();
        let possible = self.states.get(durable..)?;
        possible
            .iter()
            .rev()
            .find(|state| state.reported() == *recovered)
            .cloned()
    }

    /// What the nearest possible state has and `recovered` has not, and vice versa.
    pub(super) fn difference(&self, recovered: &Model) -> String {
        let lines = |model: &Model| -> Vec<String> { model.lines() };
        let recovered = lines(recovered);
        let durable = self.durable();
        let differences = self.states.iter().enumerate().map(|(number, state)| {
            let state = lines(&state.reported());
            let missing = state
                .iter()
                .filter(|line| !recovered.contains(line))
                .map(|line| format!("- {line}"));
            let added = recovered
                .iter()
                .filter(|line| !state.contains(line))
                .map(|line| format!("+ {line}"));
            let text: Vec<_> = missing.chain(added).collect();
            (
                text.len(),
                format!("state {number}, {durable} are durable:\n{}", text.join("\n")),
            )
        });
        differences.min().unwrap().1
    }

    /// Number of batches that are reported as durable.
    fn durable(&self) -> usize {
        if !self.waits {
            return 0;
        }
        let is_durable = |(shard, number): &(usize, u64)| self.handles[*shard].durable() >= *number;
        let durable = self.batches.iter().take_while(|batch| is_durable(batch)).count();
        // Durability follows the order of the log.
        assert_eq!(
            durable,
            self.batches.iter().filter(|batch| is_durable(batch)).count()
        );
        durable
    }

    pub(super) fn latest(&self) -> &Model {
        self.states.last().unwrap()
    }

    /// Appends one batch of a shard and submits it.
    pub(super) fn batch(&mut self) {
        let shard = self.random.usize(0..SHARDS.into());
        let mut batch = Batch {
            state: self.latest().clone(),
            log: &mut self.handles[shard],
            random: &mut self.random,
            next: &mut self.next,
            message_max: self.message_max,
            shard: shard as u16,
            redb: self.redb.as_mut(),
        };
        for _ in 0..batch.random.usize(1..6) {
            batch.append_any();
        }
        let mut state = batch.state;
        state.end_of_batch();
        let expected = self.handles[shard].next_batch();
        let number = self.handles[shard].submit();
        if let Some(redb) = &mut self.redb {
            redb.submit();
        }
        if number != expected {
            // Nothing was appended.
            return;
        }
        self.batches.push((shard, number));
        self.states.push(state);
    }
}

struct Batch<'a> {
    state: Model,
    log: &'a mut ShardLog,
    random: &'a mut fastrand::Rng,
    next: &'a mut u64,
    message_max: usize,
    shard: u16,
    redb: Option<&'a mut RedbStore>,
}

impl Batch<'_> {
    fn append(&mut self, record: &Record<'_>) {
        self.log.append(record);
        self.state.apply(record);
        if let Some(redb) = &mut self.redb {
            redb.append(record);
        }
    }

    fn append_any(&mut self) {
        let sessions = self.state.open();
        if sessions.is_empty() || (sessions.len() < 5 && self.random.u8(0..20) == 0) {
            return self.session(None);
        }
        let (session, open) = &sessions[self.random.usize(0..sessions.len())];
        let session = *session;
        // If many are open, more are finished than added.
        let publishes = if open.len() > 30 { 1 } else { 4 };
        match self.random.u8(0..20) {
            0 => self.session(Some(session)),
            1 if self.random.u8(0..6) == 0 => self.append(&Record::SessionEnded { number: session }),
            1 | 2 => self.subscription(session),
            3 | 4 => self.received(session),
            5 => self.retained(),
            6 | 7 => self.mark(),
            choice if choice < 8 + publishes => self.publish(&sessions),
            _ => self.acknowledge(session, open),
        }
    }

    fn session(&mut self, number: Option<u64>) {
        let number = number.unwrap_or_else(|| self.take_number());
        let message = vec![7; self.random.usize(0..100)];
        let will = Will {
            delay_s: 1,
            expiry_s: None,
            message: &message,
        };
        let session = Session {
            number,
            client_identifier: "client",
            user: None,
            expiry_s: 60,
            away_since_ms: self.random.bool().then_some(5),
            will: self.random.bool().then_some(will),
        };
        self.append(&Record::Session(session));
    }

    fn subscription(&mut self, session: u64) {
        let filter = ["a", "b/#", "$share/g/c"][self.random.usize(0..3)];
        if self.random.bool() {
            let options = self.random.u8(..);
            self.append(&Record::Subscribed {
                session,
                filter,
                options,
                identifier: 0,
            });
        } else {
            self.append(&Record::Unsubscribed { session, filter });
        }
    }

    fn received(&mut self, session: u64) {
        let packet_identifier = self.random.u16(1..6);
        if self.random.bool() {
            self.append(&Record::Received {
                session,
                packet_identifier,
            });
        } else {
            self.append(&Record::ReceivedReleased {
                session,
                packet_identifier,
            });
        }
    }

    fn retained(&mut self) {
        let topic = ["r", "s", "t"][self.random.usize(0..3)];
        // Shards append their changes slightly out of order.
        let ticket = self.take_number().saturating_sub(self.random.u64(0..10));
        let message = if self.random.bool() {
            self.message()
        } else {
            Vec::new()
        };
        self.append(&Record::Retained {
            ticket,
            topic,
            message: &message,
        });
    }

    fn mark(&mut self) {
        let unmarked = self.state.unmarked();
        if unmarked.is_empty() {
            return;
        }
        let (publication, shard) = unmarked[self.random.usize(0..unmarked.len())];
        let sessions = self.state.open();
        let references = self.references(&sessions);
        let references: Vec<_> = references.iter().map(|order| reference(*order)).collect();
        let references = ReferenceList::Slice(&references);
        self.append(&Record::References {
            publication,
            shard,
            references,
            mark: true,
        });
    }

    fn publish(&mut self, sessions: &[OpenSession]) {
        let id = u64::from(self.shard) << 48 | self.take_number();
        let message = self.message();
        let shards: Vec<u16> = (0..SHARDS).filter(|_| self.random.u8(0..3) == 0).collect();
        let shards = ShardList::Numbers(&shards);
        let share = if self.random.u8(0..5) == 0 {
            "$share/g/c"
        } else {
            ""
        };
        self.append(&Record::Publication {
            id,
            shards,
            share,
            message: &message,
        });
        let references = self.references(sessions);
        let references: Vec<_> = references.iter().map(|order| reference(*order)).collect();
        let (references, shard) = (ReferenceList::Slice(&references), self.shard);
        self.append(&Record::References {
            publication: id,
            shard,
            references,
            mark: true,
        });
    }

    /// Some sessions, each with a new order number.
    fn references(&mut self, sessions: &[OpenSession]) -> Vec<(u64, u64)> {
        let mut references = Vec::new();
        for (session, _) in sessions {
            if self.random.bool() {
                references.push((*session, self.take_number()));
            }
        }
        references
    }

    fn acknowledge(&mut self, session: u64, open: &[(u64, bool, bool)]) {
        if open.is_empty() {
            return;
        }
        // Mostly the first ones, so that some remain for long.
        let place = self.random.usize(0..open.len().min(4));
        let (order, is_sent, is_released) = open[place];
        match (is_sent, is_released, self.random.u8(0..3)) {
            (false, _, 0 | 1) => {
                let packet_identifier = self.random.u16(1..);
                self.append(&Record::InFlight {
                    session,
                    order,
                    packet_identifier,
                    released: false,
                });
            }
            (true, false, 0) => self.append(&Record::Released { session, order }),
            _ => self.append(&Record::Done { session, order }),
        }
    }

    fn message(&mut self) -> Vec<u8> {
        let len = match self.random.u8(0..60) {
            0 => self.random.usize(0..self.message_max * 20),
            _ => self.random.usize(0..self.message_max),
        };
        let number = *self.next;
        (0..len as u64).map(|place| (number + place) as u8).collect()
    }

    fn take_number(&mut self) -> u64 {
        *self.next += 1;
        *self.next
    }
}

fn reference((session, order): (u64, u64)) -> Reference<'static> {
    let via: &[u8] = if order.is_multiple_of(7) { b"via" } else { &[] };
    Reference {
        session,
        order,
        qos: 1 + (order % 2) as u8,
        retain: order.is_multiple_of(3),
        via,
    }
}
