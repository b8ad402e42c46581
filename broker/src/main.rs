//! The broker's program.
//!
//! Invariants: none.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    broker::run(std::env::args_os())
}
