//! A mosquitto that a test starts.
//!
//! Invariants: its process ends with the test.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{eventually, free_port};
use crate::real_clients::skip;

/// A mosquitto on a port of 127.0.0.1.
pub(super) struct Mosquitto {
    program: &'static str,
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Mosquitto {
    /// Starts one with these lines in its configuration; `None` if none is installed, which is said.
    pub(super) fn start(lines: &[&str]) -> Option<Self> {
        let installed = ["mosquitto", "/usr/sbin/mosquitto"]
            .into_iter()
            .find(|program| Command::new(program).arg("-h").output().is_ok());
        let Some(program) = installed else {
            skip("mosquitto");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let location = folder.path().display();
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence_location {location}/\n{}\n",
            lines.join("\n")
        );
        std::fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        let child = spawn(program, &folder, port);
        Some(Self {
            program,
            child,
            port,
            folder,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it in order, so that it saves its state.
    pub(super) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.program, &self.folder, self.port);
    }
}

fn spawn(program: &str, folder: &TempDir, port: u16) -> Child {
    let child = Command::new(program)
        .arg("-c")
        .arg(folder.path().join("mosquitto.conf"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("mosquitto listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    child
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
