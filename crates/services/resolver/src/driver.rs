//! The one task that asks servers. It owns the table of questions in flight, starts at most as many exchanges as there
//! are sockets for, puts answers into the cache and wakes those who wait. Composition runs it on one event loop; all else
//! of the crate reaches it through a lane.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use crate::answer::{Failure, Outcome};
use crate::cache::Found;
use crate::exchange::{Exchange, Step};
use crate::sequence::Sequence;
use crate::shards::Shards;
use crate::stats::{ResolverStats, Tally};
use crate::transport::{Received, ask};
use crate::upstream::{Transport, Upstreams};
use crate::{Question, ResolverOptions, SequenceKey};

/// What handles and driver share.
pub(crate) struct Shared {
    pub(crate) options: ResolverOptions,
    pub(crate) shards: Shards,
    board: Mutex<Board>,
    started: Instant,
}

/// The servers' state and the driver's counters. Locked for a few instructions, by the driver's loop and snapshots only.
struct Board {
    servers: Upstreams,
    tally: Tally,
}

impl Shared {
    pub(crate) fn new(options: ResolverOptions) -> Self {
        let board = Mutex::new(Board { servers: Upstreams::new(&options.servers), tally: Tally::default() });
        Self { shards: Shards::new(&options), options, board, started: Instant::now() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> ResolverStats {
        let now = Instant::now();
        let cache = self.shards.tally();
        let (tally, servers) = {
            let board = self.board();
            (board.tally.clone(), board.servers.stats(now.into_std()))
        };
        ResolverStats {
            running_for: now - self.started,
            response_peak: tally.response_peak(),
            response_average: tally.response_average(),
            by_kind: tally.by_kind,
            pending: tally.pending,
            udp_sent: tally.udp_sent,
            tcp_sent: tally.tcp_sent,
            truncated: tally.truncated,
            attempts_timed_out: tally.attempts_timed_out,
            foreign_packets: tally.foreign_packets,
            server_failures: tally.server_failures,
            bad_answers: tally.bad_answers,
            cache_hits: cache.hits,
            stale_hits: cache.stale_hits,
            cache_misses: cache.misses,
            coalesced: tally.coalesced,
            late_hits: tally.late_hits,
            refused_busy: tally.refused_busy,
            cache_entries: cache.entries,
            cache_bytes: cache.bytes,
            cache_evicted: cache.evicted,
            servers,
        }
    }
}

/// A question on its way to the driver.
pub(crate) struct Request {
    pub(crate) question: Question,
    pub(crate) asked: Instant,
    pub(crate) reply: Reply,
}

/// Where the answer goes; none means too many wait.
pub(crate) type Reply = oneshot::Sender<Option<Found>>;

struct Flight {
    deadline: Instant,
    askers: Vec<Reply>,
}

/// Asks servers for every [`crate::Resolver`] of a server. Ends when the last of those is gone; dropping it fails what is in
/// flight.
pub struct Driver {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    flights: HashMap<Arc<Question>, Flight>,
    /// Questions that have no socket yet, oldest first.
    waiting: VecDeque<Arc<Question>>,
    exchanges: JoinSet<Outcome>,
    asking: HashMap<Id, Arc<Question>>,
    ids: Sequence,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, requests: mpsc::Receiver<Request>, key: SequenceKey) -> Self {
        Self {
            shared,
            requests,
            flights: HashMap::new(),
            waiting: VecDeque::new(),
            exchanges: JoinSet::new(),
            asking: HashMap::new(),
            ids: Sequence::new(key),
        }
    }

    /// Runs until the last handle is gone. Needs a tokio runtime with I/O and time; may be spawned on any loop.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                Some(over) = self.exchanges.join_next_with_id(), if !self.exchanges.is_empty() => self.handle_over(over),
                request = self.requests.recv() => match request {
                    Some(request) => self.handle_request(request),
                    None => return,
                },
            }
            self.start_exchanges();
        }
    }

    fn handle_request(&mut self, request: Request) {
        let Request { question, asked, reply } = request;
        // The answer may have arrived between the asker's look into the cache and now.
        if let Some(found) = self.shared.shards.lookup_again(Instant::now().into_std(), &question) {
            self.shared.board().tally.late_hits += 1;
            // Fails only if the asker is gone, which is its right.
            let _ = reply.send(Some(found));
            return;
        }
        if let Some(flight) = self.flights.get_mut(&question) {
            flight.askers.push(reply);
            self.shared.board().tally.coalesced += 1;
            return;
        }
        if self.flights.len() >= self.shared.options.questions_max {
            self.shared.board().tally.refused_busy += 1;
            let _ = reply.send(None);
            return;
        }
        let question = Arc::new(question);
        let deadline = asked + self.shared.options.deadline;
        self.flights.insert(Arc::clone(&question), Flight { deadline, askers: vec![reply] });
        self.waiting.push_back(question);
        self.publish_pending();
    }

    fn start_exchanges(&mut self) {
        while self.exchanges.len() < self.shared.options.exchanges_max {
            let Some(question) = self.waiting.pop_front() else { return };
            let Some(flight) = self.flights.get(&question) else { continue };
            if flight.askers.iter().all(Reply::is_closed) {
                self.flights.remove(&question); // Nobody wants to know any more.
                self.publish_pending();
                continue;
            }
            self.shared.board().tally.by_kind[question.kind.index()].queries += 1;
            let exchange =
                run_exchange(Arc::clone(&self.shared), Arc::clone(&question), flight.deadline, self.ids.fork());
            let task = self.exchanges.spawn(exchange);
            self.asking.insert(task.id(), question);
        }
    }

    fn publish_pending(&self) {
        self.shared.board().tally.pending = self.flights.len();
    }

    fn handle_over(&mut self, over: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match over {
            Ok((id, outcome)) => (id, outcome),
            // A panic on a packet would be our bug; it must cost one question, not the server's DNS.
            Err(error) => (error.id(), Err(Failure::BadAnswer)),
        };
        let Some(question) = self.asking.remove(&id) else { return };
        if outcome == Err(Failure::Timeout) {
            self.shared.board().tally.by_kind[question.kind.index()].timeouts += 1;
        }
        let found = self.shared.shards.insert(Instant::now().into_std(), &question, outcome);
        let askers = self.flights.remove(&question).map(|flight| flight.askers).unwrap_or_default();
        self.publish_pending(); // Before the askers wake and look.
        for asker in askers {
            // Fails only if the asker is gone, which is its right.
            let _ = asker.send(Some(found.clone()));
        }
    }
}

