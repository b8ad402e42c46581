//! Who may do what: users, rules, and their effect when the files are read again. V numbers are classes of
//! vulnerabilities that brokers had.

use std::path::Path;
use std::sync::Arc;

use mqtt::packet::Will;

use super::*;
use broker::auth::{AccessFiles, Policy, Verdict};
use broker::logic::DropReason;
use broker::settings::{ListenerSettings, Settings};

/// A cluster whose clients are subject to the ACL file.
pub(crate) struct Ruled {
    pub(crate) cluster: Cluster,
    policy: Arc<Policy>,
    folder: tempfile::TempDir,
}

impl Ruled {
    pub(crate) fn new(shards: u16, acl: &str) -> Self {
        let settings = Settings {
            sys_interval_s: 0,
            ..Settings::default()
        };
        Self::with_settings(shards, acl, settings)
    }

    pub(crate) fn with_settings(shards: u16, acl: &str, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("acl"), acl).unwrap();
        let policy = Arc::new(load(folder.path(), None));
        let mut cluster = Cluster::with_settings(shards, settings);
        cluster.set_policy(&policy);
        Self {
            cluster,
            policy,
            folder,
        }
    }

    pub(crate) fn reload(&mut self, acl: &str) {
        std::fs::write(self.folder.path().join("acl"), acl).unwrap();
        self.policy = Arc::new(load(self.folder.path(), Some(&self.policy)));
        self.cluster.set_policy(&self.policy);
    }

    pub(crate) fn join_as(
        &mut self,
        version: ProtocolVersion,
        client_identifier: &str,
        user: &str,
    ) -> Client {
        self.cluster.join_with(&as_user(version, client_identifier, user))
    }
}

fn load(folder: &Path, before: Option<&Policy>) -> Policy {
    let files = AccessFiles {
        acl_file: Some(folder.join("acl")),
        ..AccessFiles::default()
    };
    Policy::load(&[files], before).unwrap()
}

pub(crate) fn as_user<'a>(
    version: ProtocolVersion,
    client_identifier: &'a str,
    user: &'a str,
) -> Connect<'a> {
    Connect {
        user_name: Some(user),
        ..connect(version, client_identifier)
    }
}

/// A client that keeps its session.
fn keeping<'a>(
    version: ProtocolVersion,
    client_identifier: &'a str,
    properties: &'a PropertiesBuf,
) -> Connect<'a> {
    let properties = if version == V5 {
        properties.as_properties()
    } else {
        Properties::EMPTY
    };
    Connect {
        clean_start: false,
        properties,
        ..as_user(version, client_identifier, "ann")
    }
}

fn for_ever() -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::SessionExpiryInterval(u32::MAX))
        .unwrap();
    properties
}

const FILE: &str = "user ann\ntopic readwrite own/ann/#\ntopic read open\nuser bob\ntopic write own/ann/x\ntopic write \
                    open\nuser all\ntopic #\n";

#[test]
fn a_publish_without_the_right_is_acknowledged_and_dropped() {
    for shards in 1..3 {
        for version in VERSIONS {
            let mut broker = Ruled::new(shards, FILE);
            let (first, second) = apart(shards);
            let all = broker.join_as(version, &second, "all");
            broker.cluster.subscribe(all, "#", QoS::ExactlyOnce);
            let ann = broker.join_as(version, first, "ann");
            broker.cluster.publish(ann, "open", QoS::AtMostOnce, "0");
            broker.cluster.publish(ann, "open", QoS::AtLeastOnce, "1");
            let denied = if version == V5 {
                ReasonCode::NotAuthorized
            } else {
                ReasonCode::Success
            };
            match broker.cluster.expect(ann).packet() {
                Some(Packet::PubAck(ack)) => assert_eq!((ack.packet_identifier, ack.reason), (id(9), denied)),
                other => panic!("{other:?}"),
            }
            broker.cluster.publish(ann, "open", QoS::ExactlyOnce, "2");
            match broker.cluster.expect(ann).packet() {
                Some(Packet::PubRec(ack)) => assert_eq!(ack.reason, denied),
                other => panic!("{other:?}"),
            }
            broker
                .cluster
                .publish_with(ann, &retained("open", QoS::AtMostOnce, "3"));
            assert!(!broker.cluster.closed(ann));
            broker.cluster.expect_nothing(all);
            for _ in 0..2 {
                broker.cluster.publish(ann, "own/ann/x", QoS::AtMostOnce, "4");
            }
            broker.cluster.publish(ann, "own/ann/y", QoS::AtMostOnce, "5");
            broker.cluster.publish(ann, "own/bob/x", QoS::AtMostOnce, "6");
            assert_eq!(broker.cluster.payloads(all), ["4", "4", "5"]);
        }
    }
}

