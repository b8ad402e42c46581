//! `loadgen compare` and `loadgen diff`: any broker, without Midge, killed brokers, and two results side by side.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod harness;

use harness::{expect, json, number, outcome, run, shown};
use serde_json::Value;

/// Whether mosquitto is installed; in CI it must be.
fn has_mosquitto() -> bool {
    let started = std::process::Command::new("mosquitto").arg("-h").output();
    if started.is_err() {
        assert!(std::env::var_os("CI").is_none(), "mosquitto is not installed");
        eprintln!("skipped: mosquitto is not installed");
    }
    started.is_ok()
}

/// mosquitto from a user's file, with its listener on its command line, beside mosquitto as it is built in.
#[test]
fn any_broker_of_a_file_is_compared_without_midge() {
    if !has_mosquitto() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let text = "name = \"mine\"\nprogram = \"mosquitto\"\narguments = [\"-c\", \"{{ configuration }}\"]\n\
                process = \"largest-child\"\n[configuration]\nfile = \"mine.conf\"\n\
                text = \"user root\\nlistener {{ port }} 127.0.0.1\\nallow_anonymous true\\n\"\n";
    std::fs::write(&file, text).unwrap();
    let out = folder.path().join("results");
    let line = format!(
        "compare --without-midge --with {},mosquitto --scenario pairs-w1 --rounds 1 --duration 0.3 --warmup 0.1 \
         --out {} --gate delivered=900",
        file.display(),
        out.display()
    );
    let output = run(&line);
    expect(&line, &output, &[1]);
    let text = shown(&output);
    for part in [
        "mine / peer",
        "1 rounds: no verdict",
        "gate: pairs-w1: delivered of mine and mosquitto: 1 rounds",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("Midge"), "{text}");
    let raw = json(&out.join("raw/pairs-w1/mine/1.json"));
    assert!(number(&raw, "/broker/usage/cpu_ns_per_delivery") > 0.0);
    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["first"], "mine");
    let figures: Vec<&str> = summary["rows"][0]["figures"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|figure| figure["figure"].as_str())
        .collect();
    for figure in ["client CPU per message", "broker and client CPU per message"] {
        assert!(figures.contains(&figure), "{figures:?}");
    }
    // A second summary is the same.
    expect("report", &run(&format!("report {}", out.display())), &[0]);
    assert_eq!(json(&out.join("summary.json"))["first"], "mine");
}

/// Two runs of our broker and one of mosquitto with its best setting: ours loses nothing that it had acknowledged.
#[test]
fn a_broker_that_is_killed_has_what_it_acknowledged() {
    if !has_mosquitto() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("killed");
    let line = format!(
        "compare --kill --with mosquitto --rounds 1 --out {}",
        out.display()
    );
    let output = run(&line);
    expect(&line, &output, &[0]);
    let outcome = json(&out.join("kill.json"));
    let lines = outcome["rows"].as_array().unwrap();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines.iter().filter(|line| line["broker"] == "midge") {
        assert_eq!(line["kept"]["gone"], 0, "{line}");
        assert!(number(line, "/kept/acknowledged") > 0.0, "{line}");
    }
}

#[test]
fn two_runs_stand_side_by_side_and_a_gate_needs_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["one.json", "other.json"] {
        let path = file(name);
        let line = format!(
            "run --no-tls --pubs 2 --subs 2 --rate 200 --warmup 0.1 --duration 0.5 --json {}",
            path.display()
        );
        expect(&line, &run(&line), &[0, 4]);
    }
    let line = format!(
        "diff {} {}",
        file("one.json").display(),
        file("other.json").display()
    );
    let output = run(&line);
    expect(&line, &output, &[0]);
    let text = shown(&output);
    assert!(
        text.contains("broker CPU per message") && text.contains("one.json / peer"),
        "{text}"
    );
    let gated = run(&format!("{line} --gate delivered=5"));
    expect(&line, &gated, &[1]);
    expect("diff", &run("diff /nonexistent/a /nonexistent/b"), &[2]);
}

#[test]
fn payloads_may_be_json_and_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("json.toml");
    let text = "payload-json = '{\"sensor\": %i, \"value\": %r}'\nverify = true\nno-tls = true\npubs = 2\nsubs = 2\n\
                rate = 200\nwarmup = 0.1\nduration = 0.5\nqos = 1\n";
    std::fs::write(&file, text).unwrap();
    let outcome = outcome(&format!("run --scenario {}", file.display()), &[0, 4]);
    assert!(number(&outcome, "/ledger/received") > 0.0);
    assert_eq!(number(&outcome, "/ledger/lost"), 0.0);
    assert_eq!(
        outcome.pointer("/ledger/differences/payload"),
        Some(&Value::from(0))
    );
    let output = run("run --payload-json [1]");
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("--payload-json is"), "{}", shown(&output));
}

#[test]
fn objectives_that_are_missed_are_exit_1() {
    let output = run(
        "run --no-tls --pubs 2 --subs 2 --rate 100 --warmup 0.1 --duration 0.5 --ledger-only --min-rate 5000 \
         --max-rss-mib 1 --max-cpu-us 0.001 --slo-p50-ms 0.000001",
    );
    let text = shown(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "below the objective of 5000",
        "the broker's highest memory is",
        "CPU time for each delivery is",
        "p50 of",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
