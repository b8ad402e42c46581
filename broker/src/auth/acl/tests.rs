//! Tables of access rules.

use proptest::prelude::*;

use super::filters::{covers, overlap};
use super::*;

fn parse(text: &str) -> Result<AclFile, String> {
    AclFile::parse(Path::new("acl"), text.as_bytes()).map_err(|error| error.to_string())
}

fn access(file: &AclFile, client_identifier: &str, user_name: Option<&str>) -> Access {
    let identity = Identity {
        listener: ListenerId(0),
        client_identifier: client_identifier.into(),
        user_name: user_name.map(Into::into),
        names_with_slash: false,
    };
    file.access(identity, 0)
}

/// What a client may do with a topic: "r", "w", "rw" or "".
fn rights(access: &Access, topic: &str) -> String {
    let read = if access.may_read(topic) { "r" } else { "" };
    let write = if access.may_write(topic) { "w" } else { "" };
    format!("{read}{write}")
}

const FILE: &str = "\
# for clients without a user name
topic read news/#
topic deny news/secret

user ann
topic ann/both
topic readwrite ann/readwrite/#
topic read ann/read
topic write ann/write
topic readwrite with blank/in it
topic deny ann/readwrite/deny/#
topic read $SYS/#

user bob
topic #
user ann
  topic write ann/again

pattern read from/%u/#
pattern write to/%c/+
pattern deny to/%c/never
pattern read all/%u-%c/%%
";

#[test]
fn sections_and_words() {
    let file = parse(FILE).unwrap();
    for (user, topic, expected) in [
        (None, "news/a", "r"),
        (None, "news", "r"),
        (None, "news/secret", ""),
        (None, "ann/both", ""),
        (Some("ann"), "news/a", ""),
        (Some("ann"), "ann/both", "rw"),
        (Some("ann"), "ann/both/x", ""),
        (Some("ann"), "ann/readwrite", "rw"),
        (Some("ann"), "ann/readwrite/a/b", "rw"),
        (Some("ann"), "ann/readwrite/deny/b", ""),
        (Some("ann"), "ann/read", "r"),
        (Some("ann"), "ann/write", "w"),
        (Some("ann"), "ann/again", "w"),
        (Some("ann"), "with blank/in it", "rw"),
        (Some("ann"), "$SYS/broker/uptime", "r"),
        (Some("bob"), "any/thing", "rw"),
        (Some("bob"), "$SYS/broker/uptime", ""),
        (Some("eve"), "news/a", ""),
    ] {
        assert_eq!(
            rights(&access(&file, "c", user), topic),
            expected,
            "{user:?} {topic}"
        );
    }
}

#[test]
fn patterns() {
    let file = parse(FILE).unwrap();
    for (client, user, topic, expected) in [
        ("c1", Some("eve"), "from/eve/x", "r"),
        ("c1", Some("eve"), "from/ann/x", ""),
        ("c1", Some("eve"), "to/c1/x", "w"),
        ("c1", Some("eve"), "to/c1/never", ""),
        ("c1", Some("eve"), "to/c2/x", ""),
        ("c1", Some("eve"), "all/eve-c1/%%", "r"),
        ("c1", None, "to/c1/x", "w"),
        ("c1", None, "from//x", ""),
        ("%u", Some("eve"), "to/%u/x", "w"),
        ("%u", Some("eve"), "to/eve/x", ""),
        ("a/b", Some("eve"), "to/a/b/x", ""),
    ] {
        assert_eq!(
            rights(&access(&file, client, user), topic),
            expected,
            "{client} {user:?} {topic}"
        );
    }
    let of_bob = access(&file, "c1", Some("bob"));
    assert_eq!(
        rights(&of_bob, "to/c1/never"),
        "rw",
        "the section goes before the patterns, as in mosquitto"
    );
}

