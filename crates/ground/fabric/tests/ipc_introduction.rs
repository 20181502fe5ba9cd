//! Who is let in, who is not, and what both are told. Names, stale files, the order of start, and visitors who say nothing.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test")]

mod meeting;

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use fabric::Uri;
use fabric::ipc::{Listener, Peers};
use fabric::tli::{Attempt, Connector, Lane, LinkSettings, OpenError, Reason, Role, Trust, provider};
use meeting::forged::{self, ALL_SEALS, Hello, Pages, dial, hear, say};
use meeting::*;
use rustix::fs::SealFlags;

const A_MOMENT: Duration = Duration::from_millis(20);

fn listener(place: &Place) -> Box<dyn Connector> {
    open(&place.uri(), &settings(Role::Listen))
}

fn dialer(place: &Place) -> Box<dyn Connector> {
    open(&place.uri(), &settings(Role::Connect))
}

fn try_open(uri: &str, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
    let uri = Uri::parse(uri).unwrap();
    provider(&uri).unwrap().open(&uri, settings)
}

fn is_waiting(attempt: &Attempt) -> bool {
    matches!(attempt, Attempt::Waiting { .. })
}

/// What a listener answers to a hello, and why it turned the visitor away.
fn answer(place: &Place, hello: &[u8], files: &[&Pages]) -> (Vec<u8>, Option<OpenError>) {
    let mut listener = listener(place);
    let visitor = dial(&place.socket());
    let files: Vec<_> = files.iter().map(|pages| pages.file.as_fd()).collect();
    say(&visitor, hello, &files).unwrap();
    assert!(is_waiting(&listener.poll(Instant::now()).unwrap()));
    let (heard, _) = hear(&visitor, A_MOMENT);
    let why = listener.turned_away();
    // Whatever that was, the next is served.
    meet(&mut *listener, &mut *dialer(place));
    (heard, why)
}

fn text(heard: &[u8]) -> String {
    assert_eq!(&heard[..8], b"PHFREFUS", "{heard:?}");
    String::from_utf8(heard[16..].to_vec()).unwrap()
}

#[test]
fn an_honest_forger_is_greeted() {
    let place = Place::new("honest");
    let pages = Pages::new(16384, ALL_SEALS);
    let (heard, why) = answer(&place, &Hello::honest().pack(), &[&pages]);
    assert_eq!((&heard[..8], why.is_none()), (&b"PHFHELLO"[..], true));
}

#[test]
fn another_version_is_named_to_both() {
    let place = Place::new("version");
    let pages = Pages::new(16384, ALL_SEALS);
    let (heard, why) = answer(&place, &Hello { versions: (2, 9), ..Hello::honest() }.pack(), &[&pages]);
    assert!(text(&heard).contains("2 to 9"), "{}", text(&heard));
    assert!(matches!(why, Some(OpenError::Version { ours: 1, theirs: 2, .. })), "{why:?}");

    // And the other way round: a listener of version 3.
    let place = Place::new("version-listener");
    let listener = forged::listen(&place.socket());
    let mut dialer = dialer(&place);
    assert!(is_waiting(&dialer.poll(Instant::now()).unwrap()));
    let visitor = rustix::net::accept(&listener).unwrap();
    say(&visitor, &Hello { versions: (3, 3), ..Hello::honest() }.pack(), &[pages.file.as_fd()]).unwrap();
    let error = dialer.poll(Instant::now()).err().unwrap();
    assert!(error.to_string().contains("version 3, this side 1"), "{error}");

    // One that says so itself.
    let mut refusal = b"PHFREFUS\x01\0\0\0\x04\0\x05\0".to_vec();
    refusal.extend(b"no");
    let mut dialer = self::dialer(&place);
    assert!(is_waiting(&dialer.poll(Instant::now()).unwrap()));
    let visitor = rustix::net::accept(&listener).unwrap();
    say(&visitor, &refusal, &[]).unwrap();
    assert!(matches!(dialer.poll(Instant::now()), Err(OpenError::Version { ours: 1, theirs: 5, .. })));
}

