//! The commands other than `run`, and the features of `run` other than messages, as a user starts them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod fake;
mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake::Behaviour;
use harness::{Mosquitto, PROGRAM, SHORT, expect, json, number, outcome, run, shown};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[test]
fn connections_are_made_and_closed_with_and_without_tls() {
    for line in ["--no-tls", "", "--broker-key rsa2048 -V 5"] {
        let line = format!("conn {line} --concurrency 4 --warmup 0.2 --duration 0.5");
        // On a busy machine the figures are limited by the generator, which is reported.
        let outcome = outcome(&line, &[0, 4]);
        assert!(number(&outcome, "/rates/made") > 0.0);
        assert_eq!(number(&outcome, "/rates/failed"), 0.0);
        assert!(number(&outcome, "/whole/count") > 0.0);
        assert!(number(&outcome, "/broker/usage/cpu_ns_per_connection") > 0.0);
        let tls = outcome.pointer("/tls").unwrap();
        assert_eq!(tls.is_null(), line.contains("--no-tls"), "{line}");
    }
}

/// On a busy machine connections may start late, which is reported: all of them are opened nevertheless.
#[test]
fn connections_in_open_loop_are_as_many_as_were_asked_for() {
    let outcome = outcome("conn --no-tls --rate 100 --warmup 0.2 --duration 1", &[0, 4]);
    let made = number(&outcome, "/whole/count");
    assert!((made - 100.0).abs() <= 3.0, "{made}");
}

#[test]
fn a_broker_that_refuses_everybody_is_exit_3() {
    let port = fake::serve(Behaviour::RefusesConnect);
    let output = run(&format!("conn -h 127.0.0.1 -p {port} --duration 0.2 --warmup 0"));
    expect("conn", &output, &[3]);
    assert!(shown(&output).contains("Not authorized"), "{}", shown(&output));
}

#[test]
fn every_retained_message_comes_back() {
    for line in ["", "--tls", "--ws", "--tls --ws -V 5 -u user%i -P any", "-V 3"] {
        let outcome = outcome(&format!("retained --messages 3000 --size 20 {line}"), &[0]);
        assert_eq!(number(&outcome, "/received"), 3_000.0, "{line}");
        assert!(number(&outcome, "/broker/cpu_ns_per_insert") > 0.0);
        let has_tls = outcome.pointer("/broker/tls").is_some_and(Value::is_string);
        assert_eq!(has_tls, line.contains("--tls"), "{line}");
        let web_socket = outcome.pointer("/broker/web_socket");
        assert_eq!(web_socket, Some(&Value::from(line.contains("--ws"))), "{line}");
    }
    let port = fake::serve(Behaviour::RefusesConnect);
    let output = run(&format!("retained -h 127.0.0.1 -p {port} --messages 1"));
    expect("retained", &output, &[3]);
    assert!(shown(&output).contains("Not authorized"), "{}", shown(&output));
}

