//! Enhanced authentication in the owner shard: who is accepted with it, and re-authentication.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use super::*;
use broker::auth::enhanced::{Authenticated, Nonces, Refusal};
use broker::auth::password::{Algorithm, PasswordHash};
use broker::auth::scram::METHOD;
use broker::auth::{AccessFiles, Policy, Verdict};
use test_support::ScramClient;

struct Broker {
    cluster: Cluster,
    policy: Arc<Policy>,
    folder: tempfile::TempDir,
}

fn line(user: &str, password: &str) -> String {
    let cheap = Algorithm::ScramSha256 {
        iterations: NonZeroU32::MIN,
    };
    let hash = PasswordHash::make(password.as_bytes(), cheap).unwrap();
    format!("{user}:{hash}\n")
}

fn load(folder: &Path, before: Option<&Policy>) -> Arc<Policy> {
    let files = AccessFiles {
        password_file: Some(folder.join("passfile")),
        ..AccessFiles::default()
    };
    Arc::new(Policy::load(&[files], before).unwrap())
}

impl Broker {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = line("ann", "pw") + &line("bob", "pw");
        std::fs::write(folder.path().join("passfile"), text).unwrap();
        let policy = load(folder.path(), None);
        let mut cluster = Cluster::new(1);
        cluster.set_policy(&policy);
        Self {
            cluster,
            policy,
            folder,
        }
    }

    /// A client that the shell has authenticated as this user.
    fn join(&mut self, client_identifier: &str, user: &str) -> Client {
        let (client, reason) = self.connect(client_identifier, user, None);
        assert_eq!(reason, ReasonCode::Success);
        client
    }

    fn connect(&mut self, identifier: &str, user: &str, user_name: Option<&str>) -> (Client, ReasonCode) {
        self.cluster.set_authenticated(Authenticated {
            user: user.into(),
            data: Box::from(*b"v=x"),
            nonces: Nonces::new([7; 32]),
        });
        let client = self.cluster.open_with(identifier, V5, None, Verdict::Proved);
        let bytes = connecting(identifier, user_name);
        self.cluster.send(client, &bytes);
        let (_, reason, properties) = self.cluster.connack(client);
        if reason == ReasonCode::Success {
            let properties = properties.as_properties();
            assert_eq!(properties.authentication_method(), Some(METHOD));
            assert_eq!(properties.authentication_data(), Some(&b"v=x"[..]));
        }
        (client, reason)
    }

    fn auth(&mut self, client: Client, reason: ReasonCode, method: Option<&str>, data: &[u8]) {
        let mut properties = PropertiesBuf::new();
        if let Some(method) = method {
            properties.push(Property::AuthenticationMethod(method)).unwrap();
            properties.push(Property::AuthenticationData(data)).unwrap();
        }
        let mut bytes = Vec::new();
        mqtt::packet::Auth {
            reason,
            properties: properties.as_properties(),
        }
        .encode(V5, &mut bytes);
        self.cluster.send(client, &bytes);
    }

    /// The challenge at the start of a re-authentication.
    fn begin(&mut self, client: Client, scram: &ScramClient) -> Vec<u8> {
        let first = scram.first();
        self.auth(client, ReasonCode::ReAuthenticate, Some(METHOD), first.as_bytes());
        match self.cluster.expect(client).packet() {
            Some(Packet::Auth(auth)) => {
                assert_eq!(auth.reason, ReasonCode::ContinueAuthentication);
                assert_eq!(auth.properties.authentication_method(), Some(METHOD));
                auth.properties.authentication_data().unwrap().to_vec()
            }
            other => panic!("no AUTH but {other:?}"),
        }
    }

    fn answer(&mut self, client: Client, scram: &mut ScramClient, challenge: &[u8]) {
        let last = scram.last(challenge).unwrap();
        self.auth(
            client,
            ReasonCode::ContinueAuthentication,
            Some(METHOD),
            last.as_bytes(),
        );
    }
}

fn connecting(client_identifier: &str, user_name: Option<&str>) -> Vec<u8> {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::AuthenticationMethod(METHOD)).unwrap();
    properties.push(Property::SessionExpiryInterval(100)).unwrap();
    let mut bytes = Vec::new();
    let connect = Connect {
        properties: properties.as_properties(),
        clean_start: false,
        user_name,
        ..connect(V5, client_identifier)
    };
    connect.encode(&mut bytes).unwrap();
    bytes
}

/// [MQTT-4.12.0-5]: the session belongs to the authenticated user, whatever else CONNECT contains.
#[test]
fn the_session_is_the_proved_users() {
    let mut broker = Broker::new();
    let ann = broker.join("c", "ann");
    assert_eq!(broker.connect("c", "bob", None).1, ReasonCode::NotAuthorized);
    assert_eq!(
        broker.connect("d", "ann", Some("bob")).1,
        ReasonCode::BadUserNameOrPassword
    );
    assert_eq!(broker.connect("d", "ann", Some("ann")).1, ReasonCode::Success);
    assert!(!broker.cluster.closed(ann));
}

/// [MQTT-4.12.0-6]
#[test]
fn who_named_no_method_receives_none() {
    let mut broker = Broker::new();
    let client = broker.cluster.connect(&connect(V5, "c"));
    let (_, reason, properties) = broker.cluster.connack(client);
    assert_eq!(reason, ReasonCode::Success);
    let properties = properties.as_properties();
    assert_eq!(properties.authentication_method(), None);
    assert_eq!(properties.authentication_data(), None);
    broker.cluster.expect_nothing(client);
}

