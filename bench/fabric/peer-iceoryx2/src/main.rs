//! iceoryx2 in the fabric's loops: publish-subscribe with loaned samples, filled in place, both sides polling without a pause.
//!
//! Overflow is off and the publisher tries again at once when the subscriber's buffer is full, so nothing is lost; that is faster here than the
//! library's own back-pressure, which yields and then sleeps.

use iceoryx2::config::Config;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::{BackpressureAction, BackpressureInfo};
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use kit::row::{SIZES, SMALL_AND_MIDDLE};
use kit::{Place, Plan, Receiver, Row, Sender, rate, round_trip};
use std::process::ExitCode;
use std::time::Duration;

type Ipc = ipc::Service;

/// Samples that wait in the subscriber's buffer.
const DEPTH: usize = 64;
/// How long the other side may take to appear.
const APPEAR: Duration = Duration::from_millis(60);

const ROWS: &[Row] = &[
    Row {
        name: "iceoryx2",
        about: "iceoryx2 0.10 publish-subscribe, loaned samples, depth 64, both sides poll",
        sizes: SIZES,
        run: |plan| {
            let names = Names::new();
            let sender = || {
                std::thread::sleep(APPEAR); // a publisher drops what it sends before its subscriber is there
                Out::new(&names, "there", plan)
            };
            let figures = rate(plan, Place::Processes, sender, || In::new(&names, "there"));
            names.clean();
            figures
        },
    },
    Row {
        name: "iceoryx2-trip",
        about: "round trip over two iceoryx2 services, both sides poll",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| {
            let names = Names::new();
            let end = |out: &str, back: &str| {
                let back = In::new(&names, back);
                std::thread::sleep(APPEAR);
                End { back, out: Out::new(&names, out, plan) }
            };
            let figures = round_trip(plan, Place::Processes, || end("there", "back"), || end("back", "there"));
            names.clean();
            figures
        },
    },
];

fn main() -> ExitCode {
    set_log_level(LogLevel::Fatal);
    kit::main(&[ROWS])
}

/// Names that no other run has, so that what the library leaves behind can be removed.
struct Names {
    prefix: String,
    config: Config,
}

impl Names {
    fn new() -> Names {
        let prefix = format!("fabric_bench_{}_", std::process::id());
        let mut config = Config::default();
        config.global.prefix = FileName::new(prefix.as_bytes()).expect("letters and digits only");
        Names { prefix, config }
    }

    fn node(&self) -> Node<Ipc> {
        NodeBuilder::new().config(&self.config).create().expect("a node")
    }

    fn service(&self, node: &Node<Ipc>, name: &str) -> PortFactory<Ipc, [u8], ()> {
        let builder = node.service_builder(&name.try_into().expect("a short name")).publish_subscribe::<[u8]>();
        let builder = builder.max_publishers(1).max_subscribers(1).history_size(0).enable_safe_overflow(false);
        builder
            .subscriber_max_buffer_size(DEPTH)
            .subscriber_max_borrowed_samples(2)
            .open_or_create()
            .expect("a service")
    }

    /// Removes the segments that even a clean end leaves.
    fn clean(&self) {
        for folder in ["/dev/shm", "/tmp/iceoryx2/nodes", "/tmp/iceoryx2/services"] {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&self.prefix) {
                    // Another process may have removed it: that is what is wanted.
                    let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
                }
            }
        }
    }
}

struct Out {
    publisher: Publisher<Ipc, [u8], ()>,
    _node: Node<Ipc>,
}

impl Out {
    fn new(names: &Names, name: &str, plan: &Plan) -> Out {
        let node = names.node();
        let service = names.service(&node, name);
        let builder = service.publisher_builder();
        let builder = builder.set_backpressure_handler(|_: &BackpressureInfo| BackpressureAction::Retry);
        let builder = builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        let publisher = builder.initial_max_slice_len(plan.size).max_loaned_samples(2).create().expect("a publisher");
        Out { publisher, _node: node }
    }
}

impl Sender for Out {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut sample = self.publisher.loan_slice_uninit(len).expect("two samples may be loaned");
        let start = sample.payload_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: the sample has room for `len` bytes and is not shared yet; `fill` writes all of them and reads none.
        fill(unsafe { std::slice::from_raw_parts_mut(start, len) });
        // SAFETY: `fill` has written every byte.
        unsafe { sample.assume_init() }.send().expect("the subscriber outlives the run");
    }
}

struct In {
    subscriber: Subscriber<Ipc, [u8], ()>,
    _node: Node<Ipc>,
}

impl In {
    fn new(names: &Names, name: &str) -> In {
        let node = names.node();
        let subscriber =
            names.service(&node, name).subscriber_builder().buffer_size(DEPTH).create().expect("a subscriber");
        In { subscriber, _node: node }
    }
}

impl Receiver for In {
    /// Connects to the publisher; without it, samples that do not fit are dropped before the first call of `receive`.
    fn prepare(&mut self) {
        assert!(self.subscriber.receive().expect("a live service").is_none());
    }

    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        loop {
            if let Some(sample) = self.subscriber.receive().expect("a live service") {
                return read(sample.payload());
            }
            std::hint::spin_loop();
        }
    }
}

struct End {
    out: Out,
    back: In,
}

impl Sender for End {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.out.send(len, fill);
    }
}

impl Receiver for End {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        self.back.receive(read)
    }
}
