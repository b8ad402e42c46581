//! One io_uring instance of one thread: multishot accept and receive into provided buffers, owned sends, wakes.
//!
//! Invariants: a ring is used only by the thread that created it (SINGLE_ISSUER, so it is not `Send`); [`Ring::next`]
//! returns what [`Ring::wait`] found and nothing newer, even if a submit in between finds more; memory that the kernel
//! may access (send buffers, socket addresses, receive buffers) is owned by the ring until the completion, and
//! dropping a ring first cancels what is in flight; no socket is closed while a request that names it waits
//! (`submissions.rs`).
#![allow(unsafe_code, reason = "submission entries point to memory")]

mod arrivals;
mod completion;
mod options;
mod submissions;
#[cfg(test)]
mod tests;
mod wait;
mod wake;

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use slab::Slab;
use socket2::SockAddr;

use self::arrivals::TimedHeader;
pub use self::arrivals::note_arrivals;
pub use self::completion::{Completion, ReceiveEnd, Token};
use self::completion::{Operation, result_of};
pub use self::options::{RingError, RingOptions};
use self::submissions::Submissions;
pub use self::wake::{RingHandle, Waker};
use crate::provided_buffers::ProvidedBuffers;
pub use crate::provided_buffers::ReceiveBuffer;
use crate::socket::Socket;

/// An io_uring with its receive buffers.
pub struct Ring {
    submissions: Submissions,
    buffers: Option<ProvidedBuffers>,
    sends: Slab<PendingSend>,
    connects: Slab<PendingConnect>,
    handle: RingHandle,
    waker: Waker,
    event_count: Box<[u8; 8]>,
    timed: TimedHeader,
    /// Number of completions that the last wait found and that were not returned yet.
    reaped: usize,
    /// Whether the receive buffers ran out during the last wait, and more were added.
    grown: bool,
    not_send: PhantomData<*const ()>,
}

struct PendingSend {
    token: Token,
    bytes: Vec<u8>,
    /// Number of them to send.
    count: usize,
}

struct PendingConnect {
    token: Token,
    address: Box<SockAddr>,
}

impl Ring {
    /// Creates the ring of the calling thread.
    ///
    /// # Errors
    /// When io_uring is forbidden or too old, or a limit is too low; the text states what to change.
    pub fn new(options: &RingOptions) -> Result<Ring, RingError> {
        let io: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(options.completions)
            .build(options.entries)?;
        let buffers = ProvidedBuffers::new(options.buffers, options.buffer_bytes)?;
        // SAFETY: the mapping exists until Drop has cancelled all requests.
        unsafe {
            io.submitter().register_buf_ring_with_flags(
                buffers.address(),
                buffers.count(),
                BUFFER_GROUP,
                0,
            )?;
        }
        let submissions = Submissions::new(io);
        let mut ring = Ring {
            handle: submissions.handle()?,
            waker: Waker::new()?,
            submissions,
            buffers: Some(buffers),
            sends: Slab::new(),
            connects: Slab::new(),
            event_count: Box::new([0; 8]),
            timed: TimedHeader::new(),
            reaped: 0,
            grown: false,
            not_send: PhantomData,
        };
        ring.watch_event();
        Ok(ring)
    }

