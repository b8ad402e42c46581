//! `--help` of every subcommand. It replaces clap's own option, which would take `-h`; here `-h` is a host.
//!
//! Invariants: none.

/// The help of a subcommand.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct HelpArgument {
    /// Print this help and exit
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}
