//! Tables of command lines and their meanings.

use std::ffi::OsString;

use super::*;
use crate::options::parse_as;
use mqtt::packet::RetainHandling;

fn words(word: &str, line: &str) -> Vec<OsString> {
    [word]
        .into_iter()
        .chain(line.split_whitespace())
        .map(OsString::from)
        .collect()
}

fn publishing(words: Vec<OsString>) -> Result<PublishRequest, clap::Error> {
    parse_as::<PublishArguments>(words)
}

fn subscribing(words: Vec<OsString>) -> Result<SubscribeRequest, clap::Error> {
    parse_as::<SubscribeArguments>(words)
}

#[test]
fn letters_of_mosquitto_pub() {
    let line = "-h a -p 1 -t t -m -1 -q 2 -r -i id -u ann -P -pw -k 7 -V 5 -c --repeat 3";
    let request = publishing(words("pub", line)).unwrap();
    let settings = &request.settings;
    assert_eq!(
        (settings.host.as_str(), settings.port, settings.keep_alive_s),
        ("a", 1, 7)
    );
    assert_eq!(
        (settings.client_identifier.as_str(), settings.clean_start),
        ("id", false)
    );
    assert_eq!(settings.session_expiry_s, u32::MAX);
    assert_eq!(settings.credentials.password.as_deref(), Some("-pw"));
    assert_eq!(request.message, Message::Text(b"-1".to_vec()));
    assert_eq!(
        (request.qos, request.retain, request.repeat),
        (QoS::ExactlyOnce, true, 3)
    );
    assert!(settings.tls.is_none());
    for (line, message) in [
        ("-t t -f file", Message::File("file".into())),
        ("-t t -l", Message::Lines),
        ("-t t -s", Message::StandardInput),
        ("-t t -n", Message::Text(Vec::new())),
    ] {
        assert_eq!(publishing(words("pub", line)).unwrap().message, message, "{line}");
    }
}

#[test]
fn letters_of_mosquitto_sub() {
    let line = "-t a/+ -t b -C 2 -W 3 -v -q 1 --cafile ca --cert c --key k --cn-fallback";
    let request = subscribing(words("sub", line)).unwrap();
    assert_eq!(request.filters, ["a/+", "b"]);
    assert_eq!(
        (request.count, request.timeout),
        (Some(2), Some(Duration::from_secs(3)))
    );
    assert!(request.output.verbose && request.settings.clean_start);
    assert_eq!(
        (request.settings.host.as_str(), request.settings.port),
        ("localhost", 8883)
    );
    let tls = request.settings.tls.unwrap();
    assert_eq!(tls.certificate, Some(("c".into(), "k".into())));
    assert!(tls.cn_fallback && !tls.insecure);
    assert!(request.settings.client_identifier.len() <= 23);
}

#[test]
fn properties_are_those_of_mosquitto_pub_and_mosquitto_sub() {
    let line = "-V 5 -D publish user-property a b -t t -D publish content-type c \
                -D connect receive-maximum 9 -m x -c -i id -D connect session-expiry-interval 7";
    let settings = publishing(words("pub", line)).unwrap().settings;
    let publish = settings.properties.of(Carrier::Publish, None).unwrap();
    assert_eq!(publish.as_properties().iter().count(), 2);
    assert_eq!(settings.session_expiry_s, 0, "the property has it");
    let line = "-V 5 -t a --no-local --retain-as-published --retain-handling new \
                -D subscribe subscription-identifier 4";
    let request = subscribing(words("sub", line)).unwrap();
    assert!(request.subscription.no_local && request.subscription.retain_as_published);
    assert_eq!(
        request.subscription.retain_handling,
        Some(RetainHandling::SendIfNew)
    );
    assert!(request.settings.properties.any_of(Carrier::Subscribe));
}

#[test]
fn a_url_has_the_broker_the_user_and_the_topic() {
    let request = publishing(words("pub", "-L mqtts://ann:secret@h:99/a/b --cafile ca -m x")).unwrap();
    let settings = &request.settings;
    assert_eq!(
        (settings.host.as_str(), settings.port, request.topic.as_str()),
        ("h", 99, "a/b")
    );
    assert_eq!(settings.credentials.password.as_deref(), Some("secret"));
    assert!(settings.tls.is_some() && !format!("{request:?}").contains("secret"));
    let request = subscribing(words("sub", "-L mqtt://h/a/+ -t b")).unwrap();
    assert_eq!(
        (request.filters, request.settings.port),
        (vec!["b".to_owned(), "a/+".to_owned()], 1883)
    );
}

#[test]
fn a_will_and_what_else_mosquitto_sub_has() {
    let line = "-I pre- -t a -U b -U c -T a/x --retained-only -w -d --capath dir --tls-version tlsv1.3 \
                --will-topic w --will-payload gone --will-qos 1 --will-retain -F %t\\n --pretty";
    let request = subscribing(words("sub", line)).unwrap();
    let settings = &request.settings;
    assert_eq!(settings.client_identifier, format!("pre-{}", std::process::id()));
    let will = settings.will.as_ref().unwrap();
    assert_eq!(
        (will.topic.as_str(), will.payload.as_str(), will.qos, will.retain),
        ("w", "gone", QoS::AtLeastOnce, true)
    );
    let tls = settings.tls.as_ref().unwrap();
    assert_eq!(tls.ca_folder, Some("dir".into()));
    assert_eq!(tls.version, Some(transport::tls::TlsVersion::V1_3));
    assert_eq!((request.unsubscribed.len(), request.filtered_out.len()), (2, 1));
    assert!(request.output.format.is_some() && request.output.pretty && request.output.watch);
    assert!(request.retained_only && settings.debug);
}

