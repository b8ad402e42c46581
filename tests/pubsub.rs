//! `loadgen pub` and `loadgen sub` against the broker: QoS handshakes, sources of messages, ends and exit codes.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use mqtt::QoS;

use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually};
use crate::real_clients;

fn command(broker: &Broker, word: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"));
    command
        .args([word, "-h", "127.0.0.1", "-p", &broker.port().to_string()])
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn publish(broker: &Broker, line: &str) -> Output {
    command(broker, "pub", line).output().unwrap()
}

/// Starts a subscriber and waits for its subscription: the log has `TIME: CLIENT QOS FILTER` for each.
fn subscriber(broker: &Broker, line: &str) -> Child {
    let given: Vec<_> = line.split_whitespace().collect();
    let is_given = |filter: &str| given.windows(2).any(|pair| pair == ["-t", filter]);
    let subscriptions = || {
        let is_subscription = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            matches!(words[..], [_, _, "0" | "1" | "2", filter] if is_given(filter))
        };
        broker.log().lines().filter(is_subscription).count()
    };
    let before = subscriptions();
    let child = command(broker, "sub", line).spawn().unwrap();
    eventually("the subscription", || subscriptions() > before);
    child
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn verbose() -> Setup {
    Setup::default().shards(2).global("log_type all")
}

#[test]
fn each_version_and_qos() {
    let broker = verbose().start();
    for version in ["3", "4", "5"] {
        for qos in ["0", "1", "2"] {
            let receiving = subscriber(
                &broker,
                &format!("-V {version} -q {qos} -t a/{version}/+ -v -C 25"),
            );
            let line = format!("-V {version} -q {qos} -t a/{version}/{qos} -m x --repeat 25");
            let published = publish(&broker, &line);
            assert!(published.status.success(), "{published:?}");
            let (code, printed, errors) = ended(receiving);
            assert_eq!((code, errors.as_str()), (Some(0), ""), "{version} {qos}");
            assert_eq!(printed, format!("a/{version}/{qos} x\n").repeat(25));
        }
    }
}

#[test]
fn sources_of_messages() {
    let broker = verbose().start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "two\nlines").unwrap();
    let receiving = subscriber(&broker, "-t t -q 2 -N -C 5");
    assert!(
        publish(&broker, &format!("-t t -q 1 -f {}", file.path().display()))
            .status
            .success()
    );
    assert!(publish(&broker, "-t t -q 2 -n").status.success());
    let mut lines = command(&broker, "pub", "-t t -q 2 -l")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    lines.stdin.take().unwrap().write_all(b"[a]\n[b]\r\n[c]").unwrap();
    assert_eq!(ended(lines).0, Some(0));
    let (code, printed, _) = ended(receiving);
    assert_eq!((code, printed.as_str()), (Some(0), "two\nlines[a][b][c]"));
}

#[test]
fn aliases_of_both_directions_stand_for_their_topic() {
    let broker = verbose().start();
    let topic = "a/topic/that/is/longer/than/its/alias";
    let line =
        "-V 5 -D connect topic-alias-maximum 5 -D subscribe subscription-identifier 3 -t a/# -v -q 1 -C 6";
    let receiving = subscriber(&broker, line);
    let line =
        format!("-q 1 -t {topic} -m x --repeat 3 -V 5 -D publish user-property a b -D publish topic-alias");
    let aliased = publish(&broker, &format!("{line} 1"));
    assert!(
        aliased.status.success() && aliased.stderr.is_empty(),
        "{aliased:?}"
    );
    let refused = publish(&broker, &format!("{line} 65535"));
    assert!(refused.status.success(), "{refused:?}");
    let errors = String::from_utf8(refused.stderr).unwrap();
    assert!(errors.contains("the topic is sent each time"), "{errors}");
    let (code, printed, errors) = ended(receiving);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(printed, format!("{topic} x\n").repeat(6));
}

#[test]
fn web_sockets_with_and_without_tls() {
    let certificates = Certificates::new();
    let ca = format!("--cafile {}", certificates.path("ca.crt").display());
    for (setup, tls) in [(verbose(), String::new()), (verbose().tls(&certificates), ca)] {
        let broker = setup.listener("protocol websockets").start();
        let receiving = subscriber(&broker, &format!("--ws {tls} -t a -q 2 -C 3"));
        let published = publish(&broker, &format!("--ws {tls} -t a -q 2 -m x --repeat 3"));
        assert!(published.status.success(), "{published:?}");
        assert_eq!(ended(receiving), (Some(0), "x\n".repeat(3), String::new()));
    }
}

