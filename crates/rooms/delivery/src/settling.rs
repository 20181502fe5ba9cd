//! A verdict becomes a fact: in the queue, in the spool, in the logs, and perhaps in a report.
//!
//! The order is what keeps bounces: a recipient that failed is logged and leaves the queue at once, but the spool hears
//! of it only when the report is stored, or none is wanted. A crash in between tries and reports once more.

use crate::Neighbours;
use crate::report::Due;
use crate::room::Room;
use config::DomainOptions;
use message::dsn::Action;
use message::{
    Attempt, Attempted, Container, Enhanced, Event, EventSink, Failing, LeasedRecipient, Message, MessageId, Outcome,
    Reply, Spool, Stage, StoreKey, Verdict, Work,
};
use std::net::IpAddr;
use std::sync::Arc;

/// Recipients of late messages whose senders were told, at most; beyond it nobody is told of a delay.
const TOLD_MAX: usize = 65_536;

/// Where and how an attempt went.
pub(crate) struct Trial<'a> {
    pub(crate) container: &'a Container,
    pub(crate) connection: MessageId,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) stage: Stage,
    /// Octets of the content that the peer took.
    pub(crate) sent: u64,
    pub(crate) reply: &'a Reply,
}

/// What is reported of a success to a sender that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Success {
    /// Nothing: the next hop does it.
    PassedOn,
    /// This.
    Told(Action),
}

impl Trial<'_> {
    /// `attempts` counts this one.
    fn attempt<'a>(
        &'a self,
        room: &Room<impl Neighbours>,
        message: &'a Message,
        leased: LeasedRecipient,
    ) -> Attempt<'a> {
        Attempt {
            at: room.unix(),
            message,
            recipient: leased.recipient,
            container: self.container,
            connection: self.connection,
            retries: leased.attempts.saturating_sub(1),
            stage: self.stage,
            sent: self.sent,
            peer: self.peer,
        }
    }
}

impl<N: Neighbours> Room<N> {
    /// Gives one recipient back with its verdict; gives what is to be reported of it, when the transaction is over.
    #[expect(clippy::too_many_arguments, reason = "what is settled, how it went, and what the sender may want")]
    pub(crate) fn settle(
        &self,
        key: StoreKey,
        message: &Arc<Message>,
        leased: LeasedRecipient,
        verdict: Verdict,
        trial: &Trial<'_>,
        success: Success,
        options: &DomainOptions,
    ) -> Option<Due> {
        let verdict = self.judged(message, leased, verdict, trial);
        match verdict {
            Verdict::Untried => {
                self.give_back(key, leased, verdict);
                None
            }
            Verdict::Delivered => {
                self.give_back(key, leased, verdict);
                self.counters.delivered.add(1);
                self.forget_told(message.id, leased.recipient);
                let attempt = trial.attempt(self, message, leased);
                self.events.event(&Event::Delivered { attempt, reply: trial.reply });
                match success {
                    Success::Told(action) if wants_success(message, leased.recipient) => {
                        Some(self.due(leased.recipient, action, Enhanced(2, 0, 0), trial))
                    }
                    _ => None,
                }
            }
            Verdict::Transient => self.settle_transient(key, message, leased, trial, options),
            Verdict::Permanent => {
                // The outcome is noted when the report is stored.
                self.work.borrow_mut().attempted(leased.entry, verdict, self.unix());
                self.tell_permanent(message, leased.recipient, leased.attempts.saturating_sub(1), trial);
                let status = trial.reply.enhanced().filter(|status| status.0 == 5).unwrap_or(Enhanced(5, 0, 0));
                Some(self.due(leased.recipient, Action::Failed, status, trial))
            }
        }
    }

    /// The verdict, as others see it who look at failures.
    fn judged(&self, message: &Message, leased: LeasedRecipient, verdict: Verdict, trial: &Trial<'_>) -> Verdict {
        if !matches!(verdict, Verdict::Transient | Verdict::Permanent) {
            return verdict;
        }
        let attempt = trial.attempt(self, message, leased);
        let site = self.sites.borrow().name(trial.container);
        self.events.verdict(&Failing { attempt, reply: trial.reply, verdict, site: site.as_deref() })
    }

    fn settle_transient(
        &self,
        key: StoreKey,
        message: &Arc<Message>,
        leased: LeasedRecipient,
        trial: &Trial<'_>,
        options: &DomainOptions,
    ) -> Option<Due> {
        match self.work.borrow_mut().attempted(leased.entry, Verdict::Transient, self.unix()) {
            Attempted::Settled(outcome) => {
                self.spool.outcome(key, leased.recipient, outcome);
                self.counters.transient.add(1);
                let attempt = trial.attempt(self, message, leased);
                self.events.event(&Event::Transient { attempt, reply: trial.reply });
                self.due_if_late(message, leased.recipient, trial, options)
            }
            Attempted::Expired => {
                let reply = expired();
                let told = Trial { reply: &reply, ..*trial };
                self.tell_permanent(message, leased.recipient, leased.attempts.saturating_sub(1), &told);
                // The sender is told what the last attempt heard, which says more.
                Some(self.due(leased.recipient, Action::Failed, Enhanced(5, 4, 7), trial))
            }
            Attempted::Returned => None,
        }
    }

    /// Logs and counts the end of a recipient.
    pub(crate) fn tell_permanent(&self, message: &Message, recipient: u16, retries: u16, trial: &Trial<'_>) {
        self.counters.permanent.add(1);
        self.forget_told(message.id, recipient);
        let leased = LeasedRecipient { entry: 0, recipient, attempts: retries.saturating_add(1) };
        let attempt = trial.attempt(self, message, leased);
        self.events.event(&Event::Permanent { attempt, reply: trial.reply });
    }

    fn due(&self, recipient: u16, action: Action, status: Enhanced, trial: &Trial<'_>) -> Due {
        Due {
            recipient,
            action,
            status,
            remote: trial.peer,
            reply: Some(trial.reply.clone()),
            tried: self.unix(),
            retried_until: None,
        }
    }

    /// The report of a delay, once for each recipient and start of the server.
    fn due_if_late(
        &self,
        message: &Message,
        recipient: u16,
        trial: &Trial<'_>,
        options: &DomainOptions,
    ) -> Option<Due> {
        let received = message.reception.at;
        let late = received.until(self.unix()) >= options.delay_dsn_interval;
        if !options.generate_delay_dsn || !late {
            return None;
        }
        let mut told = self.told.borrow_mut();
        if told.len() >= TOLD_MAX || !told.insert((message.id, recipient)) {
            return None;
        }
        let status = trial.reply.enhanced().filter(|status| status.0 == 4).unwrap_or(Enhanced(4, 0, 0));
        let retried_until = Some(received.after(options.message_expiration));
        Some(Due { retried_until, ..self.due(recipient, Action::Delayed, status, trial) })
    }

    fn forget_told(&self, id: MessageId, recipient: u16) {
        let mut told = self.told.borrow_mut();
        if !told.is_empty() {
            told.remove(&(id, recipient));
        }
    }

    /// Notes that a recipient has failed, when nothing more is to be done about it.
    pub(crate) fn note_failed(&self, key: StoreKey, recipient: u16) {
        self.spool.outcome(key, recipient, Outcome::Failed);
    }
}

/// What stands for the end of a recipient whose time is up.
pub(crate) fn expired() -> Reply {
    Reply::new(554, "5.4.7 [internal] exceeded max time without delivery")
}

fn wants_success(message: &Message, recipient: u16) -> bool {
    message.envelope.recipients.get(usize::from(recipient)).is_some_and(|recipient| recipient.notify.wants_success())
}
