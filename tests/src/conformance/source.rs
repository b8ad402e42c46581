//! One Rust source: its items, and which of them carry which tags.
//!
//! A tag belongs to the innermost item around its line, or to the item that follows a comment. In a test file a tag
//! counts for the `#[test]` function that has it, and for those that use the table or helper that has it. A file's
//! header names statements and proves none.
//!
//! Invariants: none.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Ident, ImplItemFn, ItemConst, ItemEnum, ItemFn, ItemMacro, ItemMod, ItemStatic, ItemStruct,
};

use super::tag::{Tag, tags};

/// Whether an item is the program or a test of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It implements what the statement demands.
    Code,
    /// It proves what the statement demands.
    Test,
}

/// An item that carries a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPlace {
    /// The file, from the root of the tree.
    pub file: String,
    /// The item's name, or nothing for the file's header.
    pub item: String,
    /// What the item is.
    pub role: Role,
}

/// A tag in a file, with the items that it counts for.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) tag: Tag,
    pub(super) line: usize,
    pub(super) places: Vec<TagPlace>,
}

/// What a file says about statements.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) mentions: Vec<Mention>,
    pub(super) faults: Vec<String>,
}

impl Source {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, String> {
        let syntax = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
        let mut items = Items {
            is_test_code: is_test_file(file),
            ..Items::default()
        };
        items.visit_file(&syntax);
        let items = items.found;
        let lines: Vec<_> = text.lines().collect();
        let mut source = Self {
            file: file.to_owned(),
            mentions: Vec::new(),
            faults: Vec::new(),
        };
        for (line, content) in (1..).zip(&lines) {
            match tags(content) {
                Err(fault) => source.faults.push(format!("{line}: {fault}")),
                Ok(tags) => source.mentions.extend(tags.into_iter().map(|tag| Mention {
                    tag,
                    line,
                    places: places(file, &items, &lines, line),
                })),
            }
        }
        Ok(source)
    }
}

/// An item and the lines it stands on, its comments and attributes included.
#[derive(Clone, Debug)]
struct Item {
    name: String,
    first: usize,
    last: usize,
    is_test: bool,
    is_test_code: bool,
}

impl Item {
    fn has(&self, line: usize) -> bool {
        (self.first..=self.last).contains(&line)
    }

    fn uses(&self, lines: &[&str], name: &str) -> bool {
        let body = lines.get(self.first - 1..self.last).unwrap_or_default();
        let is_word = |line: &&str| {
            line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .any(|word| word == name)
        };
        body.iter().any(is_word)
    }
}

fn is_test_file(file: &str) -> bool {
    let parts: BTreeSet<_> = file.split('/').collect();
    // The model and the simulator are no tests and not the program.
    (parts.contains("tests") && !file.starts_with("tests/src/")) || file.ends_with("/tests.rs")
}

fn places(file: &str, items: &[Item], lines: &[&str], line: usize) -> Vec<TagPlace> {
    let is_comment = |line: usize| {
        lines
            .get(line - 1)
            .is_some_and(|text| text.trim_start().starts_with("//"))
    };
    let around = items
        .iter()
        .filter(|item| item.has(line))
        .min_by_key(|item| item.last - item.first);
    // A comment before an item is the item's.
    let followed = (line..).find(|line| !is_comment(*line)).unwrap_or(line);
    let item = around.or_else(|| items.iter().find(|item| item.first == followed));
    let place = |item: &Item, role| TagPlace {
        file: file.to_owned(),
        item: item.name.clone(),
        role,
    };
    match item {
        None if is_test_file(file) || file.starts_with("tests/") => Vec::new(),
        None => vec![TagPlace {
            file: file.to_owned(),
            item: String::new(),
            role: Role::Code,
        }],
        Some(item) if item.is_test => vec![place(item, Role::Test)],
        Some(item) if item.is_test_code => users(items, lines, item)
            .into_iter()
            .map(|item| place(item, Role::Test))
            .collect(),
        Some(_) if file.starts_with("tests/") => Vec::new(),
        Some(item) => vec![place(item, Role::Code)],
    }
}

/// The tests that use a table or helper of their file, directly or by others of them.
fn users<'a>(items: &'a [Item], lines: &[&str], used: &Item) -> Vec<&'a Item> {
    let mut names = BTreeSet::from([used.name.clone()]);
    loop {
        let more: Vec<_> = items
            .iter()
            .filter(|item| !names.contains(&item.name))
            .filter(|item| names.iter().any(|name| item.uses(lines, last_part(name))))
            .map(|item| item.name.clone())
            .collect();
        if more.is_empty() {
            return items
                .iter()
                .filter(|item| item.is_test && names.contains(&item.name))
                .collect();
        }
        names.extend(more);
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

#[derive(Default)]
struct Items {
    found: Vec<Item>,
    owner: Option<String>,
    is_test_code: bool,
}

impl Items {
    fn add(&mut self, name: &Ident, attributes: &[Attribute], span: proc_macro2::Span) {
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{name}"),
            None => name.to_string(),
        };
        self.found.push(Item {
            name,
            first: span.start().line,
            last: span.end().line,
            is_test: attributes
                .iter()
                .any(|attribute| attribute.path().is_ident("test")),
            is_test_code: self.is_test_code,
        });
    }

    /// Tests inside of `proptest!`, whose parameters are not Rust's.
    fn add_tests_of_macro(&mut self, tokens: TokenStream) {
        let mut first = None;
        let mut name = None;
        let mut before = String::new();
        for token in tokens {
            let start = token.span().start().line;
            first.get_or_insert(start);
            match token {
                TokenTree::Ident(ident) if before == "fn" => name = Some(ident.to_string()),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    if let (Some(name), Some(first)) = (name.take(), first.take()) {
                        self.found.push(Item {
                            name,
                            first,
                            last: group.span_close().end().line,
                            is_test: true,
                            is_test_code: true,
                        });
                    }
                    first = None;
                    before.clear();
                    continue;
                }
                TokenTree::Ident(ident) => {
                    before = ident.to_string();
                    continue;
                }
                _ => {}
            }
            before.clear();
        }
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.add(&item.sig.ident, &item.attrs, item.span());
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.add(&item.sig.ident, &item.attrs, item.span());
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let owner = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let before = std::mem::replace(&mut self.owner, owner);
        visit::visit_item_impl(self, item);
        self.owner = before;
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        self.add(&item.ident, &item.attrs, item.span());
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.add(&item.ident, &item.attrs, item.span());
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.add(&item.ident, &item.attrs, item.span());
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.add(&item.ident, &item.attrs, item.span());
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        if item.mac.path.is_ident("proptest") {
            self.add_tests_of_macro(item.mac.tokens.clone());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let is_test = item.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<Ident>()
                    .is_ok_and(|condition| condition == "test")
        });
        let before = self.is_test_code;
        self.is_test_code |= is_test;
        visit::visit_item_mod(self, item);
        self.is_test_code = before;
    }
}