#[test]
fn what_was_not_brought_as_announced_is_refused() {
    let honest = Hello::honest();
    let sealed = || Pages::new(16384, ALL_SEALS);
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = honest;
        change(&mut hello);
        hello.pack()
    };
    let cases: Vec<(&str, Vec<u8>, Vec<Pages>, &str)> = vec![
        ("no file", honest.pack(), vec![], "0 files where 1 belong"),
        ("two files", honest.pack(), vec![sealed(), sealed()], "2 files where 1 belong"),
        ("four files", honest.pack(), vec![sealed(), sealed(), sealed(), sealed()], "files where 1 belong"),
        ("no seals", honest.pack(), vec![Pages::new(16384, SealFlags::empty())], "seals 0x0 where"),
        ("can shrink", honest.pack(), vec![Pages::new(16384, ALL_SEALS - SealFlags::SHRINK)], "seals"),
        ("we could write", honest.pack(), vec![Pages::new(16384, ALL_SEALS - SealFlags::FUTURE_WRITE)], "seals"),
        ("seals can change", honest.pack(), vec![Pages::new(16384, ALL_SEALS - SealFlags::SEAL)], "seals"),
        ("too short", honest.pack(), vec![Pages::new(12288, ALL_SEALS)], "12288 bytes where 16384"),
        ("too long", honest.pack(), vec![Pages::new(20480, ALL_SEALS)], "20480 bytes where 16384"),
        ("wrong sum", with(&|it| it.memory_bytes = 12288), vec![sealed()], "12288 bytes of memory for windows"),
        ("no window", with(&|it| it.bulk.1 = 0), vec![sealed()], "size or number"),
        ("no bytes", with(&|it| it.bulk.0 = 0), vec![sealed()], "size or number"),
        ("odd bytes", with(&|it| it.bulk.0 = 500), vec![sealed()], "size or number"),
        ("many windows", with(&|it| it.bulk.1 = u32::MAX), vec![sealed()], "at most 4096 of 16777216"),
        ("large windows", with(&|it| it.urgent.0 = 1 << 31), vec![sealed()], "at most 4096 of 16777216"),
        ("many leases", with(&|it| it.leases = u32::MAX), vec![sealed()], "leases"),
        ("many returns", with(&|it| it.returns = u32::MAX), vec![sealed()], "leases"),
        ("huge arena", with(&|it| it.arena = (u32::MAX, u32::MAX)), vec![sealed(), sealed()], "arena"),
        ("arena without file", with(&|it| it.arena = (4096, 4)), vec![sealed()], "1 files where 2 belong"),
        ("short arena", with(&|it| it.arena = (4096, 9)), vec![sealed(), sealed()], "16384 bytes where 36864"),
        ("unknown flags", with(&|it| it.flags = 2), vec![sealed()], "flags"),
        ("half a hello", honest.pack()[..40].to_vec(), vec![sealed()], "half a hello"),
        ("quarter of a hello", honest.pack()[..9].to_vec(), vec![sealed()], "half a hello"),
        ("nonsense", b"GET / HTTP/1.1".to_vec(), vec![], "no introduction"),
        ("one byte", b"!".to_vec(), vec![], "no introduction"),
    ];
    for (name, hello, files, needed) in cases {
        let place = Place::new(&format!("brought-{}", name.replace(' ', "-")));
        let (heard, why) = answer(&place, &hello, &files.iter().collect::<Vec<_>>());
        assert!(text(&heard).contains(needed), "{name}: {}", text(&heard));
        assert!(matches!(why, Some(OpenError::Refused { ref why, .. }) if why.contains(needed)), "{name}: {why:?}");
    }
}

#[test]
fn a_file_that_is_no_memory_is_refused() {
    let place = Place::new("no-memory");
    let mut listener = listener(&place);
    std::fs::write(place.dir().join("plain"), vec![0; 16384]).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let files: [std::os::fd::OwnedFd; 3] = [
        std::fs::File::open(place.dir().join("plain")).unwrap().into(),
        std::fs::File::open("/dev/zero").unwrap().into(),
        reader.into(),
    ];
    for file in files {
        let visitor = dial(&place.socket());
        say(&visitor, &Hello::honest().pack(), &[file.as_fd()]).unwrap();
        assert!(is_waiting(&listener.poll(Instant::now()).unwrap()));
        assert!(listener.turned_away().is_some());
        assert!(text(&hear(&visitor, A_MOMENT).0).contains("a file"));
    }
}

