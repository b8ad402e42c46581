//! The picture of the floors in `docs/ARCHITECTURE.md`, held against the imports.
//!
//! The picture is a Mermaid flowchart below the heading `## Floors`. A node's label is the crates or modules on that
//! floor, separated by spaces, commas or `<br>`: the name of a crate, or `broker::name` for a file or folder of
//! `broker/src`. An arrow `upper --> lower` allows imports from the upper floor to the lower one, and to all that the
//! lower one may import.
//!
//! Invariants: the arrows have no circle; each crate and each module of `broker/src` stands on one floor; each path
//! `crate::name` in broker and each crate that another names lies on the same floor or on one that arrows lead to.
//! Code of tests may import what it likes. What breaks them: an import upwards, also inside of a macro.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{File, Rule, Violation, syntax};

const PAGE: &str = "docs/ARCHITECTURE.md";
const HEADING: &str = "## Floors";
/// The crate whose folders are floors too.
const SPLIT_CRATE: &str = "broker";

/// They are above all floors.
const NOT_ON_FLOORS: [&str; 3] = ["tests", "test-support", "benches"];

/// The floors of the picture: what stands on which, and where arrows lead.
#[derive(Debug, Default)]
pub(super) struct Floors {
    /// The node of a crate or module.
    node_of: BTreeMap<String, String>,
    arrows: BTreeMap<String, BTreeSet<String>>,
}

pub(super) fn check(files: &[File], found: &mut Vec<Violation>) -> io::Result<()> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return Ok(());
    };
    let Some((line, picture)) = picture(&page.text) else {
        let message = format!("there is no Mermaid picture below `{HEADING}`");
        found.push(page.violation(0, Rule::Floor, message));
        return Ok(());
    };
    let floors = match Floors::parse(&picture) {
        Ok(floors) => floors,
        Err(fault) => {
            found.push(page.violation(line, Rule::Floor, fault));
            return Ok(());
        }
    };
    let modules: BTreeSet<_> = files
        .iter()
        .filter(|file| file.is_rust() && !file.is_test())
        .filter_map(|file| module_of(&file.path))
        .collect();
    for module in &modules {
        if !floors.node_of.contains_key(module) {
            found.push(page.violation(line, Rule::Floor, format!("`{module}` stands on no floor")));
        }
    }
    for named in floors.node_of.keys().filter(|named| !modules.contains(*named)) {
        found.push(page.violation(line, Rule::Floor, format!("`{named}` is no crate and no module")));
    }
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        check_imports(file, &floors, found)?;
    }
    Ok(())
}

/// The crate of a file, or `broker::module`; nothing for what is on no floor: the crate's own root, tests, benches.
fn module_of(path: &str) -> Option<String> {
    let (package, rest) = path.split_once("/src/")?;
    if package.contains('/') || NOT_ON_FLOORS.contains(&package) {
        return None;
    }
    if package != SPLIT_CRATE {
        return Some(package.to_owned());
    }
    let module = rest.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    // The root of the crate puts everything together.
    (module != "lib" && module != "main").then(|| format!("{SPLIT_CRATE}::{module}"))
}

/// The line of the heading and the lines between the fences below it.
fn picture(page: &str) -> Option<(usize, String)> {
    let mut lines = (1..).zip(page.lines());
    let (heading, _) = lines.find(|(_, line)| line.trim_end() == HEADING)?;
    let mut section = lines.take_while(|(_, line)| !line.starts_with("## "));
    section.find(|(_, line)| line.trim() == "```mermaid")?;
    let picture: Vec<_> = section
        .map(|(_, line)| line)
        .take_while(|line| line.trim() != "```")
        .collect();
    Some((heading, picture.join("\n")))
}

impl Floors {
    /// Reads the nodes and arrows of a flowchart; any other line of it is decoration.
    pub(super) fn parse(picture: &str) -> Result<Self, String> {
        let mut floors = Self::default();
        for line in picture.lines().map(str::trim) {
            let ends: Vec<_> = line.split("-->").map(str::trim).collect();
            let mut before: Option<String> = None;
            for end in &ends {
                let identifier = floors.add_node(end)?;
                if let (Some(upper), Some(lower)) = (&before, &identifier)
                    && ends.len() > 1
                {
                    floors
                        .arrows
                        .entry(upper.clone())
                        .or_default()
                        .insert(lower.clone());
                }
                before = identifier;
            }
        }
        match floors.arrows.keys().find(|node| floors.reaches(node, node)) {
            Some(node) => Err(format!("arrows lead from `{node}` back to it")),
            None => Ok(floors),
        }
    }

