//! The command line of `loadgen report`.
//!
//! Invariants: none.

use std::path::PathBuf;

use crate::options::help::HelpArgument;
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;

/// Options of a report.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS,
    after_help = "Writes report.html into a folder of results: of a run (--out), a search, a sweep, or a \
        comparison, whose rounds it summarizes again."
)]
pub struct ReportArguments {
    /// The folder of results
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    #[command(flatten)]
    help: HelpArgument,
}

impl Options for ReportArguments {
    type Request = PathBuf;

    const WORD: &'static str = "report";

    fn request(self, _: Option<Origin>) -> Result<PathBuf, String> {
        Ok(self.folder)
    }
}
