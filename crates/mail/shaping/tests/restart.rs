//! What survives a restart, and what damaged or foreign octets do: nothing but an error.

use message::{Stage, UnixMicros};
use proptest::prelude::*;
use shaping::{AttemptOutcome, Event, Imported, Rules, Shaper, ShaperSettings, Source, StateError, Subject};
use std::sync::Arc;
use std::time::Duration;

const RULES: &str = r#"
    [[rule]]
    name = "few"
    domains = ["a.example"]
    codes = ["421"]
    when = "3/1h"
    suspend = "4h"
    [[rule]]
    name = "many"
    domains = ["a.example"]
    codes = ["450"]
    when = "20/1h"
    scope = "site"
    connections = { factor = 0.5, step = 0.1, every = "10m" }
    rate = { factor = 0.5 }
    set = { max_deliveries_per_connection = 5, idle_timeout = "1s", for = "2h" }
    [[rule]]
    name = "share"
    domains = ["a.example"]
    codes = ["550"]
    when = "50%/1h"
    at_least = 10
    scope = "tenant-site"
    connections = { to = 3, for = "1h" }
    rate = { to = "9/1m", for = "1h" }
    [[rule]]
    name = "ramp"
    bindings = ["young"]
    warm_up = { days = [10, 20, 40] }
"#;

const NOW: UnixMicros = UnixMicros::from_seconds(1_800_000_000);

fn subject(binding: &str) -> Subject<'_> {
    Subject { domain: "a.example", site: "mx.a.example", binding, tenant: "t" }
}

fn fail(shaper: &mut Shaper, code: u16, times: u32) {
    for _ in 0..times {
        let outcome = AttemptOutcome::Failed { stage: Stage::AfterRcpt, code, text: "no" };
        shaper.observe(NOW, &Event { subject: subject("old"), outcome, weight: 1 });
    }
}

fn empty() -> Shaper {
    let rules = Rules::parse(&[Source { name: "test", text: RULES }]).unwrap_or_else(|errors| panic!("{errors}"));
    Shaper::new(Arc::new(rules), ShaperSettings::default())
}

/// One that has something of everything.
fn busy() -> Shaper {
    let mut shaper = empty();
    fail(&mut shaper, 421, 2);
    fail(&mut shaper, 450, 30);
    fail(&mut shaper, 550, 60);
    let outcome = AttemptOutcome::Delivered;
    shaper.observe(NOW, &Event { subject: subject("young"), outcome, weight: 7 });
    shaper
}

#[test]
fn everything_that_holds_is_there_again() {
    let before = busy();
    let state = before.export();
    let mut after = empty();
    let imported = after.import(NOW, &state).unwrap();
    assert_eq!(imported, Imported { adjustments: 2, ramps: 1, evidence: 3, dropped: 0 });
    for minutes in 0..300 {
        let now = NOW.after(Duration::from_secs(minutes * 60));
        for binding in ["old", "young"] {
            let subject = subject(binding);
            assert_eq!(before.effective(now, &subject), after.effective(now, &subject), "{minutes} {binding}");
        }
    }
    assert_eq!(before.next_change(), after.next_change());
    assert_eq!(after.export(), state, "the same again");
}

#[test]
fn evidence_counts_on() {
    let mut after = empty();
    after.import(NOW, &busy().export()).unwrap();
    assert_eq!(after.effective(NOW, &subject("old")).suspended_until, None);
    fail(&mut after, 421, 1);
    assert!(after.effective(NOW, &subject("old")).suspended_until.is_some(), "two before and one after");
}

#[test]
fn what_ended_meanwhile_and_what_rules_no_longer_say_is_left_out() {
    let state = busy().export();
    let later = NOW.after(Duration::from_secs(86_400));
    let mut after = empty();
    let imported = after.import(later, &state).unwrap();
    assert_eq!((imported.adjustments, imported.dropped), (0, 2));
    assert_eq!(after.effective(later, &subject("young")).allowance, Some(20), "the second day");

    let changed = RULES.replace("3/1h", "4/1h").replace("name = \"many\"", "name = \"other\"");
    let rules = Rules::parse(&[Source { name: "test", text: &changed }]).unwrap_or_else(|errors| panic!("{errors}"));
    let mut after = Shaper::new(Arc::new(rules), ShaperSettings::default());
    let imported = after.import(NOW, &state).unwrap();
    assert_eq!(imported, Imported { adjustments: 2, ramps: 1, evidence: 1, dropped: 2 });
}

#[test]
fn damage_of_any_octet_is_an_error_and_changes_nothing() {
    let state = busy().export();
    let mut shaper = empty();
    let mut seen = std::collections::HashSet::new();
    for place in 0..state.len() {
        let mut damaged = state.clone();
        damaged[place] ^= 0x41;
        let error = shaper.import(NOW, &damaged).unwrap_err();
        seen.insert(error.to_string());
        assert!(shaper.import(NOW, &state[..place]).is_err(), "cut at {place}");
    }
    assert_eq!(seen.len(), 4 + 3, "foreign, length, checksum and newer versions: {seen:?}");
    assert_eq!(shaper.counts(), empty().counts());
    let mut longer = state.clone();
    longer.push(0);
    assert_eq!(shaper.import(NOW, &longer), Err(StateError::Length));
}

#[test]
fn a_newer_state_is_named() {
    let mut state = busy().export();
    state[8] = 9;
    let error = empty().import(NOW, &state).unwrap_err();
    assert_eq!(error, StateError::Newer { version: 9 });
    assert_eq!(error.to_string(), "state of traffic shaping has format version 9; up to 1 can be read");
}

#[test]
fn the_first_version_is_read_for_ever() {
    let state = include_bytes!("shaping-state-1.bin");
    let mut shaper = empty();
    let imported = shaper.import(NOW, state).unwrap();
    assert_eq!(imported, Imported { adjustments: 2, ramps: 1, evidence: 3, dropped: 0 });
    assert_eq!(shaper.export(), state);
}

proptest! {
    #[test]
    fn any_octets_with_a_true_header_are_survived(payload in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut state = b"PHSHAPE\0\x01\0\0\0".to_vec();
        state.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        state.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        state.extend_from_slice(&payload);
        let mut shaper = empty();
        if shaper.import(NOW, &state).is_ok() {
            shaper.effective(NOW, &subject("old"));
        }
    }

    #[test]
    fn octets_inside_may_be_anything(place in 24_usize..600, octet in any::<u8>(), seconds in 0_u64..200_000) {
        let mut state = busy().export();
        let place = 24 + (place - 24) % (state.len() - 24);
        state[place] = octet;
        let checksum = crc32c::crc32c(&state[24..]).to_le_bytes();
        state[12..16].copy_from_slice(&checksum);
        let mut shaper = empty();
        if shaper.import(NOW, &state).is_ok() {
            let now = NOW.after(Duration::from_secs(seconds));
            shaper.effective(now, &subject("old"));
            fail(&mut shaper, 450, 3);
            shaper.next_change();
            for _ in 0..100 {
                shaper.poll_ended(now);
            }
        }
    }
}
