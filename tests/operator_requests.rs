//! What operators send wrong: each is refused by a sentence that names it, and nothing is done.

use std::collections::BTreeSet;

use mqtt::QoS;
use serde_json::{Value, json};

use crate::harness::api::{get_json, list, operate, start_with_api};
use crate::harness::http::ask;
use crate::harness::{Client, Options, Setup, eventually, run};

/// A member that is unknown is refused everywhere, and the sentence has those that may stand there: the same that the
/// document describes.
#[test]
fn what_a_request_may_have_is_what_the_document_describes() {
    let (broker, port) = start_with_api(Setup::default(), 1, "");
    let _client = Client::connect(&broker, &Options::new("a"));
    let document = get_json(port, "openapi.json");
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(below) = path.strip_prefix("/api/v1/") else {
            continue;
        };
        let below = below.replace("{id}", "a").replace("{trace}", "1");
        for (method, operation) in methods.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let method = method.to_uppercase();
            let query = format!("{below}?retian=1");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned());
            expect_named(
                operate(port, &method, &query, "", ""),
                parameters.collect(),
                &query,
            );
            asked += 1;
            // What is no operation takes no body at all, and reads none.
            if ["systree", "version", "listeners"].contains(&&*below) {
                continue;
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let members = body["properties"].as_object().into_iter().flatten();
            let members = members.map(|(name, _)| name.clone());
            let target = match (&*method, &*below) {
                ("DELETE", "retained") => "retained?topic=a",
                ("DELETE", "sessions") => "sessions?client=a",
                ("DELETE", "bans") => "bans?client_id=a",
                _ => &below,
            };
            let answer = operate(port, &method, target, "", "{\"retian\": true}");
            expect_named(answer, members.collect(), target);
        }
    }
    assert!(asked >= 19, "{asked}");
}

/// The answer refuses the member `retian`, and names these that there are.
fn expect_named((status, answer): (String, Value), names: BTreeSet<String>, asked: &str) {
    let sentence = answer["error"].as_str().unwrap_or_default();
    assert_eq!(status, "400", "{asked}: {answer}");
    assert!(sentence.contains("unknown field `retian`"), "{asked}: {sentence}");
    let named: BTreeSet<String> = sentence
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let named: BTreeSet<String> = named.into_iter().filter(|name| name != "retian").collect();
    // A body whose other members are missing is refused for what is unknown first.
    assert_eq!(named, names, "{asked}: {sentence}");
}

#[test]
fn wrong_values_and_contradictions_are_refused() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let mut client = Client::connect(&broker, &Options::new("a"));
    client.publish_retained("kept", b"1", QoS::AtLeastOnce);
    client.subscribe("#", QoS::AtMostOnce);
    assert_eq!(client.payloads(1), ["1"]);
    for (method, path, body, sentence) in WRONG {
        let (status, answer) = operate(port, method, path, "", body);
        assert_eq!(status, "400", "{method} {path} {body}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.starts_with(sentence) && says_what_to_do(error),
            "{method} {path} {body}: {answer}"
        );
    }
    // Nothing of it was done.
    client.ping();
    assert_eq!(list(port, "retained?filter=kept", 10).len(), 1);
    assert_eq!(list(port, "traces", 10).len(), 0);
    assert!(!broker.log().contains("Reloading the configuration"));
}

/// Method, path, body, and how the sentence of the refusal begins.
/// Whether a sentence has what to do, or what may stand there.
fn says_what_to_do(sentence: &str) -> bool {
    let words = [
        "fix: ",
        "must ",
        "remove ",
        "give ",
        "choose ",
        "use ",
        "lists those",
        "say ",
    ];
    words.iter().any(|word| sentence.contains(word))
}

