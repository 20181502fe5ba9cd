//! A hostile peer that owns a mapping: it introduces itself honestly, and then writes what it likes into every byte that it can, while its victim runs.
//!
//! What must hold: the victim's channel ends that link with a reason or goes on, and serves the next peer; its other channels are not held up; nothing
//! panics (a panic ends the process), nothing is left; and the hostile peer cannot write a byte of the victim's memory.
//!
//! The hostile process reaches its own memory through `/proc/self/mem`, so that no line of this crate needs `unsafe`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fabric::arena::Arena;
use fabric::channel::{Channel, Deadline, Lends, ReceiveError, Receiver, Sender};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{LinkSettings, Reason, Role as Side};
use fabric::wire::{END, MAGIC};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};

use super::windows::{ARENA_WINDOW, with_window};
use super::{expect_end, expect_numbers, next_number};
use crate::failure::{Failure, Outcome};
use crate::payload::{self, Random};
use crate::roles;
use crate::scene::{SOON, Scene};
use crate::stage::{Role, Stage};

pub(super) const ROLES: &[Role] = &[HOSTILE];

/// Meets its victim honestly, and then does harm for `ms=` milliseconds: `how=` one of [`WAYS`].
const HOSTILE: Role = Role { name: "hostile", run: hostile };

/// Ways of doing harm.
const WAYS: [&str; 5] = ["scribble", "sweep", "forge", "endless", "flood"];

/// How long each hostile peer lives.
const ATTACK: Duration = Duration::from_millis(250);
/// How long a busy machine may hold up an honest channel.
const GAP: Duration = Duration::from_millis(1000);
/// Trips that it makes at least beside each attack.
const TRIPS: u32 = 25;

/// Words that mean something to a reader, mostly something wrong.
const FORGED: [u64; 14] = [
    0,
    END,
    END | 1,
    u64::MAX,
    8,
    16,
    24 | 1 << 32,
    16 | 65 << 32,
    4096 | 64 << 32,
    u32::MAX as u64,
    0xffff_fff8,
    24 | 1 << 32 | 200 << 48,
    40 | 1 << 32 | 0xff << 56,
    1 << 63,
];

/// One of the mappings of a process's own channels.
struct Region {
    start: u64,
    len: u64,
}

/// Mappings of windows: ours, and the victim's.
fn regions(permissions: &str) -> Outcome<Vec<Region>> {
    let mut regions = Vec::new();
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(found)) = (words.next(), words.next()) else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        if found == permissions && line.contains("memfd:fabric") {
            let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
            regions.push(Region { start, len: end - start });
        }
    }
    Ok(regions)
}

fn hostile(stage: &Stage) -> Outcome {
    let how: String = stage.argument("how")?;
    let end = Instant::now() + Duration::from_millis(stage.argument("ms")?);
    let mut random = Random::new(stage.argument("seed")?);
    if how == "flood" {
        return flood(stage, end, &mut random);
    }
    let arena = Arc::new(Arena::new(ARENA_WINDOW, 8)?);
    let (channel, mut receiver) = stage.builder()?.windows(8 << 10, 8).arena(arena).open()?;
    let mut sender = channel.sender(QueueKind::MultiBounded { capacity: 16, full: Full::Refuse }, Priority::Normal);
    let memory = File::options().read(true).write(true).open("/proc/self/mem")?;
    let mut number = 0;
    while Instant::now() < end {
        // Something honest in between, so that the victim looks.
        for _ in 0..4 {
            number += 1;
            let message = match channel.take_window() {
                Some(mut window) => {
                    window.copy_in(&payload::bytes(number, 5000)).map(|slice| with_window(number, slice))
                }
                None => None,
            };
            let message = message.unwrap_or_else(|| payload::numbered(number, roles::length(number, 3000)));
            // Refused or not, and whatever comes back.
            let _ = sender.post(message, Deadline::Now);
            let _ = receiver.try_receive();
        }
        touch_victim(&memory)?;
        for region in regions("rw-s")? {
            harm(&memory, &region, &how, &mut random)?;
        }
    }
    Ok(())
}