async fn run_exchange(shared: Arc<Shared>, question: Arc<Question>, deadline: Instant, mut ids: Sequence) -> Outcome {
    let mut exchange = {
        let servers = &mut shared.board().servers;
        Exchange::new(Instant::now().into_std(), deadline.into_std(), servers, &shared.options)
    };
    loop {
        let step = exchange.poll_step(Instant::now().into_std(), &shared.board().servers);
        match step {
            Step::Done(outcome) => return outcome,
            Step::Pause(pause) => sleep(pause).await,
            Step::Send(attempt) => {
                {
                    let tally = &mut shared.board().tally;
                    match attempt.transport {
                        Transport::Udp => tally.udp_sent += 1,
                        Transport::Tcp => tally.tcp_sent += 1,
                    }
                }
                let id = ids.draw() as u16;
                let Received { reception, foreign_packets } = ask(attempt, &question, id).await;
                let board = &mut *shared.board();
                board.tally.foreign_packets += foreign_packets;
                let now = Instant::now().into_std();
                exchange.handle_reception(now, attempt, reception, &mut board.servers, &mut board.tally);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use policy::DnsName;

    use super::*;
    use crate::{Answer, RecordKind};

    #[test]
    fn an_answer_that_overtook_the_question_is_used() {
        let shared = Arc::new(Shared::new(ResolverOptions::default()));
        let (_lane, requests) = mpsc::channel(1);
        let mut driver = Driver::new(Arc::clone(&shared), requests, SequenceKey([1, 2]));
        let question = Question::new(&DnsName::parse("x.example").unwrap(), RecordKind::Mx);
        let answer = Ok(Answer::NoData { ttl: Some(60) });
        shared.shards.insert(Instant::now().into_std(), &Arc::new(question.clone()), answer.clone());
        let (reply, mut told) = oneshot::channel();
        driver.handle_request(Request { question, asked: Instant::now(), reply });
        assert_eq!(told.try_recv().unwrap().unwrap().outcome, answer);
        assert!(driver.waiting.is_empty());
        assert_eq!((shared.stats().late_hits, shared.stats().queries()), (1, 0));
    }
}