const WRONG: &[(&str, &str, &str, &str)] = &[
    ("GET", "retained?filter=", "", "filter: it is empty; fix: give"),
    (
        "POST",
        "publish",
        "{}",
        "the body: missing field `topic`; fix: give it",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"\"}",
        "topic: it is empty; fix: give",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": ",
        "the body: EOF while parsing a value at line 1 column 10; fix: send one JSON object",
    ),
    (
        "POST",
        "traces",
        "{\"address\": \"router\"}",
        "address: must be an IP address without a port",
    ),
    (
        "DELETE",
        "traces/abc",
        "",
        "the path: the last level must be the number of a trace",
    ),
    ("DELETE", "traces/-1", "", "the path: the last level must be"),
    (
        "GET",
        "sessions/",
        "",
        "the path: the client identifier is missing",
    ),
    (
        "DELETE",
        "sessions/",
        "",
        "the path: the client identifier is missing",
    ),
    (
        "POST",
        "clients//disconnect",
        "",
        "the path: the client identifier is missing",
    ),
    ("GET", "subscriptions?filter=a/%23/b", "", "filter: "),
    ("GET", "retained?filter=a%23", "", "filter: "),
    (
        "GET",
        "events?kind=x",
        "",
        "kind: must be one of refused, denied, dropped, disconnected",
    ),
    (
        "GET",
        "clients?slow=perhaps",
        "",
        "slow: provided string was not `true` or `false`",
    ),
    (
        "GET",
        "clients?limit=1&limit=2",
        "",
        "the query: duplicate field `limit`",
    ),
    (
        "GET",
        "clients?search=%ff",
        "",
        "the query: what is percent-encoded must be UTF-8",
    ),
    (
        "GET",
        "sessions/%ff",
        "",
        "the path: what is percent-encoded must be UTF-8",
    ),
    (
        "DELETE",
        "retained?topic=kept&filter=kept",
        "",
        "the query: topic and filter cannot be used together",
    ),
    (
        "DELETE",
        "retained?topic=kept&limit=1",
        "",
        "the query: limit and cursor cannot be used with topic",
    ),
    (
        "DELETE",
        "retained",
        "",
        "the query: topic, a Topic Name, or filter",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"a\", \"payload_base64\": \"YQ\"}",
        "payload_base64: must be base64 with padding",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"a\", \"payload_base64\": \"not base64\"}",
        "payload_base64: must be base64 with padding",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"a\", \"topic\": \"b\"}",
        "the body: duplicate field `topic`",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"a\"} {}",
        "the body: trailing characters",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"a\", \"retain\": \"yes\"}",
        "retain: invalid type: string \"yes\"",
    ),
    ("POST", "publish", "[\"a\"]", "the body: must be a JSON object"),
    (
        "POST",
        "traces",
        "{\"user\": \"u\", \"address\": \"127.0.0.1\"}",
        "the body: exactly one of client_id",
    ),
    (
        "POST",
        "clients/a/disconnect",
        "{\"reason\": \"152\"}",
        "reason: invalid type: string",
    ),
    (
        "POST",
        "publish",
        "{\"topic\": \"t\", \"payload\": null}",
        "payload: invalid type: null, expected a string",
    ),
    (
        "POST",
        "traces",
        "{\"client_id\": \"\"}",
        "client_id: must not be empty",
    ),
    ("POST", "reload", "{", "the body: EOF while parsing an object"),
    (
        "POST",
        "reload",
        "{\"now\": true}",
        "the body: unknown field `now`, there are no fields",
    ),
];

/// A body whose Content-Type is not JSON, or whose length is ambiguous.
#[test]
fn bodies_of_another_kind_are_refused() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    let body = "{\"topic\": \"t\"}";
    let length = format!("Content-Length: {}\r\n", body.len());
    for (fields, status) in [
        (length.clone() + "Content-Type: text/plain\r\n", "415"),
        (
            length.clone() + "Content-Type: application/json; charset=utf-8\r\n",
            "200",
        ),
        (length.clone() + &length, "200"),
        (length + "Content-Length: 3\r\n", "400"),
    ] {
        let whole = ask(
            port,
            &format!("POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}"),
        );
        assert!(
            whole.starts_with(&format!("HTTP/1.1 {status} ")),
            "{fields}: {whole}"
        );
    }
    let page = ask(port, "GET /metrics?bogus=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
}

