//! Reproductions of verdicts that were wrong, run by `loadgen prove`: a path that disturbs what it carries, and a
//! generator without CPU time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod harness;

use harness::{expect, json, run, shown};

/// How often cases are run that remained unproven on a busy machine.
const ROUNDS_MAX: usize = 5;

/// What is concluded in these cases is right. Those that remained unproven on a busy machine are run again; those
/// that the machine does not allow are reported.
fn prove(cases: &[&str]) {
    let mut unproven: Vec<String> = cases.iter().map(|&case| case.to_owned()).collect();
    for _ in 0..ROUNDS_MAX {
        let proved = play(&unproven);
        unproven.clear();
        for line in proved.iter().filter(|line| line["proof"] == "unproven") {
            if line["concluded"].as_str().unwrap().starts_with("not played") {
                eprintln!("SKIPPED: {line}");
            } else {
                unproven.push(line["case"].as_str().unwrap().to_owned());
            }
        }
        if unproven.is_empty() {
            return;
        }
    }
    panic!("no run of {ROUNDS_MAX} was valid enough to conclude anything: {unproven:?}");
}

fn play(cases: &[String]) -> Vec<serde_json::Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proved.json");
    let chosen: String = cases.iter().map(|case| format!("--case {case} ")).collect();
    let line = format!("prove {chosen}--json {}", file.display());
    let output = run(&line);
    expect(&line, &output, &[0, 4]);
    let proved = json(&file)["cases"].as_array().unwrap().clone();
    assert_eq!(proved.len(), cases.len(), "{}", shown(&output));
    proved
}

#[test]
fn a_path_that_only_delays_is_measured_right() {
    prove(&["nothing", "delay", "stall"]);
}

#[test]
fn what_a_path_drops_is_lost_and_no_backlog() {
    prove(&["drop-60", "drop-5", "drop-2", "drop-allowed"]);
}

#[test]
fn what_a_path_repeats_swaps_and_corrupts_is_found() {
    prove(&["duplicate", "duplicate-q2", "swap", "corrupt"]);
}

#[test]
fn what_nobody_was_owed_is_not_lost_and_a_networks_fault_is_called_so() {
    prove(&["cut", "cut-reconnect"]);
}

#[test]
fn a_path_that_carries_half_is_saturated_and_what_never_came_is_late() {
    prove(&["half"]);
}

#[test]
fn a_generator_without_cpu_is_invalid_whatever_the_load_is() {
    prove(&[
        "quota",
        "busy-core",
        "busy-core-closed-loop",
        "busy-core-flood",
        "busy-core-connects",
        "busy-receiver",
    ]);
}

#[test]
fn another_generator_is_asked_for_its_exit_code() {
    let output = run("prove --case drop-5 --against true %h %p");
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("WRONG"), "{}", shown(&output));
    let output = run("prove --case drop-5 --against false");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let output = run("prove --case no-such");
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("drop-60"), "{}", shown(&output));
}