/// The victim's memory is mapped, and not a byte of it can be written, by no way that the system offers.
fn touch_victim(memory: &File) -> Outcome {
    for region in regions("r--s")? {
        if memory.write_at(&[0xff; 8], region.start).is_ok() {
            return Err(Failure::new("a hostile peer writes into its victim's memory"));
        }
    }
    Ok(())
}

/// Writes into one mapping. A mapping that is gone meanwhile is not there to be written.
fn harm(memory: &File, region: &Region, how: &str, random: &mut Random) -> Outcome {
    let word = |random: &mut Random| match how {
        "forge" => FORGED[random.below(FORGED.len() as u64) as usize],
        _ => random.draw(),
    };
    match how {
        "sweep" => {
            let mut page = [0; 4096];
            for at in (0..region.len).step_by(4096) {
                page.chunks_exact_mut(8).for_each(|place| place.copy_from_slice(&random.draw().to_le_bytes()));
                let _ = memory.write_at(&page, region.start + at);
            }
        }
        "endless" => return endless(memory, region),
        _ => {
            for _ in 0..200 {
                let at = random.below(region.len / 8) * 8;
                let _ = memory.write_at(&word(random).to_le_bytes(), region.start + at);
            }
            // The words of counters and sleeps are few, so they get their own share.
            for _ in 0..20 {
                let at = 2048 + random.below(256) * 8;
                let _ = memory.write_at(&word(random).to_le_bytes(), region.start + at);
            }
        }
    }
    Ok(())
}

/// Windows without end: every window that was ever begun is published again and again, with the next sequence and no message in it.
fn endless(memory: &File, region: &Region) -> Outcome {
    let mut bytes = vec![0; usize::try_from(region.len)?];
    if memory.read_at(&mut bytes, region.start).is_err() {
        return Ok(());
    }
    let heads: Vec<u64> =
        (0..region.len).step_by(8).filter(|at| bytes[*at as usize..].starts_with(&MAGIC.to_le_bytes())).collect();
    for lap in 0..50_u64 {
        for (head, window) in heads.iter().zip(1..) {
            let sequence = lap * heads.len() as u64 + window;
            let _ = memory.write_at(&END.to_le_bytes(), region.start + head + 32);
            let _ = memory.write_at(&sequence.to_le_bytes(), region.start + head + 16);
        }
    }
    Ok(())
}

