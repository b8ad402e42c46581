//! Arguments that several actions of `broker ctl` share, and those with their own syntax.
//!
//! Invariants: none.

use std::path::PathBuf;

use serde_json::{Value, json};

/// Which clients are listed; as an argument or as an option.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SearchArgs {
    /// Text that is part of the client identifier
    #[arg(value_name = "TEXT", conflicts_with = "search")]
    pub(super) text: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "TEXT")]
    pub(super) search: Option<String>,
    #[command(flatten)]
    pub(super) most: LimitArgs,
}

/// How many entries are listed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct LimitArgs {
    /// Largest number of entries; all if it is not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
}

/// Which topics a list is about; as an argument or as an option.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Topic Filter: that of the subscriptions, or one that matches the topics of the messages
    #[arg(id = "only", value_name = "FILTER", conflicts_with = "filter")]
    pub(super) only: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "FILTER")]
    pub(super) filter: Option<String>,
    #[command(flatten)]
    pub(super) most: LimitArgs,
}

/// Whose packets are shown, and where they are written.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["client", "user", "address"]))]
pub(super) struct TraceArgs {
    /// Only those of this client identifier
    #[arg(long, value_name = "ID")]
    pub(super) client: Option<String>,
    /// Only those of this authenticated user
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Only those that connect from this address
    #[arg(long, value_name = "IP")]
    pub(super) address: Option<String>,
    /// Write them to this file instead of the log
    #[arg(long, value_name = "PATH")]
    pub(super) file: Option<PathBuf>,
}

/// Who is banned, or is not any more.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["client", "user", "address"]))]
pub(super) struct WhomArgs {
    /// The client of this identifier
    #[arg(long, value_name = "ID")]
    pub(super) client: Option<String>,
    /// Clients of this user
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Those that connect from this address
    #[arg(long, value_name = "IP")]
    pub(super) address: Option<String>,
}

impl WhomArgs {
    /// The name of the one that is given, for the broker, and its value.
    pub(super) fn named(&self) -> (&'static str, &str) {
        let all = [
            ("client_id", &self.client),
            ("user", &self.user),
            ("address", &self.address),
        ];
        let mut given = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given.next().unwrap_or_default()
    }
}

/// Who is banned, how long and why.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BanArgs {
    #[command(flatten)]
    whom: WhomArgs,
    /// How long, such as 90s, 10m, 12h or 7d; without it for good
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    duration: Option<u64>,
    /// A reason, for those who list the bans
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl BanArgs {
    /// What the broker is asked for.
    pub(super) fn body(&self) -> Value {
        let (name, value) = self.whom.named();
        let mut body = json!({ name: value });
        if let Some(body) = body.as_object_mut() {
            body.extend(
                self.duration
                    .map(|seconds| ("seconds".to_owned(), json!(seconds))),
            );
            body.extend(
                self.reason
                    .as_ref()
                    .map(|reason| ("reason".to_owned(), json!(reason))),
            );
        }
        body
    }
}

/// A time in seconds, or with the letter of a unit behind it.
fn seconds(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    let number: u64 = number.parse().unwrap_or_default();
    let seconds = number.checked_mul(factor).filter(|&seconds| seconds > 0);
    seconds.ok_or("give a time, such as 90s, 10m, 12h or 7d")
}

impl SearchArgs {
    /// The text, however it was given.
    pub(super) fn given(&self) -> &Option<String> {
        either(&self.text, &self.search)
    }
}

impl FilterArgs {
    /// The text, however it was given.
    pub(super) fn given(&self) -> &Option<String> {
        either(&self.only, &self.filter)
    }
}

impl TraceArgs {
    /// The body of the request.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({});
        let file = self.file.as_ref().map(|path| {
            // The broker has another working directory.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.display().to_string()
        });
        let members = [
            ("client_id", &self.client),
            ("user", &self.user),
            ("address", &self.address),
            ("file", &file),
        ];
        for (name, value) in members {
            if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                body.insert(name.to_owned(), Value::from(value.as_str()));
            }
        }
        body
    }
}

/// What was given as an argument, or else as an option.
fn either<'a>(argument: &'a Option<String>, option: &'a Option<String>) -> &'a Option<String> {
    if argument.is_some() { argument } else { option }
}

/// A reason code, in decimal or as the specification writes it.
pub(super) fn reason_code(text: &str) -> Result<u8, &'static str> {
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let code = match hexadecimal {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    code.map_err(|_| "give the number of a reason code of DISCONNECT, such as 152 or 0x98")
}

pub(super) fn trace_number(text: &str) -> Result<u64, &'static str> {
    text.parse()
        .map_err(|_| "give the number of a trace, which `broker ctl traces` shows")
}
