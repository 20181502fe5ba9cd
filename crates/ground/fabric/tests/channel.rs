//! Channels between threads of one process: what the handles promise.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::thread;
use std::time::Duration;

use fabric::channel::{Channel, Deadline, Progress, ReceiveError, Receiver, Refusal, Waiting};
use fabric::queue::{Full, Priority, QueueKind, ReceiveFull, ReceiveKind};
use fabric::{Message, Slice};

const SOON: Duration = Duration::from_secs(20);

fn pair(name: &str, waiting: Waiting) -> ((Channel, Receiver), (Channel, Receiver)) {
    let uri = format!("inproc:{name}");
    let one = Channel::builder().listen(&uri).waiting(waiting).open().unwrap();
    let two = Channel::builder().connect(&uri).waiting(waiting).open().unwrap();
    (one, two)
}

#[test]
fn messages_arrive_whole_and_in_order() {
    let ((one, _), (_two, mut receiver)) = pair("order", Waiting::default());
    let poster = thread::spawn(move || {
        let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
        for number in 0..200_000u64 {
            let mut message = Message::copied(&number.to_le_bytes());
            message.push_copy(&vec![number as u8; (number % 300) as usize]);
            sender.post(message, SOON.into()).unwrap();
        }
        one.close(SOON.into()).unwrap();
    });
    for number in 0..200_000u64 {
        receiver
            .receive_with(SOON.into(), |message| {
                assert_eq!(message.bytes(), number.to_le_bytes());
                let second = message.frame(1).unwrap().to_vec();
                assert!(second.len() as u64 == number % 300 && second.iter().all(|byte| *byte == number as u8));
            })
            .unwrap();
    }
    poster.join().unwrap();
    assert!(
        matches!(receiver.receive(SOON.into()), Err(ReceiveError::PeerGone(loss)) if loss.gone.reason == fabric::tli::Reason::Closed)
    );
}

#[test]
fn what_is_posted_before_the_peer_is_there_waits_for_it() {
    let (one, _receiver) = Channel::builder().connect("inproc:early").open().unwrap();
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    (0..100u8).for_each(|number| sender.post(Message::copied(&[number]), Deadline::Now).unwrap());
    thread::sleep(Duration::from_millis(20));
    let (_two, mut receiver) = Channel::builder().listen("inproc:early").open().unwrap();
    for number in 0..100u8 {
        assert_eq!(receiver.receive(SOON.into()).unwrap().bytes(), [number]);
    }
}

#[test]
fn a_slow_receiver_holds_the_sender_back_and_loses_nothing() {
    let ((one, _), (_two, mut receiver)) = pair("slow", Waiting::Park);
    let poster = thread::spawn(move || {
        let mut sender =
            one.sender_with(QueueKind::MultiBounded { capacity: 10, full: Full::Block }, Priority::Normal, 1 << 20);
        for number in 0..2_000u32 {
            let mut message = Message::copied(&number.to_le_bytes());
            message.push_copy(&[7; 10_000]);
            sender.post(message, Deadline::Never).unwrap();
        }
        one.flush(SOON.into()).unwrap();
    });
    for number in 0..2_000u32 {
        if number % 500 == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(receiver.receive(SOON.into()).unwrap().bytes(), number.to_le_bytes());
    }
    receiver.receive(Deadline::Now).unwrap_err();
    poster.join().unwrap();
}

#[test]
fn a_slice_goes_by_reference() {
    let ((one, _), (_two, mut receiver)) = pair("lend", Waiting::default());
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let slice = Slice::from_vec(vec![5; 1 << 20]);
    for _ in 0..100 {
        sender.post(Message::shared(slice.clone()), SOON.into()).unwrap();
        let place = receiver
            .receive_with(SOON.into(), |message| message.frame(0).unwrap().as_bytes().unwrap().as_ptr())
            .unwrap();
        assert_eq!(place, slice.as_ptr());
    }
}

#[test]
fn critical_messages_pass_others_that_wait() {
    let ((one, _), (two, mut receiver)) = pair("critical", Waiting::Park);
    while !matches!(one.state(), fabric::channel::State::Up { .. }) {
        thread::yield_now();
    }
    let mut bulk = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut critical = one.sender(QueueKind::MonoUnbounded, Priority::Critical);
    for _ in 0..1000 {
        bulk.post(Message::copied(&[0; 1000]), SOON.into()).unwrap();
    }
    critical.post(Message::copied(b"now"), SOON.into()).unwrap();
    let before = (0..100).position(|_| receiver.receive(SOON.into()).unwrap().bytes() == b"now");
    assert!(before.is_some_and(|before| before <= 16), "{before:?}");
    let refused = critical.post(Message::copied(&[0; 8000]), SOON.into()).unwrap_err();
    assert!(matches!(refused.why, Refusal::TooLarge { .. }), "{refused}");
    drop(two);
}

#[test]
fn a_receive_queue_discards_the_oldest() {
    let (one, _r) = Channel::builder().listen("inproc:discard").open().unwrap();
    let kind = ReceiveKind::MultiBounded { capacity: 10, full: ReceiveFull::DiscardOldest };
    let (_two, mut receiver) =
        Channel::builder().connect("inproc:discard").receive_queue(kind, 1 << 20).open().unwrap();
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..1000u32 {
        sender.post(Message::copied(&number.to_le_bytes()), SOON.into()).unwrap();
    }
    one.flush(SOON.into()).unwrap();
    // What was read last is on its way into the queue.
    thread::sleep(Duration::from_millis(100));
    let mut other = receiver.another().unwrap();
    let mut left = Vec::new();
    while let Ok(received) = receiver.receive(Duration::from_millis(50).into()) {
        left.push(u32::from_le_bytes(received.bytes().try_into().unwrap()));
    }
    assert_eq!(left, (990..1000).collect::<Vec<_>>());
    other.receive(Deadline::Now).unwrap_err();
}

#[test]
fn futures_wait_for_messages() {
    let ((one, _), (_two, mut receiver)) = pair("future", Waiting::Park);
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let poster = thread::spawn(move || {
        for number in 0..200u32 {
            thread::sleep(Duration::from_micros(200));
            sender.post(Message::copied(&number.to_le_bytes()), SOON.into()).unwrap();
        }
    });
    for number in 0..200u32 {
        let received = block_on(receiver.receive_async()).unwrap();
        assert_eq!(received.bytes(), number.to_le_bytes());
    }
    poster.join().unwrap();
}

#[test]
fn without_a_service_thread_those_who_wait_drive_the_channel() {
    let builder = || Channel::builder().progress(Progress::Caller).waiting(Waiting::Park);
    let (one, mut back) = builder().listen("inproc:driven").open().unwrap();
    let echo = thread::spawn(move || {
        let (two, mut receiver) = builder().connect("inproc:driven").open().unwrap();
        let mut sender = two.sender(QueueKind::MonoUnbounded, Priority::Normal);
        for _ in 0..1000 {
            let received = receiver.receive(SOON.into()).unwrap();
            sender.post(Message::copied(received.bytes()), SOON.into()).unwrap();
        }
        two.close(SOON.into()).unwrap();
    });
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..1000u32 {
        sender.post(Message::copied(&number.to_le_bytes()), SOON.into()).unwrap();
        assert_eq!(back.receive(SOON.into()).unwrap().bytes(), number.to_le_bytes());
    }
    echo.join().unwrap();
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        thread::park();
    }
}
