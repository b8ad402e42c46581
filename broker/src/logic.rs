//! stub
#![allow(missing_docs, unused)]
use crate::settings::*;
use std::net::SocketAddr;
use std::sync::Arc;
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);
impl Timestamp {
    pub fn plus_ns(self, n: u64) -> Self {
        Timestamp(self.0 + n)
    }
    pub fn since_ns(self, e: Self) -> u64 {
        self.0.saturating_sub(e.0)
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub listener: ListenerId,
    pub tls: bool,
    pub assigned_client_identifier: Option<Box<str>>,
    pub certificate_identity: Option<Box<str>>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostCause {
    EndOfStream,
    Error,
    Timeout,
}
pub struct Batch;
#[derive(Default)]
pub struct ShardCounters;
pub fn home_shard(c: &str, n: u16) -> u16 {
    0
}
pub struct Shard;
impl Shard {
    pub fn new(i: u16, c: u16, s: Arc<Settings>, k: Arc<[ShardCounters]>) -> Self {
        Shard
    }
    pub fn open(&mut self, n: Timestamp, p: Peer) -> ConnectionId {
        ConnectionId {
            slot: 0,
            generation: 0,
        }
    }
    pub fn receive(&mut self, n: Timestamp, id: ConnectionId, b: &[u8]) {}
    pub fn lost(&mut self, n: Timestamp, id: ConnectionId, c: LostCause) {}
    pub fn closed(&mut self, n: Timestamp, id: ConnectionId) {}
    pub fn receive_batch(&mut self, n: Timestamp, from: u16, b: &Batch) {}
    pub fn tick(&mut self, n: Timestamp) {}
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }
    pub fn take_batch(&mut self, to: u16) -> Option<Batch> {
        None
    }
    pub fn recycle_batch(&mut self, b: Batch) {}
    pub fn take_dirty(&mut self) -> Vec<ConnectionId> {
        vec![]
    }
    pub fn recycle_dirty(&mut self, v: Vec<ConnectionId>) {}
    pub fn has_dirty(&self) -> bool {
        false
    }
    pub fn take_out(&mut self, id: ConnectionId) -> Vec<u8> {
        vec![]
    }
    pub fn flushed(&mut self, n: Timestamp, id: ConnectionId, u: usize) {}
    pub fn closing(&self, id: ConnectionId) -> bool {
        false
    }
    pub fn shut_down(&mut self, n: Timestamp) {}
    pub fn assigned_client_identifier(&self, l: ListenerId, r: [u8; 16]) -> Box<str> {
        "".into()
    }
    pub fn set_outgoing_blocked(&mut self, b: bool) {}
}
