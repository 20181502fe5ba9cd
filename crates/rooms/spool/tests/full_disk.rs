//! A volume that may not grow: mail is refused, outcomes are not, and room that comes back is used.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use message::{Outcome, Spool, StoreError, UnixMicros};
use spool::{Health, Journal};
use support::*;

#[test]
fn refuses_mail_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small(dir.path());
    options.volumes.truncate(1);
    options.volume_bytes_max = 4 << 20;
    let opened = Journal::open(options.clone(), 1).unwrap();
    let mut seats = opened.seats;
    drop(opened.recovered);
    let journal = opened.journal;
    let journal = engine::run_here(engine::LoopOptions::default(), |cx| async move {
        let (spool, pump) = seats.remove(0).take(swap_in());
        cx.spawn(engine::TaskKind("spool pump"), pump).detach();
        let mut keys = Vec::new();
        let refusal = loop {
            match spool.store(message(keys.len() as u32, 1, 50_000)).await {
                Ok(key) => keys.push(key),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal, StoreError::Full);
        assert_eq!(journal.health(), [Health::Full]);
        assert!(keys.len() > 30, "{} messages of 50,000 octets fit into 4 MiB less the reserve", keys.len());
        // What is there can be read, and ended; then there is room again, without a restart.
        for (n, key) in keys.iter().enumerate() {
            assert_same(&spool.fetch(*key).await.unwrap(), n as u32, 1, 50_000);
            spool.outcome(*key, 0, Outcome::Delivered);
        }
        let mut tries = 0;
        while journal.health() != [Health::Good] {
            tries += 1;
            assert!(tries < 200, "room does not come back");
            pause(&cx, 50).await;
        }
        spool.store(message(1000, 1, 50_000)).await.unwrap();
        assert_eq!(journal.health(), [Health::Good]);
        journal
    });
    journal.unwrap().close();
    with_journal(options, |_cx, spool, recovered| async move {
        assert_eq!(recovered.len(), 1);
        assert_same(&spool.fetch(recovered[0].key).await.unwrap(), 1000, 1, 50_000);
    });
}

#[test]
fn outcomes_are_kept_when_mail_is_refused() {
    const ATTEMPTS: u16 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let mut options = small(dir.path());
    options.volumes.truncate(1);
    options.volume_bytes_max = 4 << 20;
    with_journal(options.clone(), |cx, spool, _| async move {
        let key = spool.store(message(0, 1, 100)).await.unwrap();
        let mut n = 1;
        while spool.store(message(n, 1, 20_000)).await.is_ok() {
            n += 1;
        }
        // Half a megabyte of entries, ten times what is left of the segment.
        for attempts in 1..=ATTEMPTS {
            spool.outcome(key, 0, Outcome::Deferred { until: UnixMicros(u64::from(attempts)), attempts });
        }
        pause(&cx, 200).await;
        assert_eq!(spool.store(message(n, 1, 20_000)).await, Err(StoreError::Full));
    });
    with_journal(options, |_cx, _spool, mut recovered| async move {
        recovered.sort_by_key(|found| found.message.id.0 as u32);
        assert_eq!(recovered[0].recipients[0].attempts, ATTEMPTS);
    });
}
