//! Applies the commits of a log in order.
//!
//! Invariants: everything that was durable is used, and then the commits after it up to the first gap. The first gap
//! above the highest "durable up to" ends the log; a gap below it is damage, which is counted, and the rest is used.
//! Whole batches of the commit that ends the log are kept and appended again.

use super::scan::FoundCommit;
use crate::format::Location;
use crate::format::chain::{Layout, Piece};
use crate::format::commit::COMMIT_HEADER;
use crate::format::frame;
use crate::index::{Index, Place};
use crate::record;
use crate::recovered::Damage;

/// Reads a log into an index.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    index: &'a mut Index,
    /// The commit up to which everything was durable.
    durable: u64,
    /// The commit up to which nothing is needed.
    reclaimed: u64,
    /// The last commit that was used.
    last: u64,
    chain: Chain,
    /// Whether the end of the log was found, so that no later commit is used.
    ended: bool,
    /// Whole batches of a commit that is torn.
    salvaged: Vec<u8>,
    damage: Damage,
}

/// The commits of a chain that is not complete yet.
#[derive(Debug, Default)]
struct Chain {
    stream: Vec<u8>,
    layout: Layout,
    /// The number of the commit before the chain.
    previous: u64,
    /// The number of the last commit of the chain.
    last: u64,
    is_open: bool,
    /// Whether the CRC of each frame is known to be right.
    is_verified: bool,
}

/// The result of a replay.
#[derive(Debug)]
pub(super) struct Replayed {
    /// The number of the last commit that counts.
    pub(super) last: u64,
    pub(super) salvaged: Vec<u8>,
    pub(super) damage: Damage,
}

impl<'a> Replay<'a> {
    pub(super) fn new(index: &'a mut Index, durable: u64, reclaimed: u64, damage: Damage) -> Self {
        Self {
            index,
            durable,
            reclaimed,
            last: reclaimed,
            chain: Chain::default(),
            ended: false,
            salvaged: Vec::new(),
            damage,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Records that something is wrong with a file.
    pub(super) fn damaged(&mut self, finding: String) {
        self.damage.files += 1;
        note(&mut self.damage, finding);
    }

    /// The next commit in the order of the log.
    pub(super) fn commit(&mut self, found: &FoundCommit, body: &[u8]) {
        let FoundCommit { header, is_verified } = found;
        self.index
            .raise_counters(header.session_max, header.publication_max);
        if self.ended || header.number <= self.reclaimed {
            return;
        }
        let expected = if self.chain.is_open {
            self.chain.last
        } else {
            self.last
        };
        let is_gap = header.previous != expected;
        if is_gap && !self.skip(expected, header.previous) {
            return;
        }
        if !self.chain.is_open {
            self.chain.previous = if is_gap { header.previous } else { self.last };
            self.chain.stream.clear();
            self.chain.layout.clear();
        }
        self.chain.is_verified = *is_verified && !self.chain.is_open;
        // After a gap, a frame may continue that started in the missing part.
        let skipped = if is_gap { header.first_frame as usize } else { 0 };
        let body = body.get(skipped..).unwrap_or_default();
        self.chain.layout.push(Piece {
            start: self.chain.stream.len(),
            location: Location {
                sequence: header.location.sequence,
                offset: header
                    .location
                    .offset
                    .saturating_add((COMMIT_HEADER + skipped) as u32),
            },
        });
        self.chain.stream.extend_from_slice(body);
        self.chain.last = header.number;
        self.chain.is_open = header.continues;
        if !header.continues {
            self.finish_chain();
        }
    }

    /// Handles that commits after `expected` up to `previous` are missing. Returns false if the log ends here.
    fn skip(&mut self, expected: u64, previous: u64) -> bool {
        if previous > self.durable || previous < expected {
            self.ended = true;
            return false;
        }
        let missing = previous - expected;
        self.damage.commits += missing;
        note(
            &mut self.damage,
            format!("commits {} to {previous} are missing", expected + 1),
        );
        if self.chain.is_open {
            self.chain.is_open = false;
            self.apply_valid();
        }
        self.last = previous;
        true
    }

    fn finish_chain(&mut self) {
        if self.chain.last <= self.durable {
            self.apply_valid();
            return;
        }
        let (whole, is_complete) = self.whole_batches();
        if is_complete {
            self.apply_valid();
        } else {
            self.ended = true;
            self.salvaged = self.chain.stream.get(..whole).unwrap_or_default().to_vec();
            self.last = self.chain.previous;
        }
    }

    /// Applies all valid records of the chain; the others are damage.
    fn apply_valid(&mut self) {
        let mut place = 0;
        while place < self.chain.stream.len() {
            let rest = self.chain.stream.get(place..).unwrap_or_default();
            let Some((frame, location)) = frame::parse(rest).zip(self.chain.layout.locate(place)) else {
                self.damage.records += 1;
                note(
                    &mut self.damage,
                    format!("commit {}: its end cannot be read", self.chain.last),
                );
                break;
            };
            let is_valid = self.chain.is_verified || frame::is_valid(rest, location);
            let record = is_valid.then(|| record::decode(frame.kind, frame.body));
            match record.flatten() {
                Some(record) => {
                    let len = u32::try_from(frame.len).unwrap_or(u32::MAX);
                    self.index.apply(&record, Place { location, len });
                }
                None => {
                    self.damage.records += 1;
                    let Location { sequence, offset } = location;
                    let finding = format!("segment {sequence}, offset {offset}: a record cannot be read");
                    note(&mut self.damage, finding);
                }
            }
            place += frame.len;
        }
        self.index.end_of_commit();
        self.last = self.chain.last;
    }

    /// Bytes of the whole batches at the start of the chain that are valid, and whether they are the whole chain.
    fn whole_batches(&self) -> (usize, bool) {
        if self.chain.is_verified {
            return (self.chain.stream.len(), true);
        }
        let mut whole = 0;
        let mut place = 0;
        while place < self.chain.stream.len() {
            let rest = self.chain.stream.get(place..).unwrap_or_default();
            let Some((frame, location)) = frame::parse(rest).zip(self.chain.layout.locate(place)) else {
                return (whole, false);
            };
            if !frame::is_valid(rest, location) {
                return (whole, false);
            }
            place += frame.len;
            if frame.ends_batch {
                whole = place;
            }
        }
        (whole, true)
    }

    /// Completes the replay after the last commit.
    pub(super) fn finish(mut self) -> Replayed {
        if self.chain.is_open && !self.ended && self.chain.last < self.durable {
            self.apply_valid();
        }
        if self.last < self.durable {
            self.damage.commits += self.durable - self.last;
            note(
                &mut self.damage,
                format!("commits {} to {} are missing", self.last + 1, self.durable),
            );
        }
        Replayed {
            last: self.last,
            salvaged: self.salvaged,
            damage: self.damage,
        }
    }
}

/// Keeps the text of the first findings; all are counted.
fn note(damage: &mut Damage, finding: String) {
    if damage.findings.len() < FINDINGS_MAX {
        damage.findings.push(finding);
    }
}

/// Number of findings that are kept as text.
const FINDINGS_MAX: usize = 20;
