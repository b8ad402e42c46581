//! What is below the protocol: one io_uring instance per thread, sockets, clocks, and TLS.
//!
//! [`ring::Ring`] submits requests and reaps completions; [`stream::SecureStream`] turns wire bytes into plain ones
//! and back without doing I/O; [`tls`] creates the configurations of rustls from files.
//!
//! `socket.rs` creates sockets, `blocking_socket.rs` those of a single client, `provided_buffers.rs` has the ring's
//! buffers, `websocket/` is a layer of the stream, `http/` writes responses, `memory.rs` returns freed memory,
//! `command_line.rs` hides a password in the arguments of
//! the process.
//!
//! Invariants: this is the only crate of the project with `unsafe`: the ring, its provided buffers, one clock and one
//! call of the allocator.
//! Nothing here depends on MQTT.

pub mod blocking_socket;
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
