//! The rules on made-up files.

use super::{File, Rule, Scope, TERMS, Violation, check_files, floors, lexer, maps, words};

fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// What is found in one file of a program, as rule and line.
fn found_in(path: &str, text: &str) -> Vec<(Rule, usize)> {
    let all = check_files(&[file(path, text)]).unwrap();
    let of_file = all
        .into_iter()
        .filter(|violation| violation.file == path && violation.rule != Rule::Exemption);
    of_file.map(|Violation { rule, line, .. }| (rule, line)).collect()
}

const HEADER: &str = "//! What it is for.\n//!\n//! Invariants: none.\n";

#[test]
fn a_good_file_has_no_violation() {
    let text = format!("{HEADER}\n/// Why it is there, in a sentence.\nfn good() {{}}\n");
    assert_eq!(found_in("mqtt/src/good.rs", &text), []);
}

#[test]
fn each_rule_finds_its_violation() {
    let wide = format!("{HEADER}// {}\n", "x".repeat(118));
    assert_eq!(found_in("mqtt/src/a.rs", &wide), [(Rule::Width, 4)]);
    let columns_are_characters = format!("{HEADER}// {}\n", "é".repeat(117));
    assert_eq!(found_in("mqtt/src/a.rs", &columns_are_characters), []);

    let long = format!("{HEADER}{}", "//\n".repeat(398));
    assert_eq!(found_in("mqtt/src/a.rs", &long), [(Rule::FileLength, 0)]);
    assert_eq!(found_in("mqtt/src/tests/a.rs", &long), []);

    let long_function = format!("{HEADER}fn long() {{\n{}}}\n", "    f();\n".repeat(69));
    assert_eq!(
        found_in("mqtt/src/a.rs", &long_function),
        [(Rule::FunctionLength, 4)]
    );

    assert_eq!(found_in("mqtt/src/a.rs", "fn f() {}\n"), [(Rule::Header, 1)]);
    assert_eq!(
        found_in("mqtt/src/a.rs", "//! No word of them.\n"),
        [(Rule::Header, 1)]
    );
    assert_eq!(found_in("mqtt/src/tests.rs", "//! A test has none.\n"), []);

    for doc in ["Why.", "Its result here.", "The length of the bytes."] {
        let text = format!("{HEADER}/// {doc}\nfn byte_length() {{}}\n");
        assert_eq!(found_in("mqtt/src/a.rs", &text), [(Rule::DocComment, 4)], "{doc}");
    }
    let text = format!("{HEADER}struct A {{\n    /// The result.\n    b: u8,\n}}\n");
    assert_eq!(found_in("mqtt/src/a.rs", &text), [(Rule::DocComment, 5)]);

    let up = format!("{HEADER}use super::{}::x;\n", "super");
    assert_eq!(found_in("mqtt/src/a.rs", &up), [(Rule::SuperPath, 4)]);

    let block = format!("{HEADER}fn f() {{\n    macro_like!(unsafe {{ 1 }});\n}}\n");
    assert_eq!(found_in("mqtt/src/a.rs", &block), [(Rule::Unsafe, 5)]);
    assert_eq!(found_in("transport/src/a.rs", &block), []);
    let comment = format!("{HEADER}// unsafe in words alone\n");
    assert_eq!(found_in("mqtt/src/a.rs", &comment), []);
}

#[test]
fn a_silent_way_out_of_the_broker_is_found() {
    let at = |exit: &str| {
        let text = format!("{HEADER}fn f(x: Option<u8>) {{\n    let Some(x) = x else {{ {exit} }};\n}}\n");
        (
            found_in("broker/src/logic/a.rs", &text),
            found_in("loadgen/src/a.rs", &text),
        )
    };
    assert_eq!(at("return"), (vec![(Rule::SilentReturn, 5)], vec![]));
    assert_eq!(at("\n        return;\n    ").0, [(Rule::SilentReturn, 5)]);
    for explained in [
        "// It was closed.\n        return;\n    ",
        "return unreachable_state(\"x\")",
    ] {
        assert_eq!(at(explained), (vec![], vec![]), "{explained}");
    }
}

#[test]
fn a_method_about_one_owner_is_that_owners() {
    let at = |signature: &str, body: &str| {
        let text = format!("{HEADER}impl Shard {{\n    {signature} {{\n        {body}\n    }}\n}}\n");
        found_in("broker/src/logic/a.rs", &text)
    };
    let one = "let count = self.routing.count();\n        self.routing.set(count);";
    assert_eq!(at("fn f(&mut self)", one), [(Rule::Owner, 5)]);
    let taken_apart = "let Self { routing, .. } = self;\n        routing.set(1);";
    assert_eq!(at("pub(super) fn f(&mut self)", taken_apart), [(Rule::Owner, 5)]);
    for coordinates in [
        "let count = self.routing.count();\n        self.outboxes.set(count);",
        "let count = self.routing.count();\n        self.f(count);",
        "let Self { routing, outboxes, .. } = self;\n        routing.set(outboxes);",
        "self.routing.count()",
        "self.index += 1;\n        self.index += 1;",
    ] {
        assert_eq!(at("fn f(&mut self)", coordinates), [], "{coordinates}");
    }
    assert_eq!(at("pub fn f(&mut self)", one), []);
}