/// [MQTT-4.12.0-1], [MQTT-4.12.0-4]: the result of a failed exchange is reported, and no session is affected.
#[test]
fn who_failed_gets_the_reason() {
    let mut broker = Broker::new();
    let ann = broker.join("c", "ann");
    for reason in [ReasonCode::BadAuthenticationMethod, ReasonCode::NotAuthorized] {
        let refusal = Refusal { reason, why: "so" };
        let client = broker.cluster.open_with("c", V5, None, Verdict::Failed(refusal));
        broker.cluster.send(client, &connecting("c", None));
        let (_, answered, properties) = broker.cluster.connack(client);
        assert_eq!(answered, reason);
        assert_eq!(properties.as_properties().reason_string(), Some("so"));
        assert_eq!(properties.as_properties().authentication_method(), None);
        assert!(broker.cluster.closed(client) && !broker.cluster.closed(ann));
    }
}

/// [MQTT-4.12.1-1]: repeatedly, each time with a new nonce, while everything else continues. AUTH has only the method
/// and the data [MQTT-3.15.2-2], [MQTT-3.15.2-3].
#[test]
fn re_authentication() {
    let mut broker = Broker::new();
    let ann = broker.join("c", "ann");
    let mut challenges = Vec::new();
    for _ in 0..3 {
        let mut scram = ScramClient::new("ann", "pw", "same");
        let challenge = broker.begin(ann, &scram);
        broker.cluster.subscribe(ann, "t", QoS::AtMostOnce);
        broker.cluster.publish(ann, "t", QoS::AtMostOnce, "x");
        assert_eq!(broker.cluster.payloads(ann), ["x"]);
        broker.answer(ann, &mut scram, &challenge);
        match broker.cluster.expect(ann).packet() {
            Some(Packet::Auth(auth)) => {
                assert_eq!(auth.reason, ReasonCode::Success);
                assert_eq!(auth.properties.iter().count(), 2);
                assert_eq!(auth.properties.authentication_method(), Some(METHOD));
                assert!(scram.trusts(auth.properties.authentication_data().unwrap()));
            }
            other => panic!("{other:?}"),
        }
        challenges.push(challenge);
    }
    challenges.sort();
    challenges.dedup();
    assert_eq!(challenges.len(), 3);
}

/// [MQTT-4.12.1-2]
#[test]
fn a_failed_re_authentication_ends_the_connection() {
    for (user, password) in [("ann", "wrong"), ("eve", "pw"), ("bob", "pw")] {
        let mut broker = Broker::new();
        let ann = broker.join("c", "ann");
        let mut scram = ScramClient::new(user, password, "n");
        let challenge = broker.begin(ann, &scram);
        broker.answer(ann, &mut scram, &challenge);
        broker.cluster.expect_disconnect(ann, ReasonCode::NotAuthorized);
    }
}

/// [MQTT-4.12.0-5], [MQTT-4.12.0-7], [MQTT-3.15.2-1]
#[test]
fn an_auth_that_is_not_due_ends_the_connection() {
    for (reason, method) in [
        (ReasonCode::Success, Some(METHOD)),
        (ReasonCode::ContinueAuthentication, Some(METHOD)),
        (ReasonCode::ReAuthenticate, Some("SCRAM-SHA-1")),
        (ReasonCode::ReAuthenticate, None),
    ] {
        let mut broker = Broker::new();
        let ann = broker.join("c", "ann");
        broker.auth(ann, reason, method, b"x");
        broker.cluster.expect_disconnect(ann, ReasonCode::ProtocolError);
    }
    let mut broker = Broker::new();
    let ann = broker.join("c", "ann");
    let scram = ScramClient::new("ann", "pw", "n");
    broker.begin(ann, &scram);
    broker.auth(
        ann,
        ReasonCode::ReAuthenticate,
        Some(METHOD),
        scram.first().as_bytes(),
    );
    broker.cluster.expect_disconnect(ann, ReasonCode::ProtocolError);
    let plain = broker.cluster.join(V5, "plain");
    broker.auth(plain, ReasonCode::ReAuthenticate, Some(METHOD), b"x");
    broker.cluster.expect_disconnect(plain, ReasonCode::ProtocolError);
}

/// A password that is changed during the exchange is not accepted.
#[test]
fn a_reload_ends_what_goes_by_the_old_password() {
    let mut broker = Broker::new();
    let ann = broker.join("c", "ann");
    let mut scram = ScramClient::new("ann", "pw", "n");
    let challenge = broker.begin(ann, &scram);
    // Another user's password changes nothing.
    let path = broker.folder.path().join("passfile");
    let text = std::fs::read_to_string(&path).unwrap();
    let ann_line = text.lines().next().unwrap().to_owned() + "\n";
    std::fs::write(&path, ann_line + &line("bob", "other")).unwrap();
    broker.policy = load(broker.folder.path(), Some(&broker.policy));
    broker.cluster.set_policy(&broker.policy);
    broker.answer(ann, &mut scram, &challenge);
    assert!(matches!(
        broker.cluster.expect(ann).packet(),
        Some(Packet::Auth(_))
    ));
    broker.begin(ann, &ScramClient::new("ann", "pw", "n"));
    std::fs::write(&path, line("ann", "other")).unwrap();
    broker.policy = load(broker.folder.path(), Some(&broker.policy));
    broker.cluster.set_policy(&broker.policy);
    broker.cluster.expect_disconnect(ann, ReasonCode::NotAuthorized);
}
