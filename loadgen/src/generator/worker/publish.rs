//! Sends messages: at their intended times, as fast as the windows allow, or as fast as the sockets accept them.
//!
//! Invariant: a turn handles a bounded number of publishers and bytes, so that receiving is not starved.

use std::cmp::Reverse;

use transport::clock::monotonic_ns;

use super::{Client, LoadState, Role, Worker};
use crate::connection::opening::{Opening, Stage};
use crate::generator::measure::{Wait, window_of};
use crate::generator::publisher::Publisher;
use crate::generator::state::Run;
use crate::measure::timeline::Times;
use crate::scenario::Load;

impl Worker<'_> {
    /// Schedules every publisher once the times of the load are known.
    pub(super) fn begin_load(&mut self) {
        if self.load.times.is_some() {
            return;
        }
        let Some(times) = self.run.timeline.times() else {
            return;
        };
        self.load.times = Some(times);
        self.load.interval.thread = self.index;
        self.load.interval_ends_ns = times.start_ns + self.run.interval_ns;
        for (slot, client) in self.clients.iter_mut().enumerate() {
            let Role::Publisher(publisher) = &mut client.role else {
                continue;
            };
            if self.run.scenario.load == Load::Idle {
                publisher.finished = true;
                continue;
            }
            // Without a schedule nothing is left to do at the end of the load.
            self.load.unfinished += u64::from(publisher.schedule.is_some() && !publisher.finished);
            publisher.scheduled = true;
            self.due
                .push(Reverse((publisher.next_at_ns(&times), slot as u32)));
        }
    }

    /// Publishes for the publishers that were blocked, or have room in their window again.
    pub(super) fn resume_publishers(&mut self) {
        let mut resumed = std::mem::take(&mut self.load.resumed);
        for slot in resumed.drain(..) {
            self.publish_of(slot);
        }
        // Announcements in the meantime wait for the next turn.
        if self.load.resumed.is_empty() {
            self.load.resumed = resumed;
        }
    }

    /// Publishers whose time has come; a bounded number, so that receiving is not starved.
    pub(super) fn publish_due(&mut self) {
        for _ in 0..PUBLISHERS_A_TURN {
            let Some(&Reverse((at_ns, slot))) = self.due.peek() else {
                return;
            };
            // After the end of the load there is nothing to wait for: such publishers are finished.
            if at_ns > monotonic_ns() && at_ns < self.stop_ns() {
                return;
            }
            self.due.pop();
            if let Some(Client {
                role: Role::Publisher(publisher),
                ..
            }) = self.clients.get_mut(slot as usize)
            {
                publisher.scheduled = false;
            }
            self.publish_of(slot);
        }
    }

    /// When the load ends, as far as this thread knows.
    pub(super) fn stop_ns(&self) -> u64 {
        self.load.times.map_or(u64::MAX, |times| times.stop_ns)
    }

    /// Sends what a publisher may send now, and schedules it again.
    fn publish_of(&mut self, slot: u32) {
        let (Some(times), Some(client)) = (self.load.times, self.clients.get_mut(slot as usize)) else {
            return;
        };
        let Client {
            connection,
            role: Role::Publisher(publisher),
            opening: Opening {
                stage: Stage::Ready, ..
            },
            ..
        } = client
        else {
            return;
        };
        if publisher.finished || connection.is_blocked() {
            publisher.blocked = true;
            return;
        }
        let now_ns = monotonic_ns();
        for _ in 0..FLUSHES_A_VISIT {
            let next = fill(
                publisher,
                connection.out(),
                &mut self.load,
                self.run,
                &times,
                now_ns,
            );
            if let Err(broken) = connection.flush(&mut self.ring, &mut self.scratch, now_ns) {
                return self.connection_lost(slot as usize, &broken);
            }
            let at_ns = match next {
                // The ring reports when the rest has been sent.
                Next::More | Next::InTurn if connection.is_blocked() => {
                    publisher.blocked = true;
                    return;
                }
                Next::More => continue,
                Next::InTurn => now_ns,
                Next::At(at_ns) => at_ns,
                Next::Resumed => return,
                Next::Finished => {
                    publisher.finished = true;
                    self.load.unfinished = self.load.unfinished.saturating_sub(1);
                    return;
                }
            };
            if !std::mem::replace(&mut publisher.scheduled, true) {
                self.due.push(Reverse((at_ns, slot)));
            }
            return;
        }
        self.load.resumed.push(slot);
    }

    /// Closed loop: considers messages as lost that have not arrived for seconds, so that the run continues and
    /// reports them.
    pub(super) fn give_up_stalled(&mut self, now_ns: u64) {
        let subscribers = self.subscribers;
        for (slot, client) in self.clients.iter_mut().enumerate().skip(subscribers) {
            let Role::Publisher(publisher) = &mut client.role else {
                continue;
            };
            let stalled =
                publisher.progress_at_ns != 0 && now_ns.saturating_sub(publisher.progress_at_ns) > STALLED_NS;
            if stalled && !publisher.finished && self.run.windows.get(publisher.number() as usize).is_some() {
                publisher.progress_at_ns = now_ns;
                self.load.given_up += u64::from(publisher.outstanding.give_up());
                self.load.resumed.push(slot as u32);
            }
        }
    }
}

