//! The keys with which a client masks its frames: RFC 6455, section 5.3.
//!
//! Invariant: each frame has a different, unpredictable key from the generator of TLS keys. Many keys are drawn at
//! once, because one call costs more than the rest of a short frame.

use std::cell::RefCell;

/// The next key of this thread.
pub(super) fn key() -> [u8; 4] {
    KEYS.with_borrow_mut(Keys::next)
}

thread_local! {
    static KEYS: RefCell<Keys> = const { RefCell::new(Keys { random: [0; BYTES], used: BYTES }) };
}

struct Keys {
    random: [u8; BYTES],
    used: usize,
}

impl Keys {
    fn next(&mut self) -> [u8; 4] {
        if self.used >= self.random.len() {
            // It fails on a system without random numbers, where TLS does not work either.
            let _filled = aws_lc_rs::rand::fill(&mut self.random);
            self.used = 0;
        }
        let unused = self.random.get(self.used..).unwrap_or_default();
        self.used += 4;
        unused.first_chunk().copied().unwrap_or_default()
    }
}

/// Number of bytes to draw at once: 256 keys.
const BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_do_not_come_again() {
        let keys: HashSet<[u8; 4]> = (0..1_000).map(|_| key()).collect();
        // Of about four thousand million keys, one may occur twice by chance, but not a whole part.
        assert!(keys.len() > 990, "{}", keys.len());
        let of_thread = std::thread::spawn(|| (0..1_000).map(|_| key()).collect::<HashSet<_>>());
        let of_thread = of_thread.join().unwrap();
        assert!(keys.intersection(&of_thread).count() < 10);
    }
}
