//! The two messages of a client that authenticates with SCRAM-SHA-256: any bytes result in an error, and without the
//! password no bytes result in a proof.
#![no_main]

use std::num::NonZeroU32;
use std::sync::OnceLock;

use broker::auth::scram::{Challenge, ScramExchange, ScramVerifier};
use libfuzzer_sys::fuzz_target;

const NONCE: &str = "server-nonce";

fn challenge(known: bool) -> Challenge {
    static VERIFIER: OnceLock<ScramVerifier> = OnceLock::new();
    let make = || ScramVerifier::make(b"a long password that no input has", NonZeroU32::MIN, b"salt");
    Challenge {
        verifier: VERIFIER.get_or_init(make).clone(),
        known,
    }
}

fuzz_target!(|input: (bool, &[u8], &[u8])| {
    let (known, first, last) = input;
    let Ok((exchange, server_first)) = ScramExchange::begin(first, NONCE, |_| Some(challenge(known))) else {
        return;
    };
    assert!(server_first.contains(NONCE));
    assert!(exchange.finish(last).is_err());
});
