//! Files and folders of a configuration.

use mqtt::QoS;

use super::*;

#[test]
fn relative_paths_lead_to_the_working_directory_then_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("passfile"), "").unwrap();
    let path = folder.path().join("t.conf");
    std::fs::write(&path, "password_file passfile\nacl_file nowhere\n").unwrap();
    let args = Args {
        config_file: Some(path),
        ..Args::default()
    };
    let access = load(&args).unwrap().listeners.remove(0).access;
    assert_eq!(access.password_file, Some(folder.path().join("passfile")));
    assert_eq!(
        access.acl_file,
        Some(std::env::current_dir().unwrap().join("nowhere"))
    );
    std::fs::write(folder.path().join("t.conf"), "password_file Cargo.toml\n").unwrap();
    std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
    let access = load(&args).unwrap().listeners.remove(0).access;
    assert_eq!(
        access.password_file,
        Some(std::env::current_dir().unwrap().join("Cargo.toml"))
    );
}

#[test]
fn a_file_with_included_files() {
    let folder = tempfile::tempdir().unwrap();
    let included = folder.path().join("conf.d");
    std::fs::create_dir(&included).unwrap();
    // Read in the order A, a, B; the last value applies, and keys belong to the last listener in that order.
    std::fs::write(
        included.join("B.conf"),
        "max_queued_messages 1\nmax_connections 7\n",
    )
    .unwrap();
    std::fs::write(included.join("a.conf"), "max_queued_messages 2\nmax_qos 0\n").unwrap();
    std::fs::write(
        included.join("A.conf"),
        "max_queued_messages 3\nlistener 1884 127.0.0.1\n",
    )
    .unwrap();
    std::fs::write(included.join("ignored.txt"), "unknown\n").unwrap();
    let main = folder.path().join("main.conf");
    std::fs::write(&main, format!("include_dir {}\nmax_qos 1\n", included.display())).unwrap();
    let args = Args {
        config_file: Some(main.clone()),
        ..Args::default()
    };
    let configuration = load(&args).unwrap();
    assert_eq!(configuration.settings.queued_messages_max, 1);
    let [listener] = configuration.settings.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(
        (listener.connections_max, listener.qos_max),
        (7, QoS::AtLeastOnce)
    );

    std::fs::write(
        included.join("c.conf"),
        format!("\ninclude_dir {}\n", included.display()),
    )
    .unwrap();
    let error = load(&args).unwrap_err();
    assert_eq!(
        error.problems[0].place.to_string(),
        format!("{}:2", included.join("c.conf").display())
    );
    assert_eq!(
        error.problems[0].text,
        "include_dir is allowed in the main file only"
    );
}

/// A repeated line is found wherever it is, and the message names both places.
#[test]
fn a_key_stands_once_in_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let included = folder.path().join("conf.d");
    std::fs::create_dir(&included).unwrap();
    let again = included.join("again.conf");
    std::fs::write(&again, "\nuser root\n").unwrap();
    let main = folder.path().join("main.conf");
    std::fs::write(&main, format!("user root\ninclude_dir {}\n", included.display())).unwrap();
    let args = Args {
        config_file: Some(main.clone()),
        ..Args::default()
    };
    let problems = load(&args).unwrap_err().problems;
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}")
    };
    assert_eq!(problem.place.to_string(), format!("{}:2", again.display()));
    let first = format!("user root: is set twice, first at {}:1;", main.display());
    assert!(problem.text.starts_with(&first), "{}", problem.text);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let args = |path: PathBuf| Args {
        config_file: Some(path),
        ..Args::default()
    };
    let text = load(&args("/nonexistent.conf".into())).unwrap_err().to_string();
    assert_eq!(
        text,
        "/nonexistent.conf: cannot be read: No such file or directory (os error 2)"
    );
    assert!(
        load(&args(folder.path().to_owned()))
            .unwrap_err()
            .to_string()
            .contains("Is a directory")
    );
    let large = folder.path().join("large.conf");
    std::fs::write(&large, vec![b'#'; 2 << 20]).unwrap();
    assert!(
        load(&args(large))
            .unwrap_err()
            .to_string()
            .contains("larger than a configuration file may be")
    );
}
