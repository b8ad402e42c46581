//! The dashboard: one page for operators in a browser, which uses the same API.
//!
//! Its files are in the folder `dashboard` and compiled into the program.
//!
//! Invariants: the page loads nothing from other hosts and runs no script but its own, and its policy makes the
//! browser enforce this; it connects to this listener and to the broker's WebSocket listeners only. It is available to
//! operators only ([`super::origin`]).

use transport::websocket::handshake::Page;

use super::answer::ApiAnswer;
use super::state::{ApiState, WebSocketPort};

/// Name, media type and text of a file.
type Asset = (&'static str, &'static str, &'static str);

const JS: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 12] = [
    (
        "",
        "text/html; charset=utf-8",
        include_str!("dashboard/index.html"),
    ),
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("dashboard/style.css"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
    ("main.js", JS, include_str!("dashboard/main.js")),
    ("api.js", JS, include_str!("dashboard/api.js")),
    ("busiest.js", JS, include_str!("dashboard/busiest.js")),
    ("clients.js", JS, include_str!("dashboard/clients.js")),
    ("dom.js", JS, include_str!("dashboard/dom.js")),
    ("figures.js", JS, include_str!("dashboard/figures.js")),
    ("messages.js", JS, include_str!("dashboard/messages.js")),
    ("mqtt.js", JS, include_str!("dashboard/mqtt.js")),
    ("overview.js", JS, include_str!("dashboard/overview.js")),
];

const FOLDER: &str = "/dashboard/";

/// Whether the request is for the dashboard, or for a page that redirects to it.
pub(super) fn is_asked_for(page: &Page, has_folder: bool) -> bool {
    let path = path(page);
    path.starts_with(FOLDER) || leads_to_it(path, has_folder)
}

/// The answer with one of its files, unless there is none of that name.
pub(super) fn answer(state: &ApiState, page: &Page, has_folder: bool) -> Option<ApiAnswer> {
    let path = path(page);
    if leads_to_it(path, has_folder) {
        return Some(ApiAnswer::moved_to(FOLDER));
    }
    let name = path.strip_prefix(FOLDER)?;
    let (_, content_type, text) = ASSETS.iter().find(|(asset, ..)| *asset == name)?;
    let host = page.field("Host").unwrap_or_default();
    Some(ApiAnswer::asset(
        content_type,
        text,
        policy(host, &state.web_sockets),
    ))
}

/// If there are no pages of `http_dir`, the first page is the dashboard.
fn leads_to_it(path: &str, has_folder: bool) -> bool {
    path == "/dashboard" || path == "/" && !has_folder
}

fn path(page: &Page) -> &str {
    page.target.split(['?', '#']).next().unwrap_or_default()
}

/// The Content-Security-Policy; `host` is the browser's name for this machine.
fn policy(host: &str, web_sockets: &[WebSocketPort]) -> String {
    let mut policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src \
                      'self'; script-src 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types \
                      'none'; connect-src 'self'"
        .to_owned();
    let name = match host.rfind(']') {
        Some(end) => host.get(..=end),
        None => host.split(':').next(),
    };
    let is_name = |name: &&str| {
        let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        !name.is_empty() && name.bytes().all(may_stand)
    };
    for listener in name.filter(is_name).into_iter().flat_map(|name| {
        let of = move |socket: &WebSocketPort| {
            let scheme = if socket.is_tls { "wss" } else { "ws" };
            format!(" {scheme}://{name}:{}", socket.port)
        };
        web_sockets.iter().map(of)
    }) {
        policy.push_str(&listener);
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_listeners() {
        let sockets = [(8083, false), (8084, true)].map(|(port, is_tls)| WebSocketPort { port, is_tls });
        let connects = |host: &str| {
            let policy = policy(host, &sockets);
            let (rest, connects) = policy.split_once("connect-src ").unwrap();
            assert!(rest.starts_with("default-src 'none'; ") && !rest.contains("unsafe"));
            connects.to_owned()
        };
        assert_eq!(
            connects("localhost:9883"),
            "'self' ws://localhost:8083 wss://localhost:8084"
        );
        assert_eq!(connects("[::1]:9883"), "'self' ws://[::1]:8083 wss://[::1]:8084");
        for host in ["", "a b", "a;script-src *", "x'y", "é"] {
            assert_eq!(connects(host), "'self'", "{host}");
        }
    }

    #[test]
    fn every_file_is_served_and_named() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/dashboard");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        files.sort();
        let mut served: Vec<_> = ASSETS
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| !name.is_empty())
            .collect();
        served.sort_unstable();
        assert_eq!(served, files);
    }

    /// No file contains what the policy forbids, or would interpret a client's name as markup.
    #[test]
    fn no_file_makes_markup_of_text() {
        for (name, _, text) in ASSETS {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=",
                " onclick",
                "javascript:",
            ] {
                assert!(!text.contains(word), "{name}: {word}");
            }
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{name}");
            let foreign = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !foreign.contains("http://") && !foreign.contains("https://"),
                "{name}"
            );
        }
    }
}
