//! The client against scripted peers, and in `any_peer` against peers that say anything.

mod any_peer;

use super::*;
use fabric::Slice;
use message::{
    Address, Body, BodyType, Content, Dots, Envelope, Message, MessageId, Notify, Protocol, Reception, Recipient,
    Return, UnixMicros, Utf8,
};

fn message(recipients: usize, content: &[u8]) -> Message {
    let recipient = |n| Recipient {
        address: Address::parse(&format!("r{n}@b.example")).unwrap(),
        notify: Notify::Unset,
        orcpt: None,
    };
    Message {
        id: MessageId::NONE,
        envelope: Envelope {
            sender: Some(Address::parse("s@a.example").unwrap()),
            recipients: (0..recipients).map(recipient).collect(),
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros(0),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Esmtp,
            helo: "a".into(),
            dots: Dots::Some,
        },
        trace: Slice::copy_from(b"Received: x\r\n"),
        content: Content::Resident(Body::from(Slice::copy_from(content))),
    }
}

fn transaction(message: Message) -> Transaction {
    let recipients = 0..message.envelope.recipients.len() as u16;
    Transaction::new(Arc::new(message), recipients)
}

fn settings(dialect: Dialect) -> Settings {
    Settings {
        dialect,
        name: "us.example".into(),
        grouping: Grouping::Offered,
        ahead: Ahead::WithContent,
        timeouts: Timeouts::default(),
    }
}

/// A client and what a driver does for it; writing always succeeds at once.
struct Talk {
    client: Client,
    now: Instant,
}

impl Talk {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self { client: Client::new(now, Arc::new(settings)), now }
    }

    /// A talk that has come to Ready with these capabilities.
    fn ready(dialect: Dialect, capabilities: &[&str]) -> Self {
        let mut talk = Self::new(settings(dialect));
        talk.hear("220 hi\r\n");
        let hello = if dialect == Dialect::Lmtp { "LHLO us.example\r\n" } else { "EHLO us.example\r\n" };
        assert_eq!(talk.say(), hello);
        let mut lines = vec!["b.example"];
        lines.extend(capabilities);
        let (last, first) = lines.split_last().unwrap();
        let mut reply: String = first.iter().map(|line| format!("250-{line}\r\n")).collect();
        reply.push_str(&format!("250 {last}\r\n"));
        talk.hear(&reply);
        assert_eq!(talk.events(), [ClientEvent::Ready]);
        talk
    }

    fn hear(&mut self, octets: &str) {
        self.client.handle_bytes(self.now, octets.as_bytes());
    }

    /// Everything to be written now; content as `{id framing}`.
    fn say(&mut self) -> String {
        let mut output = Output::new();
        self.client.poll_output(self.now, &mut output);
        self.client.handle_sent(self.now, Sent::All);
        text(&output)
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// Verdicts as `transaction.recipient verdict stage code`, and the rest in short.
    fn brief(&mut self) -> Vec<String> {
        let brief = |event| match event {
            ClientEvent::Ready => "ready".to_owned(),
            ClientEvent::Recipient { transaction, recipient, verdict, stage, reply } => {
                format!("{}.{recipient} {verdict:?} {} {}", transaction.0, stage.number(), reply.code)
            }
            ClientEvent::TransactionDone(id) => format!("{} done", id.0),
            ClientEvent::Closed(ending) => format!("closed {}", ending.reply()),
        };
        self.events().into_iter().map(brief).collect()
    }
}

fn text(output: &Output) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Commands(range) => String::from_utf8(output.commands[range.clone()].to_vec()).unwrap(),
        Piece::Content { transaction, framing } => format!("{{{} {framing:?}}}", transaction.0),
    };
    output.pieces.iter().map(piece).collect()
}

const M: &str = "MAIL FROM:<s@a.example>\r\n";
const R0: &str = "RCPT TO:<r0@b.example>\r\n";
const R1: &str = "RCPT TO:<r1@b.example>\r\n";

