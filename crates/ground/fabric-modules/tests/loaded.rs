//! Modules that were loaded carry channels like any transport, and their mistakes end their link only.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fabric::channel::{Channel, ChannelBuilder, Deadline, ReceiveError, Receiver};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::{Provider, Providers, Reason, Violation};
use fabric::wire::BadWindow;
use fabric::{Message, Uri};
use fabric_modules::Module;
use support::Workshop;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn builder(providers: &Providers) -> ChannelBuilder {
    Channel::builder().providers(providers.clone()).windows(4096, 8)
}

fn both(providers: &Providers, address: &str) -> ((Channel, Receiver), (Channel, Receiver)) {
    let one = builder(providers).listen(address).open().expect("opens");
    (one, builder(providers).connect(address).open().expect("opens"))
}

fn load(source: &str, defines: &[&str]) -> Arc<Module> {
    let workshop = Workshop::new();
    let module = workshop.compile(source, defines);
    workshop.sign(&module);
    // The file may go: it is not needed any more.
    Module::load(&module, &workshop.keys()).expect("loaded")
}

fn payload(n: u32) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(4 + (n as usize * 31) % 900, n as u8);
    bytes
}

fn send_and_receive(providers: &Providers, address: &str, count: u32) {
    let ((near, _), (_far, mut receiver)) = both(providers, address);
    let posting = thread::spawn(move || {
        let mut sender = near.sender(QueueKind::MonoUnbounded, Priority::Normal);
        for n in 0..count {
            sender.post(Message::copied(&payload(n)), soon()).expect("room comes");
        }
        near.close(soon()).expect("everything is read");
    });
    for n in 0..count {
        let message = receiver.receive(soon()).expect("it comes");
        assert_eq!(message.bytes(), payload(n), "message {n}");
    }
    let end = receiver.receive(soon()).expect_err("the peer has closed");
    assert!(matches!(&end, ReceiveError::PeerGone(loss) if loss.gone.reason == Reason::Closed), "{end}");
    posting.join().expect("the sender is fine");
}

#[test]
fn a_signed_module_carries_a_channel() {
    let module = load("sample/pair.c", &[]);
    assert_eq!((module.scheme(), module.name()), ("pair", "pair (sample module)"));
    assert!(Providers::linked().find(&Uri::parse("pair:x").expect("right")).is_err());
    let providers = Providers::linked().with(module);
    assert!(providers.schemes().contains(&"pair"));
    send_and_receive(&providers, "pair:carries", 3000);
}

#[test]
fn a_module_overrides_what_is_linked_in_of_its_scheme() {
    let providers = Providers::linked().with(load("sample/pair.c", &["-DSCHEME=\"inproc\""]));
    let found = |text: &str| providers.find(&Uri::parse(text).expect("right")).expect("there").name().to_owned();
    assert_eq!(found("inproc:x"), "inproc (sample module)");
    assert_ne!(found("inproc:x?via=inproc"), "inproc (sample module)");
    assert_eq!(found("inproc:x?via=module"), "inproc (sample module)");
    send_and_receive(&providers, "inproc:overrides", 500);
}

#[test]
fn two_modules_of_one_process_do_not_take_each_other_for_the_same() {
    let first = load("sample/pair.c", &["-DSCHEME=\"first\""]);
    let second = load("sample/pair.c", &["-DSCHEME=\"second\""]);
    assert_eq!((first.scheme(), second.scheme()), ("first", "second"));
    let providers = Providers::linked().with(first).with(second);
    send_and_receive(&providers, "first:two", 50);
    send_and_receive(&providers, "second:two", 50);
}

#[test]
fn the_module_s_limits_and_addresses_are_checked_when_a_channel_opens() {
    let providers = Providers::linked().with(load("sample/pair.c", &[]));
    let error = builder(&providers).windows(32 << 20, 2).listen("pair:limits").open().expect_err("too large");
    assert!(error.to_string().contains("16777216"), "{error}");
    let error = builder(&providers).listen("pair:limits?speed=9").open().expect_err("no such option");
    assert!(error.to_string().contains("speed=9"), "{error}");
}

#[test]
fn a_peer_that_goes_is_seen_gone() {
    let providers = Providers::linked().with(load("sample/pair.c", &[]));
    let ((near, mut receiver), far) = both(&providers, "pair:goes");
    let mut sender = near.sender(QueueKind::MonoUnbounded, Priority::Normal);
    sender.post(Message::copied(b"hello"), soon()).expect("room");
    let (channel, mut their) = far;
    assert_eq!(their.receive(soon()).expect("it comes").bytes(), b"hello");
    drop((their, channel));
    let gone = receiver.receive(soon()).expect_err("the peer is gone");
    assert!(matches!(gone, ReceiveError::PeerGone(_)), "{gone}");
}

fn first_reason(source: &str, define: &str, address: &str) -> Reason {
    let providers = Providers::linked().with(load(source, &[define]));
    let ((near, mut our), (_far, mut their)) = both(&providers, address);
    let mut sender = near.sender(QueueKind::MonoUnbounded, Priority::Normal);
    // Where the fault strikes the sender, posting may say so.
    let _ = sender.post(Message::copied(b"hello"), soon());
    // The receiving end looks first: it is the one that can find a window out of sequence.
    let ends = [&mut their, &mut our].map(|receiver| receiver.receive(Deadline::after(Duration::from_secs(5))));
    let reasons = ends.map(|end| match end {
        Err(ReceiveError::PeerGone(loss)) => loss.gone.reason,
        other => panic!("the link ends: {other:?}"),
    });
    reasons.into_iter().find(|reason| matches!(reason, Reason::Violation(_))).expect("one side found out")
}

#[test]
fn a_window_beside_its_alignment_ends_the_link() {
    let reason = first_reason("tests/strange.c", "-DSTRANGE_ADDRESS", "pair:address");
    assert!(matches!(reason, Reason::Violation(Violation::Link(what)) if what.contains("strange address")), "{reason}");
}

#[test]
fn a_window_out_of_sequence_ends_the_link() {
    let reason = first_reason("tests/strange.c", "-DSTRANGE_SEQUENCE", "pair:sequence");
    let expected = Violation::Window(BadWindow::Sequence { found: 2, expected: 1 });
    assert_eq!(reason, Reason::Violation(expected));
}
