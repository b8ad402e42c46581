//! The dashboard of `protocol http_api`, as a real Chromium shows it and as a person uses it.

use mqtt::QoS;
use serde_json::{Value, json};

use crate::harness::api::start_with_api;
use crate::harness::http::ask;
use crate::harness::{Broker, Browser, Certificates, Client, Options, Setup, eventually, free_port, run};
use crate::real_clients::skip;

/// Keys, as WebDriver names them.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

/// A broker with MQTT, with MQTT over WebSocket and with http_api, and the address of its dashboard.
fn start(keys: &str) -> (Broker, u16, String) {
    let web_socket = free_port();
    let setup = Setup::default()
        .global("per_listener_settings true")
        .listener(&format!(
            "listener {web_socket} 127.0.0.1\nprotocol websockets\nallow_anonymous true"
        ));
    let (broker, port) = start_with_api(setup, 2, keys);
    (broker, port, format!("http://localhost:{port}/dashboard/"))
}

/// A browser that has opened the page; `None`, and a line for people, where there is no browser.
fn open(url: &str) -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        skip("chromium");
    }
    let browser = browser?;
    browser.show(1440, "light");
    browser.open(url);
    browser.wait_for("document.querySelectorAll('#tiles dd').length > 5");
    Some(browser)
}

fn text(browser: &Browser, selector: &str) -> String {
    let script = format!("return document.querySelector('{selector}').textContent");
    browser.run(&script).as_str().unwrap().to_owned()
}

