//! The machinery on made-up sources, and the tree itself.

use std::path::Path;

use super::source::Source;
use super::statement::parse;
use super::tag::tags;
use super::{Conformance, PAGE, Role, Version};

#[test]
fn tags_are_read() {
    let numbers =
        |line: &str| -> Vec<String> { tags(line).unwrap().iter().map(ToString::to_string).collect() };
    assert_eq!(numbers("nothing, not even [MQTT 5.0, 2.4]"), [""; 0]);
    assert_eq!(
        numbers("// [MQTT-1.2.3-4], [MQTT3-1.2.3-4]"),
        ["[MQTT-1.2.3-4]", "[MQTT3-1.2.3-4]"]
    );
    assert_eq!(
        numbers("[MQTT-1.2.3-4] to [MQTT-1.2.3-6] and [MQTT-1.2.3-9]"),
        [
            "[MQTT-1.2.3-4]",
            "[MQTT-1.2.3-5]",
            "[MQTT-1.2.3-6]",
            "[MQTT-1.2.3-9]"
        ]
    );
    for wrong in [
        "[MQTT-1.2-3]",
        "[MQTT-1.2.3-4",
        "[MQTT4-1.2.3-4]",
        "[MQTT-1.2.3-4 of 3.1.1]",
        "[MQTT-1.2.3-4] to [MQTT-1.2.3-4]",
        "[MQTT-1.2.3-4] to [MQTT3-1.2.3-6]",
    ] {
        assert!(tags(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn lists_have_no_gap() {
    let list = "1.1.1-1\tserver\ttext\n1.1.1-2\tboth\ttext\topen: why\n";
    assert_eq!(parse(Version::V5, list).unwrap().len(), 2);
    for wrong in [
        "1.1.1-2\tserver\ttext\n",
        "1.1.1-1\tserver\ttext\n1.1.1-1\tserver\ttext\n",
        "1.1.1-1\tsomebody\ttext\n",
        "1.1.1-1\tserver\t\n",
        "1.1.1-1\tserver\ttext\tno mark\n",
    ] {
        assert!(parse(Version::V5, wrong).is_err(), "{wrong:?}");
    }
}

/// Which items a tag counts for: the one around it, the one after its comment, the tests that use its table.
#[test]
fn tags_belong_to_items() {
    let text = "//! [MQTT-0.0.0-1]
use std::io;

// [MQTT-0.0.0-2]
fn one() {
    // [MQTT-0.0.0-3]
}

impl Two {
    /// [MQTT-0.0.0-4]
    fn two() {}
}

#[cfg(test)]
mod tests {
    const TABLE: &str = \"[MQTT-0.0.0-5]\";

    fn helper() -> &str { TABLE }

    /// [MQTT-0.0.0-6]
    #[test]
    fn direct() {}

    #[test]
    fn by_helper() { helper(); }

    proptest! {
        // [MQTT-0.0.0-7]
        #[test]
        fn random(text in \".*\") { }
    }
}
";
    let source = Source::parse("broker/src/x.rs", text).unwrap();
    let seen: Vec<_> = source
        .mentions
        .iter()
        .map(|mention| {
            let places = mention
                .places
                .iter()
                .map(|place| (place.item.as_str(), place.role));
            (mention.tag.number.as_str(), places.collect::<Vec<_>>())
        })
        .collect();
    let expected = [
        ("0.0.0-1", vec![("", Role::Code)]),
        ("0.0.0-2", vec![("one", Role::Code)]),
        ("0.0.0-3", vec![("one", Role::Code)]),
        ("0.0.0-4", vec![("Two::two", Role::Code)]),
        ("0.0.0-5", vec![("by_helper", Role::Test)]),
        ("0.0.0-6", vec![("direct", Role::Test)]),
        ("0.0.0-7", vec![("random", Role::Test)]),
    ];
    assert_eq!(seen, expected);
}

/// No server statement without a test, no tag without a statement, and the page is that of the tree.
#[test]
fn the_tree_and_the_page_agree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let conformance = Conformance::of_tree(&root).unwrap();
    if std::env::var_os("MIDGE_WRITE_DOCS").is_some() {
        std::fs::write(root.join(PAGE), conformance.page()).unwrap();
    }
    assert!(conformance.faults.is_empty(), "{}", conformance.faults.join("\n"));
    let written = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    assert!(
        written == conformance.page(),
        "{PAGE} is old: run MIDGE_WRITE_DOCS=1 cargo test -p tests conformance"
    );
}
