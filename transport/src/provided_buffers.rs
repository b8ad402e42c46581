//! The ring of provided receive buffers that a thread shares with the kernel (`io_uring_register_buf_ring(3)`).
//!
//! Idle connections have no buffer: the kernel takes one when bytes arrive. The ring starts with a few buffers and
//! gets more when they have run out: what was never needed remains untouched memory, and what is used stays in the
//! processor's caches.
//!
//! Invariants: a buffer is either in the ring (the kernel may write it) or out as one [`ReceiveBuffer`] (only we
//! access it); `ReceiveBuffer` is neither `Clone` nor created anywhere else, and names its ring, so a buffer cannot be
//! returned twice or to another ring. The memory outlives every request that may write it: [`crate::ring::Ring`]
//! cancels all requests before it drops this.
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use io_uring::types::BufRingEntry;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A filled receive buffer, to be returned with [`crate::ring::Ring::recycle`].
#[derive(Debug)]
#[must_use = "a buffer that is not recycled is lost to its ring"]
pub struct ReceiveBuffer {
    /// The number of its ring; its identifier is meaningless to another ring.
    ring: u32,
    identifier: u16,
    /// Number of bytes at its start that were written by the kernel and not by the peer.
    head_bytes: u32,
    bytes: u32,
    /// CLOCK_REALTIME in ns; 0 if unknown.
    arrived_ns: u64,
}

impl ReceiveBuffer {
    /// When the kernel received the last of the bytes, CLOCK_REALTIME ns; `None` if that was not requested.
    pub fn arrived_ns(&self) -> Option<u64> {
        (self.arrived_ns > 0).then_some(self.arrived_ns)
    }

    /// Cuts off the first bytes, which are not from the peer: they contain the time at which the others arrived.
    pub(crate) fn cut_head(&mut self, bytes: u32, arrived_ns: Option<u64>) {
        self.head_bytes = bytes.min(self.bytes);
        self.bytes -= self.head_bytes;
        self.arrived_ns = arrived_ns.unwrap_or(0);
    }
}

pub(crate) struct ProvidedBuffers {
    ring: u32,
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    /// Number of buffers that have been in the ring: higher identifiers are untouched.
    begun: u16,
    buffer_bytes: u32,
    tail: u16,
    /// Number of buffers that are out as a [`ReceiveBuffer`].
    out: u16,
}

/// The number of the next ring of this process.
static NEXT_RING: AtomicU32 = AtomicU32::new(0);

/// Number of buffers in the ring at its start.
const FIRST_BUFFERS: u16 = 32;

impl ProvidedBuffers {
    /// At most `count` buffers (a power of two, at most 32,768) of `buffer_bytes` each.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(
            count.is_power_of_two() && count <= 1 << 15,
            "kernel limit of a buffer ring"
        );
        let entries = map(entries_bytes(count))?.cast();
        let memory = map(usize::from(count) * buffer_bytes as usize)?;
        let mut buffers = ProvidedBuffers {
            ring: NEXT_RING.fetch_add(1, Ordering::Relaxed),
            entries,
            memory,
            count,
            begun: 0,
            buffer_bytes,
            tail: 0,
            out: 0,
        };
        buffers.begin(FIRST_BUFFERS);
        Ok(buffers)
    }

    /// Doubles the number of buffers, up to the maximum.
    pub(crate) fn grow(&mut self) {
        self.begin(self.begun);
    }

    fn begin(&mut self, more: u16) {
        let end = self.begun.saturating_add(more).min(self.count);
        for identifier in self.begun..end {
            self.push(identifier);
        }
        self.begun = end;
        self.publish();
    }

    /// Address of the entries, for registration.
    pub(crate) fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// The buffer that the kernel took out of the ring and wrote `bytes` bytes into.
    pub(crate) fn filled(&mut self, identifier: u16, bytes: u32) -> ReceiveBuffer {
        self.out += 1;
        debug_assert!(identifier < self.begun && bytes <= self.buffer_bytes);
        ReceiveBuffer {
            ring: self.ring,
            identifier,
            head_bytes: 0,
            bytes,
            arrived_ns: 0,
        }
    }

    /// The bytes that the kernel wrote into `buffer`.
    pub(crate) fn bytes(&mut self, buffer: &ReceiveBuffer) -> &mut [u8] {
        assert_eq!(buffer.ring, self.ring, "{FOREIGN}");
        let offset = usize::from(buffer.identifier) * self.buffer_bytes as usize + buffer.head_bytes as usize;
        // SAFETY: the identifier came from the kernel for this ring and the head is a part of it, so the range is
        // within `memory`; the buffer is out of the ring while a ReceiveBuffer for it exists, so nothing else writes;
        // the pages are zeroed or written.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr().add(offset), buffer.bytes as usize) }
    }

    pub(crate) fn recycle(&mut self, buffer: ReceiveBuffer) {
        assert_eq!(buffer.ring, self.ring, "{FOREIGN}");
        self.out -= 1;
        self.push(buffer.identifier);
        self.publish();
    }

    /// Returns the pages of all buffers to the system, if none is out; returns whether it did. The kernel gets empty
    /// pages for those that it fills next.
    ///
    /// Only while no completion waits that names a buffer: its bytes would be lost.
    pub(crate) fn give_back(&mut self) -> bool {
        if self.out > 0 {
            return false;
        }
        let bytes = usize::from(self.begun) * self.buffer_bytes as usize;
        // SAFETY: the range is within `memory`, which is an anonymous private mapping: its pages read as zeros from
        // now on. Nothing borrows from it, because no buffer is out.
        unsafe { madvise(self.memory.as_ptr().cast(), bytes, Advice::LinuxDontNeed) }.is_ok()
    }

    fn push(&mut self, identifier: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        let offset = usize::from(identifier) * self.buffer_bytes as usize;
        // SAFETY: index < count, so the entry is within the mapping; the kernel does not read an entry before the tail
        // has passed it. The reserved field of entry 0 is the ring's tail: the setters of `BufRingEntry` do not change
        // it.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(index);
            entry.set_addr(self.memory.as_ptr().add(offset) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(identifier);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: `entries` is the start of a live, registered or to be registered buffer ring; its tail is a u16 that
        // only this thread writes and the kernel reads with acquire.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

const FOREIGN: &str = "a receive buffer belongs to the ring that filled it";

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: both mappings were created by `map` with these lengths and are not used after this.
        unsafe {
            let _ = munmap(self.entries.as_ptr().cast(), entries_bytes(self.count));
            let _ = munmap(
                self.memory.as_ptr().cast(),
                usize::from(self.count) * self.buffer_bytes as usize,
            );
        }
    }
}

fn entries_bytes(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}

fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh anonymous mapping at an address that the kernel chooses aliases nothing.
    let address = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?
    };
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned null"))
}
