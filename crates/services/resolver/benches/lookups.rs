//! What a look-up costs: from the cache, over loopback, and the reading of a large answer.

use std::net::UdpSocket;
use std::thread;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, MX};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use policy::{DnsName, Families, Resolve};
use resolver::{Question, RecordKind, Resolver, ResolverOptions, SequenceKey, parse_response};
use tokio::runtime::{Builder, Runtime};

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn name(text: &str) -> DnsName {
    DnsName::parse(text).expect("a name")
}

/// A resolver of a server on loopback that answers every query with one address, on a thread each.
fn resolver() -> Resolver {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let servers = vec![socket.local_addr().expect("an address")];
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut message = Message::from_vec(&buffer[..length]).expect("a query");
            message.metadata.message_type = MessageType::Response;
            let owner = message.queries[0].name.clone();
            message.add_answer(Record::from_rdata(owner, 3600, RData::A(A::new(192, 0, 2, 1))));
            socket.send_to(&message.to_vec().expect("a response"), from).expect("sent");
        }
    });
    let options = ResolverOptions { servers, ..ResolverOptions::default() };
    let (resolver, driver) = Resolver::new(options, SequenceKey([1, 2]));
    thread::spawn(move || runtime().block_on(driver.run()));
    resolver
}

#[divan::bench]
fn from_the_cache(bencher: divan::Bencher<'_, '_>) {
    let (resolver, runtime, host) = (resolver(), runtime(), name("mail.example.org"));
    bencher.bench_local(|| runtime.block_on(resolver.addresses(&host, Families::V4Only)));
}

/// 64 questions at a time, each new.
#[divan::bench]
fn from_the_server_by_64(bencher: divan::Bencher<'_, '_>) {
    let (resolver, runtime) = (resolver(), runtime());
    let mut number = 0;
    bencher.counter(64usize).bench_local(|| {
        runtime.block_on(async {
            let local = tokio::task::LocalSet::new();
            for _ in 0..64 {
                number += 1;
                let (resolver, host) = (resolver.clone(), name(&format!("h{number}.example")));
                local.spawn_local(async move { resolver.addresses(&host, Families::V4Only).await });
            }
            local.await;
        });
    });
}

#[divan::bench(args = [1, 20, 1500])]
fn read_mail_exchanges(bencher: divan::Bencher<'_, '_>, count: u16) {
    let question = Question::new(&name("x.example"), RecordKind::Mx);
    let owner = Name::from_ascii("x.example.").expect("a name");
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(owner.clone(), RecordType::MX));
    let host = Name::from_ascii("m.example.").expect("a name");
    message.add_answers((0..count).map(|n| Record::from_rdata(owner.clone(), 60, RData::MX(MX::new(n, host.clone())))));
    let packet = message.to_vec().expect("a response");
    bencher.bench(|| parse_response(&packet, 7, &question));
}
