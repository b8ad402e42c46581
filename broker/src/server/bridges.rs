//! The bridges of a broker, before they start.
//!
//! Invariants: their files are read before a port is opened, and they start when the shards serve clients.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::error::ServerError;
use crate::bridge::{Bridge, BridgeTlsError, Bridges, tls_of_bridges};
use crate::config::Configuration;
use crate::in_effect::Current;
use crate::local_connections::LocalConnections;
use crate::passphrase::Passphrases;
use crate::questions::Questions;
use crate::shard::ShardQueues;

/// The bridges with the TLS of each.
///
/// # Errors
/// A file of one of them cannot be used.
pub(super) fn with_tls(
    configuration: &Configuration,
    passphrases: &Passphrases,
) -> Result<Vec<Bridge>, ServerError> {
    tls_of_bridges(&configuration.bridges, passphrases)
        .map_err(|BridgeTlsError { bridge, source }| ServerError::BridgeTls { bridge, source })
}

/// Prepares them, and their way to the shards.
pub(super) fn prepare(
    bridges: Vec<Bridge>,
    shards: NonZeroU16,
    queues: &Arc<ShardQueues>,
    current: &Arc<Current>,
    questions: &Arc<Questions>,
) -> Arc<Bridges> {
    let woken = Arc::clone(queues);
    let local = LocalConnections::new(shards.get(), move |shard| woken.wake(shard));
    Arc::new(Bridges::new(
        bridges,
        Arc::new(local),
        Arc::clone(current),
        Arc::clone(questions),
    ))
}
