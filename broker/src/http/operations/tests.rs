//! The routes, and how requests are taken apart.

use super::*;
use crate::http::operation_request::query;

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

#[test]
fn paths_and_queries_are_decoded() {
    let page = Page {
        method: "GET".to_owned(),
        target: "/api/v1/sessions/a%2Fb%20c?filter=x%2F%23&search=a+b&flag".to_owned(),
        fields: Vec::new(),
        header_bytes: 0,
    };
    assert_eq!(levels(&page), ["sessions", "a/b c"]);
    let pairs = query(&page);
    assert_eq!(pairs[0], ("filter".to_owned(), "x/#".to_owned()));
    assert_eq!(pairs[1].1, "a b");
    assert!(is_operation(&page));
    assert!(is_known(&["sessions", "x"]) && !is_known(&["sessions", "x", "y"]));
}