/// Paths and methods that do not exist are refused in JSON, like everything else.
#[test]
fn unknown_paths_and_methods_are_refused_in_json() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    for path in ["/api", "/api/v1", "/api/v2/clients"] {
        let whole = ask(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(
            whole.starts_with("HTTP/1.1 404 ") && whole.contains("\"error\": "),
            "{whole}"
        );
    }
    for (method, path, status, allowed) in [
        ("GET", "nothing", "404", None),
        ("GET", "", "404", None),
        ("GET", "sessions/a/b/c", "404", None),
        ("POST", "traces/1/2", "404", None),
        ("PUT", "sessions/a", "405", Some("GET, DELETE")),
        ("GET", "publish", "405", Some("POST")),
        ("PATCH", "retained", "405", Some("GET, DELETE")),
        ("POST", "systree", "405", Some("GET, HEAD")),
        ("DELETE", "version", "405", Some("GET, HEAD")),
    ] {
        let answer = operate(port, method, path, "", "");
        assert_eq!(answer.0, status, "{method} {path}: {}", answer.1);
        let error = answer.1["error"].as_str().unwrap();
        assert!(
            says_what_to_do(error) || error.contains("openapi.json"),
            "{error}"
        );
        let whole = ask(
            port,
            &format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        );
        assert!(
            whole.contains("\r\nContent-Type: application/json\r\n"),
            "{whole}"
        );
        let field = allowed.map(|allowed| format!("\r\nAllow: {allowed}\r\n"));
        assert!(field.is_none_or(|field| whole.contains(&field)), "{whole}");
    }
}

/// What a path names and is not there is not found, and the answer says which list has what is there.
#[test]
fn what_is_not_there_is_not_found() {
    let (_broker, port) = start_with_api(Setup::default(), 2, "");
    for (method, path, sentence) in [
        ("GET", "sessions/nobody", "there is no session of this client"),
        ("DELETE", "sessions/nobody", "there is no session of this client"),
        (
            "POST",
            "clients/nobody/disconnect",
            "this client is not connected",
        ),
        (
            "DELETE",
            "retained?topic=nothing",
            "there is no retained message of this topic",
        ),
        ("DELETE", "traces/77", "there is no trace with this number"),
        (
            "DELETE",
            "traces/18446744073709551615",
            "there is no trace with this number",
        ),
    ] {
        let (status, answer) = operate(port, method, path, "", "");
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, "404", "{method} {path}: {error}");
        assert!(error.starts_with(sentence) && says_what_to_do(error), "{error}");
    }
}

/// A retained message that is not there cannot be deleted; one that was published before is there.
#[test]
fn a_retained_message_that_is_missing_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control").display().to_string();
    let setup = Setup::default().global(&format!("control_socket {socket}"));
    let (broker, port) = start_with_api(setup, 3, "");
    let mut client = Client::connect(&broker, &Options::new("a"));
    client.subscribe("#", QoS::AtMostOnce);
    for number in 0..50 {
        let body = json!({ "topic": format!("kept/{number}"), "payload": "x", "retain": true });
        assert_eq!(operate(port, "POST", "publish", "", &body.to_string()).0, "200");
        let path = format!("retained?topic=kept/{number}");
        assert_eq!(operate(port, "DELETE", &path, "", "").0, "200", "{number}");
        let (status, answer) = operate(port, "DELETE", &path, "", "");
        assert_eq!(
            (status.as_str(), answer["error"].as_str()),
            ("404", Some(MISSING))
        );
    }
    // Nobody is sent a message that deletes nothing. A retained message may come twice: as it was published, and from
    // the search for the new subscription's retained messages.
    let mut deletions = 0;
    while deletions < 50 {
        deletions += usize::from(client.message().payload.is_empty());
    }
    let after = client.arrived();
    assert!(!after.contains(&String::new()), "{after:?}");
    let gone = run(&["ctl", "--socket", &socket, "delete-retained", "kept/0"]);
    assert_eq!((gone.code, gone.stderr), (Some(1), format!("Error: {MISSING}\n")));
    let own = operate(port, "DELETE", "retained?topic=$SYS/broker/version", "", "");
    assert_eq!(own.0, "409", "{}", own.1);
    client.ping();
}