#[test]
fn retained_messages_and_sessions() {
    let broker = verbose().start();
    assert!(publish(&broker, "-t kept -q 1 -r -m kept").status.success());
    assert_eq!(ended(subscriber(&broker, "-t kept -C 1 -W 10")).1, "kept\n");
    let (code, printed, _) = ended(subscriber(&broker, "-t kept -R -W 0.5"));
    assert_eq!((code, printed.as_str()), (Some(27), ""));
    let never = subscriber(&broker, "-V 5 --retain-handling never -t kept -W 0.5");
    assert_eq!(ended(never).1, "");
    for version in ["4", "5"] {
        let line = format!("-V {version} -i holder{version} -c -t later -q 1");
        assert_eq!(ended(subscriber(&broker, &format!("{line} -E"))).0, Some(0));
        assert!(publish(&broker, "-t later -q 1 -m first").status.success());
        assert!(publish(&broker, "-t later -q 1 -m second").status.success());
        // What is not printed is not acknowledged: it is there the next time.
        for message in ["first\n", "second\n"] {
            let (code, printed, errors) = ended(
                command(&broker, "sub", &format!("{line} -C 1 -W 10"))
                    .spawn()
                    .unwrap(),
            );
            assert_eq!((code, printed.as_str()), (Some(0), message), "{errors}");
        }
    }
}

/// As mosquitto_sub: a connection that is lost is made again, with its subscriptions.
#[test]
fn a_lost_connection_is_made_again() {
    let port = crate::harness::free_port();
    let setup = verbose().listener(&format!("listener {port} 127.0.0.1\nallow_anonymous true"));
    let first = setup.start();
    let receiving = {
        let before = first.log().lines().count();
        let child = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"))
            .args([
                "sub",
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-V",
                "5",
                "-t",
                "t",
                "-C",
                "1",
                "-W",
                "30",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the subscription", || {
            first
                .log()
                .lines()
                .skip(before)
                .any(|line| line.ends_with(" 0 t"))
        });
        child
    };
    first.signal(rustix::process::Signal::TERM);
    assert!(first.wait().0.success());
    let second = setup.start();
    eventually("the subscription again", || {
        second.log().lines().any(|line| line.ends_with(" 0 t"))
    });
    assert!(publish(&second, "-t t -q 1 -m hello").status.success());
    let (code, printed, errors) = ended(receiving);
    assert_eq!((code, printed.as_str()), (Some(0), "hello\n"), "{errors}");
    assert!(
        errors.contains("Server shutting down") && errors.contains("; reconnecting"),
        "{errors}"
    );
}

#[test]
fn a_broker_that_stays_away_ends_with_the_time() {
    let broker = verbose().start();
    let receiving = subscriber(&broker, "-V 4 -t t -W 3");
    broker.signal(rustix::process::Signal::TERM);
    let (code, _, errors) = ended(receiving);
    assert_eq!(code, Some(27), "{errors}");
    assert!(errors.contains("reconnecting"), "{errors}");
    assert!(broker.wait().0.success());
}

#[test]
fn nobody_listens() {
    let port = crate::harness::free_port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"))
        .args(["pub", "-h", "127.0.0.1", "-p", &port, "-t", "t", "-n"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains(&format!("127.0.0.1 port {port}")) && errors.contains("refused"),
        "{errors}"
    );
}

#[test]
fn a_message_that_is_too_large_is_refused_before_it_is_sent() {
    let broker = verbose().global("max_packet_size 100").start();
    let output = publish(&broker, &format!("-V 5 -t t -m {}", "x".repeat(200)));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("100 at most"), "{errors}");
}

/// A password on the command line is not in the title of the process.
#[test]
fn a_password_is_in_no_process_title() {
    let broker = verbose().start();
    let child = subscriber(&broker, "-t t -u ann -P opensesame -C 1");
    let title = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    let title = String::from_utf8_lossy(&title).into_owned();
    assert!(title.contains("ann") && !title.contains("opensesame"), "{title}");
    assert!(
        publish(&broker, "-t t -n -u ann -P opensesame -q 1")
            .status
            .success()
    );
    assert_eq!(ended(child).0, Some(0));
    assert!(!broker.log().contains("opensesame"));
}