/// When a publisher can send its next message.
enum Next {
    /// At once, after its connection was flushed.
    More,
    /// When the publishers that are due have had their turn.
    InTurn,
    /// At this time, CLOCK_MONOTONIC ns.
    At(u64),
    /// When an incoming packet resumes it.
    Resumed,
    /// Never, because it has sent all of its messages.
    Finished,
}

fn fill(
    publisher: &mut Publisher,
    out: &mut Vec<u8>,
    load: &mut LoadState,
    run: &Run,
    times: &Times,
    now_ns: u64,
) -> Next {
    match run.scenario.load {
        Load::Saturating { .. } => fill_window(publisher, out, load, run, times, now_ns),
        Load::Flood => fill_flood(publisher, out, load, run, times, now_ns),
        Load::Scheduled { .. } | Load::Idle => fill_overdue(publisher, out, load, run, times, now_ns),
    }
}

/// Open loop: every message whose intended time is over.
fn fill_overdue(
    publisher: &mut Publisher,
    out: &mut Vec<u8>,
    load: &mut LoadState,
    run: &Run,
    times: &Times,
    now_ns: u64,
) -> Next {
    loop {
        let intended_ns = publisher.next_at_ns(times);
        if intended_ns >= times.stop_ns {
            return Next::Finished;
        }
        if intended_ns > now_ns {
            (publisher.blocked, publisher.cut_off) = (false, false);
            return Next::At(intended_ns);
        }
        if !publisher.may_publish() {
            publisher.blocked = true;
            return Next::Resumed;
        }
        if out.len() >= load.flush_bytes {
            return Next::More;
        }
        let lag_ns = now_ns - intended_ns;
        load.interval.lag.record(lag_ns);
        publisher.publish(intended_ns.saturating_sub(run.epoch_ns), lag_ns, now_ns, out);
        publisher.advance();
        load.count_sent(publisher, run);
        if let Some(window) = window_of(times, load.window_ns, intended_ns) {
            let wait = match () {
                () if publisher.cut_off => Wait::Connection,
                () if publisher.blocked => Wait::Broker,
                () => Wait::Nothing,
            };
            load.measurements.sent(window, lag_ns, wait);
        }
    }
}

/// Closed loop: as many messages as the window has room for.
fn fill_window(
    publisher: &mut Publisher,
    out: &mut Vec<u8>,
    load: &mut LoadState,
    run: &Run,
    times: &Times,
    now_ns: u64,
) -> Next {
    if now_ns >= times.stop_ns {
        return Next::Finished;
    }
    let Some(delivery) = run.windows.get(publisher.number() as usize) else {
        return Next::Finished;
    };
    let measured = window_of(times, load.window_ns, now_ns);
    for _ in 0..publisher.outstanding.room(delivery) {
        if !publisher.may_publish() {
            publisher.blocked = true;
            return Next::Resumed;
        }
        if out.len() >= load.flush_bytes {
            return Next::More;
        }
        publisher.outstanding.publish_sent(delivery);
        publisher.publish(now_ns.saturating_sub(run.epoch_ns), 0, now_ns, out);
        publisher.progress_at_ns = now_ns;
        load.count_sent(publisher, run);
        if let Some(sent) = measured.and_then(|window| load.measurements.sent.get_mut(window)) {
            *sent += 1;
        }
    }
    publisher.blocked = false;
    Next::Resumed
}

/// Flood: sends one buffer, then the other publishers have their turn. A full socket stops it until it is writable.
fn fill_flood(
    publisher: &mut Publisher,
    out: &mut Vec<u8>,
    load: &mut LoadState,
    run: &Run,
    times: &Times,
    now_ns: u64,
) -> Next {
    if now_ns >= times.stop_ns {
        return Next::Finished;
    }
    let measured = window_of(times, load.window_ns, now_ns);
    while out.len() < load.flush_bytes {
        if !publisher.may_publish() {
            publisher.blocked = true;
            return Next::Resumed;
        }
        publisher.publish(now_ns.saturating_sub(run.epoch_ns), 0, now_ns, out);
        load.count_sent(publisher, run);
        if let Some(sent) = measured.and_then(|window| load.measurements.sent.get_mut(window)) {
            *sent += 1;
        }
    }
    publisher.blocked = false;
    Next::InTurn
}

impl LoadState {
    #[inline]
    fn count_sent(&mut self, publisher: &Publisher, run: &Run) {
        self.sent += 1;
        run.interruptions.note_sent(publisher.number(), publisher.sent());
        self.interval.sent += 1;
        self.in_flight += u64::from(publisher.flights.is_some());
        self.expected += u64::from(publisher.subscribers);
    }
}

/// Publishers served before the ring is read again.
const PUBLISHERS_A_TURN: usize = 64;

/// Writes of a publisher before others have their turn.
const FLUSHES_A_VISIT: usize = 16;

/// If there is no progress in a window for this long, its messages count as lost.
const STALLED_NS: u64 = 5_000_000_000;
