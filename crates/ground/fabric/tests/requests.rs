//! Requests and answers over real channels: within a process and through shared memory with a socket.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fabric::Message;
use fabric::channel::{Channel, ChannelBuilder, Deadline, ReceiveError, Receiver, Waiting};
use fabric::queue::Priority;
use fabric::request::{Answered, Asked, Call, CallError, Calls, Handled, Serve};

/// Longer than anything takes that does not hang.
const LONG: Duration = Duration::from_secs(60);

fn long() -> Deadline {
    Deadline::after(LONG)
}

/// An address of that scheme which nobody else uses.
fn address(scheme: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{scheme}:requests-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn builder() -> ChannelBuilder {
    // Machines that run tests have few cores to spin on.
    Channel::builder().waiting(Waiting::SpinThenPark { spins: 50 })
}

type End = (Channel, Receiver);

/// Both ends of a channel, the asker's first.
fn ends(scheme: &str) -> (End, End) {
    let address = address(scheme);
    let asker = builder().connect(&*address).open().expect("the address is good");
    let server = builder().listen(&*address).open().expect("the address is free");
    (asker, server)
}

/// Runs `scene` with each transport.
fn over_each(scene: impl Fn(&str)) {
    ["inproc", "ipc"].into_iter().for_each(scene);
}

fn number(n: u64) -> Message {
    Message::copied(&n.to_le_bytes())
}

fn read(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// Answers twice the number.
fn answer(asked: Asked) {
    let n = read(asked.request.bytes());
    let answered = asked.reply.send(number(2 * n), long()).expect("there is room");
    assert_eq!(answered, Answered::Posted);
}

/// A server that answers everything until its peer is gone; gives how much it answered.
fn serve_all((channel, receiver): End) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut serve = Serve::over(&channel, receiver);
        let mut count = 0;
        loop {
            match serve.next(long()) {
                Ok(asked) => {
                    answer(asked);
                    count += 1;
                }
                Err(ReceiveError::PeerGone(_)) => return count,
                Err(error) => panic!("{error}"),
            }
        }
    })
}

#[test]
fn a_thousand_outstanding_calls_are_answered_in_random_order() {
    over_each(|scheme| {
        let ((channel, receiver), (server, requests)) = ends(scheme);
        let serving = thread::spawn(move || {
            let mut serve = Serve::over(&server, requests);
            let mut all: Vec<Asked> = (0..1000).map(|_| serve.next(long()).expect("a request comes")).collect();
            assert_eq!(serve.open(), 1000);
            // A fixed walk through all residues is as good as a shuffle.
            let mut order: Vec<usize> = (0..1000).map(|n| n * 373 % 1000).collect();
            order.sort_by_key(|n| n * 7919 % 1009);
            let mut all: Vec<Option<Asked>> = all.drain(..).map(Some).collect();
            order.into_iter().for_each(|n| answer(all[n].take().expect("each once")));
            assert_eq!(serve.open(), 0);
            server.flush(long()).expect("all is read");
        });
        let mut calls = Calls::over(&channel, receiver);
        let begun: Vec<Call> = (0..1000).map(|n| calls.begin(number(n), long()).expect("there is room")).collect();
        assert_eq!(calls.stats().outstanding, 1000);
        for (n, call) in (0..).zip(begun) {
            assert_eq!(read(call.wait().expect("it is answered").bytes()), 2 * n);
        }
        assert_eq!((calls.stats().outstanding, calls.stats().late), (0, 0));
        serving.join().expect("the server ends well");
    });
}

#[test]
fn a_late_answer_is_dropped_and_reaches_no_other_call() {
    over_each(|scheme| {
        let ((channel, receiver), (server, requests)) = ends(scheme);
        let mut calls = Calls::over(&channel, receiver);
        let mut serve = Serve::over(&server, requests);
        let first = calls.begin(number(1), Deadline::after(Duration::from_millis(30))).expect("there is room");
        let asked = serve.next(long()).expect("it came");
        assert!(matches!(first.wait(), Err(CallError::TimedOut { .. })));
        // The server has not looked for cancels, and answers late.
        answer(asked);
        let second = calls.begin(number(2), long()).expect("there is room");
        answer(serve.next(long()).expect("it came"));
        assert_eq!(read(second.wait().expect("it is answered").bytes()), 4);
        assert_eq!(calls.stats().late, 1);
    });
}

#[test]
fn a_dropped_call_is_cancelled() {
    over_each(|scheme| {
        let ((channel, receiver), (server, requests)) = ends(scheme);
        let mut calls = Calls::over(&channel, receiver);
        let mut serve = Serve::over(&server, requests);
        let unloved = calls.begin(number(1), long()).expect("there is room");
        let asked = serve.next(long()).expect("it came");
        assert!(!asked.reply.is_cancelled());
        drop(unloved);
        let loved = calls.begin(number(2), long()).expect("there is room");
        // The cancel came first.
        let second = serve.next(long()).expect("it came");
        assert!(asked.reply.is_cancelled());
        assert_eq!(asked.reply.send(number(0), long()).expect("it is dropped"), Answered::Cancelled);
        answer(second);
        assert_eq!(read(loved.wait().expect("it is answered").bytes()), 4);
        assert_eq!((serve.open(), calls.stats().late), (0, 0));
    });
}

