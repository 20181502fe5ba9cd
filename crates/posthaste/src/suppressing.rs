//! The suppression list of a server: opened at the start, asked by its loops, changed by its console.

use crate::failure::Failure;
use config::{Config, SuppressedKind, SuppressionAction};
use message::{Address, Reply, UnixMicros};
use policy::{MailClass, MailKind, Suppressed, SuppressedBy};
use std::time::SystemTime;
use suppression::{Keeper, OpenReport, Second, Store, Writer};

/// The list as the loops hold it. A list that could not be opened, and is not needed by the configuration, is empty.
#[derive(Clone)]
pub(crate) struct Suppression {
    store: Option<Store>,
}

/// What a recipient on the list fails with, if it was accepted.
const DISCARDED: &str = "5.1.0 [internal] recipient address is suppressed";

impl Suppression {
    /// Opens the list. One that cannot be opened ends the start if mail depends on it, and is told otherwise.
    pub(crate) fn open(config: &Config) -> Result<(Self, Option<Writer>), Failure> {
        let opened = keeper(config).and_then(|(keeper, report)| {
            if report.torn_octets > 0 {
                let octets = report.torn_octets;
                eprintln!("suppression list: {octets} octets of an unfinished change are removed from its log");
            }
            Store::start(keeper, |error| eprintln!("{}", Failure::caused("suppression list", error)))
                .map_err(|error| Failure::caused("cannot start the suppression list's thread", &error))
        });
        match opened {
            Ok((store, writer)) => Ok((Self { store: Some(store) }, Some(writer))),
            Err(failure)
                if config.suppression.action == SuppressionAction::Off && config.auto_suppressions.is_empty() =>
            {
                eprintln!("{failure}");
                Ok((Self { store: None }, None))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The list, to be changed; `None` if it could not be opened.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// What an accepted recipient fails with, by the configuration.
    pub(crate) fn failure(&self, config: &Config, recipient: &Address, at: UnixMicros) -> Option<Reply> {
        if config.suppression.action != SuppressionAction::Discard {
            return None;
        }
        let kind = match config.suppression.kind {
            SuppressedKind::All => MailKind::All,
            SuppressedKind::Transactional => MailKind::Transactional,
            SuppressedKind::NonTransactional => MailKind::NonTransactional,
        };
        self.suppressed(recipient, &MailClass { tenant: None, kind }, at).map(|_| Reply::new(550, DISCARDED))
    }
}

impl Suppressed for Suppression {
    fn suppressed(&self, recipient: &Address, mail: &MailClass<'_>, at: UnixMicros) -> Option<SuppressedBy> {
        self.store.as_ref()?.suppressed(recipient, mail, at)
    }
}

/// Opens the list of a configuration.
pub(crate) fn keeper(config: &Config) -> Result<(Keeper, OpenReport), Failure> {
    let mut rng =
        engine::Rng::from_os().map_err(|error| Failure::caused("the kernel gives no random numbers", &error))?;
    let mut seed = [0; 16];
    let (low, high) = seed.split_at_mut(8);
    low.copy_from_slice(&rng.next_u64().to_le_bytes());
    high.copy_from_slice(&rng.next_u64().to_le_bytes());
    Keeper::open(&config.suppression.folder, seed, now())
        .map_err(|error| Failure::caused("cannot open the suppression list", &error))
}

/// The time of day, as the list counts it.
pub(crate) fn now() -> Second {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Second(u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}
