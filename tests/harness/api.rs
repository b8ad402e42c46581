//! A broker with an `http_api` listener, and what operators ask of it.

use serde_json::Value;

use super::http::{ask, get, request};
use super::{Broker, Setup, eventually, free_port};

/// A broker with an http_api beside MQTT, and the port of that; `keys` are those of that listener. It serves clients
/// already, unless the listener has TLS: then nothing is asked here.
pub(crate) fn start_with_api(setup: Setup, shards: u16, keys: &str) -> (Broker, u16) {
    let port = free_port();
    let broker = setup
        .shards(shards)
        .listener(&format!("listener {port} 127.0.0.1\nprotocol http_api\n{keys}"))
        .start();
    // It answers before the shards serve.
    if !keys.contains("certfile") {
        eventually("the shards serve", || get(port, "/readyz").status == "200");
    }
    (broker, port)
}

/// Asks for a path below `/api/v1`: the status and the JSON.
pub(crate) fn operate(port: u16, method: &str, path: &str, fields: &str, body: &str) -> (String, Value) {
    let request = format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost:{port}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(port, &request);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer}"));
    let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (head["HTTP/1.1 ".len()..][..3].to_owned(), json)
}

/// The JSON of a path below `/api/v1`.
pub(crate) fn get_json(port: u16, path: &str) -> Value {
    let (status, json) = operate(port, "GET", path, "", "");
    assert_eq!(status, "200", "{path}: {json}");
    json
}

/// All entries of a list, page by page.
pub(crate) fn list(port: u16, path: &str, limit: usize) -> Vec<Value> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get_json(port, &format!("{path}{joint}limit={limit}{cursor}"));
        let more = page["items"].as_array().unwrap();
        assert!(more.len() <= limit);
        items.extend(more.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// The page of metrics in the older text format, without its head.
pub(crate) fn metrics(port: u16) -> String {
    let answer = ask(port, &request("GET", "/metrics"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// A sample of the page of metrics, named with its labels.
pub(crate) fn metric(port: u16, name: &str) -> f64 {
    let page = metrics(port);
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .unwrap()
}
