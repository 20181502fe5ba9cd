//! Messages made of arbitrary frames cross a channel whole: what arrives is what was posted.
#![no_main]
use fabric::channel::{Channel, Deadline};
use fabric::queue::{Priority, QueueKind};
use fabric::{Message, Slice};

libfuzzer_sys::fuzz_target!(|frames: Vec<(u16, u8, Vec<u8>)>| {
    thread_local! {
        static ENDS: std::cell::RefCell<Option<Ends>> = const { std::cell::RefCell::new(None) };
    }
    ENDS.with_borrow_mut(|ends| ends.get_or_insert_with(Ends::new).cross(&frames));
});

/// Both ends of a channel, made once.
struct Ends {
    sender: fabric::channel::Sender,
    receiver: fabric::channel::Receiver,
    _channels: [Channel; 2],
}

impl Ends {
    fn new() -> Self {
        let (one, _) = Channel::builder().listen("inproc:fuzz").open().expect("a name of its own");
        let (two, receiver) = Channel::builder().connect("inproc:fuzz").open().expect("a name of its own");
        let sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
        Self { sender, receiver, _channels: [one, two] }
    }

    fn cross(&mut self, frames: &[(u16, u8, Vec<u8>)]) {
        let frames = &frames[..frames.len().min(fabric::wire::FRAMES_MAX)];
        let mut message = Message::new();
        for (schema, how, bytes) in frames {
            match how % 3 {
                0 => message.push_copy(bytes),
                1 => message.push_shared(Slice::from_vec(bytes.clone())),
                _ => message.push_external(bytes.clone()),
            }
            message = message.with_schema(*schema);
        }
        if message.encoded_bytes() > self.sender.message_bytes_max() {
            return;
        }
        self.sender.post(message, Deadline::Never).expect("its peer is there");
        let received = self.receiver.receive(Deadline::Never).expect("it was posted");
        assert_eq!(received.frames().len(), frames.len());
        for (number, (schema, _, bytes)) in frames.iter().enumerate() {
            assert_eq!(received.frames()[number].schema, *schema);
            assert_eq!(&received.frame(number).expect("it was counted").to_vec(), bytes);
        }
    }
}
