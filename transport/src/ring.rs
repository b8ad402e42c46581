//! One io_uring of one thread: multishot accept and receive into provided buffers, owned sends, wakes.
//!
//! Invariants: a ring is used by the thread that made it (SINGLE_ISSUER, so it is not `Send`); [`Ring::next`] yields what
//! [`Ring::wait`] found and nothing newer, whatever a submit in between brings in; memory
//! that the kernel may touch (send buffers, socket addresses, receive buffers) is owned by the ring until the
//! completion, and dropping a ring cancels what is in flight first.
#![allow(unsafe_code, reason = "submission entries point to memory")]

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;
use socket2::SockAddr;

use crate::provided_buffers::ProvidedBuffers;
pub use crate::provided_buffers::ReceiveBuffer;

/// The caller's name for a request, given back in its completions; below 2^56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Submission queue entries.
    pub entries: u32,
    /// Completion queue entries.
    pub completions: u32,
    /// Provided receive buffers, at most: a power of two. A ring begins with a few and takes more when they ran out.
    pub buffers: u16,
    /// Bytes of a receive buffer.
    pub buffer_bytes: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        RingOptions {
            entries: 1024,
            completions: 8192,
            buffers: 256,
            buffer_bytes: 16 * 1024,
        }
    }
}

/// Why a ring could not be made, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// `io_uring_setup` is forbidden.
    #[error(
        "io_uring is not allowed here ({0}): set the sysctl kernel.io_uring_disabled to 0, and in a container allow the system calls io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
    )]
    Forbidden(#[source] io::Error),
    /// The kernel lacks what the ring needs.
    #[error("this kernel's io_uring lacks what is needed ({0}): Linux 6.1 or newer is required")]
    TooOld(#[source] io::Error),
    /// RLIMIT_MEMLOCK.
    #[error(
        "not enough lockable memory for io_uring ({0}): raise the limit, for example `ulimit -l 8192` or LimitMEMLOCK=8M in the systemd unit"
    )]
    LockedMemory(#[source] io::Error),
    /// RLIMIT_NOFILE or the system's file table.
    #[error("no file descriptor is left for io_uring ({0}): raise the limit, for example `ulimit -n 65536`")]
    Descriptors(#[source] io::Error),
    /// Anything else.
    #[error("cannot set up io_uring: {0}")]
    Other(#[source] io::Error),
}

impl From<io::Error> for RingError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => RingError::Forbidden(error),
            Some(libc::ENOSYS | libc::EINVAL) => RingError::TooOld(error),
            Some(libc::ENOMEM) => RingError::LockedMemory(error),
            Some(libc::EMFILE | libc::ENFILE) => RingError::Descriptors(error),
            _ => RingError::Other(error),
        }
    }
}

/// Something that a ring finished.
#[derive(Debug)]
pub enum Completion {
    /// A listener accepted a connection, or could not; `more` is false when accept has to be asked for again.
    Accepted {
        /// The listener's token.
        token: Token,
        /// The connection: non-blocking.
        socket: io::Result<OwnedFd>,
        /// Whether more will come by itself.
        more: bool,
    },
    /// A connect ended.
    Connected {
        /// The request's token.
        token: Token,
        /// Its result.
        result: io::Result<()>,
    },
    /// Bytes arrived.
    Received {
        /// The request's token.
        token: Token,
        /// Where the bytes are; see [`Ring::bytes`] and [`Ring::recycle`].
        buffer: ReceiveBuffer,
        /// Whether more will come by itself; always false for [`Ring::receive`].
        more: bool,
    },
    /// A receive ended without bytes; nothing more comes by itself.
    ReceiveEnded {
        /// The request's token.
        token: Token,
        /// Why.
        cause: ReceiveEnd,
    },
    /// A send ended: all bytes are with the kernel, or none of the rest will be.
    Sent {
        /// The request's token.
        token: Token,
        /// The buffer, given back.
        bytes: Vec<u8>,
        /// The result.
        result: io::Result<()>,
    },
    /// Another thread called [`Waker::wake`], or another ring [`Ring::wake`].
    Woken,
    /// [`Ring::wake`] did not reach the other ring: it is to be woken by its [`Waker`].
    NotWoken {
        /// The request's token.
        token: Token,
        /// Why.
        error: io::Error,
    },
}

/// Why a receive ended without bytes.
#[derive(Debug)]
pub enum ReceiveEnd {
    /// The peer closed its side.
    EndOfStream,
    /// No provided buffer was free: ask again after recycling.
    NoBuffers,
    /// [`Ring::cancel`].
    Cancelled,
    /// The socket failed.
    Error(io::Error),
}

