//! Responses as a server, or somebody who would like to be one, may write them.

use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, SOA, TXT};

use super::*;

const ID: u16 = 0x4d54;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(text: &str, kind: RecordKind) -> Question {
    Question::new(&DnsName::parse(text).unwrap(), kind)
}

fn response(question: &Question) -> Message {
    let mut message = Message::new(ID, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(question.name.clone(), question.kind.record_type()));
    message
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    record(owner, ttl, RData::A(A::new(192, 0, 2, last)))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    record(owner, ttl, RData::CNAME(CNAME(name(target))))
}

fn mx(owner: &str, preference: u16, host: Name) -> Record {
    record(owner, 300, RData::MX(MX::new(preference, host)))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    record(owner, ttl, RData::SOA(SOA::new(name("ns.example."), name("hm.example."), 1, 2, 3, 4, minimum)))
}

fn parse(message: &Message, question: &Question) -> Result<Response, ResponseError> {
    parse_response(&message.to_vec().unwrap(), ID, question)
}

#[test]
fn addresses_are_read_with_the_least_ttl_of_the_chain() {
    let question = question("www.example", RecordKind::A);
    let mut message = response(&question);
    message.add_answers([
        cname("WWW.example.", 50, "b.example."),
        a("b.example.", 300, 1),
        cname("b.example.", 400, "C.Example."),
        a("c.example.", 300, 2),
        a("C.example.", 200, 3),
        a("other.example.", 1, 4),
    ]);
    let Ok(Response::Answer(Answer::Records { records: Records::A(list), ttl: 50 })) = parse(&message, &question)
    else {
        panic!("{:?}", parse(&message, &question));
    };
    assert_eq!(list.iter().map(|address| address.octets()[3]).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn an_open_chain_is_an_alias() {
    let question = question("www.example", RecordKind::A);
    let mut message = response(&question);
    message.add_answers([cname("www.example.", 50, "b.example."), cname("b.example.", 40, "Far.Example.")]);
    assert_eq!(
        parse(&message, &question),
        Ok(Response::Answer(Answer::Alias { target: name("far.example."), ttl: 40 }))
    );
    message.add_authority(soa("example.", 30, 900));
    assert_eq!(parse(&message, &question), Ok(Response::Answer(Answer::NoData { ttl: Some(30) })));
}

#[test]
fn loops_and_long_chains_of_aliases_end() {
    let question = question("a0.example", RecordKind::A);
    let mut message = response(&question);
    message.add_answers([cname("a0.example.", 50, "b.example."), cname("b.example.", 50, "a0.example.")]);
    assert_eq!(parse(&message, &question), Err(ResponseError::AliasLoop));

    for (length, expected_ok) in [(ALIASES_MAX, true), (ALIASES_MAX + 1, false)] {
        let mut message = response(&question);
        message.add_answers((0..length).map(|n| cname(&format!("a{n}.example."), 50, &format!("a{}.example.", n + 1))));
        message.add_answer(a(&format!("a{length}.example."), 50, 1));
        assert_eq!(parse(&message, &question).is_ok(), expected_ok, "{length}");
    }
}

#[test]
fn negative_answers_take_their_time_from_the_soa() {
    let question = question("gone.example", RecordKind::Mx);
    let mut message = response(&question);
    message.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(parse(&message, &question), Ok(Response::Answer(Answer::NoDomain { ttl: None })));
    message.add_authority(soa("unrelated.test.", 7, 7));
    assert_eq!(parse(&message, &question), Ok(Response::Answer(Answer::NoDomain { ttl: None })), "not its zone");
    message.add_authority(soa("example.", 900, 60));
    assert_eq!(parse(&message, &question), Ok(Response::Answer(Answer::NoDomain { ttl: Some(60) })));
    message.metadata.response_code = ResponseCode::NoError;
    assert_eq!(parse(&message, &question), Ok(Response::Answer(Answer::NoData { ttl: Some(60) })));
}

#[test]
fn a_delegation_is_no_answer() {
    let question = question("mail.example", RecordKind::A);
    let mut message = response(&question);
    message.add_authority(record("example.", 300, RData::NS(NS(name("ns.example.")))));
    assert_eq!(parse(&message, &question), Ok(Response::Refused(Refusal::Delegation)));
}

#[test]
fn mail_exchanges_become_hosts() {
    let question = question("example", RecordKind::Mx);
    let route = |records: Vec<Record>| {
        let mut message = response(&question);
        message.add_answers(records);
        match parse(&message, &question) {
            Ok(Response::Answer(Answer::Records { records: Records::Mx(route), .. })) => (*route).clone(),
            other => panic!("{other:?}"),
        }
    };
    let odd = Name::from_labels([b"a b".as_slice(), b"example".as_slice()]).unwrap();
    let six = Name::from_labels([b"2001:db8::7".as_slice()]).unwrap();
    let RouteKind::Mx(exchanges) = route(vec![
        mx("example.", 30, name("192.0.2.9.")),
        mx("example.", 20, odd),
        mx("example.", 10, name("Mail.example.")),
        mx("example.", 40, six),
        mx("example.", 0, Name::root()),
    ]) else {
        panic!("a list");
    };
    let shown: Vec<String> = exchanges.iter().map(|e| format!("{} {}", e.preference, e.host)).collect();
    assert_eq!(shown, ["10 mail.example", "30 192.0.2.9", "40 2001:db8::7"]);
    assert!(exchanges[1..].iter().all(|e| matches!(e.host, Host::Address(_))));

    assert_eq!(route(vec![mx("example.", 0, Name::root())]), RouteKind::NullMx);
    let unusable = Name::from_labels([b"a.b".as_slice()]).unwrap();
    assert_eq!(route(vec![mx("example.", 5, unusable)]), RouteKind::Mx(vec![]));
}

#[test]
fn the_strings_of_a_text_are_joined() {
    let question = question("example", RecordKind::Txt);
    let mut message = response(&question);
    message.add_answer(record("example.", 60, RData::TXT(TXT::from_bytes(vec![b"v=spf1 ", b"-all\xff"]))));
    let Ok(Response::Answer(Answer::Records { records: Records::Txt(list), .. })) = parse(&message, &question) else {
        panic!("texts");
    };
    assert_eq!(&*list[0], b"v=spf1 -all\xff");
}

#[test]
fn thousands_of_records_are_cut_to_the_best() {
    let question = question("example", RecordKind::Mx);
    let mut message = response(&question);
    message.add_answers((0..2000u16).rev().map(|n| mx("example.", n, name("m.example."))));
    let Ok(Response::Answer(Answer::Records { records: Records::Mx(route), .. })) = parse(&message, &question) else {
        panic!("records");
    };
    let RouteKind::Mx(exchanges) = &*route else { panic!("a list") };
    assert_eq!(exchanges.len(), RECORDS_MAX);
    assert_eq!(exchanges[RECORDS_MAX - 1].preference, RECORDS_MAX as u16 - 1);
}

#[test]
fn what_belongs_to_another_query_is_foreign() {
    let asked = question("example", RecordKind::A);
    let mut message = response(&asked);
    message.add_answer(a("example.", 300, 1));
    let bytes = message.to_vec().unwrap();
    let foreign = |bytes: &[u8], id, question: &Question| {
        parse_response(bytes, id, question).is_err_and(ResponseError::is_foreign)
    };
    assert!(!foreign(&bytes, ID, &asked));
    assert!(foreign(&bytes, ID ^ 1, &asked));
    assert!(foreign(&bytes, ID, &question("example", RecordKind::Aaaa)));
    assert!(foreign(&bytes, ID, &question("exampl", RecordKind::A)));
    assert!(foreign(&bytes[..11], ID, &asked));
    assert!(foreign(&asked.to_wire(ID, crate::question::EdnsUse::Offered), ID, &asked), "a query is no response");
    message.add_query(Query::query(name("example."), RecordType::A));
    assert!(foreign(&message.to_vec().unwrap(), ID, &asked), "two questions");
}

#[test]
fn damage_behind_the_question_is_the_servers_fault() {
    let asked = question("example", RecordKind::A);
    let mut message = response(&asked);
    message.add_answer(a("example.", 300, 1));
    let bytes = message.to_vec().unwrap();
    for length in 12 + 9 + 4..bytes.len() {
        assert_eq!(parse_response(&bytes[..length], ID, &asked), Err(ResponseError::Malformed), "{length}");
    }
    // A name that is a pointer to itself.
    let mut looped = response(&asked).to_vec().unwrap();
    looped[7] = 1;
    let here = looped.len() as u8;
    looped.extend([0xc0, here, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]);
    assert_eq!(parse_response(&looped, ID, &asked), Err(ResponseError::Malformed));
}

#[test]
fn codes_are_told_apart() {
    let asked = question("example", RecordKind::A);
    let with = |code| {
        let mut message = response(&asked);
        message.metadata.response_code = code;
        message.set_edns(Edns::new());
        parse(&message, &asked)
    };
    assert_eq!(with(ResponseCode::ServFail), Ok(Response::Refused(Refusal::Failure)));
    assert_eq!(with(ResponseCode::Refused), Ok(Response::Refused(Refusal::Failure)));
    assert_eq!(with(ResponseCode::NotImp), Ok(Response::Refused(Refusal::Format)));
    let mut versions = response(&asked);
    versions.metadata.response_code = ResponseCode::BADVERS;
    versions.set_edns(Edns::new());
    assert_eq!(parse(&versions, &asked), Ok(Response::Refused(Refusal::Format)), "badvers");

    let mut bare = Message::new(ID, MessageType::Response, OpCode::Query);
    bare.metadata.response_code = ResponseCode::FormErr;
    assert_eq!(parse(&bare, &asked), Ok(Response::Refused(Refusal::Format)));
    let mut cut = response(&asked);
    cut.metadata.truncation = true;
    assert_eq!(parse(&cut, &asked), Ok(Response::Truncated));
}

#[test]
fn any_bytes_give_a_value_or_an_error() {
    let asked = question("example", RecordKind::Mx);
    let mut message = response(&asked);
    message.add_answers([cname("example.", 9, "b.example."), mx("b.example.", 1, name("m.example."))]);
    message.add_authority(soa("example.", 9, 9));
    let bytes = message.to_vec().unwrap();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            // Only has to return; the id is the one that lets the parser go deepest.
            let _ = parse_response(&damaged, ID, &asked);
        }
    }
}
