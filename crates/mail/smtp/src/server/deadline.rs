//! How long a session may take: until when, and what is said when it took longer.

use super::{EarlyTalker, Event, Phase, Refusal, Session};
use std::time::{Duration, Instant};

impl Session {
    /// When to call [`Session::handle_timeout`]; `None` while an answer is owed to the session.
    pub fn poll_deadline(&self) -> Option<Instant> {
        let rules = self.rules();
        let session_end = self.started + rules.session_timeout;
        let command = match self.line.since() {
            Some(since) => since + rules.command_timeout,
            None => self.active + rules.idle_timeout,
        };
        match &self.phase {
            Phase::Waiting { greet_at } => Some(*greet_at),
            Phase::Ready => Some(command.min(session_end)),
            // The time of the session ends between transactions; one that has begun gets a little longer.
            Phase::Mailing(_) => Some(command.min(session_end + rules.data_timeout)),
            Phase::Chunking(_) => Some(command.min(self.rate_deadline())),
            Phase::Data(_) | Phase::Chunk(..) | Phase::Discarding(_) => {
                Some((self.active + rules.data_timeout).min(self.rate_deadline()))
            }
            _ => None,
        }
    }

    /// By when more content must have come at the lowest rate allowed.
    fn rate_deadline(&self) -> Instant {
        let rules = self.rules();
        let grace = self.pace.since + rules.data_timeout;
        match self.pace.octets.checked_div(rules.data_rate_min) {
            Some(seconds) => grace + Duration::from_secs(seconds),
            // No rate is asked for. A day is the longest that any content takes.
            None => self.pace.since + Duration::from_secs(86_400),
        }
    }

    /// The deadline has come; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let (refusal, phase) = match self.phase {
            Phase::Waiting { .. } => return self.greet(now),
            Phase::Ready | Phase::Mailing(_) | Phase::Chunking(_) => {
                (Refusal::new(421, "4.4.2 timeout, closing connection"), "command")
            }
            _ => (Refusal::new(421, "4.4.2 message data came too slowly, closing connection"), "DATA"),
        };
        self.close(refusal, phase);
    }

    /// The client may talk to us.
    pub(super) fn on_connect(&mut self, now: Instant) {
        match self.rules().greeting_delay {
            Duration::ZERO => self.greet(now),
            delay => self.phase = Phase::Waiting { greet_at: now + delay },
        }
    }

    fn greet(&mut self, now: Instant) {
        self.active = now;
        self.out.extend_from_slice(self.profile.greeting.as_bytes());
        self.phase = Phase::Ready;
    }

    /// Input before the greeting (RFC 5321 §3.1: the client waits).
    pub(super) fn on_early_input(&mut self, now: Instant, greet_at: Instant, input: &[u8]) -> (usize, Option<Event>) {
        match self.rules().early_talker {
            _ if now >= greet_at => self.greet(now),
            _ if input.is_empty() => {
                self.phase = Phase::Waiting { greet_at };
                return (0, Some(Event::NeedInput));
            }
            EarlyTalker::Allow => self.greet(now),
            EarlyTalker::Reject => {
                self.close(Refusal::new(554, "5.5.1 you talked before the greeting, closing connection"), "connect");
                return (input.len(), None);
            }
        }
        (0, None)
    }
}
