//! Writes `docs/CONFORMANCE.md` and says what is wrong: `cargo run -p tests --bin conformance`.
//!
//! Invariants: none.

use std::path::Path;
use std::process::ExitCode;

use tests::conformance::{Conformance, PAGE};

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let written = Conformance::of_tree(&root).and_then(|conformance| {
        std::fs::write(root.join(PAGE), conformance.page())?;
        Ok(conformance.faults)
    });
    match written {
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Ok(faults) => {
            for fault in &faults {
                eprintln!("{fault}");
            }
            eprintln!("{PAGE} is written; {} faults", faults.len());
            ExitCode::from(u8::from(!faults.is_empty()))
        }
    }
}
