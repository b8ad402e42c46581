//! What waits for a session and was not sent.
//!
//! Invariants: the references are in the session's order.

use super::{Index, Place};

/// A reference that was not sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'a> {
    pub(crate) order: u64,
    pub(crate) publication: u64,
    pub(crate) place: Option<Place>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) via: &'a [u8],
}

impl Index {
    /// When the message of a publication expires: wall clock, nanoseconds since 1970; `u64::MAX` means never.
    pub(crate) fn expires_ns(&self, publication: u64) -> u64 {
        self.publications.expires_ns(publication)
    }

    /// The references that wait for a session in this part of its order.
    pub(crate) fn waiting(&self, session: u64, from: u64, to: u64) -> impl Iterator<Item = Waiting<'_>> {
        let entry = self.sessions.get(&session);
        let references = entry.into_iter().flat_map(move |entry| {
            let references = entry.references.iter_from(from);
            references
                .take_while(move |(order, _)| *order <= to)
                .filter(|(order, _)| !entry.in_flight.contains_key(order))
                .map(move |(order, reference)| (entry, order, reference))
        });
        references.map(|(entry, order, reference)| Waiting {
            order,
            publication: reference.publication(),
            place: self.place_of(reference.publication()),
            qos: reference.qos(),
            retain: reference.retain(),
            via: entry.via.get(&order).map(|via| &**via).unwrap_or_default(),
        })
    }
}
