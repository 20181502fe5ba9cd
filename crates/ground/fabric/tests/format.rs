//! The wire format: vectors that are kept for ever, and a decoder in C that shares no code and reads everything as we do.
//!
//! A vector that is not there yet is written when `FABRIC_WRITE_VECTORS` is set; one that is there is never changed.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod film;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fabric::queue::Priority;
use fabric::wire::{FRAMES_MAX, Kind};
use fabric::{Message, Slice};

use film::{Style, crc32c, play, record};

const KINDS: [Kind; 7] = [Kind::Data, Kind::Request, Kind::Response, Kind::Cancel, Kind::Gap, Kind::Ping, Kind::Pong];

/// Where the parts of the first message of a window stand.
mod at {
    pub(super) const VERSION: usize = 4;
    pub(super) const HEADER: usize = 6;
    pub(super) const USED: usize = 8;
    pub(super) const CRC: usize = 24;
    pub(super) const LENGTH: usize = 32;
    pub(super) const FRAMES: usize = 36;
    pub(super) const KIND: usize = 38;
    pub(super) const FLAGS: usize = 39;
    pub(super) const FRAME: usize = 48;
    pub(super) const FRAME_FLAGS: usize = 54;
    pub(super) const DESCRIPTOR_LENGTH: usize = 72;
}

fn vectors_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn one(style: Style, window_bytes: usize, messages: Vec<Message>) -> Vec<u8> {
    let mut windows = record(style, Priority::Normal, window_bytes, messages);
    assert_eq!(windows.len(), 1);
    windows.remove(0)
}

fn mixed() -> Message {
    let mut message = Message::copied(b"copied").with_schema(7);
    message.push_copy(b"");
    message.push_static(b"12345678");
    message.push_external(vec![0xee; 9]);
    message.with_schema(0xffff)
}

fn lending() -> Message {
    let mut message = Message::copied(b"in front");
    message.push_shared(Slice::from_vec(vec![0xaa; 5000]));
    message.push_shared(Slice::copy_from(b"too small to be lent"));
    message.push_shared(Slice::from_vec(vec![0xbb; 512]));
    message.with_schema(3)
}

/// What writers of version 1 write.
fn right() -> Vec<(&'static str, Vec<u8>)> {
    let small = || Message::copied(b"hello");
    let kinds = KINDS.iter().zip(1u64..).map(|(kind, n)| Message::of_kind(*kind, n << 32 | n)).collect();
    let many = (0..FRAMES_MAX).fold(Message::new(), |mut message, n| {
        message.push_copy(&vec![n as u8; n % 11]);
        message.with_schema(n as u16)
    });
    vec![
        ("one", one(Style::Shipped, 4096, vec![small()])),
        ("urgent", record(Style::Shipped, Priority::Critical, 4096, vec![small()]).remove(0)),
        ("clubbed", one(Style::Shipped, 4096, vec![small(), mixed(), Message::new(), small()])),
        ("kinds", one(Style::Shipped, 4096, kinds)),
        ("extended", one(Style::Shipped, 4096, vec![mixed().with_timestamp(1 << 60).with_tag(u64::MAX), small()])),
        ("erased", one(Style::Shipped, 4096, vec![small().erased(), small().erased().with_tag(1)])),
        ("lent", one(Style::Shipped, 4096, vec![lending(), small()])),
        ("many-frames", one(Style::Shipped, 4096, vec![many])),
        ("largest", one(Style::Shipped, 256, vec![Message::copied(&[0x5a; 256 - 32 - 8 - 16 - 8])])),
        ("shared-ended", one(Style::Shared, 256, vec![small(), mixed()])),
        ("shared-open", one(Style::Open, 256, vec![small(), mixed()])),
        ("shared-empty", vacant()),
    ]
}

/// A window of shared memory before its first message.
fn vacant() -> Vec<u8> {
    let mut bytes = one(Style::Open, 256, vec![Message::new()]);
    bytes[at::LENGTH..].fill(0);
    bytes
}

