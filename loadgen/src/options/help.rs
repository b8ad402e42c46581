//! `--help`, which every subcommand has in the place of clap's own: that would take `-h`, which is a host here.
//!
//! Invariants: none.

/// The help of a subcommand.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct HelpArgument {
    /// Print this help and end
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}