/// No user who lists the processes sees it, whichever subcommand is used.
#[test]
fn a_password_is_in_no_process_list() {
    for line in [
        "--pubs 1 --subs 1 --rate 1 --duration 5",
        "conn --duration 5",
        "retained --messages 10000000",
        "search --pubs 1 --subs 1 --rate 1",
        "sweep --pubs 1 --subs 1 --rate 1",
    ] {
        let mut child = Command::new(PROGRAM)
            .args(line.split_whitespace())
            .args(["-u", "ann", "-P", "opensesame"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let list = format!("/proc/{}/cmdline", child.id());
        let began = Instant::now();
        // While a program is being replaced the list is empty.
        let has = |words: &[u8], word: &[u8]| words.windows(word.len()).any(|part| part == word);
        let is_hidden =
            || std::fs::read(&list).is_ok_and(|words| has(&words, b"ann") && !has(&words, b"opensesame"));
        while !is_hidden() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_hidden(), "{line}");
        assert!(child.try_wait().unwrap().is_none(), "{line} has ended");
        // The first signal may arrive before the program handles signals; then the test's parent may have it
        // ignored.
        let pid = Pid::from_child(&child);
        while child.try_wait().unwrap().is_none() {
            kill_process(pid, Signal::INT).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn the_selftest_states_its_ceilings() {
    let outcome = outcome("selftest --duration 0.3", &[0, 4]);
    for part in ["single", "batched", "received"] {
        assert!(number(&outcome, &format!("/{part}/per_s")) > 0.0, "{outcome}");
        assert!(
            number(&outcome, &format!("/{part}/cpu_ns_per_message")) > 0.0,
            "{outcome}"
        );
    }
    assert_eq!(number(&outcome, "/schedule/unsent"), 0.0);
}

#[test]
fn a_search_ends_and_keeps_what_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("search");
    let line = format!(
        "search --no-tls --pubs 4 --subs 4 --rate 50 --slo-p99-ms 0.001 --warmup 0 --duration 0.2 --out {}",
        out.display()
    );
    // No broker delivers within a microsecond.
    expect(&line, &run(&line), &[1, 4]);
    let search = json(&out.join("search.json"));
    assert!(search["points"].as_array().unwrap().len() >= 3);
    assert!(search["found_per_s"].is_null());
    assert!(
        std::fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<svg")
    );
}

#[test]
fn a_sweep_goes_up_and_ends_behind_the_bend() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep");
    let line = format!(
        "sweep --no-tls --pubs 4 --subs 4 --rate 50 --slo-p99-ms 0.001 --warmup 0 --duration 0.2 --out {}",
        out.display()
    );
    // No broker delivers within a microsecond: the sweep ends two steps after the first.
    expect(&line, &run(&line), &[1, 4]);
    let sweep = json(&out.join("sweep.json"));
    let rates: Vec<f64> = sweep["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| number(point, "/rate_per_s"))
        .collect();
    assert_eq!(rates, [50.0, 100.0, 200.0]);
    assert!(sweep["highest_per_s"].is_null());
    assert!(
        std::fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<svg")
    );
    // If there is enough CPU time, the sweep reaches the last rate.
    let line =
        "sweep --no-tls --pubs 2 --subs 2 --rate 20 --steps 2 --slo-p99-ms 60000 --warmup 0 --duration 0.2";
    let output = run(line);
    expect(line, &output, &[0, 4]);
    let shown = shown(&output);
    assert!(shown.contains("40 per s"), "{shown}");
}

#[test]
fn a_run_fills_its_folder_and_the_report_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let line = format!("run --pubs 4 --subs 4 {SHORT} --out {}", out.display());
    expect(&line, &run(&line), &[0]);
    for name in [
        "result.json",
        "windows.csv",
        "latency.hgrm",
        "latency.hlog",
        "report.html",
        "command",
    ] {
        assert!(out.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    let result = json(&out.join("result.json"));
    let received: f64 = result["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interval| number(interval, "/received"))
        .sum();
    assert_eq!(
        received,
        number(&result, "/ledger/received"),
        "every delivery is in an interval"
    );
    std::fs::remove_file(out.join("report.html")).unwrap();
    let again = format!("report {}", out.display());
    expect(&again, &run(&again), &[0]);
    assert!(
        std::fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<svg")
    );
    expect(&line, &run(&line), &[2]);
    let nothing = format!("report {}", folder.path().display());
    expect(&nothing, &run(&nothing), &[2]);
}

#[test]
fn a_named_scenario_is_stamped_with_its_name_and_scale() {
    let line = "--scenario singlenode-p2p-1K-1K-1K-1K --scale 0.01 --rate 2000 --warmup 0.1 --duration 0.5";
    let outcome = outcome(line, &[0, 4]);
    assert_eq!(
        outcome.pointer("/scenario/origin/name"),
        Some(&Value::from("singlenode-p2p-1K-1K-1K-1K"))
    );
    assert_eq!(number(&outcome, "/scenario/origin/scale"), 0.01);
    assert_eq!(number(&outcome, "/scenario/publishers"), 10.0);
    assert_eq!(number(&outcome, "/scenario/duration_s"), 0.5);
    assert_eq!(number(&outcome, "/rates/offered_per_s"), 20.0);
    assert!(shown(&run("scenarios")).contains("singlenode-sharedsub-50K-500-50K-50K"));
}

#[test]
fn a_scenario_file_says_what_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    std::fs::write(
        &file,
        "pubs = 2\nsubs = 2\nqos = 1\nrate = \"max\"\nwindow = 3\nno_tls = true\nwarmup = 0.1\nledger_only = true\n",
    )
    .unwrap();
    let outcome = outcome(&format!("--scenario {} --duration 0.3", file.display()), &[0]);
    assert_eq!(
        outcome.pointer("/scenario/origin/name"),
        Some(&Value::from("two"))
    );
    assert!(number(&outcome, "/ledger/received") > 0.0);
}

/// Against mosquitto, so that the ledger is checked with an independent broker. The rate is one that it can carry:
/// of the messages that wait for the window of a member, 2.0.11 sometimes never sends the last ones.
#[test]
fn each_group_of_a_shared_subscription_gets_each_message_once() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let line = format!(
        "-h 127.0.0.1 -p {} --share 2 --pubs 4 --subs 6 -q 1 --threads 2 --rate 4000 \
         --ledger-only --warmup 0.2 --duration 0.5 --drain 20",
        mosquitto.port
    );
    let outcome = outcome(&line, &[0]);
    let [sent, expected, received] =
        ["sent", "expected", "received"].map(|count| number(&outcome, &format!("/ledger/{count}")));
    assert!(sent > 0.0);
    assert_eq!((expected, received), (2.0 * sent, 2.0 * sent));
}

#[test]
fn clients_have_the_addresses_names_wills_and_payloads_that_were_asked_for() {
    let line = format!(
        "--bind 127.0.0.2,127.0.0.3 --client-id my-%k-%i --will-topic gone/%i --will-payload bye -u user%i -P any \
         -t of/%u/%c --payload n=%i --ramp 0.2 --pubs 3 --subs 3 {SHORT}"
    );
    let outcome = outcome(&line, &[0]);
    assert!(number(&outcome, "/ledger/received") > 0.0);
    assert!(
        number(&outcome, "/connect/wall_ns") >= 100e6,
        "the ramp takes its time"
    );
}

#[test]
fn a_run_of_nothing_is_no_success() {
    for (line, exit_code, part) in [
        ("--pubs 0 --subs 2", 1, "nothing was sent"),
        ("--pubs 2 --subs 0 --rate 100", 1, "give --subs or -q 1"),
        ("--pubs 2 --subs 2 -t own/%i --rate 0.001", 1, "nothing was sent"),
        ("--pubs 2 --subs 2 --idle", 0, "no messages"),
    ] {
        let output = run(&format!("{line} --no-tls --warmup 0 --duration 0.3"));
        // On a busy machine the generator may also be late, which is reported first.
        let busy = if exit_code == 1 { 4 } else { exit_code };
        expect(line, &output, &[exit_code, busy]);
        assert!(shown(&output).contains(part), "{line}: {}", shown(&output));
    }
}

#[test]
fn connections_come_and_go_beside_a_load() {
    let outcome = outcome(&format!("--churn 100 --pubs 2 --subs 2 {SHORT}"), &[0]);
    let made = number(&outcome, "/churn/made");
    assert!((30.0..=80.0).contains(&made), "{made}");
    assert_eq!(number(&outcome, "/churn/failed"), 0.0);
}

#[test]
fn what_breaks_is_connected_again_where_that_is_wanted() {
    let port = fake::serve(Behaviour::ClosesOnPublish);
    let line = format!(
        "-h 127.0.0.1 -p {port} --pubs 2 --subs 1 -q 1 --rate 20 --reconnect --warmup 0 --duration 1 --drain 0.3"
    );
    let output = run(&line);
    let text = shown(&output);
    assert!(text.contains("were made again"), "{text}");
    assert!(!text.contains(" 0 were made again"), "{text}");
}

#[test]
fn metrics_are_served_while_it_runs() {
    let mut child = Command::new(PROGRAM)
        .args(
            "--no-tls --pubs 1 --subs 1 --rate 100 --warmup 0 --duration 3 --metrics 127.0.0.1:0"
                .split_whitespace(),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("loadgen_messages_sent_total{run="), "{answer}");
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 4)));
}

