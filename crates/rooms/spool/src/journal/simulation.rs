//! Crash tests: a volume and its keeper are driven step by step on a simulated disk whose power goes at any call.
//!
//! A model notes what was answered. After each restart: every message that was acknowledged and not durably settled is
//! there exactly once with its octets; nothing that was durably settled comes back; nothing is there twice. Each seed is
//! one history of several lives; a failure names its seed, which repeats it.

use super::open_volume;
use super::recovered::{Recovered, RecoveredMessage};
use super::shared::{Health, Shared};
use super::sim_disk::{Chance, Faults, SimDisk};
use super::slots::{ChunkAt, SlotKey};
use super::upkeep::Keeper;
use super::volume::{Completion, Mail, Request, Stored, Ticket, Volume};
use crate::disk::Disk;
use crate::{Durability, Options};
use fabric::Slice;
use message::{
    Address, Body, BodyType, Content, Dots, Envelope, Message, MessageId, Notify, Outcome, Protocol, Reception,
    Recipient, StoreKey, UnixMicros, Utf8,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn octets(serial: u32, len: usize) -> Vec<u8> {
    let mut chance = Chance::new(u64::from(serial));
    (0..len).map(|_| chance.next() as u8).collect()
}

fn message(serial: u32, recipients: usize, content: Content) -> Message {
    let recipient = |n: usize| Recipient {
        address: Address::new(&format!("r{n}"), "example.org").unwrap(),
        notify: Notify::Unset,
        orcpt: None,
    };
    Message {
        id: MessageId::new(1, 1, 1, serial),
        envelope: Envelope {
            sender: None,
            recipients: (0..recipients).map(recipient).collect(),
            body_type: BodyType::Binary,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros(5),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Internal,
            helo: "simulation".into(),
            dots: Dots::Some,
        },
        trace: Slice::copy_from(format!("X-Serial: {serial}\r\n").as_bytes()),
        content,
    }
}

/// What the model knows of a message.
#[derive(Clone, Debug)]
struct Known {
    key: Option<StoreKey>,
    len: usize,
    /// Per recipient: attempts, or settled; `(asked, durable)`.
    recipients: Vec<(Fate, Fate)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Attempts(u16),
    Settled,
}

impl Known {
    fn is_settled(&self) -> bool {
        self.recipients.iter().all(|(asked, _)| *asked == Fate::Settled)
    }

    fn is_durably_settled(&self) -> bool {
        self.recipients.iter().all(|(_, durable)| *durable == Fate::Settled)
    }
}

struct Life {
    shared: Arc<Shared>,
    volume: Volume,
    keeper: Keeper,
}

struct Simulation {
    seed: u64,
    chance: Chance,
    disk: SimDisk,
    options: Options,
    now: Instant,
    serial: u32,
    /// Acknowledged messages.
    known: BTreeMap<u32, Known>,
    /// Stored, not answered yet; or refused in this life: may come back, once.
    unanswered: BTreeMap<u32, Known>,
    tickets: BTreeMap<u32, (u32, Known)>,
    /// Chunks of a stream that is under way: serial, octets, chunks.
    streams: BTreeMap<u32, (u32, Vec<u8>, Vec<ChunkAt>)>,
    /// Large messages that lost chunks when they had ended.
    ended: BTreeSet<u32>,
    /// Those with a chunk that is not answered yet.
    busy: BTreeSet<u32>,
}

const DIRECTORY: &str = "/sim";

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut options = Options::new(vec![PathBuf::from(DIRECTORY)]);
        options.segment_bytes = 64 << 10;
        options.batch_bytes_max = 24 << 10;
        options.chunk_bytes = 5000;
        options.compaction_live_percent = 40;
        options.compaction_delay = Duration::ZERO;
        options.compaction_bytes_per_second = 1 << 30;
        options.free_segments_max = 3;
        Self {
            seed,
            chance: Chance::new(seed),
            disk: SimDisk::new(seed),
            options: options.fitted().unwrap(),
            now: Instant::now(),
            serial: 0,
            known: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            tickets: BTreeMap::new(),
            streams: BTreeMap::new(),
            ended: BTreeSet::new(),
            busy: BTreeSet::new(),
        }
    }

    /// Opens the volume and compares what it finds with the model. `None` when the power goes meanwhile.
    fn start(&mut self) -> Option<Life> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let restored = open_volume(0, Path::new(DIRECTORY), &disk, &self.options);
        if self.disk.is_cut() {
            return None;
        }
        let (_, restored) = restored.unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
        for damage in &restored.report.damages {
            // Out of room, a large message may lose chunks before its end is written down; it has ended, though.
            let serial = damage.id.map_or(0, |id| id.0 as u32);
            if self.known.get(&serial).is_some_and(Known::is_settled) {
                self.ended.insert(serial);
            }
            assert!(self.ended.contains(&serial), "seed {}: {:?}", self.seed, restored.report);
        }
        let shared = Arc::clone(&restored.shared);
        let mut recovered = Recovered::default();
        recovered.add(Arc::clone(&shared), restored.lookup);
        let recovered: Vec<_> = recovered.collect();
        self.compare(&shared, &recovered);
        let mut volume = Volume::new(Arc::clone(&shared), restored.commit, restored.voids);
        volume.start(self.now);
        Some(Life { keeper: Keeper::new(Arc::clone(&shared)), shared, volume })
    }

    fn compare(&mut self, shared: &Shared, recovered: &[RecoveredMessage]) {
        let seed = self.seed;
        let mut found = BTreeSet::new();
        let mut known = BTreeMap::new();
        for item in recovered {
            let serial = item.message.id.0 as u32;
            assert!(found.insert(serial), "seed {seed}: message {serial} came back twice");
            let model = self.known.get(&serial).or_else(|| self.unanswered.get(&serial));
            let model =
                model.unwrap_or_else(|| panic!("seed {seed}: message {serial} came from nowhere, or from its grave"));
            assert!(!model.is_durably_settled(), "seed {seed}: message {serial} was durably settled and came back");
            self.check_octets(shared, item.key, serial, model.len);
            let mut recipients = vec![(Fate::Settled, Fate::Settled); model.recipients.len()];
            for remaining in &item.recipients {
                let fate = Fate::Attempts(remaining.attempts);
                recipients[remaining.recipient as usize] = (fate, fate);
            }
            for (n, (now, (asked, durable))) in recipients.iter().zip(&model.recipients).enumerate() {
                let range = *durable..=*asked;
                assert!(
                    range.contains(&now.0),
                    "seed {seed}: message {serial} recipient {n}: {now:?} not in {range:?}"
                );
            }
            known.insert(serial, Known { key: Some(item.key), len: model.len, recipients });
        }
        for (serial, model) in &self.known {
            let may_be_gone = model.is_settled();
            assert!(found.contains(serial) || may_be_gone, "seed {seed}: message {serial} is lost: {model:?}");
        }
        (self.known, self.unanswered) = (known, BTreeMap::new());
        (self.tickets, self.streams, self.busy) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    }

    fn check_octets(&self, shared: &Shared, key: StoreKey, serial: u32, len: usize) {
        let (_, key) = SlotKey::of(key);
        let message = shared.fetch(key).unwrap_or_else(|error| panic!("seed {}: message {serial}: {error}", self.seed));
        let expected = octets(serial, len);
        let mut content = Vec::new();
        match &message.content {
            Content::Resident(body) => content = body.to_vec(),
            Content::Spooled { len } => {
                while (content.len() as u64) < *len {
                    let piece = shared.read_content(key, content.len() as u64, 3000).unwrap();
                    content.extend_from_slice(&piece);
                }
            }
        }
        assert!(content == expected, "seed {}: octets of message {serial}", self.seed);
        assert_eq!(&message.trace[..], format!("X-Serial: {serial}\r\n").as_bytes(), "seed {}", self.seed);
    }

    /// One random thing.
    fn act(&mut self, life: &mut Life) {
        self.now += Duration::from_millis(self.chance.below(40));
        match self.chance.below(100) {
            0..35 => self.store(life),
            35..45 => self.stream(life),
            45..70 => self.settle(life),
            70..90 => self.commit(life),
            90..92 => self.look(life),
            _ => _ = life.keeper.step(self.now),
        }
    }

    fn store(&mut self, life: &mut Life) {
        self.serial += 1;
        let (serial, len) = (self.serial, self.chance.below(4000) as usize);
        let recipients = 1 + self.chance.below(3) as usize;
        let content = Content::Resident(Body::from(Slice::copy_from(&octets(serial, len))));
        let known = Known { key: None, len, recipients: vec![(Fate::Attempts(0), Fate::Attempts(0)); recipients] };
        self.tickets.insert(serial, (serial, known.clone()));
        self.unanswered.insert(serial, known);
        let ticket = Ticket { port: 0, seat: serial };
        let message = Arc::new(message(serial, recipients, content));
        life.volume.handle(Request::Mail(Mail::Message { message, ticket }), self.now);
    }

    /// Begins a stream, adds a chunk to one, commits or abandons it.
    fn stream(&mut self, life: &mut Life) {
        let open: Vec<u32> = self.streams.keys().copied().collect();
        let Some(&id) = open.first().filter(|_| self.chance.hits(80)) else {
            self.serial += 1;
            let len = 1 + self.chance.below(20_000) as usize;
            self.streams.insert(self.serial, (self.serial, octets(self.serial, len), Vec::new()));
            return;
        };
        if self.busy.contains(&id) {
            return self.commit(life);
        }
        let (serial, bytes, chunks) = self.streams[&id].clone();
        let done: usize = chunks.iter().map(|chunk| chunk.len as usize).sum();
        let ticket = Ticket { port: 1, seat: id };
        if self.chance.hits(5) {
            self.streams.remove(&id);
            life.volume.handle(Request::Abandon { chunks }, self.now);
        } else if done < bytes.len() {
            let body = Body::from(Slice::copy_from(&bytes[done..bytes.len().min(done + 5000)]));
            let (stream, number) = (MessageId::new(1, 1, 1, serial), chunks.len() as u32);
            life.volume.handle(Request::Mail(Mail::Chunk { stream, number, body, ticket }), self.now);
            self.busy.insert(id);
        } else {
            self.streams.remove(&id);
            let known = Known { key: None, len: bytes.len(), recipients: vec![(Fate::Attempts(0), Fate::Attempts(0))] };
            self.tickets.insert(serial, (serial, known.clone()));
            self.unanswered.insert(serial, known);
            let message = Arc::new(message(serial, 1, Content::Spooled { len: bytes.len() as u64 }));
            let (stream, chunks) = (message.id, chunks.into_boxed_slice());
            let ticket = Ticket { port: 0, seat: serial };
            life.volume.handle(Request::Mail(Mail::Commit { message, stream, chunks, ticket }), self.now);
        }
    }

    fn settle(&mut self, life: &mut Life) {
        if self.known.is_empty() {
            return;
        }
        let at = self.chance.below(self.known.len() as u64) as usize;
        let Some(known) = self.known.values_mut().nth(at) else { return };
        let Some(key) = known.key else { return };
        let recipient = self.chance.below(known.recipients.len() as u64) as usize;
        let (asked, _) = &mut known.recipients[recipient];
        let Fate::Attempts(attempts) = *asked else { return };
        let outcome = if self.chance.hits(40) && attempts < 50 {
            *asked = Fate::Attempts(attempts + 1);
            Outcome::Deferred { until: UnixMicros(1000), attempts: attempts + 1 }
        } else {
            *asked = Fate::Settled;
            if self.chance.hits(50) { Outcome::Delivered } else { Outcome::Failed }
        };
        let (_, key) = SlotKey::of(key);
        life.volume.handle(Request::Outcome { key, recipient: recipient as u16, outcome }, self.now);
    }

    fn commit(&mut self, life: &mut Life) {
        let mut done = Vec::new();
        let failures = life.shared.figures().failures;
        life.volume.commit(self.now, &mut done);
        for Completion { ticket, result } in done {
            self.complete(ticket, result.ok());
        }
        // Durable from here on: everything asked for before, if all of it was written.
        if life.shared.figures().failures == failures
            && life.volume.entries.is_empty()
            && life.shared.health() <= Health::Degraded
        {
            for (asked, durable) in self.known.values_mut().flat_map(|known| &mut known.recipients) {
                *durable = *asked;
            }
            self.known.retain(|serial, known| {
                let gone = known.is_durably_settled();
                if gone {
                    self.tickets.remove(serial);
                }
                !gone
            });
        }
    }

    fn complete(&mut self, ticket: Ticket, stored: Option<Stored>) {
        if ticket.port == 1 {
            self.busy.remove(&ticket.seat);
        }
        match stored {
            Some(Stored::Message(key)) => {
                let (serial, known) = self.tickets.remove(&ticket.seat).expect("answered once");
                self.unanswered.remove(&serial);
                self.known.insert(serial, Known { key: Some(key), ..known });
            }
            Some(Stored::Chunk(chunk)) => {
                if let Some((_, _, chunks)) = self.streams.get_mut(&ticket.seat) {
                    chunks.push(chunk);
                }
            }
            None if ticket.port == 0 => _ = self.tickets.remove(&ticket.seat),
            None => _ = self.streams.remove(&ticket.seat),
        }
    }

    /// Reads a message while the volume works.
    fn look(&mut self, life: &Life) {
        if self.known.is_empty() {
            return;
        }
        let at = self.chance.below(self.known.len() as u64) as usize;
        let Some((serial, known)) = self.known.iter().nth(at) else { return };
        if !known.is_settled()
            && let Some(key) = known.key
        {
            self.check_octets(&life.shared, key, *serial, known.len);
        }
    }

    /// Several lives, each ended by a power cut, a kill or a stop.
    fn run(&mut self, lives: u32, faults: impl Fn(&mut Chance) -> Faults) {
        for _ in 0..lives {
            self.disk.set_faults(faults(&mut self.chance));
            let mut failures = 0;
            if let Some(mut life) = self.start() {
                for _ in 0..20 + self.chance.below(300) {
                    self.act(&mut life);
                    if self.disk.is_cut() {
                        break;
                    }
                }
                if !self.disk.is_cut() && self.chance.hits(20) {
                    let mut done = Vec::new();
                    life.volume.close(self.now, &mut done);
                    done.into_iter().for_each(|completion| self.complete(completion.ticket, completion.result.ok()));
                    life.keeper.close();
                }
                failures = life.shared.figures().failures;
            }
            // What a failed sync left in the page cache looks durable after a kill, and is not: nothing to be proven there.
            let weak = self.options.durability != Durability::Durable;
            if weak || (!self.disk.is_cut() && failures == 0 && self.chance.hits(30)) {
                self.disk.kill()
            } else {
                self.disk.power_cut()
            }
        }
        assert!(self.start().is_some());
    }
}

