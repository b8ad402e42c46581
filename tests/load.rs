//! The load generator against the broker: nothing lost, repeated or out of order, at each QoS and in each shape.
//!
//! On a busy machine the generator may call itself the bottleneck (exit code 4); the ledger has to be clean all the
//! same.

use std::process::{Command, Output};

use crate::harness::Setup;

const CLEAN: i32 = 0;
const BUSY_MACHINE: i32 = 4;

fn load(arguments: &[&str]) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"))
        .args(["--duration", "1", "--warmup", "1", "--rate", "500"])
        .args(arguments)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(
        matches!(status.code(), Some(CLEAN | BUSY_MACHINE)),
        "{arguments:?}: {status:?}\n{text}"
    );
    assert!(
        text.contains("0 lost, 0 duplicate, 0 reordered"),
        "{arguments:?}\n{text}"
    );
}

#[test]
fn a_running_broker_is_loaded() {
    let broker = Setup::default().shards(2).start();
    let port = broker.port().to_string();
    let at = ["-h", "127.0.0.1", "-p", &port];
    for qos in ["0", "1", "2"] {
        load(
            &[
                &at[..],
                &["--pubs", "10", "--subs", "10", "--topics", "pairs", "-q", qos],
            ]
            .concat(),
        );
    }
    load(
        &[
            &at[..],
            &["--pubs", "1", "--subs", "20", "--topics", "fan-out", "-q", "1"],
        ]
        .concat(),
    );
    load(
        &[
            &at[..],
            &["--pubs", "20", "--subs", "1", "--topics", "fan-in", "-q", "1"],
        ]
        .concat(),
    );
    load(&[&at[..], &["--pubs", "10", "--subs", "10", "-q", "1", "-V", "5"]].concat());
}
