//! Topic Names and Topic Filters: tables from the specification, and a comparison with a naive matcher.

use proptest::prelude::*;

use crate::topic::{SharedFilter, TopicError, check_filter, check_name, levels, matches, shared};

const MATCHES: &[(&str, &str, &str)] = &[
    ("[MQTT-4.7.1-1]", "sport/tennis/player1/#", "sport/tennis/player1"),
    (
        "[MQTT-4.7.1-1]",
        "sport/tennis/player1/#",
        "sport/tennis/player1/ranking",
    ),
    (
        "[MQTT-4.7.1-1]",
        "sport/tennis/player1/#",
        "sport/tennis/player1/score/wimbledon",
    ),
    ("[MQTT-4.7.1-1]", "sport/#", "sport"),
    ("[MQTT-4.7.1-1]", "sport/#", "sport/"),
    ("[MQTT-4.7.1-1]", "#", "a"),
    ("[MQTT-4.7.1-1]", "#", "/"),
    ("[MQTT-4.7.1-1]", "#", "a/$b"),
    ("[MQTT-4.7.1-1]", "+/#", "a"),
    ("[MQTT-4.7.1-2]", "sport/tennis/+", "sport/tennis/player1"),
    ("[MQTT-4.7.1-2]", "sport/+", "sport/"),
    ("[MQTT-4.7.1-2]", "+/+", "/finance"),
    ("[MQTT-4.7.1-2]", "/+", "/finance"),
    ("[MQTT-4.7.1-2]", "+/tennis/#", "sport/tennis"),
    ("[MQTT-4.7.1-2]", "+", "a"),
    ("[MQTT-4.7.1-2]", "a/+/c", "a//c"),
    ("[MQTT-4.7.2-1]", "$SYS/#", "$SYS/uptime"),
    ("[MQTT-4.7.2-1]", "$SYS/monitor/+", "$SYS/monitor/Clients"),
    ("[MQTT-4.7.2-1]", "$SYS/#", "$SYS"),
    ("[MQTT-4.7.3-4]", "ACCOUNTS", "ACCOUNTS"),
    ("[MQTT-4.7.3-4]", "Accounts payable", "Accounts payable"),
    ("[MQTT-4.7.3-4]", "/", "/"),
    ("[MQTT-4.7.3-4]", "größe/中", "größe/中"),
    ("[MQTT-4.7.3-4]", "größe/+", "größe/中"),
];

const DIFFERS: &[(&str, &str, &str)] = &[
    ("[MQTT-4.7.1-1]", "sport/tennis/#", "sport/tennis2"),
    ("[MQTT-4.7.1-1]", "sport/#", "sports"),
    ("[MQTT-4.7.1-2]", "sport/tennis/+", "sport/tennis/player1/ranking"),
    ("[MQTT-4.7.1-2]", "sport/+", "sport"),
    ("[MQTT-4.7.1-2]", "+", "/finance"),
    ("[MQTT-4.7.1-2]", "+/+", "a"),
    ("[MQTT-4.7.2-1]", "#", "$SYS/uptime"),
    ("[MQTT-4.7.2-1]", "+/monitor/Clients", "$SYS/monitor/Clients"),
    ("[MQTT-4.7.2-1]", "+", "$SYS"),
    ("[MQTT-4.7.2-1]", "+/#", "$share"),
    ("[MQTT-4.7.3-4]", "ACCOUNTS", "Accounts"),
    ("[MQTT-4.7.3-4]", "a", "a/"),
    ("[MQTT-4.7.3-4]", "a/", "a"),
    ("[MQTT-4.7.3-4]", "/a", "a"),
    ("[MQTT-4.7.3-4]", "ab", "a"),
    ("[MQTT-4.7.3-4]", "a", "ab"),
    // U+00E9 and e with U+0301 are not the same characters.
    ("[MQTT-4.7.3-4]", "caf\u{e9}", "cafe\u{301}"),
];

#[test]
fn filters_match_as_the_specification_says() {
    for (statement, filter, name) in MATCHES {
        assert!(matches(filter, name), "{statement} {filter} should match {name}");
    }
    for (statement, filter, name) in DIFFERS {
        assert!(
            !matches(filter, name),
            "{statement} {filter} should not match {name}"
        );
    }
}

#[test]
fn names_are_checked() {
    for name in [
        "a",
        "/",
        "//",
        "a/b/",
        " ",
        "$SYS/x",
        "größe",
        &"x".repeat(65_535),
    ] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    let table = [
        ("", TopicError::Empty),
        ("a/+", TopicError::WildcardInName),
        ("#", TopicError::WildcardInName),
        ("a\0", TopicError::Nul),
    ];
    for (name, error) in table {
        assert_eq!(check_name(name), Err(error), "{name:?}");
    }
    assert_eq!(check_name(&"x".repeat(65_536)), Err(TopicError::TooLong));
}

