//! What lies under the protocol: one io_uring per thread, sockets, clocks, and TLS.
//!
//! [`ring::Ring`] submits and reaps; [`stream::SecureStream`] turns wire bytes into plain ones and back without any
//! I/O of its own; [`tls`] makes the configurations of rustls from files.
//!
//! `socket.rs` makes sockets, `provided_buffers.rs` has the ring's buffers, `websocket/` is a layer of the stream,
//! `http/` writes responses, `memory.rs` gives freed memory back, `command_line.rs` hides a password in the
//! arguments of the process.
//!
//! Invariants: this is the only crate of the project with `unsafe`: the ring, its provided buffers, one clock and one
//! call of the allocator.
//! Nothing here knows of MQTT.

pub mod clock;
pub mod command_line;
pub mod http;
pub mod memory;
mod provided_buffers;
pub mod ring;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod websocket;
