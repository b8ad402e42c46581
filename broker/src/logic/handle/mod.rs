//! One handler for each packet that a client sends.

mod ack;
mod admit;
mod alias;
pub(in crate::logic) mod auth;
mod connack;
mod connect;
mod disconnect;
mod ping;
pub(in crate::logic) mod publish;
mod subscribe;
mod unsubscribe;
