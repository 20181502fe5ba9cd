//! Malicious peers over a real adapter: each can end its own link and nothing else.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use fabric::tli::{
    Attempt, Connector, Lane, Link, LinkSettings, Reason, Role, TxWindow, Violation, WindowSettings, provider,
};
use fabric::uri::Uri;
use fabric::wire::{BadWindow, Kind, MessageWord};

use super::Wiring;
use crate::address::Address;
use crate::control::{Control, Heard};
use crate::hello::{Hello, Offer, Plan};
use crate::notes::Notes;
use crate::verbs::{Library, Port, Wc, Work, open_all, wc_status};

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(role: Role) -> LinkSettings {
    LinkSettings {
        role,
        bulk: WindowSettings { bytes: 4096, count: 4 },
        urgent: WindowSettings { bytes: 512, count: 2 },
        ..LinkSettings::default()
    }
}

fn listen() -> Box<dyn Connector> {
    let uri = Uri::parse("rdma://127.0.0.1:0").unwrap();
    provider(&uri).unwrap().open(&uri, &settings(Role::Listen)).unwrap()
}

/// A peer that says and does what it likes.
struct Attacker {
    wiring: Wiring,
    plan: Plan,
    control: Control,
}

/// Meets a victim.
fn meet() -> (Attacker, Link) {
    let mut listener = listen();
    let address = Address::parse(&Uri::parse(&listener.address().unwrap()).unwrap()).unwrap();
    let control = Control::new(TcpStream::connect(address.resolve().unwrap()).unwrap()).unwrap();
    let library = Library::load().unwrap();
    let adapters = open_all(library, None);
    let port = Port::choose(&adapters, "127.0.0.1".parse().unwrap()).unwrap();
    let (gid, mtu) = (port.place.gid, port.mtu());
    let settings = settings(Role::Connect);
    let ours = Offer { epoch: 7, windows: [settings.bulk, settings.urgent], gid, lid: 0, mtu };
    let mut attacker = Introduction { control, listener: &mut *listener, met: None };
    attacker.control.say(&Hello::Offer(ours.clone())).unwrap();
    let Hello::Offer(theirs) = attacker.hear() else { panic!("an offer comes first") };
    let wiring = Wiring::new(&port, ours, theirs, [1, 2]).unwrap();
    attacker.control.say(&Hello::Plan(wiring.plan())).unwrap();
    let Hello::Plan(plan) = attacker.hear() else { panic!("then a plan") };
    wiring.connect(&plan).unwrap();
    attacker.control.say(&Hello::Ready).unwrap();
    assert_eq!(attacker.hear(), Hello::Ready);
    attacker.step();
    let victim = attacker.met.take().expect("everything was said");
    (Attacker { wiring, plan, control: attacker.control }, victim)
}

struct Introduction<'a> {
    control: Control,
    listener: &'a mut dyn Connector,
    met: Option<Link>,
}

impl Introduction<'_> {
    fn step(&mut self) {
        if self.met.is_none()
            && let Attempt::Met(link) = self.listener.poll(Instant::now()).unwrap()
        {
            self.met = Some(link);
        }
    }

    fn hear(&mut self) -> Hello {
        let start = Instant::now();
        loop {
            self.step();
            match self.control.hear() {
                Heard::Message(hello) => return hello,
                Heard::Nothing => assert!(start.elapsed() < PATIENCE),
                Heard::Bad(_) | Heard::End => panic!("the victim hung up"),
            }
        }
    }
}

impl Attacker {
    /// Lays a message into a window, writes a header and sends `len` bytes of it, or all.
    fn send(&self, lane: usize, slot: usize, sequence: u64, epoch: u32, len: Option<usize>) {
        let bytes = self.wiring.ours.windows[lane].bytes;
        let memory = self.wiring.outgoing[lane].memory().part(slot * bytes..(slot + 1) * bytes);
        // SAFETY: each slot is used once by the tests.
        let mut window = unsafe { TxWindow::lease(memory, 0, None) };
        window.body_mut(24).fill(0);
        window.commit(24, MessageWord { length: 24, frames: 0, kind: Kind::Data, flags: 0 }.pack());
        let used = window.shipped(sequence, epoch, None).len();
        // SAFETY: as above.
        unsafe { self.wiring.post_window(&self.plan, lane, slot, len.unwrap_or(used), None) }.unwrap();
    }

