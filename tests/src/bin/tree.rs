//! Lists what violates the rules of the tree: `cargo run -p tests --bin tree -- broker/src/logic`.
//!
//! Invariants: it ends with 0 only where the list is empty.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::tree::{self, Rule};

/// Lists what violates the rules of CONTRIBUTING.md.
#[derive(Parser)]
struct Args {
    /// Only files whose path begins so, from the root of the tree; all without.
    paths: Vec<String>,
    /// Another tree than the one that this program was built in.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    root: PathBuf,
    /// Only violations of this rule; may be given more than once.
    #[arg(long)]
    rule: Vec<Rule>,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    for path in &mut args.paths {
        let from_root = path.strip_prefix("./").unwrap_or(path);
        *path = if from_root == "." {
            String::new()
        } else {
            from_root.to_owned()
        };
    }
    let mut found = match tree::check(&args.root) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    found.retain(|violation| {
        let of_path = args.paths.is_empty() || args.paths.iter().any(|path| violation.file.starts_with(path));
        let of_rule = args.rule.is_empty() || args.rule.contains(&violation.rule);
        of_path && of_rule
    });
    let mut by_rule = BTreeMap::<_, usize>::new();
    for violation in &found {
        println!("{violation}");
        *by_rule.entry(violation.rule).or_default() += 1;
    }
    for (rule, count) in by_rule {
        eprintln!("{rule}: {count}");
    }
    ExitCode::from(u8::from(!found.is_empty()))
}