const MISSING: &str = "there is no retained message of this topic: `broker ctl retained`, or GET /api/v1/retained, \
                       lists those that exist";

/// A reload answers with what is in effect of it, and why the rest is not.
#[test]
fn a_reload_answers_with_what_was_taken_and_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("acl"), "topic readwrite #\n").unwrap();
    let socket = path("control");
    let setup = Setup::default()
        .global(&format!("control_socket {socket}"))
        .listener(&format!("acl_file {}", path("acl")));
    let (broker, port) = start_with_api(setup.clone(), 2, "");
    let reload = || operate(port, "POST", "reload", "", "");
    let has = |values: &Value, text: &str| {
        let values = values.as_array().unwrap();
        values
            .iter()
            .any(|value| value.as_str().unwrap().starts_with(text))
    };
    let (status, answer) = reload();
    assert_eq!(status, "200", "{answer}");
    assert!(has(&answer["taken"], "the settings") && has(&answer["taken"], "the acl_file of listener"));
    assert_eq!(answer["kept"], json!([]));
    // A listener that takes a restart is no mistake; it is the http_api that the test's file has no more.
    broker.configure(&setup.clone().listener("message_size_limit 4"));
    let (status, answer) = reload();
    assert_eq!(status, "200", "{answer}");
    assert_eq!(answer["kept"][0]["needs"], "restart");
    // What can be used is taken, and what cannot is kept.
    std::fs::write(path("acl"), "nonsense\n").unwrap();
    let (status, answer) = reload();
    assert_eq!(status, "409", "{answer}");
    assert!(has(&answer["taken"], "the settings") && !has(&answer["taken"], "the acl_file"));
    let kept = answer["kept"].as_array().unwrap();
    let kept = kept.iter().find(|kept| kept["needs"] == "correction").unwrap();
    assert!(
        kept["what"]
            .as_str()
            .unwrap()
            .starts_with("the acl_file of listener"),
        "{kept}"
    );
    assert!(kept["why"].as_str().unwrap().contains("acl:1: "), "{kept}");
    assert!(answer["error"].as_str().unwrap().contains(" in effect as "));
    let ctl = run(&["ctl", "--socket", &socket, "reload"]);
    assert_eq!(ctl.code, Some(1), "{}", ctl.stdout);
    assert!(ctl.stdout.contains("taken    the settings\n"), "{}", ctl.stdout);
    assert!(ctl.stdout.contains("(needs a correction)\n"), "{}", ctl.stdout);
    assert!(
        ctl.stderr.starts_with("Error: the acl_file of listener"),
        "{}",
        ctl.stderr
    );
}

/// A mistake in the configuration keeps all of it.
#[test]
fn a_reload_that_takes_nothing_says_why() {
    let (broker, port) = start_with_api(Setup::default(), 1, "");
    broker.configure(&Setup::default().global("max_qos 3"));
    let (status, answer) = operate(port, "POST", "reload", "", "");
    assert_eq!(status, "409", "{answer}");
    assert_eq!(answer["taken"], json!([]));
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("max_qos 3: must be 0 to 2"),
        "{answer}"
    );
    eventually("it is in the log too", || {
        broker.log().contains("The configuration was not reloaded")
    });
}
