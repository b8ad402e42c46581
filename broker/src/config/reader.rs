//! Reading configuration files: each key is looked up in the table, and its entry changes the draft.
//!
//! Invariants: a line that cannot be used changes nothing and is reported as a problem with its place. An included
//! file is read at the place of the `include_dir`, and cannot include others.

use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::draft::{Draft, KeyOwner};
use super::keys::{self, Key, Scope, Status, Value};
use super::parse::{self, KeyValue};
use crate::files::{self, FilePlace, FileProblem};
use crate::limits;

impl Draft {
    /// Reads a configuration file and the files that it includes.
    pub(super) fn read_file(&mut self, path: &Path) {
        self.read_path(path, true);
    }

    /// Reads the text of a file.
    pub(super) fn read(&mut self, file: &Path, text: &[u8], may_include: bool) {
        let file: Arc<Path> = Arc::from(file);
        for (number, setting) in parse::settings(text) {
            self.place = Some(FilePlace {
                file: Arc::clone(&file),
                line: number,
            });
            let (problems, warnings) = (self.problems.len(), self.warnings.len());
            match setting {
                Ok(setting) => self.apply(&setting, may_include),
                Err(wrong) => self.problem(wrong.to_owned()),
            }
            self.note_line(setting.map_or("", |setting| setting.key), problems, warnings);
            if self.survey.is_none() && self.problems.len() >= limits::FILE_PROBLEMS_MAX {
                return;
            }
        }
    }

    fn apply(&mut self, line: &KeyValue<'_>, may_include: bool) {
        let Some(key) = keys::find(line.key) else {
            return self.problem(unknown(line.key));
        };
        match &key.status {
            Status::Effective(value, _) => {
                self.note_scope(key);
                if key.scope == Scope::Bridge && self.bridges.is_empty() && key.name != "connection" {
                    return self.problem(format!(
                        "{} belongs to a bridge, and no `connection` line stands above it; fix: add one",
                        key.name
                    ));
                }
                if let Some(first) = self.stands_already(key) {
                    let shown = match value {
                        Value::Secret(_) => String::new(),
                        _ => format!(" {}", line.value),
                    };
                    return self.problem(format!(
                        "{}{shown}: is set twice, first at {first}; fix: remove one of the lines",
                        key.name
                    ));
                }
                if let Err(wrong) = self.set(key, value, line.value, may_include) {
                    self.problem(wrong);
                }
            }
            Status::Ignored(why) => self.warn(&format!("{} has no effect: {why}", line.key)),
            Status::Refused(why) => self.problem(format!("{} is not supported: {why}", line.key)),
        }
    }

    fn note_scope(&mut self, key: &Key) {
        if key.scope == Scope::Either {
            self.first_access_key.get_or_insert(key.name);
        }
        if key.scope == Scope::Listener && self.listeners.is_empty() && key.name != "listener" {
            let place = self.place();
            self.default_listener.first_key.get_or_insert((key.name, place));
        }
    }

    /// The place where a key that may be given once has been given before.
    fn stands_already(&mut self, key: &Key) -> Option<FilePlace> {
        if !key.may_stand_once() {
            return None;
        }
        let of_listener = KeyOwner::Listener(self.listeners.len());
        let owner = match key.scope {
            Scope::Listener => of_listener,
            Scope::Either if self.per_listener_settings => of_listener,
            Scope::Global | Scope::Either => KeyOwner::Broker,
            Scope::Bridge => KeyOwner::Bridge(self.bridges.len()),
        };
        let place = self.place();
        match self.given.entry((key.name, owner)) {
            Entry::Occupied(first) => Some(first.get().clone()),
            Entry::Vacant(here) => {
                here.insert(place);
                None
            }
        }
    }

    fn set(&mut self, key: &Key, value: &Value, text: &str, may_include: bool) -> Result<(), String> {
        let name = key.name;
        if text.is_empty() {
            return Err(format!("{name} needs a value: {}", value.shape()));
        }
        match value {
            Value::Flag(set) => {
                let word = self.first_word(name, text);
                set(self, flag(word).ok_or_else(|| wrong(name, word, value))?);
            }
            Value::Integer { ranges, set } => {
                let word = self.first_word(name, text);
                let number = word.parse().ok().filter(|number| is_in(*number, ranges));
                set(self, number.ok_or_else(|| wrong(name, word, value))?);
            }
            Value::Word { set, .. } => {
                let word = self.first_word(name, text);
                set(self, word).map_err(|wrong| format!("{name} {word}: {wrong}"))?;
            }
            Value::Text { set, .. } => set(self, text).map_err(|wrong| format!("{name} {text}: {wrong}"))?,
            Value::Path { set, is_folder, .. } => {
                set(self, text).map_err(|wrong| format!("{name} {text}: {wrong}"))?;
                self.note_path(text, *is_folder);
            }
            Value::Secret(set) => set(self, text),
            Value::IncludeDirectory if may_include => {
                self.named.add_folder(Path::new(text));
                self.read_directory(Path::new(text))?;
            }
            Value::IncludeDirectory => return Err("include_dir is allowed in the main file only".to_owned()),
        }
        Ok(())
    }

    /// For some paths the folder of the configuration file is searched too.
    fn note_path(&mut self, text: &str, is_folder: bool) {
        for path in [PathBuf::from(text), self.path(text)] {
            match is_folder {
                true => self.named.add_folder(&path),
                false => self.named.add_file(&path),
            }
        }
    }

    /// The first word of a value. mosquitto ignores the text after it; here that causes a warning, unless it is a
    /// comment.
    fn first_word<'a>(&mut self, name: &str, text: &'a str) -> &'a str {
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        self.warn_of_rest(name, word, rest);
        word
    }

    fn read_directory(&mut self, directory: &Path) -> Result<(), String> {
        let unreadable =
            |cause: io::Error| format!("include_dir {} cannot be read: {cause}", directory.display());
        let mut paths = Vec::new();
        for entry in directory.read_dir().map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                paths.push(path);
            }
        }
        // Upper case before lower case of the same letter, as in mosquitto.
        paths.sort_by_cached_key(|path| (path.to_string_lossy().to_lowercase(), path.clone()));
        let place = self.place.clone();
        for path in paths {
            self.read_path(&path, false);
        }
        self.place = place;
        Ok(())
    }

    fn read_path(&mut self, path: &Path, may_include: bool) {
        self.named.add_file(path);
        match files::read_bounded(path, "configuration file", limits::CONFIGURATION_FILE_BYTES_MAX) {
            Ok(text) => self.read(path, &text, may_include),
            Err(cause) => {
                self.problems.push(FileProblem {
                    place: FilePlace::whole(path),
                    text: format!("cannot be read: {cause}"),
                });
            }
        }
    }
}

fn unknown(key: &str) -> String {
    match keys::nearest(key) {
        Some(nearest) => format!("unknown key {key}: did you mean {nearest}?"),
        None => format!("unknown key {key}"),
    }
}

fn wrong(name: &str, text: &str, value: &Value) -> String {
    format!("{name} {text}: must be {}", value.shape())
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn is_in(number: i64, ranges: &[(i64, i64)]) -> bool {
    ranges
        .iter()
        .any(|&(minimum, maximum)| (minimum..=maximum).contains(&number))
}