    /// Waits for the completion of work; its status.
    fn completion(&self) -> i32 {
        let (mut completions, start) = ([Wc::default()], Instant::now());
        while self.wiring.sent.poll(&mut completions).unwrap() == 0 {
            assert!(start.elapsed() < PATIENCE, "the work is never completed");
        }
        completions[0].status
    }
}

/// Lets the victim work until its link ends.
fn end(victim: &mut Link) -> Reason {
    let start = Instant::now();
    let mut kept = Vec::new();
    loop {
        for lane in fabric::tli::LANES {
            match victim.inlet.receive(lane) {
                Ok(window) => kept.extend(window),
                Err(gone) => return gone.reason,
            }
        }
        if let Err(gone) = victim.outlet.progress().and_then(|()| victim.tether.look()) {
            return gone.reason;
        }
        assert!(start.elapsed() < PATIENCE, "the attack goes on");
    }
}

#[test]
fn headers_that_lie_end_the_link() {
    for (sequence, epoch, len, expected) in [
        (2, 7, None, Violation::Window(BadWindow::Sequence { found: 2, expected: 1 })),
        (1, 8, None, Violation::Link("it sent a window of another connection")),
        (1, 7, Some(64), Violation::Window(BadWindow::Used { used: 56, size: 64 })),
        (1, 7, Some(40), Violation::Window(BadWindow::Used { used: 56, size: 40 })),
        (1, 7, Some(0), Violation::Window(BadWindow::Magic(0))),
    ] {
        let (attacker, mut victim) = meet();
        attacker.send(0, 0, sequence, epoch, len);
        assert_eq!(end(&mut victim), Reason::Violation(expected));
    }
}

#[test]
fn bytes_of_an_earlier_window_are_not_taken_for_a_new_one() {
    let (attacker, mut victim) = meet();
    attacker.send(0, 0, 1, 7, None);
    let start = Instant::now();
    // The victim reads four windows, so that the fifth, of no bytes, lands in the buffer of the first.
    for slot in 1..4 {
        attacker.send(0, slot, slot as u64 + 1, 7, None);
    }
    let mut read = 0;
    while read < 4 {
        if let Some(window) = victim.inlet.receive(Lane::Bulk).unwrap() {
            victim.inlet.dispose(Lane::Bulk, window);
            read += 1;
        }
        assert!(start.elapsed() < PATIENCE);
    }
    attacker.send(0, 0, 5, 7, Some(0));
    assert!(matches!(end(&mut victim), Reason::Violation(Violation::Window(_))));
}

#[test]
fn notes_that_lie_end_the_link() {
    for (note, expected) in [
        (Notes { disposed: [1, 0], read: [0, 0] }, "it disposed of more windows than were sent"),
        (Notes { disposed: [0, 0], read: [0, u64::MAX] }, "it read more messages than were sent"),
    ] {
        let (attacker, mut victim) = meet();
        attacker.wiring.post_note(&attacker.plan, &note).unwrap();
        assert_eq!(end(&mut victim), Reason::Violation(Violation::Link(expected)));
        assert_eq!(victim.outlet.read_by_peer(Lane::Urgent), 0, "a claim beyond what was sent is not believed");
    }
}

#[test]
fn more_windows_or_longer_ones_than_announced_end_the_link() {
    let (attacker, mut victim) = meet();
    for sequence in 1..=2 {
        attacker.send(1, sequence - 1, sequence as u64, 7, None);
    }
    // The third finds a buffer, for there are some for notes.
    attacker.send(1, 0, 3, 7, None);
    assert_eq!(end(&mut victim), Reason::Violation(Violation::Link("it sent more windows than it announced")));

    let (attacker, mut victim) = meet();
    let work = Work::Send { id: 0, region: &attacker.wiring.outgoing[0], start: 0, len: 4096 };
    // SAFETY: the region lives as long as the wiring.
    unsafe { attacker.wiring.pairs[1].post([work]) }.unwrap();
    // Adapters say so (`LOC_LEN_ERR`); the software adapter only says that the receive failed.
    let reason = end(&mut victim);
    let too_long = Reason::Violation(Violation::Link("it sent more than a window holds"));
    assert!(reason == too_long || reason == Reason::Died, "{reason}");
    assert_ne!(attacker.completion(), wc_status::SUCCESS);
}

