//! Methods of the logic's coordinators that belong to one owner.
//!
//! A coordinator keeps the order of calls. What is about one of its owners alone is a method of that owner, so that it
//! is found there, and so that its fields stay private.
//!
//! An owner has private fields: others ask it by its methods.
//!
//! Invariants: what a coordinator offers the shell (`pub`) and a body of one expression, which passes a call on, are
//! not looked at.

use std::collections::BTreeSet;
use std::io;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Expr, ImplItem, ImplItemFn, Item, ItemStruct, Member, Pat, Type, Visibility};

use super::{File, Rule, Violation, syntax};

/// Where the rule holds.
const FOLDER: &str = "broker/src/logic/";

/// A type that keeps the order of calls, and its fields that have methods of their own.
struct Coordinator {
    name: &'static str,
    owners: &'static [&'static str],
}

const COORDINATORS: [Coordinator; 2] = [
    Coordinator {
        name: "Shard",
        owners: &[
            "client_times",
            "delivery",
            "endings",
            "outboxes",
            "partials",
            "retained",
            "routing",
            "sys",
            "timers",
            "unclaimed",
            "unstored",
        ],
    },
    Coordinator {
        name: "Delivery",
        owners: &[
            "clients",
            "deferred",
            "denials",
            "encodings",
            "flow",
            "journal",
            "outputs",
        ],
    },
];

/// Types of the logic whose fields nobody else may see.
const PRIVATE: [&str; 14] = [
    "ClientTimes",
    "Clients",
    "Connection",
    "Endings",
    "FlowControl",
    "Outboxes",
    "Outputs",
    "PartialPackets",
    "RetainedMessages",
    "Routing",
    "Session",
    "Sessions",
    "UnclaimedMessages",
    "UnstoredPackets",
];

pub(super) fn check(file: &File, found: &mut Vec<Violation>) -> io::Result<()> {
    if !file.path.starts_with(FOLDER) || file.is_test() {
        return Ok(());
    }
    for item in syntax::parse(file)?.items {
        if let Item::Struct(item) = &item
            && PRIVATE.iter().any(|owner| item.ident == owner)
        {
            check_fields(file, item, found);
        }
        if let Item::Impl(item) = item
            && !syntax::is_cfg_test(&item.attrs)
            && let Some(coordinator) = COORDINATORS
                .iter()
                .find(|coordinator| is_named(&item.self_ty, coordinator.name))
        {
            let methods = item.items.iter().filter_map(|item| match item {
                ImplItem::Fn(method) => Some(method),
                _ => None,
            });
            for method in methods {
                check_method(file, coordinator, method, found);
            }
        }
    }
    Ok(())
}

fn check_fields(file: &File, owner: &ItemStruct, found: &mut Vec<Violation>) {
    for field in &owner.fields {
        if let (Some(name), false) = (&field.ident, matches!(field.vis, Visibility::Inherited)) {
            let message = format!("`{name}` of {} can be seen: give it a method", owner.ident);
            found.push(file.violation(name.span().start().line, Rule::Owner, message));
        }
    }
}

fn check_method(file: &File, coordinator: &Coordinator, method: &ImplItemFn, found: &mut Vec<Violation>) {
    let passes_on = matches!(method.block.stmts.as_slice(), [] | [_]);
    if passes_on || matches!(method.vis, Visibility::Public(_)) || method.sig.receiver().is_none() {
        return;
    }
    let mut uses = Uses::default();
    uses.visit_block(&method.block);
    let mut fields = uses.fields.iter();
    if let (Some(field), None) = (fields.next(), fields.next())
        && coordinator.owners.contains(&field.as_str())
        && !uses.calls_another
    {
        let (name, owner) = (&method.sig.ident, coordinator.name);
        let message = format!("`{name}` of {owner} is about `{field}` alone: make it a method of that");
        found.push(file.violation(method.sig.span().start().line, Rule::Owner, message));
    }
}

/// What a method uses of `self`.
#[derive(Default)]
struct Uses {
    fields: BTreeSet<String>,
    calls_another: bool,
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_expr_field(&mut self, expression: &'ast syn::ExprField) {
        if is_self(&expression.base) {
            if let Member::Named(name) = &expression.member {
                self.fields.insert(name.to_string());
            }
        } else {
            visit::visit_expr_field(self, expression);
        }
    }

    fn visit_expr_path(&mut self, expression: &'ast syn::ExprPath) {
        // As a receiver, an argument or a value: all of it is used.
        self.calls_another |= expression.path.is_ident("self");
    }

    fn visit_macro(&mut self, macro_call: &'ast syn::Macro) {
        self.calls_another |= names_self(macro_call.tokens.clone());
    }

    fn visit_pat_struct(&mut self, pattern: &'ast syn::PatStruct) {
        for field in &pattern.fields {
            if let Member::Named(name) = &field.member {
                self.fields.insert(name.to_string());
            }
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        // `let Self { a, b, .. } = self` uses these fields, and not all.
        match (&local.pat, &local.init) {
            (Pat::Struct(pattern), Some(init)) if is_self(&init.expr) => self.visit_pat_struct(pattern),
            _ => visit::visit_local(self, local),
        }
    }
}

fn is_self(expression: &Expr) -> bool {
    matches!(expression, Expr::Path(path) if path.path.is_ident("self"))
}

fn names_self(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => names_self(group.stream()),
        TokenTree::Ident(ident) => ident == "self",
        _ => false,
    })
}

fn is_named(named: &Type, name: &str) -> bool {
    matches!(named, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}
