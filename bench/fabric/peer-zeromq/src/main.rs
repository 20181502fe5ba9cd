//! ZeroMQ in the fabric's loops: PUSH and PULL for rates, PAIR for round trips; bounded at 1,000 messages, the library's default.
//!
//! The library has threads of its own, so its processes are not pinned.

use kit::row::{SIZES, SMALL_AND_MIDDLE};
use kit::{Figures, Place, Plan, Receiver, Row, Sender, rate, round_trip};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

const ROWS: &[Row] = &[
    Row {
        name: "zeromq-ipc",
        about: "ZeroMQ 4.3 over ipc, PUSH to PULL, messages filled in place",
        sizes: SIZES,
        run: |plan| over(Address::ipc(), plan, one_way),
    },
    Row {
        name: "zeromq-tcp",
        about: "ZeroMQ 4.3 over TCP on loopback, PUSH to PULL, messages filled in place",
        sizes: SIZES,
        run: |plan| over(Address::tcp(), plan, one_way),
    },
    Row {
        name: "zeromq-ipc-trip",
        about: "round trip over ZeroMQ 4.3, ipc, PAIR",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| over(Address::ipc(), plan, there_and_back),
    },
];

fn main() -> ExitCode {
    kit::main(&[ROWS])
}

struct Address {
    uri: String,
    file: Option<PathBuf>,
}

impl Address {
    fn ipc() -> Address {
        let file = std::env::temp_dir().join(format!("fabric-bench-zeromq-{}", std::process::id()));
        Address { uri: format!("ipc://{}", file.display()), file: Some(file) }
    }

    /// A port that was free a moment ago.
    fn tcp() -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        Address { uri: format!("tcp://{address}"), file: None }
    }
}

fn over(address: Address, plan: &Plan, run: fn(&str, &Plan) -> Figures) -> Figures {
    let figures = run(&address.uri, plan);
    if let Some(file) = address.file {
        // The library may have removed it.
        let _ = std::fs::remove_file(file);
    }
    figures
}

fn one_way(uri: &str, plan: &Plan) -> Figures {
    let sender = || End::connected(zmq::PUSH, uri);
    rate(plan, Place::ProcessesUnpinned, sender, || End::bound(zmq::PULL, uri))
}

fn there_and_back(uri: &str, plan: &Plan) -> Figures {
    round_trip(plan, Place::ProcessesUnpinned, || End::bound(zmq::PAIR, uri), || End::connected(zmq::PAIR, uri))
}

/// A socket; closed before its context.
struct End {
    socket: zmq::Socket,
    message: zmq::Message,
    _context: zmq::Context,
}

impl End {
    fn bound(kind: zmq::SocketType, uri: &str) -> End {
        let end = End::new(kind);
        end.socket.bind(uri).expect("a free address");
        end
    }

    fn connected(kind: zmq::SocketType, uri: &str) -> End {
        let end = End::new(kind);
        end.socket.connect(uri).expect("a valid address");
        end
    }

    fn new(kind: zmq::SocketType) -> End {
        let context = zmq::Context::new();
        let socket = context.socket(kind).expect("a socket");
        socket.set_linger(0).expect("an option of every socket");
        End { socket, message: zmq::Message::new(), _context: context }
    }
}

impl Sender for End {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut message = zmq::Message::with_size(len);
        fill(&mut message);
        self.socket.send(message, 0).expect("the receiver outlives the run");
    }
}

impl Receiver for End {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        self.socket.recv(&mut self.message, 0).expect("the sender outlives the run");
        read(&self.message)
    }
}
