//! What each reply means at each step, and what becomes of the work when the connection ends.

use super::transaction::{Answered, ContentState, Mail, Next, Open, SeatState};
use super::{
    Capabilities, Client, ClientEvent, Dialect, Ending, Framing, Garble, PeerState, Phase, Step, decide, decide_all,
};
use crate::reply::ReplyText;
use message::{Enhanced, Reply, Stage, Verdict};
use std::time::Instant;

impl Client {
    pub(super) fn handle_reply(&mut self, now: Instant, reply: &ReplyText<'_>) {
        let stage = self.stage();
        let Some(&step) = self.expected.front() else {
            let ending = match reply.code {
                421 => Ending::Rebuffed { reply: reply.to_reply(), stage },
                code => Ending::Garbled { stage, garble: Garble::Unasked(code) },
            };
            return self.end(ending);
        };
        // A 421 may come at any time and means that the peer closes (RFC 5321 §3.8).
        if reply.code == 421 && !matches!(step, Step::Greeting | Step::Ehlo | Step::Helo | Step::Quit) {
            return self.end(Ending::Rebuffed { reply: reply.to_reply(), stage });
        }
        self.expected.pop_front();
        match step {
            Step::Greeting | Step::Ehlo | Step::Helo => self.on_hello(step, reply, stage),
            Step::Quit => self.end(Ending::Quit),
            Step::Reset if !reply.is_positive() => self.end(Ending::Rebuffed { reply: reply.to_reply(), stage }),
            Step::Reset
            | Step::Mail
            | Step::Rcpt(_)
            | Step::Data
            | Step::Confirmation(_)
            | Step::SeatConfirmation(_) => {
                self.on_transaction(step, reply, stage);
            }
        }
        if self.phase != Phase::Closed {
            self.retire();
            self.rearm(now);
        }
    }

    fn on_hello(&mut self, step: Step, reply: &ReplyText<'_>, stage: Stage) {
        match step {
            Step::Greeting if reply.is_positive() => self.phase = Phase::EhloDue,
            Step::Ehlo | Step::Helo if reply.is_positive() => {
                if step == Step::Ehlo {
                    self.peer = Capabilities::read(reply.lines());
                }
                self.phase = Phase::Ready;
                self.events.push_back(ClientEvent::Ready);
            }
            // RFC 5321 §3.2; LMTP has nothing to fall back to.
            Step::Ehlo if reply.is_permanent() && self.settings.dialect == Dialect::Smtp => {
                self.phase = Phase::HeloDue;
            }
            _ => self.end(Ending::Refused { reply: reply.to_reply(), stage }),
        }
    }

    /// A reply to a command of the oldest transaction.
    fn on_transaction(&mut self, step: Step, reply: &ReplyText<'_>, stage: Stage) {
        let Some(front) = self.open.front_mut() else { return };
        front.owed -= 1;
        let garbled = match step {
            Step::Reset => {
                self.peer_state = PeerState::Clean;
                Ok(())
            }
            Step::Mail => self.on_mail(reply, stage),
            Step::Rcpt(seat) => self.on_rcpt(seat, reply, stage),
            Step::Data => self.on_data(reply, stage),
            _ => self.on_confirmation(step, reply, stage),
        };
        if let Err(garble) = garbled {
            self.end(Ending::Garbled { stage, garble });
        } else if step != Step::Reset
            && let Some(front) = self.open.front_mut()
        {
            front.answered = Answered::Yes;
        }
    }

    fn on_mail(&mut self, reply: &ReplyText<'_>, stage: Stage) -> Result<(), Garble> {
        let Some(front) = self.open.front_mut() else { return Ok(()) };
        if reply.is_positive() {
            front.mail = Mail::Accepted;
            self.peer_state = PeerState::Mailing;
            return Ok(());
        }
        let verdict = refusal(reply)?;
        front.mail = Mail::Refused;
        decide_all(&mut self.events, front, verdict, stage, &reply.to_reply());
        if front.next != Next::Reply {
            front.next = Next::End;
        }
        Ok(())
    }

    fn on_rcpt(&mut self, number: u16, reply: &ReplyText<'_>, stage: Stage) -> Result<(), Garble> {
        let Some(front) = self.open.front_mut() else { return Ok(()) };
        let (id, accepted) = (front.id, front.accepted);
        let seat = &mut front.seats[usize::from(number)];
        if front.mail == Mail::Refused || front.mail == Mail::RefusedInVain {
            // Decided already. What the peer says to this matters only if it contradicts itself.
            if reply.is_positive() {
                front.mail = Mail::RefusedInVain;
            }
        } else if reply.is_positive() {
            seat.state = SeatState::Accepted;
            front.accepted += 1;
        } else {
            let mut verdict = refusal(reply)?;
            let reply = reply.to_reply();
            if accepted > 0 && means_too_many(&reply) {
                verdict = Verdict::Untried;
            }
            decide(&mut self.events, id, seat, verdict, stage, reply);
        }
        let unsent = matches!(front.next, Next::Data | Next::Chunk);
        if unsent && front.owed == 0 && front.accepted == 0 {
            front.next = Next::End;
        }
        Ok(())
    }

