//! The decoder of MQTT 3.1 and 3.1.1: see `stream`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::ProtocolVersion;

mod stream;

fuzz_target!(|input: (bool, &[u8])| {
    let (old, bytes) = input;
    stream::check(
        bytes,
        if old {
            ProtocolVersion::V3_1
        } else {
            ProtocolVersion::V3_1_1
        },
    );
});