/// The check processes eight bytes at a time: each forbidden byte at each position of names of each length.
#[test]
fn names_are_checked_at_every_byte() {
    for bytes in 1..=40 {
        for at in 0..bytes {
            for byte in 0..128_u8 {
                let mut name = vec![b'x'; bytes];
                name[at] = byte;
                let error = match byte {
                    0 => Err(TopicError::Nul),
                    b'+' | b'#' => Err(TopicError::WildcardInName),
                    _ => Ok(()),
                };
                assert_eq!(
                    check_name(str::from_utf8(&name).unwrap()),
                    error,
                    "{byte:#04x} at {at} of {bytes}"
                );
            }
        }
    }
}

#[test]
fn filters_are_checked() {
    for filter in [
        "a", "#", "+", "/", "a/#", "+/+/#", "a/+/b", "/+", "+/", "//#", "$SYS/#", "a b",
    ] {
        assert_eq!(check_filter(filter), Ok(()), "{filter}");
    }
    let table = [
        ("", TopicError::Empty),
        ("a#", TopicError::MultiLevelMisplaced),
        ("#a", TopicError::MultiLevelMisplaced),
        ("##", TopicError::MultiLevelMisplaced),
        ("a/#/b", TopicError::MultiLevelMisplaced),
        ("#/", TopicError::MultiLevelMisplaced),
        ("+#", TopicError::SingleLevelMisplaced),
        ("a+", TopicError::SingleLevelMisplaced),
        ("+a/b", TopicError::SingleLevelMisplaced),
        ("a/++", TopicError::SingleLevelMisplaced),
        ("a/\0", TopicError::Nul),
    ];
    for (filter, error) in table {
        assert_eq!(check_filter(filter), Err(error), "{filter:?}");
    }
    assert_eq!(check_filter(&"/".repeat(65_536)), Err(TopicError::TooLong));
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
#[test]
fn shared_filters_are_taken_apart() {
    let parts = |group, filter| Ok(Some(SharedFilter { group, filter }));
    assert_eq!(shared("$share/g/a/#"), parts("g", "a/#"));
    assert_eq!(shared("$share/g//"), parts("g", "/"));
    assert_eq!(shared("$share/größe/$SYS/x"), parts("größe", "$SYS/x"));
    for ordinary in ["a", "$shares/g/a", "share/g/a", "$SHARE/g/a", "/$share/g/a"] {
        assert_eq!(shared(ordinary), Ok(None), "{ordinary}");
    }
    let table = [
        ("$share//a", TopicError::ShareNameEmpty),
        ("$share/", TopicError::ShareNameEmpty),
        ("$share//", TopicError::ShareNameEmpty),
        ("$share/+/a", TopicError::ShareNameWildcard),
        ("$share/g#/a", TopicError::ShareNameWildcard),
        ("$share/#", TopicError::ShareNameWildcard),
        ("$share", TopicError::ShareFilterMissing),
        ("$share/g", TopicError::ShareFilterMissing),
        ("$share/g/", TopicError::ShareFilterMissing),
        ("$share/g/a#", TopicError::MultiLevelMisplaced),
        ("$share/g/a+", TopicError::SingleLevelMisplaced),
    ];
    for (filter, error) in table {
        assert_eq!(shared(filter), Err(error), "{filter}");
    }
}

#[test]
fn levels_may_be_empty() {
    assert_eq!(levels("/a//b/").collect::<Vec<_>>(), ["", "a", "", "b", ""]);
    assert_eq!(levels("a").collect::<Vec<_>>(), ["a"]);
}

/// The rules once more, recursively and without regard to speed.
fn matches_naively(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) => true,
        ([], []) => true,
        ([first, filter @ ..], [level, name @ ..]) => {
            (*first == "+" || first == level) && matches_naively(filter, name)
        }
        _ => false,
    }
}

/// The rules for filters, by splitting.
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    !filter.is_empty()
        && !filter.contains('\0')
        && levels.iter().enumerate().all(|(at, level)| match *level {
            "+" => true,
            "#" => at == last,
            _ => !level.contains(['+', '#']),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matching_agrees_with_the_naive_matcher(filter in "[ab+#$/]{1,7}", name in "[ab$/]{1,7}") {
        prop_assume!(is_filter(&filter));
        let hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
        let filter_levels: Vec<&str> = filter.split('/').collect();
        let name_levels: Vec<&str> = name.split('/').collect();
        prop_assert_eq!(matches(&filter, &name), !hidden && matches_naively(&filter_levels, &name_levels));
    }

    #[test]
    fn checks_agree_with_the_naive_ones(topic in "[a+#/\0é]{0,6}") {
        prop_assert_eq!(check_filter(&topic).is_ok(), is_filter(&topic));
        prop_assert_eq!(check_name(&topic).is_ok(), !topic.is_empty() && !topic.contains(['+', '#', '\0']));
    }

    #[test]
    fn nothing_panics_on_any_text(filter in "\\PC{0,20}", name in "\\PC{0,20}") {
        let _ = (matches(&filter, &name), shared(&filter), check_filter(&filter));
    }
}
