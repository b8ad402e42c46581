//! From the files of a folder to the content of a page.

mod comparison;
mod one_run;
mod search;

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{Page, Plot};
use crate::compare::summary::number;
use crate::measure::numbers::digits;

/// Reads a folder of results.
///
/// # Errors
/// What reading gives; `InvalidData` where there are no results.
pub(super) fn read(folder: &Path) -> io::Result<Page> {
    let mut page = if folder.join("raw").is_dir() {
        comparison::page(folder)?
    } else if let Some(outcome) = json(folder, "result.json")? {
        one_run::page(&outcome)?
    } else if let Some(search) = json(folder, "search.json")? {
        search::page(&search)?
    } else if let Some(sweep) = json(folder, "sweep.json")? {
        search::page(&sweep)?
    } else {
        return Err(invalid(format!(
            "{} has no results: none of raw/, result.json, search.json and sweep.json",
            folder.display()
        )));
    };
    if let Some(command) = text(folder, "command")? {
        page.command = command.trim().to_owned();
    }
    if let Some(selftest) = json(folder, "selftest.json")? {
        page.notices.extend(ceiling(&selftest));
    }
    Ok(page)
}

/// What the generator can do by itself, in a sentence.
fn ceiling(selftest: &Value) -> Option<String> {
    let per_s = |pointer: &str| Some(digits(number(selftest, pointer)?));
    let us = |pointer: &str| Some(digits(number(selftest, pointer)? / 1e3));
    Some(format!(
        "The generator's own ceiling here, against a sink instead of a broker: {} messages sent per second, {} sent and \
         received; {} µs of its CPU for a publish alone, {} batched, {} for a delivery. Its pacer is late by {} µs in the \
         median and {} at the 99th percentile.",
        per_s("/batched/per_s")?,
        per_s("/received/per_s")?,
        us("/single/cpu_ns_per_message")?,
        us("/batched/cpu_ns_per_message")?,
        us("/received/cpu_ns_per_message")?,
        us("/pacer/lag_p50_ns")?,
        us("/pacer/lag_p99_ns")?,
    ))
}

fn text(folder: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn json(folder: &Path, name: &str) -> io::Result<Option<Value>> {
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

/// The machine's fingerprint as pairs.
fn facts(machine: Option<&Value>) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    for (key, value) in machine.and_then(Value::as_object).into_iter().flatten() {
        let key = key.replace('_', " ");
        match value {
            Value::Null => {}
            Value::String(text) => facts.push((key, text.clone())),
            Value::Array(pairs) => facts.extend(pairs.iter().filter_map(|pair| {
                let name = pair.get(0)?.as_str()?;
                Some((name.to_owned(), pair.get(1)?.as_str()?.to_owned()))
            })),
            other => facts.push((key, other.to_string())),
        }
    }
    facts
}

/// The quantiles of an outcome, in µs.
fn quantiles(outcome: &Value) -> Vec<(f64, f64)> {
    let pairs = outcome.get("quantiles").and_then(Value::as_array);
    pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()? / 1e3)))
        .collect()
}

/// One figure of an outcome's time series, times `factor`.
fn over_time(outcome: &Value, figure: &str, factor: f64) -> Vec<(f64, f64)> {
    let intervals = outcome.get("series").and_then(Value::as_array);
    intervals
        .into_iter()
        .flatten()
        .filter(|interval| interval.get("part").and_then(Value::as_str) != Some("drain"))
        .filter_map(|interval| {
            Some((
                interval.get("from_s")?.as_f64()?,
                interval.get(figure)?.as_f64()? * factor,
            ))
        })
        .collect()
}

/// Resident memory in MiB against connections, while they were made.
fn memory(outcome: &Value) -> Vec<(f64, f64)> {
    let pairs = outcome.pointer("/connect/rss").and_then(Value::as_array);
    pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()? / (1024.0 * 1024.0))))
        .collect()
}

/// A plot, if there was something to draw.
fn plot(title: &str, caption: &str, legend: Vec<(usize, String)>, svg: Option<String>) -> Option<Plot> {
    Some(Plot {
        title: title.to_owned(),
        caption: caption.to_owned(),
        legend,
        svg: svg?,
    })
}
