//! `-D` and the subscription options of MQTT 5.0.
//!
//! Invariant: any of these without `-V 5` is refused, because the broker would not receive it.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use mqtt::packet::RetainHandling;
use mqtt::version::ProtocolVersion;

use crate::scenario::properties::{Carrier, GivenProperties};
use crate::scenario::subscription::{SubscriptionChoices, retain_handling};

/// `-D PACKET NAME VALUE [VALUE]`, repeated; the packets are those that the command sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct PropertyArguments(Vec<Vec<String>>);

impl PropertyArguments {
    /// The properties that the options give.
    pub(crate) fn given(
        &self,
        carriers: &[Carrier],
        version: ProtocolVersion,
    ) -> Result<GivenProperties, String> {
        let mut given = GivenProperties::default();
        for words in &self.0 {
            given.add(words, carriers)?;
        }
        match self.0.first() {
            Some(words) if version != ProtocolVersion::V5 => Err(format!(
                "-D {}: properties need MQTT 5.0: add -V 5",
                words.join(" ")
            )),
            _ => Ok(given),
        }
    }
}

impl FromArgMatches for PropertyArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<PropertyArguments, clap::Error> {
        let occurrences = matches.get_occurrences::<String>(PROPERTY).into_iter().flatten();
        Ok(PropertyArguments(
            occurrences.map(|words| words.cloned().collect()).collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = PropertyArguments::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for PropertyArguments {
    fn augment_args(command: Command) -> Command {
        let property = Arg::new(PROPERTY)
            .short('D')
            .long(PROPERTY)
            .value_names(["PACKET", "NAME", "VALUE"])
            .num_args(3..=4)
            .action(ArgAction::Append)
            .help_heading(HEADING)
            .help(
                "A property as in mosquitto_pub, for example `-D publish content-type text` or \
                 `-D connect user-property NAME VALUE`",
            );
        command.arg(property)
    }

    fn augment_args_for_update(command: Command) -> Command {
        PropertyArguments::augment_args(command)
    }
}

/// The subscription options of MQTT 5.0.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct SubscriptionArguments {
    /// Subscribe with No Local
    #[arg(long, help_heading = HEADING)]
    no_local: bool,
    /// Subscribe with Retain As Published
    #[arg(long, help_heading = HEADING)]
    retain_as_published: bool,
    /// Retain Handling of the subscriptions
    #[arg(long, value_name = "always|new|never", value_parser = retain_handling, help_heading = HEADING)]
    retain_handling: Option<RetainHandling>,
}

impl SubscriptionArguments {
    /// The given subscription options.
    pub(crate) fn choices(self, version: ProtocolVersion) -> Result<SubscriptionChoices, String> {
        let SubscriptionArguments {
            no_local,
            retain_as_published,
            retain_handling,
        } = self;
        let options = [
            ("--no-local", no_local),
            ("--retain-as-published", retain_as_published),
            ("--retain-handling", retain_handling.is_some()),
        ];
        match options.into_iter().find(|(_, is_there)| *is_there) {
            Some((option, _)) if version != ProtocolVersion::V5 => {
                Err(format!("{option} needs MQTT 5.0: add -V 5"))
            }
            _ => Ok(SubscriptionChoices {
                no_local,
                retain_as_published,
                retain_handling,
            }),
        }
    }
}

const HEADING: &str = "MQTT 5.0";
const PROPERTY: &str = "property";
