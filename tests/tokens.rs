//! JSON Web Tokens in place of passwords.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mqtt::packet::Packet;
use mqtt::{QoS, ReasonCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Client, Options, Setup, eventually};

struct Signer {
    key: EncodingKey,
    identifier: &'static str,
}

impl Signer {
    fn new(identifier: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { key, identifier }
    }

    fn keys(&self) -> String {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap()).unwrap();
        jwk["kid"] = json!(self.identifier);
        json!({"keys": [jwk]}).to_string()
    }

    /// A token of `ann` that holds for so many seconds.
    fn token(&self, seconds: u64, more: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"sub": "ann", "exp": now + seconds});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.identifier.to_owned());
        encode(&header, &claims, &self.key).unwrap()
    }
}

fn answer(broker: &Broker, options: &Options) -> ReasonCode {
    let (_, answer) = Client::try_connect(broker, options);
    match answer.unwrap().packet() {
        Packet::ConnAck(connack) => connack.reason,
        other => panic!("{other:?}"),
    }
}

fn setup(keys: &str) -> Setup {
    Setup::default()
        .shards(2)
        .global("log_type all")
        .listener("allow_anonymous false")
        .listener(&format!("jwt_keys {keys}"))
}

#[test]
fn a_token_lets_in_gives_rights_and_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let signer = Signer::new("one");
    std::fs::write(&file, signer.keys()).unwrap();
    let broker = setup(&file.display().to_string())
        .listener("jwt_leeway 0")
        .start();
    let acl = json!({"acl": {"pub": ["up/%c"], "sub": ["down/#"]}});
    let token = signer.token(600, acl);
    // Whatever the user name is.
    let mut client = Client::connect(&broker, &Options::new("c1").v5().user("jwt", &token));
    assert_eq!(client.subscribe("down/#", QoS::AtLeastOnce), 1);
    assert_eq!(
        client.subscribe("other", QoS::AtLeastOnce),
        ReasonCode::NotAuthorized as u8
    );
    let mut short = Client::connect(
        &broker,
        &Options::new("c2").v5().user("jwt", &signer.token(4, json!({}))),
    );
    assert_eq!(short.expect_closed().0, Some(ReasonCode::MaximumConnectTime));
    eventually("it says so", || broker.log().contains("its token has expired"));
    // A reload leaves those alone who are in.
    broker.signal(Signal::HUP);
    eventually("it has reloaded", || {
        broker.log().contains("Reloaded the password and ACL files")
    });
    client.ping();
    for wrong in [
        "password".to_owned(),
        Signer::new("one").token(600, json!({})),
        Signer::new("two").token(600, json!({})),
        signer.token(0, json!({"exp": 1_000_000})),
        token.replace('.', "x.") + "x",
    ] {
        let options = Options::new("c3").v5().user("jwt", &wrong);
        assert_eq!(
            answer(&broker, &options),
            ReasonCode::BadUserNameOrPassword,
            "{wrong}"
        );
    }
    assert_eq!(
        answer(&broker, &Options::new("c3").v5()),
        ReasonCode::NotAuthorized,
        "nobody"
    );
    assert!(!broker.log().contains("eyJ"), "no token is in the log");
    // Other keys hold from a reload on.
    let next = Signer::new("two");
    std::fs::write(&file, next.keys()).unwrap();
    broker.signal(Signal::HUP);
    let options = Options::new("c3").v5().user("jwt", &next.token(600, json!({})));
    eventually("the new keys hold", || {
        answer(&broker, &options) == ReasonCode::Success
    });
}

/// A server of keys that is away at first.
#[test]
fn keys_of_a_url_are_fetched_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", server.local_addr().unwrap());
    let signer = Signer::new("one");
    let (keys, is_up) = (signer.keys(), Arc::new(AtomicBool::new(false)));
    let serves = Arc::clone(&is_up);
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]);
            let (status, body) = match serves.load(Ordering::Relaxed) {
                true => ("200 OK", keys.as_str()),
                false => ("503 Service Unavailable", ""),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _gone = stream.write_all((head + body).as_bytes());
        }
    });
    let broker = setup(&url).start();
    let options = Options::new("c1").v5().user("jwt", &signer.token(600, json!({})));
    eventually("the failure is logged", || {
        broker.log().contains("cannot be fetched")
    });
    assert_eq!(answer(&broker, &options), ReasonCode::BadUserNameOrPassword);
    is_up.store(true, Ordering::Relaxed);
    eventually("the keys are fetched", || {
        std::thread::sleep(Duration::from_millis(200));
        answer(&broker, &options) == ReasonCode::Success
    });
}

#[test]
fn keys_that_cannot_be_used_refuse_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let oct = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();
    for (text, why) in [
        ("{", "is no JSON"),
        ("{}", "it is no JWKS"),
        (oct.as_str(), "has no public key"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (status, log) = setup(&file.display().to_string()).start_in_vain();
        assert!(
            !status.success() && log.contains(why) && log.contains("fix: "),
            "{log}"
        );
    }
    let (status, log) = Setup::default().listener("jwt_issuer x").start_in_vain();
    assert!(
        !status.success() && log.contains("jwt_issuer needs jwt_keys"),
        "{log}"
    );
}
