//! A DNS server that does what the test says: forges, delays, floods, lies, keeps silent. Speaks UDP, and TCP on the same
//! port if told to.

#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, CNAME, MX};
use hickory_proto::rr::{Name, RData, Record};

/// How often a thread looks whether the test is over.
const GLANCE: Duration = Duration::from_millis(20);

/// One query, as it arrived.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) message: Message,
    pub(crate) from: SocketAddr,
}

impl Asked {
    /// A response to it without records.
    pub(crate) fn response(&self) -> Message {
        let mut message = self.message.clone();
        message.metadata.message_type = MessageType::Response;
        message.edns = None;
        message
    }

    /// A response with one address.
    pub(crate) fn address(&self, last: u8) -> Message {
        let mut message = self.response();
        let owner = message.queries[0].name.clone();
        message.add_answer(Record::from_rdata(owner, 300, RData::A(A::new(192, 0, 2, last))));
        message
    }

    /// A response that says "ask for `target`".
    pub(crate) fn alias(&self, target: &str) -> Message {
        let mut message = self.response();
        let owner = message.queries[0].name.clone();
        let target = Name::from_ascii(target).unwrap();
        message.add_answer(Record::from_rdata(owner, 300, RData::CNAME(CNAME(target))));
        message
    }

    /// A response with `count` mail exchanges, the worst first.
    pub(crate) fn exchanges(&self, count: u16) -> Message {
        let mut message = self.response();
        let owner = message.queries[0].name.clone();
        let host = Name::from_ascii("m.example.").unwrap();
        message.add_answers(
            (0..count).rev().map(|n| Record::from_rdata(owner.clone(), 300, RData::MX(MX::new(n, host.clone())))),
        );
        message
    }

    pub(crate) fn first_label(&self) -> String {
        String::from_utf8(self.message.queries[0].name.iter().next().unwrap().to_vec()).unwrap()
    }
}

/// What the peer sends back.
pub(crate) enum Act {
    /// These bytes, from where it was asked.
    Send(Vec<u8>),
    /// These bytes, from another port of the same address.
    SendFromElsewhere(Vec<u8>),
    /// Nothing for so long; other queries wait too.
    Wait(Duration),
}

pub(crate) fn send(message: &Message) -> Act {
    Act::Send(message.to_vec().unwrap())
}

/// The running peer; its threads end with it.
pub(crate) struct HostilePeer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl HostilePeer {
    /// Answers every datagram with the acts of `script`; TCP is refused.
    pub(crate) fn by_udp(mut script: impl FnMut(&Asked) -> Vec<Act> + Send + 'static) -> Self {
        let (peer, socket) = Self::bind();
        let (seen, over) = (Arc::clone(&peer.seen), Arc::clone(&peer.over));
        thread::spawn(move || {
            let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut buffer = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let asked = Asked { message: Message::from_vec(&buffer[..length]).unwrap(), from };
                seen.lock().unwrap().push(asked.clone());
                for act in script(&asked) {
                    // The asker may have gone; that is for the test to judge.
                    match act {
                        Act::Send(bytes) => drop(socket.send_to(&bytes, from)),
                        Act::SendFromElsewhere(bytes) => drop(elsewhere.send_to(&bytes, from)),
                        Act::Wait(time) => thread::sleep(time),
                    }
                }
            }
        });
        peer
    }

    /// As [`Self::by_udp`], and answers the first query of every connection with the bytes of `tcp_script`, framed by
    /// `length` or their true length, then closes.
    pub(crate) fn by_udp_and_tcp(
        script: impl FnMut(&Asked) -> Vec<Act> + Send + 'static,
        mut tcp_script: impl FnMut(&Asked) -> (Option<u16>, Vec<u8>) + Send + 'static,
    ) -> Self {
        let peer = Self::by_udp(script);
        let listener = TcpListener::bind(peer.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (connections, over) = (Arc::clone(&peer.connections), Arc::clone(&peer.over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((mut stream, from)) = listener.accept() else {
                    thread::sleep(GLANCE);
                    continue;
                };
                connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nonblocking(false).unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let asked = Asked { message: Message::from_vec(&query).unwrap(), from };
                let (length, bytes) = tcp_script(&asked);
                let length = length.unwrap_or(bytes.len() as u16);
                drop(stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()));
            }
        });
        peer
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The datagrams that reached it, in their order.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// The connections that it accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn bind() -> (Self, UdpSocket) {
        let socket = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            if TcpListener::bind(socket.local_addr().unwrap()).is_ok() {
                break socket;
            }
        };
        socket.set_read_timeout(Some(GLANCE)).unwrap();
        let peer = Self {
            address: socket.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            over: Arc::default(),
        };
        (peer, socket)
    }
}

impl Drop for HostilePeer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
