//! The terms: words that the field has another word for, and where they occur.
//!
//! Invariants: a word is found alone and as a part of an identifier, in any form of the table and in any case; the
//! table in CONTRIBUTING.md has the same rows (`tests.rs`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::lexer::{self, RunKind};
use super::{File, Rule, Violation};

/// Where a word is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In names, comments, messages and pages.
    Everywhere,
    /// In names alone: as a word of a sentence, or of the name of a test that is one, it is plain English.
    Names,
}

/// Words that are not used, and the term that is.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// The words in all their forms.
    pub words: &'static [&'static str],
    /// What is written instead.
    pub instead: &'static str,
    /// Where they are not used.
    pub scope: Scope,
}

const fn everywhere(words: &'static [&'static str], instead: &'static str) -> Term {
    Term {
        words,
        instead,
        scope: Scope::Everywhere,
    }
}

const fn names(words: &'static [&'static str], instead: &'static str) -> Term {
    Term {
        words,
        instead,
        scope: Scope::Names,
    }
}

/// All terms that have been confused.
pub const TERMS: &[Term] = &[
    everywhere(
        &["press", "presses", "pressed", "pressing"],
        "backlogged, over the high-water mark",
    ),
    everywhere(
        &["feel", "feels", "felt", "feeling"],
        "backlogged, over the high-water mark",
    ),
    everywhere(&["patience", "patient", "patiently"], "grace period"),
    everywhere(
        &["judge", "judges", "judged", "judging", "recall", "recalls"],
        "mark as slow consumer; assess",
    ),
    everywhere(&["pace", "paces", "paced", "pacing", "pacer"], "allowed rate"),
    everywhere(&["relieve", "relieves", "relieved"], "resume publishers"),
    everywhere(
        &["settle", "settles", "settled", "settling"],
        "resume publishers; wait until it is steady",
    ),
    everywhere(&["let go", "lets go", "letting go"], "resume publishers; release"),
    names(&["hold", "holds", "holding", "held"], "pause, paused; keep"),
    everywhere(&["excuse", "excuses", "excused"], "keep alive suspended"),
    everywhere(&["hear", "hears", "heard", "hearing"], "parse, parsed; receive"),
    everywhere(
        &["introduce", "introduces", "introduced", "introduction"],
        "register",
    ),
    everywhere(
        &["greeting", "greetings", "greet", "greets"],
        "pending connection",
    ),
    everywhere(&["goodbye", "farewell"], "close"),
    everywhere(&["tell", "tells", "telling", "told"], "notify, report"),
    names(&["say", "says", "said", "saying"], "notify, report"),
    everywhere(&["parcel", "parcels"], "shard message"),
    everywhere(&["handoff", "handoffs"], "connection transfer"),
    names(&["links"], "shard queues"),
    everywhere(&["elsewhere"], "remote"),
    everywhere(&["home", "homes"], "owner"),
    everywhere(&["storm", "storms"], "connect"),
    everywhere(&["guest", "guests"], "connect client"),
    everywhere(&["contender", "contenders"], "broker"),
    everywhere(&["wish", "wishes", "wished"], "options"),
    everywhere(&["books"], "ledger"),
    everywhere(&["conceal", "conceals", "concealed"], "hide password"),
    everywhere(&["mend", "mends", "mended", "mending"], "fix"),
];

/// Uses that are not ours to change: a path of Linux, a key of systemd, a topic of an example, another's name, a name
/// in files of results.
const OTHERS_USES: [&str; 13] = [
    "home/",
    "/home",
    "HOME",
    "home directory",
    "ProtectHome",
    "home_dir",
    "Home Assistant",
    "home-assistant",
    "conn-storm",
    "paced-10k",
    "\"paced\"",
    "\"pace\"",
    "\"pacer\"",
];