#[test]
fn who_speaks_out_of_turn_is_turned_away() {
    let place = Place::new("turn");
    let mut listener = listener(&place);
    let pages = Pages::new(16384, ALL_SEALS);
    let early = dial(&place.socket());
    say(&early, forged::WELCOME, &[]).unwrap();
    let twice = dial(&place.socket());
    say(&twice, &Hello::honest().pack(), &[pages.file.as_fd()]).unwrap();
    say(&twice, &Hello::honest().pack(), &[pages.file.as_fd()]).unwrap();
    assert!(is_waiting(&listener.poll(Instant::now()).unwrap()));
    assert!(listener.turned_away().unwrap().to_string().contains("out of turn"));
    assert_eq!(hear(&early, A_MOMENT).0, b"");
}

#[test]
fn silence_holds_up_nobody() {
    let place = Place::new("silence");
    let mut listener = listener(&place);
    let pages = Pages::new(16384, ALL_SEALS);
    let silent: Vec<_> = (0..8).map(|_| dial(&place.socket())).collect();
    // These say hello and then nothing more.
    let polite: Vec<_> = (0..7).map(|_| dial(&place.socket())).collect();
    for visitor in &polite {
        say(visitor, &Hello::honest().pack(), &[pages.file.as_fd()]).unwrap();
    }
    let begun = Instant::now();
    meet(&mut *listener, &mut *dialer(&place));
    assert!(begun.elapsed() < Duration::from_secs(2), "it did not wait for the silent");
    drop((silent, polite));

    // More of them than are introduced at once: they are dropped in time, not for ever in the way.
    let silent: Vec<_> = (0..40).map(|_| dial(&place.socket())).collect();
    let mut dialer = dialer(&place);
    dialer.poll(Instant::now()).unwrap();
    let mut now = Instant::now();
    for _ in 0..3 {
        let Attempt::Waiting { again } = listener.poll(now).unwrap() else { panic!("nobody said a word") };
        now = again.expect("they have a time to be out by");
        assert!(is_waiting(&listener.poll(now).unwrap()));
        assert!(listener.turned_away().unwrap().to_string().contains("in time"));
    }
    drop(silent);
    meet(&mut *listener, &mut *dialer);
}

#[test]
fn readiness_tells_when_to_poll() {
    let place = Place::new("readiness");
    let mut listener = listener(&place);
    let _silent = dial(&place.socket());
    listener.poll(Instant::now()).unwrap();
    let link = std::thread::spawn({
        let mut dialer = dialer(&place);
        move || meet_alone(&mut *dialer)
    });
    // It polls only when told to, with a silent visitor in between.
    let link_here = meet_alone(&mut *listener);
    drop((link.join().unwrap(), link_here));
}

#[test]
fn either_may_be_first_and_come_again() {
    let place = Place::new("order");
    let mut dialer = dialer(&place);
    assert!(is_waiting(&dialer.poll(Instant::now()).unwrap()), "nobody is there yet");
    for _ in 0..3 {
        let mut listener = listener(&place);
        let (a, mut b) = meet(&mut *listener, &mut *dialer);
        // The dialer goes and comes again.
        drop(b);
        assert_eq!(a.tether.look().unwrap_err().reason, Reason::Died);
        drop(a);
        let (a, again) = meet(&mut *listener, &mut *dialer);
        b = again;
        drop((listener, a));
        assert_eq!(b.tether.look().unwrap_err().reason, Reason::Died);
        assert!(!place.socket().exists(), "the file is gone with its listener");
        assert!(is_waiting(&dialer.poll(Instant::now()).unwrap()));
    }
}

#[test]
fn one_peer_at_a_time_and_the_next_when_it_is_gone() {
    let place = Place::new("one");
    let mut listener = listener(&place);
    let (mut first, mut second) = (dialer(&place), dialer(&place));
    let (a, b) = meet(&mut *listener, &mut *first);
    assert!(is_waiting(&second.poll(Instant::now()).unwrap()));
    std::thread::sleep(A_MOMENT);
    assert!(is_waiting(&second.poll(Instant::now()).unwrap()), "it waits in the backlog");
    drop((a, b));
    meet(&mut *listener, &mut *second);
}

