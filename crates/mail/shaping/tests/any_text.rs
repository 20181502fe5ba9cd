//! Rule files and replies of any content: an answer or an error with its place, never a panic.

use message::{Stage, UnixMicros};
use proptest::prelude::*;
use shaping::{AttemptOutcome, Event, Rules, Shaper, ShaperSettings, Source, Subject};
use std::sync::Arc;

/// Reads a file; what is wrong stands somewhere inside it.
fn read(text: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = Rules::parse(&[Source { name: "f", text }]) {
        prop_assert!(!errors.0.is_empty() && errors.0.len() <= 100);
        let lines: Vec<&str> = text.split('\n').collect();
        for error in &errors.0 {
            let line = lines.get(error.line as usize - 1).copied();
            prop_assert!(line.is_some_and(|line| error.column as usize <= line.chars().count() + 1), "{}", error);
            prop_assert!(!error.message.is_empty());
        }
    }
    Ok(())
}

/// The server's own rules with a few pieces replaced.
fn altered() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}=\"',.#\n0-9a-z* é-]{1,6}",
        Just("\"\"\"".to_owned()),
        Just("[[rule]]\n".to_owned()),
        Just("= { to = 1e9 }\n".to_owned()),
        Just("= 99999999999999999999\n".to_owned()),
        Just("= 1979-05-27T07:32:00Z\n".to_owned()),
    ];
    let change = (any::<prop::sample::Index>(), 0_usize..12, piece);
    prop::collection::vec(change, 1..6).prop_map(|changes| {
        let mut text = Rules::starter().text.to_owned();
        for (place, length, piece) in changes {
            let from = text.floor_char_boundary(place.index(text.len().max(1)).min(text.len()));
            let to = text.floor_char_boundary((from + length).min(text.len())).max(from);
            text.replace_range(from..to, &piece);
        }
        text
    })
}

proptest! {
    #[test]
    fn any_text(text in "\\PC*") {
        read(&text)?;
    }

    #[test]
    fn nearly_sound_files(text in altered()) {
        read(&text)?;
    }

    #[test]
    fn any_reply(
        replies in prop::collection::vec((any::<u16>(), "\\PC{0,300}|(?s).{0,300}", any::<u32>(), any::<u64>()), 1..20),
    ) {
        let rules = Rules::parse(&[Rules::starter()]).map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        let mut shaper = Shaper::new(Arc::new(rules), ShaperSettings::default());
        for (code, text, weight, now) in replies {
            let subject = Subject { domain: "gmail.com", site: "x.google.com", binding: "a", tenant: "t" };
            let outcome = AttemptOutcome::Failed { stage: Stage::AfterRcpt, code, text: &text };
            let observed = shaper.observe(UnixMicros(now), &Event { subject, outcome, weight });
            observed.decisions.iter().for_each(|decision| drop(decision.to_string()));
            let effective = shaper.effective(UnixMicros(now), &subject);
            prop_assert!((1..=20).contains(&effective.connections(20)));
            shaper.next_change();
            shaper.poll_ended(UnixMicros(now));
        }
    }
}
