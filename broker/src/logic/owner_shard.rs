//! Computes from a client identifier the shard that owns the session, and an identity for the publisher of a message.
//!
//! Invariants: both results are the same in every process and every version, because a store keeps them.

/// A hash of a client identifier, which identifies the publisher of a message.
#[must_use]
pub(in crate::logic) fn identity(client_identifier: &str) -> u64 {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for &byte in client_identifier.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    hash
}

/// The owner of a client identifier among `shards` shards: FNV-1a, mixed, modulo.
///
/// [MQTT3-3.1.3-2], [MQTT-3.1.3-2]
#[must_use]
pub fn owner_shard(client_identifier: &str, shards: u16) -> u16 {
    let mut hash = identity(client_identifier);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let owner = (hash >> 32) % u64::from(shards.max(1));
    u16::try_from(owner).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_and_stays() {
        assert_eq!((owner_shard("client", 1), owner_shard("", 0)), (0, 0));
        let mut clients = [0_u32; 4];
        for number in 0..4000 {
            clients[usize::from(owner_shard(&format!("client-{number}"), 4))] += 1;
        }
        assert!(
            clients.iter().all(|&share| (900..1100).contains(&share)),
            "{clients:?}"
        );
        assert_eq!(
            owner_shard("client-1", 64),
            20,
            "a change moves sessions away from their stores"
        );
    }
}
