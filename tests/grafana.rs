//! The dashboard for Grafana in dist/: no Grafana is at hand in CI, so what it demands of a file is checked here, and a
//! real Prometheus answers what the panels ask.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::harness::api::{metrics, start_with_api};
use crate::harness::{Certificates, Setup};
use crate::real_clients::skip;

fn dashboard() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/grafana/midge.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

/// Each query of the panels with the labels that its legend names.
fn queries(dashboard: &Value) -> Vec<(String, Vec<String>)> {
    let targets = panels(dashboard)
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let of_target = |target: &Value| {
        let legend = target["legendFormat"].as_str().unwrap();
        let labels = legend
            .split("{{")
            .skip(1)
            .map(|rest| rest.split("}}").next().unwrap());
        let expression = target["expr"].as_str().unwrap().to_owned();
        (expression, labels.map(str::to_owned).collect())
    };
    targets.map(of_target).collect()
}

/// What `$NAME` and `${NAME}` name in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let is_of_name = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    let named = text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.chars().take_while(is_of_name).collect()
    });
    named.collect()
}

/// Panels have a place each, on the grid of 24 columns, and none covers another one.
#[test]
fn panels_have_places_and_names_of_their_own() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(
            !title.is_empty() && ids.insert(panel["id"].as_u64().unwrap()),
            "{title}"
        );
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{title}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{title} covers another one at {x}, {y}");
            }
        }
        assert!(
            ["stat", "timeseries"].contains(&panel["type"].as_str().unwrap()),
            "{title}"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        let units = ["short", "bytes", "Bps", "mps", "s", "percentunit"];
        assert!(units.contains(&unit), "{title}: {unit}");
        let references = panel["targets"].as_array().unwrap().iter();
        let references: Vec<_> = references
            .map(|target| target["refId"].as_str().unwrap())
            .collect();
        let different: BTreeSet<_> = references.iter().collect();
        assert!(
            !references.is_empty() && different.len() == references.len(),
            "{title}"
        );
    }
    assert!(ids.len() > 10 && dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    // One that is imported gets a number of the Grafana that imports it.
    assert!(dashboard["id"].is_null() && dashboard["uid"].is_string());
}

/// Whatever is named with `$` is a variable of the dashboard or of Grafana, and every query is of the chosen data
/// source and brokers.
#[test]
fn variables_are_there_and_data_sources_are_chosen() {
    let dashboard = dashboard();
    let own = dashboard["templating"]["list"].as_array().unwrap();
    let mut known: BTreeSet<_> = own
        .iter()
        .map(|variable| variable["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(own[0]["type"], "datasource", "others need it");
    assert_eq!(
        (&own[0]["name"], &own[0]["query"]),
        (&"datasource".into(), &"prometheus".into())
    );
    known.extend(["__rate_interval", "__all"].map(str::to_owned));
    let used = variables(&dashboard.to_string());
    assert!(used.is_subset(&known), "{used:?} of {known:?}");
    let of_panels = panels(&dashboard).iter();
    let with_source = of_panels.clone().chain(own.iter().skip(1));
    let targets = of_panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    for source in with_source.chain(targets).map(|part| &part["datasource"]) {
        assert_eq!(
            (&source["type"], &source["uid"]),
            (&"prometheus".into(), &"${datasource}".into())
        );
    }
    for (expression, _) in queries(&dashboard) {
        let selectors = expression.matches('{').count();
        assert_eq!(
            expression.matches("{instance=~\"$instance\"}").count(),
            selectors,
            "{expression}"
        );
        assert!(selectors > 0, "{expression}");
    }
}

/// The metrics and labels that queries and legends name are on the page of a broker, and promtool takes the queries.
#[test]
fn queries_name_metrics_and_labels_that_there_are() {
    let (_broker, port) = start_with_api(Setup::default().tls(&Certificates::new()), 2, "");
    let page = metrics(port);
    let dashboard = dashboard();
    let has_sample = |name: &str| {
        page.lines()
            .any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")))
    };
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, (expression, labels)) in queries(&dashboard).iter().enumerate() {
        let words =
            expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let names: Vec<_> = words
            .filter(|word| word.starts_with("midge_") || word.starts_with("process_"))
            .collect();
        assert!(
            !names.is_empty() && names.iter().all(|name| has_sample(name)),
            "{expression}"
        );
        for label in labels {
            let has_label = |line: &&str| {
                names.iter().any(|name| line.starts_with(&format!("{name}{{")))
                    && line.contains(&format!("{label}=\""))
            };
            assert!(
                page.lines().any(|line| has_label(&line)),
                "{label} of {expression}"
            );
            let is_kept = !expression.contains("sum") || expression.contains(label.as_str());
            assert!(is_kept, "{label} is summed up in {expression}");
        }
        let expression = expression
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        rules += &format!(
            "  - record: query_{number}\n    expr: {}\n",
            Value::from(expression)
        );
    }
    let variable = &dashboard["templating"]["list"][1]["query"]["query"];
    assert_eq!(variable, "label_values(midge_shards, instance)");
    assert!(has_sample("midge_shards"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yml");
    std::fs::write(&path, rules).unwrap();
    let Ok(output) = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&path)
        .output()
    else {
        return skip("promtool");
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