/// The seeds of a test: `count` from `first` on, or those that `SPOOL_SEEDS=from-to` names, for a longer search or to
/// repeat one failure.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("SPOOL_SEEDS").ok();
    let asked = asked.as_deref().and_then(|text| text.split_once('-')).map(|(from, to)| (from.parse(), to.parse()));
    match asked {
        Some((Ok(from), Ok(to))) => from..to,
        _ => first..first + count,
    }
}

#[test]
fn power_cuts_at_any_call() {
    for seed in seeds(0, 100) {
        let cut = |chance: &mut Chance| Faults {
            cut_after: Some(1 + chance.below(250)),
            short_writes: 20,
            ..Faults::default()
        };
        Simulation::new(seed).run(6, cut);
    }
}

#[test]
fn failing_syncs_and_power_cuts() {
    for seed in seeds(1000, 80) {
        let faults = |chance: &mut Chance| Faults {
            cut_after: chance.hits(50).then(|| 1 + chance.below(300)),
            failing_syncs: (0..chance.below(4)).map(|_| 5 + chance.below(60)).collect(),
            ..Faults::default()
        };
        Simulation::new(seed).run(5, faults);
    }
}

/// Under the weaker classes the end of the process, at any moment, loses nothing either.
#[test]
fn kills_under_weaker_classes() {
    for seed in seeds(3000, 40) {
        let mut simulation = Simulation::new(seed);
        simulation.options.durability = if seed % 2 == 0 { Durability::Relaxed } else { Durability::Memory };
        simulation.run(5, |_| Faults { short_writes: 20, ..Faults::default() });
    }
}

