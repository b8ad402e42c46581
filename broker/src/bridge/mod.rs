//! Bridges to other brokers: each is a client of this broker and of another one, on a thread of its own.
//!
//! A bridge connects to the other broker as any client does, and to this one by a socket pair (`local_connections` of
//! the crate), so that its session, its queue, its rights and its place in the store are those of any client.
//! `thread.rs` is its course: `open.rs` opens both connections (`connect.rs` has their first packets, `stale.rs` what
//! an older configuration left behind), `carry.rs` carries between them by `pipe.rs`, which does no I/O, and `flow.rs`;
//! `back_off.rs` says when it connects again. `connection.rs` is a socket with its buffers, `control.rs` wakes the
//! thread, `tls.rs` reads the files of its TLS.
//!
//! Invariants: a bridge never makes a shard wait. A thread may, for one bridge alone: names are looked up there.

mod back_off;
mod carry;
mod connect;
mod connection;
mod control;
mod flow;
mod open;
mod pipe;
mod stale;
mod thread;
mod tls;

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use self::back_off::AddressTurn;
use self::control::BridgeControl;
use self::thread::{Around, BridgeThread};
pub(crate) use self::tls::{BridgeTlsError, tls_of_bridges};
use crate::bridge_settings::BridgeSettings;
use crate::in_effect::Current;
use crate::limits;
use crate::local_connections::LocalConnections;
use crate::questions::Questions;

/// What a bridge is made of.
#[derive(Clone)]
pub(crate) struct Bridge {
    pub(crate) settings: Arc<BridgeSettings>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// The bridges of a broker.
pub(crate) struct Bridges {
    around: Around,
    /// Those that are to start, until the shards serve clients.
    prepared: Mutex<Option<Vec<Bridge>>>,
    running: Mutex<Vec<RunningBridge>>,
}

struct RunningBridge {
    settings: Arc<BridgeSettings>,
    control: Arc<BridgeControl>,
    /// Ends with the thread.
    ended: Receiver<()>,
}

impl Bridges {
    /// Those that are to start.
    pub(crate) fn new(
        bridges: Vec<Bridge>,
        local: Arc<LocalConnections>,
        current: Arc<Current>,
        questions: Arc<Questions>,
    ) -> Self {
        Self {
            around: Around {
                local,
                current,
                questions,
            },
            prepared: Mutex::new(Some(bridges)),
            running: Mutex::default(),
        }
    }

    /// Starts a thread for each bridge; once the shards serve clients.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn start(&self) -> io::Result<()> {
        let prepared = self.prepared().take();
        for bridge in prepared.into_iter().flatten() {
            let running = self.start_one(bridge)?;
            self.running().push(running);
        }
        Ok(())
    }

    /// Ends all bridges, and waits a bounded time for them.
    pub(crate) fn stop(&self) {
        let running = std::mem::take(&mut *self.running());
        running.iter().for_each(|bridge| bridge.control.stop());
        let until = Instant::now() + END;
        for bridge in running {
            // It sends nothing: the other end is dropped with the thread.
            let left = until.saturating_duration_since(Instant::now());
            let _ended = bridge.ended.recv_timeout(left);
        }
    }

    /// Goes on with other bridges: those that are gone end, and their sessions here with them, new ones start, and
    /// those that have changed change. What was done, in words.
    pub(crate) fn reload(&self, bridges: Vec<Bridge>) -> Vec<String> {
        if let Some(prepared) = &mut *self.prepared() {
            // They have not begun.
            *prepared = bridges;
            return Vec::new();
        }
        let mut done = Vec::new();
        let mut running = self.running();
        running.retain(|old| {
            let stays = bridges.iter().any(|new| new.settings.name == old.settings.name);
            if !stays {
                old.control.remove();
                done.push(format!("the end of the bridge {}", old.settings.name));
            }
            stays
        });
        for new in bridges {
            let name = new.settings.name.clone();
            let place = running.iter_mut().find(|old| old.settings.name == name);
            match place {
                Some(old) if !old.has_ended() => {
                    let has_changed = *old.settings != *new.settings;
                    if has_changed || new.tls.is_some() {
                        old.settings = Arc::clone(&new.settings);
                        old.control.change(new, has_changed);
                        done.push(format!("the bridge {name}"));
                    }
                }
                place => match self.start_one(new) {
                    Ok(started) => {
                        done.push(format!("the bridge {name}"));
                        match place {
                            Some(old) => *old = started,
                            None => running.push(started),
                        }
                    }
                    Err(error) => tracing::error!("The bridge {name} cannot be started: {error}"),
                },
            }
        }
        done
    }

    fn start_one(&self, bridge: Bridge) -> io::Result<RunningBridge> {
        let (ends, ended) = channel();
        let settings = Arc::clone(&bridge.settings);
        let control = Arc::new(BridgeControl::new()?);
        let thread = BridgeThread {
            bridge,
            control: Arc::clone(&control),
            around: self.around.clone(),
            addresses: AddressTurn::default(),
            not_private: Vec::new(),
            waiting: None,
            ends_session: false,
            buffer: vec![0; limits::BRIDGE_READ_BYTES],
        };
        std::thread::Builder::new()
            .name(format!("bridge-{}", settings.name))
            .spawn(move || {
                let _ends = ends;
                thread.run();
            })?;
        Ok(RunningBridge {
            settings,
            control,
            ended,
        })
    }

    /// The names of the bridges, and whether each is connected.
    pub(crate) fn states(&self) -> Vec<(String, bool)> {
        let running = self.running();
        let state = |bridge: &RunningBridge| (bridge.settings.name.clone(), bridge.control.is_connected());
        running.iter().map(state).collect()
    }

    /// How they come to the shards.
    pub(crate) fn local(&self) -> &Arc<LocalConnections> {
        &self.around.local
    }

    fn prepared(&self) -> MutexGuard<'_, Option<Vec<Bridge>>> {
        // Whoever panicked with it left it whole.
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Vec<RunningBridge>> {
        // Whoever panicked with it left it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningBridge {
    fn has_ended(&self) -> bool {
        self.ended.try_recv() == Err(TryRecvError::Disconnected)
    }
}

/// Both connections take leave one after the other.
const END: Duration = Duration::from_nanos(2 * limits::BRIDGE_END_NS_MAX);
