//! The QoS 1 and 2 messages of one publisher that are in flight.
//!
//! Invariant: an identifier is in use from the PUBLISH to the PUBACK or PUBCOMP [MQTT-2.2.1-4].

use mqtt::packet::PacketIdentifier;

/// The unacknowledged messages of one publisher.
#[derive(Debug)]
pub struct Flights {
    limit: u16,
    free: Vec<PacketIdentifier>,
    /// For each assigned identifier minus one: when its PUBLISH was sent; [`NOT_IN_FLIGHT`] if it is free.
    left_at_ns: Vec<u64>,
}

const NOT_IN_FLIGHT: u64 = u64::MAX;

impl Flights {
    /// At most `limit` messages at a time.
    pub fn new(limit: u16) -> Flights {
        Flights {
            limit: limit.max(1),
            free: Vec::new(),
            left_at_ns: Vec::new(),
        }
    }

    /// Lowers the limit to the broker's Receive Maximum [MQTT-3.3.4-7].
    pub fn restrict(&mut self, receive_maximum: u16) {
        self.limit = self.limit.min(receive_maximum).max(1);
    }

    /// The number of messages in flight.
    pub fn count(&self) -> usize {
        self.left_at_ns.len() - self.free.len()
    }

    /// The same limit, with no messages in flight.
    pub fn emptied(&self) -> Flights {
        Flights::new(self.limit)
    }

    /// Whether another message may be sent.
    pub fn has_room(&self) -> bool {
        self.count() < usize::from(self.limit)
    }

    /// A message is sent; returns its Packet Identifier.
    pub fn start(&mut self, now_ns: u64) -> Option<PacketIdentifier> {
        let identifier = match self.free.pop() {
            Some(identifier) => identifier,
            None => {
                self.left_at_ns.push(NOT_IN_FLIGHT);
                PacketIdentifier::new(u16::try_from(self.left_at_ns.len()).ok()?)?
            }
        };
        *self.entry(identifier)? = now_ns;
        Some(identifier)
    }

    /// Completes a message after its last acknowledgement; returns when its PUBLISH was sent, `None` if none is in
    /// flight.
    pub fn finish(&mut self, identifier: PacketIdentifier) -> Option<u64> {
        let left_at_ns = std::mem::replace(self.entry(identifier)?, NOT_IN_FLIGHT);
        if left_at_ns == NOT_IN_FLIGHT {
            return None;
        }
        self.free.push(identifier);
        Some(left_at_ns)
    }

    fn entry(&mut self, identifier: PacketIdentifier) -> Option<&mut u64> {
        self.left_at_ns.get_mut(usize::from(identifier.get()) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(number: u16) -> PacketIdentifier {
        PacketIdentifier::new(number).unwrap()
    }

    #[test]
    fn identifiers_are_unique_while_in_flight_and_come_back() {
        let mut flights = Flights::new(3);
        let mut started: Vec<u16> = (0..3).map(|now| flights.start(now).unwrap().get()).collect();
        started.sort_unstable();
        assert_eq!(started, [1, 2, 3]);
        assert!(!flights.has_room());
        assert_eq!(flights.finish(identifier(2)), Some(1));
        assert_eq!(flights.finish(identifier(2)), None, "acknowledged twice");
        assert_eq!(flights.finish(identifier(9)), None, "never sent");
        assert!(flights.has_room());
        assert_eq!(flights.start(7).map(PacketIdentifier::get), Some(2));
        assert_eq!(flights.finish(identifier(2)), Some(7));
    }

    #[test]
    fn all_identifiers_can_be_in_flight() {
        let mut flights = Flights::new(u16::MAX);
        for _ in 0..u16::MAX {
            assert!(flights.has_room() && flights.start(0).is_some());
        }
        assert!(!flights.has_room());
        flights.restrict(10);
        assert!(!flights.has_room());
    }
}
