//! `broker ctl top`: the clients that use the most CPU time.
//!
//! Invariants: the shares are of as many whole seconds as requested, and none of them was over at the time of the
//! request.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::action::CtlRequest;
use super::table::{measured, table};
use super::{CtlArgs, list};

/// Measures for this long, and shows the clients that use the most CPU time.
pub(super) fn measure(args: &CtlArgs, request: &CtlRequest, seconds: u64) -> Result<String, String> {
    let begun = Instant::now();
    // The measurement begins now, or is already under way for others.
    list(args, request)?;
    // The second that is in progress ends within one more second.
    let whole = Duration::from_secs(seconds + 1);
    std::thread::sleep(whole.saturating_sub(begun.elapsed()));
    let (items, whole) = list(args, request)?;
    if args.json {
        return Ok(format!("{:#}\n", Value::Array(items)));
    }
    let columns = args.action.columns().unwrap_or_default();
    Ok(table(columns, &items) + &measured(&whole))
}
