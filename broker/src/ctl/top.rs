//! `broker ctl top`: which clients cost the most CPU time.
//!
//! Invariants: the shares are of so many whole seconds as were asked for, and none of them was over when it was asked.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::action::CtlRequest;
use super::table::{measured, table};
use super::{CtlArgs, list};

/// Has it measured for so long, and shows the clients that cost the most.
pub(super) fn measure(args: &CtlArgs, request: &CtlRequest, seconds: u64) -> Result<String, String> {
    let begun = Instant::now();
    // It is measured from now on, or was for others.
    list(args, request)?;
    // The second that it is is over within one more.
    let whole = Duration::from_secs(seconds + 1);
    std::thread::sleep(whole.saturating_sub(begun.elapsed()));
    let (items, whole) = list(args, request)?;
    if args.json {
        return Ok(format!("{:#}\n", Value::Array(items)));
    }
    let columns = args.action.columns().unwrap_or_default();
    Ok(table(columns, &items) + &measured(&whole))
}
