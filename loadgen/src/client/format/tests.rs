//! Formats as mosquitto_sub writes them, and mistakes in them.
//!
//! Invariants: none.

use super::*;
use chrono::TimeZone as _;
use mqtt::packet::{PacketIdentifier, QoS};
use mqtt::property::PropertiesBuf;

fn written(format: &str, payload: &[u8]) -> Result<String, NoJson> {
    let mut properties = PropertiesBuf::new();
    for property in [
        Property::SubscriptionIdentifier(7),
        Property::ContentType("text/plain"),
        Property::UserProperty("k1", "v1"),
        Property::UserProperty("k1", "v2"),
    ] {
        properties.push(property).unwrap();
    }
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/topic",
        packet_identifier: Some(PacketIdentifier::MIN),
        properties: properties.as_properties(),
        payload,
    };
    let printed = Printed {
        publish: &publish,
        topic: "a/topic",
        at: Local.timestamp_opt(1_470_818_858, 5).unwrap(),
        pretty: false,
    };
    let mut out = Vec::new();
    let result = OutputFormat::parse(format).unwrap().write(printed, &mut out);
    result.map(|()| String::from_utf8(out).unwrap())
}

/// Each line was written by mosquitto_sub 2.0.11 for the same message.
#[test]
fn fields_are_laid_out_as_mosquitto_sub_does() {
    for (format, expected) in [
        (
            "%t|%p|%q|%r|%l|%m|%A|%E|%P|%S",
            "a/topic|hello|1|1|5|1|||k1:v1 k1:v2|7",
        ),
        (
            "|%10t|%-10t|%010t|%.3t|%10.3t|%-10.3t|",
            "|   a/topic|a/topic   |   a/topic|a/t|       a/t|a/t       |",
        ),
        (
            "|%5l|%-5l|%05l|%5m|%05m|%.1l|",
            "|    5|5    |00005|    1|00001|5|",
        ),
        (
            "|%5A|%05A|%5C|%12C|%.3C|%03S|",
            "|     |00000|text/plain|  text/plain|tex|007|",
        ),
        (
            "|%8p|%-8p|%.3p|%x|%X|",
            "|   hello|hello   |hello|68656c6c6f|68656C6C6F|",
        ),
        ("@@|%%|\\n\\t\\\\|%10q|%10P", "@|%|\n\t\\|1|k1:v1 k1:v2"),
        ("%U @N @Y", "1470818858.000000005 000000005 2016"),
    ] {
        assert_eq!(written(format, b"hello").as_deref(), Ok(expected), "{format}");
    }
    assert_eq!(written("%.4I", b"").as_deref(), Ok("2016"));
}

#[test]
fn json_has_the_fields_of_mosquitto_sub() {
    let quoted = written("%j", b"{\"a\":  2.50}").unwrap();
    let tail = "\"topic\":\"a/topic\",\"qos\":1,\"retain\":1,\"payloadlen\":12,\"mid\":1,\"properties\":{\
                \"subscription-identifier\":7,\"content-type\":\"text/plain\",\"user-properties\":{\
                \"k1\":\"v1\",\"k1\":\"v2\"}},\"payload\":\"{\\\"a\\\":  2.50}\"}";
    assert!(quoted.starts_with("{\"tst\":\"2016-08-10T"), "{quoted}");
    assert!(quoted.ends_with(tail), "{quoted}");
    assert!(
        written("%J", b"[1,\"x\"]")
            .unwrap()
            .ends_with("\"payload\":[1,\"x\"]}")
    );
    assert_eq!(written("%J", b"hello"), Err(NoJson));
}

#[test]
fn mistakes_are_sentences() {
    for (format, part) in [
        ("x%", "ends within"),
        ("%5", "ends within"),
        ("%5.", "ends within"),
        ("%z", "%z is not a field"),
        ("x@", "ends with @"),
        ("@!", "strftime"),
        ("x\\", "backslash"),
        ("\\q", "not an escape"),
        ("%99999t", "at most"),
    ] {
        let error = OutputFormat::parse(format).expect_err(format);
        assert!(error.contains(part), "{format}: {error}");
    }
}
