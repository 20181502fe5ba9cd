//! The handle that rooms hold: look-ups from any event loop. Reads the cache itself and asks the driver for the rest.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use policy::{DnsName, ResolveError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::answer::{ALIASES_MAX, Answer, Failure, Records};
use crate::cache::{Found, Freshness};
use crate::driver::{Request, Shared};
use crate::{Driver, Question, RecordKind, ResolverOptions, ResolverStats, SequenceKey};

/// Answers questions about names. Cheap to clone; every clone shares cache, servers and counters.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

/// Where a chain of aliases ends.
pub(crate) struct Settled {
    pub(crate) records: Option<Records>,
    pub(crate) expires_in: Duration,
}

impl Resolver {
    /// A resolver and the driver that asks its servers; nothing happens until [`Driver::run`] is awaited somewhere.
    /// `key` must be secret and random in production (RFC 5452 §9.2).
    pub fn new(options: ResolverOptions, key: SequenceKey) -> (Self, Driver) {
        let shared = Arc::new(Shared::new(options.clamped()));
        let (requests, received) = mpsc::channel(shared.options.questions_max);
        let driver = Driver::new(Arc::clone(&shared), received, key);
        (Self { shared, requests }, driver)
    }

    /// A snapshot of the counters. Takes every lock of the resolver once, each for some copies: for a console, not for a
    /// message.
    pub fn stats(&self) -> ResolverStats {
        self.shared.stats()
    }

    /// Drops what is cached at `name`, of every type, so that the next look-up asks a server.
    pub fn forget(&self, name: &DnsName) {
        for kind in RecordKind::ALL {
            self.shared.shards.forget(&Question::new(name, kind));
        }
    }

    /// Answers `question`, following aliases that the servers left open. `asked_name` is what errors name.
    pub(crate) async fn settle(&self, question: Question, asked_name: &DnsName) -> Result<Settled, ResolveError> {
        let started = Instant::now();
        let mut seen: Vec<Name> = Vec::new();
        let mut question = question;
        let mut expires_in = Duration::MAX;
        loop {
            let found = self.ask(&question).await?;
            expires_in = expires_in.min(found.expires_in);
            let target = match found.outcome {
                Ok(Answer::Records { records, .. }) => return Ok(Settled { records: Some(records), expires_in }),
                Ok(Answer::NoData { .. }) => return Ok(Settled { records: None, expires_in }),
                Ok(Answer::NoDomain { .. }) => return Err(ResolveError::NoDomain(asked_name.clone())),
                Ok(Answer::Alias { target, .. }) => target,
                Err(failure) => return Err(error_of(failure, asked_name)),
            };
            seen.push(question.name.clone());
            if seen.len() > ALIASES_MAX || seen.contains(&target) {
                return Err(ResolveError::BadAnswer(asked_name.clone()));
            }
            if started.elapsed() >= self.shared.options.deadline {
                return Err(ResolveError::Timeout(asked_name.clone()));
            }
            question = question.at(&target);
        }
    }

    async fn ask(&self, question: &Question) -> Result<Found, ResolveError> {
        if let Some(answer) = question.special_answer() {
            let expires_in = self.shared.options.ttl_max;
            return Ok(Found { outcome: Ok(answer), expires_in, freshness: Freshness::Fresh });
        }
        let now = Instant::now();
        if let Some(found) = self.shared.shards.lookup(now.into_std(), question) {
            return Ok(found);
        }
        let (reply, answer) = oneshot::channel();
        let request = Request { question: question.clone(), asked: now, reply };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ResolveError::Busy,
            mpsc::error::TrySendError::Closed(_) => ResolveError::Stopped,
        })?;
        match answer.await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(ResolveError::Busy),
            Err(_) => Err(ResolveError::Stopped),
        }
    }
}

fn error_of(failure: Failure, name: &DnsName) -> ResolveError {
    let name = name.clone();
    match failure {
        Failure::Unreachable => ResolveError::Unreachable(name),
        Failure::Timeout => ResolveError::Timeout(name),
        Failure::BadAnswer => ResolveError::BadAnswer(name),
        Failure::ServerFailure => ResolveError::ServerFailure(name),
    }
}