    /// Accepts connections from `listener` until a completion states that no more will come.
    pub fn accept(&mut self, listener: &Socket, token: Token) {
        let entry = opcode::AcceptMulti::new(Fd(listener.raw()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, Some(listener.descriptor()), Operation::Accept, token.0);
    }

    /// Connects `socket` to `address`.
    pub fn connect(&mut self, socket: &Socket, address: SocketAddr, token: Token) {
        let address = Box::new(SockAddr::from(address));
        let key = self.connects.insert(PendingConnect { token, address });
        if let Some(pending) = self.connects.get(key) {
            let pointer = pending.address.as_ptr().cast();
            let entry = opcode::Connect::new(Fd(socket.raw()), pointer, pending.address.len()).build();
            self.push(entry, Some(socket.descriptor()), Operation::Connect, key as u64);
        }
    }

    /// Receives once: one [`Completion::Received`] or [`Completion::ReceiveEnded`].
    pub fn receive(&mut self, socket: &Socket, token: Token) {
        let entry = opcode::Recv::new(Fd(socket.raw()), std::ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, Some(socket.descriptor()), Operation::Receive, token.0);
    }

    /// Receives until a completion states that no more will come.
    pub fn receive_multishot(&mut self, socket: &Socket, token: Token) {
        let entry = opcode::RecvMulti::new(Fd(socket.raw()), BUFFER_GROUP).build();
        self.push(entry, Some(socket.descriptor()), Operation::Receive, token.0);
    }

    /// Cancels the receive of `token`; if there is one, it ends with [`ReceiveEnd::Cancelled`].
    pub fn cancel(&mut self, token: Token) {
        self.cancel_operation(Operation::Receive, token);
    }

    /// Cancels the accept of `token`; if there is one, it ends with an error.
    pub fn cancel_accept(&mut self, token: Token) {
        self.cancel_operation(Operation::Accept, token);
    }

    /// Sends that range of `bytes` completely, waiting for space as long as it takes; the buffer is returned with
    /// [`Completion::Sent`]. To give up, shut the socket down. The kernel copies what fits while this thread waits for
    /// completions, so a long range may delay that.
    pub fn send(&mut self, socket: &Socket, token: Token, bytes: Vec<u8>, range: Range<usize>) {
        let count = bytes.get(range.clone()).map_or(0, <[u8]>::len);
        let key = self.sends.insert(PendingSend { token, bytes, count });
        let Some(pending) = self.sends.get(key) else {
            return;
        };
        let rest = pending.bytes.get(range).unwrap_or_default();
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.raw()), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(entry, Some(socket.descriptor()), Operation::Send, key as u64);
    }

    /// Makes the other ring's wait return (IORING_OP_MSG_RING). It is submitted with the next [`Ring::submit`] or
    /// [`Ring::wait`]; a failure is returned as [`Completion::NotWoken`].
    pub fn wake(&mut self, other: &RingHandle, token: Token) {
        let user_data = Operation::Woken.user_data(0);
        let entry = opcode::MsgRingData::new(Fd(other.descriptor().as_raw_fd()), 0, user_data, None).build();
        self.push(entry, Some(other.descriptor()), Operation::Wake, token.0);
    }

    /// A handle for other rings to wake this one.
    pub fn handle(&self) -> RingHandle {
        self.handle.clone()
    }

    /// A waker for threads that have no ring.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Submits queued requests to the kernel without waiting. What the kernel does not accept now (it has no memory,
    /// or its completions must be read first) stays queued.
    ///
    /// # Errors
    /// The errors of `io_uring_enter(2)`; interruptions are not errors.
    pub fn submit(&mut self) -> io::Result<()> {
        self.submissions.submit()
    }

