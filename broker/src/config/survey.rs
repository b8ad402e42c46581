//! What the broker makes of each line of a configuration, for `broker check`.
//!
//! Invariants: the lines are read as at a start, so a line that works here works there. No value is kept, as it may be
//! a secret; what is wrong with a value is said as at a start.

use std::path::Path;

use super::draft::Draft;
use super::keys::{self, Status};
use super::resolve;
use crate::args::Args;
use crate::files::{FilePlace, FileProblem};

/// A line of a configuration, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SurveyedLine {
    pub(crate) place: FilePlace,
    /// The key; empty if the line cannot be read.
    pub(crate) key: String,
    pub(crate) verdict: LineVerdict,
}

/// What comes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineVerdict {
    /// It does what it says.
    Works,
    /// It works, with a warning.
    WorksBut(String),
    /// It is accepted and does nothing, for this reason.
    NoEffect(String),
    /// The key is not supported; what to do instead.
    Refused(String),
    /// There is no such key; which one may be meant.
    Unknown(String),
    /// The value is wrong, or contradicts another line.
    Wrong(String),
}

impl LineVerdict {
    /// Whether a start would take it.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Works | Self::WorksBut(_) | Self::NoEffect(_))
    }
}

/// A configuration as it would be read.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The lines of all files, in the order in which they are read.
    pub(crate) lines: Vec<SurveyedLine>,
    /// What is wrong and is of no line: a file that cannot be read.
    pub(crate) problems: Vec<FileProblem>,
}

/// Reads a configuration and what it includes.
pub(crate) fn survey(path: &Path) -> Survey {
    let mut draft = Draft {
        survey: Some(Vec::new()),
        ..Draft::default()
    };
    draft.read_file(path);
    let lines = draft.survey.take().unwrap_or_default();
    let mut survey = Survey {
        lines,
        problems: Vec::new(),
    };
    let known = draft.problems.len();
    let (problems, warnings) = match resolve::configuration(draft, &Args::default()) {
        Ok(configuration) => (Vec::new(), configuration.warnings),
        Err(error) => (error.problems, Vec::new()),
    };
    for (index, problem) in problems.into_iter().enumerate() {
        survey.add(problem, index < known);
    }
    for line in &mut survey.lines {
        let begin = format!("{}: ", line.place);
        let warned = warnings.iter().find_map(|warning| warning.strip_prefix(&begin));
        if let (LineVerdict::Works, Some(warning)) = (&line.verdict, warned) {
            line.verdict = LineVerdict::WorksBut(warning.to_owned());
        }
    }
    survey
}

impl Survey {
    /// Adds what is wrong; the lines have that already which was found when they were read.
    fn add(&mut self, problem: FileProblem, was_read: bool) {
        let line = self.lines.iter_mut().find(|line| line.place == problem.place);
        match line {
            Some(line) if line.verdict.is_taken() => line.verdict = LineVerdict::Wrong(problem.text),
            Some(_) if was_read => {}
            _ => self.problems.push(problem),
        }
    }
}

impl Draft {
    /// Notes what came of a line, where that is wanted; so many problems and warnings were there before it.
    pub(super) fn note_line(&mut self, key: &str, problems: usize, warnings: usize) {
        let (Some(place), true) = (self.place.clone(), self.survey.is_some()) else {
            // Nobody wants to know.
            return;
        };
        let wrong = self.problems.iter().skip(problems);
        let wrong = wrong.into_iter().find(|problem| problem.place == place);
        let begin = format!("{place}: ");
        let warned = self.warnings.iter().skip(warnings);
        let warned = warned
            .into_iter()
            .find_map(|warning| warning.strip_prefix(&begin));
        let verdict = match (keys::find(key).map(|key| &key.status), wrong, warned) {
            (Some(Status::Refused(why)), ..) => LineVerdict::Refused((*why).to_owned()),
            (Some(Status::Ignored(why)), ..) => LineVerdict::NoEffect((*why).to_owned()),
            (None, Some(wrong), _) => LineVerdict::Unknown(wrong.text.clone()),
            (_, Some(wrong), _) => LineVerdict::Wrong(wrong.text.clone()),
            (_, None, Some(warning)) => LineVerdict::WorksBut(warning.to_owned()),
            (_, None, None) => LineVerdict::Works,
        };
        if let Some(survey) = &mut self.survey {
            survey.push(SurveyedLine {
                place,
                key: key.to_owned(),
                verdict,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let included = folder.path().join("d");
        std::fs::create_dir(&included).unwrap();
        std::fs::write(
            included.join("more.conf"),
            "max_qos 3\nlistener 1884\ncertfile x\n",
        )
        .unwrap();
        let main = folder.path().join("m.conf");
        let text = format!(
            "# a comment\nport 1883 surplus\nretry_interval 20\npsk_file secret\nallow_anonymus true\ninclude_dir {}\n\
             listener\n",
            included.display()
        );
        std::fs::write(&main, text).unwrap();
        let survey = survey(&main);
        let got: Vec<_> = survey
            .lines
            .iter()
            .map(|line| {
                let word = format!("{:?}", line.verdict);
                let word = word.split('(').next().unwrap_or_default().to_owned();
                (line.place.line, line.key.as_str(), word)
            })
            .collect();
        let expected = [
            (2, "port", "WorksBut"),
            (3, "retry_interval", "NoEffect"),
            (4, "psk_file", "Refused"),
            (5, "allow_anonymus", "Unknown"),
            (1, "max_qos", "Wrong"),
            // What the listener lacks is found at its line.
            (2, "listener", "Wrong"),
            (3, "certfile", "Works"),
            (6, "include_dir", "Works"),
            (7, "listener", "Wrong"),
        ];
        assert_eq!(
            got,
            expected.map(|(line, key, word)| (line, key, word.to_owned()))
        );
        assert!(survey.problems.is_empty(), "{:?}", survey.problems);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let survey = survey(Path::new("/no/such/file"));
        assert!(survey.lines.is_empty());
        assert_eq!(survey.problems.len(), 1);
    }
}
