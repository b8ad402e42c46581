//! Barriers: how a shard learns that all others have handled what it sent them.
//!
//! A shard that sets a barrier sends its number to all other shards, after everything that it has sent to them. Each
//! of them sends the number on to the shards concerned, after everything that it has sent to these. So a shard that
//! has received the number from every other shard has also received what each of them did before it handled the
//! records in front of the barrier. This needs no clock, only queues between shards that keep their order.
//!
//! Invariant: the numbers of a shard only grow, and every queue keeps their order, so a shard that has reached one
//! number has reached all lower ones.

#[derive(Debug)]
pub(super) struct Barriers {
    me: u16,
    shards: u16,
    /// The last barrier that this shard set.
    last: u64,
    /// The last barrier of each shard that each shard has reached, as far as this one knows.
    reached: Vec<u64>,
}

impl Barriers {
    pub(super) fn new(me: u16, shards: u16) -> Self {
        let pairs = if shards > 1 {
            usize::from(shards) * usize::from(shards)
        } else {
            0
        };
        Self {
            me,
            shards,
            last: 0,
            reached: vec![0; pairs],
        }
    }

    /// The number of the barrier that is set next.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Sets the next barrier; returns its number.
    pub(super) fn set(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The shard `by` has reached a barrier of the shard `of`.
    pub(super) fn reach(&mut self, of: u16, by: u16, number: u64) {
        if let Some(reached) = self.reached.get_mut(place(self.shards, of, by)) {
            *reached = number.max(*reached);
        }
    }

    /// Whether every shard has reached it, except the one that set it and this one.
    pub(super) fn all_reached(&self, of: u16, number: u64) -> bool {
        let others = (0..self.shards).filter(|&by| by != of && by != self.me);
        others.into_iter().all(|by| {
            let reached = self.reached.get(place(self.shards, of, by));
            reached.is_some_and(|&reached| reached >= number)
        })
    }
}

fn place(shards: u16, of: u16, by: u16) -> usize {
    usize::from(of) * usize::from(shards) + usize::from(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_reached_when_all_the_others_are_behind_it() {
        let mut barriers = Barriers::new(1, 4);
        assert_eq!((barriers.next(), barriers.set(), barriers.set()), (1, 1, 2));
        // Of shard 3, to this one: shards 0 and 2 have to reach it.
        barriers.reach(3, 0, 7);
        assert!(!barriers.all_reached(3, 7));
        barriers.reach(3, 2, 8);
        assert!(barriers.all_reached(3, 7) && !barriers.all_reached(3, 8));
        // An own one: all three others.
        for (by, reached) in [(0, false), (2, false), (3, true)] {
            barriers.reach(1, by, 2);
            assert_eq!(barriers.all_reached(1, 2), reached);
        }
    }

    #[test]
    fn of_two_shards_none_is_between() {
        let barriers = Barriers::new(0, 2);
        assert!(barriers.all_reached(1, 1));
        assert!(!barriers.all_reached(0, 1), "an own one is for the other");
        assert!(Barriers::new(0, 1).all_reached(0, 1));
    }
}
