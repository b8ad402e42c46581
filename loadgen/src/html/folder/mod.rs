//! Reads the files of a folder of results and makes the content of its report.
//!
//! `one_run.rs`, `steps.rs` (for a search or a sweep) and `comparison/` are the three kinds of reports.
//!
//! Invariants: a file is read as the type that wrote it. A folder without results is refused, and nothing is written.

mod comparison;
mod one_run;
mod steps;

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::plots::Drawings;
use super::{Level, Notice, Page, Plot};
use crate::measure::numbers::{digits, duration};
use crate::outcome::Outcome;
use crate::outcome::series::{IntervalReport, Part};
use crate::search::SearchOutcome;
use crate::selftest::SelftestOutcome;
use crate::sweep::SweepOutcome;
use crate::system::machine::Machine;

/// Reads a folder of results.
///
/// # Errors
/// The errors of reading; `InvalidData` if there are no results.
pub(super) fn read(folder: &Path) -> io::Result<Page> {
    let mut page = if folder.join("raw").is_dir() {
        comparison::page(folder)?
    } else if let Some(outcome) = json::<Outcome>(folder, "result.json")? {
        one_run::page(&outcome)?
    } else if let Some(search) = json::<SearchOutcome>(folder, "search.json")? {
        steps::of_search(&search)?
    } else if let Some(sweep) = json::<SweepOutcome>(folder, "sweep.json")? {
        steps::of_sweep(&sweep)?
    } else {
        return Err(invalid(format!(
            "{} has no results: none of raw/, result.json, search.json and sweep.json",
            folder.display()
        )));
    };
    if let Some(command) = text(folder, "command")? {
        page.command = command.trim().to_owned();
    }
    if let Some(selftest) = json::<SelftestOutcome>(folder, "selftest.json")? {
        page.notices.push(Notice {
            level: Level::Plain,
            text: ceiling(&selftest),
        });
    }
    Ok(page)
}

/// The limits of the generator itself, in a sentence.
fn ceiling(selftest: &SelftestOutcome) -> String {
    let SelftestOutcome {
        schedule,
        single,
        batched,
        received,
        ..
    } = selftest;
    format!(
        "The generator's own limit on this machine, against a sink instead of a broker: {} messages sent \
        per second, {} received. Its CPU time is {} for a message sent alone, {} for one in a batch and {} \
        for a delivery. Its schedule lag is {} in the median and {} at the 99th percentile.",
        digits(batched.per_s),
        digits(received.per_s),
        duration(single.cpu_ns_per_message),
        duration(batched.cpu_ns_per_message),
        duration(received.cpu_ns_per_message),
        duration(schedule.lag_p50_ns as f64),
        duration(schedule.lag_p99_ns as f64),
    )
}

fn text(folder: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A JSON file, if it exists.
fn json<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    let Some(text) = text(folder, name)? else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text);
    value
        .map(Some)
        .map_err(|error| invalid(format!("{name}: {error}")))
}

fn invalid(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// The properties of the machine as names and values; unknown ones are left out.
fn facts(machine: &Machine) -> Vec<(String, String)> {
    let Machine {
        cpu,
        cores,
        kernel,
        memory_kib,
        load_average,
        cgroup_cpu,
        descriptors_limit,
        locked_memory_limit,
        sysctls,
    } = machine;
    let number = |value: &Option<u64>| value.map(|value| value.to_string());
    let named = [
        ("CPU", cpu.clone()),
        ("cores", Some(cores.to_string())),
        ("kernel", kernel.clone()),
        ("memory, KiB", number(memory_kib)),
        ("load average", load_average.clone()),
        ("CPU limit of the control group", cgroup_cpu.clone()),
        ("limit of descriptors", number(descriptors_limit)),
        ("limit of locked memory, bytes", number(locked_memory_limit)),
    ];
    let known = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.chain(sysctls.iter().cloned()).collect()
}

/// The quantiles of a run's latency, in µs.
fn quantiles(run: &Outcome) -> Vec<(f64, f64)> {
    let quantiles = run.quantiles.iter();
    quantiles
        .map(|&(quantile, ns)| (quantile, ns as f64 / 1e3))
        .collect()
}

/// One figure of a run's time series, without the drain.
fn over_time(run: &Outcome, figure: impl Fn(&IntervalReport) -> f64) -> Vec<(f64, f64)> {
    let intervals = run.series.iter().filter(|interval| interval.part != Part::Drain);
    intervals
        .map(|interval| (interval.from_s, figure(interval)))
        .collect()
}

/// Resident memory in MiB against connections, while they were made.
fn memory(run: &Outcome) -> Vec<(f64, f64)> {
    let readings = run.connect.rss.iter();
    readings
        .map(|&(connections, bytes)| (connections as f64, bytes as f64 / MIB))
        .collect()
}

const MIB: f64 = 1024.0 * 1024.0;

/// A plot, if there was something to draw.
fn plot(
    title: &str,
    caption: &str,
    legend: Vec<(usize, String)>,
    drawings: Option<Drawings>,
) -> Option<Plot> {
    let Drawings { wide, narrow } = drawings?;
    Some(Plot {
        title: title.to_owned(),
        caption: caption.to_owned(),
        legend,
        svg: wide,
        svg_narrow: narrow,
    })
}
