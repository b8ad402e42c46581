//! Topic Names and Topic Filters: section 4.7.

use super::*;
use crate::harness::Setup;

const TOPICS: [&str; 14] = [
    "a",
    "A",
    "/a",
    "a/",
    "a/b",
    "a//b",
    "a/b/c",
    "/",
    "//",
    "$x",
    "$x/a",
    "$X/a",
    " a",
    "a\u{feff}",
];

/// Filters, and those of [`TOPICS`] that they match.
const FILTERS: [(&str, &[&str]); 14] = [
    (
        "#",
        &[
            "a",
            "A",
            "/a",
            "a/",
            "a/b",
            "a//b",
            "a/b/c",
            "/",
            "//",
            " a",
            "a\u{feff}",
        ],
    ),
    ("+", &["a", "A", " a", "a\u{feff}"]),
    ("+/+", &["/a", "a/", "a/b", "/"]),
    ("/+", &["/a", "/"]),
    (
        "+/#",
        &[
            "a",
            "A",
            "/a",
            "a/",
            "a/b",
            "a//b",
            "a/b/c",
            "/",
            "//",
            " a",
            "a\u{feff}",
        ],
    ),
    ("a/#", &["a", "a/", "a/b", "a//b", "a/b/c"]),
    ("a/+", &["a/", "a/b"]),
    ("a/+/b", &["a//b"]),
    ("+/+/+", &["a//b", "a/b/c", "//"]),
    ("$x/#", &["$x", "$x/a"]),
    ("$x/+", &["$x/a"]),
    ("+/a", &["/a"]),
    ("a", &["a"]),
    ("/", &["/"]),
];

/// Which topics a filter gets, of those that are published, over the wire.
///
/// [MQTT3-4.7.1-2], [MQTT3-4.7.1-3], [MQTT3-4.7.2-1], [MQTT3-4.7.3-4], [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1],
/// [MQTT-4.7.3-4]
#[test]
fn filters_match_as_they_should() {
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        for version in VERSIONS {
            let mut publisher = accepted(&broker, version, "publisher");
            for (filter, expected) in FILTERS {
                let mut client = accepted(&broker, version, "client");
                subscribed(&mut client, version, filter, 0);
                subscribed(&mut client, version, "$end", 0);
                for topic in TOPICS.into_iter().chain(["$end"]) {
                    publisher.send(&publish(version, 0, topic, None, ""));
                }
                for topic in expected.iter().chain(&["$end"]) {
                    assert_eq!(
                        client.expect_bytes(),
                        publish(version, 0, topic, None, ""),
                        "{filter}"
                    );
                }
                client.disconnect();
            }
        }
    }
}

/// Wildcards have their place in a filter, and a filter has a character; whatever else is refused.
///
/// [MQTT3-4.7.1-2], [MQTT3-4.7.1-3], [MQTT3-4.7.3-1], [MQTT3-4.7.3-2], [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1],
/// [MQTT-4.7.3-2]
#[test]
fn misplaced_wildcards_are_refused() {
    let broker = Broker::start();
    for version in VERSIONS {
        for filter in [
            "", "a#", "#/a", "a/#/b", "##", "a+", "+a", "a/b+/c", "++", "+#", "#+", "a\0b",
        ] {
            let mut client = accepted(&broker, version, "client");
            client.send(&subscribe(version, 1, &[(filter, 0)]));
            closed_with(
                version,
                client,
                &[0x81, 0x82, 0x8f],
                &format!("{version:?} {filter:?}"),
            );
            let mut client = accepted(&broker, version, "client");
            client.send(&unsubscribe(version, 1, &[filter]));
            closed_with(
                version,
                client,
                &[0x81, 0x82, 0x8f],
                &format!("{version:?} {filter:?}"),
            );
        }
    }
}

/// Names and filters may have 65,535 bytes, and cannot have more.
///
/// [MQTT3-4.7.3-3], [MQTT-4.7.3-3]
#[test]
fn long_topics() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        for length in [32_767, 32_768, 65_535] {
            let topic = "t".repeat(length);
            subscribed(&mut client, version, &topic, 0);
            client.send(&publish(version, 0, &topic, None, "x"));
            assert!(
                client.expect_bytes() == publish(version, 0, &topic, None, "x"),
                "{length}"
            );
        }
        client.disconnect();
    }
}
