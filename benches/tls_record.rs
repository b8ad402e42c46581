//! TLS without sockets: what sealing and opening add to a message, and a handshake to a connection.
//!
//! Records hold 1, 11 or 64 messages of 80 B (11 is what a small read brings); an element is one message. The
//! handshake is whole each time, with a P-256 certificate: of both sides, and of the server alone.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench without certificates has nothing to measure"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use transport::stream::SecureStream;
use transport::tls::{ClientTls, ServerTls, client_config, server_config};

const MESSAGE: [u8; 80] = [b'x'; 80];
const MESSAGES: [usize; 3] = [1, 11, 64];

/// Records that are sealed before they are opened, as they must be in their order.
const RECORDS: u64 = 64;

/// Makes connections, client first, of a server with a P-256 certificate.
fn connections() -> impl Fn() -> (SecureStream, SecureStream) {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("certificate"), directory.path().join("key"));
    let signing_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let made = rcgen::CertificateParams::new(["localhost".to_owned()])
        .and_then(|params| params.self_signed(&signing_key))
        .unwrap();
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let server = server_config(&ServerTls::new(&certificate, &key)).unwrap();
    let trusting = ClientTls {
        ca: Some(&certificate),
        ..ClientTls::default()
    };
    let client = client_config(&trusting).unwrap();
    move || {
        (
            SecureStream::client(Some(&client), "localhost").unwrap(),
            SecureStream::server(Some(&server)).unwrap(),
        )
    }
}

/// The whole handshake; returns the time that the server took.
fn shake(client: &mut SecureStream, server: &mut SecureStream) -> Duration {
    let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut spent = Duration::ZERO;
    client.start(&mut to_server);
    while !to_server.is_empty() {
        let start = Instant::now();
        server.open(&to_server, &mut plain, &mut to_client).unwrap();
        spent += start.elapsed();
        to_server.clear();
        client.open(&to_client, &mut plain, &mut to_server).unwrap();
        to_client.clear();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    spent
}

fn bench_seal(c: &mut Criterion) {
    let connect = connections();
    let mut group = c.benchmark_group("seal");
    for messages in MESSAGES {
        let (mut client, mut server) = connect();
        shake(&mut client, &mut server);
        let plain = MESSAGE.repeat(messages);
        let mut wire = Vec::new();
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::from_parameter(messages), |b| {
            b.iter(|| {
                wire.clear();
                server.seal(black_box(&plain), &mut wire);
                wire.len()
            });
        });
    }
    group.finish();
}

fn bench_open(c: &mut Criterion) {
    let connect = connections();
    let mut group = c.benchmark_group("open");
    for messages in MESSAGES {
        let (mut client, mut server) = connect();
        shake(&mut client, &mut server);
        let sent = MESSAGE.repeat(messages);
        let mut wires = vec![Vec::new(); RECORDS as usize];
        let (mut plain, mut answer) = (Vec::new(), Vec::new());
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::from_parameter(messages), |b| {
            b.iter_custom(|records| {
                let mut spent = Duration::ZERO;
                let mut left = records;
                while left > 0 {
                    let count = left.min(RECORDS);
                    left -= count;
                    let wires = wires.get_mut(..count as usize).unwrap();
                    for wire in &mut *wires {
                        wire.clear();
                        client.seal(&sent, wire);
                    }
                    let start = Instant::now();
                    for wire in &*wires {
                        plain.clear();
                        server.open(black_box(wire), &mut plain, &mut answer).unwrap();
                        assert_eq!(plain.len(), sent.len());
                    }
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn bench_handshake(c: &mut Criterion) {
    let connect = connections();
    let mut group = c.benchmark_group("handshake TLS 1.3 P-256");
    group.bench_function("client and server", |b| {
        b.iter(|| {
            let (mut client, mut server) = connect();
            shake(&mut client, &mut server)
        });
    });
    group.bench_function("server", |b| {
        b.iter_custom(|handshakes| {
            let one = |_| {
                let (mut client, mut server) = connect();
                shake(&mut client, &mut server)
            };
            (0..handshakes).map(one).sum()
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = benches::quick(); targets = bench_seal, bench_open, bench_handshake);
criterion_main!(benches);
