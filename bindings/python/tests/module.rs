//! The module in an interpreter: what the stubs promise, a conversation with this process, and the README's example.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fabric::channel::{Channel, FrameView};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::Trust;
use fabric::wire::Kind;
use fabric::{Arena, Message};

const SOON: Duration = Duration::from_secs(60);

/// A directory with the module in it, which vanishes.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fabric-python-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        // Cargo puts the library of the crate whose test this is beside the test.
        let built = std::env::current_exe().unwrap().parent().unwrap().join("libfabric_python.so");
        std::fs::copy(&built, dir.join("fabric.abi3.so"))
            .unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        Self(dir)
    }

    /// The interpreter, with nothing of the user's in its way.
    fn python(&self) -> Command {
        let mut command = Command::new("python3");
        command.current_dir(&self.0).env("PYTHONPATH", &self.0).env("PYTHONNOUSERSITE", "1");
        command.env("FABRIC_STUBS", here().join("fabric.pyi")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs tests of a file, started here.
    fn start(&self, file: &str, uri: &str) -> Running {
        let mut command = self.python();
        command.arg(here().join("tests").join(file)).env("FABRIC_URI", uri);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running(Some(child.expect("python3 is there")))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A child that does not outlive a test that fails.
struct Running(Option<Child>);

impl Running {
    /// What it said, when it ended well.
    fn finish(mut self) -> String {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        said.into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_module_keeps_what_its_stubs_promise() {
    let said = Place::new("stubs").start("test_fabric.py", "").finish();
    // A run that found no tests ends well, too.
    let count = said.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 18), "{said}");
}

#[test]
fn a_process_in_python_and_one_in_rust_understand_each_other() {
    let place = Place::new("rust");
    let uri = format!("ipc:talk?dir={}", place.0.display());
    let arena = Arc::new(Arena::new(1 << 20, 2).unwrap());
    let (channel, mut receiver) = Channel::builder().listen(&uri).arena(arena).trust(Trust::Same).open().unwrap();
    let python = place.start("test_with_rust.py", &uri);
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..10_000u64 {
        sender.post(Message::copied(&number.to_le_bytes()), SOON.into()).unwrap();
    }
    let mut window = channel.take_window().unwrap();
    for (number, byte) in window.spare()[..500_000].iter_mut().enumerate() {
        *byte = (number % 256 * 3 % 256) as u8;
    }
    let mut message = Message::copied(b"window");
    message.push_shared(window.fill(500_000));
    drop(window);
    sender.post(message.with_schema(9), SOON.into()).unwrap();

    let answer = match receiver.receive(SOON.into()) {
        Ok(answer) => answer,
        Err(error) => panic!("{error}: {}", python.finish()),
    };
    assert_eq!((answer.kind(), answer.correlation(), answer.frames()[1].schema), (Kind::Response, 77, 11));
    assert_eq!(answer.frame(0).unwrap().to_vec(), 80_000u64.to_le_bytes());
    let lent = answer.frame(1).unwrap();
    assert!(matches!(lent, FrameView::Remote(_)), "by reference");
    let expected = (0..600_000).map(|number| (number % 250 * 5 % 256) as u8);
    assert!(lent.to_vec().into_iter().eq(expected));
    drop(answer);
    sender.post(Message::copied(b"good bye"), SOON.into()).unwrap();
    channel.close(SOON.into()).unwrap();
    python.finish();
}

#[test]
fn the_example_of_the_readme_runs() {
    let readme = std::fs::read_to_string(here().join("README.md")).unwrap();
    let example = readme.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let place = Place::new("readme");
    let child = place.python().arg("-c").arg(example).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(Running(Some(child)).finish(), "");
}
