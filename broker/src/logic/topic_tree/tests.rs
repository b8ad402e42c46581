//! The tree compared with the naive `mqtt::topic::matches`, with walks in pieces and nodes that are removed meanwhile.

use super::*;

pub(in crate::logic) const TOPICS: &[&str] = &[
    "a",
    "a/b",
    "a/b/c",
    "a//c",
    "/",
    "/a",
    "a/",
    "$SYS/x",
    "$SYS",
    "b/b",
    "a/b/c/d",
    "x/y/z",
    "sport",
    "sport/tennis",
];
pub(in crate::logic) const FILTERS: &[&str] = &[
    "#",
    "+",
    "+/+",
    "a/#",
    "a/+",
    "a/+/c",
    "+/b",
    "a/b",
    "/+",
    "+/",
    "$SYS/#",
    "$SYS/+",
    "+/x",
    "a/b/#",
    "+/+/#",
    "sport/#",
    "sport/tennis/#",
    "//",
    "a/+/+/d",
    "/#",
];

#[test]
fn filters_find_the_names_that_match() {
    let mut tree = TopicTree::new(1);
    for name in TOPICS {
        tree.insert(name, *name);
    }
    for filter in FILTERS {
        let mut found = Vec::new();
        let mut walk = Walk::new();
        assert!(tree.match_filter(filter, &mut walk, &mut 1000, |name| found.push(*name)));
        found.sort_unstable();
        let mut expected: Vec<_> = TOPICS
            .iter()
            .copied()
            .filter(|name| mqtt::topic::matches(filter, name))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{filter}");
    }
}

/// A walk in the smallest steps, between which topics are added and removed, finds each topic that remains, once.
#[test]
fn walks_go_on_where_they_were_whatever_comes_and_goes() {
    let mut rng = 1_u64;
    let mut draw = |below: usize| {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (rng >> 33) as usize % below
    };
    for round in 0..400 {
        let mut tree = TopicTree::new(round);
        for name in TOPICS {
            tree.insert(name, *name);
        }
        let filter = FILTERS[draw(FILTERS.len())];
        let mut gone = Vec::new();
        let mut found: Vec<&str> = Vec::new();
        let mut walk = Walk::new();
        tree.watch_removals(true);
        while !tree.match_filter(filter, &mut walk, &mut 1, |name| found.push(*name)) {
            let name = TOPICS[draw(TOPICS.len())];
            if let Some(node) = tree.find(name) {
                tree.remove(node);
                gone.push(name);
            } else if draw(2) == 0 {
                // Possibly in place of a removed one.
                tree.insert("new/and/other", "new/and/other");
            }
            walk.skip(&tree.take_removed());
        }
        for name in TOPICS.iter().filter(|name| mqtt::topic::matches(filter, name)) {
            let times = found.iter().filter(|other| *other == name).count();
            let fits = if gone.contains(name) {
                times <= 1
            } else {
                times == 1
            };
            assert!(fits, "{name} {times} times for {filter} in round {round}");
        }
        assert!(found.iter().all(|name| mqtt::topic::matches(filter, name)));
    }
}

#[test]
fn removing_all_leaves_the_root_alone() {
    let mut tree = TopicTree::new(1);
    let all: Vec<_> = TOPICS
        .iter()
        .chain(FILTERS)
        .map(|topic| tree.insert(topic, ()))
        .collect();
    let mut once = all.clone();
    once.sort_unstable();
    once.dedup();
    for node in once {
        assert!(tree.remove(node).is_some());
    }
    assert_eq!((tree.nodes.len(), tree.children.len()), (1, 0));
    assert_eq!(tree.nodes.get(ROOT).map(|root| root.first_child), Some(None));
}

#[test]
fn the_deepest_topic_does_not_deepen_the_stack() {
    let deep = "/".repeat(65_535);
    let mut tree = TopicTree::new(1);
    let node = tree.insert(&deep, ());
    let mut found = 0;
    tree.match_filter("#", &mut Walk::new(), &mut 100_000, |()| found += 1);
    assert_eq!((found, tree.find(&deep)), (1, Some(node)));
    tree.remove(node);
    assert_eq!(tree.nodes.len(), 1);
}