#[test]
fn a_delivery_needs_the_right_to_read() {
    for shards in 1..3 {
        for version in VERSIONS {
            let mut broker = Ruled::new(shards, FILE);
            let (first, second) = apart(shards);
            let ann = broker.join_as(version, first, "ann");
            broker.cluster.subscribe(ann, "#", QoS::AtLeastOnce);
            let all = broker.join_as(version, &second, "all");
            for topic in ["own/ann", "own/ann/x", "own/bob", "open", "open/x", "other"] {
                broker.cluster.publish(all, topic, QoS::AtMostOnce, topic);
            }
            assert_eq!(broker.cluster.payloads(ann), ["own/ann", "own/ann/x", "open"]);
        }
    }
}

/// V31: a filter that allows reading nothing is refused: 0x87 in 5.0, 0x80 in 3.1.1.
#[test]
fn a_member_that_may_not_read_is_passed_over() {
    for shards in [1, 2, 4] {
        let acl = "user p\ntopic write t/#\nuser all\ntopic read t/#\nuser some\ntopic read t/x\nuser none\ntopic read \
                   u\n";
        let mut ruled = Ruled::new(shards, acl);
        let publisher = ruled.join_as(V5, "p", "p");
        let some: Vec<_> = (0..4)
            .map(|number| {
                let member = ruled.join_as(V5, &format!("some-{number}"), "some");
                ruled.cluster.subscribe(member, "$share/g/t/#", QoS::AtLeastOnce);
                member
            })
            .collect();
        let all = ruled.join_as(V5, "all", "all");
        ruled.cluster.subscribe(all, "$share/g/t/#", QoS::AtLeastOnce);
        let none = ruled.join_as(V5, "none", "none");
        let refused = ruled
            .cluster
            .subscribe_with(none, "$share/g/t/#", options(QoS::AtLeastOnce), None);
        assert_eq!(refused, ReasonCode::NotAuthorized);
        for _ in 0..10 {
            for topic in ["t/x", "t/y"] {
                ruled.cluster.publish(publisher, topic, QoS::AtMostOnce, topic);
            }
        }
        let mut got: Vec<_> = some
            .iter()
            .flat_map(|&member| ruled.cluster.payloads(member))
            .collect();
        assert!(got.iter().all(|topic| topic == "t/x"), "{shards} shards");
        got.extend(ruled.cluster.payloads(all));
        assert_eq!(got.len(), 20, "{shards} shards");
    }
}

#[test]
fn v31_wholly_denied_filters_are_refused() {
    for version in [V3, V5] {
        let mut broker = Ruled::new(1, FILE);
        let bob = broker.join_as(version, "b", "bob");
        let denied = if version == V5 {
            ReasonCode::NotAuthorized
        } else {
            ReasonCode::UnspecifiedError
        };
        for filter in ["#", "open", "own/#", "+/ann/x"] {
            let reason = broker
                .cluster
                .subscribe_with(bob, filter, options(QoS::AtMostOnce), None);
            assert_eq!(reason, denied, "{filter}");
        }
        let ann = broker.join_as(version, "a", "ann");
        for (filter, reason) in [
            ("#", ReasonCode::Success),
            ("own/+/x", ReasonCode::Success),
            ("own/bob/#", denied),
            ("other", denied),
        ] {
            assert_eq!(
                broker
                    .cluster
                    .subscribe_with(ann, filter, options(QoS::AtMostOnce), None),
                reason,
                "{filter}"
            );
        }
        let nobody = broker.cluster.join(version, "n");
        assert_eq!(
            broker
                .cluster
                .subscribe_with(nobody, "open", options(QoS::AtMostOnce), None),
            denied
        );
    }
}

