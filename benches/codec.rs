//! The codec on a PUBLISH, with mqttbytes as the baseline: decode, encode, and a template for many subscribers.
//!
//! Every figure is for one packet, framing included.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot make its packet has nothing to measure"
)]

use std::hint::black_box;
use std::num::NonZeroU16;

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use mqtt::frame::PacketType;
use mqtt::packet::{PacketIdentifier, Publish, QoS};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::publish_template::PublishTemplate;
use mqtt::{ProtocolVersion, ReasonCode, decode, encode, frame};

const TOPIC: &str = "sensors/17/temperature";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const PACKET_BYTES_MAX: u32 = 1 << 20;

fn publish(qos: QoS, properties: Properties<'_>) -> Publish<'_> {
    let packet_identifier = (qos != QoS::AtMostOnce).then_some(PacketIdentifier::MIN);
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_identifier,
        properties,
        payload: &PAYLOAD,
    }
}

fn encoded(publish: &Publish<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes).unwrap();
    bytes
}

fn some_properties() -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::MessageExpiryInterval(60)).unwrap();
    properties
        .push(Property::UserProperty("unit", "celsius"))
        .unwrap();
    properties
}

fn bench_decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode PUBLISH 64 B");
    let properties = some_properties();
    let cases = [
        (
            "3.1.1 QoS 0",
            ProtocolVersion::V3_1_1,
            publish(QoS::AtMostOnce, Properties::EMPTY),
        ),
        (
            "3.1.1 QoS 1",
            ProtocolVersion::V3_1_1,
            publish(QoS::AtLeastOnce, Properties::EMPTY),
        ),
        (
            "5.0 QoS 0",
            ProtocolVersion::V5,
            publish(QoS::AtMostOnce, Properties::EMPTY),
        ),
        (
            "5.0 QoS 1, two properties",
            ProtocolVersion::V5,
            publish(QoS::AtLeastOnce, properties.as_properties()),
        ),
    ];
    for (name, version, publish) in cases {
        let bytes = encoded(&publish, version);
        group.bench_function(name, |b| {
            b.iter(|| {
                let frame = frame::split(black_box(&bytes), PACKET_BYTES_MAX)
                    .unwrap()
                    .unwrap();
                decode::publish(&frame, version).unwrap()
            });
        });
    }
    let mut puback = Vec::new();
    encode::ack(
        PacketType::PubAck,
        PacketIdentifier::MIN,
        ReasonCode::Success,
        ProtocolVersion::V5,
        &mut puback,
    );
    group.bench_function("PUBACK instead", |b| {
        b.iter(|| {
            let frame = frame::split(black_box(&puback), PACKET_BYTES_MAX)
                .unwrap()
                .unwrap();
            decode::packet(&frame, ProtocolVersion::V5).unwrap()
        });
    });
    bench_decode_baseline(&mut group);
    group.finish();
}

/// mqttbytes splits packets off a `BytesMut`: it gets 1,000 at once, so that filling the buffer weighs little.
fn bench_decode_baseline(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    const PACKETS: u64 = 1_000;
    let one = encoded(
        &publish(QoS::AtMostOnce, Properties::EMPTY),
        ProtocolVersion::V3_1_1,
    );
    let stream = one.repeat(PACKETS as usize);
    group.bench_function("mqttbytes, 3.1.1 QoS 0", |b| {
        b.iter_custom(|iterations| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..iterations.div_ceil(PACKETS) {
                let mut buffer = BytesMut::from(&stream[..]);
                let start = std::time::Instant::now();
                while !buffer.is_empty() {
                    black_box(mqttbytes::v4::read(&mut buffer, PACKET_BYTES_MAX as usize).unwrap());
                }
                spent += start.elapsed();
            }
            spent.mul_f64(iterations as f64 / (iterations.div_ceil(PACKETS) * PACKETS) as f64)
        });
    });
}

fn bench_encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode PUBLISH 64 B");
    for (name, version) in [
        ("3.1.1 QoS 1", ProtocolVersion::V3_1_1),
        ("5.0 QoS 1", ProtocolVersion::V5),
    ] {
        let publish = publish(QoS::AtLeastOnce, Properties::EMPTY);
        let mut out = Vec::with_capacity(1024);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                black_box(&publish).encode(version, &mut out).unwrap();
                out.len()
            });
        });
    }
    let mut baseline = mqttbytes::v4::Publish::new(TOPIC, mqttbytes::QoS::AtLeastOnce, &PAYLOAD[..]);
    baseline.pkid = 1;
    let mut out = BytesMut::with_capacity(1024);
    group.bench_function("mqttbytes, 3.1.1 QoS 1", |b| {
        b.iter(|| {
            out.clear();
            black_box(&baseline).write(&mut out).unwrap()
        });
    });
    group.finish();
}

fn bench_template(c: &mut Criterion) {
    const SUBSCRIBERS: u16 = 100;
    let mut group = c.benchmark_group("template, 100 subscribers");
    let none = Properties::EMPTY;
    let mut outs: Vec<Vec<u8>> = (0..SUBSCRIBERS).map(|_| Vec::with_capacity(1024)).collect();
    for (name, qos) in [("QoS 0", QoS::AtMostOnce), ("QoS 1", QoS::AtLeastOnce)] {
        let mut template = PublishTemplate::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                template
                    .encode(ProtocolVersion::V3_1_1, qos, false, TOPIC, none, none, &PAYLOAD)
                    .unwrap();
                for (out, number) in outs.iter_mut().zip(1..) {
                    out.clear();
                    match NonZeroU16::new(number).filter(|_| qos != QoS::AtMostOnce) {
                        Some(identifier) => template.append_with_identifier(identifier, false, out),
                        None => template.append(out),
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = benches::quick(); targets = bench_decode, bench_encode, bench_template);
criterion_main!(benches);