#[test]
fn one_of_two_that_come_at_once_is_met_and_the_other_never_thinks_so() {
    let place = Place::new("two");
    let mut listener = listener(&place);
    let mut dialers = [dialer(&place), dialer(&place)];
    for dialer in &mut dialers {
        assert!(is_waiting(&dialer.poll(Instant::now()).unwrap()));
    }
    // Both are greeted before either answers.
    assert!(is_waiting(&listener.poll(Instant::now()).unwrap()));
    for dialer in &mut dialers {
        assert!(is_waiting(&dialer.poll(Instant::now()).unwrap()));
    }
    let Attempt::Met(here) = listener.poll(Instant::now()).unwrap() else { panic!("both have answered") };
    let met: Vec<_> = dialers
        .iter_mut()
        .filter_map(|dialer| match dialer.poll(Instant::now()).unwrap() {
            Attempt::Met(link) => Some(link),
            Attempt::Waiting { again } => {
                assert!(again.is_some(), "it was sent back to the door, and will come again");
                None
            }
        })
        .collect();
    assert_eq!(met.len(), 1);
    met[0].tether.look().unwrap();
    here.tether.look().unwrap();
}

#[test]
fn a_listener_for_many_has_a_link_for_each() {
    let place = Place::new("many");
    let uri = Uri::parse(&place.uri()).unwrap();
    let mut listener = Listener::bind(&uri, &settings(Role::Listen), Peers::Many).unwrap();
    let mut links = Vec::new();
    for n in 0..40 {
        let (mut here, mut there) = meet(&mut listener, &mut *dialer(&place));
        let mut window = there.outlet.take(Lane::Bulk).unwrap().unwrap();
        assert!(commit(&mut window, n));
        there.outlet.ship(Lane::Bulk, window).unwrap();
        let mut window = here.inlet.receive(Lane::Bulk).unwrap().unwrap();
        assert_eq!(next(&mut window), Next::Number(n));
        links.push((here, there));
    }
    links.iter().for_each(|(here, there)| {
        here.tether.look().unwrap();
        there.tether.look().unwrap();
    });
}

#[test]
fn a_living_listener_is_not_replaced_and_a_dead_ones_file_is() {
    let place = Place::new("taken");
    let first = listener(&place);
    let error = try_open(&place.uri(), &settings(Role::Listen)).err().unwrap();
    assert!(matches!(error, OpenError::Taken { .. }), "{error}");
    drop(first);

    // What a killed listener leaves: a file to which nobody listens.
    drop(forged::listen(&place.socket()));
    assert!(place.socket().exists());
    let mut second = listener(&place);
    meet(&mut *second, &mut *dialer(&place));
    drop(second);
    assert!(!place.socket().exists());

    // What is no socket is not ours to remove.
    std::fs::write(place.socket(), "mail").unwrap();
    assert!(matches!(try_open(&place.uri(), &settings(Role::Listen)), Err(OpenError::Taken { .. })));
    assert_eq!(std::fs::read(place.socket()).unwrap(), b"mail");
    assert_eq!(std::fs::read_dir(place.dir()).unwrap().count(), 1, "no other file was left");
}

