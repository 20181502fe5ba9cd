//! One query over one socket. Owns sockets for the time of an attempt; decides nothing.
//!
//! A datagram socket is new for every attempt, bound to a random port by the kernel and connected, so that only packets
//! from the server's address and port reach it (RFC 5452 §9.1, §9.2), and an ICMP refusal is heard.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::exchange::{Attempt, Reception};
use crate::upstream::Transport;
use crate::{Question, parse_response};

/// Octets read of a datagram: what we offered, and room to notice one that is larger.
const DATAGRAM_MAX: usize = 2048;
/// Datagrams that are no response, on one attempt, before UDP is given up for it.
const FOREIGN_DATAGRAMS_MAX: u64 = 16;

/// What came of an attempt, and how many packets were none of its business.
pub(crate) struct Received {
    pub(crate) reception: Reception,
    pub(crate) foreign_packets: u64,
}

/// Carries `attempt` out.
pub(crate) async fn ask(attempt: Attempt, question: &Question, id: u16) -> Received {
    let mut foreign_packets = 0;
    let started = Instant::now();
    let conversation = async {
        match attempt.transport {
            Transport::Udp => ask_by_udp(attempt, question, id, started, &mut foreign_packets).await,
            Transport::Tcp => ask_by_tcp(attempt, question, id, started).await,
        }
    };
    let reception = match timeout(attempt.timeout, conversation).await {
        Ok(Ok(reception)) => reception,
        Ok(Err(_)) => Reception::Unreachable,
        Err(_) => Reception::Silence,
    };
    Received { reception, foreign_packets }
}

async fn ask_by_udp(
    attempt: Attempt,
    question: &Question,
    id: u16,
    started: Instant,
    foreign_packets: &mut u64,
) -> io::Result<Reception> {
    let socket = UdpSocket::bind(any_port(attempt.address)).await?;
    socket.connect(attempt.address).await?;
    socket.send(&question.to_wire(id, attempt.edns)).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match parse_response(&buffer[..length], id, question) {
            Ok(response) => return Ok(Reception::Response { response, after: started.elapsed() }),
            Err(error) if !error.is_foreign() => return Ok(Reception::Unreadable),
            Err(_) => {
                *foreign_packets += 1;
                if *foreign_packets >= FOREIGN_DATAGRAMS_MAX {
                    return Ok(Reception::Flooded);
                }
            }
        }
    }
}

async fn ask_by_tcp(attempt: Attempt, question: &Question, id: u16, started: Instant) -> io::Result<Reception> {
    let mut stream = TcpStream::connect(attempt.address).await?;
    let query = question.to_wire(id, attempt.edns);
    let mut framed = Vec::with_capacity(2 + query.len());
    framed.extend_from_slice(&(query.len() as u16).to_be_bytes());
    framed.extend_from_slice(&query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    let after: Duration = started.elapsed();
    // Nobody else can speak on a connection of our own, so a foreign response is the server's fault too.
    Ok(match parse_response(&packet, id, question) {
        Ok(response) => Reception::Response { response, after },
        Err(_) => Reception::Unreadable,
    })
}

fn any_port(towards: SocketAddr) -> SocketAddr {
    let any = match towards.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(any, 0)
}