/// V13: a client identifier with a wildcard gains nothing from a pattern.
#[test]
fn v13_client_identifiers_never_widen_a_pattern() {
    let mut broker = Ruled::new(1, "topic open\npattern readwrite own/%c/#\n");
    let wild = broker.cluster.join(V3, "#");
    let tame = broker.cluster.join(V3, "c");
    assert_eq!(
        broker
            .cluster
            .subscribe_with(wild, "own/#", options(QoS::AtMostOnce), None),
        ReasonCode::UnspecifiedError
    );
    broker.cluster.subscribe(wild, "open", QoS::AtMostOnce);
    broker.cluster.subscribe(tame, "own/#", QoS::AtMostOnce);
    broker.cluster.publish(tame, "own/c/x", QoS::AtMostOnce, "tame");
    broker.cluster.publish(wild, "own/c/x", QoS::AtMostOnce, "wild");
    assert_eq!(broker.cluster.payloads(tame), ["tame"]);
    broker.cluster.expect_nothing(wild);
}

/// V18: a subscription, and what waits in its queue, ends with the right to read.
#[test]
fn v18_rules_are_checked_again_after_a_reload() {
    for version in VERSIONS {
        let mut broker = Ruled::new(2, FILE);
        let expiry = for_ever();
        let ann = broker.cluster.join_with(&keeping(version, "a", &expiry));
        broker.cluster.subscribe(ann, "#", QoS::AtLeastOnce);
        let all = broker.join_as(version, "all", "all");
        broker.cluster.publish(all, "open", QoS::AtMostOnce, "before");
        assert_eq!(broker.cluster.payloads(ann), ["before"]);
        broker.cluster.cut(ann);
        for (topic, payload) in [("open", "1"), ("own/ann/x", "2")] {
            broker.cluster.publish(all, topic, QoS::AtLeastOnce, payload);
        }
        broker.reload("user ann\ntopic own/ann/#\nuser all\ntopic #\n");
        broker.cluster.publish(all, "open", QoS::AtLeastOnce, "3");
        let ann = broker.cluster.connect(&keeping(version, "a", &expiry));
        let (present, reason, _) = broker.cluster.connack(ann);
        assert_eq!(
            (present, reason),
            (version != ProtocolVersion::V3_1, ReasonCode::Success)
        );
        assert_eq!(
            broker.cluster.payloads(ann),
            ["2"],
            "what waited is looked at again"
        );
        broker.cluster.publish(all, "open", QoS::AtMostOnce, "4");
        broker.cluster.publish(ann, "open", QoS::AtMostOnce, "5");
        broker.cluster.expect_nothing(ann);
        broker.reload(FILE);
        broker.cluster.publish(all, "open", QoS::AtMostOnce, "6");
        assert_eq!(
            broker.cluster.payloads(ann),
            ["6"],
            "the subscription itself stood"
        );
    }
}

/// V19: a retained message is removed with its publisher's right to write, if `check_retain_source`.
#[test]
fn v19_retained_messages_of_those_who_may_no_longer() {
    for (check_retain_source, expected) in [(true, vec!["all"]), (false, vec!["all", "bob"])] {
        for shards in 1..3 {
            let settings = Settings {
                sys_interval_s: 0,
                check_retain_source,
                ..Settings::default()
            };
            let mut broker = Ruled::with_settings(shards, FILE, settings);
            let (first, second) = apart(shards);
            let bob = broker.join_as(V5, first, "bob");
            broker
                .cluster
                .publish_with(bob, &retained("own/ann/x", QoS::AtLeastOnce, "bob"));
            broker
                .cluster
                .publish_with(bob, &retained("denied", QoS::AtLeastOnce, "denied"));
            let all = broker.join_as(V5, "all", "all");
            broker
                .cluster
                .publish_with(all, &retained("open", QoS::AtLeastOnce, "all"));
            broker.reload("user ann\ntopic read #\nuser all\ntopic #\n");
            let ann = broker.join_as(V5, &second, "ann");
            broker.cluster.subscribe(ann, "#", QoS::AtMostOnce);
            let mut payloads = broker.cluster.payloads(ann);
            payloads.sort();
            assert_eq!(payloads, expected, "{shards} shards");
            let dropped = broker
                .cluster
                .count(|counters| counters.dropped.get(DropReason::NotAllowed));
            assert_eq!(
                dropped,
                u64::from(check_retain_source),
                "what is not found is accounted for"
            );
            broker.reload(FILE);
            let ann = broker.join_as(V5, &second, "ann");
            broker.cluster.subscribe(ann, "own/#", QoS::AtMostOnce);
            assert_eq!(broker.cluster.payloads(ann), ["bob"], "it was kept meanwhile");
        }
    }
}

