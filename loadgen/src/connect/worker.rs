//! One thread of a connect measurement: a ring and the connections that are being made.
//!
//! Invariant: a token has the slot and its generation, so a late completion of a connection that is gone is not
//! attributed to the next connection in the slot.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use transport::clock::monotonic_ns;
use transport::ring::{Completion, ReceiveEnd, RingOptions, Token};

use super::attempt::{Attempt, ConnectThread};
use super::measurements::{CAUSES_MAX, ConnectMeasurements, ConnectState};
use super::scenario::ConnectLoad;
use crate::connection::opening::{Opening, Stage};
use crate::connection::{Broken, Connection, Scratch, SlotToken, local_address};
use crate::measure::thread_use::ThreadMeter;
use crate::measure::timeline::{Times, nanoseconds};
use crate::scenario::schedule::{Arrival, Schedule, random_of};
use crate::system::error::Failure;

/// Makes and closes connections until the end of the load, and waits for those in progress.
///
/// # Errors
/// The thread or its ring cannot be set up.
pub fn work(state: &ConnectState, index: usize) -> Result<ConnectMeasurements, Failure> {
    let mut worker = ConnectWorker::new(state, index)?;
    while worker.turn()? {}
    worker.thread.result.threads = vec![worker.usage.whole()];
    Ok(worker.thread.result)
}

struct ConnectWorker<'a> {
    thread: ConnectThread<'a>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    load: ConnectLoad,
    schedule: Option<Schedule>,
    started: u64,
    usage: ThreadMeter,
    looked_at_ns: u64,
}

#[derive(Default)]
struct Slot {
    generation: u64,
    attempt: Option<Attempt>,
}

impl<'a> ConnectWorker<'a> {
    fn new(state: &'a ConnectState, index: usize) -> Result<ConnectWorker<'a>, Failure> {
        if let Some(cpus) = &state.scenario.cpus {
            cpus.one(index)
                .confine_this_thread()
                .map_err(Failure::system("cannot pin a thread"))?;
        }
        // As for the threads of a load: if it is not allowed, the lag shows it.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let load = state.scenario.load_of_one();
        let schedule = match load {
            ConnectLoad::Closed { .. } => None,
            ConnectLoad::Open { rate_per_s } => {
                let random = random_of(state.scenario.seed, index as u32);
                Some(Schedule::new(Arrival::Uniform, 1e9 / rate_per_s, random))
            }
        };
        let options = RingOptions {
            buffers: 1024,
            buffer_bytes: 4 * 1024,
            ..RingOptions::default()
        };
        Ok(ConnectWorker {
            thread: ConnectThread {
                ring: options.ring_or_smaller()?,
                state,
                index,
                scratch: Scratch::default(),
                result: ConnectMeasurements::default(),
            },
            slots: Vec::new(),
            free: Vec::new(),
            load,
            schedule,
            started: 0,
            usage: ThreadMeter::default(),
            looked_at_ns: 0,
        })
    }

    /// One turn of the loop; false when the load is over and no connection is in progress.
    fn turn(&mut self) -> Result<bool, Failure> {
        let Some(times) = self.thread.state.timeline.times() else {
            return Ok(false);
        };
        let now_ns = monotonic_ns();
        self.usage.sample(&times, now_ns);
        let over = now_ns >= times.stop_ns;
        if !over {
            self.start_due(&times, now_ns);
        }
        let underway = self.slots.len() - self.free.len();
        if over && underway == 0 {
            return Ok(false);
        }
        self.thread
            .ring
            .wait(Some(self.sleep(&times, now_ns)))
            .map_err(Failure::system("cannot wait for the ring"))?;
        while let Some(completion) = self.thread.ring.next() {
            self.complete(completion);
        }
        let now_ns = monotonic_ns();
        if now_ns.saturating_sub(self.looked_at_ns) > LOOK_NS {
            self.looked_at_ns = now_ns;
            self.close_timed_out(now_ns);
        }
        Ok(true)
    }

    fn sleep(&self, times: &Times, now_ns: u64) -> Duration {
        let next_ns = self
            .schedule
            .as_ref()
            .map_or(u64::MAX, |schedule| times.start_ns + schedule.next_ns());
        let until_stop_ns = times.stop_ns.saturating_sub(now_ns);
        let wait_ns = next_ns.saturating_sub(now_ns).min(LOOK_NS);
        Duration::from_nanos(if until_stop_ns == 0 {
            LOOK_NS
        } else {
            wait_ns.min(until_stop_ns)
        })
    }

    /// Starts what is due: by the schedule, or as many as fit.
    fn start_due(&mut self, times: &Times, now_ns: u64) {
        match self.load {
            ConnectLoad::Closed { concurrency } => {
                while self.slots.len() - self.free.len() < concurrency as usize {
                    let now_ns = monotonic_ns();
                    if now_ns >= times.stop_ns || !self.start(now_ns, now_ns, times) {
                        return;
                    }
                }
            }
            ConnectLoad::Open { .. } => {
                for _ in 0..STARTS_A_TURN {
                    let Some(schedule) = &mut self.schedule else {
                        return;
                    };
                    let intended_ns = times.start_ns + schedule.next_ns();
                    if intended_ns > now_ns || intended_ns >= times.stop_ns {
                        return;
                    }
                    schedule.advance();
                    self.start(intended_ns, monotonic_ns(), times);
                }
            }
        }
    }

    /// Starts one connection; false if that failed at once.
    fn start(&mut self, intended_ns: u64, now_ns: u64, times: &Times) -> bool {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let generation = self.slots.get(slot).map_or(0, |slot| slot.generation);
        let token = SlotToken::new(slot, generation).into();
        let measured = times.is_measured(intended_ns);
        let number = self.started;
        let attempt = self.attempt(token, intended_ns, now_ns, measured);
        self.started += 1;
        match attempt {
            Ok(attempt) => {
                if measured {
                    self.thread.result.lag.record(now_ns.saturating_sub(intended_ns));
                }
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.attempt = Some(attempt);
                }
                true
            }
            Err(broken) => {
                self.fail(&broken, Stage::Tcp, number);
                self.free.push(slot);
                false
            }
        }
    }

