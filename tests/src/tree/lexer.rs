//! A Rust source as runs of code, comments and strings; whatever else it is does not matter here.
//!
//! Invariants: the runs are the text in its order with nothing left out, and any text can be cut, a broken one too.

/// What a run of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunKind {
    /// Names, keywords, punctuation, numbers.
    Code,
    /// A comment of any form, its slashes included.
    Comment,
    /// A string or character, its quotes included.
    Literal,
}

/// A run of text of one kind, which does not cross a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub(super) kind: RunKind,
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// Cuts `text`, line by line.
pub(super) fn runs(text: &str) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (kind, length) = next_run(rest);
        let (run, after) = rest.split_at(length);
        for (index, part) in run.split('\n').enumerate() {
            line += usize::from(index > 0);
            runs.push(Run {
                kind,
                line,
                text: part,
            });
        }
        rest = after;
    }
    runs
}

/// The kind and the length of what `text` begins with; never 0 for a text that is not empty.
fn next_run(text: &str) -> (RunKind, usize) {
    if let Some(length) = special(text) {
        return length;
    }
    let code = text
        .char_indices()
        .skip(1)
        .map(|(at, _)| at)
        .find(|at| starts_special(text, *at))
        .unwrap_or(text.len());
    (RunKind::Code, code)
}

fn starts_special(text: &str, at: usize) -> bool {
    let (before, rest) = text.split_at(at);
    // The `r` of `for"` would begin a raw string otherwise.
    let in_word = before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    match rest.as_bytes().first() {
        Some(b'"' | b'/' | b'\'') => special(rest).is_some(),
        Some(b'r' | b'b' | b'c') if !in_word => special(rest).is_some(),
        _ => false,
    }
}

/// A comment or a literal at the start of `text`.
fn special(text: &str) -> Option<(RunKind, usize)> {
    if text.starts_with("//") {
        return Some((RunKind::Comment, text.find('\n').unwrap_or(text.len())));
    }
    if text.starts_with("/*") {
        return Some((
            RunKind::Comment,
            text.find("*/").map_or(text.len(), |end| end + 2),
        ));
    }
    let prefix = text.len() - text.trim_start_matches(['r', 'b', 'c']).len();
    let after = text.get(prefix..).unwrap_or_default();
    let hashes = after.len() - after.trim_start_matches('#').len();
    if prefix > 0 && text.get(..prefix)?.contains('r') && after.get(hashes..)?.starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let start = prefix + hashes + 1;
        let length = text
            .get(start..)?
            .find(&close)
            .map(|end| start + end + close.len());
        return Some((RunKind::Literal, length.unwrap_or(text.len())));
    }
    if prefix <= 1 && after.starts_with('"') {
        return Some((RunKind::Literal, prefix + quoted(after, '"')));
    }
    // A lifetime has no second quote after one character.
    if after.starts_with('\'') {
        let mut letters = after.chars().skip(1);
        let is_character = letters.next() == Some('\\') || letters.next() == Some('\'');
        return is_character.then(|| (RunKind::Literal, prefix + quoted(after, '\'')));
    }
    None
}

/// The length of a text in quotes, escapes considered.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
