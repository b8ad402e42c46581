//! What the parser sees: headers, functions, doc comments, names of types, `unsafe`.
//!
//! Invariants: code of tests (`#[cfg(test)]`, a folder of tests) has no type names of its own to keep apart and no
//! invariants to name; everything else holds for it too.

use std::collections::BTreeMap;
use std::io;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Ident, Lit, Meta};

use super::{File, Rule, Violation, limits, words};

/// The package that may say `unsafe`.
const UNSAFE_PACKAGE: &str = "transport";

pub(super) fn check(file: &File, found: &mut Vec<Violation>) -> io::Result<()> {
    let syntax = parse(file)?;
    check_header(file, &syntax.attrs, found);
    let mut items = ItemChecks { file, found };
    items.visit_file(&syntax);
    if file.package() != UNSAFE_PACKAGE {
        check_unsafe(file, tokens(file)?, found);
    }
    Ok(())
}

pub(super) fn parse(file: &File) -> io::Result<syn::File> {
    syn::parse_file(&file.text).map_err(|error| io::Error::other(format!("{}: {error}", file.path)))
}

/// The tokens of a source, those in macros too.
pub(super) fn tokens(file: &File) -> io::Result<TokenStream> {
    let tokens = file.text.parse::<TokenStream>();
    tokens.map_err(|error| io::Error::other(format!("{}: {error}", file.path)))
}

fn check_header(file: &File, attributes: &[Attribute], found: &mut Vec<Violation>) {
    let header = doc_text(attributes);
    if header.is_empty() {
        found.push(file.violation(
            1,
            Rule::Header,
            "begin with a header: `//! What this module is for.`",
        ));
    } else if !file.is_test()
        && !["Invariants: ", "Invariant: "]
            .iter()
            .any(|name| header.contains(name))
    {
        let message = "name the invariants and what breaks them (`Invariants: ...`), or `Invariants: none.`";
        found.push(file.violation(1, Rule::Header, message));
    }
}

fn check_unsafe(file: &File, tokens: TokenStream, found: &mut Vec<Violation>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => check_unsafe(file, group.stream(), found),
            TokenTree::Ident(ident) if ident == "unsafe" => {
                let line = ident.span().start().line;
                found.push(file.violation(line, Rule::Unsafe, "belongs into `transport`"));
            }
            _ => {}
        }
    }
}

/// The doc comments among the attributes as one text.
fn doc_text(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Whether the item is compiled for tests only.
pub(super) fn is_cfg_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

/// Walks the items of a file and checks each.
struct ItemChecks<'a> {
    file: &'a File,
    found: &'a mut Vec<Violation>,
}

impl ItemChecks<'_> {
    fn check_doc(&mut self, attributes: &[Attribute], name: Option<&Ident>) {
        let text = doc_text(attributes);
        let Some(first) = attributes
            .iter()
            .find(|attribute| attribute.path().is_ident("doc"))
        else {
            return;
        };
        let line = first.span().start().line;
        let comment: Vec<_> = text
            .split(|letter: char| letter.is_whitespace())
            .filter(|word| word.contains(char::is_alphanumeric))
            .collect();
        // Where the text is another's, its place is enough: `[MQTT-3.1.2-24]`, `RFC 8446, 5.4`.
        let is_reference = text.starts_with("RFC ")
            || comment
                .iter()
                .all(|word| word.starts_with('[') && word.contains("MQTT"));
        if comment.is_empty() || is_reference {
            return;
        }
        if comment.len() <= limits::DOC_COMMENT_WORDS_MIN {
            let message = format!("\"{text}\": too short to say anything; say more or leave it out");
            self.found
                .push(self.file.violation(line, Rule::DocComment, message));
        } else if name.is_some_and(|name| repeats(&comment, name)) {
            let message = format!("\"{text}\": repeats the name");
            self.found
                .push(self.file.violation(line, Rule::DocComment, message));
        }
    }

    fn check_length(&mut self, name: &Ident, start: Span, block: &syn::Block) {
        let first = start.start().line;
        let lines = block.span().end().line + 1 - first;
        let most = limits::FUNCTION_LINES_MAX;
        if lines > most {
            let message = format!("`{name}` has {lines} lines, at most {most}");
            self.found
                .push(self.file.violation(first, Rule::FunctionLength, message));
        }
    }
}

/// Whether the comment has no word beside those of the name and words without content.
fn repeats(comment: &[&str], name: &Ident) -> bool {
    const EMPTY: [&str; 14] = [
        "a", "an", "the", "of", "its", "this", "that", "it", "is", "to", "in", "for", "and", "one",
    ];
    let stem = |word: &str| word.trim_end_matches('s').trim_end_matches("ed").to_owned();
    let name: Vec<_> = words::parts(&name.to_string())
        .iter()
        .map(|part| stem(part))
        .collect();
    comment.iter().all(|word| {
        let word = word
            .trim_matches(|letter: char| !letter.is_alphanumeric())
            .to_lowercase();
        EMPTY.contains(&word.as_str()) || name.contains(&stem(&word))
    })
}

impl<'ast> Visit<'ast> for ItemChecks<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check_doc(&item.attrs, Some(&item.sig.ident));
        self.check_length(&item.sig.ident, item.sig.span(), &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check_doc(&item.attrs, Some(&item.sig.ident));
        self.check_length(&item.sig.ident, item.sig.span(), &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.check_doc(&item.attrs, Some(&item.sig.ident));
        if let Some(block) = &item.default {
            self.check_length(&item.sig.ident, item.sig.span(), block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.check_doc(&item.attrs, Some(&item.ident));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_item_static(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_item_mod(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.check_doc(&item.attrs, Some(&item.ident));
        visit::visit_impl_item_const(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.check_doc(&field.attrs, field.ident.as_ref());
        visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.check_doc(&variant.attrs, Some(&variant.ident));
        visit::visit_variant(self, variant);
    }
}

/// The types that a file of a program defines.
#[derive(Default)]
struct Types {
    found: Vec<(String, usize)>,
}

impl Types {
    fn add(&mut self, name: &Ident) {
        self.found.push((name.to_string(), name.span().start().line));
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.add(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_cfg_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// A name that stands for two types of one package.
pub(super) fn check_type_names(files: &[File], found: &mut Vec<Violation>) -> io::Result<()> {
    let mut by_name: BTreeMap<(&str, String), Vec<(&File, usize)>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        let mut types = Types::default();
        types.visit_file(&parse(file)?);
        for (name, line) in types.found {
            by_name
                .entry((file.package(), name))
                .or_default()
                .push((file, line));
        }
    }
    for ((_, name), places) in by_name {
        for (index, (file, line)) in places.iter().enumerate() {
            // The other one is named, so that one line is enough to choose.
            let other = places.iter().enumerate().find(|(other, _)| *other != index);
            if let Some((_, (other, other_line))) = other {
                let message = format!("`{name}` is a type in {}:{other_line} too", other.path);
                found.push(file.violation(*line, Rule::TypeName, message));
            }
        }
    }
    Ok(())
}
