//! The document of the HTTP API is true: what a broker answers has the form that it describes.

use std::collections::BTreeSet;

use mqtt::QoS;
use serde_json::{Value, json};

use crate::harness::api::{get_json, operate, start_with_api};
use crate::harness::{Broker, Client, Options, Setup};

/// Every operation is asked, rightly and wrongly, and each answer obeys the schema of its status.
#[test]
fn answers_have_the_form_that_the_document_describes() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let _clients = busy(&broker);
    let document = get_json(port, "openapi.json");
    let started = operate(port, "POST", "traces", "", "{\"client_id\": \"a\"}").1;
    let trace = format!("traces/{}", started["trace"]);
    let asked = ASKED.into_iter().chain([("DELETE", trace.as_str(), "", "200")]);
    let mut described = operations(&document);
    for (method, path, body, status) in asked {
        let (answered, answer) = operate(port, method, path, "", body);
        assert_eq!(answered, status, "{method} {path}: {answer}");
        let route = route(&document, path);
        let operation = &document["paths"][&route][method.to_lowercase()];
        let response = &operation["responses"][status];
        let response = match response["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap(),
            None => response,
        };
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{method} {route} {status} is not described");
        expect_valid(&document, schema, &answer, path);
        described.remove(&format!("{method} {route}"));
    }
    // Those that do not answer with JSON.
    let others = ["/metrics", "/healthz", "/readyz", "/api/v1/version"];
    let others: BTreeSet<_> = others.map(|path| format!("GET {path}")).into();
    assert_eq!(described, others);
}

/// Requests, with their bodies and the status of the answers.
const ASKED: [(&str, &str, &str, &str); 43] = [
    ("GET", "clients", "", "200"),
    ("GET", "clients?limit=1", "", "200"),
    ("GET", "clients?slow=perhaps", "", "400"),
    ("GET", "sessions", "", "200"),
    ("GET", "sessions?cursor=x", "", "400"),
    ("GET", "sessions/away", "", "200"),
    ("GET", "sessions/nobody", "", "404"),
    ("GET", "subscriptions", "", "200"),
    ("GET", "retained", "", "200"),
    ("GET", "retained?payloads=true", "", "200"),
    ("GET", "retained?filter=%23/a", "", "400"),
    ("GET", "events", "", "200"),
    ("GET", "cpu", "", "200"),
    ("GET", "cpu?limit=0", "", "400"),
    ("GET", "traces", "", "200"),
    ("POST", "traces", "{\"user\": \"u\"}", "200"),
    ("POST", "traces", "{}", "400"),
    ("POST", "publish", "{\"topic\": \"a\"}", "200"),
    ("POST", "publish", "{\"topic\": \"a/#\"}", "400"),
    ("POST", "publish", "{\"topic\": \"$SYS/a\"}", "409"),
    ("DELETE", "retained?topic=kept/0", "", "200"),
    ("DELETE", "retained?topic=missing", "", "404"),
    ("DELETE", "retained?filter=kept/%2B", "", "200"),
    ("DELETE", "retained?filter=%23/a", "", "400"),
    ("DELETE", "retained", "", "400"),
    ("POST", "clients/a/disconnect", "{}", "200"),
    ("POST", "clients/nobody/disconnect", "{}", "404"),
    ("DELETE", "sessions?client=away", "", "200"),
    ("DELETE", "sessions?client=away", "", "404"),
    ("DELETE", "sessions/away", "", "404"),
    ("POST", "clients/disconnect", "{\"client_id\": \"nobody\"}", "404"),
    ("POST", "clients/disconnect", "{}", "400"),
    ("DELETE", "traces/77", "", "404"),
    (
        "POST",
        "bans",
        "{\"user\": \"nobody\", \"seconds\": 60, \"reason\": \"r\"}",
        "200",
    ),
    ("POST", "bans", "{\"user\": \"\"}", "400"),
    ("GET", "bans", "", "200"),
    ("DELETE", "bans?user=nobody", "", "200"),
    ("DELETE", "bans?user=nobody", "", "404"),
    ("DELETE", "bans", "", "400"),
    ("POST", "reload", "", "200"),
    ("GET", "openapi.json", "", "200"),
    ("GET", "listeners", "", "200"),
    ("GET", "systree", "", "200"),
];

/// Clients that give each list something.
fn busy(broker: &Broker) -> Vec<Client> {
    let options = Options::new("away").v5().session_expiry_s(60);
    let mut away = Client::connect(broker, &options);
    away.subscribe("$share/group/t", QoS::AtLeastOnce);
    away.disconnect();
    let mut client = Client::connect(broker, &Options::new("a"));
    client.subscribe("t/#", QoS::AtLeastOnce);
    for (number, payload) in [b"text".as_slice(), &[0xff, 0]].into_iter().enumerate() {
        client.publish_retained(&format!("kept/{number}"), payload, QoS::AtLeastOnce);
    }
    vec![client]
}

/// The method and the path of every operation.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        let methods = methods.filter(|name| *name != "parameters");
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

/// The path of the document that a request is for.
fn route(document: &Value, path: &str) -> String {
    let asked: Vec<_> = path.split('?').next().unwrap().split('/').collect();
    let is_it = |route: &&String| {
        let levels: Vec<_> = route.split('/').skip(3).collect();
        levels.len() == asked.len()
            && levels
                .iter()
                .zip(&asked)
                .all(|(level, given)| level.starts_with('{') || level == given)
    };
    let paths = document["paths"].as_object().unwrap();
    paths
        .keys()
        .find(is_it)
        .unwrap_or_else(|| panic!("{path}"))
        .clone()
}

/// Checks an answer, and that it has no member that is not described.
fn expect_valid(document: &Value, schema: &Value, answer: &Value, path: &str) {
    let mut whole = json!({ "components": closed(&document["components"]) });
    for (name, value) in schema.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let validator = jsonschema::validator_for(&whole).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(answer)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{path}: {errors:?} in {answer}");
}

/// The components, where objects have no members but those that are described.
fn closed(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut closed_object: serde_json::Map<String, Value> = object
                .iter()
                .map(|(name, value)| (name.clone(), closed(value)))
                .collect();
            if object.get("type") == Some(&json!("object")) && object.contains_key("properties") {
                closed_object.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(closed_object)
        }
        other => other.clone(),
    }
}
