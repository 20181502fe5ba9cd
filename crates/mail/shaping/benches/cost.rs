//! What shaping costs: a question before each connection, a note after each attempt. `cargo bench -p shaping`.

use divan::{Bencher, black_box};
use message::{Stage, UnixMicros};
use shaping::{AttemptOutcome, Event, Rules, Shaper, ShaperSettings, Subject};
use std::sync::Arc;

fn main() {
    divan::main();
}

const NOW: UnixMicros = UnixMicros::from_seconds(1_800_000_000);
const GMAIL: Subject<'static> =
    Subject { domain: "gmail.com", site: "gmail-smtp-in.l.google.com", binding: "pool-1", tenant: "acme" };
const LIMITED: AttemptOutcome<'static> = AttemptOutcome::Failed {
    stage: Stage::ReadingConfirmation,
    code: 421,
    text: "4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n\
           4.7.28 from your IP address. To protect our users from spam, mail sent from\n\
           4.7.28 your IP address has been temporarily rate limited.",
};
const UNKNOWN: AttemptOutcome<'static> = AttemptOutcome::Failed {
    stage: Stage::DuringRcpt,
    code: 550,
    text: "5.1.1 The email account that you tried to reach does not exist.",
};

/// With the rules that come with the server; `sites` sites have evidence and adjustments.
fn shaper(sites: u32) -> Shaper {
    let rules = Rules::parse(&[Rules::starter()]).expect("they are sound");
    let mut shaper = Shaper::new(Arc::new(rules), ShaperSettings::default());
    for number in 0..sites {
        let site = format!("mx{number}.google.com");
        let subject = Subject { domain: &site, site: &site, ..GMAIL };
        for _ in 0..3 {
            shaper.observe(NOW, &Event { subject, outcome: LIMITED, weight: 1 });
        }
    }
    shaper
}

#[divan::bench]
fn effective_nothing_adjusted(bencher: Bencher) {
    let shaper = shaper(0);
    bencher.bench(|| black_box(&shaper).effective(NOW, black_box(&GMAIL)));
}

#[divan::bench]
fn effective_others_adjusted(bencher: Bencher) {
    let shaper = shaper(10_000);
    bencher.bench(|| black_box(&shaper).effective(NOW, black_box(&GMAIL)));
}

#[divan::bench]
fn effective_adjusted(bencher: Bencher) {
    let mut shaper = shaper(10_000);
    for _ in 0..3 {
        shaper.observe(NOW, &Event { subject: GMAIL, outcome: LIMITED, weight: 1 });
    }
    bencher.bench(|| black_box(&shaper).effective(NOW, black_box(&GMAIL)));
}

#[divan::bench]
fn observe_delivery(bencher: Bencher) {
    let mut shaper = shaper(10_000);
    bencher.bench_local(|| {
        shaper.observe(NOW, black_box(&Event { subject: GMAIL, outcome: AttemptOutcome::Delivered, weight: 1 }))
    });
}

#[divan::bench]
fn observe_unknown_mailbox(bencher: Bencher) {
    let mut shaper = shaper(10_000);
    bencher.bench_local(|| shaper.observe(NOW, black_box(&Event { subject: GMAIL, outcome: UNKNOWN, weight: 1 })));
}

#[divan::bench]
fn observe_rate_limited(bencher: Bencher) {
    let mut shaper = shaper(10_000);
    bencher.bench_local(|| shaper.observe(NOW, black_box(&Event { subject: GMAIL, outcome: LIMITED, weight: 1 })));
}

#[divan::bench]
fn observe_rate_limited_new_site(bencher: Bencher) {
    let mut shaper = shaper(0);
    let mut number = 0_u64;
    bencher.bench_local(|| {
        number += 1;
        let site = format!("mx{number}.google.com");
        shaper.observe(NOW, &Event { subject: Subject { site: &site, ..GMAIL }, outcome: LIMITED, weight: 1 })
    });
}

#[divan::bench]
fn parse_starter_rules() -> usize {
    Rules::parse(&[black_box(Rules::starter())]).map_or(0, |rules| rules.len())
}
