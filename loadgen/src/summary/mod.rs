//! The rounds of a comparison and their summary.
//!
//! [`record`] is one round, [`rounds`] are those of a folder; [`figures`] finds the figures in them, [`statistics`]
//! their intervals and [`findings`] what the runs reported; [`comparison`] is the whole, and [`table`] shows it.
//!
//! Invariants: nothing here measures or starts anything, so a folder of results is all that a summary needs.

pub mod comparison;
pub(crate) mod figures;
mod findings;
pub mod record;
pub mod rounds;
pub mod statistics;
pub mod table;