#[test]
fn one_command_at_a_time_without_pipelining() {
    let mut talk = Talk::ready(Dialect::Smtp, &[]);
    talk.client.begin(transaction(message(2, b"x\r\n")));
    for (said, reply) in [(M, "250\r\n"), (R0, "550 5.1.1 no\r\n"), (R1, "250\r\n"), ("DATA\r\n", "354\r\n")] {
        assert_eq!(talk.say(), said);
        assert_eq!(talk.say(), "");
        assert!(!talk.client.can_begin());
        talk.hear(reply);
    }
    assert!(!talk.client.can_begin());
    assert_eq!(talk.say(), "{0 Dots}");
    talk.hear("250 queued\r\n");
    assert_eq!(talk.brief(), ["0.0 Permanent 5 550", "0.1 Delivered 9 250", "0 done"]);
    talk.client.quit();
    assert_eq!(talk.say(), "QUIT\r\n");
    talk.hear("221 bye\r\n");
    assert_eq!(talk.events(), [ClientEvent::Closed(Ending::Quit)]);
}

#[test]
fn the_next_transaction_rides_behind_the_content() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(1, b"x")));
    assert_eq!(talk.say(), [M, R0, "DATA\r\n"].concat());
    assert!(!talk.client.can_begin());
    talk.hear("250 a\r\n250 b\r\n354 go\r\n");
    assert!(talk.client.can_begin());
    talk.client.begin(transaction(message(2, b"y")));
    assert!(!talk.client.can_begin());
    assert_eq!(talk.say(), ["{0 Dots}", M, R0, R1, "DATA\r\n"].concat());
    talk.hear("250 queued\r\n250 a\r\n450 b\r\n250 b\r\n354 go\r\n");
    assert_eq!(talk.brief(), ["0.0 Delivered 9 250", "0 done", "1.0 Transient 5 450"]);
    assert_eq!(talk.say(), "{1 Dots}");
    talk.hear("554 no\r\n");
    assert_eq!(talk.brief(), ["1.1 Permanent 9 554", "1 done"]);
}

#[test]
fn a_chunk_leaves_with_its_commands() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING", "CHUNKING", "SIZE 1000"]);
    let mail = "MAIL FROM:<s@a.example> SIZE=16\r\n";
    talk.client.begin(transaction(message(1, b"x\r\n")));
    assert_eq!(talk.say(), [mail, R0, "BDAT 16 LAST\r\n{0 Chunk}"].concat());
    assert!(!talk.client.can_begin());
    talk.hear("250\r\n");
    assert!(talk.client.can_begin());
    talk.client.begin(transaction(message(1, b"x\r\n")));
    assert_eq!(talk.say(), ["RSET\r\n", mail, R0, "BDAT 16 LAST\r\n{1 Chunk}"].concat());
    talk.hear("550 no\r\n554 none\r\n250 reset\r\n250\r\n250\r\n250 queued\r\n");
    assert_eq!(talk.brief(), ["0.0 Permanent 5 550", "0 done", "1.0 Delivered 9 250", "1 done"]);
}

#[test]
fn large_content_waits_for_a_recipient() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING", "CHUNKING"]);
    let large = || {
        let mut large = message(1, b"");
        large.content = Content::Spooled { len: 1 << 30 };
        transaction(large)
    };
    talk.client.begin(large());
    assert_eq!(talk.say(), [M, R0].concat());
    talk.hear("250\r\n550 no\r\n");
    assert_eq!(talk.brief(), ["0.0 Permanent 5 550", "0 done"]);
    talk.client.begin(large());
    assert_eq!(talk.say(), ["RSET\r\n", M, R0].concat());
    talk.hear("250\r\n250\r\n250\r\n");
    assert_eq!(talk.say(), "BDAT 1073741837 LAST\r\n{1 Chunk}");
}

