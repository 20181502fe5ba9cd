//! Queues between threads of one process, and tokio's sockets, in the fabric's loops.
//!
//! A message is an owned parcel: 64 bytes travel inside the queue, more in an allocation of its own, since the receiver must own what it gets.

use kit::flight::{AsyncEnd, answer, ask, in_flight};
use kit::message::read;
use kit::row::{SIZES, SMALL};
use kit::{Place, Plan, Receiver, Row, Sender, rate, rate_of_many};
use std::process::ExitCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Most messages in a queue, and most bytes.
const DEPTH: usize = 1024;
const DEPTH_BYTES: usize = 64 << 20;
/// Producers of the rows with many.
const PRODUCERS: usize = 4;

const ROWS: &[Row] = &[
    Row {
        name: "crossbeam-channel",
        about: "crossbeam-channel, bounded, two threads, an allocation a message above 64 bytes",
        sizes: SIZES,
        run: |plan| {
            let (tx, rx) = crossbeam_channel::bounded(depth(plan));
            rate(plan, Place::Threads, || Crossbeam(tx), || CrossbeamEnd(rx))
        },
    },
    Row {
        name: "rtrb",
        about: "rtrb ring, two threads that spin, an allocation a message above 64 bytes",
        sizes: SIZES,
        run: |plan| {
            let (tx, rx) = rtrb::RingBuffer::new(depth(plan));
            rate(plan, Place::Threads, || Rtrb(tx), || RtrbEnd(rx))
        },
    },
    Row {
        name: "tokio-mpsc",
        about: "tokio mpsc, bounded, two threads, blocking calls, an allocation a message above 64 bytes",
        sizes: SIZES,
        run: |plan| {
            let (tx, rx) = tokio::sync::mpsc::channel(depth(plan));
            rate(plan, Place::Threads, || Tokio(tx), || TokioEnd(rx))
        },
    },
    Row {
        name: "tokio-mpsc-four",
        about: "tokio mpsc, bounded, four producers and one consumer, blocking calls",
        sizes: SMALL,
        run: |plan| {
            let (tx, rx) = tokio::sync::mpsc::channel(depth(plan));
            let senders = (0..PRODUCERS).map(|_| tx.clone()).map(|tx| || Tokio(tx)).collect();
            rate_of_many(plan, senders, TokioEnd(rx))
        },
    },
    Row {
        name: "crossbeam-channel-four",
        about: "crossbeam-channel, bounded, four producers and one consumer",
        sizes: SMALL,
        run: |plan| {
            let (tx, rx) = crossbeam_channel::bounded(depth(plan));
            let senders = (0..PRODUCERS).map(|_| tx.clone()).map(|tx| || Crossbeam(tx)).collect();
            rate_of_many(plan, senders, CrossbeamEnd(rx))
        },
    },
    Row {
        name: "tokio-unix-stream-flight",
        about: "tokio UnixStream, two processes, awaited echo, 64 in flight, reads buffered, one write a message",
        sizes: SMALL,
        run: |plan| {
            let (near, far) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
            let here = |gate: &_| in_runtime(async { ask(plan, gate, &mut Stream::new(near, plan)).await });
            let there = |gate: &_| in_runtime(async { answer(plan, gate, &mut Stream::new(far, plan)).await });
            in_flight(Place::Processes, here, there)
        },
    },
];

fn main() -> ExitCode {
    kit::main(&[ROWS])
}

fn depth(plan: &Plan) -> usize {
    (DEPTH_BYTES / plan.size).clamp(8, DEPTH)
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(work)
}

enum Parcel {
    Inline([u8; 64]),
    Boxed(Box<[u8]>),
}

impl Parcel {
    fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Parcel {
        if len == 64 {
            let mut bytes = [0; 64];
            fill(&mut bytes);
            Parcel::Inline(bytes)
        } else {
            let mut bytes = Box::new_uninit_slice(len);
            let start = bytes.as_mut_ptr().cast::<u8>();
            // SAFETY: the box has room for `len` bytes and is nobody else's; `fill` writes all of them and reads none.
            fill(unsafe { std::slice::from_raw_parts_mut(start, len) });
            // SAFETY: `fill` has written every byte.
            let bytes = unsafe { bytes.assume_init() };
            Parcel::Boxed(bytes)
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Parcel::Inline(bytes) => bytes,
            Parcel::Boxed(bytes) => bytes,
        }
    }
}

struct Crossbeam(crossbeam_channel::Sender<Parcel>);

impl Sender for Crossbeam {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.0.send(Parcel::filled(len, fill)).expect("the receiver outlives the run");
    }
}

struct CrossbeamEnd(crossbeam_channel::Receiver<Parcel>);

impl Receiver for CrossbeamEnd {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(self.0.recv().expect("the sender outlives the run").bytes())
    }
}

struct Rtrb(rtrb::Producer<Parcel>);

impl Sender for Rtrb {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut parcel = Parcel::filled(len, fill);
        while let Err(rtrb::PushError::Full(back)) = self.0.push(parcel) {
            std::hint::spin_loop();
            parcel = back;
        }
    }
}

struct RtrbEnd(rtrb::Consumer<Parcel>);

impl Receiver for RtrbEnd {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        loop {
            if let Ok(parcel) = self.0.pop() {
                return read(parcel.bytes());
            }
            std::hint::spin_loop();
        }
    }
}

struct Tokio(tokio::sync::mpsc::Sender<Parcel>);

impl Sender for Tokio {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.0.blocking_send(Parcel::filled(len, fill)).expect("the receiver outlives the run");
    }
}

struct TokioEnd(tokio::sync::mpsc::Receiver<Parcel>);

impl Receiver for TokioEnd {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(self.0.blocking_recv().expect("the sender outlives the run").bytes())
    }
}

struct Stream {
    stream: BufReader<UnixStream>,
    buffer: Vec<u8>,
}

impl Stream {
    /// Inside a runtime.
    fn new(stream: std::os::unix::net::UnixStream, plan: &Plan) -> Stream {
        stream.set_nonblocking(true).expect("a socket");
        let stream = UnixStream::from_std(stream).expect("a runtime");
        Stream { stream: BufReader::new(stream), buffer: vec![0; plan.size] }
    }
}

impl AsyncEnd for Stream {
    async fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        fill(&mut self.buffer[..len]);
        self.stream.write_all(&self.buffer[..len]).await.expect("the other side outlives the run");
    }

    async fn receive(&mut self) -> u64 {
        self.stream.read_exact(&mut self.buffer).await.expect("the other side outlives the run");
        read(&self.buffer)
    }
}
