//! Writes the folder of a comparison, with everything that is needed to check and to repeat it.
//!
//! Invariants: the folder is new, so no older comparison is overwritten.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::CompareRequest;
use super::plan::{Broker, BrokerKind};
use crate::summary::comparison::{self, ComparisonSummary};
use crate::summary::record::Record;
use crate::summary::rounds::{self, BrokerVersion};
use crate::summary::table;

/// The folder of a comparison that is being measured.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates the folder: the requested one, or the next free name under `results/`.
    ///
    /// # Errors
    /// The error of creating it, `AlreadyExists` if it was requested.
    pub fn make(request: &CompareRequest) -> io::Result<Folder> {
        if let Some(out) = &request.out {
            if let Some(parent) = out.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::create_dir(out)?;
            return Ok(Folder(out.clone()));
        }
        let peers: Vec<&str> = request
            .brokers
            .iter()
            .skip(1)
            .filter(|broker| broker.nodelay)
            .map(|broker| broker.label.as_str())
            .collect();
        new_under(Path::new("results"), &peers.join("-")).map(Folder)
    }

    /// The path that was given or found.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with the folders above it.
    ///
    /// # Errors
    /// The error of writing.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(path)?.write_all(bytes)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// The error of writing.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value)?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }

    /// Keeps the configuration with which a broker was started, once for each broker.
    ///
    /// # Errors
    /// The error of writing.
    pub fn keep_configuration(&self, broker: &Broker, tls: bool, text: &str) -> io::Result<()> {
        let security = if tls { "-tls" } else { "" };
        self.write(
            &format!("configurations/{}{security}.conf", broker.label),
            text.as_bytes(),
        )
    }

    /// Keeps the outcome of a run.
    ///
    /// # Errors
    /// The error of writing.
    pub fn keep_record(&self, row: &str, broker: &str, round: u32, record: &Record) -> io::Result<()> {
        self.write_json(&format!("raw/{row}/{broker}/{round}.json"), record)
    }

    /// Reads the records and writes the summary: JSON, CSV and Markdown.
    ///
    /// # Errors
    /// The errors of reading and writing.
    pub fn sum_up(
        &self,
        request: &CompareRequest,
        versions: &[BrokerVersion],
    ) -> io::Result<ComparisonSummary> {
        let order: Vec<String> = request.rows.iter().map(|row| row.name.clone()).collect();
        let summary = self.write_summary(request.first(), &order)?;
        let text = head(request, versions) + &tables(&summary);
        self.write("README.md", text.as_bytes())?;
        Ok(summary)
    }

    fn write_summary(&self, first: &str, order: &[String]) -> io::Result<ComparisonSummary> {
        let summary = comparison::sum_up(&rounds::read(&self.0)?, first, order);
        self.write_json("summary.json", &summary)?;
        let csv = table::csv(&summary).map_err(io::Error::other)?;
        self.write("summary.csv", &csv)?;
        Ok(summary)
    }
}

/// Summarizes the rounds of a folder again with this version: the summary and the tables of its page.
///
/// # Errors The errors of reading and writing; `InvalidData` if the old file is not a summary.
pub fn sum_up_again(path: &Path) -> io::Result<()> {
    let folder = Folder(path.to_owned());
    let order = comparison::order(path)?;
    let summary = folder.write_summary(&comparison::first(path)?, &order)?;
    let page = fs::read_to_string(path.join("README.md"))?;
    let text = above_the_tables(&page).to_owned() + &tables(&summary);
    folder.write("README.md", text.as_bytes())
}

/// The part of a page before its first table, whatever the table's head is.
fn above_the_tables(page: &str) -> &str {
    let is_above = |line: &&str| !line.starts_with('|');
    let length = page
        .split_inclusive('\n')
        .take_while(is_above)
        .map(str::len)
        .sum();
    page.get(..length).unwrap_or(page)
}

/// Creates `results/DATE-HOST-SUBJECT`, with a number appended if that exists.
///
/// # Errors
/// The error of creating it.
pub fn new_under(results: &Path, subject: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(results)?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let date = chrono::Local::now().format("%Y-%m-%d");
    let name = format!("{date}-{}-{}", word(host.trim()), word(subject));
    for number in 1..1_000 {
        let name = if number == 1 {
            name.clone()
        } else {
            format!("{name}-{number}")
        };
        let path = results.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "a thousand results of one day",
    ))
}