    /// The next of the completions that the last [`Ring::wait`] found.
    #[allow(
        clippy::should_implement_trait,
        reason = "a ring is not an iterator: its requests continue between calls"
    )]
    pub fn next(&mut self) -> Option<Completion> {
        while self.reaped > 0 {
            self.reaped -= 1;
            let entry = self.submissions.completions().next()?;
            if let Some(completion) = self.completion(&entry) {
                return Some(completion);
            }
        }
        None
    }

    /// The bytes in a receive buffer.
    ///
    /// # Panics
    /// If the buffer belongs to another ring.
    pub fn bytes(&mut self, buffer: &ReceiveBuffer) -> &mut [u8] {
        match &mut self.buffers {
            Some(buffers) => buffers.bytes(buffer),
            None => &mut [],
        }
    }

    /// Returns a receive buffer to the kernel.
    ///
    /// # Panics
    /// If the buffer belongs to another ring.
    pub fn recycle(&mut self, buffer: ReceiveBuffer) {
        if let Some(buffers) = &mut self.buffers {
            buffers.recycle(buffer);
        }
    }

    /// Returns the memory of the receive buffers to the system, if none is out and no completion waits; returns
    /// whether it did. The kernel fills buffers only during calls of this thread, as requested (DEFER_TASKRUN).
    pub fn give_back_buffers(&mut self) -> bool {
        let waits = self.reaped > 0 || self.submissions.has_completions();
        match &mut self.buffers {
            Some(buffers) if !waits => buffers.give_back(),
            _ => false,
        }
    }

    /// Called once for all receives that found no buffer.
    fn grow_buffers(&mut self) {
        if let Some(buffers) = &mut self.buffers
            && !self.grown
        {
            buffers.grow();
            self.grown = true;
        }
    }

    fn completion(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (operation, value) = Operation::of(entry.user_data());
        let more = cqueue::more(entry.flags());
        let result = result_of(entry.result());
        if entry.result() == -libc::ENOBUFS {
            self.grow_buffers();
        }
        match operation {
            Operation::Accept => {
                // SAFETY: a successful accept returns a descriptor that has no other owner.
                let socket = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) }.into());
                Some(Completion::Accepted {
                    token: Token(value),
                    socket,
                    more,
                })
            }
            Operation::Receive => Some(self.received(Token(value), entry, result, more)),
            Operation::ReceiveTimed => Some(self.received_timed(Token(value), entry, result)),
            Operation::Connect => {
                let pending = self.connects.try_remove(value as usize)?;
                Some(Completion::Connected {
                    token: pending.token,
                    result: result.map(drop),
                })
            }
            Operation::Send => self.sent(value as usize, result),
            Operation::Event => {
                self.watch_event();
                Some(Completion::Woken)
            }
            Operation::Woken => Some(Completion::Woken),
            Operation::Wake => result.err().map(|error| Completion::NotWoken {
                token: Token(value),
                error,
            }),
            Operation::Ignore => None,
        }
    }

    fn received(
        &mut self,
        token: Token,
        entry: &cqueue::Entry,
        result: io::Result<u32>,
        more: bool,
    ) -> Completion {
        let buffer = cqueue::buffer_select(entry.flags());
        if let (Ok(bytes), Some(identifier)) = (&result, buffer)
            && *bytes > 0
            && let Some(buffers) = &mut self.buffers
        {
            let buffer = buffers.filled(identifier, *bytes);
            return Completion::Received { token, buffer, more };
        }
        if let (Some(identifier), Some(buffers)) = (buffer, &mut self.buffers) {
            // The end of a stream may also arrive with a buffer, which must be recycled.
            let buffer = buffers.filled(identifier, 0);
            buffers.recycle(buffer);
        }
        Completion::ReceiveEnded {
            token,
            cause: ReceiveEnd::of(result),
        }
    }

    /// A send ended. With MSG_WAITALL the kernel continues by itself until all bytes are sent, so after a short send
    /// the connection has ended. It must not be repeated: its descriptor may already belong to another connection.
    fn sent(&mut self, key: usize, result: io::Result<u32>) -> Option<Completion> {
        let pending = self.sends.try_remove(key)?;
        let result = match result {
            Ok(count) if count as usize == pending.count => Ok(()),
            Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            Err(error) => Err(error),
        };
        Some(Completion::Sent {
            token: pending.token,
            bytes: pending.bytes,
            result,
        })
    }

    fn cancel_operation(&mut self, operation: Operation, token: Token) {
        let which = CancelBuilder::user_data(operation.user_data(token.0));
        self.push(
            opcode::AsyncCancel2::new(which).build(),
            None,
            Operation::Ignore,
            0,
        );
    }

    fn watch_event(&mut self) {
        let pointer = self.event_count.as_mut_ptr();
        let entry = opcode::Read::new(Fd(self.waker.raw()), pointer, 8).build();
        // The waker exists as long as the ring.
        self.push(entry, None, Operation::Event, 0);
    }

    fn push(&mut self, entry: squeue::Entry, named: Option<&Arc<OwnedFd>>, operation: Operation, value: u64) {
        let entry = entry.user_data(operation.user_data(value));
        // SAFETY: every pointer in an entry refers to memory that this ring owns until the completion (send buffers
        // and addresses in slabs, the event's count in a box); a moved Vec keeps its heap memory.
        unsafe { self.submissions.push(entry, named) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let timeout = Timespec::new().sec(1);
        let cancelled = self
            .submissions
            .submitter()
            .register_sync_cancel(Some(timeout), CancelBuilder::any());
        let still_in_flight = cancelled.is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
        if still_in_flight {
            // The kernel may still access this memory: a leak is better than memory that changes unexpectedly.
            std::mem::forget(self.buffers.take());
            std::mem::forget(std::mem::take(&mut self.sends));
            std::mem::forget(std::mem::take(&mut self.connects));
            std::mem::forget(std::mem::take(&mut self.event_count));
        }
    }
}

const BUFFER_GROUP: u16 = 0;