#[test]
fn a_request_is_of_mqtt_5_and_names_its_response_topic() {
    let asking = |line: &str| parse_as::<RequestArguments>(words("rr", line));
    let request = asking("-t ask -e answer -m x -W 2").unwrap();
    assert_eq!(
        (request.topic.as_str(), request.response.filters.as_slice()),
        ("ask", &["answer".to_owned()][..])
    );
    let settings = &request.response.settings;
    let properties = settings.properties.of(Carrier::Publish, None).unwrap();
    assert_eq!(properties.as_properties().response_topic(), Some("answer"));
    assert_eq!(request.response.count, Some(1));
    assert!(
        asking("-t ask -e answer -m x -V 4")
            .unwrap()
            .response
            .settings
            .properties
            .is_empty()
    );
    for (line, part) in [
        ("-t ask -m x", "--response-topic"),
        ("-t ask -e a/# -m x", "not a topic name"),
        ("-t ask -e a", "nothing to request"),
    ] {
        let error = asking(line).expect_err(line);
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

#[test]
fn the_command_line_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p");
    std::fs::write(&file, "host=h\nport=5\nssl.ca.certificate.path=file.crt\n").unwrap();
    let line = format!("-t t -n --properties {}", file.display());
    let from_file = publishing(words("pub", &line)).unwrap().settings;
    assert_eq!((from_file.host.as_str(), from_file.port), ("h", 5));
    assert_eq!(from_file.tls.unwrap().ca, Some("file.crt".into()));
    let both = publishing(words("pub", &format!("{line} -h x -p 6 --cafile own.crt")))
        .unwrap()
        .settings;
    assert_eq!((both.host.as_str(), both.port), ("x", 6));
    assert_eq!(both.tls.unwrap().ca, Some("own.crt".into()));
}

/// The certificates of the tutorial have a CN alone; whoever gives a file of properties has no flag for that.
#[test]
fn a_file_of_properties_with_a_ca_takes_a_common_name_with_one_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p");
    std::fs::write(&file, "ssl.ca.certificate.path=file.crt\n").unwrap();
    let by_file = format!("-t t -n --properties {}", file.display());
    for (line, cn_fallback, warnings) in [
        (by_file.clone(), true, 1),
        (format!("{by_file} --cn-fallback"), true, 0),
        (format!("{by_file} --insecure"), false, 0),
        ("-t t -n --cafile own.crt".to_owned(), false, 0),
    ] {
        let settings = publishing(words("pub", &line)).unwrap().settings;
        assert_eq!(settings.tls.unwrap().cn_fallback, cn_fallback, "{line}");
        assert_eq!(
            settings.warnings.len(),
            warnings,
            "{line}: {:?}",
            settings.warnings
        );
    }
}

#[test]
fn what_cannot_be_is_a_sentence_and_exit_2() {
    for (line, part) in [
        ("-t t", "nothing to publish"),
        ("-m x", "--topic"),
        ("-t a/# -m x", "not a topic name"),
        ("-t t -m x -n", "--null-message"),
        ("-t t -m x -q 3", "0, 1 or 2"),
        ("-t t -m x -c", "--id"),
        ("-t t -m x -P y", "--username"),
        ("-t t -m x -x 5", "-V 5"),
        ("-t t -m x -D publish content-type a", "-V 5"),
        ("-t t -m x -V 5 -D publish content-type", "3 values required"),
        (
            "-t t -m x -V 5 -D subscribe user-property a b",
            "one of connect, will, publish",
        ),
        ("-t t -m x -V 5 -x 5 -D connect session-expiry-interval 7", "-x"),
        ("-t t -m x --tls", "--cafile"),
        ("-t t -m x --cafile a --cert b", "--key"),
        ("-t t -m x --cafile a --key b", "--cert"),
        ("-t t -m x -p 0", "0"),
        ("-m x", "--topic"),
        ("-L h/t -m x", "mqtt://"),
        ("-L mqtt://h/t -h x -m x", "--host"),
        ("-t t -m x --will-payload x", "--will-topic"),
        ("-t t -m x --will-topic a/#", "not a topic name"),
        ("-t t -m x -V 5 -D will content-type a", "--will-topic"),
        ("-t t -m x --tls-version tlsv1.1", "out of use"),
        ("-t t -m x -I a -i b", "--id"),
        ("-t t -l --repeat 2", "--repeat"),
        ("-t t -m x --properties /nonexistent", "/nonexistent"),
    ] {
        let error = publishing(words("pub", line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
    for (line, part) in [
        ("", "--topic"),
        ("-t a#", "not a topic filter"),
        ("-t a -C 0", "-C"),
        ("-t a -F %z", "%z is not a field"),
        ("-t a --pretty", "-F"),
        ("-t a -T a#", "-T"),
        ("-t a -R --retained-only", "-R"),
        ("-t a --no-local", "-V 5"),
        ("-t $share/g/a --no-local -V 5", "--no-local"),
        ("-t a --retain-handling some -V 5", "never"),
    ] {
        let error = subscribing(words("sub", line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

#[test]
fn secrets_show_in_no_debug_text() {
    let request = publishing(words("pub", "-t t -n -u a -P opensesame")).unwrap();
    assert!(!format!("{request:?}").contains("opensesame"));
}
