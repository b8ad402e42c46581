//! The report of the load generator, as a real Chromium shows it.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::Browser;
use crate::real_clients::skip;

/// Runs the load generator with these words.
fn loadgen(words: &[&str]) {
    let program = env!("CARGO_BIN_EXE_midge-loadgen");
    let output = Command::new(program).args(words).output().unwrap();
    // A machine that is busy makes a run invalid, which the report shows.
    let is_done = matches!(output.status.code(), Some(0 | 4 | 5));
    assert!(is_done, "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Copies what a report is made of.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A comparison and a run, on telephones and on screens, light and dark: the page does not scroll sideways, its tables
/// do, verdicts are always in view and leave room for what they are about, and all text can be read.
#[test]
fn reports_fit_each_width() {
    let Some(browser) = Browser::start() else {
        return skip("chromium");
    };
    let folder = tempfile::tempdir().unwrap();
    let [comparison, one_run] = ["comparison", "run"].map(|name| folder.path().join(name));
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-26-vm2-peers");
    copy(&results, &comparison);
    loadgen(&["report", comparison.to_str().unwrap()]);
    let line = "--no-tls --pubs 2 --subs 2 --rate 200 --warmup 0.2 --duration 1 --out";
    let line: Vec<&str> = line.split(' ').chain([one_run.to_str().unwrap()]).collect();
    loadgen(&line);
    for (of, verdicts_min) in [(comparison, 10), (one_run, 0)] {
        for width in [360, 400, 1280, 1440] {
            for scheme in ["light", "dark"] {
                browser.show(width, scheme);
                browser.open(&format!("file://{}/report.html", of.display()));
                let at = format!("{} at {width}, {scheme}", of.display());
                let wide = browser.run("return document.documentElement.scrollWidth");
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{at}: {wide}");
                assert_eq!(browser.run(Browser::CUT_OFF), json!([]), "{at}");
                assert_eq!(browser.run(Browser::FAINT), json!([]), "{at}");
                let verdicts = browser.run(VERDICTS);
                let [number, hidden] = ["number", "hidden"].map(|name| verdicts[name].as_u64().unwrap());
                assert!(number >= verdicts_min && hidden == 0, "{at}: {verdicts}");
                assert_eq!(browser.run(TABLES), json!([]), "{at}");
            }
        }
    }
}

/// How many verdicts there are, and how many of them are not in view, or take half of it and more.
const VERDICTS: &str = "
    const cells = [...document.querySelectorAll('table.verdict td:last-child')];
    const hidden = cells.filter(cell => {
        const [of, box] = [cell.getBoundingClientRect(), cell.closest('.scroll').getBoundingClientRect()];
        return of.left < box.left || of.right > box.right + 1 || of.width > box.width / 2
            || cell.scrollWidth > cell.clientWidth;
    });
    return { number: cells.length, hidden: hidden.length }";

/// Tables that do not scroll within themselves although they are wider than their place.
const TABLES: &str = "
    return [...document.querySelectorAll('table')].filter(table => {
        const place = table.parentElement;
        if (place.scrollWidth <= place.clientWidth) return false;
        place.scrollLeft = place.scrollWidth;
        const moved = place.scrollLeft > 0;
        place.scrollLeft = 0;
        return !moved;
    }).map(table => table.className)";
