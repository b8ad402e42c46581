//! Batches of the outboxes, and how they slow down a publisher.

use super::*;
use crate::logic::message::Run;

#[test]
fn batches_are_bounded_and_used_again() {
    let mut outboxes = Outboxes::new(0, 2);
    assert_eq!(outboxes.batch_bytes, limits::BATCH_BYTES_MAX);
    let packets = vec![0; 1000];
    let record = BatchRecord::Run(Run {
        packets: &packets,
        version: ProtocolVersion::V3_1_1,
        count: 1,
        packet_bytes_max: 0,
        payload_bytes: 0,
    });
    outboxes.recycle(Batch::default());
    for _ in 0..1000 {
        assert_eq!(outboxes.send(&[1], &record, 0), 1);
    }
    assert_eq!(outboxes.spare.len(), 0);
    assert_eq!(outboxes.len(), 1000 * 1021 / limits::BATCH_BYTES_MAX + 1);
    let (batch, _) = outboxes.take(1);
    assert!(batch.unwrap().publishes.len() < limits::BATCH_BYTES_MAX + 2000);
    assert!(outboxes.take(0).0.is_none(), "nothing for the shard itself");
}

#[test]
fn a_publisher_meets_what_is_full_and_who_is_paused() {
    let mut outboxes = Outboxes::new(0, 3);
    let packet = vec![0; limits::BATCH_BYTES_MAX];
    let version = ProtocolVersion::V5;
    let record = BatchRecord::Message {
        version,
        publication: None,
        packet: &packet,
    };
    outboxes.set_paused(2, true);
    outboxes.send(&[1], &record, 0);
    assert_eq!(outboxes.take_blocked(), []);
    outboxes.announce_interest("a", true);
    assert_eq!(outboxes.take_blocked(), [], "that is no message");
    outboxes.send(&[2], &record, 0);
    assert_eq!(outboxes.take_blocked(), [Blocked::Paused(2)]);
    while outboxes.take_blocked() != [Blocked::Full(1)] {
        outboxes.send(&[1], &record, 0);
    }
    let batches = std::iter::from_fn(|| Some(outboxes.take(1)));
    let drained = batches
        .take_while(|(batch, _)| batch.is_some())
        .filter(|&(_, drained)| drained);
    assert_eq!(drained.count(), 1);
}

/// A batch that costs the other shard a hundred times what is known of it here has a hundredth of the messages, and the
/// outbox is full of a hundredth.
#[test]
fn the_more_batches_cost_the_less_is_in_them() {
    let packet = vec![0; 100];
    let record = BatchRecord::Message {
        version: ProtocolVersion::V5,
        publication: None,
        packet: &packet,
    };
    let messages_until_full = |cost: u64| {
        let mut outboxes = Outboxes::new(0, 2);
        outboxes.set_cost(1, cost);
        let mut sent = 0;
        while outboxes.take_blocked() != [Blocked::Full(1)] {
            outboxes.send(&[1], &record, 0);
            sent += 1;
        }
        let (batch, _) = outboxes.take(1);
        (sent, batch.unwrap().work())
    };
    let (usual, in_batch) = messages_until_full(COST_BASE);
    let (few, in_small_batch) = messages_until_full(100 * COST_BASE);
    assert!(few * 20 < usual, "{few} of {usual}");
    assert!(
        in_small_batch * 10 < in_batch && in_small_batch > 0,
        "{in_small_batch} of {in_batch}"
    );
    let (fewest, _) = messages_until_full(u64::MAX);
    assert!(fewest > 0, "there is an end to it");
}