#[test]
fn midge_and_mosquitto_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    let line = format!(
        "compare --with mosquitto,no-such --scenario pairs-w1 --rounds 1 --duration 0.3 --warmup 0.1 --out {}",
        out.display()
    );
    let output = run(&line);
    expect(&line, &output, &[2]);
    assert!(shown(&output).contains("no-such"), "{}", shown(&output));
    let line = line.replace(",no-such", "");
    let output = run(&line);
    if shown(&output).contains("not installed") {
        assert!(std::env::var_os("CI").is_none(), "mosquitto is not installed");
        eprintln!("skipped: mosquitto is not installed");
        return;
    }
    expect(&line, &output, &[0, 4]);
    for broker in ["midge", "mosquitto", "mosquitto-nagle"] {
        let raw = json(&out.join(format!("raw/pairs-w1/{broker}/1.json")));
        assert!(
            number(&raw, "/broker/usage/cpu_ns_per_delivery") > 0.0,
            "{broker}"
        );
        assert!(
            out.join(format!("configurations/{broker}.conf")).exists(),
            "{broker}"
        );
    }
    for name in [
        "README.md",
        "command",
        "machine.json",
        "report.html",
        "selftest.json",
        "summary.csv",
        "summary.json",
        "versions.json",
    ] {
        assert!(out.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    assert!(
        shown(&output).contains("broker CPU per message"),
        "{}",
        shown(&output)
    );
}
