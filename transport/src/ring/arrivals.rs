//! Receives with the time at which the kernel received the bytes (SO_TIMESTAMPING), so that a program knows how long
//! they waited until it read them.
//!
//! Invariants: what the kernel writes before the bytes of such a receive is cut off here; a `ReceiveBuffer` shows only
//! the bytes. The time is that of the last segment among them, of CLOCK_REALTIME.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::types::{Fd, RecvMsgOut};
use io_uring::{cqueue, opcode};
use libc::c_int;

use super::completion::{Completion, Operation, ReceiveEnd, Token};
use super::{BUFFER_GROUP, Ring};
use crate::socket::Socket;

/// What a receive with times requests: no address, and space for the times.
pub(super) struct TimedHeader(Box<libc::msghdr>);

impl TimedHeader {
    pub(super) fn new() -> TimedHeader {
        // SAFETY: zeros are a valid msghdr: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_controllen = CONTROL_BYTES as _;
        TimedHeader(Box::new(header))
    }
}

/// Makes the kernel note when bytes for `socket` arrive. It then does so for every packet of the machine.
///
/// # Errors
/// The errors of `setsockopt(2)`.
pub fn note_arrivals(socket: &Socket) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    // SAFETY: the value is an integer that lives during the call, and its size is given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const flags).cast(),
            size_of_val(&flags) as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

impl Ring {
    /// As [`Ring::receive_multishot`], with the time of arrival in [`super::ReceiveBuffer::arrived_ns`], for a socket
    /// whose arrivals are noted; [`Ring::cancel`] does not end it.
    pub fn receive_multishot_timed(&mut self, socket: &Socket, token: Token) {
        let header: *const libc::msghdr = &raw const *self.timed.0;
        let entry = opcode::RecvMsgMulti::new(Fd(socket.raw()), header, BUFFER_GROUP).build();
        self.push(entry, Some(socket.descriptor()), Operation::ReceiveTimed, token.0);
    }

    pub(super) fn received_timed(
        &mut self,
        token: Token,
        entry: &cqueue::Entry,
        result: io::Result<u32>,
    ) -> Completion {
        let ended = |result| Completion::ReceiveEnded {
            token,
            cause: ReceiveEnd::of(result),
        };
        let (Some(identifier), Some(buffers)) = (cqueue::buffer_select(entry.flags()), &mut self.buffers)
        else {
            return ended(result);
        };
        let mut buffer = buffers.filled(identifier, *result.as_ref().unwrap_or(&0));
        let bytes = buffers.bytes(&buffer);
        let whole_bytes = bytes.len();
        let parsed = RecvMsgOut::parse(bytes, &self.timed.0);
        let received = parsed.map(|out| (out.payload_data().len(), arrival_in(out.control_data())));
        match received {
            Ok((payload_bytes @ 1.., arrived_ns)) => {
                buffer.cut_head((whole_bytes - payload_bytes) as u32, arrived_ns);
                Completion::Received {
                    token,
                    buffer,
                    more: cqueue::more(entry.flags()),
                }
            }
            Ok(_) | Err(()) => {
                buffers.recycle(buffer);
                ended(result)
            }
        }
    }
}

/// The time in the control data of a receive: a header of 16 bytes, then seconds and nanoseconds.
fn arrival_in(control: &[u8]) -> Option<u64> {
    let word = |from: usize| -> Option<u64> {
        let bytes = control.get(from..from + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let kind = word(8)?.to_ne_bytes();
    let (level, kind) = kind.split_first_chunk::<4>()?;
    let level = c_int::from_ne_bytes(*level);
    let kind = c_int::from_ne_bytes(kind.try_into().ok()?);
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) {
        return None;
    }
    let (seconds, nanoseconds) = (word(16)?, word(24)?);
    Some(seconds * 1_000_000_000 + nanoseconds).filter(|at_ns| *at_ns > 0)
}

/// Space for one header with its three times: by software, unused, by hardware.
const CONTROL_BYTES: usize = 16 + 3 * 16;