/// Rings without end: a link over a socket of which we keep a copy, to write into it what we like.
fn flood(stage: &Stage, end: Instant, random: &mut Random) -> Outcome {
    let path = stage.uri().strip_prefix("ipc:").ok_or_else(|| Failure::new("only ipc has a socket to be flooded"))?;
    while Instant::now() < end {
        let Ok(ours) = dial(Path::new(path)) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let settings = LinkSettings { role: Side::Connect, ..LinkSettings::default() };
        let connector = fabric::ipc::connector(ours.try_clone()?, &settings, "hostile")?;
        let (channel, _receiver) = Channel::builder().name("hostile").transport(connector, Lends::Nothing).open()?;
        let mut sender = channel.sender(QueueKind::MultiBounded { capacity: 16, full: Full::Refuse }, Priority::Normal);
        let met = Instant::now() + Duration::from_millis(50);
        while !matches!(channel.state(), fabric::channel::State::Up { .. }) && Instant::now() < met {
            thread::yield_now();
        }
        for number in 0..3000 {
            let junk = payload::bytes(random.draw(), random.below(40) as usize + 1);
            let junk = if number < 2000 { &junk[..1] } else { &junk[..] };
            let _ = send(&ours, junk, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            if number % 100 == 0 {
                let _ = sender.post(payload::numbered(number, 10), Deadline::Now);
            }
        }
    }
    Ok(())
}

fn dial(path: &Path) -> Outcome<OwnedFd> {
    let ours = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    connect(&ours, &SocketAddrUnix::new(path)?)?;
    Ok(ours)
}

/// What the victim saw.
#[derive(Debug, Default)]
struct Suffered {
    messages: u64,
    violations: u64,
    deaths: u64,
    closed: u64,
}

/// Reads everything that comes, every byte of it, and posts now and then, until told to stop.
fn suffer(receiver: &mut Receiver, sender: &mut Sender, stop: &AtomicBool) -> Outcome<Suffered> {
    let mut suffered = Suffered::default();
    while !stop.load(Ordering::Relaxed) {
        match receiver.receive(Duration::from_millis(5).into()) {
            Ok(received) => {
                suffered.messages += 1;
                std::hint::black_box(received.to_vec());
            }
            Err(ReceiveError::TimedOut { .. }) => {}
            Err(ReceiveError::PeerGone(loss)) => match loss.gone.reason {
                Reason::Violation(_) => suffered.violations += 1,
                Reason::Closed => suffered.closed += 1,
                _ => suffered.deaths += 1,
            },
            Err(error) => return Err(error.into()),
        }
        // Taken or refused: what matters is that it does not wait.
        let _ = sender.post(payload::numbered(0, 2000), Deadline::Now);
    }
    Ok(suffered)
}

/// Goes to and fro with an honest peer for a while: how often, and the longest time that one took.
fn trips(sender: &mut Sender, receiver: &mut Receiver, time: Duration) -> Outcome<(u32, Duration)> {
    let end = Instant::now() + time;
    let (mut count, mut longest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let begun = Instant::now();
        sender.post(payload::numbered(u64::from(count), 100), SOON.into())?;
        ensure!(next_number(receiver)? == u64::from(count), "another message comes back");
        longest = longest.max(begun.elapsed());
        count += 1;
    }
    Ok((count, longest))
}

pub(super) fn hostile_peers(scene: &Scene) -> Outcome {
    let (uri, honest) = (scene.uri(), scene.uri());
    let (victim, mut receiver) = scene.builder(&uri).windows(8 << 10, 8).open()?;
    let (other, mut back) = scene.builder(&honest).open()?;
    let _echo = scene.peer(roles::ECHO, &honest).start()?;
    let mut others = other.sender(QueueKind::MonoUnbounded, Priority::Normal);
    trips(&mut others, &mut back, Duration::from_millis(100))?;
    let (before, _) = trips(&mut others, &mut back, ATTACK)?;
    for round in 0..scene.rounds(2) {
        for how in WAYS {
            let seed = scene.seed() + u64::from(round);
            let casting = scene.peer(HOSTILE, &uri).with("how", how).with("ms", ATTACK.as_millis()).with("seed", seed);
            let mut peer = casting.start()?;
            let stop = AtomicBool::new(false);
            let mut sender =
                victim.sender(QueueKind::MultiBounded { capacity: 8, full: Full::Refuse }, Priority::Normal);
            let (suffered, kept) = thread::scope(|scope| {
                let suffering = scope.spawn(|| suffer(&mut receiver, &mut sender, &stop));
                let kept = trips(&mut others, &mut back, ATTACK);
                stop.store(true, Ordering::Relaxed);
                (suffering.join().expect("a panic ends the process"), kept)
            });
            let (suffered, (count, longest)) = (suffered?, kept?);
            let accused = peer.so_far();
            ensure!(accused.is_empty(), "{how}: {accused:?}");
            // Its own harm may have ended it before.
            let _ = peer.kill();
            scene.note(format_args!(
                "{how}: {suffered:?}; another channel: {count} trips for {before}, longest {longest:?}"
            ));
            ensure!(longest <= GAP, "{how}: an honest channel is held up for {longest:?}");
            // More threads want to run now than before, so how much slower it is says little; that it runs is what counts.
            ensure!(count >= TRIPS, "{how}: an honest channel makes {count} trips instead of {before}");
        }
    }
    serve_again(scene, &uri, &mut receiver)?;
    drop((victim, receiver));
    other.close(SOON.into())?;
    Ok(())
}

/// After all that, an honest peer is served.
fn serve_again(scene: &Scene, uri: &str, receiver: &mut Receiver) -> Outcome {
    // What the last hostile peer left.
    let deadline = Instant::now() + Duration::from_secs(2);
    while !matches!(receiver.receive(Duration::from_millis(50).into()), Err(ReceiveError::TimedOut { .. })) {
        ensure!(Instant::now() < deadline, "messages of a peer that is gone come without end");
    }
    let peer = scene.peer(roles::SEND, uri).with("count", 1000).start()?;
    expect_numbers(receiver, 0, 1000)?;
    expect_end(receiver, &Reason::Closed)?;
    peer.finish()
}
