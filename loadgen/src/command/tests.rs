//! The list of subcommands, and what all of them have in common.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn help(line: &str) -> String {
    let error = read(words(line)).expect_err(line);
    assert_eq!(error.exit_code(), 0, "{line}: {error}");
    error.to_string()
}

/// The help text is part of the interface: a change shows in the diff of `help.txt`, which this test rewrites if
/// `UPDATE_GOLDEN` is set.
#[test]
fn the_help_text_is_the_golden_one() {
    let help = help("loadgen --help");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &help).unwrap();
    }
    assert_eq!(help, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn every_subcommand_is_listed_and_has_a_help_of_at_most_80_columns() {
    let whole = help("loadgen --help");
    let mut texts = vec![whole.clone()];
    let program = Program::command();
    for subcommand in program
        .get_subcommands()
        .filter(|subcommand| !subcommand.is_hide_set())
    {
        let name = subcommand.get_name();
        assert!(whole.contains(&format!("\n  {name} ")), "{name}: {whole}");
        texts.push(help(&format!("loadgen {name} --help")));
    }
    for text in texts {
        let wide: Vec<&str> = text
            .lines()
            .filter(|line| line.chars().count() > HELP_COLUMNS)
            .collect();
        assert!(wide.is_empty(), "{wide:#?}");
    }
}

#[test]
fn a_password_is_found_whichever_subcommand_it_is_for() {
    for line in [
        "loadgen -u a -P secret",
        "loadgen run -u a --pw secret",
        "loadgen search -u a --password=secret",
        "loadgen sweep -u a -P secret",
        "loadgen conn -u a -Psecret",
        "loadgen retained -u a -P secret",
        "loadgen pub -t t -n -u a -P secret",
        "loadgen sub -t t -u a -P secret",
    ] {
        let (subcommand, _) = read(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(subcommand.password(), Some("secret"), "{line}");
    }
}

#[test]
fn a_scenario_stands_before_the_words_of_its_subcommand() {
    for (line, name) in [
        ("loadgen --scenario pairs-q0 --pubs 3", "pairs-q0"),
        ("loadgen run --scenario pairs-q0 --pubs 3", "pairs-q0"),
        (
            "loadgen retained --scenario retained-1M --messages 5",
            "retained-1M",
        ),
    ] {
        let (_, origin) = read(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(origin.map(|origin| origin.name).as_deref(), Some(name), "{line}");
    }
    for (line, part) in [
        ("loadgen conn --scenario pairs-q0", "loadgen run"),
        ("loadgen -c 5", "-c is not supported"),
        ("loadgen no-such-word", "no-such-word"),
        ("loadgen --pubs 5 conn", "conn"),
    ] {
        let error = read(words(line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

#[test]
fn the_processes_that_loadgen_starts_get_their_words_as_they_are() {
    let (subcommand, _) = read(words("loadgen broker 1 any -c file --help -P x")).unwrap();
    let Subcommand::Broker(child) = subcommand else {
        panic!("{subcommand:?}");
    };
    assert_eq!(child.words, words("1 any -c file --help -P x"));
}
