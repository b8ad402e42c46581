//! Completions of a ring, and how each identifies its request.
//!
//! Invariants: the highest byte of the user data is the [`Operation`], the rest is the caller's [`Token`] or a key of
//! the ring's tables. So a token is below 2^56.

use std::io;

use crate::provided_buffers::ReceiveBuffer;
use crate::socket::Socket;

/// The caller's identifier of a request, returned in its completions; below 2^56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// The result of a request, or of a part of it.
#[derive(Debug)]
pub enum Completion {
    /// A listener accepted a connection, or failed to.
    Accepted {
        /// The token of the request that named the listener.
        token: Token,
        /// The new connection, which is non-blocking.
        socket: io::Result<Socket>,
        /// Whether more will come without a new request; if not, accept must be requested again.
        more: bool,
    },
    /// A connect succeeded or failed.
    Connected {
        /// The token of the request to connect.
        token: Token,
        /// The result of `connect(2)`.
        result: io::Result<()>,
    },
    /// Bytes arrived in a provided buffer.
    Received {
        /// The token of the request to receive.
        token: Token,
        /// The buffer with the bytes; see [`super::Ring::bytes`] and [`super::Ring::recycle`].
        buffer: ReceiveBuffer,
        /// Whether more will come without a new request; always false for [`super::Ring::receive`].
        more: bool,
    },
    /// A receive ended without bytes; nothing more comes without a new request.
    ReceiveEnded {
        /// The token of the request to receive.
        token: Token,
        /// Why the receive ended.
        cause: ReceiveEnd,
    },
    /// A send ended: the kernel has all bytes, or the connection has ended.
    Sent {
        /// The token of the request to send.
        token: Token,
        /// The buffer of the send, returned to the caller.
        bytes: Vec<u8>,
        /// The result of `send(2)`; a short send is an error.
        result: io::Result<()>,
    },
    /// Another thread called [`super::Waker::wake`], or another ring [`super::Ring::wake`].
    Woken,
    /// [`super::Ring::wake`] did not reach the other ring, which must be woken with its [`super::Waker`].
    NotWoken {
        /// The token of the request to wake.
        token: Token,
        /// The error because of which the other ring was not woken.
        error: io::Error,
    },
}

/// Why a receive ended without bytes.
#[derive(Debug)]
pub enum ReceiveEnd {
    /// The peer closed its side of the stream.
    EndOfStream,
    /// No provided buffer was free: request again after recycling.
    NoBuffers,
    /// [`super::Ring::cancel`] was called for the request.
    Cancelled,
    /// The socket failed, for example because the connection was reset.
    Error(io::Error),
}

impl ReceiveEnd {
    pub(super) fn of(result: io::Result<u32>) -> Self {
        match result {
            Ok(_) => ReceiveEnd::EndOfStream,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => ReceiveEnd::NoBuffers,
                Some(libc::ECANCELED) => ReceiveEnd::Cancelled,
                _ => ReceiveEnd::Error(error),
            },
        }
    }
}

/// The kind of request that a completion belongs to.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Operation {
    Ignore = 0,
    Accept = 1,
    Connect = 2,
    Receive = 3,
    Send = 4,
    Event = 5,
    Woken = 6,
    Wake = 7,
    ReceiveTimed = 8,
}

impl Operation {
    pub(super) fn user_data(self, value: u64) -> u64 {
        debug_assert!(value < 1 << 56, "tokens are below 2^56");
        (self as u64) << 56 | value & VALUE_MASK
    }

    pub(super) fn of(user_data: u64) -> (Operation, u64) {
        let operation = match user_data >> 56 {
            1 => Operation::Accept,
            2 => Operation::Connect,
            3 => Operation::Receive,
            4 => Operation::Send,
            5 => Operation::Event,
            6 => Operation::Woken,
            7 => Operation::Wake,
            8 => Operation::ReceiveTimed,
            _ => Operation::Ignore,
        };
        (operation, user_data & VALUE_MASK)
    }
}

const VALUE_MASK: u64 = (1 << 56) - 1;

/// The result of a completion: a count, or a negative error number.
pub(super) fn result_of(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