#[test]
fn a_dropped_reply_ends_the_call_at_once() {
    over_each(|scheme| {
        let ((channel, receiver), (server, requests)) = ends(scheme);
        let mut calls = Calls::over(&channel, receiver);
        let mut serve = Serve::over(&server, requests);
        let call = calls.begin(number(1), Deadline::Never).expect("there is room");
        drop(serve.next(long()).expect("it came"));
        assert!(matches!(call.wait(), Err(CallError::Unanswered { .. })));
    });
}

#[test]
fn all_calls_fail_at_once_when_the_peer_goes() {
    over_each(|scheme| {
        let ((channel, receiver), (server, requests)) = ends(scheme);
        let mut calls = Calls::over(&channel, receiver);
        let mut serve = Serve::over(&server, requests);
        let begun: Vec<Call> =
            (0..100).map(|n| calls.begin(number(n), Deadline::Never).expect("there is room")).collect();
        let asked: Vec<Asked> = (0..50).map(|_| serve.next(long()).expect("it came")).collect();
        let waiting: Vec<_> = begun.into_iter().map(|call| thread::spawn(move || call.wait())).collect();
        drop((serve, asked, server));
        let results: Vec<_> = waiting.into_iter().map(|waiting| waiting.join().expect("it ends well")).collect();
        let gone = results.iter().filter(|result| matches!(result, Err(CallError::PeerGone(_)))).count();
        // The replies that were dropped say so if there is time to.
        let unanswered = results.iter().filter(|result| matches!(result, Err(CallError::Unanswered { .. }))).count();
        assert!(gone >= 50 && gone + unanswered == 100, "{gone} gone, {unanswered} unanswered");
    });
}

#[test]
fn many_threads_ask_over_one_channel() {
    over_each(|scheme| {
        let ((channel, receiver), server) = ends(scheme);
        let serving = serve_all(server);
        let calls = Calls::over(&channel, receiver);
        thread::scope(|scope| {
            for who in 0..8_u64 {
                let mut calls = calls.another();
                scope.spawn(move || {
                    for n in 0..300 {
                        let asked = who << 32 | n;
                        let answer = calls.call(number(asked), long()).expect("it is answered");
                        assert_eq!(read(answer.bytes()), 2 * asked);
                    }
                });
            }
        });
        drop((calls, channel));
        assert_eq!(serving.join().expect("the server ends well"), 2400);
    });
}

/// Tells an executor that a task is to be polled.
struct TaskWake {
    woken: AtomicBool,
    executor: Thread,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.executor.unpark();
    }
}

/// Runs tasks on this thread, and polls none that was not woken: a wake-up that is lost hangs the test.
fn run_tasks(tasks: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    let wake = || Arc::new(TaskWake { woken: AtomicBool::new(true), executor: thread::current() });
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (task, wake())).collect();
    let start = Instant::now();
    while !tasks.is_empty() {
        let mut any = false;
        tasks.retain_mut(|(task, wake)| {
            if !wake.woken.swap(false, Ordering::Acquire) {
                return true;
            }
            any = true;
            let waker = Waker::from(Arc::clone(wake));
            task.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending
        });
        assert!(start.elapsed() < LONG, "{} tasks were never woken", tasks.len());
        if !any && !tasks.is_empty() {
            thread::park_timeout(Duration::from_secs(1));
        }
    }
}

#[test]
fn many_tasks_ask_over_one_channel() {
    over_each(|scheme| {
        let ((channel, receiver), server) = ends(scheme);
        let serving = serve_all(server);
        let calls = Calls::over(&channel, receiver);
        let ask = |who: u64| {
            let mut calls = calls.another();
            let task = async move {
                for n in 0..20 {
                    let asked = who << 32 | n;
                    let answer = calls.call_async(number(asked), Deadline::Never).await.expect("it is answered");
                    assert_eq!(read(answer.bytes()), 2 * asked);
                }
            };
            Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>
        };
        run_tasks((0..100).map(ask).collect());
        drop((calls, channel));
        assert_eq!(serving.join().expect("the server ends well"), 2000);
    });
}

#[test]
fn threads_and_tasks_ask_over_one_channel() {
    over_each(|scheme| {
        let ((channel, receiver), server) = ends(scheme);
        let serving = serve_all(server);
        let calls = Calls::over(&channel, receiver);
        thread::scope(|scope| {
            for who in 0..4_u64 {
                let mut blocking = calls.another();
                scope.spawn(move || {
                    for n in 0..200 {
                        let answer = blocking.call(number(who << 32 | n), long()).expect("it is answered");
                        assert_eq!(read(answer.bytes()), 2 * (who << 32 | n));
                    }
                });
                let polling: Vec<Calls> = (0..5).map(|_| calls.another()).collect();
                scope.spawn(move || {
                    let ask = |mut calls: Calls| {
                        let task = async move {
                            for n in 0..50 {
                                let answer = calls.call_async(number(n), Deadline::Never).await;
                                assert_eq!(read(answer.expect("it is answered").bytes()), 2 * n);
                            }
                        };
                        Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>
                    };
                    run_tasks(polling.into_iter().map(ask).collect());
                });
            }
        });
        drop((calls, channel));
        assert_eq!(serving.join().expect("the server ends well"), 4 * (200 + 250));
    });
}

