//! The packets that a client sends before it is ready: CONNECT and SUBSCRIBE.
//!
//! Invariant: a client is ready only when the broker has accepted it and granted every subscription, so that a message
//! that it does not receive afterwards is lost.

use std::num::NonZeroU16;

use mqtt::encode;
use mqtt::error::EncodeError;
use mqtt::packet::{RetainHandling, Will};

use super::identity::Who;
use super::state::Run;
use crate::connection::Broken;
use crate::connection::login::Login;
use crate::scenario::Scenario;
use crate::scenario::properties::Carrier;
use crate::scenario::topics::numbered;

/// Appends the CONNECT of a client.
///
/// # Errors
/// A user name or password that is too long, or a password without a user name.
pub fn connect(run: &Run, who: Who, out: &mut Vec<u8>) -> Result<(), Broken> {
    let scenario = &run.scenario;
    let client_identifier = who.client_identifier(scenario, run.number);
    let will_topic = scenario
        .will
        .as_ref()
        .map(|will| numbered(&will.topic, who.number()));
    let will = scenario.will.as_ref().zip(will_topic.as_ref());
    let number = Some(who.number());
    let properties = scenario.properties.of(Carrier::Connect, number)?;
    let will_properties = scenario.properties.of(Carrier::Will, number)?;
    let login = Login {
        version: scenario.version,
        clean_start: true,
        keep_alive_s: scenario.keep_alive_s,
        client_identifier: &client_identifier,
        credentials: &scenario.credentials,
        number,
        properties: properties.as_properties(),
        will: will.map(|(will, topic)| Will {
            topic,
            payload: will.payload.as_bytes(),
            qos: will.qos,
            retain: will.retain,
            properties: will_properties.as_properties(),
        }),
    };
    login.encode(out)
}

/// Appends a subscriber's SUBSCRIBEs; returns their number.
///
/// # Errors
/// A topic filter that is too long.
pub fn subscribe(run: &Run, subscriber: u32, out: &mut Vec<u8>) -> Result<u32, EncodeError> {
    let filters = run.plan.filters(subscriber);
    let Scenario {
        subscription, qos, ..
    } = &run.scenario;
    let options = subscription.options(*qos, RetainHandling::DoNotSend);
    let properties = run.scenario.properties.of(Carrier::Subscribe, Some(subscriber))?;
    let mut packets = 0;
    for chunk in filters.chunks(FILTERS_A_PACKET) {
        packets += 1;
        let identifier = NonZeroU16::new(packets as u16).unwrap_or(NonZeroU16::MAX);
        let filters: Vec<_> = chunk.iter().map(|filter| (filter.as_str(), options)).collect();
        let properties = properties.as_properties();
        encode::subscribe(identifier, properties, &filters, run.scenario.version, out)?;
    }
    Ok(packets)
}

/// Topic filters per SUBSCRIBE: keeps the packet below the default limits of brokers.
const FILTERS_A_PACKET: usize = 500;
