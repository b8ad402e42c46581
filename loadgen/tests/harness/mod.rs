//! Shared by the tests of the commands: the program, its outcome, and mosquitto.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

/// These tests check whether everything arrives: on a busy machine the rate is invalid, which is not a failure.
pub(crate) const SHORT: &str =
    "--ledger-only --no-tls --rate max --window 10 --warmup 0.2 --duration 0.5 --drain 20";

pub(crate) fn run(line: &str) -> Output {
    Command::new(PROGRAM)
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

pub(crate) fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs with `--json`; the exit code must be one of these.
pub(crate) fn outcome(line: &str, exit_codes: &[i32]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome.json");
    let output = run(&format!("{line} --json {}", file.display()));
    expect(line, &output, exit_codes);
    json(&file)
}

pub(crate) fn expect(line: &str, output: &Output, exit_codes: &[i32]) {
    let code = output.status.code().unwrap();
    assert!(exit_codes.contains(&code), "{line}: {code}\n{}", shown(output));
}

/// An outcome in a file, which must conform to the schema.
pub(crate) fn json(file: &Path) -> Value {
    let outcome = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    check_schema(&outcome, &file.display().to_string());
    outcome
}

/// Panics if a file does not conform to the published schema.
pub(crate) fn check_schema(outcome: &Value, place: &str) {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loadgen.schema.json"));
    let schema: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(outcome)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{place}: {errors:?}");
}

pub(crate) fn number(outcome: &Value, path: &str) -> f64 {
    let value = outcome.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("{path} in {outcome}"))
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A process of mosquitto, ended with the test.
pub(crate) struct Mosquitto {
    process: Child,
    pub(crate) port: u16,
}

impl Mosquitto {
    /// `None`, with a printed line, if it is not installed; in CI it must be.
    pub(crate) fn start() -> Option<Mosquitto> {
        Mosquitto::start_with("")
    }

    /// Starts it with further lines for its listener.
    pub(crate) fn start_with(lines: &str) -> Option<Mosquitto> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(
            &file,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\n{lines}"),
        )
        .unwrap();
        let started = Command::new("mosquitto")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            assert!(std::env::var_os("CI").is_none(), "mosquitto is not installed");
            eprintln!("skipped: mosquitto is not installed");
            return None;
        };
        let mosquitto = Mosquitto { process, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "mosquitto does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(mosquitto)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
