//! The load generator as a program: everything is in [`loadgen::command`].
//!
//! Invariants: none.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadgen::command::main(std::env::args_os().collect())
}
