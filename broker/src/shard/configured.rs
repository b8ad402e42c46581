//! The configuration and the access rules that a shard uses.
//!
//! Invariants: both are checked once per turn, and replaced as a whole.

use std::sync::Arc;

use super::ShardLoop;
use crate::auth::Authentication;
use crate::bans::Bans;
use crate::dynamic_commands::DynamicCommands;
use crate::flapping::FlappingClients;
use crate::in_effect::{Current, InEffect};

/// The configuration that this shard uses.
pub(super) struct Configured {
    current: Arc<Current>,
    number: u64,
    pub(super) in_effect: Arc<InEffect>,
}

/// Checks passwords, of which policy the logic knows, and who is banned.
pub(super) struct ShardAccess {
    pub(super) authentication: Arc<Authentication>,
    commands: DynamicCommands,
    pub(super) bans: Arc<Bans>,
    pub(super) flapping: FlappingClients,
    pub(super) policy_generation: u64,
}

impl ShardAccess {
    /// Of no policy yet.
    pub(super) fn new(
        authentication: Arc<Authentication>,
        commands: DynamicCommands,
        bans: Arc<Bans>,
    ) -> Self {
        Self {
            authentication,
            commands,
            bans,
            flapping: FlappingClients::default(),
            policy_generation: 0,
        }
    }
}

impl Configured {
    pub(super) fn new(current: Arc<Current>) -> Self {
        Self {
            number: 0,
            in_effect: current.get(),
            current,
        }
    }

    /// Takes a newer configuration; returns whether there was one.
    fn take_newer(&mut self) -> bool {
        let Some((number, in_effect)) = self.current.newer_than(self.number) else {
            return false;
        };
        (self.number, self.in_effect) = (number, in_effect);
        true
    }
}

impl ShardLoop {
    /// After a reload: new connections, and the logic, use the new settings.
    pub(super) fn take_settings(&mut self) {
        if self.configured.take_newer() {
            let settings = Arc::clone(&self.configured.in_effect.settings);
            self.logic.set_settings(self.now, settings);
            self.give_policy();
        }
        self.take_policy();
        self.health.turned(self.exchange.shard());
        self.logic.set_memory_full(self.health.memory_full());
        self.logic.set_resident_bytes(self.health.resident_bytes());
    }

    /// Gives the logic the rules that are in effect, if it has others.
    fn take_policy(&mut self) {
        if self.access.authentication.generation() != self.access.policy_generation {
            self.give_policy();
        }
    }

    /// Hands in what clients sent to the broker itself.
    pub(super) fn submit_commands(&mut self) {
        if self.logic.has_control_messages() {
            for message in self.logic.take_control_messages() {
                self.access.commands.submit(message);
            }
        }
    }

    pub(super) fn give_policy(&mut self) {
        let policy = self.access.authentication.policy();
        self.access.policy_generation = policy.generation();
        self.logic.set_policy(self.now, policy);
    }
}
