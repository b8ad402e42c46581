//! What the runs of one broker reported about themselves, each sentence once.
//!
//! Invariants: two sentences are the same if they differ only in their numbers; the numbers then become the range of
//! their values over the rounds.

use std::collections::BTreeMap;

use crate::outcome::validity::Gravity;
use crate::summary::record::Record;

/// The sentences of the verdicts (without notes) and of failed runs, with the number of runs that have each.
pub(super) fn findings(records: &[Record]) -> BTreeMap<String, usize> {
    let mut sentences: BTreeMap<Vec<String>, Vec<Vec<String>>> = BTreeMap::new();
    for text in records.iter().flat_map(texts) {
        let (words, numbers) = split(text);
        sentences.entry(words).or_default().push(numbers);
    }
    let sentences = sentences.into_iter();
    sentences
        .map(|(words, rounds)| (with_ranges(&words, &rounds), rounds.len()))
        .collect()
}

fn texts(record: &Record) -> Vec<&str> {
    if let Record::Failed(failure) = record {
        return vec![&failure.error];
    }
    let findings = record
        .verdict()
        .map_or(&[][..], |verdict| verdict.findings.as_slice());
    findings
        .iter()
        .filter(|finding| finding.gravity != Gravity::Note)
        .map(|finding| finding.text.as_str())
        .collect()
}

/// The parts of the text around the numbers, of which there is one more than numbers, and the numbers.
fn split(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut words, mut numbers) = (vec![String::new()], Vec::<String>::new());
    let mut inside = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let goes_on =
            inside && matches!(character, '.' | ',') && characters.peek().is_some_and(char::is_ascii_digit);
        let is_number = character.is_ascii_digit() || goes_on;
        match (is_number, inside) {
            (true, false) => numbers.push(character.into()),
            (true, true) => numbers
                .last_mut()
                .into_iter()
                .for_each(|number| number.push(character)),
            (false, true) => words.push(character.into()),
            (false, false) => words.last_mut().into_iter().for_each(|word| word.push(character)),
        }
        inside = is_number;
    }
    if inside {
        words.push(String::new());
    }
    (words, numbers)
}

fn with_ranges(words: &[String], rounds: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (place, word) in words.iter().enumerate() {
        text.push_str(word);
        let numbers: Vec<&String> = rounds.iter().filter_map(|round| round.get(place)).collect();
        text.push_str(&range(numbers));
    }
    text
}

/// One number if all are the same, else the lowest and the highest.
fn range(mut numbers: Vec<&String>) -> String {
    let value = |number: &String| number.replace(',', "").parse::<f64>().unwrap_or(f64::INFINITY);
    numbers.sort_by(|one, other| value(one).total_cmp(&value(other)).then_with(|| one.cmp(other)));
    match (numbers.first(), numbers.last()) {
        (Some(low), Some(high)) if low != high => format!("{low} to {high}"),
        (Some(low), _) => (*low).clone(),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::record::RunFailure;

    fn failed(error: &str) -> Record {
        Record::Failed(RunFailure {
            error: error.to_owned(),
        })
    }

    #[test]
    fn numbers_that_differ_become_a_range() {
        let records = [
            failed("12.5 % of 3 waited, [MQTT-4.6.0-6]"),
            failed("9.25 % of 3 waited, [MQTT-4.6.0-6]"),
            failed("1,250.0 % of 3 waited, [MQTT-4.6.0-6]"),
            failed("it does not start"),
        ];
        let counts = findings(&records);
        let found: Vec<(&str, usize)> = counts
            .iter()
            .map(|(text, count)| (text.as_str(), *count))
            .collect();
        assert_eq!(
            found,
            [
                ("9.25 to 1,250.0 % of 3 waited, [MQTT-4.6.0-6]", 3),
                ("it does not start", 1)
            ]
        );
    }

    #[test]
    fn numbers_stand_anywhere() {
        for text in ["", "7", "7 of 8", "port 127.0.0.1:1883", "a, b. 5, 6.", "5"] {
            let (words, numbers) = split(text);
            assert_eq!(words.len(), numbers.len() + 1, "{text}");
            assert_eq!(with_ranges(&words, &[numbers]), text);
        }
    }
}