/// A copy with something changed, and the checksum made right again.
fn changed(from: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = from.to_vec();
    change(&mut bytes);
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let used = u32::from_le_bytes(bytes[at::USED..][..4].try_into().unwrap()) as usize;
    if let Some(body) = bytes.get(32..used) {
        let sum = crc32c(body);
        bytes[at::CRC..][..4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// What no writer of version 1 writes, each wrong in one thing; and what one of a later version may, which is accepted.
fn strange() -> Vec<(&'static str, Vec<u8>)> {
    let base = one(Style::Shipped, 4096, vec![Message::copied(b"hello")]);
    let lent = one(Style::Shipped, 4096, vec![Message::shared(Slice::from_vec(vec![1; 600]))]);
    let long = one(Style::Shipped, 4096, vec![Message::copied(&[7; 100])]);
    let set = |at: usize, byte: u8| changed(&base, |bytes| bytes[at] = byte);
    vec![
        (
            "later-flags",
            changed(&base, |bytes| {
                bytes[5] = 0x80;
                bytes[at::FLAGS] = 0xf0;
                bytes[at::FRAME_FLAGS] = 0xf0;
            }),
        ),
        ("bad-magic", set(0, b'Q')),
        ("bad-version", set(at::VERSION, 2)),
        ("bad-header-length", set(at::HEADER, 40)),
        ("bad-used-over", set(at::USED, base.len() as u8 + 1)),
        ("bad-used-under", set(at::USED, 31)),
        ("bad-half-header", base[..31].to_vec()),
        ("bad-checksum", {
            let mut bytes = base.clone();
            bytes[at::FRAME + 8] ^= 1;
            bytes
        }),
        ("bad-kind-0", set(at::KIND, 0)),
        ("bad-kind-8", set(at::KIND, 8)),
        ("bad-message-flags", set(at::FLAGS, 4)),
        ("bad-length-odd", set(at::LENGTH, 31)),
        ("bad-length-short", set(at::LENGTH, 8)),
        ("bad-length-long", set(at::LENGTH, 40)),
        (
            "bad-length-extension",
            changed(&base, |bytes| {
                bytes[at::LENGTH] = 24;
                bytes[at::FLAGS] = 1;
            }),
        ),
        ("bad-frame-count", changed(&base, |bytes| bytes[at::FRAMES] = FRAMES_MAX as u8 + 1)),
        ("bad-frame-missing", changed(&base, |bytes| bytes[at::FRAMES] = 2)),
        ("bad-frame-length", set(at::FRAME, 9)),
        ("bad-frame-length-huge", changed(&base, |bytes| bytes[at::FRAME..][..4].fill(0xff))),
        ("bad-frame-flags", set(at::FRAME_FLAGS, 2)),
        ("bad-surplus", changed(&long, |bytes| bytes[at::FRAME] = 96)),
        ("bad-lent-cut", set(at::FRAME_FLAGS, 1)),
        ("bad-lent-length", changed(&lent, |bytes| bytes[at::DESCRIPTOR_LENGTH] ^= 1)),
        ("bad-second", {
            let two = one(Style::Shipped, 4096, vec![Message::copied(b"hello"), Message::copied(b"again")]);
            changed(&two, |bytes| bytes[at::KIND + 32] = 9)
        }),
    ]
}

fn all() -> Vec<(String, Vec<u8>)> {
    right().into_iter().chain(strange()).map(|(name, bytes)| (format!("{name}.bin"), bytes)).collect()
}

/// Compares with a file that is kept for ever.
fn keep(path: &Path, bytes: &[u8]) {
    if !path.exists() && std::env::var_os("FABRIC_WRITE_VECTORS").is_some() {
        fs::write(path, bytes).unwrap();
    }
    let kept = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        kept == bytes,
        "{} is not what is written now; the format must not change within a version",
        path.display()
    );
}

#[test]
fn the_vectors_are_what_the_encoder_writes() {
    let mut listing = String::new();
    for (name, bytes) in all() {
        keep(&vectors_dir().join(&name), &bytes);
        let text = play(&bytes);
        assert_eq!(text.contains("refused"), name.starts_with("bad-"), "{name}: {text}");
        listing += &format!("file {name}\n{text}");
    }
    keep(&vectors_dir().join("listing.txt"), listing.as_bytes());
    let files = fs::read_dir(vectors_dir()).unwrap().count();
    assert_eq!(files, all().len() + 1, "a vector that nobody writes any more is still to be read");
}

/// The decoder in C, compiled into a directory that vanishes.
struct Decoder(tempdir::Dir);

impl Decoder {
    fn build(name: &str) -> Self {
        let dir = tempdir::Dir::new(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decoder.c");
        let flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror"];
        let output = Command::new("gcc")
            .args(flags)
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o"])
            .arg(dir.path().join("decoder"))
            .arg(source)
            .output()
            .expect("gcc is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(dir)
    }

    /// What it prints for files of `dir`.
    fn read(&self, dir: &Path, files: &[String]) -> String {
        let output = Command::new(self.0.path().join("decoder")).current_dir(dir).args(files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Has both read `windows`, and compares.
    fn compare(&self, windows: &[Vec<u8>]) -> usize {
        let dir = self.0.path();
        let names: Vec<_> = (0..windows.len()).map(|number| format!("{number}.bin")).collect();
        let mut ours = Vec::new();
        for (name, window) in names.iter().zip(windows) {
            fs::write(dir.join(name), window).unwrap();
            ours.push(format!("{name}\n{}", play(window)));
        }
        let theirs = self.read(dir, &names);
        let theirs: Vec<_> = theirs.split("file ").skip(1).collect();
        assert_eq!(theirs.len(), ours.len());
        for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            assert_eq!(ours, theirs, "{:02x?}", windows[number]);
        }
        ours.iter().filter(|text| text.contains("refused")).count()
    }
}

mod tempdir {
    use std::path::{Path, PathBuf};

    pub(super) struct Dir(PathBuf);

    impl Dir {
        pub(super) fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("fabric-format-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).expect("a directory");
            Self(dir)
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[test]
fn the_decoder_in_c_reads_the_vectors_as_they_are_listed() {
    let names: Vec<_> = all().into_iter().map(|(name, _)| name).collect();
    let listing = fs::read_to_string(vectors_dir().join("listing.txt")).unwrap();
    assert_eq!(Decoder::build("vectors").read(&vectors_dir(), &names), listing);
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 20) as usize % bound
    }

    fn message(&mut self) -> Message {
        let mut message = Message::of_kind(KINDS[self.below(KINDS.len())], self.next());
        for _ in 0..self.below(6) {
            let bytes: Vec<u8> = (0..[0, 5, 8, 200, 700][self.below(5)]).map(|_| self.next() as u8).collect();
            match self.below(3) {
                0 => message.push_copy(&bytes),
                1 => message.push_external(bytes),
                _ => message.push_shared(Slice::from_vec(bytes)),
            }
            message = message.with_schema(self.next() as u16);
        }
        if self.below(3) == 0 {
            message = message.with_timestamp(self.next()).with_tag(self.next());
        }
        if self.below(5) == 0 { message.erased() } else { message }
    }

    fn windows(&mut self, style: Style) -> Vec<Vec<u8>> {
        let messages = (0..1 + self.below(20)).map(|_| self.message()).collect();
        record(style, Priority::Normal, 8192, messages)
    }
}

#[test]
fn the_decoder_in_c_reads_fresh_windows_as_we_do() {
    let mut random = Random(std::process::id().into());
    let decoder = Decoder::build("fresh");
    for style in [Style::Shipped, Style::Shared, Style::Open] {
        let windows: Vec<_> = (0..40).flat_map(|_| random.windows(style)).collect();
        assert_eq!(decoder.compare(&windows), 0, "all are right");
    }
}

#[test]
fn what_is_damaged_is_refused_by_both_for_the_same_reason() {
    let mut random = Random(u64::from(std::process::id()) << 32);
    let decoder = Decoder::build("damaged");
    let sound: Vec<_> = [Style::Shipped, Style::Shared].into_iter().flat_map(|style| random.windows(style)).collect();
    let damaged: Vec<_> = (0..1500)
        .map(|_| {
            let mut bytes = sound[random.below(sound.len())].clone();
            for _ in 0..1 + random.below(3) {
                // Mostly where the headers are.
                let place = match random.below(3) {
                    0 => random.below(bytes.len()),
                    1 => random.below(bytes.len().min(120)),
                    _ => random.below(bytes.len() / 8) * 8 + [0, 4, 6, 7][random.below(4)],
                };
                bytes[place] = [0, 1, 0xff, random.next() as u8][random.below(4)];
            }
            if random.below(10) > 0 {
                seal(&mut bytes);
            }
            bytes.truncate(if random.below(20) == 0 { random.below(bytes.len()) } else { usize::MAX });
            bytes
        })
        .collect();
    let refused = decoder.compare(&damaged);
    assert!(refused > 100, "only {refused} of {} were refused", damaged.len());
}

#[test]
fn the_checksum_is_that_of_the_castagnoli_polynomial() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
