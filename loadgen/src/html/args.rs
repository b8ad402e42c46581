//! The command line of `loadgen report`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

/// Writes report.html into a folder of results: of a run (--out), a comparison, whose rounds it sums up anew, or a search.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "loadgen report",
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110
)]
pub struct ReportRequest {
    /// The folder
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Reads the command line, the word `report` first.
///
/// # Errors
/// Help, or what is wrong.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<ReportRequest, clap::Error> {
    ReportRequest::try_parse_from(words)
}