/// V13: a client's own identifier never widens a pattern.
#[test]
fn v13_names_never_widen_a_pattern() {
    let file =
        parse("topic read open\nuser +\ntopic read own\npattern readwrite %c/#\npattern readwrite u/%u/#\n")
            .unwrap();
    for (client, user) in [
        ("+", None),
        ("#", None),
        ("a/+", None),
        ("a#", None),
        ("a/b", None),
        ("c", Some("a/b")),
        ("", None),
        ("c", Some("#")),
        ("c", Some("x+")),
        ("c", Some("")),
    ] {
        let access = access(&file, client, user);
        for topic in [
            "a/x", "c/x", "u/a/x", "u//x", "a#/x", "x", "/x", "a/b/x", "u/a/b/x",
        ] {
            assert_eq!(rights(&access, topic), "", "{client} {user:?} {topic}");
        }
    }
    assert_eq!(
        rights(&access(&file, "+", None), "open"),
        "r",
        "what names nobody holds"
    );
    assert_eq!(rights(&access(&file, "c", Some("+")), "own"), "r");
    let system = access(&file, "$SYS", None);
    assert_eq!(
        rights(&system, "$SYS/broker/uptime"),
        "",
        "nor does a name lead to $ topics"
    );
}

/// V13: a name with `/` would match other levels; as in mosquitto 2.0 it does so if the operator allows it.
#[test]
fn v13_names_with_levels_get_nothing_out_of_the_patterns_that_they_stand_in() {
    let topic = "m/a/b/x";
    for (rules, client, user, expected) in [
        ("pattern m/%c/#\n", "a/b", None, ""),
        ("pattern m/%u/#\n", "c", Some("a/b"), ""),
        ("pattern m/a/%c/#\n", "b", None, "rw"),
        // The user name is not part of them.
        ("pattern m/#\n", "a/b", Some("u/v"), "rw"),
        ("pattern m/a/%u/#\n", "a/b", Some("b"), "rw"),
        // A denial that does not apply leaves nothing of what it denies.
        ("pattern deny m/%c/x\npattern m/#\n", "a/b", None, ""),
    ] {
        let file = parse(rules).unwrap();
        assert_eq!(
            rights(&access(&file, client, user), topic),
            expected,
            "{rules} {client} {user:?}"
        );
    }
    let asked_for = |client: &str, user: Option<&str>| Identity {
        listener: ListenerId(0),
        client_identifier: client.into(),
        user_name: user.map(Into::into),
        names_with_slash: true,
    };
    let file = parse("pattern m/%c/#\npattern u/%u/#\n").unwrap();
    let access = file.access(asked_for("a/b", Some("c/d")), 0);
    assert_eq!(
        (rights(&access, topic), rights(&access, "u/c/d")),
        ("rw".into(), "rw".into())
    );
    let widened = file.access(asked_for("a/+", None), 0);
    assert_eq!(rights(&widened, topic), "", "wildcards never");
}

/// V14: an empty file denies everything.
#[test]
fn v14_an_empty_file_denies_all() {
    for text in ["", "\n\n", "# only a comment\n"] {
        let file = parse(text).unwrap();
        for user in [None, Some("ann")] {
            let access = access(&file, "c", user);
            assert_eq!(rights(&access, "a"), "");
            assert!(!access.may_subscribe("#") && !access.is_unrestricted());
        }
    }
    assert_eq!(rights(&Access::default(), "a"), "rw", "no file allows everything");
}

