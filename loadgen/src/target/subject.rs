//! The broker that is measured, however it came to be there.
//!
//! Invariants: none.

use super::endpoint::Endpoint;

/// The broker of a run.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its process, if it is on this machine.
    pub pid: Option<u32>,
    /// What it is.
    pub name: String,
    /// Its configuration file, if it is known.
    pub configuration: Option<String>,
}
