//! A real Prometheus, where it is installed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::free_port;

/// A Prometheus that scrapes one target each second, and is ended with the test.
pub(crate) struct Prometheus {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `127.0.0.1:target` and evaluates the rules of a file; `None` where it is not installed.
    pub(crate) fn scraping(target: u16, rules: Option<&Path>) -> Option<Self> {
        Command::new("prometheus").arg("--version").output().ok()?;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let rules = rules.map(|rules| format!("rule_files: ['{}']\n", rules.display()));
        let text = format!(
            "global: {{scrape_interval: 1s}}\n{}scrape_configs:\n- job_name: midge\n  static_configs:\n  \
             - targets: ['127.0.0.1:{target}']\n",
            rules.unwrap_or_default()
        );
        std::fs::write(&config, text).unwrap();
        let port = free_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self {
            process,
            port,
            _folder: folder,
        })
    }

    /// The values that it answers an expression of PromQL with; none while it does not answer at all.
    pub(crate) fn query(&self, expression: &str) -> Vec<String> {
        let Some(answer) = self.answer(expression) else {
            return Vec::new();
        };
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let results = answer["data"]["result"].as_array().unwrap().iter();
        results
            .map(|result| result["value"][1].as_str().unwrap().to_owned())
            .collect()
    }

    fn answer(&self, expression: &str) -> Option<Value> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = format!(
            "GET /api/v1/query?query={encoded} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        // Longer answers come in pieces, each behind its length.
        let body = body.get(body.find('{')?..=body.rfind('}')?)?;
        serde_json::from_str(body).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
