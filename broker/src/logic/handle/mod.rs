//! One handler for each packet that a client sends.

mod ack;
mod alias;
mod connect;
mod disconnect;
mod ping;
mod publish;
mod subscribe;
mod unsubscribe;