#[test]
fn an_owner_shows_no_field() {
    let at = |path: &str, field: &str| {
        let text = format!("{HEADER}struct Session {{\n    {field}: u32,\n}}\n");
        found_in(path, &text)
    };
    for shown in ["pub window", "pub(super) window", "pub(in crate::logic) window"] {
        assert_eq!(at("broker/src/logic/a.rs", shown), [(Rule::Owner, 5)], "{shown}");
    }
    assert_eq!(at("broker/src/logic/a.rs", "window"), []);
    assert_eq!(at("broker/src/shard/a.rs", "pub(super) window"), []);
}

#[test]
fn a_type_name_is_one_type_in_a_crate_and_may_be_another_in_the_next() {
    let text = format!("{HEADER}struct Same;\n");
    let tests = format!("{text}#[cfg(test)]\nmod tests {{\n    struct Same;\n}}\n");
    let files = [
        file("mqtt/src/a.rs", &text),
        file("transport/src/a.rs", &tests),
        file("transport/src/tests/a.rs", &text),
    ];
    assert!(type_names(&files).is_empty());
    let files = [file("mqtt/src/a.rs", &text), file("mqtt/src/b.rs", &text)];
    assert_eq!(type_names(&files), ["mqtt/src/a.rs", "mqtt/src/b.rs"]);
}

fn type_names(files: &[File]) -> Vec<String> {
    let all = check_files(files).unwrap().into_iter();
    all.filter(|violation| violation.rule == Rule::TypeName)
        .map(|violation| violation.file)
        .collect()
}

#[test]
fn words_are_found_in_any_form_and_place() {
    let bad = [
        "// the client has felt it",
        "fn is_felt() {}",
        "struct FeltOnce;",
        "const S: &str = \"they felt it\";",
        "fn let_go() {}",
        "// it lets go of them",
        "fn told() {}",
        "const HOLD_MAX: u8 = 1;",
    ];
    for text in bad {
        let text = format!("{HEADER}{text}\n");
        assert_eq!(found_in("mqtt/src/a.rs", &text), [(Rule::Word, 4)], "{text}");
    }
    let good = [
        "// a threshold, an outlet, gold; the session holds it",
        "const TOPIC: &str = \"home/kitchen\";",
        "// what it says",
        "fn threshold() {}",
    ];
    for text in good {
        assert_eq!(
            found_in("mqtt/src/a.rs", &format!("{HEADER}{text}\n")),
            [],
            "{text}"
        );
    }
    assert_eq!(found_in("docs/A.md", "# A\n\nIt was told.\n"), [(Rule::Word, 3)]);
    assert_eq!(
        found_in("CONTRIBUTING.md", "## Terms\n\n| told |\n\n## Next\n"),
        []
    );
}

#[test]
fn identifiers_are_cut_into_words() {
    for name in [
        "HttpServer2Go",
        "http_server2_go",
        "HTTP_SERVER2_GO",
        "HTTPServer2Go",
    ] {
        assert_eq!(words::parts(name), ["http", "server2", "go"], "{name}");
    }
}

#[test]
fn no_word_stands_for_two_terms() {
    let mut words: Vec<_> = TERMS.iter().flat_map(|term| term.words).collect();
    words.sort_unstable();
    let count = words.len();
    words.dedup();
    assert_eq!(words.len(), count);
}

/// CONTRIBUTING.md has the table of the terms.
#[test]
fn the_terms_are_explained() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../CONTRIBUTING.md")).unwrap();
    for term in TERMS {
        let mark = if term.scope == Scope::Names { " *" } else { "" };
        let row = format!("| {}{mark} | {} |", term.words[0], term.instead);
        assert!(
            page.lines().any(|line| line == row),
            "CONTRIBUTING.md lacks the row\n{row}"
        );
    }
}

#[test]
fn a_source_is_cut_into_code_comments_and_strings() {
    let text = "let a = 'x'; // c'\nlet b: &'a str = \"//\\\"\";\nlet c = r#\"\n\"//\"# /* d */ + '\\'';";
    let runs = lexer::runs(text);
    let of = |kind| -> Vec<_> {
        let runs = runs.iter().filter(|run| run.kind == kind && !run.text.is_empty());
        runs.map(|run| (run.line, run.text)).collect()
    };
    assert_eq!(of(lexer::RunKind::Comment), [(1, "// c'"), (4, "/* d */")]);
    assert_eq!(
        of(lexer::RunKind::Literal),
        [
            (1, "'x'"),
            (2, "\"//\\\"\""),
            (3, "r#\""),
            (4, "\"//\"#"),
            (4, "'\\''")
        ]
    );
}