/// V31: a filter that allows reading nothing.
#[test]
fn v31_wholly_denied_filters() {
    let file = parse(
        "user ann\ntopic read a/+/c\ntopic write w/#\ntopic read d/#\ntopic deny d/x/#\npattern read p/%c/#\npattern \
         deny p/+/no\nuser bob\ntopic #\ntopic deny #\nuser cat\ntopic #\n",
    )
    .unwrap();
    for (user, filter, expected) in [
        ("ann", "a/b/c", true),
        ("ann", "#", true),
        ("ann", "+/+/c", true),
        ("ann", "a/#", true),
        ("ann", "a/b", false),
        ("ann", "w/#", false),
        ("ann", "w/a", false),
        ("ann", "d/#", true),
        ("ann", "d", true),
        ("ann", "d/x/#", false),
        ("ann", "d/x/y", false),
        ("ann", "d/+/y", true),
        ("ann", "p/c/a", true),
        ("ann", "p/c/no", false),
        ("ann", "p/other/a", false),
        ("ann", "$SYS/#", false),
        ("ann", "$share/g/a/b/c", true),
        ("ann", "$share/g/w/a", false),
        ("bob", "#", false),
        ("bob", "a", false),
        ("cat", "#", true),
        ("cat", "$SYS/#", false),
        ("cat", "$share/g/$SYS/a", false),
    ] {
        assert_eq!(
            access(&file, "c", Some(user)).may_subscribe(filter),
            expected,
            "{user} {filter}"
        );
    }
}

#[test]
fn wrong_lines_are_named() {
    for (text, problem) in [
        ("topic\n", "acl:1: the topic is missing"),
        ("\ntopic  \n", "acl:2: the topic is missing"),
        (
            "topic my topic\n",
            "acl:1: my is not read, write, readwrite or deny",
        ),
        ("topic Read a\n", "acl:1: Read is not"),
        ("user\n", "acl:1: the user name is missing"),
        ("topics a\n", "acl:1: topics is not topic, pattern or user"),
        ("topic a/#/b\n", "acl:1: a/#/b: # must be the whole last level"),
        ("topic read a+\n", "acl:1: a+: + must be a whole level"),
        ("pattern read %c#\n", "acl:1: %c#: # must be the whole last level"),
        ("topic \u{7}\n", "acl:1: the line has a control character"),
        (
            "a\nb\n",
            "acl:1: a is not topic, pattern or user\nacl:2: b is not",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(problem), "{text}: {error}");
    }
}

fn filters() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "", "+", "$s"]);
    let last = prop::sample::select(vec!["", "/#", "/a"]);
    (prop::collection::vec(level, 1..4), last).prop_map(|(levels, last)| {
        let filter = levels.join("/") + last;
        if filter.is_empty() { "#".to_owned() } else { filter }
    })
}

fn names() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "", "c", "$s"]);
    prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
}

fn words() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["read", "write", "deny", "readwrite"])
}

proptest! {
    #[test]
    fn any_file_is_read_without_panic(
        bytes: Vec<u8>,
        text in "((user|topic|pattern|#)? ?(read|write|deny|x)? ?[a/+#%cu ]{0,6}\n){0,8}",
        client in "[a+#%cu/$]{0,4}",
    ) {
        for text in [&bytes, text.as_bytes()] {
            if let Ok(file) = AclFile::parse(Path::new("acl"), text) {
                let access = access(&file, &client, Some(&client));
                let _ = (access.may_read("a/b"), access.may_write("$a"), access.may_subscribe("#"));
            }
        }
    }

    /// The two relations of filters agree with matching.
    #[test]
    fn relations_of_filters(one in filters(), other in filters(), name in names()) {
        let (by_one, by_other) = (topic::matches(&one, &name), topic::matches(&other, &name));
        if by_one && by_other {
            prop_assert!(overlap(&one, &other), "{one} {other} {name}");
        }
        if covers(&one, &other) && by_other {
            prop_assert!(by_one, "{one} {other} {name}");
        }
    }

    /// What may be read may be subscribed to.
    #[test]
    fn a_readable_topic_can_be_subscribed_to(
        rules in prop::collection::vec((words(), filters()), 0..6),
        filter in filters(),
        name in names(),
    ) {
        let text: String = rules.iter().map(|(word, filter)| format!("topic {word} {filter}\n")).collect();
        let access = access(&parse(&text).unwrap(), "c", None);
        if access.may_read(&name) && topic::matches(&filter, &name) {
            prop_assert!(access.may_subscribe(&filter), "{text}{filter} {name}");
        }
    }
}
