//! Tables of password files: what is read, what is refused, and which users are kept by a reload.

use proptest::prelude::*;

use super::*;

fn hash(password: &str) -> String {
    let cheap = Algorithm::Sha512Pbkdf2 {
        iterations: NonZeroU32::MIN,
    };
    PasswordHash::make(password.as_bytes(), cheap)
        .unwrap()
        .to_string()
}

fn parse(text: &str) -> Result<PasswordFile, String> {
    PasswordFile::parse(Path::new("passfile"), text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn users_comments_and_blanks() {
    let text = format!("# users\n\n  ann : {} \r\nbob:{}\n\t\n", hash("a"), hash("b"));
    let file = parse(&text).unwrap();
    assert_eq!(file.len(), 2);
    for (user, password, right) in [
        ("ann", "a", true),
        ("bob", "b", true),
        ("ann", "b", false),
        ("eve", "a", false),
        ("", "", false),
    ] {
        assert_eq!(
            file.verify(file.find(user), password.as_bytes()),
            right,
            "{user} {password}"
        );
    }
}

#[test]
fn a_right_password_is_remembered_and_nothing_else() {
    let file = parse(&format!("ann:{}\nbob:{}\n", hash("a"), hash("a"))).unwrap();
    let ann = file.find("ann");
    assert!(
        !file.remembers(ann, b"a"),
        "nothing is known before the first check"
    );
    assert!(!file.verify(ann, b"b") && !file.remembers(ann, b"b"));
    assert!(file.verify(ann, b"a") && file.remembers(ann, b"a"));
    assert!(!file.remembers(ann, b"b") && !file.remembers(file.find("bob"), b"a"));
    assert!(
        !file.remembers(file.find("eve"), b"a"),
        "who stands in for an unknown user lets nobody in"
    );
}

/// V15: a wrong line refuses the file; it never creates a user without a password.
#[test]
fn v15_wrong_lines_refuse_the_file() {
    let good = hash("a");
    for (text, problem) in [
        (
            "ann\n".to_owned(),
            "passfile:1: the line must be user:hash; there is no colon",
        ),
        (format!("# c\n:{good}\n"), "passfile:2: the user name is empty"),
        (format!(" :{good}\n"), "passfile:1: the user name is empty"),
        ("\nann:\n".to_owned(), "passfile:2: the user ann has no password"),
        (
            format!("ann:{good}\nann:{good}\n"),
            "passfile:2: the user ann occurs twice",
        ),
        (
            format!("ann:{good}\n ann :{good}\n"),
            "passfile:2: the user ann occurs twice",
        ),
        (
            "ann:$7$101$x$y\n".to_owned(),
            "passfile:1: the hash of the password is malformed",
        ),
        (
            "ann:secret\n".to_owned(),
            "passfile:1: the password is not hashed",
        ),
        (
            format!("ann:{good}:x\n"),
            "passfile:1: the hash of the password is malformed",
        ),
        (
            format!("a\0nn:{good}\n"),
            "passfile:1: the line has a control character",
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.starts_with(problem), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let not_utf8 = PasswordFile::parse(Path::new("p"), b"a\xff:x\n").unwrap_err();
    assert_eq!(not_utf8.to_string(), "p:1: the line is not UTF-8");
}

#[test]
fn an_unknown_user_costs_what_one_of_the_file_costs() {
    let file = parse(&format!("ann:{}\nbob:{}\n", hash("a"), hash("b"))).unwrap();
    let eve = file.find("eve");
    assert!(eve.entry.is_some() && !eve.known);
    assert_eq!(eve, file.find("eve"), "always the same one");
    assert!(parse("").unwrap().find("eve").entry.is_none());
}

#[test]
fn who_cannot_do_scram_is_challenged_all_the_same() {
    let scram = |password: &str| {
        let iterations = NonZeroU32::new(17).unwrap();
        let made = PasswordHash::make(password.as_bytes(), Algorithm::ScramSha256 { iterations });
        made.unwrap().to_string()
    };
    let text = format!("bob:{}\nann:{}\n", hash("b"), scram("a"));
    let (file, again) = (parse(&text).unwrap(), parse(&text).unwrap());
    let ann = file.scram_challenge("ann").unwrap();
    assert!(ann.known && ann.verifier.verify(b"a"));
    for user in ["bob", "eve", ""] {
        let challenge = file.scram_challenge(user).unwrap();
        assert!(!challenge.known, "{user}");
        assert_eq!(
            again.scram_challenge(user).unwrap().verifier,
            challenge.verifier,
            "a reload does not show which is real"
        );
        let text = challenge.verifier.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$17:"), "{text}");
        assert_eq!(text.len(), ann.verifier.to_string().len());
    }
    assert!(file.verify(file.find("ann"), b"a") && !file.verify(file.find("ann"), b"b"));
    let without = parse(&format!("bob:{}\n", hash("b"))).unwrap();
    assert!(without.scram_challenge("bob").is_none());
}

#[test]
fn users_removed_or_set_anew_are_not_kept() {
    let (one, other) = (hash("a"), hash("a"));
    let before = parse(&format!("ann:{one}\nbob:{one}\ncat:{one}\n")).unwrap();
    let after = parse(&format!("ann:{one}\nbob:{other}\ndan:{one}\n")).unwrap();
    for (user, kept) in [
        ("ann", true),
        ("bob", false),
        ("cat", false),
        ("dan", false),
        ("eve", false),
    ] {
        assert_eq!(after.keeps(&before, user), kept, "{user}");
    }
}

proptest! {
    /// V15: no text creates a user whose password was not hashed in the file.
    #[test]
    fn v15_any_file_is_read_without_panic(bytes: Vec<u8>, text in "([a-b:# \
        ]{0,4}(\\$7\\$1\\$[A-Z=]{0,8}\\$)?\\n?){0,6}") {
        for text in [&bytes, text.as_bytes()] {
            if let Ok(file) = PasswordFile::parse(Path::new("p"), text) {
                prop_assert!(file.users.keys().all(|user| !user.is_empty()));
                prop_assert!(!file.verify(file.find("a"), b"") && !file.verify(file.find(""), b""));
            }
        }
    }
}
