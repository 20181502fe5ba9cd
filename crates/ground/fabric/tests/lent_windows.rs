//! Windows that were lent come back to who takes windows, though nobody else looks for them.

use std::sync::Arc;
use std::time::Duration;

use fabric::channel::{Channel, Deadline, FrameView};
use fabric::queue::{Priority, QueueKind};
use fabric::{Arena, Message};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn an_arena_of_one_window_serves_for_many_messages() {
    let directory = std::env::temp_dir().join(format!("fabric-lent-{}", std::process::id()));
    let uri = format!("ipc:lent?dir={}", directory.display());
    let arena = Arc::new(Arena::new(1 << 16, 1).expect("memory"));
    let (one, _receiver) = Channel::builder().listen(&uri).arena(arena).open().expect("opened");
    let (_two, mut receiver) = Channel::builder().connect(&uri).open().expect("opened");
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..100u8 {
        let mut window = one.take_window().expect("the peer has given it back");
        window.spare()[..8000].fill(number);
        sender.post(Message::shared(window.fill(8000)), SOON.into()).expect("posted");
        drop(window);
        let received = receiver.receive(SOON.into()).expect("received");
        assert!(matches!(received.frame(0), Some(FrameView::Remote(_))), "by reference");
        assert!(one.take_window().is_none(), "it is being read");
        assert_eq!(received.to_vec(), [number; 8000]);
    }
    one.close(Deadline::Now).expect("all was read");
    let _ = std::fs::remove_dir_all(directory);
}