#[test]
fn a_disk_that_fills_up() {
    for seed in seeds(2000, 60) {
        let mut simulation = Simulation::new(seed);
        simulation.options.volume_bytes_max = (3 + simulation.chance.below(6)) * (64 << 10);
        let cut = |chance: &mut Chance| Faults { cut_after: Some(1 + chance.below(400)), ..Faults::default() };
        simulation.run(5, cut);
    }
}

impl Simulation {
    /// Stores one message and says what was answered, and the number it had.
    fn store_one(&mut self, life: &mut Life) -> (u32, Result<StoreKey, message::StoreError>) {
        self.store(life);
        let mut done = Vec::new();
        while done.is_empty() {
            life.volume.commit(self.now, &mut done);
        }
        let Completion { result, .. } = done[0];
        let key = result.map(|stored| match stored {
            Stored::Message(key) => key,
            Stored::Chunk(_) => panic!("a chunk for a message"),
        });
        if let Ok(key) = key {
            self.complete(Ticket { port: 0, seat: self.serial }, Some(Stored::Message(key)));
        }
        (self.serial, key)
    }
}

#[test]
fn a_failed_sync_costs_its_batch_and_nothing_else() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        let mut life = simulation.start().unwrap();
        for _ in 0..5 {
            simulation.store_one(&mut life).1.unwrap();
        }
        simulation.disk.set_faults(Faults { failing_syncs: [1].into(), ..Faults::default() });
        let (refused, answer) = simulation.store_one(&mut life);
        assert_eq!(answer, Err(message::StoreError::Failed));
        assert_eq!(life.shared.health(), Health::Degraded);
        for _ in 0..5 {
            simulation.store_one(&mut life).1.unwrap();
        }
        // Refused is refused: once the next commit is durable, the message cannot come back.
        simulation.unanswered.remove(&refused);
        simulation.disk.power_cut();
        assert_eq!(simulation.known.len(), 10);
        let mut life = simulation.start().unwrap();
        assert_eq!(simulation.known.len(), 10);
        // What was durable in the segment that was left is copied out, and the segment given back.
        simulation.now += Duration::from_secs(1);
        for _ in 0..100 {
            life.keeper.step(simulation.now);
            simulation.commit(&mut life);
        }
        assert!(life.shared.index().segments.values().all(|segment| segment.trust == super::index::Trust::Sound));
        simulation.disk.power_cut();
        simulation.start().unwrap();
    }
}

#[test]
fn two_failures_in_a_row_stop_the_volume() {
    let mut simulation = Simulation::new(1);
    let mut life = simulation.start().unwrap();
    for _ in 0..5 {
        life.keeper.step(simulation.now);
    }
    let (_, key) = simulation.store_one(&mut life);
    simulation.disk.set_faults(Faults { dead: true, ..Faults::default() });
    for _ in 0..2 {
        assert_eq!(simulation.store_one(&mut life).1, Err(message::StoreError::Failed));
    }
    assert_eq!(life.shared.health(), Health::Stopped);
    simulation.disk.set_faults(Faults::default());
    assert_eq!(simulation.store_one(&mut life).1, Err(message::StoreError::Failed), "only a restart clears it");
    // What is there can still be read, and ended in memory.
    let (_, slot) = SlotKey::of(key.unwrap());
    life.shared.fetch(slot).unwrap();
    for recipient in 0..3 {
        life.volume.handle(Request::Outcome { key: slot, recipient, outcome: Outcome::Delivered }, simulation.now);
    }
    life.volume.commit(simulation.now, &mut Vec::new());
    assert!(life.shared.fetch(slot).is_err());
    simulation.disk.power_cut();
    simulation.start().unwrap();
}
