//! The table of all scenarios with names. It may be longer than other files because it is a table.
//!
//! Invariant: the meaning of a name never changes, because results are compared by name.

use super::{Command, Named};

const fn run(name: &'static str, title: &'static str, words: &'static str) -> Named {
    named(name, Command::Run, title, words)
}

const fn named(name: &'static str, command: Command, title: &'static str, words: &'static str) -> Named {
    Named {
        name,
        command,
        title,
        words,
    }
}

/// Earlier names of these loads, which published results contain, with the present names.
pub(super) const EARLIER_NAMES: [(&str, &str); 4] = [
    ("conn-storm-plain", "conn-plain"),
    ("conn-storm-tls", "conn-tls"),
    ("conn-storm-tls-rsa", "conn-tls-rsa"),
    ("paced-10k-q1", "rate-10k-q1"),
];

/// All loads with names. Those of the EMQX Open MQTT Benchmark Suite have the names that its results were published
/// under in 2023, and its sizes, rates, durations and Keep Alive (github.com/emqx/mqttbs); `sharedsub` is its
/// `sharesub`.
pub const ALL: &[Named] = &[
    run(
        "fanout-q0",
        "one publisher to 100 subscribers, as fast as possible",
        "--no-tls --pubs 1 --subs 100 -t fan-out --rate max --window 1000",
    ),
    run(
        "pairs-q0",
        "100 publishers with one subscriber each, as fast as possible",
        "--no-tls --pubs 100 --subs 100 --rate max --window 1000",
    ),
    run(
        "pairs-q1",
        "the same with QoS 1",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate max --window 1000",
    ),
    run(
        "pairs-q2",
        "the same with QoS 2",
        "--no-tls --pubs 100 --subs 100 -q 2 --rate max --window 100",
    ),
    run(
        "fanin-q0",
        "100 publishers to one wildcard subscriber, as fast as possible",
        "--no-tls --pubs 100 --subs 1 -t fan-in --rate max --window 1000",
    ),
    run(
        "pairs-1k",
        "100 pairs with payloads of 1 KiB",
        "--no-tls --pubs 100 --subs 100 -s 1024 --rate max --window 200",
    ),
    run(
        "pairs-w1",
        "100 pairs with one message in flight each: nothing can be batched",
        "--no-tls --pubs 100 --subs 100 --rate max --window 1",
    ),
    run(
        "pairs-tls",
        "100 pairs over TLS 1.3",
        "--pubs 100 --subs 100 --rate max --window 1000",
    ),
    run(
        "fanout-tls",
        "one publisher to 100 subscribers over TLS 1.3",
        "--pubs 1 --subs 100 -t fan-out --rate max --window 1000",
    ),
    run(
        "flood-q0",
        "100 pairs, publishers write as fast as their sockets accept data and wait for nothing",
        "--no-tls --pubs 100 --subs 100 --rate flood --drain 30",
    ),
    run(
        "rate-10k-q1",
        "100 pairs at 10,000 messages a second with QoS 1",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate 10000",
    ),
    run(
        "tls-p2p-1K-1K",
        "the headline: 1,000 publishers and 1,000 subscribers over TLS 1.3, one message a second each",
        "--pubs 1000 --subs 1000 --rate 1000",
    ),
    run(
        "slow-sub",
        "10 subscribers of 1,000 messages of 16 KiB a second, and 2 more that stop reading",
        "--no-tls --pubs 10 --subs 10 -t fan-out --rate 1000 -s 16384 --slow-subs 2",
    ),
    named(
        "hockey-p2p",
        Command::Sweep,
        "100 pairs with QoS 1 at increasing rates, until two steps beyond a p99 of 10 ms",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate 2000",
    ),
    named(
        "hockey-fanout",
        Command::Sweep,
        "the same for one publisher to 100 subscribers with QoS 0",
        "--no-tls --pubs 1 --subs 100 -t fan-out --rate 50",
    ),
    named(
        "hockey-tls-p2p",
        Command::Sweep,
        "100 pairs over TLS 1.3 in the same way",
        "--pubs 100 --subs 100 -q 1 --rate 2000",
    ),
    named(
        "conn-plain",
        Command::Conn,
        "connections opened and closed, as fast as possible",
        "--no-tls --concurrency 32",
    ),
    named(
        "conn-tls",
        Command::Conn,
        "the same over TLS 1.3 with a P-256 key",
        "--concurrency 32",
    ),
    named(
        "conn-tls-rsa",
        Command::Conn,
        "the same over TLS 1.3 with an RSA key of 2,048 bits",
        "--broker-key rsa2048 --concurrency 32",
    ),
    run(
        "idle-plain",
        "5,000 connections with a subscription each that do nothing",
        "--no-tls --pubs 0 --subs 5000 -t idle/%i --idle --warmup 1 --duration 2",
    ),
    run(
        "idle-tls",
        "the same over TLS 1.3",
        "--pubs 0 --subs 5000 -t idle/%i --idle --warmup 1 --duration 2",
    ),
    named(
        "retained-100k",
        Command::Retained,
        "100,000 retained messages of 64 B, then a subscriber to all",
        "--messages 100000",
    ),
    named(
        "retained-1M",
        Command::Retained,
        "the same with a million messages",
        "--messages 1000000",
    ),
    run(
        "mtls-tutorial",
        "the TLS tutorial: the generator starts a broker that requires certificates and passwords; 1,000 clients",
        "--users --pubs 500 --subs 500",
    ),
    run(
        "churn",
        "200 messages a second while 200 connections a second come and go",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate 200 --churn 200",
    ),
    run(
        "composite",
        "over TLS 1.3: 500 pairs with QoS 1 and RETAIN, 1,500 idle connections, \
         20 connections a second that come and go",
        "--pubs 500 --subs 2000 -t composite/%i -q 1 --rate 1000 --retain --churn 20",
    ),
    run(
        "qos2-p2p",
        "1,000 pairs with QoS 2, one message a second each",
        "--no-tls --pubs 1000 --subs 1000 -q 2 --rate 1000",
    ),
    run(
        "wildcard-deep",
        "100 pairs on topics of 16 levels",
        "--no-tls --pubs 100 --subs 100 --rate 10000 -t deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14/%i",
    ),
    run(
        "singlenode-conn-tcp-1M-5K",
        "EMQX suite: a million connections, 5,000 opened a second",
        "--no-tls --pubs 1000000 --subs 0 --idle --ramp 200 --connect-concurrency 1000 --duration 1800 -k 300",
    ),
    run(
        "singlenode-fanout-5-1000-5-250K",
        "EMQX suite: 5 publishers, 1,000 subscribers to all of them, 250,000 deliveries a second",
        "--no-tls --pubs 5 --subs 1000 -t fan-out -q 1 -s 16 --rate 250 --duration 1800 -k 300",
    ),
    run(
        "singlenode-p2p-50K-50K-50K-50K",
        "EMQX suite: 50,000 pairs, 50,000 messages a second",
        "--no-tls --pubs 50000 --subs 50000 -q 1 -s 16 --rate 50000 --connect-concurrency 200 --duration 1800 -k 300",
    ),
    run(
        "singlenode-sharedsub-50K-500-50K-50K",
        "EMQX suite: 50,000 publishers, 500 subscribers that share one subscription, 50,000 messages a second",
        "--no-tls --pubs 50000 --subs 500 --share 1 -q 1 -s 16 --rate 50000 \
         --connect-concurrency 200 --duration 1800 -k 300 -V 5",
    ),
    run(
        "singlenode-conn-tcp-10K-100",
        "EMQX suite: 10,000 connections, 100 opened a second",
        "--no-tls --pubs 10000 --subs 0 --idle --ramp 100 --duration 1800 -k 300",
    ),
    run(
        "singlenode-fanout-1-1K-1-1K",
        "EMQX suite: one publisher, 1,000 subscribers, 1,000 deliveries a second",
        "--no-tls --pubs 1 --subs 1000 -t fan-out -q 1 -s 16 --rate 1 --duration 1800 -k 300",
    ),
    run(
        "singlenode-p2p-1K-1K-1K-1K",
        "EMQX suite: 1,000 pairs, 1,000 messages a second",
        "--no-tls --pubs 1000 --subs 1000 -q 1 -s 16 --rate 1000 --duration 1800 -k 300",
    ),
    run(
        "singlenode-sharedsub-1K-5-1K-1K",
        "EMQX suite: 1,000 publishers, 5 subscribers that share one subscription, 1,000 messages a second",
        "--no-tls --pubs 1000 --subs 5 --share 1 -q 1 -s 16 --rate 1000 --duration 1800 -k 300 -V 5",
    ),
];