/// A word for a file name.
fn word(text: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '.';
    let word: String = text
        .chars()
        .map(|character| if allowed(character) { character } else { '-' })
        .collect();
    if word.is_empty() {
        "unknown".to_owned()
    } else {
        word
    }
}

/// The text above the tables: command, machine and versions.
fn head(request: &CompareRequest, versions: &[BrokerVersion]) -> String {
    let settings = &request.settings;
    let versions: Vec<String> = versions
        .iter()
        .map(|version| format!("{}: {}", version.broker, version.version))
        .collect();
    let mut text = format!(
        "# {}\n\n`{}`\n\n{}\n\n\
         Each broker alone on CPU {}{}, the generator on CPU {}, {} rounds in turns (A B B A), {} s measured after \
         {} s of warm-up. Medians with the lowest and the highest round; ratios of the rounds in pairs with their \
         order-statistic interval, \"better\" and \"worse\" only where that does not contain 1. \
         `mosquitto-nagle` is mosquitto with its default, `set_tcp_nodelay false`. \
         `configurations/` has the configuration of each broker, `raw/` every round, `machine.json` the machine, \
         `report.html` the plots.\n\n",
        title(request),
        request.line,
        versions.join("; "),
        request.cores,
        shards(request),
        settings.cpus,
        request.rounds,
        settings.duration.as_secs_f64(),
        settings.warmup.as_secs_f64()
    );
    if settings.scale != 1.0 {
        text.push_str(&format!(
            "Publishers, subscribers and rates of loads of messages times {}.\n\n",
            settings.scale
        ));
    }
    if !request.missing.is_empty() {
        let missing: Vec<&str> = request.missing.iter().map(|peer| peer.name.as_str()).collect();
        text.push_str(&format!(
            "Asked for and not installed: {}.\n\n",
            missing.join(", ")
        ));
    }
    text
}

fn tables(summary: &ComparisonSummary) -> String {
    table::markdown(summary) + &remarks(summary)
}

fn title(request: &CompareRequest) -> &'static str {
    let is_midge = |broker: &Broker| matches!(broker.kind, BrokerKind::Midge);
    if request.brokers.iter().all(is_midge) {
        "Midge with different numbers of shards"
    } else if request.brokers.iter().any(is_midge) {
        "Midge beside other brokers"
    } else {
        "Brokers side by side"
    }
}

/// The number of shards of each Midge, if several take part.
fn shards(request: &CompareRequest) -> String {
    let ours: Vec<String> = request
        .brokers
        .iter()
        .filter(|broker| matches!(broker.kind, BrokerKind::Midge))
        .map(|broker| format!("`{}` has {}", broker.label, broker.cores.count()))
        .collect();
    if ours.len() < 2 {
        return String::new();
    }
    format!(
        " or the first of them (Midge has a shard on each: {})",
        ours.join(", ")
    )
}

/// The losses, and the remarks of the runs about themselves.
fn remarks(summary: &ComparisonSummary) -> String {
    let mut text = String::new();
    for row in &summary.rows {
        for (broker, count) in row.wrong.iter().filter(|(_, count)| **count > 0) {
            text.push_str(&format!(
                "- {}: {broker}: {count} deliveries lost, duplicate or out of order\n",
                row.scenario
            ));
        }
        for (broker, findings) in &row.findings {
            for (finding, count) in findings {
                text.push_str(&format!(
                    "- {}: {broker}, {count} {}: {finding}\n",
                    row.scenario,
                    if *count == 1 { "run" } else { "runs" }
                ));
            }
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\n## {}\n\n{text}", table::FINDINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_new_each_time_and_its_name_a_word() {
        let results = tempfile::tempdir().unwrap();
        let first = new_under(results.path(), "mosquitto 2.0/x").unwrap();
        let second = new_under(results.path(), "mosquitto 2.0/x").unwrap();
        let name = first.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.ends_with("-mosquitto-2.0-x"), "{name}");
        assert_eq!(second.file_name().unwrap().to_string_lossy(), format!("{name}-2"));
        assert_eq!(word(""), "unknown");
    }

    #[test]
    fn a_page_keeps_its_words_and_no_table_of_any_version() {
        for table in [
            "| scenario | figure |\n|---|---|\n| a | b |\n",
            "| row |\n|---|\n\n## More\n",
        ] {
            let page = format!("# Title\n\nA | in a sentence.\n\n{table}");
            assert_eq!(above_the_tables(&page), "# Title\n\nA | in a sentence.\n\n");
        }
        assert_eq!(above_the_tables("no table"), "no table");
    }
}