#[test]
fn names_of_files_are_found_and_looked_for() {
    assert_eq!(
        maps::names("receive.rs: see `handle/publish.rs`, `logic/` and/or handle/."),
        ["receive.rs", "handle/publish.rs", "logic/"]
    );
    let map = format!("//! a.rs, `b/`, c.rs and `d/`.\n{HEADER}");
    let files = [
        file("mqtt/src/lib.rs", &map),
        file("mqtt/src/a.rs", HEADER),
        file("mqtt/src/b/mod.rs", HEADER),
        file("transport/src/c.rs", HEADER),
        file("transport/src/d/mod.rs", HEADER),
    ];
    let all = check_files(&files).unwrap();
    let messages: Vec<_> = all
        .iter()
        .filter(|violation| violation.rule == Rule::Map)
        .map(|violation| violation.message.as_str())
        .collect();
    assert_eq!(messages, ["there is no `c.rs`", "there is no `d/`"]);
}

#[test]
fn a_map_names_its_modules() {
    let map = format!(
        "//! a.rs, and [`c`].\n{HEADER}mod a;\nmod b;\npub(crate) mod c;\n#[cfg(test)]\nmod tests;\n"
    );
    let is_found = |path| {
        let all = check_files(&[
            file(path, &map),
            file("mqtt/src/a.rs", HEADER),
            file("mqtt/src/b.rs", HEADER),
            file("mqtt/src/c.rs", HEADER),
        ]);
        let map = all
            .unwrap()
            .into_iter()
            .filter(|violation| violation.rule == Rule::Map);
        map.map(|violation| violation.line).collect::<Vec<_>>()
    };
    assert_eq!(is_found("mqtt/src/lib.rs"), [6]);
    assert!(is_found("mqtt/src/other.rs").is_empty(), "it is no map");
}

const PICTURE: &str = "flowchart TD
    top[\"broker::server, loadgen\"] --> middle[\"broker::shard<br>broker::http\"]
    middle --> low[transport]
    middle --> ground[broker::limits]
";

#[test]
fn floors_allow_what_lies_below() {
    let floors = floors::Floors::parse(PICTURE).unwrap();
    for (from, to, allowed) in [
        ("broker::server", "broker::shard", true),
        ("broker::server", "transport", true),
        ("broker::shard", "broker::http", true),
        ("broker::limits", "broker::shard", false),
        ("transport", "broker::limits", false),
        ("loadgen", "broker::limits", true),
    ] {
        assert_eq!(floors.allow(from, to), allowed, "{from} {to}");
    }
    for wrong in ["a --> b\nb --> a", "a --> b --> c --> a", "a[x]\nb[x]"] {
        assert!(floors::Floors::parse(wrong).is_err(), "{wrong}");
    }
}

/// Paths in uses, bodies and macros count; those of tests do not.
#[test]
fn imports_upwards_are_found() {
    let page = format!("# A\n\n## Floors\n\n```mermaid\n{PICTURE}```\n\n## Next\n");
    let limits = "use crate::{http::x, limits};
fn f() { g!(crate::server::y()); super::shard::z(); }
#[cfg(test)]
mod tests { use crate::server; }
";
    let files = [
        file("broker/src/http/mod.rs", HEADER),
        file("broker/src/limits.rs", &format!("{HEADER}{limits}")),
        file("broker/src/server.rs", &format!("{HEADER}use crate::limits;\n")),
        file(
            "broker/src/shard/mod.rs",
            &format!("{HEADER}use transport::ring;\n"),
        ),
        file("docs/ARCHITECTURE.md", &page),
        file("loadgen/src/a.rs", HEADER),
        file(
            "transport/src/ring.rs",
            &format!("{HEADER}fn f() {{ broker::limits::x() }}\n"),
        ),
    ];
    let all = check_files(&files).unwrap();
    let found: Vec<_> = all
        .iter()
        .filter(|violation| violation.rule == Rule::Floor)
        .map(|violation| {
            (
                violation.file.as_str(),
                violation.line,
                violation.message.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "broker/src/limits.rs",
                4,
                "`broker::limits` imports `broker::http`, and no arrow leads there"
            ),
            (
                "broker/src/limits.rs",
                5,
                "`broker::limits` imports `broker::server`, and no arrow leads there"
            ),
            (
                "broker/src/limits.rs",
                5,
                "`broker::limits` imports `broker::shard`, and no arrow leads there"
            ),
            (
                "transport/src/ring.rs",
                4,
                "`transport` imports `broker`, and no arrow leads there"
            ),
        ]
    );
}

/// `cargo run -p tests --bin tree` lists the same.
#[test]
fn this_tree_keeps_the_rules() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let found: Vec<String> = super::check(root)
        .unwrap()
        .iter()
        .map(Violation::to_string)
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
