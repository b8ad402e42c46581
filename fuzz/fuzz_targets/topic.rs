//! Topic Names and Topic Filters compared with a second, naive implementation of the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::topic::{check_filter, check_name, levels, matches, shared};

fuzz_target!(|input: (&str, &str)| {
    let (filter, name) = input;
    let (is_filter, is_name) = (is_filter(filter), is_name(name));
    assert_eq!(check_filter(filter).is_ok(), is_filter);
    assert_eq!(check_name(name).is_ok(), is_name);
    let matched = matches(filter, name);
    if is_filter && is_name {
        let filter_levels: Vec<&str> = levels(filter).collect();
        let name_levels: Vec<&str> = levels(name).collect();
        let hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
        assert_eq!(matched, !hidden && matches_naively(&filter_levels, &name_levels));
    }
    if let Ok(Some(parts)) = shared(filter) {
        assert_eq!(filter, format!("$share/{}/{}", parts.group, parts.filter));
        assert!(check_filter(parts.filter).is_ok());
        assert!(!parts.group.is_empty() && !parts.group.contains(['+', '#', '/']));
    }
});

fn is_name(name: &str) -> bool {
    (1..=65_535).contains(&name.len()) && !name.contains(['+', '#', '\0'])
}

fn is_filter(filter: &str) -> bool {
    let last = filter.split('/').count() - 1;
    (1..=65_535).contains(&filter.len())
        && !filter.contains('\0')
        && filter.split('/').enumerate().all(|(at, level)| match level {
            "+" => true,
            "#" => at == last,
            _ => !level.contains(['+', '#']),
        })
}

fn matches_naively(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        ([first, filter @ ..], [level, name @ ..]) => {
            (*first == "+" || first == level) && matches_naively(filter, name)
        }
        _ => false,
    }
}