fn with_will<'a>(version: ProtocolVersion, topic: &'a str) -> Connect<'a> {
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
        topic,
        payload: b"will",
    };
    Connect {
        will: Some(will),
        ..as_user(version, "b", "bob")
    }
}

/// V20: a Will for a denied topic: a 5.0 client is refused at CONNECT, for 3.x the Will is dropped.
#[test]
fn v20_wills_need_the_right_to_write() {
    for version in VERSIONS {
        let mut broker = Ruled::new(1, FILE);
        let all = broker.join_as(version, "all", "all");
        broker.cluster.subscribe(all, "#", QoS::AtMostOnce);
        let bob = broker.cluster.connect(&with_will(version, "denied"));
        let (_, reason, _) = broker.cluster.connack(bob);
        let refused = version == V5;
        assert_eq!(
            reason,
            if refused {
                ReasonCode::NotAuthorized
            } else {
                ReasonCode::Success
            }
        );
        assert_eq!(broker.cluster.closed(bob), refused);
        broker.cluster.cut(bob);
        broker.cluster.expect_nothing(all);
        let bob = broker.cluster.join_with(&with_will(version, "open"));
        broker.cluster.cut(bob);
        assert_eq!(broker.cluster.payloads(all), ["will"]);
        let bob = broker.cluster.join_with(&with_will(version, "open"));
        broker.reload("user all\ntopic #\n");
        broker.cluster.cut(bob);
        broker.cluster.expect_nothing(all);
    }
}

fn proved(cluster: &mut Cluster, connect: &Connect<'_>) -> ReasonCode {
    let client = cluster.open_with(connect.client_identifier, connect.version, None, Verdict::Proved);
    send_connect(cluster, client, connect)
}

fn send_connect(cluster: &mut Cluster, client: Client, connect: &Connect<'_>) -> ReasonCode {
    let mut bytes = Vec::new();
    connect.encode(&mut bytes).unwrap();
    cluster.send(client, &bytes);
    let (_, reason, _) = cluster.connack(client);
    assert_eq!(cluster.closed(client), reason != ReasonCode::Success);
    reason
}

/// V21: a session belongs to the user who created it; another one can neither use it nor end it.
#[test]
fn v21_sessions_belong_to_their_user() {
    let expiry = for_ever();
    for version in VERSIONS {
        for clean_start in [false, true] {
            let mut cluster = Cluster::new(1);
            let of_ann = keeping(version, "c", &expiry);
            assert_eq!(proved(&mut cluster, &of_ann), ReasonCode::Success);
            let of_bob = Connect {
                user_name: Some("bob"),
                clean_start,
                ..of_ann
            };
            assert_eq!(proved(&mut cluster, &of_bob), ReasonCode::NotAuthorized);
            let of_nobody = Connect {
                user_name: None,
                password: None,
                clean_start,
                ..of_ann
            };
            let nobody = cluster.open("c", version);
            assert_eq!(
                send_connect(&mut cluster, nobody, &of_nobody),
                ReasonCode::NotAuthorized
            );
            let claims_ann = cluster.open("c", version);
            assert_eq!(
                send_connect(&mut cluster, claims_ann, &of_ann),
                ReasonCode::NotAuthorized,
                "a name is no proof"
            );
            assert_eq!(proved(&mut cluster, &of_ann), ReasonCode::Success);
            assert_eq!(cluster.count(|counters| counters.sessions.get()), 1);
        }
    }
}

