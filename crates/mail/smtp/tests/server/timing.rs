//! How long a session may take. No test sleeps: time is an argument.

use crate::talk::Talk;
use smtp::server::EarlyTalker;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn silence_between_commands() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.wait(5 * MINUTE - SECOND), "");
    assert_eq!(talk.codes("NOOP\r\n"), "250");
    assert_eq!(talk.wait(5 * MINUTE - SECOND), "");
    assert!(talk.wait(SECOND).starts_with("421 4.4.2"));
    assert!(talk.is_closed());
}

#[test]
fn a_command_that_dribbles() {
    let mut talk = Talk::greeted();
    for _ in 0..59 {
        assert_eq!(talk.say("x"), "");
        assert_eq!(talk.wait(SECOND), "");
    }
    assert!(talk.wait(SECOND).starts_with("421 4.4.2"));
}

#[test]
fn data_that_pauses() {
    let mut talk = Talk::greeted();
    talk.begin();
    talk.say("DATA\r\n");
    talk.wait(3 * MINUTE - SECOND);
    assert_eq!(talk.say(vec![b'x'; 1 << 20]), "");
    assert_eq!(talk.wait(3 * MINUTE - SECOND), "");
    assert!(talk.wait(SECOND).starts_with("421 4.4.2"));
    assert!(talk.is_closed() && talk.stored.is_empty());
}

#[test]
fn data_that_dribbles() {
    let mut talk = Talk::greeted();
    talk.begin();
    talk.say("DATA\r\n");
    // 400 octets a second where 500 are asked for: the grace of 180 s is used up after 900 s.
    let mut seconds = 0;
    while !talk.is_closed() {
        talk.say([b'x'; 400]);
        talk.wait(SECOND);
        seconds += 1;
        assert!(seconds < 2000);
    }
    assert!((890..=901).contains(&seconds), "{seconds}");
    let mut talk = Talk::greeted();
    talk.begin();
    talk.say("DATA\r\n");
    for _ in 0..2000 {
        talk.say([b'x'; 500]);
        assert_eq!(talk.wait(SECOND), "");
    }
}

#[test]
fn chunks_of_one_octet_are_held_to_the_rate_too() {
    let mut talk = Talk::greeted();
    talk.begin();
    let mut seconds = 0;
    while !talk.is_closed() {
        talk.say("BDAT 1\r\nx");
        talk.wait(10 * SECOND);
        seconds += 10;
        assert!(seconds < 300);
    }
    assert!(seconds >= 180);
}

#[test]
fn the_session_in_all() {
    let mut talk = Talk::greeted();
    for _ in 0..59 {
        talk.begin();
        assert_eq!(talk.codes("DATA\r\nx\r\n.\r\n"), "354 250");
        assert_eq!(talk.wait(MINUTE), "");
    }
    talk.begin();
    // A transaction that has begun may end.
    assert_eq!(talk.wait(MINUTE + SECOND), "");
    assert_eq!(talk.codes("DATA\r\nx\r\n.\r\nMAIL FROM:<a@b>\r\n"), "354 250 421");
    assert!(talk.is_closed());
    assert_eq!(talk.stored.len(), 60);
}

#[test]
fn early_talkers() {
    let delay = |rules: &mut smtp::server::Rules| rules.greeting_delay = 2 * SECOND;
    let mut patient = Talk::new(delay);
    assert_eq!(patient.replies(), "");
    assert_eq!(patient.wait(SECOND), "");
    assert!(patient.wait(SECOND).starts_with("220 "));
    let mut early = Talk::new(delay);
    assert_eq!(early.codes("EHLO x\r\n"), "554");
    assert!(early.is_closed());
    let mut tolerated = Talk::new(|rules| {
        delay(rules);
        rules.early_talker = EarlyTalker::Allow;
    });
    assert_eq!(tolerated.codes("EHLO x\r\n"), "220 250");
}

#[test]
fn a_stopping_server_ends_idle_sessions_at_once_and_others_behind_their_transaction() {
    let mut idle = Talk::greeted();
    idle.session.handle_drain();
    idle.run();
    assert!(idle.replies().starts_with("421 4.3.2") && idle.is_closed());
    let mut busy = Talk::greeted();
    busy.begin();
    busy.session.handle_drain();
    assert_eq!(busy.codes("DATA\r\nx\r\n.\r\n"), "354 250 421");
    assert!(busy.is_closed() && busy.stored.len() == 1);
    let mut stuck = Talk::greeted();
    stuck.begin();
    stuck.say("DATA\r\nx");
    stuck.session.handle_drain();
    stuck.session.handle_drain_deadline();
    stuck.run();
    assert!(stuck.replies().starts_with("421 4.3.2") && stuck.is_closed() && stuck.stored.is_empty());
}
