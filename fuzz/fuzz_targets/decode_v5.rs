//! The decoder of MQTT 5.0: see `stream`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::ProtocolVersion;

mod stream;

fuzz_target!(|bytes: &[u8]| stream::check(bytes, ProtocolVersion::V5));
