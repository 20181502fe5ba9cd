//! nng in the fabric's loops: PUSH0 and PULL0 for rates, PAIR0 for round trips, over ipc.
//!
//! The library has threads of its own, so its processes are not pinned.

use kit::row::{SIZES, SMALL_AND_MIDDLE};
use kit::{Figures, Place, Plan, Receiver, Row, Sender, rate, round_trip};
use nng::options::{Options, RecvBufferSize, SendBufferSize};
use nng::{Message, Protocol, Socket};
use std::process::ExitCode;
use std::time::Duration;

/// Messages that each socket may hold.
const DEPTH: i32 = 1000;

const ROWS: &[Row] = &[
    Row {
        name: "nng-ipc",
        about: "nng over ipc, PUSH0 to PULL0, messages filled in place",
        sizes: SIZES,
        run: |plan| {
            over_ipc(|uri| {
                let sender = || End::dialled(Protocol::Push0, uri);
                rate(plan, Place::ProcessesUnpinned, sender, || End::listening(Protocol::Pull0, uri))
            })
        },
    },
    Row {
        name: "nng-ipc-trip",
        about: "round trip over nng, ipc, PAIR0",
        sizes: SMALL_AND_MIDDLE,
        run: |plan: &Plan| {
            over_ipc(|uri| {
                let there = || End::dialled(Protocol::Pair0, uri);
                round_trip(plan, Place::ProcessesUnpinned, || End::listening(Protocol::Pair0, uri), there)
            })
        },
    },
];

fn main() -> ExitCode {
    kit::main(&[ROWS])
}

fn over_ipc(run: impl FnOnce(&str) -> Figures) -> Figures {
    let file = std::env::temp_dir().join(format!("fabric-bench-nng-{}", std::process::id()));
    let figures = run(&format!("ipc://{}", file.display()));
    // The library may have removed it.
    let _ = std::fs::remove_file(file);
    figures
}

struct End(Socket);

impl End {
    fn listening(protocol: Protocol, uri: &str) -> End {
        let end = End::new(protocol);
        end.0.listen(uri).expect("a free address");
        end
    }

    /// Tries until the other side listens, for a second.
    fn dialled(protocol: Protocol, uri: &str) -> End {
        let end = End::new(protocol);
        for _ in 0..500 {
            if end.0.dial(uri).is_ok() {
                return end;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("nobody listens at {uri}")
    }

    fn new(protocol: Protocol) -> End {
        let socket = Socket::new(protocol).expect("a socket");
        // A socket that only sends or only receives has no buffer of the other kind.
        let _ = socket.set_opt::<SendBufferSize>(DEPTH);
        let _ = socket.set_opt::<RecvBufferSize>(DEPTH);
        End(socket)
    }
}

impl Sender for End {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut message = Message::with_zeros(len);
        fill(&mut message);
        self.0.send(message).map_err(|(_, error)| error).expect("the receiver outlives the run");
    }
}

impl Receiver for End {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(&self.0.recv().expect("the sender outlives the run"))
    }
}
