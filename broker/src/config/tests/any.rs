//! Any input, and every number at its edges: nothing panics.

use mqtt::QoS;
use proptest::prelude::*;

use super::*;

fn any_line() -> impl Strategy<Value = String> {
    let names: Vec<_> = keys::all()
        .map(|key| key.name)
        .filter(|&name| name != "include_dir")
        .collect();
    let number = prop_oneof![
        Just("0".to_owned()),
        Just(u64::MAX.to_string()),
        any::<i64>().prop_map(|n| n.to_string())
    ];
    let value = prop_oneof![number, Just("true".to_owned()), "[0-9a-z. %/]{0,12}", "\\PC{0,8}"];
    (proptest::sample::select(names), value).prop_map(|(name, value)| format!("{name} {value}"))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        Draft::default().read(Path::new("t.conf"), &bytes, false);
    }

    #[test]
    fn any_values_are_read_without_panic(lines in proptest::collection::vec(any_line(), 0..12)) {
        let mut draft = Draft::default();
        draft.read(Path::new("t.conf"), lines.join("\n").as_bytes(), false);
        for problem in &draft.problems {
            prop_assert!((1..=12).contains(&problem.place.line));
            prop_assert!(!problem.text.is_empty());
        }
    }
}

/// The numeric keys with the numbers at the edges of what they take.
fn edges() -> Vec<(&'static str, i64)> {
    let mut edges = Vec::new();
    for key in keys::all() {
        if let keys::Status::Effective(keys::Value::Integer { ranges, .. }, _) = &key.status {
            let ends = ranges.iter().flat_map(|&(minimum, maximum)| [minimum, maximum]);
            let around = ends.flat_map(|end| [end.saturating_sub(1), end, end.saturating_add(1)]);
            edges.extend(around.chain([0, 1, i64::MAX]).map(|number| (key.name, number)));
        }
    }
    edges
}

/// A client of each version connects, subscribes and publishes at each QoS, retained too; some time passes.
fn exercise(settings: crate::settings::Settings) {
    use crate::logic::testing::{Cluster, connect};
    use mqtt::packet::{Publish, RetainHandling, SubscriptionOptions};
    let mut cluster = Cluster::with_settings(2, settings);
    for version in [mqtt::ProtocolVersion::V3_1_1, mqtt::ProtocolVersion::V5] {
        let client = cluster.connect(&connect(version, "c"));
        let mut bytes = Vec::new();
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let identifier = mqtt::PacketIdentifier::MIN;
        let none = mqtt::property::Properties::EMPTY;
        mqtt::encode::subscribe(identifier, none, &[("#", options)], version, &mut bytes).unwrap();
        for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
        {
            let publish = Publish {
                dup: false,
                qos,
                retain: number % 2 == 0,
                topic: "a/b",
                packet_identifier: (qos != QoS::AtMostOnce).then_some(identifier),
                properties: none,
                payload: b"payload",
            };
            publish.encode(version, &mut bytes).unwrap();
        }
        cluster.send(client, &bytes);
        cluster.advance_s(30);
        cluster.cut(client);
    }
    cluster.advance_s(100);
    cluster.shut_down();
}

/// V24: every number that a key takes is safe on its own.
#[test]
fn v24_numbers_at_their_edges() {
    for (key, number) in edges() {
        // A number outside of the range is refused, which is as safe.
        if let Ok(configuration) =
            read_with(&format!("allow_anonymous true\n{key} {number}"), &Args::default())
        {
            exercise(configuration.settings);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// V24: and together with any others.
    #[test]
    fn v24_numbers_at_their_edges_together(
        chosen in proptest::collection::vec(proptest::sample::select(edges()), 1..12)
    ) {
        let lines: Vec<_> = chosen.iter().map(|(key, number)| format!("{key} {number}")).collect();
        if let Ok(configuration) = read_with(&format!("allow_anonymous true\n{}", lines.join("\n")), &Args::default()) {
            exercise(configuration.settings);
        }
    }
}
