//! Groups after a start: who is a member, and what its members have of their messages.
//!
//! Invariants: a message of a group that a session has is one that the group may have got, and nobody got it at QoS 2.
//! What was written at QoS 1 may come again, to any member; what was written at QoS 2 stays with its session. Where a
//! member may have got the same message by another subscription too, nothing shows which was which, so it is not said.

use mqtt::QoS;

use super::assign::Delivery;
use super::kept::KeptMessage;
use super::session::{Awaits, Flight};
use super::shared::{Share, entry_of, inner, is_shared};
use super::{Checked, Model};

impl Model {
    /// The members are those of the subscriptions that came back. What nobody has the acknowledgement of may be lost.
    pub(super) fn restart_shares(&mut self, adopted: &[usize]) {
        for number in 0..self.sessions.len() {
            if adopted.contains(&number) {
                self.restore_memberships(number);
            } else if self.sessions[number].is_member() {
                self.leave_all(number);
            }
        }
        let is_unclear = |share: &Share| self.is_ambiguous(share) || self.may_be_in_memory(share, adopted);
        let unclear: Vec<bool> = self.shares.iter().map(is_unclear).collect();
        let mut again: Vec<usize> = Vec::new();
        for (share, is_unclear) in self.shares.iter_mut().zip(unclear) {
            let published = self.publishes.get(share.publication);
            let is_acknowledged = published.is_some_and(|published| published.acknowledged);
            share.unclear |= is_unclear || !is_acknowledged;
            let delivery = share.delivery.map(|delivery| &self.deliveries[delivery]);
            let comes_again =
                delivery.filter(|delivery| self.entries[delivery.entry].qos != QoS::ExactlyOnce);
            if let Some(delivery) = comes_again {
                share.delivery = None;
                // Which of those that look alike it was does not show.
                again.extend(&delivery.may_be);
            }
        }
        for share in again {
            self.shares[share].unclear = true;
        }
    }

    /// Whether a member may have had the message that no store keeps: then it is in memory alone.
    fn may_be_in_memory(&self, share: &Share, adopted: &[usize]) -> bool {
        let mut others = self.sessions.iter().enumerate();
        others.any(|(number, session)| {
            let is_kept = session.lasting.was_kept && session.expiry_s > 0;
            !adopted.contains(&number) && !is_kept && session.memberships_since(share).next().is_some()
        })
    }

    /// Whether a member may have got the message by another subscription too.
    fn is_ambiguous(&self, share: &Share) -> bool {
        let members = self.sessions.iter().enumerate();
        let mut members = members.filter(|(_, session)| session.memberships_since(share).next().is_some());
        share.message.is_will || members.any(|(number, _)| self.has_another(number, share))
    }

    /// Whether a session may have a message by another subscription than that of a group.
    fn has_another(&self, number: usize, share: &Share) -> bool {
        let session = &self.sessions[number];
        let is_it = |entry: &usize| {
            let message = &self.entries[*entry].message;
            message.topic == share.message.topic && message.payload == share.message.payload
        };
        let mut filters = session.filters_of_memberships();
        session.entries.iter().any(is_it)
            || filters.any(|filter| {
                filter != share.filter && mqtt::topic::matches(inner(filter), &share.message.topic)
            })
    }

    /// A subscription whose end was lost is there again, and one that was lost is not.
    fn restore_memberships(&mut self, number: usize) {
        let session = &self.sessions[number];
        let members = session.subscriptions.iter();
        let members = members.filter(|subscription| is_shared(subscription.filter));
        let members: Vec<_> = members
            .map(|subscription| {
                let (options, identifier) = (subscription.options, subscription.identifier);
                (subscription.filter, options, identifier)
            })
            .collect();
        let gone = session.filters_of_groups();
        let gone = gone.filter(|filter| members.iter().all(|(other, ..)| other != filter));
        for filter in gone.collect::<Vec<_>>() {
            self.leave(number, filter);
        }
        for (filter, options, identifier) in members {
            if !self.sessions[number].is_member_by(filter, options, identifier) {
                self.join(number, filter, options, identifier);
            }
        }
    }

    /// A message that a session has by a group: what is in flight is returned, the rest is still for any member.
    ///
    /// # Errors
    /// When the group cannot have got it, or somebody has got it at QoS 2.
    pub(super) fn adopt_share(
        &mut self,
        number: usize,
        kept: &KeptMessage,
        filter: &str,
    ) -> Checked<Option<Flight>> {
        let flown = self.find_flown(number, kept, &[]);
        let entry = match flown {
            Some(entry) => entry,
            None => match self.find_share(number, kept, filter)? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        Ok(kept.packet_identifier.map(|packet_identifier| Flight {
            packet_identifier,
            entry,
            awaits: match (&kept.content, kept.qos) {
                (None, _) => Awaits::Completed,
                (_, QoS::ExactlyOnce) => Awaits::Received,
                _ => Awaits::Acknowledged,
            },
        }))
    }

    /// The delivery of a message that was not seen on its way; nothing if it waits.
    fn find_share(&mut self, number: usize, kept: &KeptMessage, filter: &str) -> Checked<Option<usize>> {
        let session = &self.sessions[number];
        let shares = self.shares.iter().enumerate();
        let shares = shares.filter(|(_, share)| share.filter == filter);
        let fitting = shares.filter_map(|(at, share)| {
            let mut entries = session.memberships_since(share).map(|by| entry_of(share, by));
            Some((at, entries.find(|entry| entry.is_like_kept(kept, false))?))
        });
        let (may_be, mut entries): (Vec<_>, Vec<_>) = fitting.unzip();
        let is_by_another = may_be
            .iter()
            .any(|&at| self.has_another(number, &self.shares[at]));
        let at = self.deliveries.len();
        let entry = self.entries.len();
        let placed = self.place(Delivery::new(number, entry, may_be, Vec::new()));
        let Some(found) = entries.pop().filter(|_| placed || is_by_another) else {
            let client = &self.sessions[number].client;
            return Err(format!(
                "{client} has {kept:?} by {filter}, which did not get it or has got rid of it"
            ));
        };
        if kept.packet_identifier.is_none() {
            // It is not sent yet.
            self.deliveries.truncate(at);
            let mut shares = self.shares.iter_mut();
            if let Some(share) = shares.find(|share| share.delivery == Some(at)) {
                share.delivery = None;
            }
            return Ok(None);
        }
        self.entries.push(found);
        Ok(Some(entry))
    }
}
