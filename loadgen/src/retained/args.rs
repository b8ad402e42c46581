//! The command line of `loadgen retained`.
//!
//! Invariants: none.

use super::Retained;
use crate::options::broker::BrokerArguments;
use crate::options::measurement::{MeasurementOutput, MeasurementRequest, ScenarioArgument};
use crate::options::{HELP_COLUMNS, Options, half_the_cores};
use crate::scenario::Origin;
use crate::target::request::TargetRequest;

/// Publishes retained messages, then subscribes to all of them. Without -h it starts a broker itself, without TLS.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    after_help = "Without -h it starts a broker itself, without TLS unless --tls is given."
)]
pub struct RetainedArguments {
    #[command(flatten)]
    scenario: ScenarioArgument,
    /// Number of retained messages, each on a separate topic
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u32,
    /// Bytes of each payload
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Largest number of unacknowledged messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    inflight: u16,
    #[command(flatten)]
    broker: BrokerArguments,
    #[command(flatten)]
    output: MeasurementOutput,
}

impl Options for RetainedArguments {
    type Request = MeasurementRequest<Retained>;

    const WORD: &'static str = "retained";

    fn request(self, origin: Option<Origin>) -> Result<Self::Request, String> {
        let mut target = self.broker.target(half_the_cores())?;
        match &mut target {
            TargetRequest::Running { hosts, .. } if hosts.len() > 1 => {
                return Err("the retained messages must be those of one host".to_owned());
            }
            TargetRequest::OwnBroker(own) if own.users => {
                return Err("--users is an option of loadgen run only".to_owned());
            }
            // Storing costs the same with TLS, and the published figures of brokers that the generator started are
            // those without.
            TargetRequest::OwnBroker(own) => own.tls = self.broker.asks_for_tls(),
            TargetRequest::Running { .. } => {}
        }
        let retained = Retained {
            origin,
            messages: self.messages,
            payload_bytes: self.size,
            inflight: self.inflight,
            version: self.broker.protocol_version,
            credentials: self.broker.credentials()?,
        };
        retained.check()?;
        Ok(MeasurementRequest {
            measurement: retained,
            target,
            json: self.output.json,
        })
    }

    fn password(&self) -> Option<&str> {
        self.broker.password()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_as;
    use std::ffi::OsString;

    #[test]
    fn names_and_refusals() {
        let request = |line: &str| {
            parse_as::<RetainedArguments>(format!("retained {line}").split_whitespace().map(OsString::from))
        };
        assert_eq!(
            request("--scenario retained-1M").unwrap().measurement.messages,
            1_000_000
        );
        for (line, tls, web_socket) in [
            ("", false, false),
            ("--tls", true, false),
            ("--ws", false, true),
            ("--tls --ws -u a -P b -V 5", true, true),
        ] {
            let target = request(line).unwrap().target;
            assert!(
                matches!(&target, TargetRequest::OwnBroker(own)
                    if own.tls == tls && own.web_socket.is_some() == web_socket),
                "{line}: {target:?}"
            );
        }
        for (line, part) in [
            ("--messages 0", "--messages"),
            ("--size 0", "--size"),
            ("--inflight 0", "--inflight"),
            ("-h a,b", "one host"),
        ] {
            assert!(request(line).unwrap_err().to_string().contains(part), "{line}");
        }
    }
}