#[test]
fn over_tls() {
    let certificates = Certificates::new();
    let broker = verbose().tls(&certificates).start();
    let ca = certificates.path("ca.crt").display().to_string();
    let receiving = subscriber(&broker, &format!("--cafile {ca} -t t -q 2 -C 1"));
    assert!(
        publish(&broker, "--insecure -t t -q 2 -m secure")
            .status
            .success()
    );
    assert_eq!(ended(receiving).1, "secure\n");
}

/// The options that mosquitto_sub has too write the same bytes as it does.
#[test]
fn formats_are_written_as_mosquitto_sub_writes_them() {
    if Command::new("mosquitto_sub").arg("--help").output().is_err() {
        return real_clients::skip("mosquitto-clients");
    }
    let broker = verbose().start();
    let line = "-V 5 -q 1 -r -t a/topic -D publish content-type text/plain -D publish correlation-data xyz \
                -D publish message-expiry-interval 360000 -D publish payload-format-indicator 1 \
                -D publish response-topic answer -D publish user-property k1 v1 -D publish user-property k2 v2";
    let formats = [
        "%t|%p|%q|%r|%l|%m|%A|%C|%D|%F|%P|%R|%S",
        "|%10t|%-10t|%010t|%.3t|%10.3t|%-10.3t|%12C|%.3C|%8R|",
        "|%5l|%-5l|%05l|%5m|%05m|%.1l|%5A|%05A|%5F|%05F|%3S|%03S|",
        "|%40p|%-40p|%.3p|%x|%X|",
        "@@|@Y|%%|\\n\\t\\\\\\a\\e\\v\\r|%10q|%10P|%10D|",
    ];
    for payload in ["{\"a\":1,\"b\":[true,null,\"x\"]}", "plain"] {
        assert!(
            command(&broker, "pub", line)
                .args(["-m", payload])
                .status()
                .unwrap()
                .success()
        );
        for format in formats {
            let given = [
                "-V", "5", "-q", "1", "-t", "a/#", "-C", "1", "-W", "10", "-F", format,
            ];
            let identifier = ["-D", "subscribe", "subscription-identifier", "7"];
            let ours = command(&broker, "sub", "").args(given).args(identifier).output();
            let theirs = Command::new("mosquitto_sub")
                .args(["-h", "127.0.0.1", "-p", &broker.port().to_string()])
                .args(given)
                .args(identifier)
                .output();
            let text = |output: std::io::Result<Output>| String::from_utf8(output.unwrap().stdout).unwrap();
            assert_eq!(text(ours), text(theirs), "{format}");
        }
    }
    for (format, payload) in [
        ("%j", "a \"quoted\" one"),
        ("%J", "{\"a\":1,\"b\":[true,null,\"x\"]}"),
    ] {
        assert!(
            command(&broker, "pub", line)
                .args(["-m", payload])
                .status()
                .unwrap()
                .success()
        );
        let json = |mut command: Command| {
            command.args([
                "-V", "5", "-q", "1", "-t", "a/#", "-C", "1", "-W", "10", "-F", format,
            ]);
            let output = command.output().unwrap();
            let mut object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let time = object.as_object_mut().unwrap().remove("tst").unwrap();
            (object, time.as_str().unwrap().len())
        };
        let mut theirs = Command::new("mosquitto_sub");
        theirs.args(["-h", "127.0.0.1", "-p", &broker.port().to_string()]);
        let mut ours = json(command(&broker, "sub", ""));
        let mut theirs = json(theirs);
        for (object, _) in [&mut ours, &mut theirs] {
            // Seconds may have passed between the two.
            object["properties"]["message-expiry-interval"].take();
        }
        assert_eq!(ours, theirs, "{format}");
    }
}

#[test]
fn retained_messages_are_shown_left_out_and_deleted() {
    let broker = verbose().start();
    for topic in ["a", "b", "c"] {
        assert!(
            publish(&broker, &format!("-t {topic} -q 1 -r -m kept"))
                .status
                .success()
        );
    }
    let removing = subscriber(&broker, "-t + -T b -v --retained-only --remove-retained -q 1");
    // The rest comes before: it is one client, and the broker answers in order.
    eventually("both are deleted", || {
        let left = ended(subscriber(&broker, "-t + -v -W 0.3")).1;
        left == "b kept\n"
    });
    assert!(publish(&broker, "-t new -q 1 -m live").status.success());
    let (code, printed, errors) = ended(removing);
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!((code, lines), (Some(0), vec!["a kept", "c kept"]), "{errors}");
}

