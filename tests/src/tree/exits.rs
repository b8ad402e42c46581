//! Silent ways out of the logic, the shell and the store: a `let .. else` that returns nothing and says nothing.
//!
//! Where the state cannot be, `unreachable_state` stops a test and counts it in production; where it can, a comment
//! says when.
//!
//! Invariants: none.

use std::io;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Expr, Stmt};

use super::{File, Rule, Violation, syntax};

/// Where the rule holds.
const FOLDERS: [&str; 3] = ["broker/src/logic/", "broker/src/shard/", "store/src/"];

pub(super) fn check(file: &File, found: &mut Vec<Violation>) -> io::Result<()> {
    if FOLDERS.iter().any(|folder| file.path.starts_with(folder)) && !file.is_test() {
        let mut exits = Exits { file, found };
        exits.visit_file(&syntax::parse(file)?);
    }
    Ok(())
}

struct Exits<'a> {
    file: &'a File,
    found: &'a mut Vec<Violation>,
}

impl Exits<'_> {
    /// Whether there is a comment in these lines, or alone in the one above them.
    fn is_explained(&self, first: usize, last: usize) -> bool {
        let above = first.saturating_sub(1);
        let lines = (1..).zip(self.file.text.lines());
        lines
            .skip_while(|(number, _)| *number < above)
            .take_while(|(number, _)| *number <= last)
            .any(|(number, line)| {
                let comment = line.trim_start().starts_with("//");
                comment || (number >= first && line.contains("// "))
            })
    }
}

impl<'ast> Visit<'ast> for Exits<'_> {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        let diverge = local.init.as_ref().and_then(|init| init.diverge.as_ref());
        if let Some((_, exit)) = diverge
            && returns_nothing(exit)
        {
            let (first, last) = (local.span().start().line, local.span().end().line);
            if !self.is_explained(first, last) {
                let message = "say when it happens, or call `unreachable_state` if it cannot";
                self.found
                    .push(self.file.violation(first, Rule::SilentReturn, message));
            }
        }
        visit::visit_local(self, local);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !syntax::is_cfg_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Whether the block is `{ return }`.
fn returns_nothing(exit: &Expr) -> bool {
    let Expr::Block(block) = exit else {
        return false;
    };
    match block.block.stmts.as_slice() {
        [Stmt::Expr(Expr::Return(exit), _)] => exit.expr.is_none(),
        _ => false,
    }
}