#[test]
fn a_lone_dot_where_data_is_accepted_for_nobody() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(1, b"x")));
    talk.say();
    talk.hear("250\r\n550 no\r\n354 go\r\n");
    talk.client.begin(transaction(message(1, b"x")));
    assert_eq!(talk.say(), ["{0 LoneDot}", M, R0, "DATA\r\n"].concat());
    talk.hear("554 no recipients\r\n450 later\r\n503\r\n503\r\n");
    assert_eq!(talk.brief(), ["0.0 Permanent 5 550", "0 done", "1.0 Transient 3 450", "1 done"]);
}

#[test]
fn no_lone_dot_where_the_peer_contradicts_itself() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(1, b"x")));
    talk.say();
    talk.hear("450 no\r\n250 yes\r\n354 go\r\n");
    assert_eq!(talk.say(), "");
    assert_eq!(
        talk.brief(),
        ["0.0 Transient 3 450", "0 done", "closed 451 4.5.0 [internal] reply 354 makes no sense here"]
    );
}

#[test]
fn a_refused_data_is_cleared_by_rset() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(1, b"x")));
    talk.say();
    talk.hear("250\r\n250\r\n451 not now\r\n");
    assert_eq!(talk.brief(), ["0.0 Transient 7 451", "0 done"]);
    talk.client.begin(transaction(message(1, b"x")));
    assert_eq!(talk.say(), ["RSET\r\n", M, R0, "DATA\r\n"].concat());

    let mut talk = Talk::ready(Dialect::Smtp, &[]);
    talk.client.begin(transaction(message(1, b"x")));
    for reply in ["250\r\n", "452 full\r\n"] {
        talk.say();
        talk.hear(reply);
    }
    assert_eq!(talk.brief(), ["0.0 Transient 5 452", "0 done"]);
    talk.client.begin(transaction(message(1, b"x")));
    assert_eq!(talk.say(), "RSET\r\n");
    talk.hear("250\r\n");
    assert_eq!(talk.say(), M);
}

#[test]
fn too_many_recipients_go_into_the_next_transaction() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(4, b"x")));
    talk.say();
    talk.hear("250\r\n250\r\n452 4.5.3 enough\r\n452 4.3.1 disk\r\n552 enough\r\n354\r\n");
    talk.say();
    talk.hear("250\r\n");
    let verdicts = ["0.1 Untried 5 452", "0.2 Transient 5 452", "0.3 Untried 5 552", "0.0 Delivered 9 250", "0 done"];
    assert_eq!(talk.brief(), verdicts);
}

#[test]
fn refusals_by_421_at_every_step() {
    let steps = ["", "250\r\n", "250\r\n250\r\n", "250\r\n250\r\n354\r\n"];
    for (before, stage) in steps.into_iter().zip([3, 5, 7, 9]) {
        let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
        talk.client.begin(transaction(message(1, b"x")));
        talk.say();
        talk.hear(before);
        if talk.client.can_begin() {
            talk.client.begin(transaction(message(1, b"y")));
        }
        talk.say();
        talk.hear("421 4.3.2 closing\r\n250 ok\r\n");
        let mut expected = vec![format!("0.0 Transient {stage} 421"), "0 done".to_owned()];
        if stage == 9 {
            expected.extend(["1.0 Untried 9 421".to_owned(), "1 done".to_owned()]);
        }
        expected.push("closed 421 4.3.2 closing".to_owned());
        assert_eq!(talk.brief(), expected);
    }
}

#[test]
fn a_connection_closed_between_messages_costs_no_attempt() {
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(1, b"x")));
    talk.say();
    talk.hear("250\r\n250\r\n354\r\n");
    talk.say();
    talk.hear("250\r\n");
    talk.brief();
    talk.client.begin(transaction(message(1, b"y")));
    talk.say();
    talk.client.handle_closed();
    let closed = "closed 451 4.4.2 [internal] connection closed by remote host";
    assert_eq!(talk.brief(), ["1.0 Untried 3 451", "1 done", closed]);

    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(message(1, b"x")));
    talk.say();
    talk.client.handle_closed();
    assert_eq!(talk.brief(), ["0.0 Transient 3 451", "0 done", closed]);
}