#[test]
fn writing_beside_the_page_of_notes_harms_nobody() {
    let (mut good, mut victim) = (meet(), meet());
    for wrong in [
        Plan { notes_address: victim.0.plan.notes_address + 4096, ..victim.0.plan.clone() },
        Plan { notes_key: good.0.plan.notes_key, notes_address: good.0.plan.notes_address, ..victim.0.plan.clone() },
    ] {
        victim = meet();
        let wrong = Plan { pairs: victim.0.plan.pairs, ..wrong };
        let note = Notes { disposed: [9, 9], read: [9, 9] };
        victim.0.wiring.post_note(&wrong, &note).unwrap();
        assert_ne!(victim.0.completion(), wc_status::SUCCESS, "the adapter refuses it");
    }
    // The other link's page is untouched, and it works.
    good.1.outlet.progress().unwrap();
    good.0.send(0, 0, 1, 7, None);
    let start = Instant::now();
    while good.1.inlet.receive(Lane::Bulk).unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn a_flood_of_notes_keeps_nobody() {
    let (attacker, mut victim) = meet();
    let mut sent = 0;
    let start = Instant::now();
    while sent < 2000 {
        // The send queue is short: what does not fit waits for completions.
        if attacker.wiring.post_note(&attacker.plan, &Notes::default()).is_ok() {
            sent += 1;
        }
        let mut completions = [Wc::default(); 16];
        let _ = attacker.wiring.sent.poll(&mut completions).unwrap();
        let before = Instant::now();
        assert!(victim.inlet.receive(Lane::Bulk).unwrap().is_none());
        victim.outlet.progress().unwrap();
        assert!(before.elapsed() < PATIENCE / 10 && start.elapsed() < PATIENCE, "{sent} notes sent");
    }
    attacker.send(0, 0, 1, 7, None);
    while victim.inlet.receive(Lane::Bulk).unwrap().is_none() {
        victim.outlet.progress().unwrap();
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn words_out_of_turn_end_the_link() {
    for hello in [Hello::Ready, Hello::Refuse("no".into())] {
        let (mut attacker, mut victim) = meet();
        attacker.control.say(&hello).unwrap();
        assert!(matches!(end(&mut victim), Reason::Violation(Violation::Link(_))));
    }
    let (mut attacker, mut victim) = meet();
    let lie = Notes { disposed: [0, 0], read: [1, 0] };
    attacker.control.say(&Hello::Finish([3, 0], lie)).unwrap();
    assert_eq!(end(&mut victim), Reason::Violation(Violation::Link("it read more messages than were sent")));
    let (mut attacker, mut victim) = meet();
    attacker.control.say(&Hello::Finish([3, 0], Notes::default())).unwrap();
    attacker.control.say(&Hello::Finish([0, 0], Notes::default())).unwrap();
    assert!(matches!(end(&mut victim), Reason::Violation(Violation::Link(_))));
}

#[test]
fn strangers_that_talk_at_random_are_turned_away() {
    let mut listener = listen();
    let address = Address::parse(&Uri::parse(&listener.address().unwrap()).unwrap()).unwrap().resolve().unwrap();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..60 {
        let windows = [WindowSettings { bytes: 4096, count: 4 }; 2];
        let offer = Offer { epoch: 1, windows, gid: crate::verbs::Gid([round; 16]), lid: 0, mtu: 1 };
        let mut bytes = [Hello::Offer(offer).pack(), Hello::Plan(Plan::random(&mut seed)).pack()].concat();
        for _ in 0..round % 4 {
            let at = 8 + usize::try_from(random(&mut seed) % 180).unwrap();
            bytes[at] = random(&mut seed) as u8;
        }
        let mut stranger = TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut stranger, &bytes).unwrap();
        drop(stranger);
        for _ in 0..3 {
            assert!(!matches!(listener.poll(Instant::now()).unwrap(), Attempt::Met(_)));
        }
    }
    assert!(listener.turned_away().is_some());
    assert!(listener.readiness().is_some_and(|descriptor| descriptor.as_fd().try_clone_to_owned().is_ok()));
}

impl Plan {
    fn random(seed: &mut u64) -> Self {
        let pairs = [random(seed) as u32 & 0xff_ffff, random(seed) as u32 & 0xff_ffff];
        Self { pairs, packets: [1, 1], notes_address: random(seed), notes_key: random(seed) as u32 }
    }
}

/// xorshift64.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}