    /// A node `identifier["label"]`, or a mention of one.
    fn add_node(&mut self, text: &str) -> Result<Option<String>, String> {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = text.find(|letter| !is_name(letter)).unwrap_or(text.len());
        let (identifier, rest) = text.split_at(end);
        if identifier.is_empty() || !(rest.is_empty() || rest.starts_with(['[', '(', '{'])) {
            return Ok(None);
        }
        let label = rest.replace("<br>", " ").replace("<br/>", " ");
        let names = label
            .split(|letter: char| !is_name(letter) && letter != ':')
            .filter(|name| !name.is_empty());
        for name in names {
            let before = self.node_of.insert(name.to_owned(), identifier.to_owned());
            if before.is_some_and(|before| before != identifier) {
                return Err(format!("`{name}` stands on two floors"));
            }
        }
        Ok(Some(identifier.to_owned()))
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            for next in self.arrows.get(node).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }

    /// Whether `from` may import `to`; what stands on no floor is reported as that.
    pub(super) fn allow(&self, from: &str, to: &str) -> bool {
        let allows = |to: &String| match (self.node_of.get(from), self.node_of.get(to)) {
            (Some(upper), Some(lower)) => upper == lower || self.reaches(upper, lower),
            _ => true,
        };
        if to == SPLIT_CRATE {
            // What another crate sees of it is on one of its floors at least.
            let modules = self.node_of.keys().filter(|name| name.starts_with(SPLIT_CRATE));
            return modules.clone().count() == 0 || modules.into_iter().any(allows);
        }
        allows(&to.to_owned())
    }
}

fn check_imports(file: &File, floors: &Floors, found: &mut Vec<Violation>) -> io::Result<()> {
    let Some(from) = module_of(&file.path) else {
        return Ok(());
    };
    let mut imports = Imports {
        package: file.package(),
        super_is_root: is_below_root(&file.path),
        found: Vec::new(),
    };
    imports.collect(syntax::tokens(file)?);
    let mut reported = BTreeSet::new();
    for (line, to) in imports.found {
        if !floors.allow(&from, &to) && reported.insert(to.clone()) {
            let message = format!("`{from}` imports `{to}`, and no arrow leads there");
            found.push(file.violation(line, Rule::Floor, message));
        }
    }
    Ok(())
}

/// Whether the file is a module right below the root of its crate, so that `super` is the root.
fn is_below_root(path: &str) -> bool {
    let module = path.strip_suffix("/mod.rs").unwrap_or(path);
    module.matches('/').count() == 2
}

/// The paths of a file that lead out of its module.
struct Imports<'a> {
    package: &'a str,
    super_is_root: bool,
    found: Vec<(usize, String)>,
}

impl Imports<'_> {
    fn collect(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if is_cfg_test(&tokens, at) {
                // To the end of the item: its body or its semicolon.
                at += 2;
                while !tokens.get(at).is_none_or(ends_item) {
                    at += 1;
                }
            }
            match token {
                TokenTree::Group(group) => self.collect(group.stream()),
                TokenTree::Ident(ident) if is_path(&tokens, at) => {
                    let name = ident.to_string();
                    let line = ident.span().start().line;
                    if name == "crate" || name == "super" && self.super_is_root {
                        self.add_modules(line, tokens.get(at + 3));
                    } else if name != self.package {
                        self.found.push((line, name));
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// What follows `crate::`: a name, or names in braces.
    fn add_modules(&mut self, line: usize, after: Option<&TokenTree>) {
        let names: Vec<_> = match after {
            Some(TokenTree::Ident(ident)) => vec![ident.to_string()],
            Some(TokenTree::Group(group)) => {
                let tokens: Vec<_> = group.stream().into_iter().collect();
                let parts = tokens.split(|token| is_punctuation(Some(token), ','));
                parts
                    .filter_map(|part| part.first())
                    .map(ToString::to_string)
                    .collect()
            }
            _ => Vec::new(),
        };
        let package = self.package;
        self.found
            .extend(names.into_iter().map(|name| (line, format!("{package}::{name}"))));
    }
}

/// An identifier that begins a path: `name::`, and no `::` before it.
fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    let goes_on = is_punctuation(tokens.get(at + 1), ':') && is_punctuation(tokens.get(at + 2), ':');
    let is_first =
        at < 2 || !is_punctuation(tokens.get(at - 1), ':') || !is_punctuation(tokens.get(at - 2), ':');
    goes_on && is_first
}

/// Whether the attribute `#[cfg(test)]` stands there.
fn is_cfg_test(tokens: &[TokenTree], at: usize) -> bool {
    is_punctuation(tokens.get(at), '#')
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.stream().to_string() == "cfg(test)")
}

fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => is_punctuation(Some(token), ';'),
    }
}

fn is_punctuation(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}
