//! The routes, and how requests are parsed.

use super::*;
use crate::http::operation_forms::TracesQuery;
use crate::http::operation_request::query;
use crate::http::operation_values::Limit;

#[test]
fn the_document_has_every_route() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/v1") else {
            continue;
        };
        let methods = methods.as_object().unwrap().keys();
        let methods = methods.filter(|name| *name != "parameters");
        described.extend(methods.map(|method| (method.to_uppercase(), path.to_owned())));
    }
    let mut routes: Vec<_> = ROUTES
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    let others = ["/systree", "/version", "/listeners"];
    routes.extend(others.map(|path| ("GET".to_owned(), path.to_owned())));
    described.sort();
    routes.sort();
    assert_eq!(described, routes);
}

fn page(target: &str) -> Page {
    Page {
        method: "GET".to_owned(),
        target: target.to_owned(),
        fields: Vec::new(),
        header_bytes: 0,
    }
}

#[test]
fn paths_and_queries_are_decoded() {
    let page = page("/api/v1/sessions/a%2Fb%20c?client=x%2F%23&filter=a+b");
    assert_eq!(levels(&page).unwrap(), ["sessions", "a/b c"]);
    let taken: SubscriptionsQuery = query(&page.target).unwrap();
    assert_eq!(taken.client.as_deref(), Some("x/#"));
    assert_eq!(taken.filter.unwrap().0, "a b");
    assert!(is_operation(&page));
    assert_eq!(methods(&["sessions", "x"]), ["GET", "DELETE"]);
    assert!(methods(&["sessions", "x", "y"]).is_empty());
}

/// Nothing is called taken that a shard does not go by, whatever else was refused.
#[test]
fn a_reload_says_what_a_shard_has_not_taken() {
    let mut report = ReloadReport {
        taken: vec!["the settings".to_owned()],
        ..ReloadReport::default()
    };
    let (status, answer) = reloaded(&report, true);
    assert_eq!((status, &answer["taken"]), (None, &json!(["the settings"])));
    assert_eq!((&answer["pending"], answer.get("error")), (&json!([]), None));
    let (status, answer) = reloaded(&report, false);
    assert_eq!(status, Some("503 Service Unavailable"));
    assert_eq!(
        (&answer["taken"], &answer["pending"]),
        (&json!([]), &json!(["the settings"]))
    );
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .starts_with("a shard does not use the new configuration yet")
    );
    report.refuse("the acl_file".to_owned(), "wrong".to_owned());
    assert_eq!(reloaded(&report, true).0, Some("409 Conflict"));
    let (status, answer) = reloaded(&report, false);
    assert_eq!(status, Some("503 Service Unavailable"));
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .ends_with("the acl_file stays in effect as it was: wrong")
    );
}

/// The message names what is wrong, with what is allowed there.
#[test]
fn wrong_queries_say_what_is_wrong() {
    for (text, why) in [
        (
            "retian=1",
            "the query: unknown field `retian`, expected one of `limit`, `cursor`, ",
        ),
        ("limit=0", "limit: must be a number from 1 to 1000"),
        ("limit=", "limit: must be a number from 1 to 1000"),
        ("limit=1&limit=2", "the query: duplicate field `limit`"),
        ("cursor=1.2", "cursor: must be the `next` of another page"),
        ("filter=a/%23/b", "filter: "),
        ("filter=$share/g", "filter: "),
        ("client=%ff", "the query: what is percent-encoded must be UTF-8"),
        ("client=%2", "the query: what is percent-encoded must be UTF-8"),
    ] {
        let refused = query::<SubscriptionsQuery>(&format!("/x?{text}")).unwrap_err();
        let refused = format!("{refused:?}");
        assert!(
            refused.contains(why) && refused.contains("400 "),
            "{text}: {refused}"
        );
    }
    let limit: TracesQuery = query("/x?limit=1000").unwrap();
    assert!(matches!(limit.limit, Limit(1000)));
    assert!(query::<TracesQuery>("/x").is_ok());
    assert!(levels(&page("/api/v1/sessions/%FF")).is_err());
}
