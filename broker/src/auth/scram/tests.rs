//! The exchange compared with the example of RFC 7677, and exchanges that must fail.

use std::num::NonZeroU32;

use proptest::prelude::*;
use test_support::ScramClient;

use super::*;
use crate::auth::password::HashError;

const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

fn cheap(password: &str) -> Challenge {
    Challenge {
        verifier: ScramVerifier::make(password.as_bytes(), NonZeroU32::MIN, b"salt"),
        known: true,
    }
}

fn asks(password: &str) -> Option<Challenge> {
    Some(cheap(password))
}

fn exchange(client: &mut ScramClient, challenge: Challenge) -> Result<ScramProof, ScramError> {
    let (exchange, first) = ScramExchange::begin(client.first().as_bytes(), "ours", |_| Some(challenge))?;
    exchange.finish(client.last(first.as_bytes()).unwrap().as_bytes())
}

/// RFC 7677, section 3.
#[test]
fn the_example_of_the_rfc() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = ScramVerifier::make(b"pencil", ITERATIONS, &salt);
    let find = |user: &str| {
        assert_eq!(user, "user");
        Some(Challenge {
            verifier: verifier.clone(),
            known: true,
        })
    };
    let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let (exchange, server_first) = ScramExchange::begin(first, SERVER_NONCE, find).unwrap();
    assert_eq!(
        server_first,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let proof = exchange.finish(last).unwrap();
    assert_eq!(
        (&*proof.user, &*proof.server_final),
        ("user", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    );
}

#[test]
fn only_the_password_itself_is_proved() {
    for (password, right) in [("pencil", true), ("Pencil", false), ("", false)] {
        let mut client = ScramClient::new("ann", password, "theirs");
        let finished = exchange(&mut client, cheap("pencil"));
        assert_eq!(finished.is_ok(), right, "{password}");
        if let Ok(proof) = finished {
            assert_eq!(&*proof.user, "ann");
            assert!(client.trusts(proof.server_final.as_bytes()) && !client.trusts(b"v=AAAA"));
        }
    }
}

#[test]
fn who_is_not_known_fails_at_the_proof_even_with_a_fitting_one() {
    let mut client = ScramClient::new("eve", "pencil", "theirs");
    let unknown = Challenge {
        known: false,
        ..cheap("pencil")
    };
    assert_eq!(exchange(&mut client, unknown), Err(ScramError::Proof));
}

#[test]
fn names_are_unescaped_and_prepared() {
    for (written, user) in [
        ("a=2Cb=3Dc", "a,b=c"),
        // RFC 4013: a soft hyphen is removed, a Roman numeral is mapped to letters.
        ("I\u{AD}X", "IX"),
        ("\u{2168}", "IX"),
    ] {
        let first = format!("n,,n={written},r=x");
        let (exchange, _) = ScramExchange::begin(first.as_bytes(), "ours", |_| asks("pw")).unwrap();
        assert_eq!(&*exchange.user, user, "{written}");
    }
}

#[test]
fn passwords_are_prepared() {
    let verifier = ScramVerifier::make("I\u{AD}X".as_bytes(), NonZeroU32::MIN, b"salt");
    assert!(verifier.verify(b"IX") && verifier.verify("\u{2168}".as_bytes()) && !verifier.verify(b"ix"));
    let bytes = ScramVerifier::make(b"\xFF\xFE", NonZeroU32::MIN, b"salt");
    assert!(bytes.verify(b"\xFF\xFE") && !bytes.verify(b"\xFF"));
}

#[test]
fn first_messages_that_go_no_further() {
    for (message, error) in [
        ("", ScramError::Malformed),
        ("n", ScramError::Malformed),
        ("n,,", ScramError::Malformed),
        ("n,,n=ann", ScramError::Malformed),
        ("n,,n=,r=x", ScramError::Malformed),
        ("n,,n=ann,r=", ScramError::Malformed),
        ("n,,n=ann,r=a b", ScramError::Malformed),
        ("n,,n=a=b,r=x", ScramError::Malformed),
        ("n,,n=a=2c,r=x", ScramError::Malformed),
        ("n,,n=a\u{7},r=x", ScramError::Malformed),
        ("n,,n=\u{AD},r=x", ScramError::Malformed),
        ("n,,r=x,n=ann", ScramError::Malformed),
        ("x,,n=ann,r=x", ScramError::Malformed),
        ("n,b=ann,n=ann,r=x", ScramError::Malformed),
        ("p=tls-exporter,,n=ann,r=x", ScramError::Unsupported),
        ("n,,m=new,n=ann,r=x", ScramError::Unsupported),
        ("n,a=bob,n=ann,r=x", ScramError::Identity),
    ] {
        let begun = ScramExchange::begin(message.as_bytes(), "ours", |_| asks("pw"));
        assert_eq!(begun.unwrap_err(), error, "{message}");
    }
    assert!(ScramExchange::begin(b"n,,n=\xFF,r=x", "ours", |_| asks("pw")).is_err());
}

#[test]
fn headers_that_are_taken() {
    for header in ["n,,", "y,,", "n,a=ann,"] {
        let mut client = ScramClient::new("ann", "pw", "theirs").header(header);
        assert!(exchange(&mut client, cheap("pw")).is_ok(), "{header}");
    }
}

#[test]
fn last_messages_that_prove_nothing() {
    let proof = STANDARD.encode([0; KEY_BYTES]);
    for (message, error) in [
        (String::new(), ScramError::Malformed),
        ("c=biws,r=theirsours".to_owned(), ScramError::Malformed),
        ("c=biws,r=theirsours,p=AAAA".to_owned(), ScramError::Malformed),
        ("c=biws,r=theirsours,p=!".to_owned(), ScramError::Malformed),
        (format!("r=theirsours,c=biws,p={proof}"), ScramError::Malformed),
        (format!("c=biws,r=theirs,p={proof}"), ScramError::Mismatch),
        (format!("c=eSws,r=theirsours,p={proof}"), ScramError::Mismatch),
        (format!("c=biws,r=theirsours,p={proof}"), ScramError::Proof),
        (format!("c=biws,r=theirsours,x=y,p={proof}"), ScramError::Proof),
    ] {
        let begun = ScramExchange::begin(b"n,,n=ann,r=theirs", "ours", |_| asks("pw"));
        let (exchange, _) = begun.unwrap();
        assert_eq!(exchange.finish(message.as_bytes()), Err(error), "{message}");
    }
}

#[test]
fn an_exchange_cannot_be_replayed() {
    let mut client = ScramClient::new("ann", "pw", "theirs");
    let begin = |nonce| ScramExchange::begin(b"n,,n=ann,r=theirs", nonce, |_| asks("pw")).unwrap();
    let (exchange, first) = begin("one");
    let last = client.last(first.as_bytes()).unwrap();
    assert!(exchange.finish(last.as_bytes()).is_ok());
    let (exchange, _) = begin("two");
    assert_eq!(exchange.finish(last.as_bytes()), Err(ScramError::Mismatch));
}

#[test]
fn verifiers_are_written_as_postgresql_writes_them() {
    // The verifier of PostgreSQL for "pencil" with the salt of the example.
    let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let verifier = ScramVerifier::parse(text).unwrap().unwrap();
    assert!(verifier.verify(b"pencil") && !verifier.verify(b"pen"));
    assert_eq!(
        ScramVerifier::make(b"pencil", ITERATIONS, &verifier.salt),
        verifier
    );
    assert_eq!(verifier.to_string(), text);
    assert_eq!(format!("{verifier:?}"), "ScramVerifier(SCRAM-SHA-256)");
    assert!(
        ScramVerifier::parse("$7$1$a$b").is_none() && ScramVerifier::parse("SCRAM-SHA-1$1:a$b:c").is_none()
    );
    for (from, to, error) in [
        ("$4096:", "$0:", HashError::Malformed),
        ("$4096:", "$+1:", HashError::Malformed),
        ("$4096:", "$10000001:", HashError::TooExpensive),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", "", HashError::Malformed),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", "!", HashError::Malformed),
        ("WG5d8oPm", "", HashError::Malformed),
        (":wfPL", ":", HashError::Malformed),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_eq!(
            ScramVerifier::parse(&wrong).unwrap().unwrap_err(),
            error,
            "{wrong}"
        );
    }
}

#[test]
fn imitations_look_the_same_and_fit_nothing() {
    let real = cheap("pw").verifier;
    let (eve, again) = (real.imitation(b"key", "eve"), real.imitation(b"key", "eve"));
    assert_eq!(eve, again);
    assert_eq!(
        (eve.salt.len(), eve.iterations),
        (real.salt.len(), real.iterations)
    );
    assert_ne!(eve.salt, real.imitation(b"key", "bob").salt);
    assert_ne!(eve.salt, real.imitation(b"other", "eve").salt);
    assert!(!eve.verify(b"pw"));
}

proptest! {
    #[test]
    fn any_message_is_read_without_panic(
        first in "(n,,|y,,|n,a=[ab],|p=x,,)?(n=[a-b=2C,]{0,6})?(,r=[a-c]{0,3})?",
        last in "(c=(biws|x))?(,r=[a-c]{0,3}(ours)?)?(,p=[A-Za-z0-9+/=]{0,44})?",
        bytes: Vec<u8>,
    ) {
        for first in [first.as_bytes(), &bytes] {
            if let Ok((exchange, _)) = ScramExchange::begin(first, "ours", |_| asks("pw")) {
                prop_assert!(exchange.finish(last.as_bytes()).is_err());
            }
        }
    }
}
