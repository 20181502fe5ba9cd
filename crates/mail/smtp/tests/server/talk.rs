//! A conversation with one session, for the scenarios beside it.

use message::{Envelope, MessageId};
use smtp::server::{Decision, Event, Profile, Question, Refusal, Refused, Rules, Session, Transaction};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message as the driver would have stored it.
pub(crate) struct Stored {
    pub(crate) envelope: Envelope,
    pub(crate) content: Vec<u8>,
    pub(crate) transaction: Box<Transaction>,
}

/// One client at one session.
pub(crate) struct Talk {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    pub(crate) stored: Vec<Stored>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) abandoned: usize,
    /// What the next question of this kind is answered with.
    pub(crate) recipient_answer: Option<Decision>,
    pub(crate) content_answer: Option<Decision>,
    pub(crate) store_answer: Option<Refusal>,
    content: Vec<u8>,
    pending: Vec<u8>,
    closed: bool,
}

impl Talk {
    /// Greeted, before EHLO.
    pub(crate) fn new(change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules::new("mx.example.org");
        change(&mut rules);
        let now = Instant::now();
        let mut talk = Self {
            session: Session::new(Arc::new(Profile::new(rules)), now),
            now,
            stored: Vec::new(),
            refused: Vec::new(),
            abandoned: 0,
            recipient_answer: None,
            content_answer: None,
            store_answer: None,
            content: Vec::new(),
            pending: Vec::new(),
            closed: false,
        };
        talk.run();
        talk
    }

    /// After EHLO, with the default rules.
    pub(crate) fn greeted() -> Self {
        Self::greeted_with(|_| {})
    }

    /// After EHLO.
    pub(crate) fn greeted_with(change: impl FnOnce(&mut Rules)) -> Self {
        let mut talk = Self::new(change);
        let reply = talk.say("EHLO client.example.net\r\n");
        assert!(reply.ends_with("\r\n") && reply.contains("250 "), "{reply}");
        talk
    }

    /// Sends text; returns the replies.
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) -> String {
        self.pending.extend_from_slice(text.as_ref());
        self.run();
        self.replies()
    }

    /// Sends text one octet at a time.
    pub(crate) fn say_slowly(&mut self, text: impl AsRef<[u8]>) -> String {
        for octet in text.as_ref() {
            self.pending.push(*octet);
            self.run();
        }
        self.replies()
    }

    /// Sends text; returns the codes of the replies' last lines, such as `"250 250 354"`.
    pub(crate) fn codes(&mut self, text: impl AsRef<[u8]>) -> String {
        let replies = self.say(text);
        let last = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
        replies.lines().filter(last).map(|line| &line[..3]).collect::<Vec<_>>().join(" ")
    }

    /// What is waiting in `out`.
    pub(crate) fn replies(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.session.out)).expect("replies are ASCII")
    }

    /// MAIL and RCPT.
    pub(crate) fn begin(&mut self) {
        assert_eq!(self.codes("MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n"), "250 250");
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Time goes by; the session's deadline is kept as the driver would.
    pub(crate) fn wait(&mut self, duration: Duration) -> String {
        self.now += duration;
        self.session.handle_timeout(self.now);
        self.run();
        self.replies()
    }

    pub(crate) fn run(&mut self) {
        let mut at = 0;
        loop {
            let step = self.session.step(self.now, &self.pending[at..]);
            match step.event {
                Event::NeedInput | Event::Close(_) => {
                    self.closed = matches!(step.event, Event::Close(_));
                    at += step.consumed;
                    break;
                }
                Event::Body { keep, insert } => {
                    self.content.extend_from_slice(&self.pending[at..][keep]);
                    self.content.extend_from_slice(insert);
                }
                Event::Ask => {
                    let answer = match self.session.question() {
                        Some(Question::Recipient(..)) => self.recipient_answer.take(),
                        Some(Question::Content(_)) => self.content_answer.take(),
                        Some(_) => None,
                        None => panic!("asked without a question"),
                    };
                    self.session.answer(self.now, answer.unwrap_or(Decision::Accept));
                }
                Event::Complete(transaction) => {
                    let content = std::mem::take(&mut self.content);
                    assert_eq!(transaction.findings().size, content.len() as u64);
                    let answer = match self.store_answer.take() {
                        Some(refusal) => Err(refusal),
                        None => {
                            let envelope = transaction.envelope.clone();
                            self.stored.push(Stored { envelope, content, transaction });
                            Ok(MessageId::new(self.stored.len() as u32, 1, 0, 0))
                        }
                    };
                    self.session.stored(self.now, answer);
                }
                Event::Abandon => {
                    self.abandoned += 1;
                    self.content.clear();
                }
                Event::Refused(refused) => self.refused.push(refused),
                Event::Waiting => panic!("nothing is owed"),
            }
            at += step.consumed;
        }
        self.pending.drain(..at);
    }
}