/// V22: a client that is refused does not affect the client that has the identifier.
#[test]
fn v22_authentication_comes_before_takeover() {
    for version in VERSIONS {
        for reason in [ReasonCode::BadUserNameOrPassword, ReasonCode::NotAuthorized] {
            let mut cluster = Cluster::new(1);
            let victim = cluster.join(version, "c");
            cluster.subscribe(victim, "t", QoS::AtMostOnce);
            let intruder = cluster.open_with("c", version, None, Verdict::Refused(reason));
            assert_eq!(
                send_connect(&mut cluster, intruder, &as_user(version, "c", "ann")),
                reason
            );
            assert!(!cluster.closed(victim));
            cluster.publish(victim, "t", QoS::AtMostOnce, "still here");
            assert_eq!(cluster.payloads(victim), ["still here"]);
        }
    }
}

/// V17: without credentials it depends on the listener.
#[test]
fn v17_anonymous_clients_are_the_listeners_choice() {
    for allow_anonymous in [false, true] {
        for (verdict, in_anyway) in [(Verdict::Unproved, false), (Verdict::Proved, true)] {
            let listener = ListenerSettings {
                allow_anonymous,
                ..ListenerSettings::default()
            };
            let settings = Settings {
                listeners: vec![listener],
                sys_interval_s: 0,
                ..Settings::default()
            };
            let mut cluster = Cluster::with_settings(1, settings);
            let client = cluster.open_with("c", V5, None, verdict.clone());
            let reason = send_connect(&mut cluster, client, &as_user(V5, "c", "ann"));
            let expected = in_anyway || allow_anonymous;
            assert_eq!(
                reason == ReasonCode::Success,
                expected,
                "{allow_anonymous} {verdict:?}"
            );
        }
    }
}

/// V18: after a reload those whose user was removed or has a new password are disconnected, and nobody else.
#[test]
fn v18_users_removed_by_a_reload_are_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passfile");
    let line = |user: &str, salt: &str| format!("{user}:$6${salt}${}==\n", "A".repeat(86));
    let files = [AccessFiles {
        password_file: Some(path.clone()),
        ..AccessFiles::default()
    }];
    std::fs::write(
        &path,
        line("ann", "AAAA") + &line("bob", "AAAA") + &line("cat", "AAAA"),
    )
    .unwrap();
    let before = Arc::new(Policy::load(&files, None).unwrap());
    let mut cluster = Cluster::new(2);
    cluster.set_policy(&before);
    let clients: Vec<Client> = ["ann", "bob", "cat"]
        .into_iter()
        .map(|user| {
            let client = cluster.open_with(user, V5, None, Verdict::Proved);
            assert_eq!(
                send_connect(&mut cluster, client, &as_user(V5, user, user)),
                ReasonCode::Success
            );
            client
        })
        .collect();
    let anonymous = cluster.join(V5, "anonymous");
    std::fs::write(&path, line("ann", "AAAA") + &line("bob", "BBBB")).unwrap();
    cluster.set_policy(&Arc::new(Policy::load(&files, Some(&before)).unwrap()));
    assert!(!cluster.closed(clients[0]) && !cluster.closed(anonymous));
    cluster.expect_disconnect(clients[1], ReasonCode::NotAuthorized);
    cluster.expect_disconnect(clients[2], ReasonCode::NotAuthorized);
}

/// V33: sessions are limited in number and time.
#[test]
fn v33_sessions_are_bounded() {
    let settings = Settings {
        clients_max: 3,
        persistent_client_expiration_s: Some(60),
        sys_interval_s: 0,
        ..Settings::default()
    };
    let mut cluster = Cluster::with_settings(2, settings);
    let expiry = for_ever();
    for (client_identifier, reason) in [
        ("1", ReasonCode::Success),
        ("2", ReasonCode::Success),
        ("3", ReasonCode::Success),
        ("4", ReasonCode::QuotaExceeded),
        ("1", ReasonCode::Success),
    ] {
        let connect = keeping(V5, client_identifier, &expiry);
        let client = cluster.connect(&connect);
        assert_eq!(cluster.connack(client).1, reason, "{client_identifier}");
        cluster.cut(client);
    }
    cluster.advance_s(61);
    assert_eq!(
        cluster.count(|counters| counters.sessions.get()),
        0,
        "the expiry is capped"
    );
}