/// Files that write of the words themselves, are a record of what was, or are made from files that are read.
const FILES_NOT_READ: [&str; 5] = [
    "tests/src/tree/words.rs",
    "tests/src/tree/tests.rs",
    "CHANGELOG.md",
    "docs/CONFORMANCE.md",
    "docs/CONFIGURATION.md",
];

/// A name of more words is a sentence.
const NAME_WORDS_MAX: usize = 3;

/// The section of CONTRIBUTING.md that has the table.
const TABLE_HEADING: &str = "## Terms";

static BY_WORD: LazyLock<BTreeMap<&'static str, &'static Term>> = LazyLock::new(|| {
    TERMS
        .iter()
        .flat_map(|term| term.words.iter().map(move |word| (*word, term)))
        .collect()
});

static PHRASES: LazyLock<Vec<(&'static str, &'static Term)>> = LazyLock::new(|| {
    BY_WORD
        .iter()
        .filter(|(word, _)| word.contains(' '))
        .map(|(word, term)| (*word, *term))
        .collect()
});

pub(super) fn check(file: &File, found: &mut Vec<Violation>) {
    if FILES_NOT_READ.contains(&file.path.as_str()) {
        return;
    }
    if file.is_rust() {
        for run in lexer::runs(&file.text) {
            check_text(file, run.line, run.text, run.kind == RunKind::Code, found);
        }
        return;
    }
    let mut in_table = false;
    for (line, text) in (1..).zip(file.text.lines()) {
        if text.starts_with("## ") {
            in_table = text == TABLE_HEADING;
        }
        if !in_table {
            check_text(file, line, text, false, found);
        }
    }
}

fn check_text(file: &File, line: usize, text: &str, is_code: bool, found: &mut Vec<Violation>) {
    let text = OTHERS_USES
        .iter()
        .fold(text.to_owned(), |text, use_| text.replace(use_, " "));
    let mut report = |word: &str, run: &str, term: &Term| {
        let message = if word == run {
            format!("`{word}`: {}", term.instead)
        } else {
            format!("`{word}` in `{run}`: {}", term.instead)
        };
        found.push(file.violation(line, Rule::Word, message));
    };
    let lower = text.to_lowercase();
    for (phrase, term) in PHRASES.iter() {
        if lower
            .match_indices(phrase)
            .any(|(at, _)| is_alone(&lower, at, phrase.len()))
        {
            report(phrase, phrase, term);
        }
    }
    for run in text.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
        let parts = parts(run);
        let is_name = (is_code || parts.len() > 1) && parts.len() <= NAME_WORDS_MAX;
        for part in &parts {
            let Some(term) = BY_WORD.get(part.as_str()) else {
                continue;
            };
            if is_name || term.scope == Scope::Everywhere {
                report(part, run, term);
            }
        }
        // A phrase as a name: `let_go`.
        for pair in parts.windows(2) {
            let phrase = pair.join(" ");
            if let Some(term) = BY_WORD.get(phrase.as_str()) {
                report(&phrase, run, term);
            }
        }
    }
}

fn is_alone(text: &str, at: usize, length: usize) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let (before, rest) = text.split_at(at);
    let after = rest.get(length..).unwrap_or_default();
    !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
}

/// The words of an identifier in lower case: `LetGo`, `let_go` and `LET_GO` have the same.
pub(super) fn parts(run: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for piece in run.split('_').filter(|piece| !piece.is_empty()) {
        let mut part = String::new();
        let mut letters = piece.chars().peekable();
        let mut before_is_lower = false;
        while let Some(letter) = letters.next() {
            let after_is_lower = letters.peek().is_some_and(|letter| letter.is_lowercase());
            let begins = letter.is_uppercase() && (before_is_lower || after_is_lower);
            if begins && !part.is_empty() {
                parts.push(std::mem::take(&mut part));
            }
            before_is_lower = letter.is_lowercase() || letter.is_numeric();
            part.extend(letter.to_lowercase());
        }
        parts.push(part);
    }
    parts
}
