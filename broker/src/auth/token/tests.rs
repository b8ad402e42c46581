//! Tokens that are right, and such that are not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const CLOCK_S: u64 = 1_900_000_000;
const NOW: Timestamp = Timestamp(5_000_000_000);

/// A private key, and the public one as a JWK.
struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    jwk: Value,
}

impl Signer {
    fn new(algorithm: Algorithm, identifier: &str) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::ES256 => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_der(made.as_ref())
            }
            Algorithm::EdDSA => return Self::ed25519(identifier),
            _ => {
                use aws_lc_rs::encoding::AsDer as _;
                use aws_lc_rs::rsa::{KeyPair, KeySize};
                // The key alone, without PKCS 8 around it.
                let made = KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = made.as_der().unwrap();
                EncodingKey::from_rsa_der(&inner_of_pkcs8(der.as_ref()))
            }
        };
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(identifier);
        Self { key, algorithm, jwk }
    }

    fn ed25519(identifier: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        Self {
            key: EncodingKey::from_ed_der(made.as_ref()),
            algorithm: Algorithm::EdDSA,
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": public, "kid": identifier}),
        }
    }

    fn sign(&self, claims: &Value) -> Vec<u8> {
        let mut header = Header::new(self.algorithm);
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
        encode(&header, claims, &self.key).unwrap().into_bytes()
    }
}

/// The RSAPrivateKey of a PKCS 8 structure: the octet string at its end.
fn inner_of_pkcs8(der: &[u8]) -> Vec<u8> {
    let at = der
        .windows(2)
        .skip(20)
        .position(|pair| pair == [0x30, 0x82])
        .unwrap()
        + 20;
    der[at..].to_vec()
}

fn settings() -> TokenSettings {
    TokenSettings {
        keys: KeyLocation::File("keys.json".into()),
        user_claim: "sub".to_owned(),
        acl_claim: "acl".to_owned(),
        issuer: None,
        audience: None,
        leeway_s: 10,
        refresh_s: 300,
    }
}

fn key_set(signers: &[&Signer]) -> KeySet {
    let keys: Vec<_> = signers.iter().map(|signer| &signer.jwk).collect();
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn check(settings: &TokenSettings, keys: &KeySet, token: &[u8]) -> Result<TokenGrant, &'static str> {
    // The crate asks the real clock for `exp` and `nbf`.
    claims::check(
        settings,
        keys,
        token,
        SystemTime::UNIX_EPOCH + Duration::from_secs(CLOCK_S),
        NOW,
    )
}

fn later() -> u64 {
    CLOCK_S + 1000
}

#[test]
fn tokens_of_all_algorithms_are_right_with_their_keys_alone() {
    let signers = [
        Signer::new(Algorithm::RS256, "rsa"),
        Signer::new(Algorithm::ES256, "ec"),
        Signer::new(Algorithm::EdDSA, "ed"),
    ];
    let keys = key_set(&signers.each_ref());
    for signer in &signers {
        let token = signer.sign(&json!({"sub": "ann", "exp": later()}));
        assert!(looks_like_token(&token));
        let grant = check(&settings(), &keys, &token).unwrap();
        assert_eq!((&*grant.user, grant.rules.is_some()), ("ann", false));
        assert_eq!(grant.ends_at, NOW.plus_s(1010), "with the leeway");
        let mut forged = token.clone();
        let at = token.iter().rposition(|byte| *byte == b'.').unwrap() + 3;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            check(&settings(), &keys, &forged),
            Err("the token's signature is wrong")
        );
        let other = Signer::new(signer.algorithm, "other");
        assert_eq!(
            check(
                &settings(),
                &keys,
                &other.sign(&json!({"sub": "ann", "exp": later()}))
            ),
            Err(claims::UNKNOWN_KEY)
        );
    }
}

/// The attacks of RFC 8725: no algorithm at all, and a public key that is taken for the secret of an HMAC.
#[test]
fn none_and_hmac_are_refused() {
    let signer = Signer::new(Algorithm::RS256, "rsa");
    let keys = key_set(&[&signer]);
    let claims = json!({"sub": "ann", "exp": later()});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "nOnE"] {
        let unsigned = format!(
            "{}.{}.",
            part(&json!({"alg": algorithm, "kid": "rsa"})),
            part(&claims)
        );
        assert!(
            check(&settings(), &keys, unsigned.as_bytes()).is_err(),
            "{algorithm}"
        );
    }
    for secret in [signer.jwk.to_string(), signer.jwk["n"].to_string()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("rsa".to_owned());
        let token = encode(
            &header,
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()).unwrap(),
        )
        .unwrap();
        assert_eq!(
            check(&settings(), &keys, token.as_bytes()),
            Err(claims::UNKNOWN_KEY)
        );
    }
    let secret = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]});
    assert!(
        KeySet::parse(secret.to_string().as_bytes()).is_err(),
        "a secret is no key here"
    );
}

#[test]
fn claims_that_refuse_a_token() {
    let signer = Signer::new(Algorithm::EdDSA, "ed");
    let keys = key_set(&[&signer]);
    let strict = TokenSettings {
        issuer: Some("me".to_owned()),
        audience: Some("midge".to_owned()),
        ..settings()
    };
    let good = json!({"sub": "ann", "exp": later(), "iss": "me", "aud": ["x", "midge"]});
    assert!(check(&strict, &keys, &signer.sign(&good)).is_ok());
    for (member, value) in [
        ("exp", Value::Null),
        ("exp", json!(1_000_000_000)),
        ("exp", json!("never")),
        ("nbf", json!(later())),
        ("iss", json!("you")),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!("a\u{0}b")),
        ("sub", json!(5)),
        ("acl", json!([])),
        ("acl", json!({"pub": "a"})),
        ("acl", json!({"pub": ["a/#/b"]})),
        ("acl", json!({"pub": ["a\npattern readwrite #"]})),
        ("acl", json!({"publish": ["a"]})),
    ] {
        let mut wrong = good.clone();
        match value {
            Value::Null => drop(wrong.as_object_mut().unwrap().remove(member)),
            value => wrong[member] = value,
        }
        assert!(check(&strict, &keys, &signer.sign(&wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn rules_of_a_token() {
    let signer = Signer::new(Algorithm::ES256, "ec");
    let keys = key_set(&[&signer]);
    let claims = json!({"sub": "ann", "exp": later(), "acl": {
        "pub": ["up/%c"], "sub": ["down/${username}/#"], "all": ["both"],
    }});
    let grant = check(&settings(), &keys, &signer.sign(&claims)).unwrap();
    let policy = crate::auth::Policy::default();
    let access = policy.access_by(&grant, crate::settings::ListenerId(0), "c1");
    assert!(access.may_write("up/c1") && !access.may_write("up/c2") && access.may_write("both"));
    assert!(access.may_read("down/ann/x") && access.may_read("both") && !access.may_read("up/c1"));
    assert!(access.may_subscribe("down/ann/#") && !access.may_subscribe("down/bob/#"));
    assert!(policy.renewed(&access).may_write("up/c1"), "a reload leaves it");
}

#[test]
fn any_bytes_are_refused() {
    let signer = Signer::new(Algorithm::EdDSA, "ed");
    let keys = key_set(&[&signer]);
    let token = signer.sign(&json!({"sub": "ann", "exp": later()}));
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..2_000 {
        let mut other = token.clone();
        let at = random.usize(..other.len() - 1);
        other[at] = random.u8(..);
        assert!(other == token || check(&settings(), &keys, &other).is_err());
    }
}
