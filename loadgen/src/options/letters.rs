//! Option letters that have different meanings in other load generators and clients.
//!
//! Invariant: such a letter is refused, and the error names the long option; its meaning is never guessed.

use std::ffi::OsString;

/// The letters, and what to write instead.
pub(crate) const CLASHING_LETTERS: &[(char, &str)] = &[
    (
        'c',
        "it is a count to some tools and keeps the session to others; use --pubs and --subs for counts",
    ),
    (
        'C',
        "it is a count to some tools and a certificate to others; use --duration, --subs or --cert",
    ),
    (
        'F',
        "it is an output format to some tools and an in-flight window to others; use --inflight or --json",
    ),
    (
        'i',
        "it is a client id to some tools and an interval to others; use --rate",
    ),
    (
        'I',
        "it is a client id prefix to some tools and an interval to others; use --rate",
    ),
    (
        'l',
        "it reads standard input for some tools and saves memory for others; this program has no such option",
    ),
    (
        'L',
        "it is a URL to some tools and a message limit to others; use --host and --port, or --duration",
    ),
    (
        'n',
        "it is an empty message to some tools and a number to others; use --size, --pubs or --subs",
    ),
    (
        'R',
        "it skips retained messages for some tools and is a rate to others; use --rate",
    ),
    (
        'S',
        "it is TLS to some tools and a service record to others; use --tls",
    ),
    (
        'W',
        "it is a timeout to some tools and a wait to others; use --duration or --connect-timeout",
    ),
];

/// What is wrong with the first such letter.
pub(crate) fn refuse_clashing_letters(words: &[OsString]) -> Result<(), String> {
    let letters = words
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .filter_map(letter_of);
    for letter in letters {
        if let Some((_, why)) = CLASHING_LETTERS.iter().find(|(clashing, _)| *clashing == letter) {
            return Err(format!("-{letter} is not supported: {why}"));
        }
    }
    Ok(())
}

fn letter_of(word: &str) -> Option<char> {
    let mut characters = word.chars();
    let letter = (characters.next() == Some('-'))
        .then(|| characters.next())
        .flatten()?;
    letter.is_ascii_alphabetic().then_some(letter)
}
