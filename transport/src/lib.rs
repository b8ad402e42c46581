//! What lies under the protocol: one io_uring per thread, sockets, clocks, and TLS.
//!
//! [`ring::Ring`] submits and reaps; [`stream::SecureStream`] turns wire bytes into plain ones and back without any
//! I/O of its own; [`tls`] makes the configurations of rustls from files.
//!
//! This crate is the only home of `unsafe` in the project: the ring, its provided buffers and one clock.

pub mod clock;
pub mod http;
mod provided_buffers;
pub mod ring;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod websocket;