#[test]
fn of_many_that_start_at_once_over_a_dead_ones_file_one_listens() {
    let place = Place::new("race");
    for _ in 0..20 {
        drop(forged::listen(&place.socket()));
        let start = std::sync::Barrier::new(6);
        let listening = std::thread::scope(|scope| {
            let begin = || {
                start.wait();
                try_open(&place.uri(), &settings(Role::Listen))
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let (good, bad): (Vec<_>, Vec<_>) = listening.into_iter().partition(Result::is_ok);
        assert_eq!(good.len(), 1);
        assert!(bad.iter().all(|error| matches!(error, Err(OpenError::Taken { .. }))));
        meet(&mut *good.into_iter().next().unwrap().unwrap(), &mut *dialer(&place));
    }
}

#[test]
fn the_socket_file_is_for_others_only_if_others_may_be_peers() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("mode");
    let mode = |place: &Place| std::fs::metadata(place.socket()).unwrap().permissions().mode() & 0o777;
    let alone = listener(&place);
    assert_eq!(mode(&place), 0o600);
    drop(alone);
    let _shared = open(&place.uri(), &LinkSettings { users: vec![65534], ..settings(Role::Listen) });
    assert_eq!(mode(&place), 0o666);
}

/// In a second process, which root has made another user's: what a dialer there is told.
fn dial_as_another_user(uri: &str) {
    let mut dialer = open(uri, &settings(Role::Connect));
    let deadline = Instant::now() + PATIENCE;
    let code = loop {
        match dialer.poll(Instant::now()) {
            Ok(Attempt::Met(_)) => break 40,
            Err(OpenError::User { .. }) => break 41,
            Err(_) => break 42,
            Ok(_) if Instant::now() > deadline => break 43,
            Ok(_) => std::thread::sleep(A_MOMENT),
        }
    };
    std::process::exit(code);
}

/// Needs root, who alone can be another user; for others the rule itself is tried beside `Terms::admit`.
#[test]
fn another_user_is_let_in_only_by_name() {
    if let Some(uri) = part() {
        return dial_as_another_user(&uri);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: only root can start a process of another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let place = Place::new("user");
    let name = "another_user_is_let_in_only_by_name";
    // A program that another user can read, at a place that it can reach.
    let program = place.dir().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(place.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let cases =
        [(vec![NOBODY], Trust::Hostile, false), (vec![12345], Trust::Hostile, true), (vec![NOBODY], Trust::Same, true)];
    for (users, trust, refused) in cases {
        let listen = LinkSettings { users, trust, ..settings(Role::Listen) };
        let mut listener = open(&place.uri(), &listen);
        let mut child = std::process::Command::new(&program)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env("FABRIC_TEST_PART", place.uri())
            .stdout(std::process::Stdio::null())
            .uid(NOBODY)
            .spawn()
            .unwrap();
        let met = loop {
            match listener.poll(Instant::now()).unwrap() {
                Attempt::Met(link) => break Some(link),
                Attempt::Waiting { .. } => {}
            }
            if let Some(why) = listener.turned_away() {
                let said = why.to_string();
                assert!(said.contains("user 65534") && said.contains("needed is user 0"), "{said}");
                break None;
            }
            wait(&[listener.readiness().unwrap()], PATIENCE);
        };
        assert_eq!(met.is_none(), refused);
        if let Some(link) = &met {
            assert_eq!((link.tether.peer().user, link.tether.peer().pid), (Some(NOBODY), Some(child.id())));
        }
        let expected = if refused { 41 } else { 40 };
        // Who was let in is of another user than root, and root is allowed to be a peer of anybody.
        assert_eq!(child.wait().unwrap().code(), Some(expected));
    }
}

#[test]
fn over_a_pair_the_kernel_names_who_said_hello() {
    let (a, b) = pair();
    for link in [&a, &b] {
        assert_eq!(link.tether.peer().pid, Some(std::process::id()));
        assert_eq!(link.tether.peer().user, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(
            link.tether.peer().to_string(),
            format!("pid {}, user {}", std::process::id(), rustix::process::geteuid().as_raw())
        );
    }
}

#[test]
fn an_inherited_number_must_be_a_socket_of_the_right_kind() {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open("/dev/null").unwrap();
    for uri in [format!("ipc:fd/{}", file.as_raw_fd()), "ipc:fd/1000000".to_owned()] {
        let error = try_open(&uri, &settings(Role::Listen)).err().unwrap();
        assert!(error.to_string().starts_with(&uri), "{error}");
    }
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = try_open(&format!("ipc:fd/{}", stream.as_raw_fd()), &settings(Role::Listen)).err().unwrap();
    assert!(error.to_string().contains("sequenced packets"), "{error}");
    let (one, other) = fabric::ipc::pair().unwrap();
    let mut by_number = open(&format!("ipc:fd/{}", one.as_raw_fd()), &settings(Role::Listen));
    let mut by_socket = fabric::ipc::connector(other, &settings(Role::Connect), "worker 7").unwrap();
    let (a, b) = meet(&mut *by_number, &mut *by_socket);
    drop(a);
    assert_eq!(b.tether.look().unwrap_err().reason, Reason::Died, "though the number is still open");
    let error = by_socket.poll(Instant::now()).err().unwrap();
    assert!(error.to_string().contains("worker 7: an inherited socket serves for one link"), "{error}");
}

#[test]
fn settings_over_the_limits_are_named() {
    let place = Place::new("limits");
    let too_large =
        LinkSettings { bulk: fabric::tli::WindowSettings { bytes: 2 << 30, count: 1 }, ..settings(Role::Listen) };
    let error = try_open(&place.uri(), &too_large).err().unwrap();
    assert!(
        error.to_string().contains("bytes of a bulk window of 2147483648 is over the transport's limit of 1073741824"),
        "{error}"
    );
    let uri = Uri::parse("ipc:x?colour=red").unwrap();
    assert!(matches!(provider(&uri).unwrap().open(&uri, &settings(Role::Listen)), Err(OpenError::Uri(_))));
}