/// Wakes a ring from any thread, through an eventfd.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Makes the ring's [`Ring::wait`] return with [`Completion::Woken`].
    pub fn wake(&self) {
        // The only possible failure is a full counter (EAGAIN): then a wake is already on its way.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// Another ring as the target of [`Ring::wake`]; valid while that ring lives.
#[derive(Clone, Copy, Debug)]
pub struct RingHandle(RawFd);

/// An io_uring with its receive buffers.
pub struct Ring {
    io: IoUring,
    buffers: Option<ProvidedBuffers>,
    sends: Slab<PendingSend>,
    connects: Slab<PendingConnect>,
    event: Arc<OwnedFd>,
    event_count: Box<[u8; 8]>,
    /// Completions that the last wait found and that were not yielded yet.
    reaped: usize,
    /// The receive buffers ran out in what the last wait found, and there are more now.
    grown: bool,
    not_send: PhantomData<*const ()>,
}

struct PendingSend {
    token: Token,
    bytes: Vec<u8>,
    from: usize,
}

struct PendingConnect {
    token: Token,
    address: Box<SockAddr>,
}

impl Ring {
    /// Makes the ring of the calling thread.
    ///
    /// # Errors
    /// When io_uring is forbidden or too old, or a limit is too low; the text says what to change.
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
        // SAFETY: the mapping lives until Drop has cancelled all requests.
        unsafe {
            io.submitter().register_buf_ring_with_flags(
                buffers.address(),
                buffers.count(),
                BUFFER_GROUP,
                0,
            )?;
        }
        let event = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut ring = Ring {
            io,
            buffers: Some(buffers),
            sends: Slab::new(),
            connects: Slab::new(),
            event: Arc::new(event),
            event_count: Box::new([0; 8]),
            reaped: 0,
            grown: false,
            not_send: PhantomData,
        };
        ring.watch_event();
        Ok(ring)
    }

    /// Accepts connections from `listener` until a completion says that no more will come.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, token: Token) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, Operation::Accept, token.0);
    }

    /// Connects `socket` to `address`.
    pub fn connect(&mut self, socket: BorrowedFd<'_>, address: SocketAddr, token: Token) {
        let address = Box::new(SockAddr::from(address));
        let key = self.connects.insert(PendingConnect { token, address });
        if let Some(pending) = self.connects.get(key) {
            let pointer = pending.address.as_ptr().cast();
            let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), pointer, pending.address.len()).build();
            self.push(entry, Operation::Connect, key as u64);
        }
    }

    /// Receives once: one [`Completion::Received`] or [`Completion::ReceiveEnded`].
    pub fn receive(&mut self, socket: BorrowedFd<'_>, token: Token) {
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, Operation::Receive, token.0);
    }

    /// Receives until a completion says that no more will come.
    pub fn receive_multishot(&mut self, socket: BorrowedFd<'_>, token: Token) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP).build();
        self.push(entry, Operation::Receive, token.0);
    }

    /// Cancels the receive of `token`; if there is one, it ends with [`ReceiveEnd::Cancelled`].
    pub fn cancel(&mut self, token: Token) {
        self.cancel_operation(Operation::Receive, token);
    }

    /// Cancels the accept of `token`; if there is one, it ends with an error.
    pub fn cancel_accept(&mut self, token: Token) {
        self.cancel_operation(Operation::Accept, token);
    }

    /// Sends `bytes[from..]` whole, waiting for room as long as it takes; the buffer comes back with
    /// [`Completion::Sent`]. To give up, shut the socket down.
    pub fn send(&mut self, socket: BorrowedFd<'_>, token: Token, bytes: Vec<u8>, from: usize) {
        let key = self.sends.insert(PendingSend { token, bytes, from });
        let Some(pending) = self.sends.get(key) else {
            return;
        };
        let rest = pending.bytes.get(from..).unwrap_or_default();
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(entry, Operation::Send, key as u64);
    }

    /// Makes the other ring's wait return (IORING_OP_MSG_RING). Goes out with the next [`Ring::submit`] or
    /// [`Ring::wait`]; a failure comes back as [`Completion::NotWoken`].
    pub fn wake(&mut self, other: RingHandle, token: Token) {
        let user_data = Operation::Woken.user_data(0);
        let entry = opcode::MsgRingData::new(Fd(other.0), 0, user_data, None).build();
        self.push(entry, Operation::Wake, token.0);
    }

    /// This ring as another ring's target.
    pub fn handle(&self) -> RingHandle {
        RingHandle(self.io.as_raw_fd())
    }

    /// A waker for threads that have no ring.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.event))
    }

    /// Whether requests wait for [`Ring::submit`] or [`Ring::wait`]. A socket that one of them names must stay open until then.
    pub fn has_queued(&mut self) -> bool {
        !self.io.submission().is_empty()
    }

    /// Hands queued requests to the kernel without waiting.
    ///
    /// # Errors
    /// What `io_uring_enter(2)` gives; interruptions are not errors.
    pub fn submit(&mut self) -> io::Result<()> {
        settle(self.io.submit())
    }

    /// Hands queued requests to the kernel and waits for a completion, at most for `timeout` (`None`: without end,
    /// zero: not at all).
    ///
    /// # Errors
    /// What `io_uring_enter(2)` gives; interruptions and the end of `timeout` are not errors.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waited = self.enter(timeout);
        self.reaped = self.io.completion().len();
        self.grown = false;
        waited
    }

    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.io.completion().is_empty() {
            return self.submit();
        }
        match timeout {
            None => settle(self.io.submit_and_wait(1)),
            Some(Duration::ZERO) => self.submit(),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                settle(
                    self.io
                        .submitter()
                        .submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
                )
            }
        }
    }

    /// The next completion of those that the last [`Ring::wait`] found.
    #[allow(
        clippy::should_implement_trait,
        reason = "a ring is not an iterator: its requests go on between calls"
    )]
    pub fn next(&mut self) -> Option<Completion> {
        while self.reaped > 0 {
            self.reaped -= 1;
            let entry = self.io.completion().next()?;
            if let Some(completion) = self.completion(&entry) {
                return Some(completion);
            }
        }
        None
    }

    /// The bytes in a receive buffer.
    pub fn bytes(&mut self, buffer: &ReceiveBuffer) -> &mut [u8] {
        match &mut self.buffers {
            Some(buffers) => buffers.bytes(buffer),
            None => &mut [],
        }
    }

    /// Gives a receive buffer back to the kernel.
    pub fn recycle(&mut self, buffer: ReceiveBuffer) {
        if let Some(buffers) = &mut self.buffers {
            buffers.recycle(buffer);
        }
    }

    /// Once for all receives that found none.
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
                // SAFETY: a successful accept gives a descriptor that nobody else owns.
                let socket = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
                Some(Completion::Accepted {
                    token: Token(value),
                    socket,
                    more,
                })
            }
            Operation::Receive => Some(self.received(Token(value), entry, result, more)),
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
        {
            let buffer = ReceiveBuffer {
                identifier,
                bytes: *bytes,
            };
            return Completion::Received { token, buffer, more };
        }
        if let Some(identifier) = buffer {
            // The end of a stream may come with a buffer too: it is ours, and goes back.
            self.recycle(ReceiveBuffer { identifier, bytes: 0 });
        }
        Completion::ReceiveEnded {
            token,
            cause: receive_end(result),
        }
    }

    /// A send ended. With MSG_WAITALL the kernel goes on by itself until all bytes are out, so a short one ended with its
    /// connection. It must not be asked for again: its descriptor may be another connection's by now.
    fn sent(&mut self, key: usize, result: io::Result<u32>) -> Option<Completion> {
        let pending = self.sends.try_remove(key)?;
        let result = match result {
            Ok(count) if pending.from + count as usize == pending.bytes.len() => Ok(()),
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
        self.push(opcode::AsyncCancel2::new(which).build(), Operation::Ignore, 0);
    }

    fn watch_event(&mut self) {
        let pointer = self.event_count.as_mut_ptr();
        let entry = opcode::Read::new(Fd(self.event.as_raw_fd()), pointer, 8).build();
        self.push(entry, Operation::Event, 0);
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation, value: u64) {
        let entry = entry.user_data(operation.user_data(value));
        loop {
            // SAFETY: every pointer in an entry leads to memory that this ring owns until the completion (send
            // buffers and addresses in slabs, the event's count in a box); a moved Vec keeps its heap memory.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            if self.submit().is_err() {
                std::thread::yield_now();
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let timeout = Timespec::new().sec(1);
        let cancelled = self
            .io
            .submitter()
            .register_sync_cancel(Some(timeout), CancelBuilder::any());
        let still_in_flight = cancelled.is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
        if still_in_flight {
            // The kernel may yet touch this memory: better lost than written to by surprise.
            std::mem::forget(self.buffers.take());
            std::mem::forget(std::mem::take(&mut self.sends));
            std::mem::forget(std::mem::take(&mut self.connects));
            std::mem::forget(std::mem::take(&mut self.event_count));
        }
    }
}

/// What a completion belongs to: the highest byte of its user data.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Operation {
    Ignore = 0,
    Accept = 1,
    Connect = 2,
    Receive = 3,
    Send = 4,
    Event = 5,
    Woken = 6,
    Wake = 7,
}

impl Operation {
    fn user_data(self, value: u64) -> u64 {
        debug_assert!(value < 1 << 56, "tokens are below 2^56");
        (self as u64) << 56 | value & VALUE_MASK
    }

    fn of(user_data: u64) -> (Operation, u64) {
        let operation = match user_data >> 56 {
            1 => Operation::Accept,
            2 => Operation::Connect,
            3 => Operation::Receive,
            4 => Operation::Send,
            5 => Operation::Event,
            6 => Operation::Woken,
            7 => Operation::Wake,
            _ => Operation::Ignore,
        };
        (operation, user_data & VALUE_MASK)
    }
}

fn receive_end(result: io::Result<u32>) -> ReceiveEnd {
    match result {
        Ok(_) => ReceiveEnd::EndOfStream,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOBUFS) => ReceiveEnd::NoBuffers,
            Some(libc::ECANCELED) => ReceiveEnd::Cancelled,
            _ => ReceiveEnd::Error(error),
        },
    }
}

fn result_of(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Interruptions, a full completion queue and the end of the time are no failures of a wait.
fn settle(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

const BUFFER_GROUP: u16 = 0;
const VALUE_MASK: u64 = (1 << 56) - 1;

#[cfg(test)]
mod tests;