    fn on_data(&mut self, reply: &ReplyText<'_>, stage: Stage) -> Result<(), Garble> {
        let lmtp = self.settings.dialect == Dialect::Lmtp;
        let Some(front) = self.open.front_mut() else { return Ok(()) };
        if reply.is_intermediate() {
            // A lone dot would send an empty message to a recipient that the peer accepted against its own refusal of
            // MAIL; and nobody knows how many replies LMTP would give.
            if front.mail == Mail::RefusedInVain || lmtp && front.accepted == 0 {
                return Err(Garble::WrongCode(reply.code));
            }
            front.next = Next::Content(if front.accepted > 0 { Framing::Dots } else { Framing::LoneDot });
            return Ok(());
        }
        let verdict = refusal(reply)?;
        if front.accepted > 0 {
            decide_all(&mut self.events, front, verdict, stage, &reply.to_reply());
        }
        front.next = Next::End;
        Ok(())
    }

    fn on_confirmation(&mut self, step: Step, reply: &ReplyText<'_>, stage: Stage) -> Result<(), Garble> {
        let Some(front) = self.open.front_mut() else { return Ok(()) };
        let verdict = if reply.is_positive() { Verdict::Delivered } else { refusal(reply)? };
        let early = front.content == ContentState::Leaving;
        if early && verdict == Verdict::Delivered {
            return Err(Garble::Early(reply.code));
        }
        match step {
            Step::SeatConfirmation(number) => {
                let seat = &mut front.seats[usize::from(number)];
                decide(&mut self.events, front.id, seat, verdict, stage, reply.to_reply());
                front.accepted -= 1;
            }
            _ if front.accepted > 0 => decide_all(&mut self.events, front, verdict, stage, &reply.to_reply()),
            _ => {}
        }
        front.next = Next::End;
        // The final dot ends the peer's transaction whatever it says; a refused chunk may not.
        let chunk = self.peer.has(super::Extension::Chunking);
        if !chunk || reply.is_positive() {
            self.peer_state = PeerState::Clean;
        }
        if early {
            // The rest of the content would be read as commands: the verdict stands, the connection cannot.
            self.end(Ending::Rebuffed { reply: reply.to_reply(), stage });
        }
        Ok(())
    }

    /// Lets go of what is finished.
    fn retire(&mut self) {
        while let Some(front) = self.open.front()
            && front.next == Next::End
            && front.owed == 0
        {
            self.events.push_back(ClientEvent::TransactionDone(front.id));
            self.open.pop_front();
            self.completed = self.completed.saturating_add(1);
        }
    }

    /// The connection is over: every recipient that has no verdict gets one.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.deadline = None;
        self.expected.clear();
        let (reply, stage) = (ending.reply(), ending.stage());
        for (index, mut open) in std::mem::take(&mut self.open).into_iter().enumerate() {
            let verdict =
                if index == 0 && self.is_struck(&open, &ending) { Verdict::Transient } else { Verdict::Untried };
            decide_all(&mut self.events, &mut open, verdict, stage, &reply);
            self.events.push_back(ClientEvent::TransactionDone(open.id));
        }
        self.events.push_back(ClientEvent::Closed(ending));
    }

    /// Whether the end of the connection counts as an attempt for the oldest transaction. It does not if nothing of it
    /// was written, or if the peer ended a connection on which it had answered others before it said a word to this
    /// one: peers close idle connections and limit the messages of one. Work that comes back untried cannot go round
    /// for ever, because each connection that returns some has decided another.
    fn is_struck(&self, open: &Open, ending: &Ending) -> bool {
        let unwritten = matches!(open.next, Next::Reset | Next::Mail) && open.owed == 0;
        let closing = matches!(ending, Ending::Lost { .. } | Ending::Rebuffed { .. });
        let unheard = open.answered == Answered::No && self.completed > 0;
        !(unwritten || closing && unheard)
    }
}

/// The verdict of a reply that is not what was hoped for.
fn refusal(reply: &ReplyText<'_>) -> Result<Verdict, Garble> {
    match reply.code / 100 {
        4 => Ok(Verdict::Transient),
        5 => Ok(Verdict::Permanent),
        _ => Err(Garble::WrongCode(reply.code)),
    }
}

/// Whether a reply to RCPT says that this transaction has enough recipients, so that the rest goes into the next: 452,
/// or 552 from the time before (RFC 5321 §4.5.3.1.10), unless an enhanced code says something else.
fn means_too_many(reply: &Reply) -> bool {
    matches!(reply.code, 452 | 552)
        && reply.enhanced().is_none_or(|Enhanced(_, subject, detail)| (subject, detail) == (5, 3))
}
