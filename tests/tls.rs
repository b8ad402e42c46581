//! TLS 1.2 and 1.3, with and without client certificates.

use mqtt::QoS;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::harness::{Broker, Certificates, Client, Options, Setup};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A client that TLS refused gets no CONNACK, whatever it believes itself.
fn is_accepted(broker: &Broker, options: &Options) -> bool {
    Client::try_connect(broker, options).1.is_some()
}

#[test]
fn messages_pass_between_all_versions() {
    let certificates = Certificates::new();
    let broker = Setup::default().tls(&certificates).shards(2).start();
    let payload = vec![7; 300_000];
    for (from, from_version) in BOTH.into_iter().enumerate() {
        for (to, to_version) in BOTH.into_iter().enumerate() {
            let options =
                Options::new(&format!("s{to}")).tls(certificates.client_config(&[to_version], false));
            let mut subscriber = Client::connect(&broker, &options);
            subscriber.subscribe("t", QoS::AtLeastOnce);
            let options =
                Options::new(&format!("p{from}")).tls(certificates.client_config(&[from_version], false));
            let mut publisher = Client::connect(&broker, &options);
            publisher.publish("t", &payload, QoS::AtLeastOnce);
            assert!(subscriber.message().payload == payload);
            publisher.disconnect();
            subscriber.disconnect();
        }
    }
}

#[test]
fn a_client_certificate_may_be_required() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    let broker = Setup::default()
        .tls(&certificates)
        .listener("require_certificate true")
        .start();
    for version in BOTH {
        let with = |certificates: &Certificates, with_certificate| {
            Options::new("a").tls(certificates.client_config(&[version], with_certificate))
        };
        assert!(is_accepted(&broker, &with(&certificates, true)), "{version:?}");
        assert!(
            !is_accepted(&broker, &with(&certificates, false)),
            "{version:?} without a certificate"
        );
        // The authority that the client trusts is the broker's, its certificate is another's.
        std::fs::copy(certificates.path("ca.crt"), others.path("ca.crt")).unwrap();
        assert!(
            !is_accepted(&broker, &with(&others, true)),
            "{version:?} with another authority's certificate"
        );
    }
}

#[test]
fn the_lowest_version_is_kept() {
    let certificates = Certificates::new();
    let broker = Setup::default()
        .tls(&certificates)
        .listener("tls_version tlsv1.3")
        .start();
    let with = |version| Options::new("a").tls(certificates.client_config(&[version], false));
    assert!(is_accepted(&broker, &with(&TLS13)));
    assert!(!is_accepted(&broker, &with(&TLS12)));
}

/// RFC 8446, 6.1: who gets no close_notify does not know an end from a cut.
#[test]
fn the_end_of_a_stream_is_answered_in_order() {
    let certificates = Certificates::new();
    let broker = Setup::default().tls(&certificates).start();
    for version in BOTH {
        let config = certificates.client_config(&[version], false);
        let mut client = Client::connect(&broker, &Options::new("a").tls(config.clone()));
        client.end_tls();
        assert!(client.read_to_end().is_empty(), "{version:?}");
        // Not even a CONNECT.
        let mut client = Client::open_tls(&broker, config);
        client.send(b"GET / HTTP/1.1\r\n\r\n");
        assert!(client.read_to_end().is_empty(), "{version:?}");
    }
}

#[test]
fn plain_mqtt_on_a_tls_listener_is_closed() {
    let certificates = Certificates::new();
    let broker = Setup::default().tls(&certificates).start();
    let mut client = Client::open(&broker);
    client.send(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a");
    let mut answer = client.read_to_end();
    // A TLS alert may come first.
    if answer.first() == Some(&0x15) {
        answer.clear();
    }
    assert_eq!(answer, b"");
}

#[test]
fn a_client_may_leave_without_close_notify() {
    let certificates = Certificates::new();
    let broker = Setup::default().tls(&certificates).start();
    let config = certificates.client_config(&BOTH, false);
    let mut watcher = Client::connect(&broker, &Options::new("w").tls(config.clone()));
    watcher.subscribe("will", QoS::AtMostOnce);
    Client::connect(
        &broker,
        &Options::new("a")
            .tls(config)
            .will("will", b"gone", QoS::AtMostOnce, false),
    )
    .cut();
    assert_eq!(watcher.payloads(1), ["gone"]);
}

/// What the own code for records is worth: an idle connection takes less than half of what it takes with rustls' own.
#[test]
fn our_records_keep_idle_connections_small() {
    const CONNECTIONS: u64 = 300;
    let certificates = Certificates::new();
    let kib_each_once = |setup: Setup, is_tls: bool| {
        let broker = setup.start();
        let join = |number: u64| {
            let mut options = Options::new(&format!("c{number}"));
            if is_tls {
                options = options.tls(certificates.client_config(&[&TLS13], false));
            }
            Client::connect(&broker, &options)
        };
        // What the first clients bring into memory stays for all.
        let warm: Vec<_> = (0..100).map(join).collect();
        let before_kib = broker.resident_kib();
        let clients: Vec<_> = (100..100 + CONNECTIONS).map(join).collect();
        let kib = broker.resident_kib().saturating_sub(before_kib) as f64 / CONNECTIONS as f64;
        drop((warm, clients));
        kib
    };
    // What else the process does meanwhile comes on top: the least of three is the connections'.
    let kib_each = |setup: &dyn Fn() -> Setup, is_tls: bool| {
        let tries = (0..3).map(|_| kib_each_once(setup(), is_tls));
        tries.fold(f64::MAX, f64::min)
    };
    let plain = kib_each(&Setup::default, false);
    let ours = kib_each(&|| Setup::default().tls(&certificates), true);
    let rustls = kib_each(
        &|| {
            Setup::default()
                .tls(&certificates)
                .listener("rustls_records true")
        },
        true,
    );
    println!(
        "KiB of an idle connection: {plain:.1} plain, {ours:.1} with Midge's records, {rustls:.1} with rustls' own"
    );
    assert!(ours * 2.0 < rustls, "{ours} and {rustls} KiB");
}