#[test]
fn a_kept_session_unsubscribes() {
    let broker = verbose().start();
    assert_eq!(
        ended(subscriber(&broker, "-i kept -c -t a -t b -q 1 -E")).0,
        Some(0)
    );
    let unsubscribed = command(&broker, "sub", "-i kept -c -U a -E").output().unwrap();
    assert_eq!(unsubscribed.status.code(), Some(0), "{unsubscribed:?}");
    for topic in ["a", "b"] {
        assert!(
            publish(&broker, &format!("-t {topic} -q 1 -m x"))
                .status
                .success()
        );
    }
    let line = "-i kept -c -t b -q 1 -v -W 1";
    let rest = command(&broker, "sub", line).output().unwrap();
    assert_eq!(String::from_utf8(rest.stdout).unwrap(), "b x\n");
}

#[test]
fn a_will_is_published_when_the_client_is_killed() {
    let broker = verbose().start();
    let watching = subscriber(&broker, "-V 5 -t will -F %p|%q|%C -C 1 -W 20");
    let line = "-V 5 -t t --will-topic will --will-payload gone --will-qos 1 -D will content-type why";
    let mut dying = subscriber(&broker, line);
    dying.kill().unwrap();
    dying.wait().unwrap();
    assert_eq!(ended(watching).1, "gone|0|why\n");
}

#[test]
fn a_request_has_its_response() {
    let broker = verbose().start();
    let mut responder = Client::connect(&broker, &Options::new("responder").v5());
    assert_eq!(responder.subscribe("ask", QoS::ExactlyOnce), 2);
    for (version, qos) in [("5", "0"), ("5", "1"), ("5", "2"), ("4", "1")] {
        let line = format!("-V {version} -q {qos} -t ask -e answer/{qos} -m question -W 20 -F %t:%p");
        let asking = command(&broker, "rr", &line).spawn().unwrap();
        let question = responder.message();
        assert_eq!(question.payload, b"question");
        responder.publish(&format!("answer/{qos}"), b"response", QoS::ExactlyOnce);
        let (code, printed, errors) = ended(asking);
        assert_eq!(
            (code, printed),
            (Some(0), format!("answer/{qos}:response\n")),
            "{errors}"
        );
    }
    let silent = command(&broker, "rr", "-q 1 -t nobody -e answer -n -W 0.5")
        .output()
        .unwrap();
    let errors = String::from_utf8(silent.stderr).unwrap();
    assert_eq!(silent.status.code(), Some(27), "{errors}");
    assert!(errors.contains("nobody has subscribed"), "{errors}");
}

#[test]
fn a_url_and_packets_that_are_shown() {
    let broker = verbose().start();
    let url = format!("mqtt://ann:opensesame@127.0.0.1:{}/by/url", broker.port());
    let loadgen = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let before = broker.log().lines().count();
    let receiving = loadgen()
        .args(["sub", "-L", &url, "-v", "-C", "1"])
        .spawn()
        .unwrap();
    eventually("the subscription", || {
        broker
            .log()
            .lines()
            .skip(before)
            .any(|line| line.ends_with(" 0 by/url"))
    });
    let title = std::fs::read(format!("/proc/{}/cmdline", receiving.id())).unwrap();
    let title = String::from_utf8_lossy(&title).into_owned();
    assert!(!title.contains("opensesame"), "{title}");
    let published = loadgen()
        .args(["pub", "-L", &url, "-q", "1", "-m", "hello", "-d", "-I", "me-"])
        .output();
    let published = published.unwrap();
    assert!(published.status.success(), "{published:?}");
    assert_eq!(ended(receiving).1, "by/url hello\n");
    let shown = String::from_utf8(published.stderr).unwrap();
    for packet in [
        " sending CONNECT\n",
        " received CONNACK (0)\n",
        " sending PUBLISH (d0, q1, r0, m1, 'by/url', ... (5 bytes))\n",
        " received PUBACK (m1, rc0)\n",
    ] {
        assert!(shown.contains(packet) && shown.contains("Client me-"), "{shown}");
    }
    assert!(!shown.contains("opensesame"));
}

#[test]
fn authorities_in_a_folder() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(certificates.path("ca.crt"), folder.path().join("ca.crt")).unwrap();
    let rehashed = Command::new("openssl")
        .arg("rehash")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(rehashed.success());
    let broker = verbose().tls(&certificates).start();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let line = format!(
            "--capath {} --tls-version {version} -t t -q 1 -m x",
            folder.path().display()
        );
        let published = publish(&broker, &line);
        assert!(published.status.success(), "{published:?}");
    }
}
