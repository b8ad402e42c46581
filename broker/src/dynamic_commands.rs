//! The thread that carries out commands of dynamic security, and publishes their answers.
//!
//! Invariants: a shard never waits for it: messages that find its queue full are dropped, and the log says so. What a
//! command changes is in effect on every shard in the turn after its answer at the latest; a client that the change
//! disconnects has the answer to its own command before.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mqtt::{QoS, ReasonCode};

use crate::auth::dynamic::RESPONSE_TOPIC;
use crate::auth::{Authentication, ControlMessage};
use crate::limits;
use crate::logic::operator::{Answer, Question};
use crate::logic::owner_shard;
use crate::questions::Questions;

/// Where shards hand in messages with commands.
#[derive(Clone, Debug)]
pub(crate) struct DynamicCommands(SyncSender<ControlMessage>);

/// What the thread works with.
pub(crate) struct CommandWorker {
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) questions: Arc<Questions>,
    /// Makes all shards turn.
    pub(crate) wake: Box<dyn Fn() + Send>,
}

impl DynamicCommands {
    /// Starts the thread, which ends when nobody can hand anything in.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub(crate) fn start(worker: CommandWorker) -> io::Result<DynamicCommands> {
        let (sender, messages) = sync_channel(limits::DYNAMIC_REQUESTS_MAX);
        std::thread::Builder::new()
            .name("commands".to_owned())
            .spawn(move || worker.run(&messages))?;
        Ok(DynamicCommands(sender))
    }

    /// Hands a message in.
    pub(crate) fn submit(&self, message: ControlMessage) {
        if let Err(refused) = self.0.try_send(message) {
            drop(refused);
            tracing::warn!("Commands of dynamic security are dropped: too many wait.");
        }
    }
}

impl CommandWorker {
    fn run(&self, messages: &Receiver<ControlMessage>) {
        while let Ok(message) = messages.recv() {
            self.execute(&message);
        }
    }

    fn execute(&self, message: &ControlMessage) {
        let Some(answer) = self.authentication.execute(message) else {
            // A reload has taken the listener's dynamic security away.
            return;
        };
        if answer.has_changed {
            (self.wake)();
        }
        let client = &message.client_identifier;
        let shard = owner_shard(client, self.questions.shards());
        let response = Question::Publish {
            topic: RESPONSE_TOPIC.into(),
            payload: answer.payload,
            qos: QoS::AtMostOnce,
            retain: false,
        };
        match self.questions.ask(shard, response) {
            Some(Answer::Published(Ok(()))) => {}
            Some(Answer::Published(Err(error))) => {
                tracing::warn!("An answer of dynamic security is not published: {error}.");
            }
            _ => tracing::warn!("An answer of dynamic security is not published: shard {shard} takes none."),
        }
        if answer.ends_its_client {
            let end = Question::Disconnect {
                client: client.clone(),
                reason: ReasonCode::NotAuthorized,
                operator: "a command of its own".into(),
            };
            let _gone_already = self.questions.ask(shard, end);
        }
    }
}
