//! Any number of names, any text: memory stays bounded.

use message::{Stage, UnixMicros};
use shaping::{AttemptOutcome, Event, Rules, Shaper, ShaperSettings, Source, Subject};
use std::sync::Arc;

const RULES: &str = r#"
    [[rule]]
    name = "all"
    confirm = "everything"
    codes = ["421"]
    suspend = "1h"
    rate = { factor = 0.5 }
    cool_down = "1s"
    [[rule]]
    name = "counted"
    codes = ["421"]
    when = "3/1h"
    connections = { factor = 0.5 }
    [[rule]]
    name = "ramp"
    warm_up = { days = [1000, 2000] }
"#;

fn shaper(settings: ShaperSettings) -> Shaper {
    let rules = Rules::parse(&[Source { name: "test", text: RULES }]).unwrap_or_else(|errors| panic!("{errors}"));
    Shaper::new(Arc::new(rules), settings)
}

#[test]
fn a_million_sites_stay_within_the_bounds_and_the_latest_are_known() {
    let settings = ShaperSettings { evidence_max: 5_000, adjustments_max: 1_000, ..ShaperSettings::default() };
    let mut shaper = shaper(settings);
    let mut evicted = 0;
    let mut now = UnixMicros::from_seconds(1_800_000_000);
    for number in 0..1_000_000_u32 {
        now = UnixMicros(now.0 + 1_000);
        let domain = format!("d{number}.example");
        let subject = Subject { domain: &domain, site: &domain, binding: "a", tenant: "" };
        let outcome = match number % 4 {
            0 => AttemptOutcome::Delivered,
            _ => AttemptOutcome::Failed { stage: Stage::AfterRcpt, code: 421, text: "slow" },
        };
        let observed = shaper.observe(now, &Event { subject, outcome, weight: 1 });
        evicted += observed.decisions.iter().filter(|it| it.change == shaping::Change::Evicted).count();
        if number % 4 != 0 {
            assert!(shaper.effective(now, &subject).suspended_until.is_some(), "{number}");
        }
        if number % 1_000 == 0 {
            while shaper.poll_ended(now).is_some() {}
        }
    }
    let counts = shaper.counts();
    assert_eq!((counts.evidence, counts.adjustments, counts.ramps), (5_000, 1_000, 1_000));
    assert_eq!(evicted, 750_000 - 1_000);
    assert!(shaper.export().len() < 5_000 * 200 + 2_000 * 200);
}

#[test]
fn long_names_and_texts_are_not_kept() {
    let mut shaper = shaper(ShaperSettings::default());
    let long = "x".repeat(256);
    let now = UnixMicros::from_seconds(1_800_000_000);
    for subject in [
        Subject { domain: &long, site: "s", binding: "b", tenant: "" },
        Subject { domain: "d", site: &long, binding: "b", tenant: "" },
        Subject { domain: "d", site: "s", binding: &long, tenant: "" },
        Subject { domain: "d", site: "s", binding: "b", tenant: &long },
    ] {
        let outcome = AttemptOutcome::Failed { stage: Stage::AfterRcpt, code: 421, text: "slow" };
        assert_eq!(shaper.observe(now, &Event { subject, outcome, weight: 1 }).decisions, []);
        shaper.effective(now, &subject);
    }
    let text = "é".repeat(1 << 20);
    let subject = Subject { domain: "d", site: "s", binding: "b", tenant: "" };
    let outcome = AttemptOutcome::Failed { stage: Stage::AfterRcpt, code: 421, text: &text };
    let observed = shaper.observe(now, &Event { subject, outcome, weight: u32::MAX });
    let evidence = observed.decisions[0].evidence.as_ref().expect("a rule decided");
    assert_eq!(evidence.text.len(), shaping::EXCERPT_MAX);
}