    fn attempt(
        &mut self,
        token: Token,
        intended_ns: u64,
        now_ns: u64,
        measured: bool,
    ) -> Result<Attempt, Broken> {
        let number = self.started;
        let endpoint = &self.thread.state.subject.endpoint;
        let stream = endpoint.stream(number as u32)?;
        let local = local_address(&self.thread.state.scenario.bind, number as usize);
        let connection = Connection::start(
            &mut self.thread.ring,
            endpoint.host(number as u32).address,
            local,
            stream,
            token,
            PACKET_BYTES_MAX,
        )?;
        Ok(Attempt {
            connection,
            opening: Opening::new(now_ns, measured),
            number,
            intended_ns,
            measured,
        })
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Connected { token, result } => match result {
                Ok(()) => self.with(token, |attempt, thread| attempt.connected(thread)),
                Err(error) => self.end(token, Some(&Broken::Socket(error))),
            },
            Completion::Received { token, buffer, more } => {
                let bytes = self.thread.ring.bytes(&buffer).to_vec();
                self.thread.ring.recycle(buffer);
                self.with(token, |attempt, thread| attempt.received(&bytes, more, thread));
            }
            Completion::ReceiveEnded { token, cause } => match cause {
                ReceiveEnd::NoBuffers => self.with(token, |attempt, thread| {
                    attempt.connection.receive(&mut thread.ring);
                    Ok(())
                }),
                ReceiveEnd::Cancelled => {}
                ReceiveEnd::EndOfStream => self.end(token, Some(&Broken::Closed)),
                ReceiveEnd::Error(error) => self.end(token, Some(&Broken::Socket(error))),
            },
            Completion::Sent { token, result, .. } => self.with(token, |attempt, thread| {
                attempt.connection.sent(result)?;
                attempt.flush(thread)
            }),
            Completion::Accepted { .. } | Completion::Woken | Completion::NotWoken { .. } => {}
        }
    }

    /// Calls the function with the connection of a token, if it still exists.
    fn with(
        &mut self,
        token: Token,
        step: impl FnOnce(&mut Attempt, &mut ConnectThread<'a>) -> Result<(), Broken>,
    ) {
        let Some(mut attempt) = self.slot(token).and_then(|slot| slot.attempt.take()) else {
            return;
        };
        let done = step(&mut attempt, &mut self.thread);
        if let Some(slot) = self.slot(token) {
            slot.attempt = Some(attempt);
        }
        if let Err(broken) = done {
            self.end(token, Some(&broken));
        }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let token = SlotToken::from(token);
        let slot = self.slots.get_mut(token.slot)?;
        token.is_of(slot.generation).then_some(slot)
    }

    /// The connection of a token is over.
    fn end(&mut self, token: Token, broken: Option<&Broken>) {
        let Some(slot) = self.slot(token) else { return };
        let Some(attempt) = slot.attempt.take() else {
            return;
        };
        slot.generation += 1;
        attempt.connection.shut_down();
        self.free.push(SlotToken::from(token).slot);
        match (attempt.opening.stage, broken) {
            (Stage::Closing, _) => {
                self.thread.state.counts.closed.fetch_add(1, Ordering::Relaxed);
            }
            (stage, Some(broken)) => self.fail(broken, stage, attempt.number),
            (stage, None) => self.fail(&Broken::Closed, stage, attempt.number),
        }
    }

    fn fail(&mut self, broken: &Broken, stage: Stage, number: u64) {
        self.thread.state.counts.failed.fetch_add(1, Ordering::Relaxed);
        if self.thread.result.causes.len() < CAUSES_MAX {
            let host = self.thread.state.subject.endpoint.host(number as u32);
            self.thread
                .result
                .causes
                .push(format!("{host} ({}): {broken}", stage.name()));
        }
    }

    /// Ends connections whose time is over; one that waits for the broker to close is complete.
    fn close_timed_out(&mut self, now_ns: u64) {
        let timeout_ns = nanoseconds(self.thread.state.scenario.connect_timeout);
        for slot in 0..self.slots.len() {
            let Some(Slot {
                generation,
                attempt: Some(attempt),
            }) = self.slots.get(slot)
            else {
                continue;
            };
            let since_ns = now_ns.saturating_sub(attempt.opening.entered_at_ns());
            let token = SlotToken::new(slot, *generation).into();
            if attempt.opening.stage == Stage::Closing && since_ns > CLOSES_WITHIN_NS {
                self.end(token, None);
            } else if since_ns > timeout_ns {
                self.end(
                    token,
                    Some(&Broken::Timeout(
                        self.thread.state.scenario.connect_timeout.as_secs(),
                    )),
                );
            }
        }
    }
}

/// How long a connection waits for the broker to close it after DISCONNECT.
pub const CLOSES_WITHIN_NS: u64 = 1_000_000_000;
const LOOK_NS: u64 = 100_000_000;
const STARTS_A_TURN: usize = 64;
const PACKET_BYTES_MAX: u32 = 64 * 1024;
