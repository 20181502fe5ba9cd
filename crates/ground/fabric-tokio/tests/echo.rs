//! Tasks that talk over channels.

use std::time::Duration;

use fabric::Message;
use fabric::channel::{Channel, Deadline, ReceiveError, Waiting};
use fabric::queue::{Priority, QueueKind};
use fabric_tokio::{AsyncReceiver, Error};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_echoes_until_its_peer_closes() {
    let (one, back) = Channel::builder().listen("inproc:tokio-echo").waiting(Waiting::Park).open().unwrap();
    let echo = tokio::spawn(async {
        let (two, receiver) = Channel::builder().connect("inproc:tokio-echo").waiting(Waiting::Park).open().unwrap();
        let mut sender = two.sender(QueueKind::MonoUnbounded, Priority::Normal);
        let mut receiver = AsyncReceiver::new(receiver).unwrap();
        loop {
            match receiver.receive().await {
                Ok(received) => sender.post_async(Message::copied(received.bytes())).await.unwrap(),
                Err(Error::Receive(ReceiveError::PeerGone(loss))) => return loss.gone.reason,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut back = AsyncReceiver::new(back).unwrap();
    for number in 0..2_000u32 {
        sender.post_async(Message::copied(&number.to_le_bytes())).await.unwrap();
        // Every other time the echo is awaited at once, so that both sides sleep often.
        let mut seen = Vec::new();
        back.drain(1, |message| seen = message.to_vec()).await.unwrap();
        assert_eq!(seen, number.to_le_bytes());
    }
    tokio::task::spawn_blocking(move || one.close(Deadline::after(Duration::from_secs(10)))).await.unwrap().unwrap();
    assert_eq!(echo.await.unwrap(), fabric::tli::Reason::Closed);
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let (one, _back) = Channel::builder().listen("inproc:tokio-cancel").open().unwrap();
    let (_two, receiver) = Channel::builder().connect("inproc:tokio-cancel").open().unwrap();
    let mut receiver = AsyncReceiver::new(receiver).unwrap();
    for _ in 0..5 {
        tokio::time::timeout(Duration::from_millis(2), receiver.receive()).await.unwrap_err();
    }
    let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
    sender.post(Message::copied(b"here"), Deadline::Now).unwrap();
    let received = tokio::time::timeout(Duration::from_secs(10), receiver.receive()).await.unwrap().unwrap();
    assert_eq!(received.bytes(), b"here");
}