/// The policy, and who gets the page.
#[test]
fn the_page_is_for_operators_and_has_a_policy() {
    let (_broker, port, _) = start("");
    let asked =
        |target: &str, host: &str| ask(port, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let page = asked("/dashboard/", "localhost:1");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let policy = page
        .lines()
        .find_map(|line| line.strip_prefix("Content-Security-Policy: "));
    let policy = policy.unwrap();
    for part in [
        "default-src 'none';",
        "script-src 'self';",
        "style-src 'self';",
        "frame-ancestors 'none';",
        "form-action 'none';",
        "require-trusted-types-for 'script';",
        "connect-src 'self' ws://localhost:",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert!(asked("/", "localhost").contains("302 Found\r\n"));
    assert!(asked("/dashboard", "localhost").contains("Location: /dashboard/\r\n"));
    assert!(asked("/dashboard/none.js", "localhost").starts_with("HTTP/1.1 404"));
    assert!(asked("/dashboard/main.js", "localhost").contains("text/javascript"));
    // Neither for a page of somebody else's name that leads here, nor for a change.
    assert!(asked("/dashboard/", "example.org").starts_with("HTTP/1.1 403"));
    assert!(ask(port, "POST /dashboard/ HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 405"));
}

/// Every part of the page shows what the broker does, without an error and without a violation of the policy.
#[test]
fn it_shows_what_the_broker_does() {
    let (broker, _, url) = start("");
    let Some(browser) = open(&url) else { return };
    let mut client = Client::connect(&broker, &Options::new("sensor/1"));
    client.subscribe("t/#", QoS::AtLeastOnce);
    for _ in 0..20 {
        client.publish("t/x", b"1", QoS::AtLeastOnce);
    }
    assert_eq!(client.payloads(20).len(), 20);
    Client::connect(&broker, &Options::new("leaves")).disconnect();
    browser.wait_for("document.querySelector('#tiles dd').textContent === '1'");
    browser.wait_for("document.querySelectorAll('#latency-chart meter').length > 0");
    assert!(text(&browser, "#latency-summary").starts_with("20 copies: p50 ≤ "));
    browser.wait_for("document.querySelectorAll('#shard-rows meter').length === 2");
    browser.wait_for("document.querySelectorAll('#listener-rows tr').length === 3");
    browser.wait_for("document.querySelector('#event-rows').textContent.includes('leaves')");
    browser.wait_for("document.querySelector('[data-client=\"sensor/1\"]')");
    browser.wait_for("[...document.querySelectorAll('#rates svg')].length === 6");
    let curve = browser.run("return document.querySelector('#rates .curve').getAttribute('points')");
    assert!(curve.as_str().unwrap().contains(','), "{curve}");
    assert_eq!(text(&browser, "#version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(browser.errors(), [""; 0]);
    // Nothing came from another place.
    let hosts = browser.run(
        "return [...new Set(performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin))]",
    );
    assert_eq!(hosts, json!([url.trim_end_matches("/dashboard/")]));
    // CPU time is measured while somebody wants to know it.
    browser.click("#busiest-measure");
    eventually("it is measured", || {
        client.ping();
        text(&browser, "#busiest-rows").contains("sensor/1")
    });
    assert_eq!(text(&browser, "#busiest-measure"), "Stop");
    assert_eq!(browser.errors(), [""; 0]);
    // Without a broker it says so, and goes on when there is one again.
    drop(client);
    drop(broker);
    browser.wait_for("document.querySelector('#state.failed')");
    assert_eq!(text(&browser, "#state"), "The broker does not answer.");
}

/// Whatever clients call themselves and send is text; a client is found and disconnected by keyboard alone.
#[test]
fn names_are_text_and_clients_are_disconnected_by_keyboard() {
    let (broker, _, url) = start("");
    let name = "<img src=x onerror=\"document.title='broken'\">";
    let mut evil = Client::connect(&broker, &Options::new(name).v5().session_expiry_s(60));
    let _others: Vec<_> = (0..30)
        .map(|number| Client::connect(&broker, &Options::new(&format!("other{number}"))))
        .collect();
    let Some(browser) = open(&url) else { return };
    browser.wait_for("document.querySelectorAll('#client-rows tr').length === 20");
    browser.click("#client-more");
    browser.wait_for("document.querySelectorAll('#client-rows tr').length === 31");
    browser.type_into("#client-text", "<img");
    browser.type_keys(&[ENTER]);
    browser.wait_for("document.querySelectorAll('#client-rows tr').length === 1");
    assert_eq!(text(&browser, "#client-rows td"), name);
    assert_eq!(
        browser.run("return document.querySelectorAll('img').length"),
        json!(0)
    );
    // From the text to the kind, to the button, to the table, to the first button of the row.
    browser.type_keys(&[TAB, TAB, TAB, TAB]);
    let label = browser.run("return document.activeElement.getAttribute('aria-label')");
    assert_eq!(label, json!(format!("Disconnect: {name}")));
    browser.type_keys(&[ENTER]);
    browser.wait_for("document.querySelector('#confirm').open");
    assert_eq!(
        browser.run("return document.activeElement.id"),
        json!("confirm-no")
    );
    // The dialog keeps the focus, and its first button is before the one that has it.
    browser.run("document.querySelector('#confirm-yes').focus()");
    browser.type_keys(&[ENTER]);
    evil.expect_closed();
    browser.wait_for("document.querySelector('#client-rows').textContent.includes('There is none')");
    browser.wait_for("document.querySelector('#event-rows').textContent.includes('operator')");
    // Its session is there, and is ended.
    browser.run("document.querySelector('#client-kind').value = 'sessions'");
    browser.click("#client-search button");
    browser.wait_for("document.querySelector('#client-rows').textContent.includes('away for')");
    browser.click("#client-rows button");
    browser.click("#confirm-yes");
    browser.wait_for("document.querySelector('#client-rows').textContent.includes('There is none')");
    assert_eq!(browser.run("return document.title"), json!("Midge"));
    assert_eq!(browser.errors(), [""; 0]);
}

/// The small client publishes and subscribes over the WebSocket listener.
#[test]
fn it_publishes_and_subscribes() {
    let (broker, _, url) = start("");
    let mut other = Client::connect(&broker, &Options::new("other"));
    other.subscribe("out/#", QoS::AtLeastOnce);
    let Some(browser) = open(&url) else { return };
    browser.wait_for("document.querySelector('#socket-url').value.startsWith('ws://localhost:')");
    browser.click("#socket-connect");
    browser.wait_for("document.querySelector('#socket-state').textContent === 'Connected'");
    browser.type_into("#subscribe-filter", "in/#");
    browser.run("document.querySelector('#subscribe-qos').value = '1'");
    browser.click("#subscribe-form button");
    browser.wait_for("document.querySelector('#socket-state').textContent === 'Subscribed to in/# at QoS 1'");
    let markup = "<b id='markup'>ö</b>";
    other.publish("in/a", markup.as_bytes(), QoS::AtLeastOnce);
    other.publish("in/b", &[0xff, 0x00], QoS::AtMostOnce);
    other.publish("in/long", &vec![b'x'; 100_000], QoS::AtLeastOnce);
    browser.wait_for("document.querySelectorAll('#message-rows tr').length === 3");
    let shown = text(&browser, "#message-rows");
    assert!(shown.contains(markup) && shown.contains("0xff00"), "{shown}");
    assert!(shown.contains("… (100,000 bytes)"));
    assert_eq!(
        browser.run("return document.querySelector('#markup')"),
        Value::Null
    );
    for qos in ["0", "1"] {
        browser.type_into("#publish-topic", "out/x");
        browser.type_into("#publish-payload", "grün");
        browser.run(&format!("document.querySelector('#publish-qos').value = '{qos}'"));
        browser.click("#publish-form button");
        assert_eq!(other.message().payload, "grün".as_bytes());
    }
    // What is wrong is said.
    browser.type_into("#subscribe-filter", "a/#/b");
    browser.click("#subscribe-form button");
    browser.wait_for("document.querySelector('#socket-state').textContent.includes('0x8f')");
    browser.wait_for("document.querySelector('#socket-connect').textContent === 'Connect'");
    assert_eq!(browser.errors(), [""; 0]);
}

/// Whatever a client is called, it is shown so that one sees it, and ends when that is asked for; why not stays there.
#[test]
fn clients_with_odd_names_are_disconnected() {
    // In one step: the list is read again all the time.
    const FIRST: &str = "document.querySelector('#client-rows button').click()";
    let (broker, _, url) = start("");
    let Some(browser) = open(&url) else { return };
    for (name, shown) in [
        (".", "."),
        ("..", ".."),
        ("a/../b%2e", "a/../b%2e"),
        ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
    ] {
        let mut client = Client::connect(&broker, &Options::new(name).v5().session_expiry_s(60));
        browser.run("document.querySelector('#client-kind').value = 'sessions'");
        browser.click("#client-search button");
        browser.wait_for("document.querySelector('#client-rows').textContent.includes('MQTT 5.0')");
        assert_eq!(text(&browser, "#client-rows td"), shown);
        browser.run(FIRST);
        let question = text(&browser, "#confirm-text");
        assert!(
            question.starts_with(&format!("Disconnect the client “{shown}”?")),
            "{question}"
        );
        browser.click("#confirm-yes");
        assert!(client.expect_closed().0.is_some());
        browser.wait_for("document.querySelector('#client-rows').textContent.includes('away for')");
        browser.run(FIRST);
        browser.click("#confirm-yes");
        browser.wait_for("document.querySelector('#client-rows').textContent.includes('There is none')");
    }
    assert_eq!(browser.errors(), [""; 0]);
    // What was not done is said until the next thing is, however often the lists are read again.
    let client = Client::connect(&broker, &Options::new("gone"));
    browser.click("#client-search button");
    browser.wait_for("document.querySelector('#client-rows').textContent.includes('gone')");
    browser.run(FIRST);
    browser.wait_for("document.querySelector('#confirm').open");
    client.disconnect();
    eventually("it is gone", || broker.log().contains("Client gone"));
    browser.click("#confirm-yes");
    browser.wait_for("document.querySelector('#client-outcome').textContent.includes('is not connected')");
    std::thread::sleep(std::time::Duration::from_secs(5));
    let outcome = text(&browser, "#client-outcome");
    assert!(
        outcome.starts_with("It was not done: this client is not connected"),
        "{outcome}"
    );
}

/// A page that came by TLS offers no connection that the browser does not open, and says why.
#[test]
fn a_page_by_tls_connects_by_tls_alone() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    let tls = format!("certfile {}\nkeyfile {}", path("server.crt"), path("server.key"));
    for (keys, url) in [("", None), (&*tls, Some("wss://localhost:"))] {
        let web_socket = free_port();
        let setup = Setup::default().listener(&format!(
            "listener {web_socket} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n{keys}"
        ));
        let (_broker, port) = start_with_api(setup, 1, &tls);
        let Some(browser) = open(&format!("https://localhost:{port}/dashboard/")) else {
            return;
        };
        let Some(url) = url else {
            assert_eq!(
                browser.run("return document.querySelectorAll('#socket-url option').length"),
                0
            );
            let hint = text(&browser, "#socket-hint");
            assert!(
                hint.contains("no WebSocket without TLS") && hint.contains("Fix: give the"),
                "{hint}"
            );
            // The browser may refuse for another reason: that is said, and the password does not stay.
            browser.run(
                "document.querySelector('#socket-url').replaceChildren(new Option('ws://localhost:99999/'));
                document.querySelector('#socket-connect').disabled = false;
                document.querySelector('#socket-password').value = 'secret'",
            );
            browser.click("#socket-connect");
            browser.wait_for(
                "document.querySelector('#socket-state').textContent.startsWith('The browser does not connect: ')",
            );
            assert_eq!(
                browser.run("return document.querySelector('#socket-password').value"),
                ""
            );
            continue;
        };
        browser.wait_for(&format!(
            "document.querySelector('#socket-url').value.startsWith('{url}')"
        ));
        browser.click("#socket-connect");
        browser.wait_for("document.querySelector('#socket-state').textContent === 'Connected'");
    }
}

/// Narrow and wide, light and dark: nothing is cut off, and all text can be read.
#[test]
fn it_fits_and_can_be_read() {
    let (broker, _, url) = start("");
    let _clients = ["a", &"long".repeat(30), "c d"].map(|name| Client::connect(&broker, &Options::new(name)));
    let Some(browser) = open(&url) else { return };
    browser.wait_for("document.querySelectorAll('#client-rows tr').length === 3");
    let mut backgrounds = Vec::new();
    for width in [360, 1440] {
        for scheme in ["light", "dark"] {
            browser.show(width, scheme);
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{width}: {wide}");
            let cut = browser.run(Browser::CUT_OFF);
            assert_eq!(cut, json!([]), "{width} {scheme}");
            let faint = browser.run(Browser::FAINT);
            assert_eq!(faint, json!([]), "{width} {scheme}");
            backgrounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
        }
    }
    assert_ne!(backgrounds[0], backgrounds[1], "light and dark");
    assert_eq!(backgrounds[..2], backgrounds[2..]);
}

/// Every control is reached by Tab, has a name, shows that it has the focus, and lets it go again.
#[test]
fn it_is_used_by_keyboard() {
    let (broker, _, url) = start("");
    let _client = Client::connect(&broker, &Options::new("a"));
    let Some(browser) = open(&url) else { return };
    browser.wait_for("document.querySelectorAll('#client-rows button').length === 2");
    browser.run("document.activeElement.blur()");
    let controls = browser.run(CONTROLS).as_u64().unwrap();
    assert!(controls > 15, "{controls}");
    let mut seen = std::collections::BTreeSet::new();
    // The page's own controls, and a few of the browser.
    for _ in 0..controls + 4 {
        browser.type_keys(&[TAB]);
        let focused = browser.run(FOCUSED);
        let Some(place) = focused["place"].as_u64() else {
            continue;
        };
        assert_ne!(focused["name"], "", "{focused}");
        assert_eq!(focused["visible"], true, "{focused}");
        seen.insert(place);
    }
    assert_eq!(seen.len() as u64, controls, "{seen:?}");
}

/// With a password file the page is for those who know a password, and works with it.
#[test]
fn it_stands_behind_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    let made = run(&["passwd", "-b", "-c", &passwords, "operator", "right"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let (_broker, port, url) = start(&format!("password_file {passwords}"));
    for target in ["/", "/dashboard/", "/dashboard/main.js"] {
        let refused = ask(port, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        assert!(refused.contains("WWW-Authenticate: Basic"), "{refused}");
    }
    let with_password = url.replace("http://", "http://operator:right@");
    let Some(browser) = open(&with_password) else {
        return;
    };
    browser.wait_for("document.querySelector('#client-rows').textContent.includes('There is none')");
    assert_eq!(browser.errors(), [""; 0]);
}

/// Marks the controls with their places; how many there are.
const CONTROLS: &str = "
    const all = document.querySelectorAll('a, button, input, select, [tabindex=\"0\"]');
    const shown = [...all].filter(one => !one.disabled && !one.hidden && !one.closest('dialog'));
    for (const [place, one] of shown.entries()) one.dataset.place = place;
    return shown.length";

/// The control that has the focus: its place, its name, and whether one sees that.
const FOCUSED: &str = "
    const one = document.activeElement;
    const style = getComputedStyle(one);
    const label = one.labels?.[0]?.textContent ?? '';
    return {
        place: one.dataset.place === undefined ? null : Number(one.dataset.place),
        name: (one.getAttribute('aria-label') ?? '') || label.trim() || one.textContent.trim(),
        visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    }";
