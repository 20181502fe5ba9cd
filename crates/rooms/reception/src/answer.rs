//! What sessions ask, answered from the configuration and the state of the machine.

use crate::relay::{Client, Relay};
use engine::Pressure;
use smtp::server::{Decision, Question, Refusal};

const NO_MEMORY: Refusal = Refusal::new(451, "4.3.1 memory is short, try again later");

/// The answer to a session's question.
pub(crate) fn answer(question: &Question<'_>, relay: &Relay, client: Client, pressure: Pressure) -> Decision {
    match question {
        Question::Recipient(_, recipient) => relay.decide(client, &recipient.address),
        Question::Sender(_) | Question::Content(_) if pressure == Pressure::AboveHighWater => {
            Decision::Refuse(NO_MEMORY)
        }
        Question::Connect | Question::Greeting(..) | Question::Sender(_) | Question::Content(_) => Decision::Accept,
    }
}
