//! The JSON Schema of the files that the subcommands write.
//!
//! Invariant: the schema is generated from the types that are written, so that it changes with them.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use crate::compare::kill_outcome::KillOutcome;
use crate::connect::outcome::ConnectOutcome;
use crate::outcome::Outcome;
use crate::prove::ProveOutcome;
use crate::retained::RetainedOutcome;
use crate::search::SearchOutcome;
use crate::selftest::SelftestOutcome;
use crate::summary::comparison::ComparisonSummary;
use crate::summary::record::RunFailure;
use crate::sweep::SweepOutcome;

/// What `loadgen` writes as JSON: with `--json`, in the folder of `--out`, and in the folder of a comparison.
/// `kind` says which of these it is; a round of a comparison that failed has only `error`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema is generated from the types only")]
enum LoadgenOutcome {
    Run(Box<Outcome>),
    Connections(Box<ConnectOutcome>),
    Retained(RetainedOutcome),
    Search(SearchOutcome),
    Sweep(SweepOutcome),
    Selftest(SelftestOutcome),
    Comparison(ComparisonSummary),
    Kill(KillOutcome),
    Prove(ProveOutcome),
    Failed(RunFailure),
}

/// The schema (draft 2020-12), as `docs/loadgen.schema.json` has it.
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings
        .into_generator()
        .into_root_schema_for::<LoadgenOutcome>()
        .to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loadgen.schema.json");
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("MIDGE_WRITE_DOCS").is_some() {
            std::fs::write(&path, text).unwrap();
            return;
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == text,
            "docs/loadgen.schema.json is out of date: run MIDGE_WRITE_DOCS=1 cargo test -p loadgen --lib schema"
        );
    }
}
