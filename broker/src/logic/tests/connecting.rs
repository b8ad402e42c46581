//! CONNECT, takeover, keep alive, the end of connections.

use super::*;

#[test]
fn every_version_connects_and_pings() {
    // [MQTT-3.2.0-1], [MQTT-3.12.4-1]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let client = cluster.join(version, "c");
        cluster.send(client, &[0xC0, 0]);
        assert_eq!(cluster.expect(client).bytes(), [0xD0, 0]);
        cluster.send(client, &[0xE0, 0]);
        assert!(cluster.closed(client));
        assert_eq!(cluster.count(|counters| counters.sessions.get()), 0);
    }
}
