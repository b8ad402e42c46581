//! Reads the messages of publications back from the log.
//!
//! Invariants: a record is returned only if its CRC is right for its place, because its segment may have been reused
//! meanwhile.

use std::collections::HashSet;

use super::segments::Segments;
use super::window::Window;
use crate::format::commit::{COMMIT_HEADER, CommitHeader};
use crate::format::segment::SEGMENT_HEADER;
use crate::format::{Location, frame};
use crate::index::{Index, Place};
use crate::progress::{Progress, Report};
use crate::record::{self, Record};
use crate::recovered::{Recovered, RecoveredPublication};

/// Fills in the messages of the publications. What cannot be read is reported as damage.
pub(super) fn load_messages(
    index: &Index,
    segments: &Segments,
    recovered: &mut Recovered,
    report: Report<'_>,
) {
    let mut window = Window::default();
    let mut lost = HashSet::new();
    let places = index.publication_places(recovered);
    let all = places.len();
    recovered.publications.reserve(all);
    for (read, (place, id)) in places.into_iter().enumerate() {
        if read.is_multiple_of(REPORTED) {
            report(Progress::Messages { read, all });
        }
        let frame = read_frame(segments, place, &mut window);
        match frame.and_then(|frame| message_of(&frame, id)) {
            Some((share, message)) => recovered.publications.push(RecoveredPublication {
                id,
                share,
                unmarked: index.unmarked(id).to_vec(),
                message,
            }),
            None => {
                lost.insert(id);
            }
        }
    }
    if !lost.is_empty() {
        recovered.damage.records += lost.len() as u64;
        for session in &mut recovered.sessions {
            session
                .references
                .retain(|reference| reference.released || !lost.contains(&reference.publication));
        }
    }
}

/// A whole frame; it may lie in several commits.
pub(super) fn read_frame(segments: &Segments, place: Place, window: &mut Window) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(place.len as usize);
    let mut at = place.location;
    let mut commit = None;
    while frame.len() < place.len as usize {
        let segment = segments.by_sequence(at.sequence)?;
        let wanted = place.len as usize - frame.len();
        let available = match commit {
            None => segment.size.saturating_sub(at.offset) as usize,
            Some(CommitHeader { len, .. }) => len as usize,
        };
        let bytes = window.read(segment, at, wanted.min(available)).ok()?;
        if bytes.is_empty() {
            return None;
        }
        frame.extend_from_slice(bytes);
        if frame.len() < place.len as usize {
            // The commit filled its segment; the next one starts the next segment.
            at = Location {
                sequence: at.sequence + 1,
                offset: SEGMENT_HEADER as u32,
            };
            let next = segments.by_sequence(at.sequence)?;
            let header = CommitHeader::parse(window.read(next, at, COMMIT_HEADER).ok()?, at)?;
            at.offset += COMMIT_HEADER as u32;
            commit = Some(header);
        }
    }
    frame::is_valid(&frame, place.location).then_some(frame)
}

pub(super) fn message_of(frame: &[u8], publication: u64) -> Option<(String, Vec<u8>)> {
    let parsed = frame::parse(frame)?;
    match record::decode(parsed.kind, parsed.body)? {
        Record::Publication {
            id, share, message, ..
        } if id == publication => Some((share.to_owned(), message.to_vec())),
        _ => None,
    }
}

/// Messages between two reports.
const REPORTED: usize = 10_000;
