//! A real Chromium that a test drives: WebDriver over plain HTTP, with chromedriver between.
//!
//! Invariant: browser and driver are gone when the [`Browser`] is dropped.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{eventually, free_port};

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Elements whose text is wider than their box and cannot be scrolled to.
    pub(crate) const CUT_OFF: &str = "
        return [...document.querySelectorAll('main *')]
            .filter(one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
                && getComputedStyle(one).display !== 'inline'
                && !one.closest('.scroll, pre, svg, select, .unseen') && !one.matches('input'))
            .map(one => `${one.tagName}#${one.id}`)";

    /// Texts whose contrast with what is behind them is below 4.5 (WCAG 2, AA).
    pub(crate) const FAINT: &str = "
        const channel = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        const parts = color => color.match(/[\\d.]+/g).map(Number);
        const light = color => {
            const [red, green, blue] = parts(color).map(part => channel(part / 255));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        const behind = one => {
            for (; one; one = one.parentElement) {
                const color = getComputedStyle(one).backgroundColor;
                if ((parts(color)[3] ?? 1) > 0.99) return color;
            }
            return 'rgb(255, 255, 255)';
        };
        const faint = [];
        for (const one of document.querySelectorAll('body *')) {
            const has = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
            if (!has || one.disabled || one.closest('select, dialog, noscript, script')) continue;
            const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) faint.push(`${one.tagName} ${one.textContent.slice(0, 20)} ${contrast.toFixed(2)}`);
        }
        return faint";

    /// Starts a browser without a screen; `None` where Chromium and its driver are not installed.
    pub(crate) fn start() -> Option<Self> {
        let is_there = |program: &str| {
            let version = Command::new(program).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        };
        if !is_there("chromium") || !is_there("chromedriver") {
            return None;
        }
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            _profile: profile,
        };
        eventually("chromedriver listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let folder = browser._profile.path().display();
        let arguments = [
            "--headless=new",
            // Whoever tests as root has no sandbox for it.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={folder}"),
        ];
        let wanted = json!({
            "browserName": "chrome",
            // Those of a test are signed by an authority of its own.
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": chromium(), "args": arguments },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let session = browser.request("POST", "/session", &wanted);
        session["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        Some(browser)
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        eventually(expression, || self.run(&script) == json!(true));
    }

    /// Clicks on what a selector finds first, as a mouse would.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Types into what a selector finds first, in place of what is there.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Types keys, one after the other; Tab and the like are WebDriver's code points.
    pub(crate) fn type_keys(&self, keys: &[char]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|action| json!({ "type": action, "value": key })))
            .collect();
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": actions }]);
        self.post("actions", &json!({ "actions": actions }));
    }

    /// A window of this width, light or dark.
    pub(crate) fn show(&self, width: u32, scheme: &str) {
        let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &scheme);
    }

    /// What the console has of errors, violations of the policy among them, since it was last asked.
    pub(crate) fn errors(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.post(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        );
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let reference = found.as_object().unwrap().values().next().unwrap();
        reference.as_str().unwrap().to_owned()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.request("POST", &format!("/session/{}/{command}", self.session), body)
    }

    /// The `value` of the driver's answer.
    fn request(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = self.exchange(method, target, body).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {body}");
        let mut answer: Value = serde_json::from_str(body).unwrap();
        answer["value"].take()
    }

    fn exchange(&self, method: &str, target: &str, body: &Value) -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        let body = body.to_string();
        let length = body.len();
        write!(
            socket,
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let mut more = [0; 4096];
            let read = socket.read(&mut more)?;
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&more[..read]);
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ended = self.exchange("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

/// Whether an answer has come with all of its body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= head.len() + 4 + length)
}

fn chromium() -> String {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = std::env::split_paths(&folders).map(|folder| folder.join("chromium"));
    let path = paths.find(|path| path.is_file()).unwrap();
    path.display().to_string()
}

const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
