//! What fuzz targets call: any octets, in any parts, must neither panic nor keep a session busy without progress.

use super::{Decision, Event, Profile, Refusal, Rules, Session};
use crate::grammar::{Command, Extensions, ForwardPath, ReversePath, parse_command};
use message::MessageId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Parses `line`; what parses must be fit to be written down.
///
/// # Panics
/// When the grammar let something pass that it must not.
pub fn exercise_grammar(line: &[u8]) {
    let mailbox = match parse_command(line, Extensions::ALL) {
        Ok(Command::Mail(mail)) => match mail.path {
            ReversePath::Mailbox(mailbox) => mailbox,
            ReversePath::Null => return,
        },
        Ok(Command::Rcpt(rcpt)) => match rcpt.path {
            ForwardPath::Mailbox(mailbox) => mailbox,
            ForwardPath::Postmaster => return,
        },
        _ => return,
    };
    let address = mailbox.to_address().expect("what the grammar takes is an address");
    assert!(!address.as_str().chars().any(char::is_control), "control octet in {address:?}");
    assert_eq!(address.local_part(), mailbox.local_part);
}

/// Steps that one part of the input may cost beyond its octets.
const STEPS_SPARE: usize = 64;

/// Feeds a whole session with `input` in parts: its first octet says how long each part is, its second picks the rules.
/// Returns the messages that were completed.
///
/// # Panics
/// When the session does not get on, or keeps octets that it was not given.
pub fn exercise_session(input: &[u8]) -> u32 {
    let [size, choice, input @ ..] = input else { return 0 };
    let mut rules = Rules::new("mx.example.org");
    rules.message_bytes_max = 4096;
    if choice & 1 != 0 {
        rules.line_endings = crate::scanner::LineEndings::Fix;
    }
    if choice & 2 != 0 {
        rules.flavour = super::Flavour::Lmtp;
    }
    if choice & 4 != 0 {
        rules.greeting_delay = Duration::from_secs(1);
        rules.early_talker = super::EarlyTalker::Allow;
    }
    let now = Instant::now();
    let mut session = Session::new(Arc::new(Profile::new(rules)), now);
    let mut kept = Vec::new();
    drain(&mut session, now, &mut kept, *choice);
    for part in input.chunks(usize::from(*size).max(1)) {
        kept.extend_from_slice(part);
        drain(&mut session, now, &mut kept, *choice);
        assert!(kept.len() <= session.rules().command_bytes_max, "{} octets left over", kept.len());
        session.out.clear();
    }
    session.handle_timeout(now + Duration::from_secs(7200));
    session.handle_eof();
    session.messages()
}

/// Steps until more input is wanted; leaves what was not consumed.
fn drain(session: &mut Session, now: Instant, input: &mut Vec<u8>, choice: u8) {
    let mut at = 0;
    let mut content = 0;
    for _ in 0..2 * input.len() + STEPS_SPARE {
        let step = session.step(now, &input[at..]);
        let rest = input.len() - at;
        assert!(step.consumed <= rest, "consumed {} of {rest}", step.consumed);
        match step.event {
            Event::Body { keep, insert } => {
                assert!(keep.end <= step.consumed, "kept {keep:?}, consumed {}", step.consumed);
                content += keep.len() + insert.len();
                assert!(content <= 2 * input.len(), "more content than input");
            }
            Event::Ask => session.answer(now, decide(choice)),
            Event::Complete(transaction) => {
                assert!(!transaction.envelope.recipients.is_empty(), "a message for nobody");
                session.stored(now, Ok(MessageId::NONE));
            }
            Event::NeedInput | Event::Close(_) | Event::Waiting => {
                at += step.consumed;
                input.drain(..at);
                return;
            }
            Event::Abandon | Event::Refused(_) => {}
        }
        at += step.consumed;
    }
    panic!("the session does not get on with {}", input.escape_ascii());
}

fn decide(choice: u8) -> Decision {
    if choice & 0xF0 == 0xF0 { Decision::Refuse(Refusal::new(450, "4.7.1 not now")) } else { Decision::Accept }
}
