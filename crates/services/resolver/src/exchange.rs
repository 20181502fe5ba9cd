//! One question put to the servers until there is an answer or nothing is left to try. Pure: says what to send next, and
//! hears what came of it; `driver` does the sending.
//!
//! ```text
//!  UDP, each server ─► TCP, each server ─► UDP again, twice as long ─► … ─► the most telling failure
//!    │ truncated, or a flood of forged datagrams ─► TCP, same server
//!    │ does not know EDNS ─► again without, same server
//!    └ SERVFAIL and its kin, malformed ─► that server is asked no more
//! ```
//!
//! TCP comes second because one lost datagram costs a connection then, but a network that drops UDP costs no more than one
//! time-out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::answer::{Failure, Outcome};
use crate::question::EdnsUse;
use crate::stats::Tally;
use crate::upstream::{Transport, Upstreams};
use crate::{Refusal, ResolverOptions, Response};

/// The pause between two rounds in which no server could be reached; doubled each round.
const PAUSE: Duration = Duration::from_millis(200);

/// What to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Send the query and tell [`Exchange::handle_reception`] what came.
    Send(Attempt),
    /// Wait.
    Pause(Duration),
    /// Over.
    Done(Outcome),
}

/// One query to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) server: usize,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) edns: EdnsUse,
    pub(crate) timeout: Duration,
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Reception {
    /// A response to the query, so long after it.
    Response { response: Response, after: Duration },
    /// A packet with the right id and question that cannot be read.
    Unreadable,
    /// Nothing until the time-out.
    Silence,
    /// Too many datagrams that were no response.
    Flooded,
    /// Refused, unreachable, or no socket to be had.
    Unreachable,
}

#[derive(Clone, Copy)]
enum Planned {
    Try { server: usize, transport: Transport, edns: EdnsUse, timeout: Duration },
    EndOfRound(Duration),
}

/// The state of one question.
pub(crate) struct Exchange {
    planned: VecDeque<Planned>,
    /// Servers that gave their last word.
    excluded: Vec<usize>,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    /// Whether somebody was waited for in this round, so that no pause is needed.
    has_waited: bool,
    deadline: Instant,
}

impl Exchange {
    /// A question to be answered by `deadline`. Empty servers mean that none can be reached.
    pub(crate) fn new(now: Instant, deadline: Instant, servers: &mut Upstreams, options: &ResolverOptions) -> Self {
        let order = servers.poll_order(now);
        let mut planned = VecDeque::new();
        let mut round = |first: Option<Transport>, number: u32| {
            let timeout = options.timeout.saturating_mul(1 << number);
            for &server in &order {
                let usual = servers.first_transport(now, server);
                let transport = match first {
                    None => usual,
                    // The second round tries what the first did not.
                    Some(Transport::Tcp) if usual == Transport::Tcp => Transport::Udp,
                    Some(transport) => transport,
                };
                planned.push_back(Planned::Try { server, transport, edns: EdnsUse::Offered, timeout });
            }
            planned.push_back(Planned::EndOfRound(PAUSE.saturating_mul(1 << number)));
        };
        round(None, 0);
        round(Some(Transport::Tcp), 0);
        for number in 1..options.attempts {
            round(Some(Transport::Udp), number);
        }
        planned.pop_back();
        Self { planned, excluded: Vec::new(), outcome: None, failure: None, has_waited: false, deadline }
    }

    /// What to do at `now`.
    pub(crate) fn poll_step(&mut self, now: Instant, servers: &Upstreams) -> Step {
        if let Some(outcome) = self.outcome.take() {
            return Step::Done(outcome);
        }
        let left = self.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Step::Done(Err(self.failure.unwrap_or(Failure::Timeout)));
        }
        while let Some(planned) = self.planned.pop_front() {
            match planned {
                Planned::Try { server, .. } if self.excluded.contains(&server) => {}
                Planned::Try { server, transport, edns, timeout } => {
                    let address = servers.address(server);
                    return Step::Send(Attempt { server, address, transport, edns, timeout: timeout.min(left) });
                }
                Planned::EndOfRound(_) if self.has_waited || !self.has_more() => self.has_waited = false,
                Planned::EndOfRound(pause) => return Step::Pause(pause.min(left)),
            }
        }
        Step::Done(Err(self.failure.unwrap_or(Failure::Unreachable)))
    }

    /// Hears what came of `attempt`, and lets the servers' record and the counters know.
    pub(crate) fn handle_reception(
        &mut self,
        now: Instant,
        attempt: Attempt,
        reception: Reception,
        servers: &mut Upstreams,
        tally: &mut Tally,
    ) {
        match reception {
            Reception::Response { response, after } => {
                servers.handle_response(now, attempt.server, attempt.transport);
                tally.handle_response(after);
                self.has_waited = true;
                self.handle_response(attempt, response, tally);
            }
            Reception::Unreadable => {
                servers.handle_response(now, attempt.server, attempt.transport);
                tally.bad_answers += 1;
                self.exclude(attempt.server, Failure::BadAnswer);
            }
            Reception::Silence => {
                servers.handle_failure(now, attempt.server, attempt.transport);
                tally.attempts_timed_out += 1;
                self.has_waited = true;
                self.note(Failure::Timeout);
            }
            Reception::Flooded => {
                self.note(Failure::BadAnswer);
                self.again(attempt, Transport::Tcp, attempt.edns);
            }
            Reception::Unreachable => {
                servers.handle_failure(now, attempt.server, attempt.transport);
                self.note(Failure::Unreachable);
            }
        }
    }

    fn handle_response(&mut self, attempt: Attempt, response: Response, tally: &mut Tally) {
        match response {
            Response::Answer(answer) => self.outcome = Some(Ok(answer)),
            Response::Truncated if attempt.transport == Transport::Udp => {
                tally.truncated += 1;
                self.again(attempt, Transport::Tcp, attempt.edns);
            }
            Response::Truncated => {
                tally.bad_answers += 1;
                self.exclude(attempt.server, Failure::BadAnswer);
            }
            Response::Refused(Refusal::Format) if attempt.edns == EdnsUse::Offered => {
                self.again(attempt, attempt.transport, EdnsUse::Without);
            }
            Response::Refused(_) => {
                tally.server_failures += 1;
                self.exclude(attempt.server, Failure::ServerFailure);
            }
        }
    }

    /// The same server next, another way.
    fn again(&mut self, attempt: Attempt, transport: Transport, edns: EdnsUse) {
        let Attempt { server, timeout, .. } = attempt;
        self.planned.push_front(Planned::Try { server, transport, edns, timeout });
    }

    fn exclude(&mut self, server: usize, failure: Failure) {
        self.excluded.push(server);
        self.note(failure);
    }

    fn note(&mut self, failure: Failure) {
        self.failure = self.failure.max(Some(failure));
    }

    fn has_more(&self) -> bool {
        self.planned.iter().any(|planned| match planned {
            Planned::Try { server, .. } => !self.excluded.contains(server),
            Planned::EndOfRound(_) => false,
        })
    }
}

#[cfg(test)]
mod tests;