#[test]
fn helo_where_ehlo_is_unknown() {
    let mut talk = Talk::new(settings(Dialect::Smtp));
    assert_eq!(talk.say(), "");
    talk.hear("220-one\r\n220 two\r\n");
    assert_eq!(talk.say(), "EHLO us.example\r\n");
    talk.hear("502 what\r\n");
    assert_eq!(talk.say(), "HELO us.example\r\n");
    talk.hear("250-PIPELINING\r\n250 PIPELINING\r\n");
    assert_eq!(talk.brief(), ["ready"]);
    assert_eq!(talk.client.peer(), &Capabilities::default());
}

#[test]
fn greetings_that_refuse() {
    for (greeting, stage) in [("554 go away\r\n", 12), ("421 busy\r\n", 12), ("220\r\n450 no\r\n", 11)] {
        let mut talk = Talk::new(settings(Dialect::Smtp));
        for line in greeting.split_inclusive('\n') {
            talk.hear(line);
            talk.say();
        }
        let [ClientEvent::Closed(Ending::Refused { stage: at, .. })] = &talk.events()[..] else { panic!("{greeting}") };
        assert_eq!(at.number(), stage);
    }
    let mut talk = Talk::new(settings(Dialect::Lmtp));
    talk.hear("220\r\n");
    talk.say();
    talk.hear("500 what\r\n");
    assert_eq!(talk.brief(), ["closed 500 what"]);
}

#[test]
fn lmtp_has_a_reply_for_each_accepted_recipient() {
    for capabilities in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"], &[]] {
        let mut talk = Talk::ready(Dialect::Lmtp, capabilities);
        talk.client.begin(transaction(message(3, b"x")));
        for reply in ["250\r\n", "250\r\n", "550 no\r\n", "250\r\n"] {
            talk.say();
            talk.hear(reply);
        }
        talk.say();
        if !talk.client.peer().has(Extension::Chunking) {
            talk.hear("354\r\n");
            talk.say();
        }
        talk.hear("250 ok\r\n");
        assert_eq!(talk.brief(), ["0.1 Permanent 5 550", "0.0 Delivered 9 250"], "{capabilities:?}");
        talk.hear("452 full\r\n");
        assert_eq!(talk.brief(), ["0.2 Transient 9 452", "0 done"]);
    }
}

#[test]
fn what_a_peer_cannot_take_fails_before_mail() {
    let check = |capabilities: &[&str], change: &dyn Fn(&mut Message)| {
        let mut talk = Talk::ready(Dialect::Smtp, capabilities);
        let mut message = message(1, b"caf\xe9\r\n");
        change(&mut message);
        talk.client.begin(transaction(message));
        let said = talk.say();
        let mut events = talk.events();
        if events.is_empty() {
            return said;
        }
        assert_eq!(said, "");
        let ClientEvent::Recipient { verdict: Verdict::Permanent, stage: Stage::Idle, reply, .. } = events.remove(0)
        else {
            panic!()
        };
        reply.to_string()
    };
    assert_eq!(check(&["SIZE 18"], &|_| ()), "552 5.3.4 [internal] message size limit exceeded");
    assert_eq!(check(&["SIZE 19"], &|_| ()), "MAIL FROM:<s@a.example> SIZE=19\r\n");
    let eight = |message: &mut Message| message.envelope.body_type = BodyType::EightBit;
    assert!(check(&[], &eight).starts_with("554 5.6.3 [internal]"));
    assert_eq!(check(&["8BITMIME"], &eight), "MAIL FROM:<s@a.example> BODY=8BITMIME\r\n");
    let ascii = |message: &mut Message| {
        eight(message);
        message.content = Content::Resident(Body::from(Slice::copy_from(b"plain\r\n")));
    };
    assert_eq!(check(&[], &ascii), M);
    let binary = |message: &mut Message| message.envelope.body_type = BodyType::Binary;
    assert!(check(&["BINARYMIME", "8BITMIME"], &binary).starts_with("554 5.6.1 [internal]"));
    assert_eq!(check(&["BINARYMIME", "CHUNKING"], &binary), "MAIL FROM:<s@a.example> BODY=BINARYMIME\r\n");
    let utf8 = |message: &mut Message| message.envelope.utf8 = Utf8::Yes;
    assert!(check(&["8BITMIME"], &utf8).starts_with("553 5.6.7 [internal]"));
    assert_eq!(check(&["SMTPUTF8"], &utf8), "MAIL FROM:<s@a.example> SMTPUTF8\r\n");
}

