//! Peers that answer by chance, or say anything: every recipient gets its one verdict all the same.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// A peer that answers each command by chance, mostly well.
fn answer(command: &str, chance: u8) -> Vec<u8> {
    let good = match command {
        "DATA" => "354 go",
        "QUIT" => "221 bye",
        _ => "250 ok",
    };
    let reply = match chance {
        0..=179 => good,
        180..=199 => "450 later",
        200..=219 => "550-no\r\n550 never",
        220..=227 => "452 enough",
        228..=231 => "421 bye",
        232..=235 => "250 surprise",
        236..=239 => "354 surprise",
        240..=243 => "gibberish",
        244..=247 => "250-a\r\n550 b",
        248..=251 => "503 order",
        _ => "\0\u{fffd}",
    };
    [reply.as_bytes(), b"\r\n"].concat()
}

#[derive(Debug, Clone)]
struct Scene {
    lmtp: bool,
    capabilities: Vec<&'static str>,
    ahead: bool,
    recipients: Vec<usize>,
    chances: Vec<u8>,
    cut: usize,
    closes_after: usize,
}

fn scene() -> impl Strategy<Value = Scene> {
    let all = vec!["PIPELINING", "CHUNKING", "SIZE 100", "LIMITS MAILMAX=3", "8BITMIME", "DSN"];
    let capabilities = proptest::sample::subsequence(all, 0..=6);
    let recipients = proptest::collection::vec(1_usize..4, 1..6);
    let chances = proptest::collection::vec(any::<u8>(), 10..60);
    (any::<bool>(), capabilities, any::<bool>(), recipients, chances, 1_usize..12, 2_usize..60).prop_map(
        |(lmtp, capabilities, ahead, recipients, chances, cut, closes_after)| Scene {
            lmtp,
            capabilities,
            ahead,
            recipients,
            chances,
            cut,
            closes_after,
        },
    )
}

impl Scene {
    /// What the peer says to a line. `accepted` counts recipients.
    fn answers(&self, line: &str, chance: u8, accepted: &mut usize) -> Vec<u8> {
        match line.get(..4).unwrap_or(line) {
            "EHLO" | "LHLO" => {
                let lines: String = self.capabilities.iter().map(|line| format!("250-{line}\r\n")).collect();
                return ["250-b\r\n", &lines, "250 X\r\n"].concat().into_bytes();
            }
            "BDAT" => return Vec::new(),
            "RCPT" => *accepted += usize::from(chance < 180),
            "MAIL" => *accepted = 0,
            _ => {}
        }
        let count = if line.starts_with('{') && self.lmtp { *accepted } else { 1 };
        answer(line, chance).repeat(count)
    }
}

/// Plays a scene; gives the events and what was said.
fn play(scene: &Scene) -> Vec<ClientEvent> {
    let dialect = if scene.lmtp { Dialect::Lmtp } else { Dialect::Smtp };
    let mut settings = settings(dialect);
    settings.ahead = if scene.ahead { Ahead::WithContent } else { Ahead::AfterReply };
    let mut talk = Talk::new(settings);
    let mut events = Vec::new();
    let mut chances = scene.chances.iter().copied().cycle();
    let mut work = scene.recipients.iter();
    let mut wire: Vec<u8> = b"220 hi\r\n".to_vec();
    let pipelining = scene.capabilities.contains(&"PIPELINING");
    let mut accepted = 0;
    for _ in 0..1_000 {
        let take = wire.len().min(scene.cut);
        let piece: Vec<u8> = wire.drain(..take).collect();
        talk.client.handle_bytes(talk.now, &piece);
        while talk.client.can_begin()
            && let Some(&recipients) = work.next()
        {
            talk.client.begin(transaction(message(recipients, b"x")));
        }
        if talk.client.is_idle() {
            talk.client.quit();
        }
        let said = talk.say();
        events.extend(talk.events());
        if events.iter().any(|event| matches!(event, ClientEvent::Closed(_))) {
            return events;
        }
        if !pipelining {
            let commands = said.matches("\r\n").count();
            assert!(commands <= 1 && (said.is_empty() || wire.is_empty()), "pipelines uninvited: {said:?}");
        }
        for line in said.replace('}', "}\r\n").lines() {
            wire.extend(scene.answers(line, chances.next().unwrap(), &mut accepted));
        }
        if events.len() >= scene.closes_after {
            break;
        }
        if take == 0 && said.is_empty() {
            break;
        }
    }
    if talk.client.poll_deadline().is_some() && scene.cut.is_multiple_of(2) {
        let deadline = talk.client.poll_deadline().unwrap();
        talk.client.handle_timeout(deadline);
    } else {
        talk.client.handle_closed();
    }
    events.extend(talk.events());
    events
}

proptest! {
    #[test]
    fn every_recipient_gets_one_verdict_whatever_the_peer_says(scene in scene()) {
        let events = play(&scene);
        prop_assert!(matches!(events.last(), Some(ClientEvent::Closed(_))));
        let mut verdicts: HashMap<(u32, u16), usize> = HashMap::new();
        let mut done = Vec::new();
        for event in &events {
            match event {
                ClientEvent::Recipient { transaction, recipient, verdict, reply, .. } => {
                    prop_assert!(!done.contains(&transaction.0));
                    *verdicts.entry((transaction.0, *recipient)).or_default() += 1;
                    let fits = match verdict {
                        Verdict::Delivered => reply.is_positive(),
                        Verdict::Transient => !reply.is_permanent() || reply.code == 500 || reply.code == 550,
                        Verdict::Permanent => reply.is_permanent(),
                        Verdict::Untried => true,
                    };
                    prop_assert!(fits, "{verdict:?} {reply}");
                }
                ClientEvent::TransactionDone(id) => done.push(id.0),
                ClientEvent::Ready | ClientEvent::Closed(_) => {}
            }
        }
        prop_assert!(verdicts.values().all(|&count| count == 1));
        for &id in &done {
            let recipients = scene.recipients[id as usize] as u16;
            prop_assert_eq!(verdicts.keys().filter(|(transaction, _)| *transaction == id).count(), usize::from(recipients));
        }
        prop_assert!(verdicts.keys().all(|(transaction, _)| done.contains(transaction)));
    }

    #[test]
    fn any_octets_end_well(octets in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..20) {
        let mut talk = Talk::new(settings(Dialect::Smtp));
        for piece in octets.chunks(cut) {
            talk.client.handle_bytes(talk.now, piece);
            talk.say();
        }
        talk.client.handle_closed();
        prop_assert!(matches!(talk.events().last(), Some(ClientEvent::Closed(_))));
    }
}
