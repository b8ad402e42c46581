//! Limits of the machine are reported with what to do: no local port is free, and a control group is not visible.
//! Both are set up in separate namespaces, which only root can create.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod harness;

use std::process::{Command, Output, Stdio};

use harness::{PROGRAM, shown};

/// Runs a script in new namespaces; `None`, with a printed line, if that is not allowed. `$0` is the generator.
fn unshared(options: &[&str], script: &str) -> Option<Output> {
    let unshare = |words: &[&str]| {
        let command = Command::new("unshare")
            .args(options)
            .args(words)
            .stdin(Stdio::null())
            .output();
        command.ok()
    };
    if !unshare(&["true"]).is_some_and(|output| output.status.success()) {
        eprintln!("skipped: namespaces need root and unshare");
        return None;
    }
    unshare(&["sh", "-c", script, PROGRAM])
}

/// The exit code and the output of a script; `None` if it cannot be run here, which it reports with exit code 77.
fn ended(options: &[&str], script: &str, reason: &str) -> Option<(Option<i32>, String)> {
    let output = unshared(options, script)?;
    if output.status.code() == Some(77) {
        eprintln!("skipped: {reason}");
        return None;
    }
    Some((output.status.code(), shown(&output)))
}

/// Our broker in a network namespace with ten local ports.
const TEN_PORTS: &str = "ip link set lo up || exit 77
    echo '50000 50009' > /proc/sys/net/ipv4/ip_local_port_range
    \"$0\" broker $$ any -p 1883 --shards 1 & broker=$!
    tries=0
    until \"$0\" pub -h 127.0.0.1 -p 1883 -t t -m x 2>/dev/null || [ $tries -gt 100 ]; do
        tries=$((tries + 1)); sleep 0.1
    done
";

#[test]
fn more_connections_than_ports_are_refused_before_anything_is_connected() {
    let script = format!(
        "{TEN_PORTS}
        \"$0\" run -h 127.0.0.1 -p 1883 --pubs 20 --subs 20 --duration 1; code=$?
        kill $broker; exit $code"
    );
    let Some((code, text)) = ended(&["--net"], &script, "ip cannot be used here") else {
        return;
    };
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("net.ipv4.ip_local_port_range has 10") && text.contains("sysctl -w"),
        "{text}"
    );
}

#[test]
fn ports_that_others_have_in_use_are_named_with_what_to_do() {
    let script = format!(
        "{TEN_PORTS}
        \"$0\" run -h 127.0.0.1 -p 1883 --pubs 8 --subs 0 --idle --warmup 0 --duration 8 >/dev/null 2>&1 & other=$!
        sleep 2
        \"$0\" run -h 127.0.0.1 -p 1883 --pubs 5 --subs 4 --duration 1; code=$?
        kill $other $broker; exit $code"
    );
    let Some((code, text)) = ended(&["--net"], &script, "ip cannot be used here") else {
        return;
    };
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("all local ports to this address are in use") && text.contains("--bind"),
        "{text}"
    );
}

#[test]
fn a_control_group_that_cannot_be_seen_is_named_with_what_to_do() {
    let script =
        "for point in /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu,cpuacct; do umount -l $point 2>/dev/null; done
        grep -q 'cgroup .*[, ]cpu[, ]' /proc/self/mountinfo && exit 77
        grep -q ':cpu[:,]' /proc/self/cgroup || exit 77
        \"$0\" run --no-tls --pubs 1 --subs 1 --rate 100 --warmup 0.1 --duration 0.3; exit 0";
    let without = "this machine has no control groups of version 1 for the CPU";
    let Some((_, text)) = ended(&["--mount"], script, without) else {
        return;
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("cannot be seen from here, nor its CPU limit: mount it"),
        "{text}"
    );
}