#[test]
fn dsn_parameters_go_on_where_they_are_offered() {
    let mut asked = message(2, b"x");
    asked.envelope.ret = Some(Return::Headers);
    asked.envelope.envid = Some("Q+2B1".into());
    asked.envelope.recipients[0].notify = Notify::On { success: true, failure: false, delay: true };
    asked.envelope.recipients[0].orcpt = Some("rfc822;o@c.example".into());
    asked.envelope.recipients[1].notify = Notify::Never;
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING", "DSN"]);
    talk.client.begin(transaction(asked.clone()));
    let said = [
        "MAIL FROM:<s@a.example> RET=HDRS ENVID=Q+2B1\r\n",
        "RCPT TO:<r0@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@c.example\r\n",
        "RCPT TO:<r1@b.example> NOTIFY=NEVER\r\n",
        "DATA\r\n",
    ];
    assert_eq!(talk.say(), said.concat());
    let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
    talk.client.begin(transaction(asked));
    assert_eq!(talk.say(), [M, R0, R1, "DATA\r\n"].concat());
}

#[test]
fn a_reply_before_the_end_of_the_content() {
    for (reply, verdict) in [("552 too big\r\n", "0.0 Permanent 8 552"), ("250 ok\r\n", "0.0 Transient 8 451")] {
        let mut talk = Talk::ready(Dialect::Smtp, &["PIPELINING"]);
        talk.client.begin(transaction(message(1, b"x")));
        talk.say();
        talk.hear("250\r\n250\r\n354\r\n");
        let mut output = Output::new();
        talk.client.poll_output(talk.now, &mut output);
        talk.client.handle_sent(talk.now, Sent::Some);
        talk.hear(reply);
        let brief = talk.brief();
        assert_eq!(brief[..2], [verdict.to_owned(), "0 done".to_owned()]);
        assert!(brief[2].starts_with("closed"));
    }
}

#[test]
fn each_phase_has_its_time() {
    let timeouts = Timeouts::default();
    let mut talk = Talk::new(settings(Dialect::Smtp));
    assert_eq!(talk.client.poll_deadline(), Some(talk.now + timeouts.greeting));
    talk.hear("220\r\n");
    talk.say();
    assert_eq!(talk.client.poll_deadline(), Some(talk.now + timeouts.ehlo));
    talk.hear("250 x\r\n");
    assert_eq!((talk.client.poll_deadline(), talk.brief()), (None, vec!["ready".to_owned()]));
    talk.client.begin(transaction(message(1, b"x")));
    for (reply, limit) in
        [("250\r\n", timeouts.mail), ("250\r\n", timeouts.rcpt), ("354\r\n", timeouts.data), ("", timeouts.body)]
    {
        talk.say();
        assert_eq!(talk.client.poll_deadline(), Some(talk.now + limit));
        // A part of a reply buys no time.
        talk.now += Duration::from_secs(1);
        let (start, rest) = reply.split_at(reply.len().min(2));
        talk.hear(start);
        talk.hear(rest);
    }
    let deadline = talk.client.poll_deadline().unwrap();
    talk.client.handle_timeout(deadline - Duration::from_millis(1));
    assert!(talk.events().is_empty());
    talk.client.handle_timeout(deadline);
    let closed = "closed 451 4.4.2 [internal] no end of DATA response";
    assert_eq!(talk.brief(), ["0.0 Transient 9 451", "0 done", closed]);
    assert_eq!(talk.client.poll_deadline(), None);
}
