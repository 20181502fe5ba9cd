//! What sessions ask, answered from the configuration and the state of the machine.

use crate::relay::{Client, Relay, Returns};
use engine::Pressure;
use message::Address;
use smtp::server::{Decision, Question, Refusal};

/// Says neither why nor since when: the client may be anybody.
const SUPPRESSED: Refusal = Refusal::new(550, "5.1.0 recipient address is suppressed");
const RETURNS_HELD: Refusal = Refusal::new(451, "4.3.1 too many reports are waiting, try again later");
const NO_MEMORY: Refusal = Refusal::new(451, "4.3.1 memory is short, try again later");

/// The answer to a session's question. `is_suppressed` is asked last, so that whoever may not send to an address learns
/// nothing of it.
pub(crate) fn answer(
    question: &Question<'_>,
    relay: &Relay,
    client: Client,
    pressure: Pressure,
    returns: Returns,
    is_suppressed: impl FnOnce(&Address) -> bool,
) -> Decision {
    match question {
        Question::Recipient(_, recipient) => match relay.decide(client, &recipient.address) {
            Decision::Accept if returns == Returns::Held && relay.return_kind(&recipient.address).is_some() => {
                Decision::Refuse(RETURNS_HELD)
            }
            Decision::Accept if is_suppressed(&recipient.address) => Decision::Refuse(SUPPRESSED),
            decision => decision,
        },
        Question::Sender(_) | Question::Content(_) if pressure == Pressure::AboveHighWater => {
            Decision::Refuse(NO_MEMORY)
        }
        Question::Connect | Question::Greeting(..) | Question::Sender(_) | Question::Content(_) => Decision::Accept,
    }
}
