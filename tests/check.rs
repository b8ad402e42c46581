//! `broker check`: what comes of each line of a configuration.

use serde_json::Value;

use crate::harness::run;

/// A folder with a configuration that works and one that does not.
fn configurations() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (good, bad, include) = (path("good.conf"), path("bad.conf"), path("conf.d"));
    std::fs::create_dir(&include).unwrap();
    std::fs::write(path("conf.d/a.conf"), "psk_file secret-value\n").unwrap();
    std::fs::write(&good, "port 1883\nretry_interval 20\nallow_anonymous true\n").unwrap();
    std::fs::write(
        &bad,
        format!("port 0\nallow_anonymus true\ninclude_dir {include}\n"),
    )
    .unwrap();
    (folder, good, bad)
}

#[test]
fn each_line_of_a_configuration_has_its_verdict() {
    let (_folder, good, bad) = configurations();
    let ran = run(&["check", &good]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    let rows: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(rows[0], good);
    assert_eq!(rows[1], "   1  port             works");
    assert!(
        rows[2].starts_with("   2  retry_interval   no effect: "),
        "{}",
        rows[2]
    );
    assert_eq!(
        rows.last().copied(),
        Some("2 work, 1 without effect, 0 not taken: the broker would start")
    );

    let ran = run(&["check", &good, &bad]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    for part in [
        "unknown: ",
        "did you mean",
        "wrong: ",
        "refused: ",
        "refused: pre-shared keys",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(
        !ran.stdout.contains("secret-value"),
        "no value is shown: {}",
        ran.stdout
    );
    let is_path = |line: &str| line.starts_with('/');
    let widest = ran
        .stdout
        .lines()
        .filter(|line| !is_path(line))
        .map(|line| line.chars().count());
    assert!(widest.max() <= Some(80), "{}", ran.stdout);
}

#[test]
fn the_same_as_json_and_what_cannot_be_read() {
    let (folder, _, bad) = configurations();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ran = run(&["check", "--json", &bad]);
    assert_eq!(ran.code, Some(1));
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let of = |key: &str| {
        let lines = json[0]["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["key"] == key).unwrap();
        (
            line["verdict"].clone(),
            line["line"].clone(),
            line["file"].clone(),
        )
    };
    assert_eq!(
        of("psk_file"),
        ("refused".into(), 1.into(), path("conf.d/a.conf").into())
    );
    assert_eq!(
        of("allow_anonymus"),
        ("unknown".into(), 2.into(), bad.clone().into())
    );
    assert_eq!(of("port").0, Value::from("wrong"));
    assert_eq!(run(&["check", &path("not-there")]).code, Some(3));
    assert_eq!(run(&["check"]).code, Some(3));
}
