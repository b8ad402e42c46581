//! The command line of `loadgen compare`.
//!
//! Invariants: a parsed comparison has at least two brokers.

use std::path::PathBuf;
use std::time::Duration;

use super::gate::Gate;
use super::peers::Peer;
use super::plan::{self, Broker, FULL, Row, RunSettings, SHORT};
use crate::options::help::HelpArgument;
use crate::options::words::seconds;
use crate::options::{HELP_COLUMNS, Options, command_line};
use crate::scenario::Origin;
use crate::summary::comparison::MIDGE;
use crate::system::cpus::Cpus;

/// The request on the command line.
#[derive(Clone, Debug)]
pub struct CompareRequest {
    /// The rows: the scenarios to measure, in this order.
    pub rows: Vec<Row>,
    /// The brokers that take part; the others are compared with the first.
    pub brokers: Vec<Broker>,
    /// Brokers that were requested but are not installed.
    pub missing: Vec<Peer>,
    /// Whether brokers are killed, instead of measuring the rows, to see what they have kept.
    pub kill: bool,
    /// The figures that may not be worse, and by how much.
    pub gates: Vec<Gate>,
    /// Number of rounds of each broker in each row.
    pub rounds: u32,
    /// CPUs of the broker under test; the generator has others.
    pub cores: Cpus,
    /// Length of the runs, and the CPUs of the generator.
    pub settings: RunSettings,
    /// The folder of the results; `None`: a new one under `results/`.
    pub out: Option<PathBuf>,
    /// The command line as given, for the folder.
    pub line: String,
}

impl CompareRequest {
    /// The broker with which the others are compared.
    pub fn first(&self) -> &str {
        self.brokers.first().map_or(MIDGE, |broker| &broker.label)
    }
}

/// Starts Midge and other brokers in turn, under the same load, and shows what each cost.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    after_help = "Starts Midge and other brokers in turn, under the same load, and shows what each cost."
)]
pub struct CompareArguments {
    /// The others: mosquitto, flashmq, nanomq, rumqttd, rmqtt, nats, emqx, vernemq, hivemq-ce, or a TOML file with the
    /// command, configuration and process of any broker
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        required_unless_present = "shards"
    )]
    with: Vec<String>,
    /// Leave Midge out: the others are compared with the first of --with
    #[arg(long, conflicts_with = "shards")]
    without_midge: bool,
    /// Exit 1 if the first broker is worse than another in this figure by more than this, for example `latency p99=10`
    /// (percent), or if that cannot be decided; may be repeated
    #[arg(long, value_name = "FIGURE=PERCENT")]
    gate: Vec<Gate>,
    /// Kill each broker with -9 under load at QoS 1 and 2, once per round, and count the messages that it had
    /// acknowledged and has not kept; with its best documented setting, instead of the scenarios
    #[arg(long, conflicts_with_all = ["scenario", "full", "gate"])]
    kill: bool,
    /// Shards of Midge, each on a CPU of --cores; with several numbers, the first is compared with the others
    /// [default: one for each CPU of --cores]
    #[arg(long, value_name = "N,N...", value_delimiter = ',')]
    shards: Vec<usize>,
    /// A scenario by its name or file; may be repeated [default: a short set]
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "full")]
    scenario: Vec<String>,
    /// All scenarios; with the rounds that their verdicts need this takes hours
    #[arg(long)]
    full: bool,
    /// Number of rounds; the brokers take turns, in reverse order in every second round. A verdict needs at least six,
    /// and a table of thirty verdicts eleven
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of each measured part [default: 5]
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
    /// Seconds of load before the measured part [default: 5]
    #[arg(long, value_name = "S", value_parser = seconds)]
    warmup: Option<Duration>,
    /// Factor for publishers, subscribers and rates of loads of messages
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// CPUs of the broker; the generator has the others [default: the first]
    #[arg(long, value_name = "LIST")]
    cores: Option<Cpus>,
    /// Folder of the results [default: results/DATE-HOST-NAMES]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    help: HelpArgument,
}

impl Options for CompareArguments {
    type Request = CompareRequest;

    const WORD: &'static str = "compare";

    fn request(self, _: Option<Origin>) -> Result<CompareRequest, String> {
        let allowed = Cpus::allowed();
        let cores = self.cores.unwrap_or_else(|| allowed.one(0));
        if let Some(cpu) = cores.first_forbidden() {
            return Err(format!("--cores: this process may not use CPU {cpu}"));
        }
        // If no core is left, the generator shares the brokers' cores: the verdicts report it.
        let cpus = allowed.except(&cores).unwrap_or_else(|| cores.clone());
        let settings = RunSettings {
            duration: self.duration.unwrap_or(PART),
            warmup: self.warmup.unwrap_or(PART),
            cpus,
            scale: self.scale,
        };
        let names: Vec<&str> = match (self.scenario.is_empty(), self.full) {
            (false, _) => self.scenario.iter().map(String::as_str).collect(),
            (true, true) => FULL.to_vec(),
            (true, false) => SHORT.to_vec(),
        };
        let rows: Result<Vec<Row>, String> = names.iter().map(|name| Row::of(name, &settings)).collect();
        let all_cores = [cores.count()];
        let shards = if self.without_midge {
            &[][..]
        } else if self.shards.is_empty() {
            &all_cores[..]
        } else {
            &self.shards[..]
        };
        let (brokers, missing) = plan::brokers(shards, &self.with, &cores)?;
        if brokers.iter().filter(|broker| broker.nodelay).count() < 2 {
            return Err(nothing_to_compare_with(&missing));
        }
        Ok(CompareRequest {
            rows: rows?,
            brokers,
            missing,
            gates: self.gate,
            kill: self.kill,
            rounds: self.rounds,
            cores,
            settings,
            out: self.out,
            line: command_line(),
        })
    }
}

/// Duration of the warm-up and of the measured part: shorter ones measure the start of caches, timers and the
/// allocator.
const PART: Duration = Duration::from_secs(5);

fn nothing_to_compare_with(missing: &[Peer]) -> String {
    let names: Vec<String> = missing
        .iter()
        .map(|peer| format!("{} ({})", peer.name, peer.from))
        .collect();
    if names.is_empty() {
        return "there is nothing to compare with: give other brokers with --with, or several numbers with --shards"
            .to_owned();
    }
    format!(
        "there is nothing to compare with: not installed: {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_as;
    use std::ffi::OsString;

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for (line, part) in [
            ("", "--with"),
            ("--with no-such", "no-such"),
            ("--with mosquitto --without-midge", "nothing to compare"),
            ("--with mosquitto --gate p99", "FIGURE=PERCENT"),
            ("--with mosquitto --gate nonsense=5", "latency p99"),
            ("--with mosquitto --rounds 0", "--rounds"),
            ("--with mosquitto --scenario nothing", "nothing"),
            ("--with mosquitto --duration 0", "--duration"),
            ("--with mosquitto --cores 1023", "CPU 1023"),
            ("--shards 1,2 --cores 0", "--shards 2"),
            ("--shards 1 --cores 0", "nothing to compare"),
            ("--with mosquitto --full --scenario pairs-q0", "--full"),
        ] {
            let words = format!("compare {line}");
            let error =
                parse_as::<CompareArguments>(words.split_whitespace().map(OsString::from)).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
