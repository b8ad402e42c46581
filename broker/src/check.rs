//! `broker check`: what the broker makes of each line of a configuration, for those who come from mosquitto.
//!
//! Invariants: nothing is changed, and no port is bound. A row has [`COLUMNS`] at most, if its key is not longer. No
//! value of a key is printed where it is right.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::args::CheckArgs;
use crate::config::{LineVerdict, Survey, SurveyedLine, survey};
use crate::exit_code::EXIT_INVALID;
use crate::log::escaped;

/// Checks the files and prints what comes of their lines. The exit code is 0 if a start would take all of them, 1 if it
/// would not take a line, 3 if a file cannot be read.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let surveys: Vec<_> = args.files.iter().map(|path| (path, survey(path))).collect();
    let text = if args.json {
        let all: Vec<_> = surveys
            .iter()
            .map(|(path, survey)| as_json(path, survey))
            .collect();
        format!("{:#}\n", Value::from(all))
    } else {
        let all: Vec<_> = surveys
            .iter()
            .map(|(path, survey)| as_table(path, survey))
            .collect();
        all.join("\n")
    };
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // A standard error that cannot be written must not change the exit code.
        let _failed = writeln!(io::stderr(), "Error: cannot write to standard output: {error}");
        return ExitCode::from(EXIT_INVALID);
    }
    if surveys.iter().any(|(_, survey)| !survey.problems.is_empty()) {
        return ExitCode::from(EXIT_INVALID);
    }
    let mut lines = surveys.iter().flat_map(|(_, survey)| &survey.lines);
    match lines.all(|line| line.verdict.is_taken()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn as_json(path: &Path, survey: &Survey) -> Value {
    let lines = survey.lines.iter().map(|line| {
        let (word, text) = described(&line.verdict);
        json!({
            "file": line.place.file.display().to_string(),
            "line": line.place.line,
            "key": line.key,
            "verdict": word.replace(' ', "_"),
            "text": text,
        })
    });
    let problems = survey.problems.iter().map(ToString::to_string);
    json!({
        "configuration": path.display().to_string(),
        "lines": lines.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

fn as_table(path: &Path, survey: &Survey) -> String {
    let width = survey.lines.iter().map(|line| line.key.chars().count()).max();
    let width = width.unwrap_or_default().clamp(KEY_COLUMNS_MIN, KEY_COLUMNS_MAX);
    let mut text = format!("{}\n", escaped(&path.display().to_string()));
    let mut file = path;
    for line in &survey.lines {
        if *file != *line.place.file {
            file = &line.place.file;
            text.push_str(&format!("{}\n", escaped(&file.display().to_string())));
        }
        push_row(&mut text, line, width);
    }
    for problem in &survey.problems {
        text.push_str(&format!("{}\n", escaped(&problem.to_string())));
    }
    text.push_str(&summary(survey));
    text
}

/// A row of the table, whose last cell goes on below itself.
fn push_row(text: &mut String, line: &SurveyedLine, width: usize) {
    let (word, why) = described(&line.verdict);
    let cell = match why {
        Some(why) => format!("{word}: {}", escaped(why)),
        None => word.to_owned(),
    };
    let before = LINE_COLUMNS + 2 + width + 2;
    let pieces = textwrap::wrap(&cell, COLUMNS - before);
    for (index, piece) in pieces.iter().enumerate() {
        let row = match index {
            0 => format!(
                "{:>LINE_COLUMNS$}  {:width$}  {piece}\n",
                line.place.line,
                escaped(&line.key)
            ),
            _ => format!("{:before$}{piece}\n", ""),
        };
        text.push_str(&row);
    }
}

fn summary(survey: &Survey) -> String {
    let count = |is_it: fn(&LineVerdict) -> bool| {
        let lines = survey.lines.iter();
        lines.filter(|line| is_it(&line.verdict)).count()
    };
    let works = count(|verdict| matches!(verdict, LineVerdict::Works | LineVerdict::WorksBut(_)));
    let without = count(|verdict| matches!(verdict, LineVerdict::NoEffect(_)));
    let refused = count(|verdict| !verdict.is_taken());
    let end = if refused > 0 || !survey.problems.is_empty() {
        "the broker would not start"
    } else {
        "the broker would start"
    };
    format!("{works} work, {without} without effect, {refused} not taken: {end}\n")
}

/// A verdict in a word or two, and the reason if there is one.
fn described(verdict: &LineVerdict) -> (&'static str, Option<&str>) {
    match verdict {
        LineVerdict::Works => ("works", None),
        LineVerdict::WorksBut(warning) => ("works", Some(warning)),
        LineVerdict::NoEffect(why) => ("no effect", Some(why)),
        LineVerdict::Refused(why) => ("refused", Some(why)),
        LineVerdict::Unknown(why) => ("unknown", Some(why)),
        LineVerdict::Wrong(why) => ("wrong", Some(why)),
    }
}

/// Columns of a terminal.
const COLUMNS: usize = 80;
/// Columns of the number of a line.
const LINE_COLUMNS: usize = 4;
const KEY_COLUMNS_MIN: usize = 8;
const KEY_COLUMNS_MAX: usize = 30;