#[test]
fn a_task_that_led_and_was_dropped_hands_over() {
    over_each(|scheme| {
        let ((channel, receiver), (server, requests)) = ends(scheme);
        let mut calls = Calls::over(&channel, receiver);
        let mut serve = Serve::over(&server, requests);
        let wake = Arc::new(TaskWake { woken: AtomicBool::new(false), executor: thread::current() });
        let mut first = Box::pin(calls.begin(number(1), Deadline::Never).expect("there is room"));
        let mut second = Box::pin(calls.begin(number(2), Deadline::Never).expect("there is room"));
        let waker = Waker::from(Arc::clone(&wake));
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(first);
        let asked = [serve.next(long()).expect("it came"), serve.next(long()).expect("it came")];
        asked.into_iter().for_each(|asked| drop(asked.reply.send(number(4), long())));
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LONG, "the second task was never woken");
            if wake.woken.swap(false, Ordering::Acquire)
                && let Poll::Ready(answer) = second.as_mut().poll(&mut Context::from_waker(&waker))
            {
                assert_eq!(read(answer.expect("it is answered").bytes()), 4);
                break;
            }
            thread::park_timeout(Duration::from_millis(100));
        }
    });
}

#[test]
fn deadlines_of_tasks_come_with_the_event_loop() {
    let ((channel, receiver), _server) = ends("inproc");
    let mut calls = Calls::over(&channel, receiver);
    let start = Instant::now();
    let mut call = Box::pin(
        calls.begin(number(1), Deadline::At(start + Duration::from_secs(3600))).expect("there is room in the queue"),
    );
    let wake = Arc::new(TaskWake { woken: AtomicBool::new(false), executor: thread::current() });
    let waker = Waker::from(Arc::clone(&wake));
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let next = calls.handle_timeout(start);
    assert_eq!(next, Some(start + Duration::from_secs(3600)));
    assert_eq!(calls.handle_timeout(start + Duration::from_secs(3601)), None);
    assert!(wake.woken.load(Ordering::Acquire));
    let Poll::Ready(Err(CallError::TimedOut { channel })) = call.as_mut().poll(&mut Context::from_waker(&waker)) else {
        panic!("its deadline has come");
    };
    assert!(channel.contains("requests-"));
}

#[test]
fn both_sides_ask_and_answer_over_one_channel() {
    over_each(|scheme| {
        let (left, right) = ends(scheme);
        let side = |(channel, mut receiver): End, who: u64| {
            move || {
                let (mut calls, serve) = (Calls::fed(&channel), Serve::fed(&channel));
                let mut begun: Vec<_> = (0..200)
                    .map(|n| (who + n, Box::pin(calls.begin(number(who + n), Deadline::Never).expect("it is taken"))))
                    .collect();
                let (mut served, mut answered) = (0, 0);
                while served < 200 || answered < 200 {
                    let received = receiver.receive(long()).expect("the other side is there");
                    if let Some(rest) = calls.handle(received)
                        && let Handled::Asked(asked) = serve.handle(rest)
                    {
                        answer(asked);
                        served += 1;
                    }
                    begun.retain_mut(|(n, call)| match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Pending => true,
                        Poll::Ready(answer) => {
                            assert_eq!(read(answer.expect("it is answered").bytes()), 2 * *n);
                            answered += 1;
                            false
                        }
                    });
                }
                channel.flush(long()).expect("the other side reads on");
            }
        };
        let (one, other) = (thread::spawn(side(left, 0)), thread::spawn(side(right, 1 << 40)));
        one.join().expect("it ends well");
        other.join().expect("it ends well");
    });
}

#[test]
fn one_call_too_many_is_refused_with_the_limit() {
    let ((channel, receiver), _server) = ends("inproc");
    let mut calls = Calls::build(&channel, Some(receiver), Priority::High, 2);
    let first = calls.begin(number(1), Deadline::Never).expect("there is room");
    let _second = calls.begin(number(2), Deadline::Never).expect("there is room");
    let refused = calls.begin(number(3), Deadline::Never).expect_err("two are outstanding");
    assert!(refused.to_string().ends_with("2 calls are outstanding, which is the limit"), "{refused}");
    drop(first);
    assert!(calls.begin(number(3), Deadline::Never).is_ok());
}

#[test]
fn a_request_that_is_not_taken_leaves_no_call_behind() {
    let ((channel, receiver), _server) = ends("inproc");
    let mut calls = Calls::over(&channel, receiver);
    let Err(CallError::Post(error)) = calls.begin(Message::copied(&vec![0; 10 << 20]), Deadline::Now) else {
        panic!("it is too large");
    };
    assert!(error.to_string().contains("over the limit"), "{error}");
    assert_eq!(calls.stats().outstanding, 0);
}
