//! Hashes of mosquitto and of Midge, and texts that are not hashes.

use proptest::prelude::*;

use super::*;

/// Created with mosquitto_passwd 2.0.11 for the passwords "pw" and "x".
const PBKDF2: &str = "$7$101$7ph9hql0HPjKAApL$\
    DZI44za4vmBMaLVxfEWNyY14sPel590RC3kxA6LuX1ASnptSc3XkjO7t7SA3T4XFfruPvRdoqwhMj2K7jSA0RQ==";
const SHA512_X: &str = "$6$JAb3f/OZ7AYTt1kc$\
    f4gDNHPRv0u0qLKdkHcyKmURUO20wuqZoEkEqZf+TCB3EHjEe+4ZDye4KoeHtT77NvOX6xI8cjlYu4YXu3iwsQ==";

const CHEAP_SCRAM: Algorithm = Algorithm::ScramSha256 {
    iterations: NonZeroU32::MIN,
};

fn cheap_pbkdf2() -> Algorithm {
    Algorithm::Sha512Pbkdf2 {
        iterations: NonZeroU32::new(7).unwrap(),
    }
}

#[test]
fn hashes_of_mosquitto() {
    for (text, password) in [(PBKDF2, "pw"), (SHA512_X, "x")] {
        let hash = PasswordHash::parse(text).unwrap();
        assert!(hash.verify(password.as_bytes()), "{text}");
        for wrong in ["", "P", "pw ", "xx"] {
            assert!(!hash.verify(wrong.as_bytes()), "{text} {wrong}");
        }
        assert_eq!(hash.to_string(), text);
    }
}

#[test]
fn own_hashes_are_read_back() {
    for algorithm in [
        Algorithm::Sha512,
        cheap_pbkdf2(),
        Algorithm::Argon2id,
        CHEAP_SCRAM,
    ] {
        let made = PasswordHash::make(b"secret", algorithm).unwrap();
        let read = PasswordHash::parse(&made.to_string()).unwrap();
        assert_eq!(read, made);
        assert!(read.verify(b"secret") && !read.verify(b"Secret"), "{algorithm:?}");
        assert_ne!(
            PasswordHash::make(b"secret", algorithm).unwrap(),
            made,
            "a salt of its own"
        );
    }
}

#[test]
fn argon2id_has_mosquittos_form() {
    let made = PasswordHash::make(b"secret", Algorithm::Argon2id)
        .unwrap()
        .to_string();
    assert!(made.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{made}");
}

#[test]
fn malformed_hashes_are_refused() {
    let short = "$7$101$7ph9hql0HPjKAApL$DZI44za4";
    for (text, error) in [
        ("", HashError::Unknown),
        ("secret", HashError::Unknown),
        ("$", HashError::Unknown),
        ("$5$a$b", HashError::Unknown),
        (
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            HashError::Unknown,
        ),
        ("$6$", HashError::Malformed),
        ("$6$c2FsdA==", HashError::Malformed),
        ("$6$c2FsdA==$", HashError::Malformed),
        ("$6$$", HashError::Malformed),
        ("$6$!!!!$aGFzaA==", HashError::Malformed),
        ("$7$101$c2FsdA==", HashError::Malformed),
        ("$7$$c2FsdA==$aGFzaA==", HashError::Malformed),
        (short, HashError::Malformed),
        ("SCRAM-SHA-256$4096:c2FsdA==", HashError::Malformed),
        ("SCRAM-SHA-1$4096:c2FsdA==$a:b", HashError::Unknown),
        (&PBKDF2.replace("101", "0"), HashError::Malformed),
        (&PBKDF2.replace("101", "-1"), HashError::Malformed),
        (&PBKDF2.replace("101", "+1"), HashError::Malformed),
        (&PBKDF2.replace("101", "99999999999"), HashError::Malformed),
        (&PBKDF2.replace("101", "10000001"), HashError::TooExpensive),
        (
            &PBKDF2.replace("$7$101$7ph9hql0HPjKAApL$", "$7$101$$"),
            HashError::Malformed,
        ),
        ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", HashError::Malformed),
        (
            "$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            HashError::Malformed,
        ),
        (
            "$argon2id$v=19$m=2097152,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            HashError::TooExpensive,
        ),
        (
            "$argon2id$v=19$m=1024,t=65,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            HashError::TooExpensive,
        ),
        (
            "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            HashError::Malformed,
        ),
    ] {
        assert_eq!(PasswordHash::parse(text), Err(error), "{text}");
    }
}

#[test]
fn debug_shows_no_hash() {
    assert_eq!(
        format!("{:?}", PasswordHash::parse(PBKDF2).unwrap()),
        "PasswordHash($7$)"
    );
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in r"(\$(6|7|argon2id)\$|SCRAM-SHA-256\$1:)?[$0-9A-Za-z+/=,:vmtp]{0,80}") {
        if let Ok(hash) = PasswordHash::parse(&text) {
            prop_assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
        }
    }

    #[test]
    fn only_the_password_itself_is_right(
        // HMAC treats zeros at the end of a key as padding, so U+0000 is left out.
        password in proptest::collection::vec(1_u8.., 0..40),
        other in proptest::collection::vec(1_u8.., 0..40),
    ) {
        let hash = PasswordHash::make(&password, cheap_pbkdf2()).unwrap();
        prop_assert!(hash.verify(&password));
        prop_assert_eq!(hash.verify(&other), other == password);
    }
}
